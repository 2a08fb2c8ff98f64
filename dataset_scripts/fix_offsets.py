"""Write a copy of a corpus file with corrected offsets.

In PubTator, brat, JSONL and BioC XML everything else stands as it did; of other formats the copy is JSONL.
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dataset_scripts.documents import to_documents
from dataset_scripts.formats import is_saved_dataset, read_any, write_jsonl
from dataset_scripts.formats.files import BOM, read_text, write_text, write_then_rename
from dataset_scripts.offsets import Diagnosis, Spans, assume, count_misfits, diagnose
from dataset_scripts.schema import CorpusError, RawDocument


_TAG = re.compile(r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<(annotation|location)\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.S)
_LOCATION = re.compile(r"\b(offset|length)\s*=\s*[\"']\s*(-?[0-9]+)")
_BRAT_SPANS = re.compile(r"-?[0-9]+ -?[0-9]+(?:;-?[0-9]+ -?[0-9]+)*$")
_Corrected = list[tuple[RawDocument, list[Spans]]]  # documents as read, and the spans of their mentions in the copy


@dataclass
class Fixes:
    """The corrections of one file."""

    spans: dict[tuple[int, Spans], Spans] = field(default_factory=dict)  # by line and written spans
    used: set[tuple[int, Spans]] = field(default_factory=set)

    def look_up(self, line: int, written: Spans) -> Spans:
        """Return the corrected spans, or those written where nothing is to be corrected."""
        if (line, written) not in self.spans:
            return written
        self.used.add((line, written))
        return self.spans[line, written]


@dataclass(frozen=True)
class Outcome:
    """What `fix_offsets` did."""

    diagnosis: Diagnosis
    mentions: int
    corrected: int
    misfits: list[str]  # where mentions still don't fit; they stand as written
    lost: Counter[str]  # mentions that JSONL can't hold, by cause; a copy in the same format holds all


def fix_offsets(source: Path, target: Path, name: str | None = None) -> Outcome:
    """Write `target`, the copy of a corpus, with offsets that count characters.

    Args:
        source: a file, or a folder of brat pairs.
        target: a new path with the same ending, or `.jsonl` for formats that aren't corrected in place.
        name: the hypothesis to correct by, of `offsets.NAMES`; by default the one that the mentions' texts speak for.
            It is taken without evidence if no mention states its text.

    Raises:
        CorpusError: nothing to correct, no hypothesis fits, another ending, or `target` exists.
    """
    if target.exists():
        raise CorpusError(f"{target} exists; choose another path for the corrected copy")
    raws = list(read_any(source))
    is_stated = any(mention.text for raw in raws for mention in raw.mentions)
    diagnosis = diagnose(raws, name) if is_stated or name is None else assume(name)
    if diagnosis is None:
        raise CorpusError(f"{source}: {_explain_refusal(raws, name)}")
    keeps_format = _get_ending(source) in _FIXERS or (source.is_dir() and not is_saved_dataset(source))
    if _get_ending(target) != (_get_ending(source) if keeps_format else ".jsonl"):
        wanted = f"has the format of {source}; give it the ending of its name"
        raise CorpusError(f"{target}: the copy {wanted if keeps_format else 'is JSONL; give it the ending .jsonl'}")
    corrected = [(raw, diagnosis.correct(raw)) for raw in raws]
    try:
        lost = _write_copy(source, target, corrected) if keeps_format else _write_jsonl(target, corrected)
    except CorpusError:
        if _get_ending(source) != ".jsonl":
            raise
        lost = _write_jsonl(target, corrected)  # of an annotation tool: its lines can't be corrected in place
    changed = sum(new != m.spans for raw, spans in corrected for m, new in zip(raw.mentions, spans, strict=True))
    misfits = [place for raw, spans in corrected for place in _list_misfits(raw, spans)]
    return Outcome(diagnosis, sum(len(raw.mentions) for raw in raws), changed, misfits, lost)


def _explain_refusal(raws: list[RawDocument], name: str | None) -> str:
    misfits = sum(map(count_misfits, raws))
    stated = sum(bool(mention.text) for raw in raws for mention in raw.mentions)
    if not stated:
        return "no mention states its text, so nothing tells how the offsets count; if you know it, name it by --as"
    if not misfits:
        return f"nothing to correct, all {stated} mentions that state their text stand at their offsets"
    problem = f"{misfits} of {stated} mentions don't stand at their offsets"
    return f"{problem}, and {f'--as {name} makes no more of them fit' if name else 'no way of counting explains most'}"


def _list_misfits(raw: RawDocument, spans: list[Spans]) -> Iterator[str]:
    for mention, at in zip(raw.mentions, spans, strict=True):
        one = RawDocument(raw.document_id, raw.text, [mention])
        if count_misfits(one, [at]):
            yield f"{mention.where}: {(mention.text or '')[:60]!r}"


def _get_ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _collect_fixes(corrected: _Corrected) -> dict[str, Fixes]:
    """Return the corrections by file; raise CorpusError if a line and written offsets don't tell which is meant."""
    places: dict[tuple[str, Spans], Spans] = {}
    for raw, spans in corrected:
        for mention, new in zip(raw.mentions, spans, strict=True):
            if places.setdefault((mention.where, mention.spans), new) != new:
                problem = f"{mention.where}: mentions with equal offsets on one line need different corrections"
                raise CorpusError(f"{problem}; put each annotation on a line of its own")
    fixes: dict[str, Fixes] = {}
    for (where, written), new in places.items():
        if new != written:
            file, _, line = where.rpartition(":")
            fixes.setdefault(file, Fixes()).spans[int(line), written] = new
    return fixes


def _write_copy(source: Path, target: Path, corrected: _Corrected) -> Counter[str]:
    """Copy a file or folder with the corrections in their places; nothing is lost."""
    fixes = _collect_fixes(corrected)
    if source.is_dir():
        with write_then_rename(target) as folder:
            folder.mkdir()
            for path in (path for path in sorted(source.iterdir()) if path.is_file()):
                if str(path) in fixes:
                    _rewrite(path, folder / path.name, _fix_brat, fixes[str(path)])
                else:
                    shutil.copyfile(path, folder / path.name)
    else:
        _rewrite(source, target, _FIXERS[_get_ending(source)], fixes[str(source)])
    return Counter()


def _write_jsonl(target: Path, corrected: _Corrected) -> Counter[str]:
    """Write the corrected documents as JSONL; return what is lost."""
    raws = (
        replace(raw, mentions=[replace(m, spans=at) for m, at in zip(raw.mentions, spans, strict=True)])
        for raw, spans in corrected
    )
    documents = list(to_documents(raws))
    write_jsonl(documents, target)
    return sum((document.loss.dropped for document in documents if document.loss), Counter())


Fixer = Callable[[str, Fixes], Iterable[str]]  # from the text of a file to the parts of the corrected one


def _rewrite(source: Path, target: Path, fix: Fixer, fixes: Fixes) -> None:
    parts = list(fix(read_text(source), fixes))
    if lost := fixes.spans.keys() - fixes.used:
        problem = f"{source}:{min(lost)[0]}: can't tell which numbers on this line are the offsets"
        raise CorpusError(f"{problem}; give a JSONL file of another form the ending .json, and its copy .jsonl")
    write_text(target, parts)


def _fix_lines(fix_line: Callable[[str, Callable[[Spans], Spans]], str], text: str, fixes: Fixes) -> Iterator[str]:
    """Yield all lines; `fix_line` corrects those that need it. Only LF ends a line, as for the readers."""
    numbers = {number for number, _ in fixes.spans}
    for number, line in enumerate(re.findall("[^\n]*\n|[^\n]+", text), 1):
        yield fix_line(line, partial(fixes.look_up, number)) if number in numbers else line


def _fix_pubtator_line(line: str, look_up: Callable[[Spans], Spans]) -> str:
    columns = line.split("\t")
    ((start, end),) = look_up(((int(columns[1]), int(columns[2])),))
    return "\t".join([columns[0], str(start), str(end), *columns[3:]])


def _fix_brat_line(line: str, look_up: Callable[[Spans], Spans]) -> str:
    label, place, text = line.split("\t", 2)
    written = _BRAT_SPANS.search(place)
    pairs = (part.split(" ") for part in written[0].split(";"))
    spans = look_up(tuple((int(start), int(end)) for start, end in pairs))
    return f"{label}\t{place[: written.start()]}{';'.join(f'{start} {end}' for start, end in spans)}\t{text}"


def _fix_jsonl_line(line: str, look_up: Callable[[Spans], Spans]) -> str:
    try:
        record = json.loads(line.removeprefix(BOM))
    except ValueError:  # a record over several lines, or in a list
        return line
    if not isinstance(record, dict):
        return line
    entities = record.get("entities") or record.get("spans") or []
    for entity in (item for item in entities if isinstance(item, dict) and {"start", "end"} <= item.keys()):
        ((entity["start"], entity["end"]),) = look_up(((entity["start"], entity["end"]),))
    # Where the file escapes characters, it may hold half ones, which can't be written otherwise.
    return json.dumps(record, ensure_ascii=line.isascii() or "\\ud" in line.lower()) + "\n" * line.endswith("\n")


def _fix_bioc(text: str, fixes: Fixes) -> Iterator[str]:
    """Yield the parts of a BioC file, with offset and length of the locations of each annotation."""
    line, at, done, annotations = 1, 0, 0, []
    for tag in _TAG.finditer(text):
        line, at = line + text.count("\n", at, tag.start()), tag.start()
        if tag[1] == "annotation":
            annotations.append((line, []))
        elif tag[1] and annotations:
            annotations[-1][1].append(tag)
    for line, locations in annotations:
        numbers = [{name: int(number) for name, number in _LOCATION.findall(tag[0])} for tag in locations]
        written = tuple((n.get("offset", 0), n.get("offset", 0) + n.get("length", 0)) for n in numbers)
        for tag, (start, end) in zip(locations, fixes.look_up(line, written), strict=True):
            new = {"offset": start, "length": end - start}
            yield text[done : tag.start()]
            yield _LOCATION.sub(lambda found, new=new: found[0].replace(found[2], str(new[found[1]])), tag[0])
            done = tag.end()
    yield text[done:]


_fix_brat = partial(_fix_lines, _fix_brat_line)
_FIXERS: dict[str, Fixer] = {
    ".pubtator": partial(_fix_lines, _fix_pubtator_line),
    ".txt": partial(_fix_lines, _fix_pubtator_line),
    ".jsonl": partial(_fix_lines, _fix_jsonl_line),
    ".xml": _fix_bioc,
}
