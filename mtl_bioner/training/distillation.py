"""Distill saved single-task models, the teachers, into the model in training.

A corpus gives no training signal for types that it does not annotate. A teacher, a model trained on another corpus,
supplies it: for each sub-word it predicts how probable the labels of its own task are, and the student learns from
these soft labels beside the gold ones (Hinton et al. 2015; from single-task teachers to a multi-task student: Clark et
al. 2019, "BAM!"). So each head is trained on the text of all corpora.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from data_collators import Row, TaskRows
from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel, check_finite, pad_windows, plan_batches
from mtl_bioner.messages import summarize_error
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.model_setup import hub_answers


# Values of --teachers that are no folders: the training trains its teachers itself, or there are none.
AUTO, NONE = "auto", "none"


def list_named_teachers(teachers: Sequence[str] | None) -> list[str]:
    """Return those values of `--teachers` that name saved models."""
    return [name for name in teachers or () if name not in (AUTO, NONE)]


def load_teachers(
    names: Sequence[str],
    tasks: Sequence[str],
    config: MtlBionerConfig,
    tokenizer: Any,
    trust_remote_code: bool = False,
) -> dict[str, MtlBionerModel]:
    """Load the teacher of each task that has one, by its name; of several, the last.

    Args:
        names: folders or Hub ids of saved models.
        config, tokenizer: the student's.

    Raises:
        ValueError: a teacher can't be loaded, has other sub-words, none of the tasks, or a task with other types.
    """
    types = {task["name"]: list(task["types"]) for task in config.tasks}
    teachers: dict[str, MtlBionerModel] = {}
    for name in names:
        teacher = load_teacher(name, tokenizer, trust_remote_code)
        taught = {task["name"]: list(task["types"]) for task in teacher.config.tasks if task["name"] in tasks}
        if not taught:
            heads = ", ".join(teacher.config.task_names)
            lacking = f"it has none of {', '.join(tasks)}: leave it out"
            raise ValueError(f"--teachers names {name}, whose heads are {heads}; {lacking}")
        for task, teacher_types in taught.items():
            if teacher_types != types[task]:
                raise ValueError(
                    f"--teachers names {name}, whose head {task} finds {', '.join(teacher_types)}, the model's "
                    f"{', '.join(types[task])}; a teacher's types must be the same, in the same order"
                )
        teachers |= dict.fromkeys(taught, teacher)
    return teachers


_REMEDY = "give the --output_dir of a training with run_mtl_ner.py, or several, separated by spaces"


def find_teacher(name: str) -> dict[str, Any]:
    """Return `from_pretrained`'s arguments for a teacher; raises ValueError where no folder or Hub id can hold one."""
    if Path(name).is_dir():
        try:
            kind = json.loads((Path(name) / "config.json").read_bytes())["model_type"]
        except (OSError, ValueError, KeyError, TypeError):
            kind = None
        if kind != MtlBionerConfig.model_type:
            raise ValueError(f"--teachers names {name}, which is no saved multi-task model; {_REMEDY}")
        return {}
    if name.startswith((".", "/", "~")) or name.count("/") != 1 or "," in name:
        raise ValueError(f"--teachers names {name}, where there is no folder; {_REMEDY}")
    return {"local_files_only": not hub_answers(name, "main")}


def load_teacher(name: str, tokenizer: Any, trust_remote_code: bool) -> MtlBionerModel:
    """Load a teacher, and check that its sub-words are the student's; errors as for `load_teachers`."""
    options = find_teacher(name)
    try:
        teacher = MtlBionerModel.from_pretrained(name, dtype=torch.float32, **options)
        # With its config, since AutoTokenizer would look for the class of the saved one, and ask whether to trust it.
        options["config"] = teacher.config.encoder_config
        vocabulary = load_tokenizer(name, trust_remote_code, **options).get_vocab()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        problem = "can't be loaded" if Path(name).is_dir() else "is no folder, and can't be loaded from the Hub"
        raise ValueError(f"--teachers names {name}, which {problem} ({summarize_error(error)}); {_REMEDY}") from error
    if vocabulary != tokenizer.get_vocab():
        raise ValueError(f"--teachers names {name}, whose sub-words differ from the model's; give one with the same")
    return teacher


def add_soft_labels(
    rows: TaskRows,
    teachers: Mapping[str, MtlBionerModel],
    config: MtlBionerConfig,
    tokenizer: Any,
    device: torch.device,
    bf16: bool,
) -> None:
    """Give each row `soft_labels`: the probabilities (length, labels of the taught tasks) that the teachers predict.

    The columns of the row's own task are 0 (see `distillation_loss`).

    Args:
        teachers: by the task that they teach.
        config, tokenizer: the student's.
    """
    names = config.task_names
    rows.taught = [name for name in names if name in teachers]
    sizes = [len(config.labels(names.index(name))) for name in rows.taught]
    for row in rows.rows:
        row.soft_labels = torch.zeros(len(row.input_ids), sum(sizes), dtype=torch.float16)
    for place, task in enumerate(rows.taught):
        columns = slice(sum(sizes[:place]), sum(sizes[: place + 1]))
        others = [row for row in rows.rows if names[row.task_id] != task]
        teacher = teachers[task].to(device).eval()
        with torch.autocast(teacher.device.type, torch.bfloat16, enabled=bf16):
            _write_soft_labels(others, teacher, task, columns, tokenizer.pad_token_id or 0)


@torch.inference_mode()
def _write_soft_labels(
    rows: Sequence[Row], teacher: MtlBionerModel, task: str, columns: slice, pad_token_id: int, batch_size: int = 32
) -> None:
    """Write a teacher's probabilities into the columns of its task."""
    batches = classify_windows(teacher, [row.input_ids for row in rows], [task], pad_token_id, batch_size)
    count = -(-len(rows) // batch_size)
    for batch, logits in tqdm(batches, f"labels of {task}", count, leave=False, disable=None):
        probabilities = logits[task].softmax(-1).to("cpu", torch.float16)  # (batch, length, labels)
        for row, row_probabilities in zip((rows[i] for i in batch), probabilities, strict=True):
            row.soft_labels[:, columns] = row_probabilities[: len(row.input_ids)]


@torch.inference_mode()
def classify_windows(
    model: MtlBionerModel, windows: Sequence[Sequence[int]], tasks: Sequence[str], pad_token_id: int, batch_size: int
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Run windows, given by their `input_ids`, through the model in evaluation mode, in batches of like length.

    Yields the windows of each batch, by their indices, and task name -> logits (batch, length, labels).
    """
    model.eval()
    for batch in plan_batches([len(ids) for ids in windows], math.inf, batch_size):
        ids, mask = pad_windows(model, [windows[i] for i in batch], pad_token_id)
        task_logits = model(ids, mask, tasks=tasks).task_logits
        check_finite(
            model, {task: logits if mask is None else logits[mask.bool()] for task, logits in task_logits.items()}
        )
        yield batch, task_logits


def distillation_loss(task_logits: Mapping[str, Tensor], soft_labels: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the cross-entropies `- sum over labels of p log q` of the labelled sub-words, p the teachers'.

    Args:
        task_logits: of the taught tasks, in their order, (batch, length, its labels).
        soft_labels: (batch, length, labels of the taught tasks); all zeros for a row's own task.
        labels: (batch, length), `IGNORE` where there is none.
    """
    log_probs = torch.cat([logits.log_softmax(-1) for logits in task_logits.values()], -1)
    losses = -(soft_labels.to(log_probs) * log_probs).sum(-1)  # (batch, length)
    return losses.masked_fill(labels == IGNORE, 0.0).sum()
