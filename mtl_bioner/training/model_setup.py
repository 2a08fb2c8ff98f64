"""Load the encoder or saved model that a run starts from, and settle the arguments that depend on it."""

import functools
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.utils import cached_file

from dataset_scripts.bio import SENTENCE_PATTERN
from dataset_scripts.tasks import Task
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, check_tokenizer, hash_tokenizer
from mtl_bioner.messages import summarize_error
from mtl_bioner.tokenizer import get_max_length, load_tokenizer
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.model_building import build_model, with_tasks


logger = logging.getLogger(__name__)

# Arguments that adjust the sharing layer; they are kept in the model's config.
SHARING_OPTIONS = ("sharing", "sharing_size", "adversarial_weight", "difference_weight")
# The names that encoders give to the dropout of attention weights.
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")


def load_saved_config(model_args: ModelArguments) -> MtlBionerConfig | None:
    """Load the config of a saved multi-task model, None for an encoder's; raises ValueError if it can't be loaded."""
    name = model_args.model_name_or_path = os.path.expanduser(model_args.model_name_or_path)
    is_local = os.path.isdir(name)
    if not is_local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ValueError(f"--model_name_or_path {name}: no such folder")
    if is_local and not (Path(name) / "config.json").is_file():
        raise ValueError(f"--model_name_or_path {name}: the folder has no config.json")
    try:
        config, _ = PreTrainedConfig.get_config_dict(name, **get_hub_options(model_args))
    except OSError as error:
        problem = "is no folder, and the Hub can't be reached"
        if is_local or hub_answers(name, model_args.model_revision):
            problem = f"can't be loaded ({summarize_error(error)})"
        raise ValueError(
            f"--model_name_or_path {name}: {problem}; give the folder of a downloaded encoder with "
            "--model_name_or_path, or check the name and the network"
        ) from error
    if config.get("model_type") == MtlBionerConfig.model_type:
        return MtlBionerConfig.from_dict(config)
    if config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING:
        problem = "the encoder needs code of its own, which a saved model can't hold"
        raise ValueError(f"--model_name_or_path {name}: {problem}; choose one of a type that transformers has")
    return None


def get_hub_options(model_args: ModelArguments) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that concern the Hub; none for a folder."""
    if os.path.isdir(model_args.model_name_or_path):
        return {}
    return {
        "revision": model_args.model_revision,
        "cache_dir": model_args.cache_dir,
        "local_files_only": not hub_answers(model_args.model_name_or_path, model_args.model_revision),
    }


def read_saved_record(model_args: ModelArguments, name: str) -> Any:
    """Read a JSON file beside a saved model; None if there is none. Raises ValueError if it holds no JSON."""
    path = cached_file(
        model_args.model_name_or_path, name, _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False, **get_hub_options(model_args),
    )  # fmt: skip
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


@functools.cache
def hub_answers(name: str, revision: str) -> bool:
    """Ask the Hub once whether it can be reached: `from_pretrained` would try each file for half a minute."""
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision))
    except HfHubHTTPError as error:  # no such model, or no access: `from_pretrained` says it best
        return error.response.status_code < 500
    except Exception as error:  # offline mode, or whatever the HTTP library of the day raises
        logger.debug("%s: %s", name, error)
        return False
    return True


def find_tokenizer(model_args: ModelArguments, saved: MtlBionerConfig | None) -> Any:
    """Load the encoder's tokenizer; raises ValueError if there is none, or a slow one only."""
    options = get_hub_options(model_args) | {"trust_remote_code": model_args.trust_remote_code}
    if saved is not None:  # else AutoTokenizer looks for the config's class, and asks whether to trust a saved model
        options["config"] = saved.encoder_config
    try:
        return load_tokenizer(model_args.model_name_or_path, **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"--model_name_or_path {model_args.model_name_or_path}: {summarize_error(error)}") from error


def make_model(model_args: ModelArguments, tasks: Sequence[Task], saved: MtlBionerConfig | None) -> MtlBionerModel:
    """Make a model with a head for each task: a new one on an encoder, or a saved one whose heads continue.

    Raises ValueError if there are no weights, the encoder can't be used, or a head has other types.
    """
    heads = [{"name": task.name, "types": list(task.types), "corpora": list(task.corpora)} for task in tasks]
    try:
        if saved is not None:
            model = continue_saved(model_args, heads, saved)
        else:
            dropouts = dict.fromkeys(ATTENTION_DROPOUT, model_args.attention_dropout or 0.0)
            options = select_given(model_args, (*SHARING_OPTIONS, "head_dropout"))
            name, hub_options = model_args.model_name_or_path, get_hub_options(model_args)
            model = build_model(name, heads, dropouts, hub_options, sentence_pattern=SENTENCE_PATTERN, **options)
    except (OSError, RuntimeError, SafetensorError) as error:  # no weights, of other shapes, or damaged
        raise ValueError(f"--model_name_or_path {model_args.model_name_or_path}: {summarize_error(error)}") from error
    check_encoder(model, model_args.model_name_or_path)
    return model


def continue_saved(
    model_args: ModelArguments, heads: Sequence[dict[str, Any]], saved: MtlBionerConfig
) -> MtlBionerModel:
    """Load a saved model, with new heads for tasks that it doesn't have, and without `--drop_tasks`."""
    for name, value in select_given(model_args, ("adversarial_weight", "difference_weight", "head_dropout")).items():
        setattr(saved, name, value)
    for name in ATTENTION_DROPOUT if model_args.attention_dropout is not None else ():
        if hasattr(saved.encoder_config, name):
            setattr(saved.encoder_config, name, model_args.attention_dropout)
    model = MtlBionerModel.from_pretrained(
        model_args.model_name_or_path, config=saved, dtype=torch.float32, **get_hub_options(model_args)
    )
    return with_tasks(model, heads, drop=list_dropped_tasks(model_args))


@torch.no_grad()
def check_encoder(model: MtlBionerModel, name: str) -> None:
    """Raise ValueError for an encoder, such as T5, that doesn't give a hidden state for each sub-word of a text."""
    ids = torch.ones(1, 4, dtype=torch.long)
    try:
        hidden = model.eval().encode(ids, torch.ones_like(ids))
        shape = tuple(hidden.shape)
        model.classify(hidden, model.config.task_names[:1])  # fails for another width than the config's
        reason = "" if shape[:2] == (1, 4) else f"4 sub-words become hidden states of shape {shape}"
    except Exception as error:  # whatever the code of the encoder raises
        reason = f"{type(error).__name__}: {summarize_error(error)}"
    if reason:
        kind = model.config.encoder_config.model_type
        raise ValueError(
            f"--model_name_or_path {name}: the encoder, of type {kind}, can't be used ({reason}); choose one like "
            "BERT, RoBERTa, ELECTRA or DeBERTa"
        )


def select_given(arguments: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return those of the named attributes that are not None."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def list_dropped_tasks(model_args: ModelArguments) -> list[str]:
    """Return the names in `--drop_tasks`."""
    return [name.strip() for name in (model_args.drop_tasks or "").split(",") if name.strip()]


def check_heads(
    model_args: ModelArguments, names: Sequence[str], saved: MtlBionerConfig | None, training: bool
) -> None:
    """Raise ValueError if `--tasks`, `--drop_tasks` or `--sharing` doesn't suit the saved model's heads."""
    model, heads = model_args.model_name_or_path, saved.task_names if saved else []
    if saved is not None and saved.sharing == "cross" and model_args.freeze_encoder and set(names) != set(heads):
        raise ValueError(
            "--freeze_encoder: the tasks of a cross-sharing model open gates for each other, so the other heads can't "
            f"stay as they are; leave it out, or name all heads in --tasks ({', '.join(heads)})"
        )
    for name, value in select_given(model_args, SHARING_OPTIONS[:2]).items() if saved is not None else ():
        if value != getattr(saved, name):
            raise ValueError(f"--{name} is {value!r}, but {model} has {getattr(saved, name)!r}; leave it out")
    for name in list_dropped_tasks(model_args):
        if name not in heads:
            existing = f"its heads are {', '.join(heads)}" if saved else "it is an encoder without heads"
            raise ValueError(f"--drop_tasks names {name!r}, which {model} does not have; {existing}")
        if name in names:
            raise ValueError(f"--drop_tasks names {name!r}, which --tasks uses; take it out of one of them")
    for name in names:
        if name not in heads and not training:
            existing = f"whose heads are {', '.join(heads)}" if saved else "which is an encoder without heads"
            raise ValueError(
                f"--tasks names {name!r}, but nothing is trained and there is no such head in {model}, {existing}; "
                "add --do_train, or write HEAD=SOURCE:TYPE to score a head on another corpus"
            )


def widen_to_head(task: Task, saved: MtlBionerConfig) -> Task:
    """Return a task that is scored only, with all types of its head; its corpora may annotate only some."""
    types = next(tuple(head["types"]) for head in saved.tasks if head["name"] == task.name)
    return replace(task, types=types) if set(task.types) < set(types) else task


def settle_arguments(
    model: MtlBionerModel, tokenizer: Any, model_args: ModelArguments, data_args: DataArguments
) -> None:
    """Fill unset arguments from the model's config, and set the size of windows in the config.

    Raises ValueError for windows that the encoder can't take, a tokenizer that isn't the saved model's, and for gates
    to report where there are none.
    """
    config = model.config
    for name in (*SHARING_OPTIONS, "head_dropout"):
        setattr(model_args, name, getattr(config, name))
    dropouts = (getattr(config.encoder_config, name, None) for name in ATTENTION_DROPOUT)
    model_args.attention_dropout = next((value for value in dropouts if value is not None), None)
    if data_args.text_unit is not None:
        config.sentence_pattern = SENTENCE_PATTERN if data_args.text_unit == "sentence" else ""
    data_args.text_unit = "sentence" if config.sentence_pattern else "passage"
    limit = get_max_length(tokenizer, config.encoder_config)
    if data_args.max_seq_length is None:
        data_args.max_seq_length = min(config.max_seq_length, limit)
    if data_args.context_size is None:
        data_args.context_size = config.context_size
    if not 8 <= data_args.max_seq_length <= limit:
        raise ValueError(
            f"--max_seq_length is {data_args.max_seq_length}; this encoder takes 8 to {limit} (longer text becomes "
            "several windows, nothing is cut)"
        )
    config.max_seq_length, config.context_size = data_args.max_seq_length, data_args.context_size
    check_tokenizer(tokenizer, config)
    config.tokenizer_hash = hash_tokenizer(tokenizer)
    if model_args.report_gates and (config.sharing != "cross" or len(config.tasks) < 2):
        raise ValueError(
            f"--report_gates: there are no gates in --sharing {config.sharing} with {len(config.tasks)} task(s); give "
            "--sharing cross and two tasks or more"
        )
