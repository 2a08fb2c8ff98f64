"""CSV with a header line; the delimiter is a comma, a semicolon or a tab.

    document_id,text,start,end,type         a mention a row; of a text without mentions, one row without offsets
    7,Gout hurts.,0,4,Disease

    Sentence #,Word,Tag                     a token a row; the sentence may be named in its first row only
    Sentence: 1,Gout,B-Disease
Source: RFC 4180, https://www.rfc-editor.org/rfc/rfc4180
"""

import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import BLANK, FilePath, check_name, read_lines, write_text
from dataset_scripts.formats.tagged_tokens import build_tagged_document
from dataset_scripts.formats.tags import TagReader
from dataset_scripts.schema import DETECT, CorpusError, Document, Mention, RawDocument, ReadOptions, strip_invisible


COLUMNS = ("document_id", "text", "start", "end", "type", "mention", "score", "task")  # that are written
# The accepted names of each column, the best first.
_NAMES = {
    "document": ("document_id", "doc_id", "text_id", "pmid"),  # no "id", which may count the rows
    "sentence": ("sentence_id", "sentence #", "sentence", "sentence_idx", "sent_id"),
    "text": ("text",),
    "start": ("start", "start_offset", "begin"),
    "end": ("end", "end_offset"),
    "type": ("type", "label", "entity_type"),
    "mention": ("mention", "mention_text", "entity", "span"),
    "token": ("token", "word"),
    "tag": ("tag", "ner_tag", "label", "ner"),
}
_MENTION_ROW, _TOKEN_ROW = ("document", "text", "start", "end", "type"), ("sentence", "token", "tag")
_CHOICES = {  # of columns that mustn't be taken for each other: the remedy if several are there
    **dict.fromkeys(("type", "tag"), "choose with --tag_column"),
    "token": "choose with --token_column",
    **dict.fromkeys(("start", "end"), "remove the others"),
}
_OFFSET = re.compile(r"(-?[0-9]{1,15})(?:\.0)?")  # pandas writes 4.0 where another row has no offset
_LONGEST = 1 << 24  # characters of a field: a full text has some 100,000, and a lost quote takes in all that follows

_Row = tuple[str, dict[str, str]]  # `file:line` and the values by key of `_NAMES`


def read_csv(path: FilePath, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read a mention or a token a row; offsets count characters, and the end is exclusive.

    Rows of mentions with the same document id and text are one document; its text may be left out behind another row
    of it. A sentence of tokens is one document, and those of one `document_id` are of one group.
    """
    rows = _read_rows(path, options)
    for first in rows:
        rows = itertools.chain([first], rows)
        is_tagged = "token" in first[1]
        yield from _read_tokens(rows, TagReader(path, options.tag_scheme)) if is_tagged else _read_mentions(rows)


def _read_rows(path: FilePath, options: ReadOptions) -> Iterator[_Row]:
    """Yield the rows that aren't blank, with the columns that are used."""
    csv.field_size_limit(_LONGEST)
    lines = (line for _, line in read_lines(path, keep_ends=True))
    where = f"{os.fspath(path)}:1"
    try:
        header = next(lines, "")
        columns, delimiter = _read_header(header, where, options)
        width = len(_split(header, delimiter))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        where = f"{os.fspath(path)}:2"
        for values in reader:
            if len(values) not in (0, width):
                problem = f"{where}: {len(values)} columns, where the header has {width}"
                raise CorpusError(f"{problem}; put fields that hold {delimiter!r} into double quotes")
            if values:
                yield where, {key: values[column] for key, column in columns.items()}
            where = f"{os.fspath(path)}:{reader.line_num + 2}"
    except csv.Error as error:
        raise CorpusError(f"{where}: no CSV ({error}); check the quotes, each doubled inside a field") from None


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _read_header(line: str, where: str, options: ReadOptions) -> tuple[dict[str, int], str]:
    """Return the place of each column by key of `_NAMES`, as far as a row needs it, and the delimiter."""
    chosen = {"token": options.token_column, "tag": options.tag_column, "type": options.tag_column}
    for delimiter in ",;\t":
        header = [name.strip().casefold() for name in _split(line, delimiter)]
        wanted = {key: (chosen[key].casefold(),) if chosen.get(key) else names for key, names in _NAMES.items()}
        present = {key: [name for name in names if name in header] for key, names in wanted.items()}
        places = {key: header.index(names[0]) for key, names in present.items() if names}
        for needed, others in ((_TOKEN_ROW, ("document",)), (_MENTION_ROW, ("mention",))):
            if all(key in places for key in needed):
                for key in (key for key in needed if key in _CHOICES):
                    choices = [name for name in header if name in present[key]]
                    if len(choices) > 1:
                        raise CorpusError(f"{where}: the {key}s may be in {' or '.join(choices)}; {_CHOICES[key]}")
                return {key: places[key] for key in (*needed, *others) if key in places}, delimiter
    mention_row, token_row = (", ".join(_NAMES[key][0] for key in keys) for keys in (_MENTION_ROW, _TOKEN_ROW))
    expected = f"name the columns {mention_row} (a row a mention), or {token_row} (a row a token)"
    raise CorpusError(f"{where}: the header is {line.strip()[:100]!r}; {expected}")


def _read_mentions(rows: Iterable[_Row]) -> Iterator[RawDocument]:
    """Yield a document when the rows of the next begin; rows apart of one document are merged by the caller."""
    document: RawDocument | None = None
    for where, row in rows:
        document_id = row["document"].strip(BLANK)
        if not check_name(document_id, where):
            raise CorpusError(f"{where}: no document id; repeat it in every row")
        is_same = document is not None and document.document_id == document_id
        text = row["text"] or (document.text if is_same else "")
        has_mention = any(row[key].strip(BLANK) for key in ("start", "end", "type"))
        if has_mention and not text:
            raise CorpusError(
                f"{where}: document {document_id} has no text; put its rows together, the text in the first"
            )
        if not is_same or text != document.text:
            if document:
                yield document
            document = RawDocument(document_id, text, where=where)
        if has_mention:
            document.mentions.append(_read_mention(row, where))
    if document:
        yield document


def _read_mention(row: dict[str, str], where: str) -> Mention:
    start, end = (_OFFSET.fullmatch(row[key].strip(BLANK)) for key in ("start", "end"))
    if not (start and end):
        raise CorpusError(f"{where}: {row['start']!r} and {row['end']!r} are no offsets, whole numbers from 0")
    name = check_name(strip_invisible(row["type"]), where)
    return Mention(((int(start[1]), int(end[1])),), name, row.get("mention") or None, where)


def _read_tokens(rows: Iterable[_Row], reader: TagReader) -> Iterator[RawDocument]:
    """Yield a document when the next sentence begins."""
    key, sentence = ("", ""), []
    for where, row in rows:
        document_id = row.get("document", "").strip(BLANK) or key[0]
        sentence_id = row["sentence"].strip(BLANK) or (key[1] if document_id == key[0] else "")
        if sentence and (document_id, sentence_id) != key:
            yield _build_sentence(key, sentence, reader)
            sentence = []
        key = (document_id, sentence_id)
        if not sentence_id:
            raise CorpusError(f"{where}: no sentence is named; name it in its first row")
        sentence.append((where, row["token"], row["tag"].strip(BLANK)))
    yield _build_sentence(key, sentence, reader)
    reader.report()


def _build_sentence(key: tuple[str, str], sentence: list[tuple[str, str, str]], reader: TagReader) -> RawDocument:
    where = sentence[0][0]
    check_name("".join(key), where)
    tokens, tags = [token for _, token, _ in sentence], [tag for *_, tag in sentence]
    document = build_tagged_document("-".join(filter(None, key)), tokens, tags, where, reader)
    document.group = key[0]
    return document


def write_csv(documents: Iterable[Document], path: FilePath) -> None:
    """Write a row a mention, the text in a document's first row only; without mentions, a row without offsets.

    Input mentions come first, without score and task; of several spans, from the first to the last.
    """
    write_text(path, _format_rows(documents))


def _format_rows(documents: Iterable[Document]) -> Iterator[str]:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for document in documents:
        text = document.text
        mentions = [(one.spans[0][0], one.spans[-1][1], one.type, {}) for one in document.input_mentions]
        mentions += [(one.start, one.end, one.type, one.get_prediction_fields()) for one in document.entities]
        for start, end, name, prediction in mentions:
            mention = (start, end, name, document.text[start:end])
            writer.writerow((document.document_id, text, *mention, prediction.get("score"), prediction.get("task")))
            text = ""
        if not mentions:
            writer.writerow((document.document_id, text, *[""] * (len(COLUMNS) - 2)))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
