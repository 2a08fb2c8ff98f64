"""Arguments: their groups, choices, bounds, and the values that are filled in."""

import dataclasses
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import HfArgumentParser

from dataset_scripts.leaks import MODES
from modeling_mtl_bioner import SHARING
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.bounds import BOUNDS, check_bounds
from mtl_bioner.training.options import CORPORA, EVALUATION, MODEL, OUTPUT, TEACHERS, TRAINING
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


CLASSES = (ModelArguments, DataArguments, MultiTaskTrainingArguments)


def make_arguments(tmp_path: Path, **options: Any) -> MultiTaskTrainingArguments:
    return MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **options)


@pytest.mark.parametrize(
    ("flags", "stages"),
    [
        ([], (True, True, True)),
        (["--do_train"], (True, False, False)),
        (["--do_predict"], (False, False, True)),  # although there is an eval_strategy
        (["--do_eval", "--do_predict", "true"], (False, True, True)),
        (["--do_train", "false"], (False, True, True)),
        (["--do_train", "false", "--do_eval"], (False, True, False)),
        (["--do_eval=false", "--do_predict=false"], (True, False, False)),
    ],
)
def test_stages_that_are_named_exclude_the_others_and_false_excludes_one(
    flags: list[str], stages: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    parser = HfArgumentParser(CLASSES)
    *_, args = parser.parse_args_into_dataclasses(["--tasks=a", "--use_cpu", f"--output_dir={tmp_path}", *flags])
    assert (args.do_train, args.do_eval, args.do_predict) == stages
    assert (args.eval_strategy == "no") == (not stages[0])
    again = dataclasses.replace(args, seed=1)
    assert (again.do_train, again.do_eval, again.do_predict) == stages


@pytest.mark.parametrize("supported", [False, True])
def test_bf16_is_on_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, supported: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    choices = {None: supported, False: False, True: True}
    assert {bf16: make_arguments(tmp_path, bf16=bf16).bf16 for bf16 in choices} == choices


STEPS = {"eval_strategy": "steps", "eval_steps": 10}


@pytest.mark.parametrize(
    ("options", "strategy", "steps"),
    [
        ({}, "epoch", 500),
        ({"eval_strategy": "steps", "eval_steps": 0.25}, "steps", 0.25),
        ({"eval_strategy": "steps", "logging_steps": 20}, "steps", 20),
        (STEPS | {"save_steps": 10}, "steps", 10),
        (STEPS | {"save_steps": 30, "load_best_model_at_end": False}, "steps", 30),
        ({"eval_strategy": "no"}, "epoch", 500),
        ({"eval_strategy": "no", "save_strategy": "steps"}, "steps", 500),
        (STEPS | {"save_strategy": "best"}, "best", 500),
    ],
)
def test_checkpoints_are_written_at_each_evaluation(
    tmp_path: Path, options: dict[str, Any], strategy: str, steps: float
) -> None:
    args = make_arguments(tmp_path, **options)
    assert (args.save_strategy.value, args.save_steps) == (strategy, steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict.fromkeys(("do_train", "do_eval", "do_predict"), False), "do_predict are all false.*leave one out"),
        ({"per_device_train_batch_size": 0}, "--per_device_train_batch_size is 0; give 1 or more$"),
        ({"early_stopping_patience": 0}, "--early_stopping_patience is 0; give 1 or more, or leave it out$"),
        ({"task_sampling_alpha": float("inf")}, "--task_sampling_alpha is inf; give 0 or more$"),
        ({"learning_rate": 0.0}, "--learning_rate is 0.0; give more than 0, or leave it out$"),
        ({"mask_probability": 1.0}, "--mask_probability is 1.0; give a number from 0 to below 1$"),
        ({"mask_probability": float("nan")}, "--mask_probability is nan"),
        ({"loss_weighting": "learned"}, "--loss_weighting is 'learned'; choose one of fixed, uncertainty$"),
        ({"save_strategy": "often"}, "--save_strategy is 'often'; choose one of no, steps, epoch, best$"),
    ],
)
def test_values_out_of_bounds_are_refused_with_a_remedy(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_arguments(tmp_path, **options)


@pytest.mark.parametrize(
    ("name", "low", "message"),
    [("dev_size", 0.0, "between 0 and 1$"), ("head_dropout", -0.1, "from 0 to below 1$"), ("kind", "c", "of a, b$")],
)
def test_bounds_and_choices_hold_in_any_dataclass(name: str, low: Any, message: str) -> None:
    @dataclasses.dataclass
    class Arguments:
        dev_size: float = 0.5
        head_dropout: float = 0.0
        kind: Literal["a", "b"] | None = None

    check_bounds(Arguments())
    check_bounds(Arguments(kind="b", head_dropout=0.99))
    with pytest.raises(ValueError, match=f"^--{name} is .*{message}"):
        check_bounds(Arguments(**{name: low}))


def test_every_argument_of_ours_has_help_and_a_group_and_every_bound_an_argument() -> None:
    ours = [field for cls in CLASSES for field in dataclasses.fields(cls) if field.name in cls.__annotations__]
    assert {field.metadata["group"] for field in ours} == {CORPORA, MODEL, TRAINING, TEACHERS, EVALUATION, OUTPUT}
    assert all(field.metadata["help"].endswith(".") for field in ours)
    assert {field.name for cls in CLASSES for field in dataclasses.fields(cls)} >= BOUNDS.keys()


def test_choices_name_what_the_code_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHARING, "mine", SHARING["hard"])  # as a user's layer is registered
    check_bounds(ModelArguments(sharing="mine"))
    assert typing.get_type_hints(DataArguments)["leaks"] == Literal[tuple(MODES)] | None
