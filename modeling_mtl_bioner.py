"""MTL-BioNER: one encoder, one head per task, the whole model in one file.

This is the only code that travels with a saved model, so it imports torch, transformers and what they need only.
Read it top to bottom: config, sharing layers, model, loss, windows, decoding, pipeline.

    model = AutoModel.from_pretrained(directory, trust_remote_code=True)
    ner = pipeline("token-classification", model=directory, trust_remote_code=True)
    ner("Cisplatin induced nephrotoxicity in BRCA1 carriers.")
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import regex  # a dependency of transformers
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, Pipeline, PreTrainedConfig, PreTrainedModel, initialization
from transformers.utils import ModelOutput


# A run of letters and digits, with their accents, or any other single character that is no space; each character of a
# script without spaces (Thai, Lao, Myanmar, Khmer, kana, Han) is a word.
WORD_PATTERN = (
    r"(?:[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff][\u0300-\u036f]*)+|\S"
)
OWN_PATTERNS = {"26424ab26e613500", "79f38c12899e53ce", "054e507d8ced2bcc"}  # hashes of what never backtracks far
MAX_SUBWORDS = 1024  # of a batch of windows, padding included; a CPU is fastest with so many
PORTION = 2048  # windows that wait for others of like length: a part of `annotate` has nearly as many
IGNORE = -100  # label of sub-words without one: special tokens, padding, context, continuations of a word


# ------------------------------------------------------------------------------------------------------------- config


class Aliases(dict):
    """Names of one pipeline. They count as one, since transformers infers a task only where there is one name."""

    def __len__(self) -> int:
        return 1


class MtlBionerConfig(PreTrainedConfig):
    """Describe a multi-task model: its encoder, its sharing layer, its tasks and how it reads text.

    Args:
        encoder_config: config of any encoder of the `AutoModel` family, or its dict form.
        tasks: one dict per head, in the order of `task_id`: `{"name": str, "types": [entity type, ...]}`. A list,
            since JSON may reorder a dict. Other keys are kept.
        sharing: name of the sharing layer between encoder and heads, a key of `SHARING`.
        sharing_size: width of the shared and of the private features (not of `hard`). None: a sixth of the encoder's
            width, which is the paper's 128 for an encoder of BERT's size.
        adversarial_weight, difference_weight: weights of the two penalties of `adversarial`.
        head_dropout: dropout probability on the features a head sees.
        word_pattern: regular expression of a word; entities begin and end at word borders. Patterns other than this
            project's are matched by the package `regex` under a time limit.
        sentence_pattern: regular expression of the gap between sentences, which no window crosses; a long sentence
            takes several. Empty: windows are filled with running text.
        max_seq_length: sub-words per window, special tokens included.
        context_size: most sub-words that a window repeats from each of its neighbours, within the sentence if there is
            a `sentence_pattern`.
        tokenizer_hash: that of `hash_tokenizer`, of the tokenizer that the model was trained with; None: unknown.

    Raises ValueError for task names that repeat, are empty, hold a `.` or are one of torch's (`type`); for a task
    without types, or with one twice; for an unknown sharing layer, an impossible size or calibration, or a bad regular
    expression.
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
        word_pattern: str = WORD_PATTERN,
        sentence_pattern: str = "",
        max_seq_length: int = 320,
        context_size: int = 32,
        tokenizer_hash: str | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(encoder_config, dict):
            encoder_config = AutoConfig.for_model(**encoder_config)
        if sharing_size is None and encoder_config is not None:
            sharing_size = max(1, encoder_config.hidden_size // 6)
        self.encoder_config, self.head_dropout = encoder_config, head_dropout
        self.sharing, self.sharing_size = sharing, sharing_size
        self.adversarial_weight, self.difference_weight = adversarial_weight, difference_weight
        self.word_pattern, self.sentence_pattern = word_pattern, sentence_pattern
        self.max_seq_length, self.context_size = max_seq_length, context_size
        self.tokenizer_hash = tokenizer_hash
        if sharing not in SHARING:
            raise ValueError(f"sharing is {sharing!r}; known are {', '.join(SHARING)}")
        sizes = {"sharing_size": sharing_size, "max_seq_length": max_seq_length, "context_size": context_size}
        for name, size in sizes.items():
            least = int(name != "context_size")
            if size is not None and (not isinstance(size, int) or size < least):
                raise ValueError(f"{name} is {size!r}; give a whole number from {least}")
        for name, pattern in (("word_pattern", word_pattern), ("sentence_pattern", sentence_pattern)):
            try:
                all(engine.compile(pattern) for engine in (re, regex))
            except Exception as error:  # the engines have errors of their own
                raise ValueError(f"{name} {pattern!r} is no regular expression: {error}") from error
        super().__init__(**kwargs)
        self.set_tasks(tasks)
        entry = {"impl": "modeling_mtl_bioner.MtlBionerPipeline", "pt": ["AutoModelForTokenClassification"]}
        self.custom_pipelines = Aliases({name: {**entry, "type": "text"} for name in ("token-classification", "ner")})

    def set_tasks(self, tasks: Sequence[dict[str, Any]]) -> None:
        """Replace the tasks; raises ValueError as the class says."""
        names = [task.get("name") for task in tasks]
        # A head is a submodule of its task's name, so the names of the module's own attributes are taken.
        reserved = TaskModules()
        bad = [n for n in names if not isinstance(n, str) or not n or "." in n or hasattr(reserved, n)]
        if bad or len(set(names)) < len(names):
            raise ValueError(
                f"task names are {names}; each must be unique, not empty, without a '.', and none of torch's own "
                "names, such as 'type' or 'train'"
            )
        for task in tasks:
            types = task.get("types")
            if not isinstance(types, (list, tuple)) or not types or len(set(types)) < len(types):
                raise ValueError(f"task {task['name']} has the types {types!r}; give a list of one or more, each once")
            temperature, bias = task.get("temperature", 1.0), task.get("score_bias", 0.0)
            if not all(isinstance(x, Real) and math.isfinite(x) for x in (temperature, bias)) or temperature <= 0:
                problem = f"temperature is {temperature!r}, its score_bias {bias!r}; both must be finite numbers"
                raise ValueError(f"task {task['name']}: its {problem}, the first above 0")
        self.tasks = [dict(task) for task in tasks]
        # Stock code knows one label set. With several tasks it sees what each class of `logits` means in each head,
        # such as `ncbi:B-Disease|bc2gm:B-Gene`.
        labels = [self.labels(task) for task in range(len(tasks))]
        if len(tasks) > 1:
            labels = [["O", *(f"{n}:{label}" for label in ls[1:])] for n, ls in zip(names, labels, strict=True)]
        classes = ("|".join(dict.fromkeys(filter(None, column))) for column in itertools.zip_longest(*labels))
        self.id2label = dict(enumerate(classes))
        self.label2id = {label: i for i, label in self.id2label.items()}

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks; the index of a name is its `task_id`."""
        return [task["name"] for task in self.tasks]

    def labels(self, task: int) -> list[str]:
        """List the BIO labels of a task: `O`, then `B-` and `I-` of each of its types."""
        return ["O", *(f"{prefix}-{name}" for name in self.tasks[task]["types"] for prefix in "BI")]

    def score_calibration(self, task: int) -> tuple[float, float]:
        """Return temperature and bias of a task's scores (see `Span`); 1 and 0 where none were fitted."""
        return float(self.tasks[task].get("temperature", 1.0)), float(self.tasks[task].get("score_bias", 0.0))

    @property
    def widest(self) -> int:
        """Size of the largest label set: the last dimension of `logits`."""
        return max((len(self.labels(task)) for task in range(len(self.tasks))), default=1)


# ----------------------------------------------------------------------------------------------------- sharing layers
# The structures of Wang et al. 2019, "Multitask learning for biomedical named entity recognition with cross-sharing
# structure". H are the encoder's hidden states, S the shared features, P_t the private ones of task t.


class HardSharing(nn.Module):
    """Give every head the encoder's hidden states: `S = H` (FS-MTM).

    A sharing layer has three parts. `project` computes from hidden states (rows, length, hidden) what serves all
    tasks. `forward` takes that and the task of each row, (rows,), and returns what the row's head sees, (rows, length,
    `size`). `penalty` returns what each row adds to the training loss, (rows,), or None. Parameters of single tasks
    lie in `TaskModules`, so that tasks can be added and dropped.
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
    """Hold a module for each task by its name; tasks are numbered in their order."""

    def linear(self, inputs: Tensor, task_id: Tensor) -> Tensor:
        """Map (rows, length, in) to (rows, length, out), each row by the linear map of its task (rows,), all at once.

        Maps of tasks without rows take no part, so they get no gradient, and the optimiser leaves them alone.
        """
        present, place = task_id.unique(return_inverse=True)
        maps = [list(self.values())[task] for task in present.tolist()]
        weight = torch.stack([one.weight for one in maps])[place]  # (rows, out, in)
        bias = torch.stack([one.bias for one in maps])[place]  # (rows, out)
        return torch.baddbmm(bias[:, None], inputs, weight.transpose(1, 2))


class SharedPrivateSharing(HardSharing):
    """Give the head of task t `[P_t ; S]`, with `S = ELU(W_s H)` and `P_t = ELU(W_t H)` (SP-MTM)."""

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
    """Add two penalties to shared-private sharing, so that S tells nothing of the task (ADV-MTM).

    `adversarial_weight * CE(D(mean of S), t)`: a discriminator D learns to tell the task, and S, through a reversed
    gradient, to hide it. `difference_weight * |S^T P_t|_F`, each token's features scaled to length 1: P_t learns what
    S does not hold.
    """

    def __init__(self, config: MtlBionerConfig) -> None:
        super().__init__(config)
        self.weights = config.adversarial_weight, config.difference_weight
        self.discriminator = TaskModules({name: nn.Linear(config.sharing_size, 1) for name in config.task_names})

    def penalty(self, features: Tensor, task_id: Tensor, mask: Tensor) -> Tensor:
        mask = mask[..., None].to(features)  # (rows, length, 1)
        private, shared = (features * mask).float().chunk(2, -1)  # (rows, length, width)
        mean = shared.sum(1) / mask.sum(1).clamp(min=1)  # (rows, width)
        mean = 2 * mean.detach() - mean  # the same, but its gradient is reversed (Ganin and Lempitsky 2015)
        logits = torch.cat([one(mean.to(one.weight)) for one in self.discriminator.values()], -1)  # (rows, tasks)
        adversarial = nn.functional.cross_entropy(logits.float(), task_id, reduction="none")
        private, shared = nn.functional.normalize(private, dim=-1), nn.functional.normalize(shared, dim=-1)
        difference = (shared.transpose(1, 2) @ private).flatten(1).norm(dim=-1)  # (rows,)
        return self.weights[0] * adversarial + self.weights[1] * difference


class CrossSharing(SharedPrivateSharing):
    """Let the other tasks gate the private features of each task (CS-MTM).

    The head of task t sees `[P_t * mean over k != t of g_kt ; S]`, with `g_kt = sigmoid(G_kt P_k + b_kt)`, token by
    token. The paper has two tasks; for more, the mean is one of several forms that agree with it on two. b_kt starts
    at `OPEN`, so that gates start almost open. With one task there is no gate.
    """

    OPEN = 2.0

    def __init__(self, config: MtlBionerConfig) -> None:
        super().__init__(config)
        size, names = config.sharing_size, config.task_names
        self.gates = TaskModules({t: TaskModules({k: nn.Linear(size, size) for k in names if k != t}) for t in names})

    def project(self, hidden: Tensor) -> Any:
        maps = [*self.private.values(), self.shared]
        weight, bias = torch.cat([one.weight for one in maps]), torch.cat([one.bias for one in maps])
        projected = nn.functional.elu(nn.functional.linear(hidden, weight, bias))
        return projected.unflatten(-1, (len(maps), -1))  # (rows, length, tasks + 1, width): P_1, P_2, ..., S

    def forward(self, projected: Any, task_id: Tensor) -> Tensor:
        private = projected[torch.arange(len(task_id), device=task_id.device), :, task_id]  # (rows, length, width)
        if len(self.gates) > 1:
            private = private * self.open_gates(projected, task_id).mean(1)
        return torch.cat([private, projected[:, :, -1]], -1)  # (rows, length, 2 width)

    def open_gates(self, projected: Any, task_id: Tensor) -> Tensor:
        """Compute the gates of each row's task, (rows, other tasks, length, width), the others in their order."""
        present, place = task_id.unique(return_inverse=True)
        gates = [list(self.gates.values())[task].values() for task in present.tolist()]
        weight = torch.stack([torch.stack([one.weight for one in of_task]) for of_task in gates])[place]
        bias = torch.stack([torch.stack([one.bias for one in of_task]) for of_task in gates])[place]  # (rows, k, out)
        tasks = torch.arange(len(self.gates), device=task_id.device)
        others = torch.stack([tasks[tasks != task] for task in present.tolist()])[place]  # (rows, k)
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
    """Hold what `MtlBionerModel.forward` computes; `penalty` and `log_variance` in training only, if there are any."""

    loss: Tensor | None = None  # scalar, given `labels`
    logits: Tensor | None = None  # (batch, length, widest), impossible classes at the minimum; given one task per row
    task_logits: dict[str, Tensor] | None = None  # task name -> (batch, length, its labels); given `tasks`, or no task
    hidden_states: Tensor | None = None  # (batch, length, hidden), the encoder's last
    penalty: Tensor | None = None  # (batch,), what the sharing layer adds to the loss of each labelled token
    log_variance: Tensor | None = None  # (batch,), the learned s of each row's task, see `multi_task_loss`


class MtlBionerModel(PreTrainedModel):
    """Share an encoder between tasks: the encoder, a sharing layer, and a linear head for each task."""

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
            # New layers only; the encoder has its own `_init_weights`. Through two of them the usual standard
            # deviation of 0.02 lets the signal fade, and learning begins late; this one keeps the size of the input.
            initialization.normal_(module.weight, std=module.in_features**-0.5)

    def scaled_log_variances(self) -> Tensor:
        """Return the s of each task, (tasks,): 20 times the parameter, with the parameter's own gradient.

        Adam steps by a learning rate that suits an encoder's weights, while s has some units to go. The gradient is
        not scaled, since clipping goes by the norm of all gradients.
        """
        return self.log_variances + 19 * self.log_variances.detach()

    def pipeline(self, tokenizer: Any, **options: Any) -> MtlBionerPipeline:
        """Make the pipeline of a loaded model; transformers' own `pipeline` finds it by folder or Hub name only."""
        return MtlBionerPipeline(model=self, tokenizer=tokenizer, **options)

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any) -> Tensor:
        """Compute hidden states (batch, length, hidden) in one encoder pass."""
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state

    def classify(self, hidden: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Compute the logits (rows, length, its labels) of each named task; raises ValueError for an unknown one."""
        names, projected, logits = self.config.task_names, self.sharing.project(hidden), {}
        for name in tasks:
            if name not in names:
                raise ValueError(f"no task {name!r}; the model's are {', '.join(names)}")
            task_id = torch.full(hidden.shape[:1], names.index(name), device=hidden.device)
            logits[name] = self.heads[name](self.dropout(self.sharing(projected, task_id))).float()
        return logits

    def features(self, hidden: Tensor, task_id: Tensor) -> Tensor:
        """Compute what each row's head sees, (batch, length, size); raises ValueError for a bad `task_id` (batch,)."""
        if len(task_id) and not 0 <= int(task_id.min()) <= int(task_id.max()) < len(self.config.tasks):
            ids = task_id.unique().tolist()
            raise ValueError(f"task_id holds {ids}; the model's are 0 to {len(self.config.tasks) - 1}")
        return self.sharing(self.sharing.project(hidden), task_id)

    def classify_rows(self, features: Tensor, task_id: Tensor) -> Tensor:
        """Compute logits (batch, length, widest), each row by the head that `task_id` (batch,) names."""
        minimum = torch.finfo(torch.float32).min
        logits = features.new_full((*features.shape[:2], self.config.widest), minimum, dtype=torch.float32)
        # Only heads with rows run: a head without any gets no gradient, so the optimiser leaves it alone.
        for task in task_id.unique().tolist():
            rows = (task_id == task).nonzero().squeeze(1)  # (rows,)
            head_logits = self.heads[self.config.task_names[task]](self.dropout(features[rows])).float()
            logits[rows, :, : head_logits.size(-1)] = head_logits  # (rows, length, labels)
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
        places: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> MtlBionerOutput | tuple[Tensor, ...]:
        """Run the encoder once, then the heads.

        Args:
            input_ids, attention_mask, token_type_ids: (batch, length), as the tokenizer gives them.
            task_id: (batch,) index of each row's task. May be left out with one task, or to get `task_logits` only.
            labels: (batch, length) label ids of the row's task, `IGNORE` where there is none.
            num_items_in_batch: the N of the loss; the labelled tokens of this batch if None.
            tasks: names of tasks to run on all rows, whatever their `task_id`; all tasks if neither is given.
            places: (2, words), rows and positions of the sub-words that `tasks` are run on, so that `task_logits` are
                (1, words, labels); all sub-words if None.

        Raises ValueError for `labels` of several tasks without `task_id`, a `task_id` without a task, or an unknown
        name in `tasks`.
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
            task_logits = self.classify(hidden if places is None else hidden[tuple(places)][None], tasks)
        if labels is not None:
            weights = torch.ones(len(self.config.tasks))
            loss, _, _ = multi_task_loss(logits, labels, task_id, weights, num_items_in_batch, penalty, log_variance)
        output = MtlBionerOutput(loss, logits, task_logits, hidden, penalty, log_variance)
        return output.to_tuple() if return_dict is False else output

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load as transformers does, but raise ValueError if weights don't fit the config, and name them."""
        kwargs["ignore_mismatched_sizes"] = True  # they are named here
        kwargs.setdefault("use_safetensors", True)  # a pickle could hold code
        model, info = super().from_pretrained(name, *args, output_loading_info=True, **kwargs)
        faults = {"is without": info["missing_keys"], "has no place for": info["unexpected_keys"]}
        faults["has another size for"] = [key for key, *_ in info["mismatched_keys"]]
        if reasons := [f"{fault} the weights {_list_some(keys)}" for fault, keys in faults.items() if keys]:
            problem = f"{name} is no whole model: by its config.json it {' and '.join(reasons)}"
            raise ValueError(f"{problem}; copy it again, or finish its training")
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save as transformers does, with this file, under the names by which `AutoModel` and others look it up.

        All files get the mode of the user's umask; safetensors makes the weights readable by their owner only.
        """
        MtlBionerConfig.register_for_auto_class()
        type(self).register_for_auto_class("AutoModelForTokenClassification")
        module = MtlBionerModel.__module__.rsplit(".", 1)[-1]
        known = getattr(self.config, "auto_map", None) or {}
        self.config.auto_map = {**known, "AutoModel": f"{module}.MtlBionerModel"}
        super().save_pretrained(save_directory, *args, **kwargs)
        umask = os.umask(0o077)  # can't be read without being set
        os.umask(umask)
        for pattern in ("config.json", "model*.safetensors*", f"{module}.py"):
            for path in Path(save_directory).glob(pattern):
                with contextlib.suppress(OSError):  # a file system without modes
                    path.chmod(0o666 & ~umask)


def _list_some(keys: Iterable[str], most: int = 3) -> str:
    """List some weights by name, and count the rest."""
    keys = sorted(keys)
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


# --------------------------------------------------------------------------------------------------------------- loss


def multi_task_loss(
    logits: Tensor,
    labels: Tensor,
    task_id: Tensor,
    task_weights: Tensor,
    num_items: Tensor | int | None = None,
    penalty: Tensor | None = None,
    log_variance: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `L = (1/N) * sum over tasks w_t * sum over t's labelled tokens of the cross-entropy`.

    N is the same for all tasks, so mixed and one-task batches agree in expectation, and the sum over micro-batches and
    processes is the loss of the whole update.

    Args:
        logits, labels, task_id: (batch, length, widest), (batch, length) and (batch,), as in `MtlBionerModel.forward`.
        task_weights: (tasks,), the w_t.
        num_items: N; the labelled tokens of this batch if None. At least 1: without any, the loss is 0.
        penalty: (batch,) added, unweighted, for each labelled token of a row, so that it is a mean as the loss is one.
        log_variance: (batch,) s = log sigma^2 of the row's task: a labelled token's loss is `exp(-s) CE + s/2`
            (Kendall et al. 2018, for a classification).

    Returns:
        The loss (scalar); and, for logging, each task's summed cross-entropy and labelled tokens, both (tasks,) and
        without gradient.
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
    """A piece of a text that fits the encoder: core words to label and decode, with context on both sides."""

    core: tuple[int, int]  # half-open range of words; the cores of a text partition its words
    input_ids: list[int]  # sub-words with special tokens: context, core, context
    positions: list[int]  # index into `input_ids` of each core word's first sub-word, -1 for a word without sub-words
    sizes: list[int]  # number of sub-words of each core word in the window


def find_words(text: str, pattern: str, seconds: float = 5.0) -> list[tuple[int, int]]:
    """Find the words of a text, as half-open character offsets; raise ValueError for a pattern that takes too long."""
    if hashlib.sha256(pattern.encode("utf-8", "replace")).hexdigest()[:16] in OWN_PATTERNS:
        return [match.span() for match in re.finditer(pattern, text)]
    try:
        return [match.span() for match in regex.finditer(pattern, text, timeout=seconds + len(text) / 100_000)]
    except TimeoutError:
        problem = f"in the model's config.json takes too long for a text of {len(text)} characters"
        raise ValueError(f"the pattern {pattern!r} {problem}; give a simpler one there") from None


def find_sentence_breaks(text: str, words: Sequence[tuple[int, int]], pattern: str) -> list[int]:
    """Find the words that begin a sentence, except the first, by their indices; none without a pattern.

    `words` are as from `find_words`; `pattern` matches the gap between sentences, as in the config.
    """
    starts = [start for start, _ in words]
    ends = [end for _, end in find_words(text, pattern)] if pattern else []
    return sorted({bisect.bisect_left(starts, end) for end in ends} - {0, len(words)})


def make_windows(
    tokenizer: Any, words: Sequence[str], max_length: int, context: int, breaks: Sequence[int] = ()
) -> list[Window]:
    """Cut a text into windows: no word is left out, none is in two cores.

    Words are tokenised one by one, so that no sub-word crosses a word border with any (fast) tokenizer. `max_length`
    counts a window's sub-words, special tokens included, and `context` the most that each side repeats. At `breaks`,
    indices of words, a new window begins without context. Raises ValueError for a length with no room for words.
    """
    prefix, suffix = get_special_ids(tokenizer)
    capacity = max_length - len(prefix) - len(suffix)
    if capacity < 1:
        raise ValueError(f"max_seq_length is {max_length}; the special tokens alone take {max_length - capacity}")
    pieces = [piece[:capacity] for piece in split_subwords(tokenizer, words)]
    sizes = [len(piece) for piece in pieces]
    places = list(itertools.accumulate(sizes, initial=0))  # of each word among all sub-words
    subwords = list(itertools.chain.from_iterable(pieces))
    windows: list[Window] = []
    for begin, end in itertools.pairwise([0, *sorted(set(breaks) - {0, len(words)}), len(words)]):
        for plan in plan_windows(sizes[begin:end], capacity, context):
            first, start, stop, last = (begin + word for word in plan)
            shift = len(prefix) - places[first]
            positions = [places[word] + shift if sizes[word] else -1 for word in range(start, stop)]
            ids = prefix + subwords[places[first] : places[last]] + suffix
            windows.append(Window((start, stop), ids, positions, sizes[start:stop]))
    return windows


def plan_windows(sizes: Sequence[int], capacity: int, context: int) -> list[tuple[int, int, int, int]]:
    """Cut a run of words, of so many sub-words each, into windows `(first, core_start, core_end, last)`, half-open.

    Every word is in exactly one core. A window holds at most `capacity` sub-words; a word of as many or more has one
    for itself. Of these up to `context` on each side are repeated from the neighbours, but never more than a quarter,
    so that short windows don't become all context.
    """
    sizes = [min(size, capacity) for size in sizes]
    if sum(sizes) <= capacity:
        return [(0, 0, len(sizes), len(sizes))] if sizes else []
    context, plan, start = min(context, capacity // 4), [], 0
    while start < len(sizes):
        first = start - _count_fitting(sizes, range(start - 1, -1, -1), min(context, capacity - sizes[start]))
        room = capacity - sum(sizes[first:start])
        rest_fits = sum(sizes[start : start + capacity]) <= room and start + capacity >= len(sizes)
        end = start + max(1, _count_fitting(sizes, range(start, len(sizes)), room if rest_fits else room - context))
        spare = min(context, room - sum(sizes[start:end]))
        plan.append((first, start, end, end + _count_fitting(sizes, range(end, len(sizes)), spare)))
        start = end
    return plan


def _count_fitting(sizes: Sequence[int], words: Iterable[int], room: int) -> int:
    """Count the words, from the first on, that fit together into `room` sub-words."""
    totals = itertools.accumulate(sizes[word] for word in words)
    return sum(1 for _ in itertools.takewhile(lambda total: total <= room, totals))


def split_subwords(tokenizer: Any, words: Sequence[str]) -> list[list[int]]:
    """Split words into sub-word ids, without special tokens; none for a word that the tokenizer drops (NUL)."""
    pieces: list[list[int]] = [[] for _ in words]
    if not words:
        return pieces
    if (halves := re.compile("[\ud800-\udfff]")).search("".join(words)):  # no tokenizer takes half a surrogate pair
        words = [halves.sub("\ufffd", word) for word in words]
    encoding = tokenizer(words, is_split_into_words=True, add_special_tokens=False, verbose=False)
    for token, word in zip(encoding["input_ids"], encoding.word_ids(), strict=True):
        if word is not None:
            pieces[word].append(token)
    return pieces


@functools.lru_cache(maxsize=8)  # asked for each text
def get_special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text."""
    encoding = tokenizer(["a"], is_split_into_words=True)
    inside = [i for i, word in enumerate(encoding.word_ids()) if word is not None]
    ids = encoding["input_ids"]
    return list(ids[: inside[0]]), list(ids[inside[-1] + 1 :])


def hash_tokenizer(tokenizer: Any) -> str:
    """Compute a hash of a tokenizer's vocabulary, special tokens and the sub-words of some words."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    probe = split_subwords(tokenizer, ["Cisplatin", "naïve", "TNF", "α", "5", "µg", "."])
    special = [get_special_ids(tokenizer), tokenizer.pad_token_id]
    return hashlib.sha256(json.dumps([vocabulary, probe, special]).encode()).hexdigest()[:16]


def check_tokenizer(tokenizer: Any, config: MtlBionerConfig) -> None:
    """Raise ValueError for a tokenizer that the model was not trained with, or for windows the encoder can't take."""
    size, encoder = len(tokenizer), config.encoder_config
    embeddings = getattr(encoder, "vocab_size", None) or size
    known = config.tokenizer_hash is None or config.tokenizer_hash == hash_tokenizer(tokenizer)
    if not known or size < embeddings / 2 or tokenizer.vocab_size > embeddings:
        problem = f"the tokenizer, of {size} sub-words, is not the one that the model was trained with"
        raise ValueError(f"{problem} (its encoder has {embeddings}); copy the tokenizer's files again")
    positions = getattr(encoder, "max_position_embeddings", None) or 0
    if 0 < positions < config.max_seq_length:
        raise ValueError(f"max_seq_length is {config.max_seq_length} in config.json; the encoder takes {positions}")


def pad_batch(sequences: Sequence[Sequence[int]], value: int, length: int = 1) -> Tensor:
    """Pad sequences on the right with `value` to a tensor (batch, longest, but at least `length`)."""
    longest = max(length, *map(len, sequences))
    return torch.tensor([[*sequence, *[value] * (longest - len(sequence))] for sequence in sequences])


def plan_batches(lengths: Sequence[int], max_subwords: float, max_rows: int | None = None) -> list[list[int]]:
    """Group windows of like length, by their indices, into batches of so many sub-words, with padding, and rows.

    The longest come first, so that nearly all batches have one of few shapes: a CPU keeps something for each.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        rows = len(batches[-1]) + 1 if batches else 1
        if batches and rows * round_length(lengths[batches[-1][0]]) <= max_subwords and rows <= (max_rows or rows):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def round_length(length: int) -> int:
    """Return the length to which a batch is padded: an even one, since oneDNN compiles a kernel for each shape."""
    return -(-length // 2) * 2


def pad_windows(
    model: MtlBionerModel, windows: Sequence[Sequence[int]], pad_token_id: int
) -> tuple[Tensor, Tensor | None]:
    """Return the `input_ids` of windows and their mask, (windows, length), None if it would hide nothing."""
    longest = max(map(len, windows))
    length = max(longest, min(round_length(longest), model.config.max_seq_length))
    is_full = min(map(len, windows)) == length
    mask = None if is_full else pad_batch([[1] * len(ids) for ids in windows], 0, length).to(model.device)
    return pad_batch(windows, pad_token_id, length).to(model.device), mask


def check_finite(model: MtlBionerModel, logits: Mapping[str, Tensor]) -> None:
    """Raise ValueError for logits that are not finite."""
    if not all(of_task.isfinite().all() for of_task in logits.values()):
        raise ValueError(
            f"the model computes no numbers in {model.dtype}; load it with dtype=torch.float32, and if it is so "
            "there too, its weights are damaged"
        )


# ----------------------------------------------------------------------------------------------------------- decoding


@dataclass(frozen=True)
class Span:
    """A decoded entity: half-open range of characters, type, and score.

    The score is the chance that the entity is right: `sigmoid(log-odds / temperature + bias)`, fitted on development
    data (Platt 1999), with the log-odds of the geometric mean of the probabilities of its words' labels and its end.
    """

    start: int
    end: int
    type: str
    score: float


def decode_spans(
    word_logits: Sequence[Tensor],
    labels: Sequence[str],
    words: Sequence[Sequence[tuple[int, int]]] | None = None,
    calibration: tuple[float, float] = (1.0, 0.0),
) -> list[list[Span]]:
    """Decode the entities of texts from the logits of their words.

    A word of minus infinity, which has no sub-words, is passed over: an entity may go on behind it.

    Args:
        word_logits: per text (words, at least `len(labels)`); further classes are ignored.
        labels: the task's BIO labels.
        words: per text the half-open character offsets of its words; by default spans count words.
        calibration: temperature and bias of the scores.
    """
    spans: list[list[Span]] = [[] for _ in word_logits]
    if not sum(map(len, word_logits)):
        return spans
    logits = torch.cat([of_text[:, : len(labels)] for of_text in word_logits]).float().cpu()  # (words, labels)
    text = torch.arange(len(spans)).repeat_interleave(torch.tensor([*map(len, word_logits)]))
    word = torch.arange(len(text)) - torch.tensor([0, *itertools.accumulate(map(len, word_logits))])[text]
    known = ~logits[:, 0].isneginf()
    text, word, log_probs = text[known], word[known], logits[known].log_softmax(-1)
    path = find_best_labels(log_probs, text, labels)
    entities = _find_entities(path, log_probs, text, labels)
    texts, places, classes = text.tolist(), word.tolist(), path.tolist()
    for begin, end, mean in entities:
        index, first, last = texts[begin], places[begin], places[end - 1]
        start, stop = (words[index][first][0], words[index][last][1]) if words else (first, last + 1)
        score = calibrate_score(mean, *calibration)
        spans[index].append(Span(start, stop, labels[classes[begin]][2:], score))
    return spans


def _list_legal(labels: Sequence[str]) -> Tensor:
    """Say which label (columns) may follow which (rows): `I-X` stands after `B-X` or `I-X` alone."""
    return torch.tensor([[new[0] != "I" or old[1:] == new[1:] for new in labels] for old in labels])


def find_best_labels(log_probs: Tensor, text: Tensor, labels: Sequence[str]) -> Tensor:
    """Find the most probable legal labels of the words of several texts.

    The best label of each word is right wherever these are a legal sequence. Around the other places, runs of words
    are decoded by Viterbi; a run whose result doesn't fit the labels beside it grows. So the result is that of Viterbi
    over whole texts, but the steps are few.

    Args:
        log_probs: (words, labels).
        text: (words,), ascending: the text of each word.
    """
    legal, path = _list_legal(labels), log_probs.argmax(-1)
    starts = torch.cat([torch.tensor([True]), text[1:] != text[:-1]])  # (words,), the first of each text
    ends = torch.cat([starts[1:], torch.tensor([True])])
    first = torch.searchsorted(text, text)  # (words,), the index of its text's first word
    last = torch.searchsorted(text, text, right=True)  # half-open
    broken = ~legal[path.roll(1).masked_fill(starts, 0), path]  # a text begins as if `O` stood before it
    runs, reach = broken.nonzero().flatten(), 8
    while len(runs):
        begin, end = torch.maximum(runs - reach, first[runs]), torch.minimum(runs + reach, last[runs])
        apart = torch.cat([torch.tensor([True]), begin[1:] >= end[:-1].cummax(0).values])  # runs that touch are one
        begin, end = begin[apart], end[torch.cat([apart[1:], torch.tensor([True])])]
        paths = _decode_runs(log_probs, begin.tolist(), end.tolist(), starts, labels)
        for run, found in zip(range(len(begin)), paths, strict=True):
            path[begin[run] : end[run]] = torch.tensor(found)
        joints = torch.cat([begin, end[~ends[end - 1]]])  # where a run meets its neighbours in the text
        joints = joints[~starts[joints]]
        wrong = joints[~legal[path[joints - 1], path[joints]]]
        runs, reach = wrong.sort().values, 4 * reach
    return path


def _decode_runs(
    log_probs: Tensor, begins: Sequence[int], ends: Sequence[int], starts: Tensor, labels: Sequence[str]
) -> Iterator[list[int]]:
    """Decode runs of words, those of like length together; one inside a text may begin with any label."""
    lengths = [end - begin for begin, end in zip(begins, ends, strict=True)]
    paths: dict[int, list[int]] = {}
    for batch in plan_batches(lengths, 65_536):
        padded = nn.utils.rnn.pad_sequence([log_probs[begins[i] : ends[i]] for i in batch], batch_first=True)
        inside = ~starts[[begins[i] for i in batch]]
        paths |= zip(batch, decode_labels(padded, [lengths[i] for i in batch], labels, inside), strict=True)
    return (paths[i] for i in range(len(lengths)))


def decode_labels(
    log_probs: Tensor, lengths: Sequence[int], labels: Sequence[str], inside: Tensor | None = None
) -> list[list[int]]:
    """Find the most probable legal label sequence of each run of words (Viterbi), in one pass for the batch.

    `log_probs` (runs, words, labels) are padded on the right; `lengths` are the words of each run, at least 1. A run
    begins as if `O` stood before it, but one marked in `inside` (runs,) with any label.
    """
    follow = torch.where(_list_legal(labels), 0.0, torch.finfo(torch.float32).min).to(log_probs)  # (labels, labels)
    words = torch.tensor(lengths, device=log_probs.device)[:, None]  # (runs, 1)
    before = follow[0] if inside is None else follow[0] * ~inside[:, None]
    score = log_probs[:, 0] + before  # (runs, labels)
    back = [torch.zeros_like(score, dtype=torch.short)]
    for step in range(1, log_probs.size(1)):
        best, previous = (score[:, :, None] + follow).max(1)  # (runs, labels)
        score = torch.where(step < words, best + log_probs[:, step], score)
        score = score - score.amax(-1, keepdim=True)  # differences count; a long run's sum would lose its digits
        back.append(previous.short())
    pointers = torch.stack(back, 1)  # (runs, words, labels)
    paths = [[label] for label in score.argmax(-1).tolist()]
    for path, steps, length in zip(paths, pointers, lengths, strict=True):
        for step in reversed(steps[1:length].tolist()):
            path.append(step[path[-1]])
    return [path[::-1] for path in paths]


def _find_entities(
    path: Tensor, log_probs: Tensor, text: Tensor, labels: Sequence[str]
) -> Iterator[tuple[int, int, float]]:
    """Find the entities of a label path: half-open word ranges, and mean log-probability of the labels and the end."""
    prefix = torch.tensor(["OBI".index(label[0]) for label in labels])[path]  # (words,)
    begins = (prefix == 1).nonzero().flatten()
    stops = torch.cat([(prefix != 2).nonzero().flatten(), torch.tensor([len(path)])])
    ends = stops[torch.searchsorted(stops, begins, right=True)]
    sums = log_probs.gather(1, path[:, None]).double().cumsum(0).flatten()
    sums = torch.cat([sums.new_zeros(1), sums])
    behind = ends.clamp(max=len(path) - 1)
    longer = log_probs[behind, path[begins] + 1].double().exp()  # the chance that the entity goes on by a word
    longer[(ends == len(path)) | (text[behind] != text[begins])] = 0
    means = (sums[ends] - sums[begins] + torch.log1p(-longer.clamp(max=1 - 1e-6))) / (ends - begins + 1)
    yield from zip(begins.tolist(), ends.tolist(), means.tolist(), strict=True)


def calibrate_score(log_probability: float, temperature: float, bias: float) -> float:
    """Compute the score of `Span` from the mean log-probability, whose log-odds are bounded to -16 and 16."""
    log_probability = min(max(log_probability, -16.0), -1.2e-7)
    log_odds = log_probability - math.log(-math.expm1(log_probability))
    return 1 / (1 + math.exp(-(log_odds / temperature + bias)))


# ----------------------------------------------------------------------------------------------------------- pipeline


class MtlBionerPipeline(Pipeline):
    """Annotate texts of any length with the entities of all tasks.

        ner = pipeline("token-classification", model=directory, trust_remote_code=True)
        ner("text") -> [{"entity_group", "score", "word", "start", "end", "task"}, ...]
        ner(["text", ...]) -> one list per text; ner(generator) -> an iterator

    `text[start:end] == word` always holds. Entities are sorted by start, end and task.

    Options, here or in a call:
        tasks: names of the tasks to run, all by default.
        threshold: least score of an entity, 0 by default, which keeps all.
        overlaps: which entities to keep where several tasks' overlap (one task's never do): `all`, by default; the
            `longest`, of equally long ones the better scored; the `best` scored, of equals the longer; or `by_type`
            the best scored of each type, whose `tasks` are those that agree on the type.
        ignore_labels: types to leave out.
        is_split_into_words: texts are lists of tokens; they are joined by a space, and entities begin and end at
            tokens, whose half-open range is their `tokens`.
        batch_size: most windows of one encoder pass; by default as many as have `MAX_SUBWORDS` sub-words.
    """

    _load_processor = _load_image_processor = _load_feature_extractor = False
    _load_tokenizer = True
    subwords = 0  # that went through the encoder so far, special tokens and context included

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_tokenizer(self.tokenizer, self.model.config)

    def _sanitize_parameters(
        self,
        tasks: Any = None,
        threshold: Any = None,
        overlaps: Any = None,
        ignore_labels: Any = None,
        is_split_into_words: Any = None,
        aggregation_strategy: Any = None,
        stride: Any = None,  # accepted: windows overlap anyway
        num_workers: Any = None,  # accepted: the tokenizer is fast enough in this process
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            names, known = ", ".join(sorted(unknown)), "tasks, threshold, overlaps, ignore_labels, batch_size"
            raise TypeError(f"unknown argument {names}; the pipeline takes {known}, is_split_into_words")
        if aggregation_strategy not in (None, "simple", "first", "average", "max"):
            problem = f"aggregation_strategy is {aggregation_strategy!r}, but entities are whole words always"
            raise ValueError(f"{problem}; leave it out (for labels of sub-words call the model itself)")
        names = self.model.config.task_names
        tasks = [tasks] if isinstance(tasks, str) else tasks
        if tasks is not None and not isinstance(tasks, (list, tuple)):
            raise ValueError(f"tasks is {tasks!r}; give a list of names, from {', '.join(names)}")
        for name in tasks or ():
            if name not in names:
                raise ValueError(f"no task {name!r}; the model's are {', '.join(names)}")
        number = isinstance(threshold, Real) and not isinstance(threshold, bool)
        if threshold is not None and not (number and 0 <= threshold <= 1):
            raise ValueError(f"threshold is {threshold!r}; give a score from 0 to 1")
        if overlaps is not None and overlaps not in list(OVERLAPS):
            raise ValueError(f"overlaps is {overlaps!r}; choose one of {', '.join(OVERLAPS)}")
        options = {"tasks": tasks and list(dict.fromkeys(tasks)), "threshold": threshold, "overlaps": overlaps}
        options |= {"ignore_labels": ignore_labels, "is_split_into_words": is_split_into_words}
        return {}, {name: value for name, value in options.items() if value is not None}, {}

    def __call__(self, inputs: str | Iterable[str], batch_size: int | None = None, **kwargs: Any) -> Any:
        _, options, _ = self._sanitize_parameters(**kwargs)
        for size in (batch_size, self._batch_size):
            number = isinstance(size, Integral) and not isinstance(size, bool)
            if size is not None and not (number and size >= 1):
                raise ValueError(f"batch_size is {size!r}; it must be a whole number, 1 or more")
        batch_size = batch_size or self._batch_size
        if not isinstance(inputs, Iterable) and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
            inputs = map(inputs.__getitem__, range(len(inputs)))  # as KeyDataset of transformers
        # Iterating over a mapping or a data frame would give its keys.
        of_keys = isinstance(inputs, Mapping) or hasattr(inputs, "columns")
        if of_keys or isinstance(inputs, (bytes, Set)) or not isinstance(inputs, Iterable):
            raise TypeError(f"the pipeline takes a str or an iterable of them, got {type(inputs).__name__}")
        options = {**self._forward_params, **options}
        tasks, is_split = options.pop("tasks", None), options.pop("is_split_into_words", False)
        of_tokens = is_split and isinstance(inputs, (list, tuple)) and isinstance(next(iter(inputs), None), str)
        is_single = isinstance(inputs, str) or of_tokens
        portions = self._read_portions(
            [inputs] if is_single else inputs, 8 * batch_size if batch_size else PORTION, is_split
        )
        items = (item for portion in portions for item in self._forward(portion, batch_size, tasks))
        results = (self.postprocess(item, **options) for item in items)
        if is_single:
            return next(results)
        return list(results) if isinstance(inputs, (list, tuple)) else results

    def _read_portions(self, texts: Iterable[Any], size: int, is_split: bool) -> Iterator[list[dict[str, Any]]]:
        """Read texts in portions of at least `size` windows, of which those of like length can run together."""
        portion, waiting = [], 0
        try:
            for text in texts:
                portion.append(self.preprocess(text, is_split))
                waiting += max(1, len(portion[-1]["windows"]))
                if waiting >= size:
                    yield portion
                    portion, waiting = [], 0
        except Exception:  # from a text, or from the iterator: the texts before it come first
            yield portion
            raise
        yield portion

    def preprocess(self, text: Any, is_split_into_words: bool = False) -> dict[str, Any]:
        """Split a text into words, with their offsets, and into windows; a list of tokens is split already."""
        config = self.model.config
        if is_split_into_words and isinstance(text, (list, tuple)) and all(isinstance(token, str) for token in text):
            ends = itertools.accumulate(len(token) + 1 for token in text)
            words = [(end - 1 - len(token), end - 1) for end, token in zip(ends, text, strict=True)]
            text = " ".join(text)
        elif isinstance(text, str) and not is_split_into_words:
            words = find_words(text, config.word_pattern)
        else:
            expected = "a list of tokens" if is_split_into_words else "a str"
            raise TypeError(f"a text is {expected}, got {type(text).__name__}: {str(text)[:80]!r}")
        strings = [text[start:end] for start, end in words]
        breaks = find_sentence_breaks(text, words, config.sentence_pattern)
        windows = make_windows(self.tokenizer, strings, config.max_seq_length, config.context_size, breaks)
        return {"text": text, "words": words, "windows": windows, "has_tokens": is_split_into_words}

    def _forward(
        self, items: list[dict[str, Any]], batch_size: int | None = None, tasks: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Add `spans` to each item: task name -> its decoded `Span`s."""
        config, words = self.model.config, [item["words"] for item in items]
        spans = {}
        for name, logits in self.compute_word_logits(items, batch_size, tasks).items():
            task = config.task_names.index(name)
            spans[name] = decode_spans(logits, config.labels(task), words, config.score_calibration(task))
        return [{**item, "spans": {name: spans[name][i] for name in spans}} for i, item in enumerate(items)]

    @torch.inference_mode()
    def compute_word_logits(
        self, items: list[dict[str, Any]], batch_size: int | None = None, tasks: Sequence[str] | None = None
    ) -> dict[str, Sequence[Tensor]]:
        """Compute by task the logits of each item's words, (words, labels); minus infinity without sub-words."""
        config = self.model.config
        task_ids = {name: config.task_names.index(name) for name in (config.task_names if tasks is None else tasks)}
        sizes = [len(item["words"]) for item in items]
        word_logits = {
            name: torch.full((sum(sizes), len(config.labels(task))), -math.inf) for name, task in task_ids.items()
        }
        begins = itertools.accumulate(sizes, initial=0)  # of each text among all words
        windows = [(begin, window) for begin, item in zip(begins, items, strict=False) for window in item["windows"]]
        sequences = [window.input_ids for _, window in windows]
        self.subwords += sum(map(len, sequences))
        batches = plan_batches([len(ids) for ids in sequences], MAX_SUBWORDS, batch_size)
        self.model.eval()
        for batch in batches:
            places = [(row, position, begin + word) for row, (begin, window) in enumerate(windows[i] for i in batch)
                      for word, position in enumerate(window.positions, window.core[0]) if position >= 0]  # fmt: skip
            if places:  # only the first sub-words of words go through the heads
                *places, words = torch.tensor(places).T
                places = nn.functional.pad(torch.stack(places), (0, -len(words) % 128))  # few shapes here too
                padding = self.tokenizer.pad_token_id or 0
                ids, mask = pad_windows(self.model, [sequences[i] for i in batch], padding)
                task_logits = self.model(ids, mask, tasks=list(task_ids), places=places).task_logits
                check_finite(self.model, task_logits)
                for name, logits in task_logits.items():
                    word_logits[name][words] = logits[0, : len(words)].cpu()
        return {name: logits.split(sizes) for name, logits in word_logits.items()}

    def postprocess(
        self, item: dict[str, Any], threshold: float = 0.0, overlaps: str = "all", ignore_labels: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """List the entities of a text, sorted by start, then end, in the order of the tasks."""
        entities = [
            {
                "entity_group": span.type,
                "score": span.score,
                "word": item["text"][span.start : span.end],
                "start": span.start,
                "end": span.end,
                "task": task,
            }
            for task, spans in item["spans"].items()
            for span in spans
            if span.score >= threshold and span.type not in ignore_labels
        ]
        if item["has_tokens"] and entities:
            starts = {start: word for word, (start, _) in enumerate(item["words"])}
            ends = {end: word for word, (_, end) in enumerate(item["words"])}
            for entity in entities:
                entity["tokens"] = [starts[entity["start"]], ends[entity["end"]] + 1]
        return sorted(resolve_overlaps(entities, overlaps), key=lambda entity: (entity["start"], entity["end"]))


# By value of `overlaps`: the order in which entities that overlap are preferred.
OVERLAPS = {
    "all": None,
    "longest": lambda entity: (entity["start"] - entity["end"], -entity["score"], entity["start"]),
    "best": lambda entity: (-entity["score"], entity["start"] - entity["end"], entity["start"]),
    "by_type": None,
}


def resolve_overlaps(entities: list[dict[str, Any]], overlaps: str) -> list[dict[str, Any]]:
    """Resolve overlaps greedily: keep each entity, in the order of `OVERLAPS`, that overlaps none kept so far.

    Of equals the earlier in the text is kept, then the earlier task's. `by_type` does so for each type, by the order
    of `best`, and lists the `tasks` of the overlapping ones of the type.
    """
    if overlaps == "by_type":
        groups = {entity["entity_group"]: [] for entity in entities}
        for entity in sorted(entities, key=lambda entity: entity["start"]):
            clusters = groups[entity["entity_group"]]  # of entities that overlap, one by one
            if not clusters or entity["start"] >= max(other["end"] for other in clusters[-1]):
                clusters.append([])
            clusters[-1].append(entity)
        return [
            {**entity, "tasks": list(dict.fromkeys(other["task"] for other in cluster if _overlap(entity, other)))}
            for clusters in groups.values()
            for cluster in clusters
            for entity in (resolve_overlaps(cluster, "best") if cluster[1:] else cluster)
        ]
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


def _overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first["start"] < second["end"] and second["start"] < first["end"]
