"""Build a model on an encoder; add, drop, rename and freeze heads."""

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModel

from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, TaskModules


def build_model(
    name_or_path: str,
    tasks: Sequence[dict[str, Any]],
    encoder_overrides: dict[str, Any] | None = None,
    hub_options: dict[str, Any] | None = None,
    **config_options: Any,
) -> MtlBionerModel:
    """Build a model with a pretrained encoder and fresh heads.

    Args:
        name_or_path: Hub id or folder of any `AutoModel` encoder.
        tasks, config_options: as for `MtlBionerConfig`.
        encoder_overrides: fields to set in the encoder's config (dropout); unknown names are ignored.
        hub_options: `revision`, `cache_dir`, ... for `from_pretrained`.

    Raises OSError for weights that are missing, which transformers would replace by random ones, and for a pickle of
    weights that is damaged or holds code.
    """
    options = {"dtype": torch.float32, "trust_remote_code": False, "output_loading_info": True, **(hub_options or {})}
    try:
        encoder, info = AutoModel.from_pretrained(name_or_path, **options)
    except Exception as error:
        if isinstance(error, RuntimeError | ValueError | SafetensorError) or getattr(error, "errno", 0) is None:
            raise  # it says what is wrong, and an OSError of transformers has no number
        # What torch says of a pickle advises to load it in a way that would run code in it.
        problem = "its weights are a pickle that is damaged or holds code, and is not loaded"
        raise OSError(f"{problem}; choose an encoder with model.safetensors, or copy it again") from error
    if missing := sorted(key for key in info["missing_keys"] if not key.startswith("pooler.")):
        raise OSError(f"its files lack {len(missing)} weights of the encoder, such as {missing[0]}; copy it again")
    for key, value in (encoder_overrides or {}).items():
        if hasattr(encoder.config, key):
            setattr(encoder.config, key, value)
    encoder.config._name_or_path = ""  # a path of this machine has no place in a model
    model = MtlBionerModel(MtlBionerConfig(encoder.config, tasks, **config_options))
    kept = model.encoder.state_dict().keys()  # without a pooler
    model.encoder.load_state_dict({key: value for key, value in encoder.state_dict().items() if key in kept})
    return model


def with_tasks(model: MtlBionerModel, tasks: Sequence[dict[str, Any]], drop: Sequence[str] = ()) -> MtlBionerModel:
    """Copy a model, with a fresh head for each task that it doesn't have.

    Args:
        tasks: as in the config; a task with the name of a head continues it.
        drop: names of heads to leave out; one that is also in `tasks` starts afresh.

    Raises:
        ValueError: a task with the name of a head but other types, or an unknown name in `drop`.
    """
    heads = {task["name"]: task for task in model.config.tasks}
    for name in filter(None, drop):
        if name not in heads:
            raise ValueError(f"no head {name!r} to drop; the model's are {', '.join(heads)}")
    kept = {name: task for name, task in heads.items() if name not in drop}
    kept |= {task["name"]: _continue_head(kept[task["name"]], task) for task in tasks if task["name"] in kept}
    config = copy.deepcopy(model.config)
    config.set_tasks([*kept.values(), *(task for task in tasks if task["name"] not in kept)])
    changed = MtlBionerModel(config)
    dropped = "|".join(re.escape(name) for name in heads if name not in kept)
    parts = re.compile(rf"(heads|sharing\.(private|discriminator|gates(\.[^.]+)?))\.({dropped})\.")
    weights = {key: value for key, value in model.state_dict().items() if not dropped or not parts.match(key)}
    changed.load_state_dict(weights, strict=False)
    return changed.to(model.device, model.dtype).train(model.training)  # new heads are made in float32, on the CPU


def _continue_head(head: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    if set(head["types"]) != set(task["types"]):
        raise ValueError(
            f"task {task['name']} finds {', '.join(task['types'])}, the model's head of that name "
            f"{', '.join(head['types'])}; give corpora that have these, or another name: other={task['name']}"
        )
    corpora = list(dict.fromkeys([*head.get("corpora", ()), *task.get("corpora", ())]))
    return head | ({"corpora": corpora} if corpora else {})


def rename_task(model: MtlBionerModel, old: str, new: str) -> None:
    """Give a head another name; raises ValueError if no head has the old name, or one has the new one."""
    names = model.config.task_names
    if old not in names or new in names:
        raise ValueError(f"can't rename head {old!r} to {new!r}; the model's are {', '.join(names)}")
    model.config.set_tasks([task | {"name": new} if task["name"] == old else task for task in model.config.tasks])
    parts = [part for part in model.sharing.modules() if isinstance(part, TaskModules) and old in part]
    for modules in [model.heads, *parts]:
        renamed = {new if name == old else name: module for name, module in modules.items()}
        modules.clear()
        modules.update(renamed)


def freeze_all_but(model: MtlBionerModel, tasks: Sequence[str]) -> None:
    """Freeze everything but the heads and the private parts of these tasks."""
    trained = re.compile(rf"(heads|sharing\.(private|gates))\.({'|'.join(map(re.escape, tasks))})\.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(bool(trained.match(name)))
