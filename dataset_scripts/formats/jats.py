"""JATS XML: full articles without annotations, as PubMed Central publishes them (`.nxml`).

    <article><front><article-meta><article-id pub-id-type="pmc">7</article-id><title-group><article-title>Gout
    </article-title></title-group></article-meta></front><body><sec><title>Methods</title><p>We looked.</p></sec>
Source: https://jats.nlm.nih.gov/archiving/tag-library/ (its DTD is never loaded)
"""

from collections.abc import Iterator

from dataset_scripts.formats.files import FilePath, get_stem
from dataset_scripts.formats.passages import build_document, get_local_name, get_math_text, join_lines
from dataset_scripts.formats.xml import Children, XmlElement, parse_records
from dataset_scripts.schema import RawDocument


JATS_ROOTS = ("article", "pmc-articleset", "OAI-PMH")
_CAPTIONED = ("label", "caption")
_CHILDREN: Children = {  # what is read of elements that hold more than text to annotate
    "article": ("front", "body", "back", "floats-group", "floats-wrap"),
    "front": ("article-meta",),
    "article-meta": ("article-id", "title-group", "abstract"),
    "title-group": ("article-title", "subtitle"),
    "back": ("app-group", "app"),
    "fig": _CAPTIONED,
    "table-wrap": _CAPTIONED,
    "supplementary-material": _CAPTIONED,
}
_UNREAD = {"article-id", "fn", "fn-group", "ref-list", "table", "tex-math", "graphic", "inline-graphic", "alt-text",
           "long-desc", "object-id", "permissions"}  # fmt: skip
_KINDS = {"article-title": "title", "subtitle": "title", "abstract": "abstract", "body": "paragraph",
          "title": "heading", "caption": "caption"}  # fmt: skip
_BLOCKS = {*_KINDS, "p", "sec", "app", "fig", "fig-group", "table-wrap", "table-wrap-group", "supplementary-material",
           "media", "boxed-text", "statement", "disp-quote", "attrib", "list", "list-item", "def-list", "def-item",
           "def", "verse-group", "verse-line", "speech", "speaker", "preformat", "code"}  # fmt: skip
_SPACED = {"break", "disp-formula", "disp-formula-group", "label"}  # apart from the text of a paragraph around them
_LABELS = {"label", "term"}  # they begin the passage behind them: "Figure 1", "2.1", the term of a definition
_IDS = (("pmcid", "PMC"), ("pmc", "PMC"), ("pmid", ""), ("doi", ""))  # the first that is stated, and its prefix


def read_jats(path: FilePath) -> Iterator[RawDocument]:
    """Read JATS articles; the id is the PMCID ("PMC7"), else the PMID, else the DOI, else the file's stem.

    Each passage is a line: the title, the paragraphs of the abstract, then headings, paragraphs and captions of the
    body, appendices and floating figures, in the order of the file. A caption, with its label, is one line. Numbers
    that cite references are kept, since sentences need them. Not read: references, cells of tables, footnotes,
    acknowledgements and the rest of the back matter, authors, keywords, TeX (MathML is read), abstracts in other
    languages (`trans-abstract`), and sub-articles, which are translations and reviews.
    """
    for number, article in enumerate(parse_records(path, JATS_ROOTS, ("article",), _CHILDREN), 1):
        passages = _Passages()
        passages.add(article, "paragraph")
        passages.end("paragraph")
        has_title = bool(passages.done) and passages.done[0][1] == "title"
        title = passages.done.pop(0)[0] if has_title else ""
        document_id = _get_id(article) or get_stem(path) + (f"-{number}" if number > 1 else "")
        yield build_document(document_id, title, passages.done, "\n", article.where)


def _get_id(article: XmlElement) -> str:
    ids = {found.get("pub-id-type"): join_lines(found.text or "") for found in article.iter("article-id")}
    stated = (prefix + ids[kind].removeprefix(prefix) for kind, prefix in _IDS if ids.get(kind))
    return next(stated, "")


class _Passages:
    """Collects passages as (text, kind) while an article is walked in its order."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.pieces: list[str] = []  # of the passage that is not complete
        self.label = ""  # that begins the next passage

    def add(self, element: XmlElement, kind: str) -> None:
        """Add an element inside a passage of a kind, or between passages."""
        name = get_local_name(element)
        inner_kind = kind if kind in ("abstract", "caption") else _KINDS.get(name, kind)
        is_block = name in _BLOCKS and kind != "caption"
        if is_block:
            self.end(kind)
        elif name in _BLOCKS or name in _SPACED:
            self.pieces.append("\n")  # becomes a space
        self.add_content(element, inner_kind)
        if is_block:
            self.end(inner_kind)
            self.label = ""  # of a figure without caption, say
        elif name in _BLOCKS or name in _SPACED:
            self.pieces.append("\n")

    def add_content(self, element: XmlElement, kind: str) -> None:
        self.pieces.append(element.text or "")
        for child in element:
            name = get_local_name(child)
            if name == "math":
                self.pieces.append(get_math_text(child))
            elif name in _LABELS and get_local_name(element) in _BLOCKS and kind != "caption":
                self.label = join_lines("".join(child.itertext()))
            elif name not in _UNREAD:
                self.add(child, kind)
            self.pieces.append(child.tail or "")

    def end(self, kind: str) -> None:
        """Complete a passage, unless it has no text."""
        if text := join_lines("".join(self.pieces)):
            self.done.append((f"{self.label} {text}" if self.label else text, kind))
            self.label = ""
        self.pieces.clear()
