"""Check the values of arguments against their choices and bounds."""

import dataclasses
import math
import typing
from typing import Any, Literal, NamedTuple


class Bounds(NamedTuple):
    """An interval of numbers, without its upper end; so neither infinity nor NaN is in any."""

    remedy: str
    lower: float
    upper: float = math.inf
    with_lower: bool = True


COUNT, NOT_NEGATIVE = Bounds("1 or more", 1), Bounds("0 or more", 0)
PROBABILITY = Bounds("a number from 0 to below 1", 0, 1)
SHARE = Bounds("a number between 0 and 1", 0, 1, with_lower=False)
# By the name of the argument, in any dataclass.
BOUNDS = {
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size", "sharing_size", "search"), COUNT),
    **dict.fromkeys(("gradient_accumulation_steps", "early_stopping_patience"), COUNT),
    **dict.fromkeys(("max_train_samples", "max_eval_samples", "max_predict_samples"), COUNT),
    **dict.fromkeys(("max_tokens_per_batch", "task_sampling_alpha", "teacher_weight", "context_size"), NOT_NEGATIVE),
    **dict.fromkeys(("adversarial_weight", "difference_weight"), NOT_NEGATIVE),
    **dict.fromkeys(("mask_probability", "head_dropout", "attention_dropout"), PROBABILITY),
    **dict.fromkeys(("dev_size", "test_size"), SHARE),
    "learning_rate": Bounds("more than 0", 0, with_lower=False),
}


def check_bounds(arguments: Any) -> None:
    """Raise ValueError for a field, unless None, that is none of its `Literal`'s choices or out of its `BOUNDS`."""
    hints = typing.get_type_hints(type(arguments))
    for field in dataclasses.fields(arguments):
        if (value := getattr(arguments, field.name)) is None:
            continue
        hint, parts = hints[field.name], typing.get_args(hints[field.name])
        hint = parts[0] if type(None) in parts else hint  # of `Literal[...] | None`
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        if choices and value not in choices:
            raise ValueError(f"--{field.name} is {value!r}; choose one of {', '.join(choices)}")
        bounds = BOUNDS.get(field.name)
        if bounds and not (bounds.lower < value < bounds.upper or (bounds.with_lower and value == bounds.lower)):
            optional = ", or leave it out" if field.default is None else ""
            raise ValueError(f"--{field.name} is {value}; give {bounds.remedy}{optional}")
