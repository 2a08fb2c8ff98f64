"""The grammar of `--tasks`: which corpora and types each head is trained on.

--tasks SPEC,SPEC,...      SPEC = [name=]source[:Type[|Type]][+source[:Type[|Type]]]

ncbi                                    one head for all types of one corpus
bc5cdr:Disease                          some of its types; the default name is bc5cdr-Disease
disease=ncbi+bc5cdr:Disease             one head for a type that several corpora annotate
mine=./corpus/                          a corpus of your own
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .schema import CorpusError


@dataclass(frozen=True)
class Source:
    """A corpus and the types taken from it; empty: all."""

    corpus: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSpec:
    """A task as `--tasks` names it."""

    name: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Task:
    """A head: its name, its entity types in order, and the corpora it learns them from."""

    name: str
    types: tuple[str, ...]
    corpora: tuple[str, ...]


_NAME = re.compile(r"[\w+-]+")


def parse_tasks(text: str) -> list[TaskSpec]:
    """Parse `--tasks`.

    Raises:
        CorpusError: an empty list or part, a name that can't be a head's and a file's name, or the same name twice.
    """
    specs = [_parse_spec(item) for item in split_tasks(text)]
    if not specs:
        raise CorpusError(f"--tasks is {text!r}; name at least one, such as ncbi or mine=./corpus")
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            again = [spec for spec in specs if spec.name == name][-1]
            raise CorpusError(
                f"--tasks names {name!r} twice; give one of them another name: other={again.sources[0].corpus}"
            )
    return specs


def split_tasks(text: str) -> list[str]:
    """The SPECs of `--tasks`, as they are written."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _parse_spec(text: str) -> TaskSpec:
    named = re.fullmatch(r"([^=/]*)=(.*)", text, re.DOTALL)
    name, body = named.groups() if named else ("", text)
    sources = []
    for part in body.split("+"):
        corpus, _, types = part.partition(":")
        if not corpus or (":" in part and not all(types.split("|"))):
            raise CorpusError(f"--tasks has {text!r}; a task is written [name=]source[:Type|Type][+source...]")
        sources.append(Source(corpus, tuple(types.split("|")) if types else ()))
    name = name if named else _default_name(sources)
    if not _NAME.fullmatch(name):
        raise CorpusError(f"--tasks has the task name {name!r}; use letters, digits, '_', '-' and '+' only")
    if name in ("macro", "micro"):
        raise CorpusError(
            f"--tasks has the task name {name!r}, under which means over tasks are reported; take another"
        )
    return TaskSpec(name, tuple(sources))


def _default_name(sources: Sequence[Source]) -> str:
    """The sources as written, `:` as `-` and `|` as `_`; of a path, its last part without endings."""
    parts = []
    for source in sources:
        path = Path(source.corpus)
        corpus = path.name.split(".")[0] if "/" in source.corpus or "." in source.corpus else source.corpus
        parts.append("-".join([corpus, "_".join(source.types)]) if source.types else corpus)
    return "+".join(parts)


def infer_single_type(specs: Sequence[TaskSpec], corpus: str) -> str | None:
    """The type that the specs take from a corpus if it is one alone, which names tags without a type; else None."""
    types = {name for spec in specs for source in spec.sources if source.corpus == corpus for name in source.types}
    return types.pop() if len(types) == 1 else None


def resolve_tasks(specs: Sequence[TaskSpec], types_of: Mapping[str, Sequence[str]]) -> list[Task]:
    """Check the types against what the corpora annotate.

    Args:
        types_of: corpus as written in the spec -> its types, in order.

    Raises:
        CorpusError: a type its corpus doesn't annotate (the nearest is offered), or a task one of whose sources lacks
            a type of another: its unannotated mentions would be taught as `O`.
    """
    return [_resolve(spec, types_of) for spec in specs]


def _resolve(spec: TaskSpec, types_of: Mapping[str, Sequence[str]]) -> Task:
    types: list[str] = []
    for source in spec.sources:
        known = types_of[source.corpus]
        if not known:
            raise CorpusError(
                f"task {spec.name}: {source.corpus} annotates nothing, so nothing can be trained or scored; "
                "to annotate texts, use the pipeline"
            )
        for wanted in source.types or known:
            if wanted not in known:
                by_lower = {name.lower(): name for name in known}
                near = difflib.get_close_matches(wanted.lower(), by_lower, n=1, cutoff=0.5)
                hint = f"did you mean {by_lower[near[0]]!r}? " if near else ""
                raise CorpusError(
                    f"task {spec.name}: {source.corpus} does not annotate {wanted!r}; {hint}its types are "
                    f"{', '.join(known)}"
                )
            if wanted not in types:
                types.append(wanted)
    for source in spec.sources:
        missing = [name for name in types if name not in types_of[source.corpus]]
        if missing:
            raise CorpusError(
                f"task {spec.name}: {source.corpus} does not annotate {', '.join(missing)}, which another source of "
                f"the task does; {_common_types(spec, types_of)}"
            )
    return Task(spec.name, tuple(types), tuple(dict.fromkeys(source.corpus for source in spec.sources)))


def _common_types(spec: TaskSpec, types_of: Mapping[str, Sequence[str]]) -> str:
    """What to write instead: the sources with the types that all of them annotate."""
    corpora = list(dict.fromkeys(source.corpus for source in spec.sources))
    common = [name for name in types_of[corpora[0]] if all(name in types_of[corpus] for corpus in corpora)]
    if not common:
        return "they have no type in common, so make a task of each"
    types = "|".join(common)
    return f"name the common types: {'+'.join(f'{corpus}:{types}' for corpus in corpora)}"
