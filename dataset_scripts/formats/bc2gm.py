"""BioCreative II Gene Mention: sentences in one file, gold and alternative mentions in others.

    P00001606T0076 Comparison with alkaline phosphatases
    P00001606T0076|14 33|alkaline phosphatases              (offsets count no spaces, the end is inclusive)
Source: Smith et al. 2008, doi:10.1186/gb-2008-9-s2-s2
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dataset_scripts.formats.files import FilePath, check_name, get_stem, read_lines
from dataset_scripts.schema import EMPTY_SPAN, OUTSIDE_TEXT, CorpusError, Mention, RawDocument


def read_bc2gm(
    in_path: FilePath, gene_path: FilePath, altgene_path: FilePath | None = None, idmap_path: FilePath | None = None
) -> Iterator[RawDocument]:
    """Read BioCreative II gene mentions: one sentence is one document, every mention has the type `GENE`.

    Args:
        in_path: lines `ID sentence`.
        gene_path: lines `ID|START END|TEXT`, the gold mentions; they become ordinary half-open spans.
        altgene_path: the same for other acceptable spans, which become `alternatives`.
        idmap_path: lines `P-ID ID`. Ids of test sentences contain no PMID; the PMID of their P-ids becomes `group`.
    """
    genes, alternatives = _read_mentions(gene_path), _read_mentions(altgene_path)
    idmap = _match_lines(idmap_path, r"[ \t]*([^ \t]+)[ \t]+([^ \t]+)[ \t]*", "the P-id and the test sentence's id")
    p_ids = {match[2]: match[1] for _, match in idmap}
    seen: set[str] = set()
    for where, match in _match_lines(in_path, "([^ ]+) (.*)", "a unique sentence id, a space and the sentence"):
        sentence_id, sentence = check_name(match[1], where), match[2]
        if sentence_id in seen:
            raise CorpusError(f"{where}: sentence id {sentence_id!r} a second time; give each sentence its own")
        seen.add(sentence_id)
        pmid = re.match(r"P([0-9]+)[A-Z]", p_ids.get(sentence_id, sentence_id))  # P00001606T0076: T for title
        mentions, others = (_count_spaces(sentence, m.pop(sentence_id, [])) for m in (genes, alternatives))
        yield RawDocument(sentence_id, sentence, mentions, others, pmid[1] if pmid else "", where)
    for unknown, (mention, *_) in (genes | alternatives).items():
        raise CorpusError(f"{mention.where}: sentence id {unknown!r} is not in {in_path}; check that the files match")


def _match_lines(path: FilePath | None, pattern: str, expected: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield `file:line` and the match of each line that isn't blank; nothing for no file."""
    line_pattern = re.compile(pattern, re.DOTALL)
    for where, line in read_lines(path, skip_blank=True) if path else ():
        match = line_pattern.fullmatch(line)
        if match is None:
            raise CorpusError(f"{where}: {line[:60]!r}; expected {expected}")
        yield where, match


def _read_mentions(path: FilePath | None) -> dict[str, list[Mention]]:
    """Return mentions by sentence id; their spans are half-open, but still count no spaces."""
    mentions: defaultdict[str, list[Mention]] = defaultdict(list)
    lines = _match_lines(path, r"([^|]+)\|([0-9]{1,15})[ \t]+([0-9]{1,15})\|(.*)", "ID|START END|TEXT")
    for where, match in lines:
        mentions[match[1]].append(Mention(((int(match[2]), int(match[3]) + 1),), "GENE", match[4], where))
    return mentions


def _count_spaces(sentence: str, mentions: list[Mention]) -> list[Mention]:
    """Turn offsets that count no spaces into offsets that do."""
    positions = [index for index, character in enumerate(sentence) if character != " "] if mentions else []
    converted = []
    for mention in mentions:
        ((start, end),) = mention.spans
        if start < end <= len(positions):
            mention = replace(mention, spans=((positions[start], positions[end - 1] + 1),))
        else:
            mention = replace(mention, lost=OUTSIDE_TEXT if end > len(positions) else EMPTY_SPAN)
        converted.append(mention)
    return converted


def read_bc2gm_folder(in_path: Path) -> Iterator[RawDocument]:
    """Read a `.in` file with `GENE.eval`, and if they exist `ALTGENE.eval` and `NAME.idmap`, from its folder."""
    genes, *others = _find_beside(in_path)
    if genes is None:
        raise CorpusError(f"{in_path}: no GENE.eval beside it; put the gold mentions there or call read_bc2gm")
    return read_bc2gm(in_path, genes, *others)


def find_companion_files(path: Path) -> list[Path]:
    """Return a corpus file and the files that `read_any` reads along with it: gold mentions and ids of BC2GM."""
    is_bc2gm = re.search(r"\.in(\.gz)?$", path.name, re.IGNORECASE)
    return [path, *filter(None, _find_beside(path))] if is_bc2gm else [path]


def _find_beside(in_path: Path) -> list[Path | None]:
    """Return gold mentions, alternatives and idmap, plain or gzipped; None for a file that isn't there."""
    names = ("GENE.eval", "ALTGENE.eval", f"{get_stem(in_path)}.idmap")
    choices = ((in_path.with_name(name), in_path.with_name(f"{name}.gz")) for name in names)
    return [next(filter(Path.exists, pair), None) for pair in choices]
