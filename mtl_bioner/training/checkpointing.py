"""Find whole checkpoints, and check that a resumed training goes on with what it was begun with."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME

from mtl_bioner.reporting import run_record
from mtl_bioner.training.argument_files import as_argv, read_argument_file
from mtl_bioner.training.distillation import AUTO, NONE
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


def last_complete_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """The newest whole `checkpoint-N` in a folder, None if there is none."""
    found = [(path.name.removeprefix("checkpoint-"), path) for path in Path(folder).glob("checkpoint-*")]
    numbered = sorted(((int(step), path) for step, path in found if step.isdecimal()), reverse=True)
    return next((str(path) for _, path in numbered if is_complete(path)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the Trainer writes `trainer_state.json` last."""
    try:
        return "global_step" in json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


# Arguments that change no weight of a model: a training may go on with others.
HARMLESS = re.compile(
    "output_dir|overwrite_output|resume_from|run_name|report_|disable_tqdm|save_total|do_|dry_run|log_|logging_(?!steps)|"
    "dataloader_|per_device_eval_|push_to_hub|hub_"
)


def resumes(args: MultiTaskTrainingArguments) -> bool:
    """Whether `--resume_from_checkpoint` was given."""
    return str(args.resume_from_checkpoint or "false").lower() != "false"


_OPTIMIZER = re.compile("optimizer|global_step")  # the second is DeepSpeed's folder


def resume_argument(args: MultiTaskTrainingArguments) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` names, `true` being the newest whole one in the output folder;
    None without the argument, or where the training was interrupted before its teachers had all been trained.

    Raises:
        ValueError: there is none, or it holds no optimizer.
    """
    if not resumes(args):
        return None
    named = str(args.resume_from_checkpoint).lower() != "true"
    newest = args.resume_from_checkpoint if named else last_complete_checkpoint(args.output_dir)
    if newest and Path(newest).is_dir() and not any(map(_OPTIMIZER.match, os.listdir(newest))):
        raise ValueError(
            f"--resume_from_checkpoint: {newest} holds no optimizer (--save_only_model), so no training can go on "
            "with it to the same weights; begin anew with --overwrite_output"
        )
    if newest or (Path(args.output_dir) / run_record.BEGUN).is_file():
        return newest
    raise ValueError(f"--resume_from_checkpoint: no whole checkpoint in {args.output_dir}; leave it out to begin anew")


INPUTS = "inputs"


PROCESSES = "processes"  # not an argument, but of those that launch the training


def begun_with(given: Mapping[str, Any], teachers: Sequence[str], args: MultiTaskTrainingArguments) -> dict[str, Any]:
    """Those of the given arguments that a training must go on with, and its teachers; of paths only the last part.
    What a machine decides, the data type and the number of processes, is among them: steps hold other rows then."""
    settled = run_record.strip_paths({**given, "teachers": list(teachers)})
    kept = {key: value for key, value in settled.items() if not HARMLESS.match(key)}
    return {**kept, "bf16": args.bf16, PROCESSES: args.world_size}


def begun_in(args: MultiTaskTrainingArguments) -> Path:
    """The output folder of the training that goes on."""
    checkpoint = resume_argument(args)
    return Path(checkpoint).parent if checkpoint else Path(args.output_dir)


def check_same_inputs(inputs: Mapping[str, Any], args: MultiTaskTrainingArguments) -> None:
    """Raises ValueError for a training that would go on with other corpora or another encoder.

    Args:
        inputs: as `run_mtl_ner.Run.inputs`.
    """
    begun = begun_in(args) / run_record.BEGUN
    before = read_argument_file(begun).get(INPUTS) if begun.is_file() else None
    if before is None:  # begun by other code
        return
    names = [*(f"corpus {name}" for name in inputs["corpora"]), "encoder"]
    old, new = ([*own["corpora"].values(), own["base_model"]] for own in (before, inputs))
    for name, was, is_ in zip(names, old, new, strict=False):  # paths, and so names, may be others
        if was != is_:
            raise ValueError(
                f"--resume_from_checkpoint: the {name} is not the one that the training in {begun.parent} was begun "
                "with; restore it, or begin anew with --overwrite_output"
            )


def check_begun_with(wanted: Mapping[str, Any], args: MultiTaskTrainingArguments) -> None:
    """Raises ValueError for a training that would go on with other arguments than it was begun with, so that no single
    command gave its scores, or without the teachers that it trained.

    Args:
        wanted: as `begun_with`.
    """
    if not resumes(args):
        return
    checkpoint, folder = resume_argument(args), begun_in(args)
    if AUTO in wanted["teachers"] and folder.resolve() != Path(args.output_dir).resolve():
        raise ValueError(
            f"--resume_from_checkpoint {checkpoint} is not in --output_dir {args.output_dir}, where its teachers "
            f"would be; give {folder} as --output_dir, or say which --teachers it had ({NONE}, if it had none)"
        )
    if not (folder / run_record.BEGUN).is_file():  # begun by other code
        return
    before = read_argument_file(folder / run_record.BEGUN)
    before.pop(INPUTS, None)  # `check_same_inputs`
    if (count := before.pop(PROCESSES, None)) not in (None, wanted[PROCESSES]):
        raise ValueError(
            f"--resume_from_checkpoint: the training in {folder} was begun with {count} processes, not with "
            f"{wanted[PROCESSES]}; launch as many, or begin anew with --overwrite_output"
        )
    wanted = {key: value for key, value in wanted.items() if key != PROCESSES}
    before.setdefault("bf16", wanted["bf16"])  # as the count of processes, not in files of other versions
    for key in {**before, **wanted}:
        old, new = (as_argv({key: said[key]}) if key in said else [f"no --{key}"] for said in (before, wanted))
        if old != new:
            raise ValueError(
                f"--resume_from_checkpoint: the training in {folder} was begun with {shlex.join(old)}, not with "
                f"{shlex.join(new)}; give the same arguments, begin anew with --overwrite_output, or train a saved "
                "model on, with --model_name_or_path and another --output_dir"
            )
