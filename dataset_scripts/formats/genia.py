"""GENIA XML (GPML): sentences with mentions marked inside.

    <title><sentence><cons lex="IL-2_gene" sem="G#DNA_domain_or_region">IL-2 gene</cons> expression</sentence></title>
    <abstract><sentence>It needs <cons lex="CD28" sem="G#protein_molecule">CD28</cons>.</sentence></abstract>
Source: http://www.geniaproject.org/genia-corpus/term-corpus (gpml.dtd, which is never loaded)
"""

import re
from collections.abc import Iterator

from dataset_scripts.formats.files import FilePath, OffsetText, check_name, get_stem
from dataset_scripts.formats.xml import XML_SPACE, XmlElement, get_text, read_records
from dataset_scripts.schema import COORDINATION, Mention, RawDocument


def read_genia_xml(path: FilePath) -> Iterator[RawDocument]:
    """Read GENIA's GPML: every `cons` with a `sem` is a mention of that type without `G#`, nested ones too.

    A coordination (`sem="(AND G#x G#y)"`) is a mention lost as `COORDINATION`, its `sem` the type; its parts have no
    `sem` and are no mentions. The text is title, "\\n", abstract; sentences are joined by a space. A line break with
    the indentation around it is a space too. Ids: the digits after `MEDLINE:`, else `<file stem>-<n>`.
    """
    for number, article in enumerate(read_records(path, "set", "article"), 1):
        text = OffsetText()
        mentions: list[Mention] = []
        for name in ("title", "abstract"):
            separator = "\n"
            for part in article.findall(name):
                for sentence in _split_sentences(part):
                    length = text.tell()
                    mentions += _add_sentence(sentence, text, separator)
                    separator = separator if text.tell() == length else " "
        stated = get_text(article.find("articleinfo/bibliomisc")).strip()
        medline = re.search(r"MEDLINE?:\s*([0-9]+)", stated)  # MEDLINE:95369245; MEDLIN: in the manual
        document_id = medline[1] if medline else stated or f"{get_stem(path)}-{number}"
        yield RawDocument(check_name(document_id, article.where), text.getvalue(), mentions, where=article.where)


def _split_sentences(part: XmlElement) -> list[XmlElement]:
    """Return the sentences of a title or abstract; text outside of them, which the DTD allows, is a sentence too."""
    sentences = [XmlElement("sentence")]
    sentences[0].text = part.text
    for child in part:
        if child.tag == "sentence":
            sentences += [child, XmlElement("sentence")]
            sentences[-1].text = child.tail
        else:
            sentences[-1].append(child)
    return sentences


def _flatten(element: XmlElement, text: OffsetText) -> list[tuple[int, int, XmlElement]]:
    """Append an element's text; return `(start, end, child)` of each element inside, outer before inner."""
    marked: list[tuple[int, int, XmlElement]] = []
    text.add(_join_lines(element.text))
    for child in element:
        start, inner = text.tell(), _flatten(child, text)
        marked += [(start, text.tell(), child), *inner]
        text.add(_join_lines(child.tail))
    return marked


def _join_lines(text: str | None) -> str:
    """Turn each line break, with the indentation around it, into a space."""
    return re.sub(f"[{XML_SPACE}]+", lambda space: " " if "\n" in space[0] else space[0], text or "")


def _add_sentence(sentence: XmlElement, text: OffsetText, separator: str) -> list[Mention]:
    """Append a sentence, without the spaces at its edges, to the text; return its mentions."""
    untrimmed = OffsetText()
    marked = _flatten(sentence, untrimmed)
    whole = untrimmed.getvalue()
    trimmed = whole.strip(XML_SPACE)
    shift = text.add(trimmed, separator if trimmed else "")[0] - whole.find(trimmed)
    mentions = []
    for start, end, element in marked:
        sem = " ".join(element.get("sem", "").split())
        if element.tag != "cons" or not sem:
            continue
        words = whole[start:end].strip(XML_SPACE)
        start = whole.find(words, start) + shift
        span, lost = (start, start + len(words)), COORDINATION if sem.startswith("(") else ""
        mentions.append(Mention((span,), sem.removeprefix("G#"), where=element.where, lost=lost))
    return mentions
