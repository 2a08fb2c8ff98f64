"""CoNLL: one token and its tag a line, a blank line after each sentence.

    Gout<tab>B-Disease
    hurts<tab>O
Source: https://www.clips.uantwerpen.be/conll2003/ner/; JNLPBA's `###MEDLINE:` lines, doi:10.3115/1567594.1567610
"""

import itertools
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dataset_scripts.formats.files import (
    BLANK,
    COLUMN,
    FilePath,
    check_name,
    format_count,
    get_stem,
    list_names,
    open_file,
    read_blocks,
)
from dataset_scripts.formats.tags import EXPECTED, TagReader, is_tag
from dataset_scripts.schema import DETECT, CorpusError, Mention, RawDocument, ReadOptions


logger = logging.getLogger(__name__)

COMMENT = re.compile(r"# ?[\w.:-]+( [\w.:-]+)* =( |$)|# ?newpar$")  # CoNLL-U: `# sent_id = 1`
_BREAK = re.compile(r"-DOCSTART-.*|# ?newdoc(?: id = (.*))?|(?P<jnlpba>###MEDLINE:)[ \t]*([^ \t]*).*", re.DOTALL)
_ANY_BREAK = re.compile(rb"^(-DOCSTART-|# ?newdoc|###MEDLINE:)", re.MULTILINE)
_HEADERS = {"token", "tokens", "word", "words", "text", "form", "id", "document_id", "sentence_id", "sentence #"}
_CHUNKS = {"NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"}  # of phrases, no entities


class _Sentence(NamedTuple):
    tokens: Sequence[str]
    tags: Sequence[str]
    lines: Sequence[int]  # the line of each token


def read_conll(path: FilePath, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read one token a line: first column the token, last one its tag; a blank line ends a sentence.

    Columns are apart by tabs (then a token may hold spaces) or spaces, and every row has the same number of them.
    `options` choose other columns, and the scheme of the tags (see `TagReader`). A warning names other columns of
    entity tags. `###MEDLINE:id` (JNLPBA), `-DOCSTART-` and `# newdoc id = id` lines begin documents; if the file has
    none, each sentence is one. Missing ids are `<file stem>-<n>`, from 1. The text is made up: tokens joined by a
    space, sentences by "\\n". Comments before a sentence, and AIONER's markers around it (`<ALL>`, `</ALL>`), are left
    out. Bare tags (`B`, `I`) give the type `UNTYPED`.
    """
    rows, tags = _RowReader(path, options), TagReader(path, options.tag_scheme)
    stem = get_stem(path)
    for number, (document_id, sentences) in enumerate(_read_documents(path, rows), 1):
        yield _build_document(document_id or f"{stem}-{number}", sentences, tags)
    tags.report()
    rows.report()


def is_conll_line(where: str, line: str) -> bool:
    """Whether a line begins a document, or ends in a tag."""
    return _read_break(line, where) is not None or is_tag(COLUMN.findall(line)[-1])


def _read_break(line: str, where: str) -> str | None:
    """Return the document id of a line that begins a document, "" if it tells none, None for any other line."""
    match = _BREAK.fullmatch(line)
    if match is None:
        return None
    if match["jnlpba"] and not match[3]:
        raise CorpusError(f"{where}: ###MEDLINE: without an id; expected ###MEDLINE:ID")
    return check_name(match[3] or (match[1] or "").strip(BLANK), where)


def _has_breaks(path: FilePath) -> bool:
    with open_file(path) as file:
        first = file.readline().removeprefix(b"\xef\xbb\xbf")
        blocks = iter(lambda: b"".join(file.readlines(1 << 20)), b"")
        return any(map(_ANY_BREAK.search, itertools.chain([first], blocks)))


def _read_documents(path: FilePath, rows: "_RowReader") -> Iterator[tuple[str, list[_Sentence]]]:
    """Yield the id of each document, "" if it has none, and its sentences."""
    has_breaks, document_id, sentences = _has_breaks(path), "", []
    for new_id, first_line, lines in _read_sentences(path):
        if sentences and (new_id is not None or not has_breaks):
            yield document_id, sentences
            document_id, sentences = "", []
        document_id = document_id if new_id is None else new_id
        if lines and (sentence := rows.read(first_line, lines)):
            sentences.append(sentence)
    if sentences:
        yield document_id, sentences


def _read_sentences(path: FilePath) -> Iterator[tuple[str | None, int, list[str]]]:
    """Yield (None, number of the first line, lines) of each sentence, and (id, 0, []) where a document begins."""
    sentence: list[str] = []
    first = 0
    for number, lines in read_blocks(path):
        for number, line in enumerate(lines, number):  # noqa: B020, PLW2901
            new_id = None
            if not line or line[0] in "-# \t":  # few tokens begin so
                new_id = _read_break(line, f"{os.fspath(path)}:{number}")
                if new_id is not None or not line.strip(BLANK):
                    if sentence:
                        yield None, first, sentence
                        sentence = []
                    if new_id is not None:
                        yield new_id, 0, []
                    continue
            if not sentence:
                first = number
            sentence.append(line)
    if sentence:
        yield None, first, sentence


class _RowReader:
    """Splits rows into columns; all rows of a file have as many as the first."""

    def __init__(self, path: FilePath, options: ReadOptions) -> None:
        self.path = os.fspath(path)
        self.chosen = options.tag_column is not None
        self.token_column, self.tag_column = options.token_column or "1", options.tag_column or "-1"
        self.has_counter = options.token_column is None  # whether the first column may count the tokens
        self.width, self.first = 0, ""  # of the first row: number of columns and `file:line`
        self.filled: list[int] = []  # its columns that aren't empty
        self.has_tabs = False
        self.refitted = self.unequal = False  # rows of the same number of values in other columns; of another number
        self.token = self.tag = 0  # indices of these columns
        self.other_tags: dict[int, Counter[str]] = {}  # by column: how often each tag stands there
        self.comments: list[str] = []
        self.markers = 0

    def read(self, first_line: int, lines: list[str]) -> _Sentence | None:
        """Return a sentence's tokens and tags; None if its lines are all comments."""
        numbers: Sequence[int] = range(first_line, first_line + len(lines))
        joined = "\n".join(lines)
        if joined[0] == "#" or "\n#" in joined:
            kept: list[int] = []
            for index, line in enumerate(lines):
                if not self._is_comment(line, first_line + index, is_first=not kept):
                    kept.append(index)
            lines, numbers = [lines[index] for index in kept], [numbers[index] for index in kept]
            joined = "\n".join(lines)
        if not lines:
            return None
        rows, is_plain = _split_rows(lines, joined)
        if not self.width:
            self._set_columns(rows[0], f"{self.path}:{numbers[0]}", lines[0])
        is_plain = is_plain and len(self.filled) == self.width and ("\t" in joined) == self.has_tabs
        if not is_plain or set(map(len, rows)) != {self.width}:
            rows = [self._fit_row(*item) for item in zip(rows, lines, numbers, strict=True)]
        columns = list(zip(*rows, strict=True))
        self._check_counter(columns[0], numbers[0])
        self._count_other_tags(columns)
        return self._drop_markers(_Sentence(columns[self.token], columns[self.tag], numbers))

    def _is_comment(self, line: str, number: int, is_first: bool) -> bool:
        """Whether a line is a comment: of CoNLL-U, or before the first row of a sentence and no row."""
        if not line.startswith("#") or COMMENT.match(line):
            return line.startswith("#")
        columns = _split_row(line)
        is_full = len(columns) == (self.width or max(2, len(columns)))
        is_row = is_tag(columns[self.tag if is_full and self.width else -1]) and (is_full or columns[0] == "#")
        if is_row or line.startswith("#\t") or not is_first:
            return False
        self.comments.append(f"{self.path}:{number}")
        return True

    def _set_columns(self, row: list[str], where: str, line: str) -> None:
        if "\r" in line:
            raise CorpusError(f"{where}: a carriage return inside a line; save the file with line feeds")
        self.width, self.first, self.has_tabs = len(row), where, "\t" in line.rstrip(BLANK)
        self.filled = [index for index, column in enumerate(row) if column]
        if self.width < 2 or (not self.chosen and not is_tag(row[-1])):
            if row[0].lower() in _HEADERS:
                raise CorpusError(f"{where}: {line[:60]!r} is a header line; remove it, or name the file .csv")
            problem = f"{where}: {line[:60]!r}; expected a token and, as last column after a tab or space, a tag"
            raise CorpusError(f"{problem}: {EXPECTED}")
        self.token = self._find_column("--token_column", self.token_column)
        self.tag = self._find_column("--tag_column", self.tag_column)
        others = set(range(1, self.width)) - {self.token, self.tag}
        self.other_tags = {} if self.chosen else {column: Counter() for column in others}

    def _find_column(self, option: str, value: str) -> int:
        number = int(value) if re.fullmatch(r"-?[0-9]{1,3}", value) else 0
        if not 1 <= abs(number) <= self.width:
            expected = f"a number from 1 to {self.width}, or from -1 for the last one"
            raise CorpusError(f"{option} {value}: {self.first} has {self.width} columns; give {expected}")
        return number - 1 if number > 0 else self.width + number

    def _fit_row(self, row: list[str], line: str, number: int) -> list[str]:
        """Return a row in the columns of the first one; both must have the same number, with or without empty ones."""
        where, values = f"{self.path}:{number}", [column for column in row if column]
        if "\r" in line:
            raise CorpusError(f"{where}: a carriage return inside a line; save the file with line feeds")
        self.unequal |= len(values) != len(self.filled)
        if len(row) != self.width and len(values) == len(self.filled) and row[0]:  # several tabs may part two columns
            self.refitted = True
            row = [""] * self.width
            for index, value in zip(self.filled, values, strict=True):
                row[index] = value
        is_doubtful = self.refitted and self.unequal  # whether an empty column is one
        if len(row) != self.width or not row[self.token] or not row[self.tag] or is_doubtful:
            shown, counts = f"{where}: {line[:60]!r}", f"{len(values)} columns, where {self.first} has {self.width}"
            raise CorpusError(f"{shown} has {counts}; give every row the same columns")
        if ("\t" in line.rstrip(BLANK)) != self.has_tabs:
            kinds = ("tabs", "spaces") if self.has_tabs else ("spaces", "tabs")
            problem = f"{where}: {line[:60]!r}; columns are apart by {kinds[1]}, where {self.first} has {kinds[0]}"
            raise CorpusError(f"{problem}; part those of every row alike")
        return row

    def _check_counter(self, column: Sequence[str], number: int) -> None:
        """Refuse a first column that counts the tokens in every sentence so far."""
        counted = self.has_counter and self.width > 2 and column == tuple(map(str, range(1, len(column) + 1)))
        if counted and len(column) > 2:  # one or two numbers may be tokens
            problem = f"{self.path}:{number}: the first column counts the tokens, as in CoNLL-U"
            raise CorpusError(f"{problem}; name the column of the tokens: --token_column 2")
        self.has_counter = counted

    def _count_other_tags(self, columns: list[tuple[str, ...]]) -> None:
        for column, counts in list(self.other_tags.items()):
            values = set(columns[column])
            if values <= counts.keys() or all(map(is_tag, values)):
                counts.update(columns[column])
            else:
                del self.other_tags[column]

    def _drop_markers(self, sentence: _Sentence) -> _Sentence | None:
        """Leave out `<ALL>` before and `</ALL>` behind the words of a sentence, in AIONER's files."""
        first, last = sentence.tokens[0], sentence.tokens[-1]
        is_outside = sentence.tags[0][0] == sentence.tags[-1][0] == "O"
        if not (is_outside and re.fullmatch(r"<[\w-]+>", first) and last == f"</{first[1:]}"):
            return sentence
        self.markers += 1
        return _Sentence(*(values[1:-1] for values in sentence)) if len(sentence.tokens) > 2 else None

    def report(self) -> None:
        """Log what was left out, one line a cause."""
        for column, counts in self.other_tags.items():
            types = {tag.partition("-")[2] for tag in counts if tag[:1] != "O"}
            if types and not types <= _CHUNKS:
                number = format_count(sum(n for tag, n in counts.items() if tag[0] in "BSU"), "mention")
                logger.warning(
                    "%s: column %d holds tags too (%s of %s), and column %d is read; --tag_column chooses",
                    self.path, column + 1, number, list_names(sorted(types)[:5]), self.tag + 1,
                )  # fmt: skip
        if self.comments:
            number, first = format_count(len(self.comments), "line"), self.comments[0]
            logger.warning("%s: %s beginning with # read as comments, the first at %s", self.path, number, first)
        if self.markers:
            number = format_count(self.markers, "sentence")
            logger.warning("%s: markers such as <ALL> around %s left out", self.path, number)


def _split_rows(lines: list[str], joined: str) -> tuple[list[list[str]], bool]:
    """Split rows into columns; tell whether each column is apart by one separator, and none is empty."""
    for separator, other in (("\t", " "), (" ", "\t")):
        odd = (other, "\r", separator * 2, f"\n{separator}", f"{separator}\n")
        if joined.strip(separator) == joined and not any(part in joined for part in odd):
            return [line.split(separator) for line in lines], True
    return [_split_row(line) for line in lines], False


def _split_row(line: str) -> list[str]:
    """Split a row at its tabs, where columns may be empty and tokens hold spaces, or else at its spaces."""
    line = line.rstrip(BLANK)
    return [column.strip(BLANK) for column in line.split("\t")] if "\t" in line else COLUMN.findall(line)


def _build_document(document_id: str, sentences: list[_Sentence], tags: TagReader) -> RawDocument:
    """Join tokens to a text and tags to mentions."""
    texts: list[str] = []
    mentions: list[Mention] = []
    begin = 0  # of the sentence in the text
    for sentence in sentences:

        def locate(index: int, lines: Sequence[int] = sentence.lines) -> str:
            return f"{tags.path}:{lines[index]}"

        texts.append(" ".join(sentence.tokens))
        if ranges := tags.find_mentions(sentence.tags, locate):
            starts = list(itertools.accumulate((len(token) + 1 for token in sentence.tokens), initial=begin))
            mentions += [
                Mention(((starts[first], starts[last + 1] - 1),), mention_type, where=locate(first))
                for first, last, mention_type in ranges
            ]
        begin += len(texts[-1]) + 1
    return RawDocument(document_id, "\n".join(texts), mentions, where=f"{tags.path}:{sentences[0].lines[0]}")
