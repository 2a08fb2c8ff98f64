"""Divide inputs among the readers of a cluster: groups of files, and in each group parts of documents.

    group   consecutive files, read by one worker from the first to the last
    part    documents of one group that are annotated and written together

Groups and parts depend on the inputs and `--part_size` only, so that a run that goes on forms the same again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from dataset_scripts.schema import CorpusError
from mtl_bioner.annotation.parts import (
    Item,
    Part,
    SourceDocument,
    Unreadable,
    check_documents,
    form_parts,
    number_ids,
)
from mtl_bioner.annotation.readers import read_source
from mtl_bioner.annotation.sources import Source, measure
from mtl_bioner.annotation.tables import ColumnOptions


if TYPE_CHECKING:
    import pyarrow as pa

GROUP_BYTES = 8 << 20  # of files, at least; a larger file is a group of its own


@dataclass(frozen=True)
class Group:
    """Some consecutive sources."""

    number: int
    sources: tuple[Source, ...]
    sizes: tuple[int, ...]
    stated: Mapping[str, str]  # the names of the sources as they were given
    names: Mapping[int, str] = field(default_factory=dict)  # new ids, by the place of a document in the group


class ReadOptions(NamedTuple):
    """How a group is read."""

    columns: ColumnOptions
    part_size: int


class Scan(NamedTuple):
    """What is known of a group once it is read."""

    ids: pa.Array  # of the documents, in their order
    problems: list[Unreadable]
    parts: int
    words: int


def form_groups(sources: Sequence[Source], sizes: Sequence[int]) -> list[Group]:
    """Put consecutive sources together until they have `GROUP_BYTES`."""
    groups: list[Group] = []
    collected: list[tuple[Source, int]] = []
    total = 0
    for source, size in zip(sources, sizes, strict=True):
        collected.append((source, size))
        total += size
        if total >= GROUP_BYTES:
            groups.append(_make_group(len(groups), collected))
            collected, total = [], 0
    return [*groups, _make_group(len(groups), collected)] if collected else groups


def _make_group(number: int, collected: Iterable[tuple[Source, int]]) -> Group:
    sources, sizes = zip(*collected, strict=True)
    located = tuple(map(_locate, sources))
    return Group(number, located, sizes, {one.name: source.name for one, source in zip(located, sources, strict=True)})


def _locate(source: Source) -> Source:
    """Name a file by its absolute path, since the workers have another current folder."""
    if source.problem:  # which names the file as it was given, and is all that is needed of it
        return source
    path, annotations = source.path.absolute(), source.annotations and source.annotations.absolute()
    return replace(source, name=str(path), path=path, annotations=annotations)


def read_parts(group: Group, options: ReadOptions) -> Iterator[Part]:
    """Read the parts of a group.

    Raises:
        CorpusError: a file is not on this machine, or another there than where the command was started.
    """
    for source, size in zip(group.sources, group.sizes, strict=True):
        _check_shared(source, size)
    items = itertools.chain.from_iterable(read_source(source, options.columns) for source in group.sources)
    return form_parts(_rename(check_documents(items), group.names), options.part_size)


def _check_shared(source: Source, size: int) -> None:
    if source.problem:
        return
    beside = [source.annotations] if source.annotations else []
    if measure(source.path) != size or not all(path.exists() for path in (source.path, *beside)):
        problem = f"{source.name} is missing or differs on a node of the cluster"
        raise CorpusError(f"{problem}; put the inputs on a file system that all nodes share, and leave them unchanged")


def _rename(items: Iterable[Item], names: Mapping[int, str]) -> Iterator[Item]:
    places = itertools.count()
    for item in items:
        if isinstance(item, SourceDocument) and (name := names.get(next(places))):
            item = replace(item, document_id=name)
        yield item


def scan_group(group: Group, options: ReadOptions) -> Scan:
    """Read a group for its ids, for what can't be read, and to count parts and words."""
    import pyarrow as pa  # takes long, and is not needed before the work begins

    ids, problems, parts, words = [], [], 0, 0
    for part in read_parts(group, options):
        parts += 1
        problems += part.problems
        ids += [document.document_id for document in part.documents]
        words += sum(len(document.text.split()) for document in part.documents)
    return Scan(pa.array(ids, pa.large_string()), problems, parts, words)


def list_problems(groups: Sequence[Group], scans: Sequence[Scan]) -> list[Unreadable]:
    """List what couldn't be read, in the order of the inputs, files named as they were given."""
    return [
        problem._replace(file=group.stated.get(problem.file, problem.file))
        for group, scan in zip(groups, scans, strict=True)
        for problem in scan.problems
    ]


def name_repeated(groups: Sequence[Group], scans: Sequence[Scan]) -> list[Group]:
    """Give documents of one id the names that `number_ids` gives them on one machine: `7`, `7-2`, ...

    Only ids that occur several times, and those that their new names may meet, become Python strings.
    """
    import pyarrow as pa
    from pyarrow import compute

    ids = pa.chunked_array([scan.ids for scan in scans], pa.large_string())
    counts = compute.value_counts(ids)
    repeated = counts.field("values").filter(compute.greater(counts.field("counts"), 1))
    if not len(repeated):
        return list(groups)
    # `number_ids` only ever compares ids that are equal without numbers at their ends.
    suffixes = r"(-\d+)+$"
    roots = compute.replace_substring_regex(ids, suffixes, "")
    concerned = compute.is_in(roots, value_set=compute.replace_substring_regex(repeated, suffixes, ""))
    places = compute.indices_nonzero(concerned).to_pylist()
    stated = [SourceDocument(name, "", "") for name in ids.filter(concerned).to_pylist()]
    renamed = {
        place: new.document_id
        for place, old, new in zip(places, stated, number_ids(stated), strict=True)
        if new.document_id != old.document_id
    }
    return _distribute(groups, scans, renamed)


def _distribute(groups: Sequence[Group], scans: Sequence[Scan], renamed: Mapping[int, str]) -> list[Group]:
    """Hand each group its new names."""
    remaining, begin, named = iter([*sorted(renamed.items()), (None, "")]), 0, []
    place, name = next(remaining)
    for group, scan in zip(groups, scans, strict=True):
        names = {}
        while place is not None and place < begin + len(scan.ids):
            names[place - begin] = name
            place, name = next(remaining)
        begin += len(scan.ids)
        named.append(replace(group, names=names))
    return named
