"""MTL-BioNER: one encoder, one head per task, all of the model in one file.

This is the only code that travels with a saved model, so it imports torch, transformers and the standard library only.
Read it top to bottom: config, sharing layers, model, loss, windows, decoding, pipeline.

    model = AutoModel.from_pretrained(directory, trust_remote_code=True)
    ner = pipeline("token-classification", model=directory, trust_remote_code=True)
    ner("Cisplatin induced nephrotoxicity in BRCA1 carriers.")
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    Pipeline,
    PreTrainedConfig,
    PreTrainedModel,
    initialization,
)
from transformers.utils import ModelOutput


IGNORE = -100  # label of sub-words without one: special tokens, padding, context, continuations of a word


# ------------------------------------------------------------------------------------------------------------- config


class MtlBionerConfig(PreTrainedConfig):
    """What a multi-task model is made of.

    Args:
        encoder_config: config of any encoder of the `AutoModel` family, or its dict form.
        tasks: one dict a head, in the order of `task_id`: `{"name": str, "types": [entity type, ...]}`. A list, since
            a dict would come back from JSON in another order. Other keys are kept.
        sharing: name of the sharing layer between encoder and heads, a key of `SHARING`.
        sharing_size: width of the shared and the private features of all sharing layers but `hard`. None: a sixth of
            the encoder's, which is the paper's 128 for an encoder of BERT's size.
        adversarial_weight, difference_weight: of the two penalties of `adversarial`.
        head_dropout: dropout probability on the features a head sees.
        word_pattern: regular expression of a word; entities begin and end at word borders.
        sentence_pattern: regular expression of what lies between sentences; each window then holds one sentence, or
            several hold a long one. Empty: windows are filled with whole text.
        max_seq_length: sub-words of a window, special tokens included.
        context_size: sub-words of context that a window repeats from its neighbours of the same sentence (or text, if
            there is no `sentence_pattern`), at most, on each side.

    Raises:
        ValueError: task names that repeat, are empty, hold a `.` or are one of torch's (`type`); a task without types,
            or with one twice; an unknown sharing layer, or a bad size of it; a bad `word_pattern` or
            `sentence_pattern`.
    """

    model_type = "mtl_bioner"
    sub_configs = {"encoder_config": AutoConfig}
    keys_to_ignore_at_inference = ["hidden_states", "task_logits", "penalty", "log_variance"]

    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        tasks: Sequence[dict[str, Any]] = (),
        sharing: str = "hard",
        sharing_size: int | None = None,
        adversarial_weight: float = 0.01,
        difference_weight: float = 0.001,
        head_dropout: float = 0.1,
        word_pattern: str = r"(?:[^\W_][\u0300-\u036f]*)+|\S",
        sentence_pattern: str = "",
        max_seq_length: int = 320,
        context_size: int = 32,
        **kwargs: Any,
    ) -> None:
        if isinstance(encoder_config, dict):
            encoder_config = AutoConfig.for_model(**encoder_config)
        self.encoder_config = encoder_config
        self.sharing = sharing
        if sharing_size is None and self.encoder_config is not None:
            sharing_size = max(1, self.encoder_config.hidden_size // 6)
        self.sharing_size = sharing_size
        self.adversarial_weight = adversarial_weight
        self.difference_weight = difference_weight
        self.head_dropout = head_dropout
        self.word_pattern = word_pattern
        self.sentence_pattern = sentence_pattern
        self.max_seq_length = max_seq_length
        self.context_size = context_size
        if sharing not in SHARING:
            raise ValueError(f"sharing is {sharing!r}; known are {', '.join(SHARING)}")
        if sharing_size is not None and (not isinstance(sharing_size, int) or sharing_size < 1):
            raise ValueError(f"sharing_size is {sharing_size}; give a whole number from 1")
        for name in ("word_pattern", "sentence_pattern"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                pattern = getattr(self, name)
                raise ValueError(f"{name} {pattern!r} is no regular expression: {error}") from error
        super().__init__(**kwargs)
        self.set_tasks(tasks)
        own = {
            "impl": "modeling_mtl_bioner.MtlBionerPipeline",
            "pt": ["AutoModelForTokenClassification"],
            "type": "text",
        }
        self.custom_pipelines = {name: dict(own) for name in ("token-classification", "ner")}

    def set_tasks(self, tasks: Sequence[dict[str, Any]]) -> None:
        """Replace the tasks; raises ValueError as the class says."""
        names = [task.get("name") for task in tasks]
        # A head is a submodule of its task's name, so the names of the module's own attributes are taken.
        taken = TaskModules()
        bad = [n for n in names if not isinstance(n, str) or not n or "." in n or hasattr(taken, n)]
        if bad or len(set(names)) < len(names):
            raise ValueError(
                f"task names are {names}; each must be unique, not empty, without a '.', and none of torch's own "
                "names, such as 'type' or 'train'"
            )
        for task in tasks:
            types = task.get("types")
            if not isinstance(types, (list, tuple)) or not types or len(set(types)) < len(types):
                raise ValueError(f"task {task['name']} has the types {types!r}; give a list of one or more, each once")
        self.tasks = [dict(task) for task in tasks]
        self.num_labels = 2  # transformers' default; only a single task's labels stand where stock code reads them
        if len(names) == 1:
            self.id2label = dict(enumerate(self.labels(0)))
            self.label2id = {label: i for i, label in enumerate(self.labels(0))}

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks; the index of a name is its `task_id`."""
        return [task["name"] for task in self.tasks]

    def labels(self, task: int) -> list[str]:
        """BIO labels of a task, `O` first, then `B-`, `I-` of each of its types."""
        return ["O", *(f"{prefix}-{name}" for name in self.tasks[task]["types"] for prefix in "BI")]

    def score_calibration(self, task: int) -> tuple[float, float]:
        """Temperature and bias of a task's scores (see `WordSpan`), 1 and 0 where none were fitted."""
        return float(self.tasks[task].get("temperature", 1.0)), float(self.tasks[task].get("score_bias", 0.0))

    @property
    def widest(self) -> int:
        """Size of the largest label set: the last dimension of `logits`."""
        return max((len(self.labels(task)) for task in range(len(self.tasks))), default=1)


# ----------------------------------------------------------------------------------------------------- sharing layers


class HardSharing(nn.Module):
    """Hard parameter sharing (FS-MTM of Wang et al. 2019): every head sees the encoder's own hidden states, `S`.

    What a sharing layer is: `project` maps hidden states (rows, length, hidden) to what does not depend on the task
    and serves all of them; `forward` takes that and the task of each row, (rows,), to the features (rows,
    length, `size`) that the row's head sees; `penalty` is what each row adds to the training loss, (rows,), or None.
    Parameters of a task lie in a `TaskModules`, so that tasks can be added and dropped.
    """

    def __init__(self, config: MtlBionerConfig) -> None:
        super().__init__()
        self.size = config.encoder_config.hidden_size

    def project(self, hidden: Tensor) -> Any:
        return hidden

    def forward(self, projected: Any, task_id: Tensor) -> Tensor:
        return projected

    def penalty(self, features: Tensor, task_id: Tensor, mask: Tensor) -> Tensor | None:
        return None


class TaskModules(nn.ModuleDict):
    """A module for each task by its name; tasks are numbered in their order."""

    def linear(self, inputs: Tensor, task_id: Tensor) -> Tensor:
        """(rows, length, in) to (rows, length, out), each row by the linear map of its task (rows,), all at once.

        Maps of tasks without rows take no part, so they get no gradient, and the optimiser leaves them alone.
        """
        present, own = task_id.unique(return_inverse=True)
        maps = [list(self.values())[task] for task in present.tolist()]
        weight = torch.stack([m.weight for m in maps])[own]  # (rows, out, in)
        bias = torch.stack([m.bias for m in maps])[own]  # (rows, out)
        return torch.baddbmm(bias[:, None], inputs, weight.transpose(1, 2))


class SharedPrivateSharing(HardSharing):
    """Shared-private (SP-MTM of Wang et al. 2019): the head of task t sees `[P_t ; S]`.

    `S = ELU(W_s H)`, `P_t = ELU(W_t H)`, H being the encoder's hidden states.
    """

    def __init__(self, config: MtlBionerConfig) -> None:
        nn.Module.__init__(self)
        hidden, width = config.encoder_config.hidden_size, config.sharing_size
        self.size = 2 * width
        self.shared = nn.Linear(hidden, width)
        self.private = TaskModules({name: nn.Linear(hidden, width) for name in config.task_names})

    def project(self, hidden: Tensor) -> Any:
        return hidden, nn.functional.elu(self.shared(hidden))  # H, S

    def forward(self, projected: Any, task_id: Tensor) -> Tensor:
        hidden, shared = projected
        private = nn.functional.elu(self.private.linear(hidden, task_id))  # (rows, length, width)
        return torch.cat([private, shared], -1)  # (rows, length, 2 width)


class AdversarialSharing(SharedPrivateSharing):
    """Adversarial (ADV-MTM of Wang et al. 2019): shared-private, with two penalties on what is shared.

    `adversarial_weight * CE(D(S), t)` for a discriminator D that tells the task from the mean of S; its gradient is
    reversed, so that S learns to tell nothing of it. `difference_weight * |S^T P_t|_F`, the norm of the products of
    the two, each token's features scaled to length 1, so that P_t learns what S does not hold.
    """

    def __init__(self, config: MtlBionerConfig) -> None:
        super().__init__(config)
        self.weights = config.adversarial_weight, config.difference_weight
        self.discriminator = TaskModules({name: nn.Linear(config.sharing_size, 1) for name in config.task_names})

    def penalty(self, features: Tensor, task_id: Tensor, mask: Tensor) -> Tensor:
        mask = mask[..., None].to(features)  # (rows, length, 1)
        private, shared = (features * mask).float().chunk(2, -1)  # (rows, length, width)
        mean = _ReverseGradient.apply(shared.sum(1) / mask.sum(1).clamp(min=1))  # (rows, width)
        logits = torch.cat([own(mean.to(own.weight)) for own in self.discriminator.values()], -1)  # (rows, tasks)
        adversarial = nn.functional.cross_entropy(logits.float(), task_id, reduction="none")
        private, shared = nn.functional.normalize(private, dim=-1), nn.functional.normalize(shared, dim=-1)
        difference = (shared.transpose(1, 2) @ private).flatten(1).norm(dim=-1)  # (rows,)
        return self.weights[0] * adversarial + self.weights[1] * difference


class _ReverseGradient(torch.autograd.Function):
    """The identity, whose gradient has the opposite sign (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class CrossSharing(SharedPrivateSharing):
    """Cross-sharing (CS-MTM of Wang et al. 2019): what is private passes gates that the other tasks open.

    The head of task t sees `[P_t * mean over k != t of g_kt ; S]` with `g_kt = sigmoid(G_kt P_k + b_kt)`, all of the
    row's own tokens. The paper has two tasks; for more, the mean of the gates is one of several forms that come to the
    same with two. `OPEN` is where b_kt starts, so that gates start almost open. With one task there is no gate.
    """

    OPEN = 2.0

    def __init__(self, config: MtlBionerConfig) -> None:
        super().__init__(config)
        width, names = config.sharing_size, config.task_names
        self.gates = TaskModules(
            {t: TaskModules({k: nn.Linear(width, width) for k in names if k != t}) for t in names}
        )

    def project(self, hidden: Tensor) -> Any:
        maps = [*self.private.values(), self.shared]
        weight, bias = torch.cat([m.weight for m in maps]), torch.cat([m.bias for m in maps])
        projected = nn.functional.elu(nn.functional.linear(hidden, weight, bias))
        return projected.unflatten(-1, (len(maps), -1))  # (rows, length, tasks + 1, width): P_1, P_2, ..., S

    def forward(self, projected: Any, task_id: Tensor) -> Tensor:
        private = projected[torch.arange(len(task_id), device=task_id.device), :, task_id]  # (rows, length, width)
        if len(self.gates) > 1:
            private = private * self.open_gates(projected, task_id).mean(1)
        return torch.cat([private, projected[:, :, -1]], -1)  # (rows, length, 2 width)

    def open_gates(self, projected: Any, task_id: Tensor) -> Tensor:
        """The gates of each row's task, (rows, other tasks, length, width), the others in their order."""
        present, own = task_id.unique(return_inverse=True)
        gates = [list(list(self.gates.values())[task].values()) for task in present.tolist()]
        weight = torch.stack([torch.stack([g.weight for g in other]) for other in gates])[own]  # (rows, k, out, in)
        bias = torch.stack([torch.stack([g.bias for g in other]) for other in gates])[own]  # (rows, k, out)
        tasks = torch.arange(len(self.gates), device=task_id.device)
        others = torch.stack([tasks[tasks != task] for task in present.tolist()])[own]  # (rows, k)
        inputs = projected.transpose(1, 2)[torch.arange(len(others), device=tasks.device)[:, None], others]
        opened = torch.baddbmm(
            (bias[:, :, None] + self.OPEN).flatten(0, 1), inputs.flatten(0, 1), weight.flatten(0, 1).transpose(1, 2)
        )  # (rows * k, length, width)
        return opened.sigmoid().unflatten(0, others.shape)


SHARING = {
    "hard": HardSharing,
    "shared_private": SharedPrivateSharing,
    "adversarial": AdversarialSharing,
    "cross": CrossSharing,
}


# -------------------------------------------------------------------------------------------------------------- model


@dataclass
class MtlBionerOutput(ModelOutput):
    """What `MtlBionerModel.forward` returns.

    Attributes:
        loss: scalar, given `labels`.
        logits: (batch, length, widest label set), impossible classes at the dtype's minimum; given one task a row.
        task_logits: task name -> (batch, length, its labels); given no `task_id` and several tasks, or `tasks`.
        hidden_states: the encoder's last hidden state (batch, length, hidden).
        penalty: (batch,) what the sharing layer adds to the loss of each labelled token of a row; in training, if any.
        log_variance: (batch,) the learned s of each row's task, see `multi_task_loss`; in training, if it is learned.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    task_logits: dict[str, Tensor] | None = None
    hidden_states: Tensor | None = None
    penalty: Tensor | None = None
    log_variance: Tensor | None = None


class MtlBionerModel(PreTrainedModel):
    """A shared encoder, a sharing layer, and a linear head per task, routed by the `task_id` of each row.

    Raises:
        ValueError: the config has no encoder, or no tasks.
    """

    config_class = MtlBionerConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    accepts_loss_kwargs = True  # the loss takes num_items_in_batch
    supports_gradient_checkpointing = True
    _keys_to_ignore_on_load_unexpected = ("log_variances",)
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, config: MtlBionerConfig) -> None:
        super().__init__(config)
        if config.encoder_config is None or not config.tasks:
            raise ValueError("the config has no encoder_config or no tasks; a model needs both")
        self.encoder = AutoModel.from_config(config.encoder_config)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # unused: it would be saved, and would hinder distributed training
        self.sharing = SHARING[config.sharing](config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(self.sharing.size, len(config.labels(t))) for t, name in enumerate(config.task_names)}
        )
        self.log_variances: nn.Parameter | None = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear) and self.config.sharing != "hard":
            # Of a sharing layer or a head (the encoder has its own `_init_weights`): weights that keep the size of
            # their input. Through two new layers the usual standard deviation of 0.02 lets it fade, and learning
            # begins late.
            initialization.normal_(module.weight, std=module.in_features**-0.5)

    def scaled_log_variances(self) -> Tensor:
        """The s of each task, (tasks,). Adam's steps are of the size of a learning rate that suits an encoder's
        weights, and s has some units to go, so it is 20 times the parameter, whose gradient stays that of s: clipping
        goes by the norm of all gradients."""
        return self.log_variances + 19 * self.log_variances.detach()

    def pipeline(self, tokenizer: Any, **options: Any) -> MtlBionerPipeline:
        """The pipeline of a loaded model; transformers' own `pipeline` finds it by a folder's or Hub name only."""
        return MtlBionerPipeline(model=self, tokenizer=tokenizer, **options)

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any) -> Tensor:
        """Hidden states (batch, length, hidden) of one encoder pass."""
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state

    def classify(self, hidden: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Logits (rows, length, its labels) of each of the tasks, from hidden states (rows, length, hidden).

        Raises:
            ValueError: an unknown task.
        """
        names, projected, logits = self.config.task_names, self.sharing.project(hidden), {}
        for name in tasks:
            if name not in names:
                raise ValueError(f"no task {name!r}; the model's are {', '.join(names)}")
            task_id = torch.full(hidden.shape[:1], names.index(name), device=hidden.device)
            logits[name] = self.heads[name](self.dropout(self.sharing(projected, task_id))).float()
        return logits

    def features(self, hidden: Tensor, task_id: Tensor) -> Tensor:
        """What the head of each row sees, (batch, length, size), of hidden states (batch, length, hidden).

        Raises:
            ValueError: a `task_id` (batch,) without a task.
        """
        if len(task_id) and not 0 <= int(task_id.min()) <= int(task_id.max()) < len(self.config.tasks):
            found = task_id.unique().tolist()
            raise ValueError(f"task_id holds {found}; the model's are 0 to {len(self.config.tasks) - 1}")
        return self.sharing(self.sharing.project(hidden), task_id)

    def classify_rows(self, features: Tensor, task_id: Tensor) -> Tensor:
        """Logits (batch, length, widest), each row by the head that `task_id` (batch,) names."""
        logits = features.new_full(
            (*features.shape[:2], self.config.widest), torch.finfo(torch.float32).min, dtype=torch.float32
        )
        # Only heads with rows run: a head without any gets no gradient, so the optimiser leaves it alone.
        for task in task_id.unique().tolist():
            rows = (task_id == task).nonzero().squeeze(1)  # (rows,)
            own = self.heads[self.config.task_names[task]](self.dropout(features[rows])).float()
            logits[rows, :, : own.size(-1)] = own  # (rows, length, labels)
        return logits

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        task_id: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        tasks: Sequence[str] = (),
        return_dict: bool | None = None,
    ) -> MtlBionerOutput | tuple[Tensor, ...]:
        """One encoder pass, then the heads.

        Args:
            input_ids, attention_mask, token_type_ids: (batch, length), as the tokenizer gives them.
            task_id: (batch,) index of each row's task. May be left out with one task, or to get `task_logits` only.
            labels: (batch, length) label ids of the row's task, `IGNORE` where there is none.
            num_items_in_batch: the N of the loss; the labelled tokens of this batch if None.
            tasks: names of tasks whose logits are wanted for all rows, whatever their `task_id`; all without one.

        Raises:
            ValueError: `labels` for several tasks without `task_id`, a `task_id` without a task, or an unknown name
                in `tasks`.
        """
        inputs = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.encode(input_ids, attention_mask, **inputs)
        if task_id is None and len(self.config.tasks) == 1 and (labels is not None or not tasks):
            task_id = torch.zeros(len(input_ids), dtype=torch.long, device=hidden.device)
        loss = logits = task_logits = penalty = log_variance = None
        if task_id is None:
            if labels is not None:
                raise ValueError(
                    f"labels were given without task_id, and the model has {len(self.config.tasks)} tasks; give "
                    "task_id, shape (batch,), which says whose labels each row carries"
                )
            tasks = tasks or self.config.task_names
        else:
            features = self.features(hidden, task_id)
            logits = self.classify_rows(features, task_id)
            if self.training:
                mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
                penalty = self.sharing.penalty(features, task_id, mask)
                log_variance = None if self.log_variances is None else self.scaled_log_variances()[task_id]
        if tasks:
            task_logits = self.classify(hidden, tasks)
        if labels is not None:
            weights = torch.ones(len(self.config.tasks))
            loss, _, _ = multi_task_loss(logits, labels, task_id, weights, num_items_in_batch, penalty, log_variance)
        output = MtlBionerOutput(loss, logits, task_logits, hidden, penalty, log_variance)
        return output.to_tuple() if return_dict is False else output

    def save_pretrained(self, save_directory: str, *args: Any, **kwargs: Any) -> None:
        """As in transformers; this file goes along, under the names `AutoModel` and others look it up by."""
        MtlBionerConfig.register_for_auto_class()
        type(self).register_for_auto_class("AutoModelForTokenClassification")
        module = MtlBionerModel.__module__.rsplit(".", 1)[-1]
        self.config.auto_map = {
            **(getattr(self.config, "auto_map", None) or {}),
            "AutoModel": f"{module}.MtlBionerModel",
        }
        super().save_pretrained(save_directory, *args, **kwargs)


def multi_task_loss(
    logits: Tensor,
    labels: Tensor,
    task_id: Tensor,
    task_weights: Tensor,
    num_items: Tensor | int | None = None,
    penalty: Tensor | None = None,
    log_variance: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`L = (1/N) sum over tasks w_t * sum over t's labelled tokens of the cross-entropy`.

    N is the same for all tasks, so mixed and one-task batches agree in expectation, and the sum over micro-batches and
    processes is the loss of the whole update.

    Args:
        logits: (batch, length, widest).
        labels: (batch, length), `IGNORE` where there is none.
        task_id: (batch,).
        task_weights: (tasks,), the w_t.
        num_items: N; the labelled tokens of this batch if None. At least 1: with none, the loss is 0.
        penalty: (batch,) added, unweighted, for each labelled token of a row, so that it is a mean as the loss is one.
        log_variance: (batch,) s = log sigma^2 of the row's task: a labelled token's loss is `exp(-s) CE + s/2`
            (Kendall et al. 2018, for a classification).

    Returns:
        The loss (scalar), and for logging, without gradient, each task's summed cross-entropy and number of labelled
        tokens, both (tasks,).
    """
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="none"
    ).view_as(labels)  # (batch, length)
    row_sums, row_counts = losses.sum(1), labels.ne(IGNORE).sum(1)  # (batch,)
    weights = task_weights.to(losses)
    num_items = torch.as_tensor(row_counts.sum() if num_items is None else num_items).clamp(min=1)
    row_weights = weights[task_id]  # (batch,)
    if log_variance is not None:
        row_weights = row_weights * (-log_variance).exp()
        penalty = log_variance / 2 if penalty is None else penalty + log_variance / 2
    loss = (row_sums * row_weights).sum() / num_items
    if penalty is not None:
        loss = loss + (penalty * row_counts).sum() / num_items
    sums = torch.zeros_like(weights).index_add(0, task_id, row_sums.detach())  # (tasks,)
    counts = torch.zeros_like(weights).index_add(0, task_id, row_counts.to(weights))  # (tasks,)
    return loss, sums, counts


# ------------------------------------------------------------------------------------------------------------ windows


@dataclass(frozen=True)
class Window:
    """A piece of a text that fits the encoder.

    Attributes:
        core: half-open range of the words that this window labels and decodes; the cores of a text's windows
            partition its words.
        input_ids: sub-words with special tokens: context, core, context.
        positions: index into `input_ids` of the first sub-word of each core word, -1 for a word without sub-words.
        sizes: number of sub-words of each core word in the window.
    """

    core: tuple[int, int]
    input_ids: list[int]
    positions: list[int]
    sizes: list[int]


def plan_windows(sizes: Sequence[int], capacity: int, context: int) -> list[tuple[int, int, int, int]]:
    """Cut a run of words into windows `(first, core_start, core_end, last)`, half-open word ranges.

    Every word is in exactly one core. A window holds at most `capacity` sub-words (a word larger than that counts as
    `capacity` and gets a window for itself), of which up to `context` on each side are the neighbours' words; never
    more than a quarter of it on each side, so that short windows don't become all context.

    Args:
        sizes: sub-words of each word.
    """
    sizes = [min(size, capacity) for size in sizes]
    if sum(sizes) <= capacity:
        return [(0, 0, len(sizes), len(sizes))] if sizes else []
    context = min(context, capacity // 4)
    plan, start = [], 0
    while start < len(sizes):
        first = _reach_back(sizes, start, min(context, capacity - sizes[start]))
        used = sum(sizes[first:start])
        rest_fits = sum(sizes[start : start + capacity]) <= capacity - used and start + capacity >= len(sizes)
        budget = capacity - used - (0 if rest_fits else context)
        end, filled = start, 0
        while end < len(sizes) and (end == start or filled + sizes[end] <= budget):
            filled += sizes[end]
            end += 1
        last, spare = end, min(context, capacity - used - filled)
        while last < len(sizes) and sizes[last] <= spare:
            spare -= sizes[last]
            last += 1
        plan.append((first, start, end, last))
        start = end
    return plan


def _reach_back(sizes: Sequence[int], start: int, room: int) -> int:
    """First word of the left context of at most `room` sub-words."""
    first = start
    while first > 0 and sizes[first - 1] <= room:
        first -= 1
        room -= sizes[first]
    return first


def find_sentence_breaks(text: str, words: Sequence[tuple[int, int]], pattern: str) -> list[int]:
    """Indices of the words that begin a sentence, but for the first; none without a pattern.

    Args:
        words: half-open offsets into the text, ascending.
        pattern: regular expression of what lies between sentences, as in the config.
    """
    starts = [start for start, _ in words]
    ends = [match.end() for match in re.finditer(pattern, text)] if pattern else []
    return sorted({bisect.bisect_left(starts, end) for end in ends} - {0, len(words)})


def make_windows(
    tokenizer: Any, words: Sequence[str], max_length: int, context: int, breaks: Sequence[int] = ()
) -> list[Window]:
    """The windows of a text's words: no word is left out, none is in two cores.

    Words are tokenised one by one, so that no sub-word crosses a word border with any tokenizer.

    Args:
        tokenizer: a fast tokenizer.
        max_length: sub-words of a window, special tokens included.
        context: sub-words of context on each side, at most.
        breaks: word indices at which a new window must begin, without context (sentences).

    Raises:
        ValueError: a `max_length` with no room for words.
    """
    prefix, suffix = get_special_ids(tokenizer)
    capacity = max_length - len(prefix) - len(suffix)
    if capacity < 1:
        raise ValueError(f"max_seq_length is {max_length}; the special tokens alone take {max_length - capacity}")
    pieces = split_subwords(tokenizer, words)
    windows: list[Window] = []
    borders = [0, *sorted(set(breaks) - {0, len(words)}), len(words)]
    for begin, end in itertools.pairwise(borders):
        for first, core_start, core_end, last in plan_windows(
            [len(piece) for piece in pieces[begin:end]], capacity, context
        ):
            ids, starts = list(prefix), []
            for piece in pieces[begin + first : begin + last]:
                starts.append(len(ids) if piece else -1)
                ids.extend(piece[:capacity])
            core = slice(begin + core_start, begin + core_end)
            windows.append(
                Window(
                    (core.start, core.stop),
                    ids + suffix,
                    starts[core_start - first : core_end - first],
                    [min(len(piece), capacity) for piece in pieces[core]],
                )
            )
    return windows


_HALF_PAIR = re.compile("[\ud800-\udfff]")


def split_subwords(tokenizer: Any, words: Sequence[str]) -> list[list[int]]:
    """Sub-word ids of each word, without special tokens; none for a word the tokenizer knows nothing of (NUL)."""
    pieces: list[list[int]] = [[] for _ in words]
    if not words:
        return pieces
    words = [_HALF_PAIR.sub("\ufffd", word) for word in words]  # no tokenizer takes half a surrogate pair
    encoding = tokenizer(words, is_split_into_words=True, add_special_tokens=False, verbose=False)
    for token, word in zip(encoding["input_ids"], encoding.word_ids(), strict=True):
        if word is not None:
            pieces[word].append(token)
    return pieces


def get_special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids the tokenizer puts before and after a text."""
    encoding = tokenizer(["a"], is_split_into_words=True)
    inside = [i for i, word in enumerate(encoding.word_ids()) if word is not None]
    ids = encoding["input_ids"]
    return list(ids[: inside[0]]), list(ids[inside[-1] + 1 :])


def pad_batch(sequences: Sequence[Sequence[int]], value: int, length: int = 1) -> Tensor:
    """(batch, longest, but at least `length`) tensor of the sequences, padded on the right with `value`."""
    longest = max(length, *map(len, sequences))
    return torch.tensor([[*sequence, *[value] * (longest - len(sequence))] for sequence in sequences])


# ----------------------------------------------------------------------------------------------------------- decoding


def build_transition_mask(labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which label may begin a text, (labels,), and which may follow which, (labels, labels): 0, or the least float32.

    Legal IOB2: `I-X` only after `B-X` or `I-X`.
    """
    forbidden = torch.finfo(torch.float32).min
    start = torch.tensor([forbidden if label.startswith("I-") else 0.0 for label in labels])
    follow = [
        [0.0 if not new.startswith("I-") or old[1:] == new[1:] else forbidden for new in labels] for old in labels
    ]
    return start, torch.tensor(follow)


def decode_labels(log_probs: Tensor, lengths: Sequence[int], labels: Sequence[str]) -> list[list[int]]:
    """The most probable legal label sequence of each text (Viterbi), in one pass for the batch.

    Args:
        log_probs: (texts, words, labels), padded on the right.
        lengths: words of each text.
    """
    start, follow = (mask.to(log_probs) for mask in build_transition_mask(labels))
    words = torch.tensor(lengths, device=log_probs.device)[:, None]  # (texts, 1)
    score, back = log_probs[:, 0] + start, []  # (texts, labels)
    for step in range(1, log_probs.size(1)):
        best, previous = (score[:, :, None] + follow).max(1)  # (texts, labels)
        score = torch.where(step < words, best + log_probs[:, step], score)
        score = score - score.amax(-1, keepdim=True)  # differences count; a long text's sum would lose its digits
        back.append(previous.short())
    pointers = torch.stack(back, 1) if back else torch.empty(len(lengths), 0)  # (texts, words - 1, labels)
    paths = []
    for text, (label, length) in enumerate(zip(score.argmax(-1).tolist(), lengths, strict=True)):
        path = [label]
        for step in reversed(pointers[text, : max(length - 1, 0)].tolist()):
            path.append(step[path[-1]])
        paths.append(path[::-1] if length else [])
    return paths


@dataclass(frozen=True)
class WordSpan:
    """A decoded entity: half-open range of words, type, and score.

    The score is `sigmoid(log-odds / temperature + bias)`, the log-odds being those of the geometric mean of the
    probabilities of its words' labels, and of that it ends where it does. Temperature and bias are fitted on
    development data (Platt 1999), so that the score is the chance of the entity to be right.
    """

    start: int
    end: int
    type: str
    score: float


def decode_spans(
    word_logits: Sequence[Tensor],
    labels: Sequence[str],
    max_padded_words: int = 65_536,
    calibration: tuple[float, float] = (1.0, 0.0),
) -> list[list[WordSpan]]:
    """Entities of texts from their words' logits.

    A word without sub-words (see `gather_word_logits`) is passed over: it is inside an entity that goes on behind it.

    Args:
        word_logits: per text (words, at least `len(labels)`); further classes are ignored.
        labels: the task's BIO labels.
        max_padded_words: bounds texts times longest of what is decoded at once; one text may be longer.
        calibration: temperature and bias of the scores.
    """
    spans: list[list[WordSpan]] = [[] for _ in word_logits]
    known = [(~logits[:, 0].isneginf()).nonzero().flatten() for logits in word_logits]
    word_logits = [logits[own] for logits, own in zip(word_logits, known, strict=True)]
    order = sorted((i for i, logits in enumerate(word_logits) if len(logits)), key=lambda i: len(word_logits[i]))
    while order:
        size = 1
        while size < len(order) and (size + 1) * len(word_logits[order[size]]) <= max_padded_words:
            size += 1
        batch, order = order[:size], order[size:]
        lengths = [len(word_logits[i]) for i in batch]
        padded = nn.utils.rnn.pad_sequence([word_logits[i][:, : len(labels)].float() for i in batch], batch_first=True)
        log_probs = padded.log_softmax(-1)
        for i, path, own in zip(batch, decode_labels(log_probs, lengths, labels), log_probs, strict=True):
            words = known[i].tolist()
            spans[i] = [
                replace(span, start=words[span.start], end=words[span.end - 1] + 1)
                for span in _collect(path, own, labels, calibration)
            ]
    return spans


def _collect(
    path: Sequence[int], log_probs: Tensor, labels: Sequence[str], calibration: tuple[float, float]
) -> list[WordSpan]:
    """The entities of a text, from the labels of its words and all labels' log-probabilities (words, labels)."""
    chosen = log_probs[torch.arange(len(path)), torch.tensor(path)].tolist()
    spans, begin = [], None
    for word in range(len(path) + 1):
        label = labels[path[word]] if word < len(path) else "O"
        if begin is not None and not label.startswith("I-"):
            longer = log_probs[word, path[begin] + 1].exp().item() if word < len(path) else 0.0  # one word more of it
            mean = (sum(chosen[begin:word]) + math.log1p(-min(longer, 1 - 1e-6))) / (word - begin + 1)
            score = calibrate_score(mean, *calibration)
            spans.append(WordSpan(begin, word, labels[path[begin]][2:], score))
            begin = None
        if label.startswith("B-"):
            begin = word
    return spans


def compute_log_odds(log_probability: float) -> float:
    """Of a probability from its logarithm, bounded to -16 and 16."""
    log_probability = min(max(log_probability, -16.0), -1.2e-7)
    return log_probability - math.log(-math.expm1(log_probability))


def calibrate_score(log_probability: float, temperature: float, bias: float) -> float:
    """The score of `WordSpan`."""
    return 1 / (1 + math.exp(-(compute_log_odds(log_probability) / temperature + bias)))


# ----------------------------------------------------------------------------------------------------------- pipeline


class MtlBionerPipeline(Pipeline):
    """Text in, entities of all tasks out, of texts of any length.

        ner = pipeline("token-classification", model=directory, trust_remote_code=True)
        ner("text") -> [{"entity_group", "score", "word", "start", "end", "task"}, ...]
        ner(["text", ...]) -> a list a text; ner(generator) -> an iterator

    `text[start:end] == word` always holds. Entities come sorted by start, end and task.

    Options, here or in a call:
        tasks: names of the tasks to run, all by default.
        threshold: least score of an entity, 0 by default: all that were found.
        overlaps: what is kept where entities of several tasks overlap (those of one never do): `all` of them, by
            default; the `longest`, of equally long ones the better scored; or the `best` scored, of equals the longer.
        batch_size: windows of one encoder pass, 16 by default.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(
        self,
        tasks: Sequence[str] | str | None = None,
        threshold: float | None = None,
        overlaps: str | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            names = ", ".join(sorted(unknown))
            raise TypeError(f"unknown argument {names}; the pipeline takes tasks, threshold, overlaps, batch_size")
        names = self.model.config.task_names
        tasks = [tasks] if isinstance(tasks, str) else tasks
        if tasks is not None and not isinstance(tasks, (list, tuple)):
            raise ValueError(f"tasks is {tasks!r}; give a list of names, from {', '.join(names)}")
        for name in tasks or ():
            if name not in names:
                raise ValueError(f"no task {name!r}; the model's are {', '.join(names)}")
        if threshold is not None and (not _is_number(threshold, Real) or not 0 <= threshold <= 1):
            raise ValueError(f"threshold is {threshold!r}; give a score from 0 to 1")
        if overlaps is not None and overlaps not in list(OVERLAPS):
            raise ValueError(f"overlaps is {overlaps!r}; choose one of {', '.join(OVERLAPS)}")
        options = {"tasks": tasks and list(dict.fromkeys(tasks)), "threshold": threshold, "overlaps": overlaps}
        return {}, {name: value for name, value in options.items() if value is not None}, {}

    def __call__(self, inputs: str | Iterable[str], batch_size: int | None = None, **kwargs: Any) -> Any:
        _, options, _ = self._sanitize_parameters(**kwargs)
        for size in (batch_size, self._batch_size):
            if size is not None and (not _is_number(size, Integral) or size < 1):
                raise ValueError(f"batch_size is {size!r}; it must be a whole number, 1 or more")
        batch_size = batch_size or self._batch_size or 16
        if not isinstance(inputs, Iterable) and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
            inputs = map(inputs.__getitem__, range(len(inputs)))  # as KeyDataset of transformers
        # Of a mapping or data frame, the items are names.
        of_keys = isinstance(inputs, Mapping) or hasattr(inputs, "columns")
        if of_keys or isinstance(inputs, (bytes, Set)) or not isinstance(inputs, Iterable):
            raise TypeError(f"the pipeline takes a str or an iterable of them, got {type(inputs).__name__}")
        options = {**self._forward_params, "batch_size": batch_size, **options}
        if isinstance(inputs, str):
            return next(self._stream([inputs], **options))
        results = self._stream(inputs, **options)
        return list(results) if isinstance(inputs, (list, tuple)) else results

    def _stream(
        self,
        texts: Iterable[str],
        batch_size: int,
        tasks: Sequence[str] | None = None,
        threshold: float = 0.0,
        overlaps: str = "all",
    ) -> Iterator[list[dict[str, Any]]]:
        """Texts are taken in portions of several batches of windows, so that windows of like length run together."""
        portion: list[dict[str, Any]] = []
        waiting, source, ended, problem = 0, iter(texts), False, None
        while not ended:
            try:
                portion.append(self.preprocess(next(source)))
                waiting += max(1, len(portion[-1]["windows"]))
            except StopIteration:
                ended = True
            except Exception as error:  # of a text, or of who gives them: the texts before it come first
                ended, problem = True, error
            if portion and (ended or waiting >= 8 * batch_size):
                yield from self._annotate(portion, batch_size, tasks, threshold, overlaps)
                portion, waiting = [], 0
        if problem is not None:
            raise problem

    def _annotate(
        self,
        items: list[dict[str, Any]],
        batch_size: int,
        tasks: Sequence[str] | None,
        threshold: float,
        overlaps: str,
    ) -> list[list[dict[str, Any]]]:
        outputs = self._forward(items, batch_size=batch_size, tasks=tasks)
        return [self.postprocess(output, threshold, overlaps) for output in outputs]

    def preprocess(self, text: str) -> dict[str, Any]:
        """Words of a text with their offsets, and its windows."""
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, got {type(text).__name__}: {str(text)[:80]!r}")
        config = self.model.config
        words = [match.span() for match in re.finditer(config.word_pattern, text)]
        strings = [text[start:end] for start, end in words]
        breaks = find_sentence_breaks(text, words, config.sentence_pattern)
        windows = make_windows(self.tokenizer, strings, config.max_seq_length, config.context_size, breaks)
        return {"text": text, "words": words, "windows": windows}

    @torch.inference_mode()
    def _forward(
        self, items: list[dict[str, Any]], batch_size: int = 16, tasks: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Adds `spans` to each item: task name -> its decoded `WordSpan`s."""
        self.model.eval()
        names = self.model.config.task_names if tasks is None else tasks
        windows = [(i, window) for i, item in enumerate(items) for window in item["windows"]]
        pieces: dict[str, list[Tensor]] = {name: [torch.empty(0)] * len(windows) for name in names}
        order = sorted(range(len(windows)), key=lambda i: len(windows[i][1].input_ids))
        for begin in range(0, len(order), batch_size):
            batch = order[begin : begin + batch_size]
            ids = pad_batch([windows[i][1].input_ids for i in batch], self.tokenizer.pad_token_id or 0)
            mask = pad_batch([[1] * len(windows[i][1].input_ids) for i in batch], 0)
            found = self.model(ids.to(self.model.device), mask.to(self.model.device), tasks=names).task_logits
            for name in names:
                logits = found[name].cpu()  # (batch, length, labels)
                if not logits[mask.bool()].isfinite().all():
                    raise ValueError(
                        f"the model computes no numbers in {self.model.dtype}; load it with dtype=torch.float32, and "
                        "if it is so there too, its weights are damaged"
                    )
                for i, own in zip(batch, logits, strict=True):
                    pieces[name][i] = gather_word_logits(own, windows[i][1])
        spans = {name: self._decode([i for i, _ in windows], pieces[name], len(items), name) for name in names}
        return [{**item, "spans": {name: spans[name][i] for name in spans}} for i, item in enumerate(items)]

    def _decode(self, owners: list[int], pieces: list[Tensor], texts: int, name: str) -> list[list[WordSpan]]:
        """A task's entities of each text, from the logits of each window's words and the text it belongs to."""
        per_text: list[list[Tensor]] = [[] for _ in range(texts)]
        for owner, piece in zip(owners, pieces, strict=True):
            per_text[owner].append(piece)
        config = self.model.config
        return decode_spans(
            [torch.cat(parts) if parts else torch.empty(0, 1) for parts in per_text],
            config.labels(config.task_names.index(name)),
            calibration=config.score_calibration(config.task_names.index(name)),
        )

    def postprocess(self, item: dict[str, Any], threshold: float = 0.0, overlaps: str = "all") -> list[dict[str, Any]]:
        """Character spans of the decoded word spans, sorted by start, then end, in the order of the tasks."""
        entities = []
        for task, spans in item["spans"].items():
            for span in spans:
                start, end = item["words"][span.start][0], item["words"][span.end - 1][1]
                entities.append(
                    {
                        "entity_group": span.type,
                        "score": span.score,
                        "word": item["text"][start:end],
                        "start": start,
                        "end": end,
                        "task": task,
                    }
                )
        kept = resolve_overlaps([entity for entity in entities if entity["score"] >= threshold], overlaps)
        return sorted(kept, key=lambda entity: (entity["start"], entity["end"]))


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


# What `overlaps` may be, and what then goes first of entities that overlap.
OVERLAPS = {
    "all": None,
    "longest": lambda entity: (entity["start"] - entity["end"], -entity["score"], entity["start"]),
    "best": lambda entity: (-entity["score"], entity["start"] - entity["end"], entity["start"]),
}


def resolve_overlaps(entities: list[dict[str, Any]], overlaps: str) -> list[dict[str, Any]]:
    """Those of a text's entities that are kept: in the order of `OVERLAPS`, each that overlaps none kept before it.

    Of equals the earlier is kept, then that of the earlier task.
    """
    if OVERLAPS[overlaps] is None:
        return entities
    kept: list[dict[str, Any]] = []  # ascending, without overlaps
    for entity in sorted(entities, key=OVERLAPS[overlaps]):
        place = bisect.bisect(kept, entity["start"], key=lambda other: other["start"])
        before = place and kept[place - 1]["end"] > entity["start"]
        behind = place < len(kept) and kept[place]["start"] < entity["end"]
        if not before and not behind:
            kept.insert(place, entity)
    return kept


def gather_word_logits(logits: Tensor, window: Window) -> Tensor:
    """Logits (core words, labels) of a window's core words from its sub-words' (length, labels).

    Those of a word without a sub-word, of which nothing is known, are minus infinity.
    """
    positions = torch.tensor(window.positions, dtype=torch.long, device=logits.device)
    words = logits[positions.clamp(min=0)]
    words[positions < 0] = -math.inf
    return words
