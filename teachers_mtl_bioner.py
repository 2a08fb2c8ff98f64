"""Teachers: saved models that label the training text of other tasks, where its own corpus says nothing.

A corpus annotates some types only. A teacher, a model trained on another corpus, says of each of its sub-words how
probable the labels of its own task are; the model in training learns from these soft labels beside the gold ones
(Hinton et al. 2015; from single-task teachers to a multi-task student: Clark et al. 2019, "BAM!"). So each head is
trained on the text of all corpora.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from data_collators import TaskRows, load_tokenizer
from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel, pad_batch


logger = logging.getLogger(__name__)


def teach(
    rows: TaskRows, config: MtlBionerConfig, tokenizer: Any, teachers: Sequence[str], device: torch.device, bf16: bool
) -> None:
    """Give each row `soft_labels`, (length, labels of all tasks): the probabilities that the teachers see.

    Those of a task that no teacher has, and of the row's own, are 0 (see `soft_loss`).

    Args:
        config: of the model in training.
        tokenizer: its.
        teachers: names of saved models; of two with a head of the same name, the last counts.

    Raises:
        ValueError: a teacher that can't be loaded, has other sub-words, or no head of a task and its types.
    """
    sizes = [len(config.labels(task)) for task in range(len(config.tasks))]
    for row in rows.rows:
        row.soft_labels = torch.zeros(len(row.input_ids), sum(sizes), dtype=torch.float16)
    starts = {name: sum(sizes[:task]) for task, name in enumerate(config.task_names)}
    for name in teachers:
        teacher = load_teacher(name, tokenizer)
        known = {task["name"]: list(task["types"]) for task in teacher.config.tasks}
        own = [task["name"] for task in config.tasks if known.get(task["name"]) == list(task["types"])]
        if not own:
            raise ValueError(
                f"--teachers names {name}, whose heads are {known}; it has none of --tasks, of the same name and types"
            )
        logger.info("%s labels the rows of other tasks for %s", name, ", ".join(own))
        _label(rows, teacher.to(device).eval(), tokenizer, {task: starts[task] for task in own}, config, bf16)


def load_teacher(name: str, tokenizer: Any) -> MtlBionerModel:
    """A saved model.

    Raises:
        ValueError: it is none, or its tokenizer has other sub-words.
    """
    try:
        teacher = MtlBionerModel.from_pretrained(name, dtype=torch.float32)
        # Its config, since AutoTokenizer would look for the class of the saved one, and ask whether to trust its code.
        vocabulary = load_tokenizer(name, config=teacher.config.encoder_config).get_vocab()
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"--teachers names {name}, which is no saved multi-task model: {error}") from error
    if vocabulary != tokenizer.get_vocab():
        raise ValueError(f"--teachers names {name}, whose sub-words are others than the model's; give one with them")
    return teacher


@torch.inference_mode()
def _label(
    rows: TaskRows,
    teacher: MtlBionerModel,
    tokenizer: Any,
    starts: Mapping[str, int],
    config: MtlBionerConfig,
    bf16: bool,
    batch_size: int = 32,
) -> None:
    """Write a teacher's probabilities into the rows of other tasks; `starts` says where those of a task begin."""
    others = [row for row in rows.rows if starts.keys() - {config.task_names[row.task_id]}]
    order = sorted(others, key=lambda row: len(row.input_ids))
    for begin in tqdm(range(0, len(order), batch_size), f"labels of {', '.join(starts)}", leave=False, disable=None):
        batch = order[begin : begin + batch_size]
        ids = pad_batch([row.input_ids for row in batch], tokenizer.pad_token_id or 0).to(teacher.device)
        mask = pad_batch([[1] * len(row.input_ids) for row in batch], 0).to(teacher.device)
        with torch.autocast(teacher.device.type, torch.bfloat16, enabled=bf16):
            logits = teacher.classify(teacher.encode(ids, mask), list(starts))
        for task, own in logits.items():
            probabilities = own.softmax(-1).to("cpu", torch.float16)
            for row, found in zip(batch, probabilities, strict=True):
                if config.task_names[row.task_id] != task:
                    row.soft_labels[:, starts[task] : starts[task] + found.size(-1)] = found[: len(row.input_ids)]


def soft_loss(task_logits: Mapping[str, Tensor], soft_labels: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies `- sum over labels of p log q` of the labelled sub-words, p the teachers'.

    Args:
        task_logits: by task, in their order, (batch, length, its labels).
        soft_labels: (batch, length, labels of all tasks); all zeros where no teacher says anything.
        labels: (batch, length), `IGNORE` where there is none.
    """
    log_probs = torch.cat([logits.log_softmax(-1) for logits in task_logits.values()], -1)
    losses = -(soft_labels.to(log_probs) * log_probs).sum(-1)  # (batch, length)
    return losses.masked_fill(labels == IGNORE, 0.0).sum()
