"""Annotate on a Ray cluster: what the command does, while Ray Data schedules, restarts and remembers what is done.

    scan     each group of files is read once, for its ids and for what can't be read
    run      read -> annotate -> write, with a checkpoint of the parts that are written
    check    the files written are read back and counted

The operators that run on the workers are in `ray_operators`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dataset_scripts.formats.files import format_count
from dataset_scripts.hub_corpus import is_hub_source
from dataset_scripts.schema import CorpusError
from mtl_bioner.annotation.cluster_folder import ClusterFolder
from mtl_bioner.annotation.cluster_inputs import (
    Group,
    ReadOptions,
    Scan,
    form_groups,
    list_problems,
    name_repeated,
    scan_group,
)
from mtl_bioner.annotation.engine import EngineOptions, load_engine
from mtl_bioner.annotation.local import WorkerError
from mtl_bioner.annotation.parts import StrictError
from mtl_bioner.annotation.progress import format_time
from mtl_bioner.annotation.ray_session import ModelError, connect, explain_failures, quieten
from mtl_bioner.annotation.readers import Inputs
from mtl_bioner.annotation.run_folder import ERRORS, refuse_differences
from mtl_bioner.annotation.sources import STANDARD_INPUT
from mtl_bioner.messages import summarize_error


FORMATS = ("jsonl", "parquet")
_BLOCK_BYTES = 256  # less than a part has, so that each is a block, and so a task, of its own
# CPUs of an actor, and of a task that reads or writes. Actors leave some of each CPU, since a pool that takes all
# would wait forever for documents that no task has room to read.
_ACTOR_CPUS, _TASK_CPUS = 0.95, 0.02
_CPUS_A_READER = 4  # a process reads several times faster than one annotates
_MOST_DEATHS = 5  # of actors one after the other while they load the model, before the run fails
_FILES_A_TASK = 100  # that are read back
_REMEDY = "see that all nodes share the output folder, and delete checkpoint/ in it, so that all is written again"


@dataclass(frozen=True)
class ClusterOptions:
    """What to do where."""

    address: str
    output: str
    to: str
    engine: EngineOptions
    reading: ReadOptions
    actors: int | None = None
    strict: bool = False


class Counts(NamedTuple):
    """What is in some files of the output."""

    documents: int
    entities: Counter[str]  # by type


def check_options(inputs: Sequence[str], options: ClusterOptions) -> None:
    """Raise ValueError for what can't be done on a cluster, before anything is read."""
    if options.to not in FORMATS:
        formats = " or ".join(FORMATS)
        raise ValueError(f"--to {options.to}: with --ray, only {formats}; mtl-bioner corpora convert makes others")
    for name in inputs:
        if name == STANDARD_INPUT or is_hub_source(name):
            shown = "standard input" if name == STANDARD_INPUT else name
            raise ValueError(f"{shown} is not on the nodes of a cluster; save it on a file system that they share")
    try:
        import ray  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--ray needs Ray ({error}); pip install 'mtl-bioner[ray]'") from None


def annotate_on_cluster(inputs: Inputs, options: ClusterOptions, identity: dict[str, Any]) -> int:
    """Annotate all inputs; print the summary; return the exit status."""
    options = replace(options, engine=_locate_model(options.engine))
    begin, folder = time.monotonic(), ClusterFolder(options.output)
    with folder.lock():
        manifest = earlier = folder.read_manifest()
        if earlier is not None:
            refuse_differences(options.output, earlier, identity)
        if earlier is None or not earlier["finished"]:
            with explain_failures(), connect(options.address):
                run = ClusterRun(folder, options, identity, earlier)
                manifest = run.execute(form_groups(inputs.sources, inputs.sizes))
        folder.delete_checkpoint()
    print_summary(options, manifest["totals"], time.monotonic() - begin, earlier)
    return int(bool(manifest["totals"]["errors"]))


def _locate_model(engine: EngineOptions) -> EngineOptions:
    """Name a folder by its absolute path, since the workers have another current folder."""
    folder = Path(engine.model).expanduser()
    return replace(engine, model=str(folder.absolute())) if folder.is_dir() else engine


class ClusterRun:
    """A run that is not finished; `manifest` is that of its beginning, if it goes on."""

    def __init__(
        self, folder: ClusterFolder, options: ClusterOptions, identity: dict[str, Any], manifest: dict[str, Any] | None
    ) -> None:
        self.folder, self.options, self.identity, self.manifest = folder, options, identity, manifest

    def execute(self, groups: Sequence[Group]) -> dict[str, Any]:
        """Scan, annotate and check; return the manifest with the totals."""
        import ray

        has_gpus = self.options.engine.backend != "onnx" and ray.cluster_resources().get("GPU", 0) >= 1
        dtype = ray.remote(try_model).options(num_gpus=int(has_gpus)).remote(self.options.engine, has_gpus)
        scans = self.scan(groups)
        engine = replace(self.options.engine, dtype=self.check_dtype(ray.get(dtype)))
        identity = {**self.identity, "dtype": engine.dtype}
        if self.manifest is None:
            self.folder.write_manifest({**identity, "finished": False})
        run_dataset(name_repeated(groups, scans), replace(self.options, engine=engine), self.folder, has_gpus)
        problems = list_problems(groups, scans)
        totals = self.check_output(groups, scans) | {"errors": len(problems)}
        self.folder.write_errors(problems)
        manifest = {**identity, "finished": True, "totals": totals}
        self.folder.write_manifest(manifest)
        return manifest

    def scan(self, groups: Sequence[Group]) -> list[Scan]:
        """Read all groups on the workers; raise ValueError if nothing can be annotated, or must not be."""
        import ray

        scan = ray.remote(scan_group)
        scans = ray.get([scan.remote(group, self.options.reading) for group in groups])
        problems = list_problems(groups, scans)
        if problems and self.options.strict:
            raise StrictError(f"{problems[0]}; leave out --strict to go on without it")
        if not any(len(scan.ids) for scan in scans):
            more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
            raise CorpusError(f"no document can be read: {problems[0]}{more}")
        return scans

    def check_dtype(self, dtype: str) -> str:
        """Raise CorpusError if the run was begun in another data type."""
        stated = (self.manifest or {}).get("dtype", dtype)
        if stated != dtype:
            problem = f"{self.options.output} was begun in {stated}, and this cluster would go on in {dtype}"
            raise CorpusError(f"{problem}; give another --output, or --dtype from the beginning")
        return dtype

    def check_output(self, groups: Sequence[Group], scans: Sequence[Scan]) -> dict[str, Any]:
        """Read the output back, and return its totals.

        Raises:
            WorkerError: a part is missing or damaged, or the number of documents is not that of the inputs.
        """
        import ray

        from mtl_bioner.annotation.ray_operators import name_part

        names = [
            name_part(group.number, number, self.options.to)
            for group, scan in zip(groups, scans, strict=True)
            for number in range(scan.parts)
        ]
        if missing := set(names) - set(self.folder.list_names()):
            raise WorkerError(f"{format_count(len(missing), 'part')} missing, the first {min(missing)}; {_REMEDY}")
        count = ray.remote(count_entities)
        chunks = [names[i : i + _FILES_A_TASK] for i in range(0, len(names), _FILES_A_TASK)]
        counts = ray.get([count.remote(self.folder, chunk, self.options.to) for chunk in chunks])
        documents, expected = sum(one.documents for one in counts), sum(len(scan.ids) for scan in scans)
        if documents != expected:
            raise WorkerError(f"{documents:,} documents are written, of {expected:,}; {_REMEDY}")
        entities = sum((one.entities for one in counts), Counter())
        words = sum(scan.words for scan in scans)
        return {
            "parts": len(names),
            "documents": documents,
            "words": words,
            "entities": dict(sorted(entities.items())),
        }


def run_dataset(groups: Sequence[Group], options: ClusterOptions, folder: ClusterFolder, has_gpus: bool) -> None:
    """Read, annotate and write all parts that the checkpoint doesn't have yet."""
    import ray
    from ray.data.checkpoint import CheckpointConfig

    from mtl_bioner.annotation.ray_operators import ID_COLUMN, PartAnnotator, PartsDatasink, PartsDatasource

    resources = {"num_gpus": 1} if has_gpus else {"num_cpus": _ACTOR_CPUS}
    # Without a bound, Ray Data would keep a third of the CPUs for each of reading and writing.
    tasks = max(2, int(ray.cluster_resources().get("CPU", 0)) // _CPUS_A_READER)
    dataset = ray.data.read_datasource(
        PartsDatasource(groups, options.reading),
        override_num_blocks=len(groups),
        num_cpus=_TASK_CPUS,
        concurrency=min(tasks, len(groups)),
    )
    context = dataset.context
    context.checkpoint_config = CheckpointConfig(
        ID_COLUMN,
        folder.checkpoint,
        override_filesystem=folder.filesystem,
        delete_checkpoint_on_success=False,  # but once the manifest says that the run is finished
    )
    context.target_max_block_size = _BLOCK_BYTES
    context.max_consecutive_actor_init_deaths = _MOST_DEATHS
    quieten(context)
    annotated = dataset.map_batches(
        PartAnnotator,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=options.actors),
        fn_constructor_args=(options.engine, options.to, has_gpus),
        **resources,
    )
    sink = PartsDatasink(folder, options.to)
    annotated.write_datasink(sink, ray_remote_args={"num_cpus": _TASK_CPUS}, concurrency=tasks)


def try_model(options: EngineOptions, has_gpu: bool) -> str:
    """Load the model on a worker, to tell of a bad one before anything is written; return its data type."""
    try:
        ner = load_engine(options, "cuda:0" if has_gpu else "cpu")
    except Exception as error:
        reason = summarize_error(error)
        raise ModelError(f"the model {options.model} can't be loaded on the cluster ({reason})") from None
    return str(ner.model.dtype).removeprefix("torch.")


def count_entities(folder: ClusterFolder, names: Sequence[str], to: str) -> Counts:
    """Count documents and entities in files of the output."""
    import pyarrow as pa
    from pyarrow import parquet

    documents, entities = 0, Counter()
    for name in names:
        content = folder.read(name)
        try:
            if to == "parquet":
                rows = parquet.read_table(pa.BufferReader(content), columns=["entities"]).to_pylist()
            else:
                rows = [json.loads(line) for line in content.splitlines()]
        except ValueError as error:
            raise WorkerError(f"{name} is damaged ({summarize_error(error)}); {_REMEDY}") from None
        documents += len(rows)
        entities.update(entity["type"] for row in rows for entity in row["entities"])
    return Counts(documents, entities)


def print_summary(
    options: ClusterOptions, totals: dict[str, Any], seconds: float, earlier: dict[str, Any] | None
) -> None:
    """Print the last line; `earlier` is the manifest of a run that went on."""
    by_type = ", ".join(f"{name} {number:,}" for name, number in totals["entities"].items())
    line = f"{options.output}: {format_count(totals['documents'], 'document')}, "
    line += f"{sum(totals['entities'].values()):,} entities" + (f" ({by_type})" if by_type else "")
    line += f", {totals['errors']:,} not read; " if totals["errors"] else "; "
    if earlier is None:
        line += f"{format_time(seconds)}, {totals['documents'] / seconds:,.1f} documents/s"
    else:
        line += "all of it was done before" if earlier["finished"] else f"the last of it in {format_time(seconds)}"
    sys.stdout.write(f"{line}\n")
    output = options.output.rstrip("/")
    look = f"see {output}/{ERRORS} for what was left out" if totals["errors"] else f"look at {output}/part-00000*"
    sys.stderr.write(f"next: {look}\n")
