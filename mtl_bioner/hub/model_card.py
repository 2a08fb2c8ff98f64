"""Write the model card (`README.md`) from the files that a training recorded.

Its text and tables are in `model_card.md.jinja`; this module computes the metadata and some groups of scores.
"""

import hashlib
import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from dataset_scripts import get_corpus, list_corpora
from mtl_bioner.reporting.files import write_text
from mtl_bioner.reporting.tables import escape_markdown, list_score_keys


TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
HUB_DATASETS = {  # all of them have an official test split
    "ncbi": "ncbi/ncbi_disease", "bc5cdr": "bigbio/bc5cdr",
    "bc2gm": "spyysalo/bc2gm_corpus", "jnlpba": "jnlpba/jnlpba",
}  # fmt: skip
WIDGET_TEXTS = {
    "Disease": "Two patients with Huntington disease developed acute renal failure.",
    "Chemical": "Naloxone reverses the hypotension caused by clonidine.",
    "Gene": "Mutations of BRCA1 and p53 were found in most tumours.",
    "Protein": "IL-2 gene expression requires NF-kappa B in human T lymphocytes.",
    "CellType": "IL-2 gene expression requires NF-kappa B in human T lymphocytes.",
}
# Until a push names the repository, the example loads the card's own folder, whose path is private.
LOCAL = "."
LOCAL_NOTE = "\n`.` is the folder of this card: run the code there, or give the folder's path instead.\n"
# How users are told to call the stock pipeline, and how a stock model is scored.
STOCK_PIPELINE = {"aggregation_strategy": "average", "stride": 32}

Record = Mapping[str, Any]  # the contents of config.json or run.json
Scores = Mapping[str, float]  # from 0 to 1, by key of all_results.json


def write_card(folder: Path, repository: str | None = None, spread: Scores | None = None) -> None:
    """Write `README.md` into a model's folder, with the repository's name on the Hub and the standard deviations over
    seeds, where they are known; raises ValueError as `read_record`."""
    plots = sorted(path.name for path in folder.glob("*.png"))
    card = make_card(*read_records(folder), repository or LOCAL, spread, plots)
    write_text(folder / "README.md", seal(f"{card}\n"))


def write_task_card(folder: Path, task: str, output: Path, stock: Scores) -> None:
    """Write the card of a stock model, exported to `output` from a folder, with its own scores (or none)."""
    config, results, run = read_records(folder)
    config["tasks"] = [entry for entry in config["tasks"] if entry["name"] == task]
    write_text(output / "README.md", seal(f"{make_card(config, results, run, stock=stock)}\n"))


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read the config, the scores and the record of a model's folder; raises ValueError for what a card lacks."""
    records = [read_record(folder / name) for name in ("config.json", "all_results.json", "run.json")]
    for name in ("arguments", "ledger"):
        if name not in records[-1]:
            raise ValueError(f"{folder / 'run.json'} lacks {name!r}; train again, or restore the file")
    return records


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON file of a model's folder; raises ValueError if it is missing or holds no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "a card is made from what run_mtl_ner.py writes, so name its --output_dir"
        raise ValueError(f"{path}: no such file; {remedy}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}; train again, or restore the file") from error


def compute_spread(folders: Sequence[Path]) -> dict[str, float]:
    """Return the standard deviation of each score over the seeds of a training; nothing for one seed.

    Raises ValueError for a folder of a training on other tasks.
    """
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    if len(folders) < 2:
        return {}
    tasks = [read_record(folder / "run.json")["arguments"]["tasks"] for folder in folders]
    for folder, names in zip(folders, tasks, strict=True):
        if names != tasks[0]:
            raise ValueError(f"{folder} was trained with --tasks {names}, not {tasks[0]}; leave it out")
    results = [read_record(folder / "all_results.json") for folder in folders]
    values = {key: [scores.get(key) for scores in results] for key in results[0]}
    return {key: statistics.stdev(scores) for key, scores in values.items() if None not in scores}


def name_repository(folder: Path, repository: str) -> None:
    """Put the repository's name into the example of a folder's card, and change nothing else."""
    card = folder / "README.md"
    if card.is_file():
        text, finish = card.read_text(encoding="utf-8"), str if is_edited(folder) else seal
        model = r'(pipeline\("token-classification", model=)"(?:[^"\\]|\\.)*"'
        text = re.sub(model, lambda match: match[1] + json.dumps(repository), text.replace(LOCAL_NOTE, ""))
        write_text(card, finish(text))


def seal(text: str) -> str:
    """Append a hash of a card to it, in the place of an earlier one, to tell later whether somebody edited it."""
    text = re.sub(r"<!-- made by mtl-bioner, \w+ -->\n", "", text)
    return f"{text}<!-- made by mtl-bioner, {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def is_edited(folder: Path) -> bool:
    """Return whether a folder has a card that was edited by hand."""
    card = folder / "README.md"
    return card.is_file() and seal(text := card.read_text(encoding="utf-8")) != text


def make_card(
    config: Record, results: Scores, run: Record, repository: str = LOCAL, spread: Scores | None = None,
    plots: Sequence[str] = (), stock: Scores | None = None,
) -> ModelCard:  # fmt: skip
    """Render the card of a model; `stock` holds the scores of a stock model of one task, None is for several heads."""
    is_stock, corpora = stock is not None, list_trained_corpora(config, run)
    split = "test" if any(key.startswith("test_") for key in results) else "eval"
    return ModelCard.from_template(
        make_metadata(config, stock if is_stock else results, run, is_stock),
        str(TEMPLATE),
        md=escape_markdown, config=config, results=results, run=run, spread=spread, plots=plots, stock=stock,
        is_stock=is_stock, is_sample=is_sample(run), split=split, corpora=corpora,
        known_corpora={name: get_corpus(name) for name in corpora if name in list_corpora()},
        pipeline_call=format_pipeline_call(repository, is_stock),
        local_note=LOCAL_NOTE if repository == LOCAL else "",
        scores=list(list_scores(config, results, split)),
        calibration=group_by_calibration(config, results),
    )  # fmt: skip


def format_pipeline_call(model: str, is_stock: bool, **options: Any) -> str:
    """Return the Python expression that loads a model."""
    options = {"model": model} | (STOCK_PIPELINE if is_stock else {"trust_remote_code": True}) | options
    values = {name: json.dumps(value) if isinstance(value, str) else value for name, value in options.items()}
    return f'pipeline("token-classification", {", ".join(f"{name}={value}" for name, value in values.items())})'


def make_metadata(config: Record, results: Scores, run: Record, is_stock: bool) -> ModelCardData:
    """Return what the Hub reads: tags, widget, and the scores on the test split as a model index."""
    types = [name for task in config["tasks"] for name in task["types"]]
    texts = dict.fromkeys(text for name, text in WIDGET_TEXTS.items() if name in types)
    corpora = [] if is_sample(run) else list_trained_corpora(config, run)
    index = list(list_eval_results(config, results, run))
    return ModelCardData(
        language="en", license="other", license_name="of-encoder-and-corpora",
        library_name="transformers", pipeline_tag="token-classification",
        tags=["biomedical", "named-entity-recognition", *(() if is_stock else ("multi-task", "custom_code"))],
        base_model=run.get("base_model"),
        datasets=[HUB_DATASETS[corpus] for corpus in corpora if corpus in HUB_DATASETS] or None,
        widget=[{"text": text} for text in texts or (WIDGET_TEXTS["Disease"],)],
        model_name="mtl-bioner " + ", ".join(task["name"] for task in config["tasks"]) if index else None,
        eval_results=index or None,
    )  # fmt: skip


def list_eval_results(config: Record, results: Scores, run: Record) -> Iterator[EvalResult]:
    """Yield precision, recall and F1 of each task on the test split of each of its corpora.

    Only scores on a whole official test split count, so that nobody compares what can't be compared.
    """
    if is_sample(run) or any(run["arguments"].get(name) for name in ("test_size", "max_predict_samples")):
        return
    corpora_by_task = {task["name"]: task.get("corpora") or [task["name"]] for task in config["tasks"]}
    for task in config["tasks"]:
        name, corpora = task["name"], corpora_by_task[task["name"]]
        # A head that went on with one other corpus was scored on that one alone, without its name in the key.
        scored = [corpus for corpus in corpora if corpus in run["ledger"]]
        for corpus in (corpus for corpus in corpora if corpus in HUB_DATASETS):
            suffix = f"_{corpus}" if f"test_{name}_f1_{corpus}" in results else ""
            # The Hub merges results of one data set and config: several heads on a corpus need configs of their own.
            heads = sum(corpus in others for others in corpora_by_task.values())
            for metric in ("precision", "recall", "f1") if suffix or scored == [corpus] else ():
                if (key := f"test_{name}_{metric}{suffix}") in results:
                    yield EvalResult(
                        task_type="token-classification", task_name=f"{name}: {', '.join(task['types'])}",
                        dataset_type=HUB_DATASETS[corpus], dataset_name=get_corpus(corpus).title,
                        dataset_config=name if heads > 1 else None, dataset_split="test",
                        metric_type=metric, metric_name=f"entity {metric}", metric_value=round(results[key], 4),
                    )  # fmt: skip


def list_trained_corpora(config: Record, run: Record) -> list[str]:
    """Return the corpora that the heads were trained on: in this training, then in earlier ones."""
    earlier = (corpus for task in config["tasks"] for corpus in task.get("corpora", ()))
    return list(dict.fromkeys([*run["ledger"], *earlier]))


def is_sample(run: Record) -> bool:
    """Return whether a model was trained on the sample corpus, which shares only its layouts with the real ones."""
    return run["arguments"].get("data_dir") == "sample"


def list_scores(config: Record, results: Scores, split: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield task, corpus or type, and the keys of precision, recall and F1, for each score of a split."""
    for task in config["tasks"]:
        corpora, types = (names if len(names) > 1 else () for names in (task.get("corpora", ()), task["types"]))
        for part, keys in list_score_keys(f"{split}_{task['name']}", types, corpora).items():
            if keys[2] in results:
                yield task["name"], part, keys[:3]


def group_by_calibration(config: Record, results: Scores) -> dict[str, list[str]]:
    """Group the tasks by what is known about the calibration of their scores."""
    groups: dict[str, list[str]] = {"fitted": [], "measured": [], "without_entities": [], "uncalibrated": []}
    for task in config["tasks"]:
        name, is_fitted = task["name"], "temperature" in task
        groups["fitted" if is_fitted else "uncalibrated"].append(name)
        error, precision = results.get(f"test_{name}_ece"), results.get(f"test_{name}_precision")
        if is_fitted and error is not None and (error or precision):
            groups["measured"].append(f"{name} {error:.3f}")
        elif is_fitted and precision is not None:  # 0.1 recorded an error of 0 where no entity was found
            groups["without_entities"].append(name)
    return groups
