"""The arguments of `run_mtl_ner.py`: what they are, how they are read, and the checks of their values.

`parse_arguments` does those that need no corpus and no model.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import HfArgumentParser
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

import results_mtl_bioner as results
import search_mtl_bioner as search
from dataset_scripts.leaks import MODES as LEAK_MODES
from dataset_scripts.splits import check_share
from dataset_scripts.tasks import Task
from modeling_mtl_bioner import SHARING
from teachers_mtl_bioner import AUTO, NONE, named_teachers
from trainer_mtl_bioner import REFUSED, MultiTaskTrainingArguments, is_complete, last_complete_checkpoint


DESCRIPTION = (
    "Train, evaluate and predict with one multi-task model, from corpus files to entity scores. Arguments may be in a "
    'JSON file, {"tasks": "ncbi,bc5cdr", "learning_rate": 1e-4}, which then stands first; others may follow.'
)

DEFAULT_OUTPUT = "outputs/<tasks>"

# Arguments that change no weight of a model: a training may go on with others.
HARMLESS = re.compile(
    "output_dir|overwrite_output|resume_from|run_name|report_|disable_tqdm|save_total|do_|dry_run|log_|logging_(?!steps)|"
    "dataloader_|per_device_eval_|push_to_hub|hub_"
)


@dataclass
class ModelArguments:
    """Which encoder, and what stands between it and the heads."""

    model_name_or_path: str = field(
        default="dmis-lab/biobert-base-cased-v1.2",
        metadata={"help": "Hub id or folder of an encoder, or of a saved multi-task model to go on with."},
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where downloaded models are kept."})
    sharing: str | None = field(
        default=None,
        metadata={
            "help": "Sharing layer between encoder and heads: hard, shared_private, adversarial or cross; default "
            "hard, or the saved model's."
        },
    )
    sharing_size: int | None = field(
        default=None,
        metadata={
            "help": "Width of shared and private features, if not hard; default a sixth of the encoder's, or the "
            "saved model's."
        },
    )
    adversarial_weight: float | None = field(
        default=None, metadata={"help": "Of adversarial sharing's discriminator; default 0.01, or the saved model's."}
    )
    difference_weight: float | None = field(
        default=None,
        metadata={"help": "Of adversarial sharing's second penalty; default 0.001, or the saved model's."},
    )
    head_dropout: float | None = field(
        default=None, metadata={"help": "Dropout before the heads; default 0.1, or the saved model's."}
    )
    attention_dropout: float | None = field(
        default=None,
        metadata={
            "help": "Dropout of attention weights; default 0, which allows fused attention kernels, or the saved "
            "model's."
        },
    )
    freeze_encoder: bool = field(
        default=False,
        metadata={"help": "Train what belongs to the tasks of --tasks alone (heads); encoder and other heads stay."},
    )
    teachers: list[str] | None = field(
        default=None,
        metadata={
            "help": "Folders or Hub ids of saved models: their heads of the names in --tasks label the training text "
            "of the other tasks, softly, and that is learned too (--teacher_weight). `auto`, the default where "
            "several tasks are trained from an encoder, first trains such a model for each task alone, kept in "
            "teachers/ of the output folder; `none` leaves that out, which halves the time."
        },
    )
    report_gates: bool = field(
        default=False,
        metadata={"help": "With --sharing cross: write how far each task opens the gates of each other, gates.png."},
    )
    drop_tasks: str | None = field(
        default=None, metadata={"help": "Heads of a saved model to leave out, separated by commas."}
    )


@dataclass
class DataArguments:
    """Which corpora, how they are split, and how text becomes rows."""

    tasks: str = field(
        metadata={
            "help": "Tasks, separated by commas: [name=]source[:Type|Type][+source...]; a source is ncbi, bc5cdr, "
            "bc2gm, jnlpba, genia, or the path of a corpus of your own."
        }
    )
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder with ncbi_disease/, bc5cdr/, ...; `sample` is the embedded one; default: download."},
    )
    test_size: float | None = field(
        default=None, metadata={"help": "Pool the official splits and hold out this share of the documents."}
    )
    dev_size: float = field(
        default=0.1, metadata={"help": "Share of training documents cut off where a corpus has no development split."}
    )
    split_seed: int = field(default=42, metadata={"help": "Seed of these cuts, apart from the training's seed."})
    leaks: str = field(
        default="drop", metadata={"help": "Training text that is held-out text of a task: drop, warn or error."}
    )
    train_on_dev: bool = field(
        default=False,
        metadata={
            "help": "Train on the development documents too; nothing is left then to choose the best epoch by, so the "
            "last is kept."
        },
    )
    leak_corpora: str | None = field(
        default=None,
        metadata={
            "help": "Further corpora, separated by commas, whose held-out text is kept out of training too, so that a "
            "training on some corpora can be compared with one on more."
        },
    )
    max_seq_length: int | None = field(
        default=None,
        metadata={"help": "Sub-words of a window, longer text becomes several; default 320, or as the saved model's."},
    )
    context_size: int | None = field(
        default=None,
        metadata={"help": "Sub-words of context a window has on each side; default 32, or as the saved model's."},
    )
    text_unit: str | None = field(
        default=None,
        metadata={
            "help": "`sentence` starts a window at each sentence, `passage` fills windows with whole text; default "
            "sentence, or as the saved model's."
        },
    )
    label_subwords: str = field(
        default="all",
        metadata={
            "help": "Which sub-words of a word are labelled in training: `first` or `all`; decoded is the first one."
        },
    )
    train_fraction: str | None = field(
        default=None,
        metadata={
            "help": "Share of the training documents of each corpus, drawn by --seed: 0.1, or by task ncbi=0.1; a "
            "larger share holds the smaller one."
        },
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Documents of each corpus, for debugging."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Documents of each corpus, for debugging."})
    max_predict_samples: int | None = field(
        default=None, metadata={"help": "Documents of each corpus, for debugging."}
    )
    search: int | None = field(
        default=None,
        metadata={
            "help": "Instead of one training, so many trials (optuna) for the learning rate, sampling, loss weights "
            "and sharing size of the best development macro F1; the same command goes on with an interrupted search."
        },
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Print rows, sub-words, steps and the estimated time of training, and stop."}
    )
    overwrite_output: bool = field(
        default=False,
        metadata={
            "help": "Write into a non-empty output folder, and delete what an earlier training wrote there: scores, "
            "predictions, checkpoints, teachers/."
        },
    )


# ------------------------------------------------------------------------------------------------------------ reading


class OneLineParser(HfArgumentParser):
    """Raises its errors, where others print a usage of three hundred lines before them."""

    source = ""  # the file that the arguments are from

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.source}{message}; --help lists all arguments")


def make_parser(argv: Sequence[str]) -> tuple[OneLineParser, list[str]]:
    """The parser, and the command line with the arguments of a JSON file put in the file's place."""
    parser = OneLineParser(
        (ModelArguments, DataArguments, MultiTaskTrainingArguments),
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    parser.set_defaults(output_dir=DEFAULT_OUTPUT)
    for action in parser._actions:
        if action.dest in REFUSED:
            action.help = argparse.SUPPRESS
        if action.dest == "bf16":  # alone it means true, as of other switches, which have a default
            action.nargs, action.const = "?", True
    if argv and argv[0].endswith(".json"):
        parser.source = f"{argv[0]}: "
        argv = [*as_argv(read_arguments(Path(argv[0]))), *argv[1:]]
    return parser, list(argv)


def parse_arguments(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, MultiTaskTrainingArguments]:
    """Arguments of the command line, perhaps after a JSON file; every value that needs no file is checked here.

    Raises:
        ValueError: names the argument, its value and the remedy.
    """
    parser, argv = make_parser(argv)
    *parsed, unknown = parser.parse_args_into_dataclasses(
        argv + implied(parser.parse_known_args(argv)[0]), return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        name = unknown[0].partition("=")[0]
        if name.startswith("-"):
            parser.error(unknown_argument(name, parser._option_string_actions))
        parser.error(
            f"unknown argument {name}; tasks are separated by commas alone (--tasks ncbi,bc5cdr), and an argument "
            "file stands first"
        )
    model_args, data_args, args = parsed
    if data_args.dry_run or data_args.search:
        args.push_to_hub = False  # there will be no model, and Trainer would make its repository at once
    if args.output_dir == DEFAULT_OUTPUT:
        args.output_dir = "outputs/" + re.sub(r"[^\w=+,.-]", "_", results.without_path(data_args.tasks))
    if args.push_to_hub and args.hub_model_id is None:
        check_repository(Path(args.output_dir).name)
    check_values(model_args, data_args)
    if data_args.search and (data_args.dry_run or not args.do_train or args.eval_strategy == IntervalStrategy.NO):
        raise ValueError(
            "--search trains and goes by development scores; leave out --train_on_dev, --eval_strategy no, --dry_run, "
            "--do_*"
        )
    check_teachers(model_args, data_args, args)
    if data_args.train_on_dev and args.do_train:
        args.do_eval = False
        if model_args.report_gates:
            raise ValueError("--report_gates reads the development split, which --train_on_dev takes; leave one out")
    check_reports(args.report_to)
    check_output(args, data_args, model_args)
    return model_args, data_args, args


def unknown_argument(name: str, known: Iterable[str]) -> str:
    """What is said of an argument that doesn't exist, with the nearest that does."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown argument {name}" + (f"; did you mean {near[0]}?" if near else "")


def given_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """Only what was given, by name, as it would stand in an argument file."""
    parser, argv = make_parser(argv)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    parser.set_defaults(**dict.fromkeys(parser._defaults, argparse.SUPPRESS))
    return {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not argparse.SUPPRESS}


def read_arguments(path: Path) -> dict[str, Any]:
    """The arguments of a JSON file.

    Raises:
        ValueError: no such file, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: no such argument file ({error.strerror}); check the path") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}; an object of arguments and values is needed") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a JSON {type(content).__name__}; an object of arguments and values is needed")
    return content


def as_argv(content: Mapping[str, Any]) -> list[str]:
    """Arguments by name as they would stand on the command line."""
    argv = []
    for name, value in content.items():
        if isinstance(value, list):
            argv += [f"--{name}", *(str(getattr(item, "value", item)) for item in value)]  # of an Enum
        elif value is not None:  # null is the default
            argv.append(f"--{name}={value if isinstance(value, str) else json.dumps(value)}")
    return argv


# ------------------------------------------------------------------------------------------------------------- checks


def check_teachers(model_args: ModelArguments, data_args: DataArguments, args: MultiTaskTrainingArguments) -> None:
    """Raises ValueError for `--teachers` where nothing is trained, and for a word in a place of its own."""
    teachers = model_args.teachers or [NONE]
    if teachers != [NONE] and not args.do_train:
        raise ValueError("--teachers label training text, and nothing is trained; leave it out, or add --do_train")
    if NONE in teachers and len(teachers) > 1:
        raise ValueError(f"--teachers {' '.join(teachers)}: {NONE} goes with no other teacher; leave it out")
    if AUTO in teachers and (len(teachers) > 1 or data_args.search):
        raise ValueError("--teachers auto goes with no other teacher and no --search; train them first, and name them")


def check_values(model_args: ModelArguments, data_args: DataArguments) -> None:
    """Raises ValueError for a value that is none of an argument's choices, or outside its range."""
    if model_args.sharing is not None:
        check_choice("--sharing", model_args.sharing, tuple(SHARING))
    for name in ("head_dropout", "attention_dropout"):
        value = getattr(model_args, name)
        if value is not None and not 0 <= value < 1:
            raise ValueError(f"--{name} is {value}; give a probability from 0 to below 1")
    if model_args.sharing_size is not None and model_args.sharing_size < 1:
        raise ValueError(f"--sharing_size is {model_args.sharing_size}; give 1 or more")
    for name in ("adversarial_weight", "difference_weight"):
        value = getattr(model_args, name)
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(f"--{name} is {value}; give 0 or more")
    if data_args.text_unit is not None:
        check_choice("--text_unit", data_args.text_unit, ("sentence", "passage"))
    check_choice("--label_subwords", data_args.label_subwords, ("first", "all"))
    check_choice("--leaks", data_args.leaks, LEAK_MODES)
    check_share("--dev_size", data_args.dev_size)
    if data_args.test_size is not None:
        check_share("--test_size", data_args.test_size)
    for name in ("max_train_samples", "max_eval_samples", "max_predict_samples", "search"):
        value = getattr(data_args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; give 1 or more, or leave it out")
    if data_args.search and importlib.util.find_spec("optuna") is None:
        raise ValueError("--search needs optuna, which is not installed: pip install optuna")


def implied(given: argparse.Namespace) -> list[str]:
    """Arguments that others bring along: without a development split there are no scores, and a search keeps no model.

    Raises:
        ValueError: one that was given depends on such scores.
    """
    if given.train_on_dev:
        if given.early_stopping_patience is not None or given.save_strategy == SaveStrategy.BEST:
            raise ValueError(
                "--train_on_dev leaves nothing to evaluate on; leave out --early_stopping_patience, and give "
                "--save_strategy epoch"
            )
        return ["--eval_strategy=no"]
    return ["--save_strategy=no", "--load_best_model_at_end=false"] if given.search else []


def check_repository(name: str) -> None:
    """Raises ValueError for a folder's name that can't be that of a repository, which it is by default."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(
            f"--push_to_hub: {name!r}, the name of --output_dir, can't be that of a repository; give --hub_model_id "
            "OWNER/NAME"
        ) from error


def check_reports(names: Iterable[str]) -> None:
    """Raises ValueError for a service of `--report_to` whose package isn't installed."""
    installed = get_available_reporting_integrations()
    for name in names:
        if name not in installed:
            raise ValueError(
                f"--report_to names {name!r}, which is not installed, or unknown; installed here: "
                f"{', '.join(installed) or 'none'} (pip install tensorboard gives that)"
            )


def check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{argument} is {value!r}; choose one of {', '.join(choices)}")


def check_metric(args: MultiTaskTrainingArguments, tasks: Sequence[Task]) -> None:
    """Raises ValueError for a `--metric_for_best_model` that no evaluation of these tasks can give."""
    metric = (args.metric_for_best_model or "loss").removeprefix("eval_")
    known = ["loss", "macro_f1", "micro_precision", "micro_recall", "micro_f1"]
    for task in tasks:  # a single corpus has no scores of its own
        keys = results.score_keys(task.name, task.types, task.corpora if len(task.corpora) > 1 else ())
        known += [key for own in keys.values() for key in own[:3]]
    if args.do_train and metric not in known:
        raise ValueError(
            f"--metric_for_best_model is {args.metric_for_best_model}; give macro_f1, micro_f1, loss, "
            f"{tasks[0].name}_f1 or {tasks[0].name}_f1_{tasks[0].types[0]}"
        )


def check_output(args: MultiTaskTrainingArguments, data_args: DataArguments, model_args: ModelArguments) -> None:
    """Raises ValueError for an output folder that can't be written to, holds files and nobody said it may, or holds
    what is still needed."""
    folder, resume = Path(args.output_dir), resume_argument(args)
    if not args.do_train and Path(model_args.model_name_or_path).resolve() == folder.resolve():
        raise ValueError(
            f"--output_dir {folder} is the model's own folder, where scores would take the place of the record of its "
            "training; name another"
        )
    check_sources(args, model_args)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"--output_dir {folder}: {existing.name} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"--output_dir {folder}: {existing} can't be written to; name another folder")
    goes_on = resumes(args) or (data_args.search and (folder / search.DATABASE).is_file())
    may = data_args.overwrite_output or data_args.dry_run or goes_on
    if folder.is_dir() and any(folder.iterdir()) and not may:
        raise ValueError(
            f"--output_dir {folder} is not empty; choose another, go on with an interrupted training by "
            "--resume_from_checkpoint true, or delete results and teachers that are there by --overwrite_output"
        )
    if resume is not None and not Path(resume).is_dir():
        raise ValueError(f"--resume_from_checkpoint {resume}: no such folder; give one named checkpoint-N, or `true`")
    if resume is not None and not is_complete(Path(resume)):
        raise ValueError(
            f"--resume_from_checkpoint {resume}: this checkpoint was not written to its end; give another, or `true` "
            "for the newest whole one"
        )


def check_sources(args: MultiTaskTrainingArguments, model_args: ModelArguments) -> None:
    """Raises ValueError for a model that training begins with, or is taught by, among what it deletes."""
    folder = Path(args.output_dir).resolve()
    sources = {
        "model_name_or_path": [model_args.model_name_or_path], "teachers": named_teachers(model_args.teachers)
    }  # fmt: skip
    for argument, name in ((argument, name) for argument, names in sources.items() for name in names):
        path = Path(name).resolve()
        parts = path.relative_to(folder).parts if folder in path.parents else ()
        deleted = parts and (parts[0] == results.TEACHERS or parts[0].startswith("checkpoint-")) and not resumes(args)
        if deleted or (argument == "teachers" and path == folder):
            raise ValueError(
                f"--{argument} {name} is in --output_dir {args.output_dir}, where it would be deleted; give another "
                "--output_dir"
            )


def resumes(args: MultiTaskTrainingArguments) -> bool:
    """Whether `--resume_from_checkpoint` was given."""
    return str(args.resume_from_checkpoint or "false").lower() != "false"


_OPTIMIZER = re.compile("optimizer|global_step")  # the second is DeepSpeed's folder


def resume_argument(args: MultiTaskTrainingArguments) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` names, `true` being the newest whole one in the output folder;
    None without the argument, or where the training was interrupted before its teachers had all been trained.

    Raises:
        ValueError: there is none, or it holds no optimizer.
    """
    if not resumes(args):
        return None
    named = str(args.resume_from_checkpoint).lower() != "true"
    newest = args.resume_from_checkpoint if named else last_complete_checkpoint(args.output_dir)
    if newest and Path(newest).is_dir() and not any(map(_OPTIMIZER.match, os.listdir(newest))):
        raise ValueError(
            f"--resume_from_checkpoint: {newest} holds no optimizer (--save_only_model), so no training can go on "
            "with it to the same weights; begin anew with --overwrite_output"
        )
    if newest or (Path(args.output_dir) / results.BEGUN).is_file():
        return newest
    raise ValueError(f"--resume_from_checkpoint: no whole checkpoint in {args.output_dir}; leave it out to begin anew")


INPUTS = "inputs"
PROCESSES = "processes"  # not an argument, but of those that launch the training


def begun_with(given: Mapping[str, Any], teachers: Sequence[str], args: MultiTaskTrainingArguments) -> dict[str, Any]:
    """Those of the given arguments that a training must go on with, and its teachers; of paths only the last part.
    What a machine decides, the data type and the number of processes, is among them: steps hold other rows then."""
    settled = results.without_path({**given, "teachers": list(teachers)})
    kept = {key: value for key, value in settled.items() if not HARMLESS.match(key)}
    return {**kept, "bf16": args.bf16, PROCESSES: args.world_size}


def begun_in(args: MultiTaskTrainingArguments) -> Path:
    """The output folder of the training that goes on."""
    checkpoint = resume_argument(args)
    return Path(checkpoint).parent if checkpoint else Path(args.output_dir)


def check_same_inputs(inputs: Mapping[str, Any], args: MultiTaskTrainingArguments) -> None:
    """Raises ValueError for a training that would go on with other corpora or another encoder.

    Args:
        inputs: as `run_mtl_ner.Run.inputs`.
    """
    begun = begun_in(args) / results.BEGUN
    before = read_arguments(begun).get(INPUTS) if begun.is_file() else None
    if before is None:  # begun by other code
        return
    names = [*(f"corpus {name}" for name in inputs["corpora"]), "encoder"]
    old, new = ([*own["corpora"].values(), own["base_model"]] for own in (before, inputs))
    for name, was, is_ in zip(names, old, new, strict=False):  # paths, and so names, may be others
        if was != is_:
            raise ValueError(
                f"--resume_from_checkpoint: the {name} is not the one that the training in {begun.parent} was begun "
                "with; restore it, or begin anew with --overwrite_output"
            )


def check_begun_with(wanted: Mapping[str, Any], args: MultiTaskTrainingArguments) -> None:
    """Raises ValueError for a training that would go on with other arguments than it was begun with, so that no single
    command gave its scores, or without the teachers that it trained.

    Args:
        wanted: as `begun_with`.
    """
    if not resumes(args):
        return
    checkpoint, folder = resume_argument(args), begun_in(args)
    if AUTO in wanted["teachers"] and folder.resolve() != Path(args.output_dir).resolve():
        raise ValueError(
            f"--resume_from_checkpoint {checkpoint} is not in --output_dir {args.output_dir}, where its teachers "
            f"would be; give {folder} as --output_dir, or say which --teachers it had ({NONE}, if it had none)"
        )
    if not (folder / results.BEGUN).is_file():  # begun by other code
        return
    before = read_arguments(folder / results.BEGUN)
    before.pop(INPUTS, None)  # `check_same_inputs`
    if (count := before.pop(PROCESSES, None)) not in (None, wanted[PROCESSES]):
        raise ValueError(
            f"--resume_from_checkpoint: the training in {folder} was begun with {count} processes, not with "
            f"{wanted[PROCESSES]}; launch as many, or begin anew with --overwrite_output"
        )
    wanted = {key: value for key, value in wanted.items() if key != PROCESSES}
    before.setdefault("bf16", wanted["bf16"])  # as the count of processes, not in files of other versions
    for key in {**before, **wanted}:
        old, new = (as_argv({key: said[key]}) if key in said else [f"no --{key}"] for said in (before, wanted))
        if old != new:
            raise ValueError(
                f"--resume_from_checkpoint: the training in {folder} was begun with {shlex.join(old)}, not with "
                f"{shlex.join(new)}; give the same arguments, begin anew with --overwrite_output, or train a saved "
                "model on, with --model_name_or_path and another --output_dir"
            )
