"""Parse `--tasks`: which corpora and types each head is trained on.

--tasks SPEC,SPEC,...      SPEC = [name=]source[:Type[|Type]][+source[:Type[|Type]]]

ncbi                                    one head for all types of one corpus
bc5cdr:Disease                          some of its types; the default name is bc5cdr-Disease
disease=ncbi+bc5cdr:Disease             one head for a type that several corpora annotate
mine=./corpus/                          a corpus of your own
mine=hf:OWNER/NAME                      a data set on the Hugging Face Hub (hf:OWNER/NAME@REVISION: of one revision)
mine=hf:OWNER/NAME:CONFIG:Type|Type     one of its configurations, and some types
mine=hf:OWNER/NAME::Type|Type           some types, without a configuration

Behind the name of a data set, the first `:` begins the configuration, and the second the types.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from dataset_scripts.hub_corpus import is_hub_source, parse_hub_source
from dataset_scripts.schema import CorpusError


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


def parse_tasks(text: str) -> list[TaskSpec]:
    """Parse `--tasks`; raise CorpusError if it is empty, malformed, or has a name twice or one that can't be used."""
    specs = [_parse_spec(item) for item in split_tasks(text)]
    if not specs:
        problem = "has no task between its commas" if "," in text else "is empty"
        raise CorpusError(f"--tasks {problem}; name a corpus or file for each task: --tasks ncbi,mine=./corpus.tsv")
    names = [spec.name for spec in specs]
    if repeated := [spec for number, spec in enumerate(specs) if spec.name in names[:number]]:
        name, corpus = repeated[0].name, repeated[0].sources[0].corpus
        raise CorpusError(f"--tasks names {name!r} twice; give one of them another name: other={corpus}")
    return specs


def split_tasks(text: str) -> list[str]:
    """Split `--tasks` into its specs, as written."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _parse_spec(text: str) -> TaskSpec:
    if windows_path := re.search(r"(?:^|[=+])([A-Za-z]:[\\/][^+:]*)", text):
        problem = f"--tasks has the path '{windows_path[1]}', but ':' begins types"
        raise CorpusError(f"{problem}; change to its folder and write ./{PureWindowsPath(windows_path[1]).name}")
    named = re.fullmatch(r"([^=/]*)=(.*)", text, re.DOTALL)
    sources = tuple(_parse_source(text, part) for part in (named[2] if named else text).split("+"))
    name = named[1] if named else "+".join(map(_name_source, sources))
    if not re.fullmatch(r"[\w+-]+", name):
        raise CorpusError(f"--tasks has the task name {name!r}; use letters, digits, '_', '-' and '+' only")
    if name in ("macro", "micro"):
        raise CorpusError(f"--tasks has the task name {name!r}, which names a mean over tasks; take another")
    return TaskSpec(name, sources)


def _parse_source(spec: str, text: str) -> Source:
    corpus, colon, types = _partition_types(text)
    if not corpus or (colon and not all(types.split("|"))):
        raise CorpusError(f"--tasks has {spec!r}; a task is written [name=]source[:Type|Type][+source...]")
    return Source(corpus, tuple(types.split("|")) if colon else ())


def _partition_types(text: str) -> tuple[str, str, str]:
    """Split a source at the `:` before its types, for `hf:OWNER/NAME:CONFIG:TYPES` the last of three."""
    if not is_hub_source(text):
        return text.partition(":")
    hub, name, *rest = text.split(":", 3)
    corpus = ":".join([hub, name, *filter(None, rest[:1])])
    parse_hub_source(corpus)
    return corpus, ":" * (len(rest) > 1), "".join(rest[1:])


def join_types(corpus: str, types: str) -> str:
    """Write a source with types; the inverse of parsing it."""
    return f"{corpus}{':' * (is_hub_source(corpus) and corpus.count(':') == 1)}:{types}"


def _name_source(source: Source) -> str:
    """Write a source as a name: `:` as `-` and `|` as `_`; of a path, its last part without endings."""
    if is_hub_source(source.corpus):
        corpus = re.sub(r"[^\w-]", "-", parse_hub_source(source.corpus).short_name)
        return f"{corpus}-{'_'.join(source.types)}" if source.types else corpus
    is_path = "/" in source.corpus or "." in source.corpus
    corpus = Path(source.corpus).name.split(".")[0] if is_path else source.corpus
    return f"{corpus}-{'_'.join(source.types)}" if source.types else corpus


def infer_single_type(specs: Sequence[TaskSpec], corpus: str) -> str | None:
    """Return the type that the specs take from a corpus if it is the only one, to name tags without a type."""
    types = {name for spec in specs for source in spec.sources if source.corpus == corpus for name in source.types}
    return types.pop() if len(types) == 1 else None


def resolve_tasks(specs: Sequence[TaskSpec], types_of: Mapping[str, Sequence[str]]) -> list[Task]:
    """Check the types of the specs against those of each corpus, `types_of`; the nearest is offered for a wrong one.

    All sources of a task must annotate all of its types, else the unannotated mentions would be taught as `O`.
    """
    return [_resolve(spec, types_of) for spec in specs]


def _resolve(spec: TaskSpec, types_of: Mapping[str, Sequence[str]]) -> Task:
    types = tuple(dict.fromkeys(name for source in spec.sources for name in _check_types(spec, source, types_of)))
    corpora = tuple(dict.fromkeys(source.corpus for source in spec.sources))
    for corpus in corpora:
        if missing := [name for name in types if name not in types_of[corpus]]:
            common = "|".join(name for name in types_of[corpora[0]] if all(name in types_of[c] for c in corpora))
            named = f"name the common types: {'+'.join(join_types(corpus, common) for corpus in corpora)}"
            remedy = named if common else "they have no type in common, so make a task of each"
            problem = f"task {spec.name}: {corpus} does not annotate {', '.join(missing)}"
            raise CorpusError(f"{problem}, which another source of the task does; {remedy}")
    return Task(spec.name, types, corpora)


def _check_types(spec: TaskSpec, source: Source, types_of: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return the types taken from a source, after checking that it annotates them."""
    known, where = types_of[source.corpus], f"task {spec.name}: {source.corpus}"
    if not known:
        problem = f"{where} annotates nothing, so nothing can be trained or scored"
        raise CorpusError(f"{problem}; to annotate texts, use the pipeline")
    if unknown := [name for name in source.types if name not in known]:
        by_lower = {name.lower(): name for name in known}
        near = difflib.get_close_matches(unknown[0].lower(), by_lower, n=1, cutoff=0.5)
        hint = f"did you mean {by_lower[near[0]]!r}? " if near else ""
        raise CorpusError(f"{where} does not annotate {unknown[0]!r}; {hint}its types are {', '.join(known)}")
    return source.types or known
