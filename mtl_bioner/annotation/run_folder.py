"""The output folder of a run: what it is about, what is done, and how it goes on after an interruption.

    manifest.json   model, arguments and inputs; once the run is finished, its totals too
    parts.jsonl     a line for each part that is done: its file, hash and counts, and what couldn't be read
    errors.jsonl    at the end: each document or file that couldn't be read
    part-00000.*    the annotated documents

A part counts as done if its line is there and its file has the hash that the line states. Lines are appended, so their
cost doesn't grow; a line that a power cut left incomplete is dropped, and its part is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataset_scripts.corpus import compute_sha256
from dataset_scripts.formats.files import write_text, write_then_rename
from dataset_scripts.schema import CorpusError
from mtl_bioner.annotation.parts import Unreadable
from mtl_bioner.annotation.sources import get_spool
from mtl_bioner.folder_lock import LOCK, lock_folder


MANIFEST, PARTS, ERRORS = "manifest.json", "parts.jsonl", "errors.jsonl"
_TOTALS = ("finished", "totals")  # keys of the manifest that don't say what the run is about


@dataclass
class PartRecord:
    """What became of a part."""

    part: int
    file: str
    sha256: str
    documents: int
    words: int
    subwords: int  # with special tokens, and the context that windows repeat
    entities: dict[str, int]  # by type
    errors: list[Unreadable] = field(default_factory=list)


class RunFolder:
    """The output folder of one run, locked against others.

    Raises CorpusError for a folder that isn't one of a run, or of a run with other arguments or inputs, and
    FolderInUseError for one that another process writes into.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any]) -> None:
        self.output, self.identity = output, dict(identity)
        self.done: dict[int, PartRecord] = {}
        manifest = _read_manifest(output)
        if manifest is not None:
            refuse_differences(output, manifest, self.identity)
        self.lock = contextlib.ExitStack()
        self.lock.enter_context(lock_folder(output, "mtl-bioner annotate"))
        manifest = _read_manifest(output)  # which another run may have written meanwhile
        if manifest is None:
            return
        self.identity = {key: value for key, value in manifest.items() if key not in _TOTALS}
        remove_temporary_files(output)
        for record in _read_records(output / PARTS):
            path = output / record.file
            if path.exists() and compute_sha256(path) == record.sha256:
                self.done[record.part] = record
        self._rewrite_records()

    def begin(self, dtype: str) -> None:
        """Write the manifest, or check that a run that goes on computes in the same data type."""
        if (stated := self.identity.setdefault("dtype", dtype)) != dtype:
            problem = f"{self.output} was begun in {stated}, and this machine would go on in {dtype}"
            raise CorpusError(f"{problem}; give another --output, or --dtype from the beginning")
        if not (self.output / MANIFEST).exists():
            self._write_manifest({"finished": False})

    def add(self, record: PartRecord) -> None:
        """Note that a part is done."""
        self.done[record.part] = record
        path = self.output / PARTS
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(_format_record(record))
        except OSError as error:
            raise OSError(f"{path}: can't be written ({error.strerror}); free some space") from error

    def finish(self) -> None:
        """Write `errors.jsonl` and the totals."""
        self._rewrite_records()
        errors = self.list_errors()
        if errors:
            lines = (json.dumps(error._asdict(), ensure_ascii=False) for error in errors)
            write_text(self.output / ERRORS, (f"{line}\n".encode("utf-8", "replace").decode() for line in lines))
        totals = {
            "parts": len(self.done),
            "documents": sum(record.documents for record in self.done.values()),
            "words": sum(record.words for record in self.done.values()),
            "subwords": sum(record.subwords for record in self.done.values()),
            "entities": dict(sorted(self.count_entities().items())),
            "errors": len(errors),
        }
        self._write_manifest({"finished": True, "totals": totals})

    def close(self) -> None:
        """Remove temporary files; let go of the lock."""
        remove_temporary_files(self.output)
        self.lock.close()
        if not (self.output / MANIFEST).exists():
            (self.output / LOCK).unlink(missing_ok=True)

    def list_errors(self) -> list[Unreadable]:
        """List what couldn't be read, in the order of the inputs."""
        return [error for _, record in sorted(self.done.items()) for error in record.errors]

    def count_entities(self) -> Counter[str]:
        """Count the entities by type."""
        return sum((Counter(record.entities) for record in self.done.values()), Counter())

    def _write_manifest(self, state: Mapping[str, Any]) -> None:
        content = json.dumps({**self.identity, **state}, indent=2, ensure_ascii=False)
        with write_then_rename(self.output / MANIFEST) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())  # without it no run goes on, whatever a power cut leaves of the other files

    def _rewrite_records(self) -> None:
        write_text(self.output / PARTS, (_format_record(record) for _, record in sorted(self.done.items())))


def _format_record(record: PartRecord) -> str:
    errors = [error._asdict() for error in record.errors]
    return json.dumps(asdict(record) | {"errors": errors}) + "\n"


def _read_records(path: Path) -> list[PartRecord]:
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            fields = json.loads(line)
            records.append(PartRecord(**fields | {"errors": [Unreadable(**error) for error in fields["errors"]]}))
        except (ValueError, TypeError, KeyError):  # the process was killed while it wrote the line
            continue
    return records


def _read_manifest(output: Path) -> dict[str, Any] | None:
    """Read the manifest of a run; None if there is nothing, or only what a killed process leaves before it begins."""
    if output.exists() and not output.is_dir():
        raise CorpusError(f"--output {output} is a file; give a folder")
    path = output / MANIFEST
    if not path.exists():
        if output.exists() and any(not child.name.startswith(".") for child in output.iterdir()):
            raise CorpusError(f"--output {output} is not empty, and no run of annotate; give a new folder")
        return None
    try:
        manifest = json.loads(path.read_bytes())
        manifest["mtl_bioner"], manifest["inputs"], manifest["arguments"], manifest["model"]  # noqa: B018
    except (ValueError, TypeError, KeyError):
        raise CorpusError(f"{path} is no manifest of annotate; give another --output") from None
    return manifest


def refuse_differences(output: Path, manifest: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise CorpusError if a run that is to go on is about something else, with the first differences."""
    differences = []
    before, now = {"backend": "torch"} | manifest["arguments"], identity["arguments"]  # it was the only one once
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            differences.append(f"--{name} was {before.get(name)}, is {now.get(name)}")
    if manifest["model"]["hash"] != identity["model"]["hash"]:
        differences.append(f"the model was another ({manifest['model']['name']}, {manifest['model']['hash']})")
    if manifest["mtl_bioner"] != identity["mtl_bioner"]:
        differences.append(f"mtl-bioner was {manifest['mtl_bioner']}, is {identity['mtl_bioner']}")
    differences += _compare_inputs(manifest["inputs"], identity["inputs"])
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        shown = "; ".join(differences[:3])
        raise CorpusError(f"{output} holds another run: {shown}{more}; repeat its command, or give a new --output")


def _compare_inputs(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    if before == now:
        return []
    hashes_before, hashes_now = ([one["sha256"] for one in inputs] for inputs in (before, now))
    gone = {one["name"] for one in before if one["sha256"] not in hashes_now}
    new = {one["name"] for one in now if one["sha256"] not in hashes_before}
    differences = [f"the input {name} has changed" for name in sorted(gone & new)]
    differences += [f"the input {name} is missing" for name in sorted(gone - new)]
    differences += [f"the input {name} is new" for name in sorted(new - gone)]
    return differences or ["the inputs have other names, or come in another order"]


def remove_temporary_files(output: Path) -> None:
    """Delete what a killed process was about to write, or had read from standard input."""
    own = get_spool(output)
    for path in {*output.glob(".*.tmp"), *output.glob(own.with_suffix(".*").name)} - {own}:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
