"""Teachers: saved models that label the training text of other tasks, where its own corpus says nothing.

A corpus annotates some types only. A teacher, a model trained on another corpus, says of each of its sub-words how
probable the labels of its own task are; the model in training learns from these soft labels beside the gold ones
(Hinton et al. 2015; from single-task teachers to a multi-task student: Clark et al. 2019, "BAM!"). So each head is
trained on the text of all corpora. `--teachers auto` trains the teachers first, one for each task alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from data_collators import TaskRows
from dataset_scripts.tasks import parse_tasks, split_tasks
from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel, classify_windows
from mtl_bioner.tokenizer import load_tokenizer


logger = logging.getLogger(__name__)

# In the place of their folders: the training trains them itself, or there are none.
AUTO, NONE = "auto", "none"

# Arguments that say nothing to a training of one task from an encoder, or that belong to the student alone.
STUDENTS_ARGUMENTS = (
    "teachers", "teacher_weight", "sharing", "sharing_size", "adversarial_weight", "difference_weight", "report_gates",
    "task_loss_weights", "loss_weighting", "task_sampling_alpha", "one_task_batches", "push_to_hub", "hub_model_id",
    "hub_token", "resume_from_checkpoint", "overwrite_output", "dry_run",
)  # fmt: skip


def list_named_teachers(teachers: Sequence[str] | None) -> list[str]:
    """Those of `--teachers` that are saved models."""
    return [name for name in teachers or () if name not in (AUTO, NONE)]


def teacher_arguments(
    given: Mapping[str, Any], folder: Path, fractions: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """By task, the arguments of a training of it alone that the same command line asks for.

    It reads no text that is held-out text of any of the tasks.

    Args:
        given: arguments of the student's training.
        folder: where each has a folder of its task's name.
        fractions: the share of its training documents that each task has.
    """
    common = {name: value for name, value in given.items() if name not in STUDENTS_ARGUMENTS}
    if common.get("metric_for_best_model", "").removeprefix("eval_") != "loss":  # a score, perhaps of another task
        common = {k: v for k, v in common.items() if k not in ("metric_for_best_model", "greater_is_better")}
    corpora = [source.corpus for spec in parse_tasks(given["tasks"]) for source in spec.sources]
    leaks = [name for name in (given.get("leak_corpora") or "").split(",") if name]
    return {
        name: common
        | {
            "tasks": spec,
            "output_dir": str(folder / name),
            "leak_corpora": ",".join(dict.fromkeys([*corpora, *leaks])),
            "train_fraction": str(share) if share < 1 else None,
        }
        for spec, (name, share) in zip(split_tasks(given["tasks"]), fractions.items(), strict=True)
    }


def load_teachers(
    names: Sequence[str], tasks: Sequence[str], config: MtlBionerConfig, tokenizer: Any
) -> dict[str, MtlBionerModel]:
    """The teacher of each task that has one; of several, the last.

    Args:
        names: folders or Hub ids of saved models.
        tasks: names of the tasks in training.
        config, tokenizer: of the model in training.

    Raises:
        ValueError: a teacher that can't be loaded, has other sub-words, or none of the tasks, or one with other types.
    """
    types = {task["name"]: list(task["types"]) for task in config.tasks}
    found: dict[str, MtlBionerModel] = {}
    for name in names:
        teacher = _load(name, tokenizer)
        own = {task["name"]: list(task["types"]) for task in teacher.config.tasks if task["name"] in tasks}
        if not own:
            heads = ", ".join(teacher.config.task_names)
            raise ValueError(
                f"--teachers names {name}, whose heads are {heads}; it has none of {', '.join(tasks)}: leave it out"
            )
        for task, known in own.items():
            if known != types[task]:
                raise ValueError(
                    f"--teachers names {name}, whose head {task} finds {', '.join(known)}, the model's "
                    f"{', '.join(types[task])}; a teacher's types must be the same, in the same order"
                )
        found |= dict.fromkeys(own, teacher)
    return found


def _load(name: str, tokenizer: Any) -> MtlBionerModel:
    needed = "; give the --output_dir of a training with run_mtl_ner.py, or several, separated by spaces"
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1 or "," in name):
        raise ValueError(f"--teachers names {name}, where there is no folder{needed}")
    if Path(name).is_dir() and not _is_multi_task(Path(name)):
        raise ValueError(f"--teachers names {name}, which is no saved multi-task model{needed}")
    try:
        teacher = MtlBionerModel.from_pretrained(name, dtype=torch.float32)
        # Its config, since AutoTokenizer would look for the class of the saved one, and ask whether to trust its code.
        vocabulary = load_tokenizer(name, config=teacher.config.encoder_config).get_vocab()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), "")
        where = "can't be loaded" if Path(name).is_dir() else "is no folder, and can't be loaded from the Hub"
        raise ValueError(f"--teachers names {name}, which {where} ({reason}){needed}") from error
    if vocabulary != tokenizer.get_vocab():
        raise ValueError(f"--teachers names {name}, whose sub-words are others than the model's; give one with them")
    return teacher


def _is_multi_task(folder: Path) -> bool:
    try:
        return json.loads((folder / "config.json").read_bytes())["model_type"] == MtlBionerConfig.model_type
    except (OSError, ValueError, KeyError, TypeError):
        return False


def add_soft_labels(
    rows: TaskRows,
    teachers: Mapping[str, MtlBionerModel],
    config: MtlBionerConfig,
    tokenizer: Any,
    device: torch.device,
    bf16: bool,
) -> None:
    """Give each row `soft_labels`, (length, labels of the taught tasks): the probabilities that the teachers see.

    Those of the row's own task are 0 (see `distillation_loss`).

    Args:
        teachers: by the task they teach.
        config, tokenizer: of the model in training.
    """
    names = config.task_names
    rows.taught = [name for name in names if name in teachers]
    sizes = [len(config.labels(names.index(name))) for name in rows.taught]
    for row in rows.rows:
        row.soft_labels = torch.zeros(len(row.input_ids), sum(sizes), dtype=torch.float16)
    for place, task in enumerate(rows.taught):
        begin = sum(sizes[:place])
        _label(
            rows, teachers[task].to(device).eval(), task, slice(begin, begin + sizes[place]), names, tokenizer, bf16
        )


@torch.inference_mode()
def _label(
    rows: TaskRows,
    teacher: MtlBionerModel,
    task: str,
    columns: slice,
    names: Sequence[str],
    tokenizer: Any,
    bf16: bool,
    batch_size: int = 32,
) -> None:
    """Write a teacher's probabilities into the columns of its task, in the rows of the others."""
    others = [row for row in rows.rows if names[row.task_id] != task]
    windows, pad_token_id = [row.input_ids for row in others], tokenizer.pad_token_id or 0
    with torch.autocast(teacher.device.type, torch.bfloat16, enabled=bf16):
        batches = classify_windows(teacher, windows, [task], pad_token_id, batch_size)
        count = -(-len(others) // batch_size)
        for batch, logits in tqdm(batches, f"labels of {task}", count, leave=False, disable=None):
            probabilities = logits[task].softmax(-1).to("cpu", torch.float16)  # (batch, length, labels)
            for row, row_probabilities in zip((others[i] for i in batch), probabilities, strict=True):
                row.soft_labels[:, columns] = row_probabilities[: len(row.input_ids)]


def distillation_loss(task_logits: Mapping[str, Tensor], soft_labels: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies `- sum over labels of p log q` of the labelled sub-words, p the teachers'.

    Args:
        task_logits: of the taught tasks, in their order, (batch, length, its labels).
        soft_labels: (batch, length, labels of the taught tasks); all zeros for a row's own task.
        labels: (batch, length), `IGNORE` where there is none.
    """
    log_probs = torch.cat([logits.log_softmax(-1) for logits in task_logits.values()], -1)
    losses = -(soft_labels.to(log_probs) * log_probs).sum(-1)  # (batch, length)
    return losses.masked_fill(labels == IGNORE, 0.0).sum()
