"""The card (`README.md`) of a trained model, from what its training recorded and nothing else.

`write_card(folder)` reads `config.json`, `all_results.json` and `run.json` of a model's folder; changing a recorded
result changes the card. Names and texts in there may come from a user's files, so they are escaped.
"""

from __future__ import annotations

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
from mtl_bioner.reporting.tables import format_markdown_table as table


# Ids of the corpora on the Hub, for the card's metadata.
HUB_DATASETS = {
    "ncbi": "ncbi/ncbi_disease",
    "bc5cdr": "bigbio/bc5cdr",
    "bc2gm": "spyysalo/bc2gm_corpus",
    "jnlpba": "jnlpba/jnlpba",
}

EXAMPLES = (
    ("Disease", "Two patients with Huntington disease developed acute renal failure."),
    ("Chemical", "Naloxone reverses the hypotension caused by clonidine."),
    ("Gene", "Mutations of BRCA1 and p53 were found in most tumours."),
    ("Protein", "IL-2 gene expression requires NF-kappa B in human T lymphocytes."),
    ("CellType", "IL-2 gene expression requires NF-kappa B in human T lymphocytes."),
)

UNNAMED = "REPOSITORY"  # in the examples, until a push names it
METRICS = ("precision", "recall", "f1")


def write_card(folder: Path, repository: str = UNNAMED, spread: Mapping[str, float] | None = None) -> None:
    """Write `README.md` into a model's folder, whole or not at all.

    Args:
        repository: name on the Hub, for the examples.
        spread: standard deviation over seeds by key of `all_results.json`, where it is known.

    Raises:
        ValueError: a recorded file is missing, or holds no JSON.
    """
    found = [recorded(folder / name) for name in ("config.json", "all_results.json", "run.json")]
    plots = sorted(path.name for path in folder.glob("*.png"))
    _write(folder, make_card(*found, repository, spread or {}, plots))


def write_task_card(folder: Path, task: str, output: Path, stock_scores: Mapping[str, float]) -> None:
    """The card of a stock model of one task that was exported from a model's folder.

    Args:
        stock_scores: of the model in the stock pipeline, with the keys of `all_results.json`; may be empty.

    Raises:
        ValueError: as `write_card`.
    """
    config, results, run = (recorded(folder / name) for name in ("config.json", "all_results.json", "run.json"))
    config["tasks"] = [own for own in config["tasks"] if own["name"] == task]
    _write(output, make_card(config, results, run, stock=stock_scores))


def spread_over(folders: Sequence[Path]) -> dict[str, float]:
    """Standard deviation of each score that all folders of several seeds have; empty for a single one.

    Raises:
        ValueError: as `write_card`, or other tasks were trained in one of them.
    """
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    seeds = [recorded(folder / "all_results.json") for folder in folders]
    if len(seeds) < 2:
        return {}
    tasks = [recorded(folder / "run.json")["arguments"]["tasks"] for folder in folders]
    for folder, own in zip(folders, tasks, strict=True):
        if own != tasks[0]:
            raise ValueError(f"{folder} was trained with --tasks {own}, not {tasks[0]}; leave it out")
    keys = set.intersection(*(set(own) for own in seeds))
    return {key: statistics.stdev(own[key] for own in seeds) for key in keys}


def name_repository(folder: Path, repository: str) -> None:
    """Put the name on the Hub into a card's own examples, in the place of an earlier one; all else stays."""
    card = folder / "README.md"
    if card.is_file():
        text, untouched = card.read_text(encoding="utf-8"), not is_edited(folder)
        own = r'(pipeline\("token-classification", model=)"(?:[^"\\]|\\.)*"'
        text = re.sub(own, lambda found: found[1] + json.dumps(repository), text)
        write_text(card, sealed(text) if untouched else text)


_SEAL = re.compile(r"<!-- made by mtl-bioner, (\w+) -->\n")


def sealed(text: str) -> str:
    """A card with a hash of itself in its last line, which tells whether somebody wrote into it since."""
    text = _SEAL.sub("", text)
    return f"{text}<!-- made by mtl-bioner, {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def is_edited(folder: Path) -> bool:
    """Whether the folder's card is there and not as it was made."""
    card = folder / "README.md"
    return card.is_file() and sealed(text := card.read_text(encoding="utf-8")) != text


def _write(folder: Path, card: ModelCard) -> None:
    write_text(folder / "README.md", sealed(str(card)))


def recorded(path: Path) -> dict[str, Any]:
    """What a file of a model's folder holds.

    Raises:
        ValueError: it is missing, or holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}: no such file; a card is made from what run_mtl_ner.py writes, so name its --output_dir"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}; train again, or restore the file") from error


def make_card(
    config: Mapping[str, Any],
    results: Mapping[str, float],
    run: Mapping[str, Any],
    repository: str = UNNAMED,
    spread: Mapping[str, float] | None = None,
    plots: Sequence[str] = (),
    stock: Mapping[str, float] | None = None,
) -> ModelCard:
    """The card of a model with this config, scores and record.

    Args:
        stock: scores in the stock pipeline, of a model that needs no code of its own; None for one that does.
    """
    sections = [
        (
            "Multi-task biomedical NER" if stock is None else "Biomedical NER",
            introduction(config, stock is not None),
        ),
        ("Use", usage(config, repository) if stock is None else stock_usage(repository)),
        (
            "Scores",
            scores(config, results, spread or {})
            + (
                calibration(config, results) + sharing(results) + forgetting(results)
                if stock is None
                else stock_comparison(config, results, stock)
            ),
        ),
        ("Training data", training_data(config, run)),
        ("Training", training(results, run)),
        ("Limits", limits(config, stock is not None)),
    ]
    text = "\n\n".join(f"{'#' if i == 0 else '##'} {title}\n\n{body}" for i, (title, body) in enumerate(sections))
    images = "".join(f"\n\n![{name}]({name})" for name in plots)
    data = metadata(config, results if stock is None else stock, run, stock is not None)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}{images}\n")


# ----------------------------------------------------------------------------------------------------------- metadata


def metadata(
    config: Mapping[str, Any], results: Mapping[str, float], run: Mapping[str, Any], stock: bool = False
) -> ModelCardData:
    """What the Hub reads: tags, widget, and the scores on the test split as a model-index."""
    types = [name for task in config["tasks"] for name in task["types"]]
    texts = dict.fromkeys(text for name, text in EXAMPLES if name in types)
    corpora = [] if is_sample(run) else corpora_of(config, run)
    datasets = [HUB_DATASETS[corpus] for corpus in corpora if corpus in HUB_DATASETS]
    index = list(model_index(config, results, run))
    return ModelCardData(
        language="en",
        license="other",
        license_name="of-encoder-and-corpora",
        library_name="transformers",
        pipeline_tag="token-classification",
        tags=["biomedical", "named-entity-recognition", *(() if stock else ("multi-task", "custom_code"))],
        base_model=run.get("base_model"),
        datasets=datasets or None,
        widget=[{"text": text} for text in texts or (EXAMPLES[0][1],)],
        model_name="mtl-bioner " + ", ".join(task["name"] for task in config["tasks"]) if index else None,
        eval_results=index or None,
    )


def corpora_of(config: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """All that the heads were trained on: in this training, then in those before it."""
    earlier = (corpus for task in config["tasks"] for corpus in task.get("corpora", ()))
    return list(dict.fromkeys([*run["ledger"], *earlier]))


def is_sample(run: Mapping[str, Any]) -> bool:
    """Whether the training was on the sample corpus, which has nothing of the real ones but their layouts."""
    return run["arguments"].get("data_dir") == "sample"


def model_index(
    config: Mapping[str, Any], results: Mapping[str, float], run: Mapping[str, Any]
) -> Iterator[EvalResult]:
    """Precision, recall and F1 of each task and corpus on its test split; none where that is not the whole of an
    official one (or not known to be, as of a user's own corpus), so that nobody compares what can't be compared."""
    if is_sample(run) or any(run["arguments"].get(name) for name in ("test_size", "max_predict_samples")):
        return
    for task in config["tasks"]:
        corpora = task.get("corpora") or [task["name"]]
        for corpus in corpora:
            if corpus not in HUB_DATASETS:  # all of these have an official test split
                continue
            # The Hub puts results together by data set and config: those of several heads on one corpus are apart.
            heads = sum(corpus in (other.get("corpora") or [other["name"]]) for other in config["tasks"])
            # a head that went on with another corpus was scored on that one alone, without its name in the key
            several = f"test_{task['name']}_f1_{corpus}" in results
            alone = [corpus] == [other for other in corpora if other in run["ledger"]]
            suffix = f"_{corpus}" if several else ""
            for metric in METRICS if several or alone else ():
                key = f"test_{task['name']}_{metric}{suffix}"
                if key in results:
                    yield EvalResult(
                        task_type="token-classification",
                        task_name=f"{task['name']}: {', '.join(task['types'])}",
                        dataset_type=HUB_DATASETS[corpus],
                        dataset_name=get_corpus(corpus).title,
                        dataset_config=task["name"] if heads > 1 else None,
                        dataset_split="test",
                        metric_type=metric,
                        metric_name=f"entity {metric}",
                        metric_value=round(results[key], 4),
                    )


# ----------------------------------------------------------------------------------------------------------- sections


def introduction(config: Mapping[str, Any], stock: bool = False) -> str:
    """What the model finds."""
    rows = [[task["name"], ", ".join(task["types"]), ", ".join(task.get("corpora", ()))] for task in config["tasks"]]
    encoder = config["encoder_config"]["model_type"]
    how = (
        "a stock token-classification model, one task of a model trained on several; the scores below are those of "
        "the task's head there, and the stock pipeline, which splits text into words in another way, can differ"
        if stock
        else f"one {escape_markdown(encoder)} encoder feeds a head for each task (sharing: `{config['sharing']}`)"
    )
    return f"Finds entities in biomedical text: {how}.\n\n{table(['task', 'finds', 'trained on'], rows)}"


# How users are told to call the stock pipeline, and how a stock model is scored.
STOCK_PIPELINE = {"aggregation_strategy": "average", "stride": 32}


def stock_usage(repository: str) -> str:
    """Three lines."""
    options = ", ".join(f"{name}={json.dumps(value)}" for name, value in STOCK_PIPELINE.items())
    return f"""```python
from transformers import pipeline
ner = pipeline("token-classification", model={json.dumps(repository)}, {options})
ner("Cisplatin caused acute renal failure.")
```

Give it single sentences: it was trained on them."""


def usage(config: Mapping[str, Any], repository: str) -> str:
    """Three lines for all tasks, three for one."""
    first, model = json.dumps(config["tasks"][0]["name"]), json.dumps(repository)
    return f"""```python
from transformers import pipeline
ner = pipeline("token-classification", model={model}, trust_remote_code=True)
ner("Cisplatin caused acute renal failure.")  # entities of all tasks, with offsets, scores and the task's name
```

```python
from transformers import pipeline
ner = pipeline("token-classification", model={model}, trust_remote_code=True)
ner("Cisplatin caused acute renal failure.", tasks=[{first}])  # of one task
```

`trust_remote_code=True` runs the one file `modeling_mtl_bioner.py` of this repository; read it first. The widget of
the Hub does not run such code: it works for a single task that was exported with `mtl-bioner-export`."""


def scores(config: Mapping[str, Any], results: Mapping[str, float], spread: Mapping[str, float]) -> str:
    """Test scores by corpus and type, development scores where there are no others."""
    split = "test" if any(key.startswith("test_") for key in results) else "eval"
    rows = []
    for task in config["tasks"]:
        corpora, types = ([*names] if len(names) > 1 else [] for names in (task.get("corpora", ()), task["types"]))
        for what, keys in list_score_keys(f"{split}_{task['name']}", types, corpora).items():
            if keys[2] in results:
                known = f"{100 * spread[keys[2]]:.2f}" if keys[2] in spread else ""
                deviation = [known] if spread else []
                rows.append([task["name"], what, *(f"{100 * results[key]:.2f}" for key in keys[:3]), *deviation])
    if not rows:
        return "No scores were recorded."
    name = {"test": "test", "eval": "development"}[split]
    header = [
        "task",
        "corpus or type",
        "precision",
        "recall",
        "F1",
        *(["F1's deviation over seeds"] if spread else []),
    ]
    return (
        f"Entities of the {name} split, in per cent; an entity is right if its characters and its type are exactly "
        f"those of the corpus.\n\n{table(header, rows)}"
    )


def calibration(config: Mapping[str, Any], results: Mapping[str, float]) -> str:
    """What the entities' scores mean."""
    fitted = [task["name"] for task in config["tasks"] if "temperature" in task]
    keys = {name: f"test_{name}_ece" for name in fitted}
    errors = [f"{escape_markdown(name)} {results[key]:.3f}" for name, key in keys.items() if key in results]
    measured = f" Expected calibration error on the test split: {', '.join(errors)}." if errors else ""
    others = [escape_markdown(task["name"]) for task in config["tasks"] if task["name"] not in fitted]
    raw = f" Of {', '.join(others)} the scores are as the model gives them, and not fitted." if others else ""
    what = "An entity's score is its chance to be right, as fitted on development data." if fitted else ""
    return f"\n\n{what}{measured}{raw}"


def forgetting(results: Mapping[str, float]) -> str:
    """F1 of the heads that were there before this training, before and after it; empty where there were none."""
    names = [key.removeprefix("before_").removesuffix("_f1") for key in results if key.startswith("before_")]
    rows = [
        [name, *(f"{100 * results[f'{when}_{name}_f1']:.2f}" for when in ("before", "after"))]
        for name in names
        if {f"before_{name}_f1", f"after_{name}_f1"} <= results.keys()
    ]
    header = ["head of an earlier training", "F1 before", "F1 after"]
    return f"\n\nOn the test split:\n\n{table(header, rows)}" if rows else ""


def sharing(results: Mapping[str, float]) -> str:
    """Test F1 of the single-task models that taught the model, beside its own; empty where none were trained."""
    keys = [key.removeprefix("single_") for key in results if key.startswith("single_test_")]
    rows = [
        [key.removeprefix("test_").removesuffix("_f1"), *(f"{100 * results[k]:.2f}" for k in (f"single_{key}", key))]
        for key in keys
        if key in results
    ]
    header = ["task", "F1 of a single-task model", "F1 of this one"]
    return f"\n\nSingle-task models of the same encoder, data and seed:\n\n{table(header, rows)}" if rows else ""


def stock_comparison(config: Mapping[str, Any], results: Mapping[str, float], stock: Mapping[str, float]) -> str:
    """The F1 in the stock pipeline, beside the head's own; empty where it wasn't taken."""
    key = f"test_{config['tasks'][0]['name']}_f1"
    if key not in stock or key not in results:
        return ""
    single, whole, head = (
        f"{100 * value:.2f}"
        for value in (stock[f"sentences_{config['tasks'][0]['name']}_f1"], stock[key], results[key])
    )
    return (
        f"\n\nThrough the stock pipeline the F1 is {single} sentence by sentence, and {whole} on whole documents; "
        f"that of the head itself is {head}."
    )


def training_data(config: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Corpora with terms, what was read and lost, leaks, citations."""
    rows, terms = [], []
    for name in corpora_of(config, run):
        own = run["ledger"].get(name, {}).get("train", {})
        if own:
            lost = ", ".join(f"{count} {cause}" for cause, count in own["dropped"].items())
            rows.append([name, f"{own['documents']:,}", f"{own['read']:,}", f"{own['kept']:,}", lost])
        else:
            rows.append([name, "not in this training, but in one before it", "", "", ""])
        if is_sample(run):
            terms = ["**Text written for MTL-BioNER in the layouts of these corpora: scores say nothing of them.**"]
        elif name in list_corpora():
            corpus = get_corpus(name)
            terms.append(
                f"- **{corpus.title}** ({corpus.homepage}): {corpus.licence}\n\n```bibtex\n{corpus.citation}\n```"
            )
        else:
            terms.append(f"- **{escape_markdown(name)}**: a corpus of the model's maker; ask them for its terms.")
    leaks = run["leaks"]["train_documents"]
    header = ["corpus", "documents of its training split", "mentions in them", "kept as labels", "lost"]
    mode = run["arguments"].get("leaks", "drop")
    what = {"drop": "They were left out of training.", "warn": "**They were trained on.**"}.get(mode, "")
    return (
        f"{table(header, rows)}\n\nTraining documents that are held-out text of one of these corpora: {leaks}. "
        f"{what if leaks else ''}\n\n" + "\n".join(terms)
    )


SHOWN_ARGUMENTS = (
    "tasks", "sharing", "sharing_size", "num_train_epochs", "learning_rate", "max_tokens_per_batch", "max_seq_length",
    "text_unit", "label_subwords", "mask_probability", "head_dropout", "attention_dropout", "task_loss_weights",
    "loss_weighting", "teacher_weight", "task_sampling_alpha", "train_fraction", "test_size", "bf16", "seed",
)  # fmt: skip


def training(results: Mapping[str, float], run: Mapping[str, Any]) -> str:
    """Arguments, time, machine, versions."""
    given, idle = run["arguments"], () if run.get("teachers") else ("teacher_weight",)
    arguments = [[name, given[name]] for name in SHOWN_ARGUMENTS if given.get(name) is not None and name not in idle]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if version)
    minutes = f"{results['train_runtime'] / 60:.0f} minutes" if "train_runtime" in results else "a time not recorded"
    if str(given.get("resume_from_checkpoint") or "false").lower() != "false":
        minutes += " since it was resumed"
    if "teachers_runtime" in results:
        minutes += f" (its teachers for {results['teachers_runtime'] / 60:.0f} before)"
    base = run.get("base_model")
    encoder = (
        f"the encoder `{escape_markdown(base)}`" if base else "an encoder in a folder (it has no name on the Hub)"
    )
    machine = run["machine"]
    devices = (
        f", in {machine['processes']} processes on {escape_markdown(machine['device'])}" if "device" in machine else ""
    )
    return (
        f"Trained for {minutes}, from {encoder}, on a machine with {machine['cpus']} CPUs "
        f"({escape_markdown(machine['processor'])}){devices}, with {escape_markdown(versions)}.{taught_by(run)}\n\n"
        f"{table(['argument', 'value'], arguments)}"
    )


def taught_by(run: Mapping[str, Any]) -> str:
    """Which models labelled training text."""
    names = ", ".join(
        f"{escape_markdown(one['name'])} ({escape_markdown(one['model'])})" for one in run.get("teachers", ())
    )
    if not names:
        return ""
    told = f" Teachers, which are saved models, labelled the training text of the other tasks: {names}."
    if "auto" in (run["arguments"].get("teachers") or ()):
        leaky = run["arguments"].get("leaks") == "warn"
        return (
            f"{told} Each was trained for it on one task alone{'' if leaky else ', on no held-out text of any task'}."
        )
    return (
        f"{told} (Their own training text may be held-out text of a corpus here, unless they were trained with "
        "--leak_corpora.)"
    )


def limits(config: Mapping[str, Any], stock: bool = False) -> str:
    """What not to expect."""
    types = ", ".join(dict.fromkeys(name for task in config["tasks"] for name in task["types"]))
    lines = [
        f"It finds {escape_markdown(types)} as the guidelines of its corpora define them, in English abstracts; "
        "nothing else.",
        "Names are found, not linked to a database.",
        "It is a tool for research, and no medical device: check what it finds before anyone is treated by it.",
    ]
    if not stock:
        lines[1:1] = [
            "Entities of one task don't overlap; those of different tasks may.",
            f"Long text is read whole, in pieces of at most {config['max_seq_length']} sub-words, each by itself.",
        ]
    return "\n".join(f"- {line}" for line in lines)
