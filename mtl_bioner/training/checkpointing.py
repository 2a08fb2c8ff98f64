"""Find whole checkpoints, and check that a resumed training goes on with what it was begun with."""

import json
import os
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch.serialization import get_unsafe_globals_in_checkpoint
from transformers.trainer import TRAINER_STATE_NAME

from mtl_bioner.reporting import run_record
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


# Arguments that change no weight of a model: a resumed training may have other ones.
HARMLESS = re.compile(
    "output_dir|overwrite_output|resume_from|run_name|report_|disable_tqdm|save_total|do_|dry_run|log_|logging_(?!steps)|"
    "dataloader_|per_device_eval_|push_to_hub|hub_"
)
# Keys of `begun_with.json` that are no arguments.
INPUTS = "inputs"
PROCESSES = "processes"


def find_last_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest whole `checkpoint-N` in a folder, None if there is none.

    One that holds an optimizer is preferred, since a training can go on with it: a process that is killed while it
    deletes a checkpoint may leave all but that.
    """
    numbers = ((path.name.removeprefix("checkpoint-"), path) for path in Path(folder).glob("checkpoint-*"))
    newest_first = sorted(((int(step), path) for step, path in numbers if step.isdecimal()), reverse=True)
    whole = [path for _, path in newest_first if is_complete(path)]
    return next(map(str, [*filter(is_resumable, whole), *whole]), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, and has its weights: `trainer_state.json` is written last."""
    try:
        is_written = "global_step" in json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        return is_written and any("model" in path.name and path.suffix != ".py" for path in checkpoint.iterdir())
    except (OSError, ValueError):
        return False


def is_resumable(checkpoint: Path) -> bool:
    """Whether a checkpoint holds optimizer, scheduler and random states; DeepSpeed keeps them in a folder."""
    parts = [path.name for path in checkpoint.iterdir()]
    kept = ("optimizer", "scheduler", "rng_state")
    return any(part.startswith("global_step") for part in parts) or all(
        any(part.startswith(prefix) for part in parts) for prefix in kept
    )


def check_files(checkpoint: Path) -> None:
    """Raise ValueError for a file of a checkpoint that is damaged or holds code, without unpickling anything.

    What torch says of such a file advises to load it with `weights_only=False`, which could run code in it.
    """
    for path in sorted(path for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth", ".bin")):
        if path.name == "training_args.bin":  # which is written, and never read
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                is_damaged = archive.testzip() is not None
            named = [] if is_damaged else get_unsafe_globals_in_checkpoint(path)
        except Exception:  # whatever is raised for bytes that are no archive, or no pickle in one
            is_damaged = True
        # The Trainer allows what random states of NumPy are made of.
        if is_damaged or any(not name.startswith(("numpy.", "_codecs.encode")) for name in named):
            raise ValueError(_explain_damage(path))
    for path in sorted(checkpoint.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError:
            raise ValueError(_explain_damage(path)) from None


def _explain_damage(path: Path) -> str:
    remedy = f"delete {path.parent}, so that an earlier checkpoint is taken, or begin anew with --overwrite_output"
    return f"--resume_from_checkpoint: {path} is damaged; {remedy}"


def is_resumed(args: MultiTaskTrainingArguments) -> bool:
    """Whether `--resume_from_checkpoint` is given."""
    return str(args.resume_from_checkpoint or "false").lower() != "false"


def find_resumed_checkpoint(args: MultiTaskTrainingArguments) -> str | None:
    """Return the checkpoint that `--resume_from_checkpoint` names; `true` is the newest whole one in the folder.

    None without the argument, or where the training was interrupted before all its teachers were trained. Raises
    ValueError if there is no checkpoint, or it holds no optimizer.
    """
    if not is_resumed(args):
        return None
    is_named = str(args.resume_from_checkpoint).lower() != "true"
    checkpoint = args.resume_from_checkpoint if is_named else find_last_checkpoint(args.output_dir)
    if checkpoint and Path(checkpoint).is_dir() and not is_resumable(Path(checkpoint)):
        raise ValueError(
            f"--resume_from_checkpoint: {checkpoint} lacks the optimizer, the scheduler or the random states (as with "
            "--save_only_model), so no training can go on with it to the same weights; begin anew with "
            "--overwrite_output"
        )
    if checkpoint or (Path(args.output_dir) / run_record.BEGUN).is_file():
        return checkpoint
    raise ValueError(f"--resume_from_checkpoint: no whole checkpoint in {args.output_dir}; leave it out to begin anew")


def find_resumed_folder(args: MultiTaskTrainingArguments) -> Path:
    """Return the output folder of the training that goes on."""
    checkpoint = find_resumed_checkpoint(args)
    return Path(checkpoint).parent if checkpoint else Path(args.output_dir)


def describe_beginning(
    given: Mapping[str, Any], teachers: Sequence[str], args: MultiTaskTrainingArguments
) -> dict[str, Any]:
    """Return the given arguments that a resumed training must repeat, and its teachers; of paths only the last part.

    The data type and the number of processes, which a machine decides, are among them: with others, steps would hold
    other rows.
    """
    arguments = run_record.strip_paths({**given, "teachers": list(teachers)})
    kept = {name: value for name, value in arguments.items() if not HARMLESS.match(name)}
    return {**kept, "bf16": args.bf16, PROCESSES: args.world_size}


def check_same_beginning(beginning: Mapping[str, Any], args: MultiTaskTrainingArguments) -> None:
    """Check that a resumed training has the arguments, processes and teachers that it was begun with.

    Raises ValueError if one differs in `beginning`, what `describe_beginning` returns for the command that resumes: no
    single command would have given the scores.
    """
    if not is_resumed(args):
        return
    folder = find_resumed_folder(args)
    if "auto" in beginning["teachers"] and folder.resolve() != Path(args.output_dir).resolve():
        raise ValueError(
            f"--resume_from_checkpoint {args.resume_from_checkpoint} is not in --output_dir {args.output_dir}, where "
            f"its teachers would be; give {folder} as --output_dir, or say which --teachers it had (none, if it had "
            "none)"
        )
    before = read_beginning(folder)
    if before is None:  # begun by code that kept no record
        return
    if (count := before.get(PROCESSES)) not in (None, beginning[PROCESSES]):
        raise ValueError(
            f"--resume_from_checkpoint: the training in {folder} was begun with {count} processes, not with "
            f"{beginning[PROCESSES]}; launch as many, or begin anew with --overwrite_output"
        )
    before.setdefault("bf16", beginning["bf16"])  # earlier versions did not record it
    for name in (key for key in {**before, **beginning} if key not in (INPUTS, PROCESSES)):
        old, new = (format_argument(name, said.get(name)) for said in (before, beginning))
        if old != new:
            raise ValueError(
                f"--resume_from_checkpoint: the training in {folder} was begun {old}, not {new}; give the same "
                "arguments, begin anew with --overwrite_output, or train a saved model on, with --model_name_or_path "
                "and another --output_dir"
            )


def check_same_inputs(inputs: Mapping[str, Any], args: MultiTaskTrainingArguments) -> None:
    """Raise ValueError if a resumed training has not the corpora and the encoder, by hash, that it was begun with."""
    if not is_resumed(args):
        return
    folder = find_resumed_folder(args)
    before = (read_beginning(folder) or {}).get(INPUTS)
    if before is None:
        return
    names = [*(f"corpus {name}" for name in inputs["corpora"]), "encoder"]
    old, new = ([*hashes["corpora"].values(), hashes["base_model"]] for hashes in (before, inputs))
    for name, old_hash, new_hash in zip(names, old, new, strict=False):  # in order, since paths may be others
        if old_hash != new_hash:
            raise ValueError(
                f"--resume_from_checkpoint: the {name} is not the one that the training in {folder} was begun with; "
                "restore it, or begin anew with --overwrite_output"
            )


def read_beginning(folder: Path) -> dict[str, Any] | None:
    """Return what `begun_with.json` in a folder says, None if it isn't there; raises ValueError if it is damaged."""
    path = folder / run_record.BEGUN
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); begin anew with --overwrite_output") from error


def format_argument(name: str, value: Any) -> str:
    """Show an argument in a sentence: `with --seed=7`, or `without --seed` for None."""
    if value is None:
        return f"without --{name}"
    if isinstance(value, list):
        return f"with {shlex.join([f'--{name}', *map(str, value)])}"
    return f"with {shlex.quote(f'--{name}={value if isinstance(value, str) else json.dumps(value)}')}"
