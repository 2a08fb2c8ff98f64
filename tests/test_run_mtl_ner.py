"""run_mtl_ner.py in this process, with a toy encoder on the sample corpus: what a run reads, computes and leaves."""

import errno
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toys import (
    FEW,
    SAMPLE,
    SECRET,
    SMALL,
    TIMES,
    document,
    gout_cases,
    list_ids,
    read_json,
    read_jsonl,
    read_scores,
    write_jsonl,
)

import run_mtl_ner
from dataset_scripts import load_corpus
from dataset_scripts.formats import read_any
from modeling_mtl_bioner import IGNORE, MtlBionerModel, MtlBionerPipeline
from mtl_bioner.hub.push import PushError
from mtl_bioner.reporting.run_record import get_processor_name, hash_model
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.dataset import build_rows, name_corpora
from mtl_bioner.training.results import collect_arguments


ROOT = Path(__file__).parents[1]
Argv = Callable[..., list[str]]


# ------------------------------------------------------------------------------------------------- what a run leaves


def test_the_page_of_errors_counts_what_the_scores_count(trained: Path) -> None:
    (data,) = re.findall('id="data">(.*?)</script>', (trained / "errors.html").read_text())
    page, scores = json.loads(data), read_json(trained / "all_results.json")
    assert page["title"] == "Errors of model" and page["values"]["split"] == ["dev", "test"]
    for split, prefix in (("dev", "eval"), ("test", "test")):
        gold = [row["count"] for row in page["totals"] if row["kind"] != "spurious" and row["split"] == split]
        missed = [scores[f"{prefix}_{t}_support"] * (1 - scores[f"{prefix}_{t}_recall"]) for t in ("ncbi", "bc5cdr")]
        assert sum(gold) == round(sum(missed)) > 0


def test_without_a_flag_all_three_are_done_and_everything_is_written(trained: Path) -> None:
    names = {path.name for path in trained.iterdir() if path.is_file()}
    assert names >= {
        "model.safetensors", "config.json", "modeling_mtl_bioner.py", "tokenizer.json", "tokenizer_config.json",
        "all_results.json", "run.json", "ledger.json", "predictions_ncbi.jsonl", "predictions_ncbi.pubtator",
        "predictions_bc5cdr.jsonl", "predictions_bc5cdr.pubtator", "learning_curves.png", "errors.html",
    }  # fmt: skip
    assert not [name for name in names if ".tmp" in name]
    assert (trained / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    config = read_json(trained / "config.json")
    assert [{key: task[key] for key in ("name", "types", "corpora")} for task in config["tasks"]] == [
        {"name": "ncbi", "types": ["Disease"], "corpora": ["ncbi"]},
        {"name": "bc5cdr", "types": ["Chemical", "Disease"], "corpora": ["bc5cdr"]},
    ]
    assert (config["max_seq_length"], config["context_size"]) == (64, 8)


def test_results_have_the_keys_of_the_interface_and_values_from_0_to_1(trained: Path) -> None:
    results = read_json(trained / "all_results.json")
    parts = {"ncbi": ("", "_Disease"), "bc5cdr": ("", "_Chemical", "_Disease")}
    over_tasks = ("macro_f1", "micro_f1", "micro_precision", "micro_recall", "loss", "ncbi_ece", "bc5cdr_ece")
    expected = {f"{split}_{name}" for split in ("eval", "test") for name in over_tasks} | {
        f"{split}_{task}_{kind}{end}"
        for split in ("eval", "test")
        for task, ends in parts.items()
        for kind in ("precision", "recall", "f1", "support")
        for end in ends
    }
    kinds = [f"seqeval_{kind}" for kind in ("precision", "recall", "f1")]
    expected |= {f"{split}_{task}_{kind}" for split in ("eval", "test") for task in parts for kind in kinds}
    assert {key for key in results if key.startswith(("eval_", "test_")) and not key.endswith(TIMES)} == expected
    for key, value in results.items():
        assert not re.search("_(precision|recall|f1)", key) or 0 <= value <= 1, key
    assert results["train_loss"] > 0
    for split in ("eval", "test"):
        mean = (results[f"{split}_ncbi_f1"] + results[f"{split}_bc5cdr_f1"]) / 2
        assert results[f"{split}_macro_f1"] == pytest.approx(mean)
        for task in parts:
            right = results[f"{split}_{task}_recall"] * results[f"{split}_{task}_support"]
            assert right == pytest.approx(round(right), abs=1e-9)


@pytest.mark.parametrize("task", ["ncbi", "bc5cdr"])
def test_predictions_are_spans_of_the_test_documents(trained: Path, task: str) -> None:
    records = read_jsonl(trained / f"predictions_{task}.jsonl")
    assert len(records) == 4
    entities = [(record, entity) for record in records for entity in record["entities"]]
    assert entities  # an untrained head finds a lot
    for record, entity in entities:
        assert record["text"][entity["start"] : entity["end"]] == entity["text"]
        assert 0 < entity["score"] <= 1
        assert entity["task"] == task and entity["type"] in ("Chemical", "Disease")
    pubtator = list(read_any(trained / f"predictions_{task}.pubtator"))
    assert [raw.document_id for raw in pubtator] == [record["document_id"] for record in records]
    assert [len(raw.mentions) for raw in pubtator] == [len(record["entities"]) for record in records]


def test_scores_are_those_of_the_written_predictions(trained: Path) -> None:
    """From the files alone: gold of the sample corpus, predictions of the JSONL."""
    documents = load_corpus("bc5cdr", "sample").splits["test"][:4]
    gold = {(d.document_id, e.start, e.end, e.type) for d in documents for e in d.entities}
    records = read_jsonl(trained / "predictions_bc5cdr.jsonl")
    predicted = {(r["document_id"], e["start"], e["end"], e["type"]) for r in records for e in r["entities"]}
    results = read_json(trained / "all_results.json")
    assert results["test_bc5cdr_support"] == len(gold)
    assert results["test_bc5cdr_precision"] == len(gold & predicted) / len(predicted)
    assert results["test_bc5cdr_recall"] == len(gold & predicted) / len(gold)


def test_the_record_names_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.00GHz\n\nprocessor\t: 1\n"
    )
    assert get_processor_name(cpuinfo) == "Intel(R) Xeon(R) CPU @ 2.00GHz"
    assert get_processor_name(tmp_path / "none") == (platform.processor() or platform.machine())


def test_record_of_the_run_names_no_path_of_this_machine_and_no_token(trained: Path, encoder: str) -> None:
    record = read_json(trained / "run.json")
    arguments = record["arguments"]
    assert (arguments["tasks"], arguments["output_dir"]) == ("ncbi,bc5cdr", "model")
    assert arguments["model_name_or_path"] == Path(encoder).name
    assert arguments["average_tokens_across_devices"] is True  # its name only resembles a secret's
    assert arguments["learning_rate"] == 3e-4  # hidden size 16
    assert record["base_model"] is None and record["base_model_hash"] == hash_model(encoder)
    assert record["seed"] == 42 and record["versions"]["torch"]
    assert all(len(digest) == 64 for hashes in record["corpora"].values() for digest in hashes.values())
    assert record["ledger"] == read_json(trained / "ledger.json")
    assert record["ledger"]["ncbi"]["test"]["read"] == 148
    assert record["documents_used"] == {name: {"train": 6, "dev": 3, "test": 4} for name in ("ncbi", "bc5cdr")}
    for path in trained.iterdir():
        if path.suffix in (".json", ".jsonl", ".pubtator", ".py"):
            text = path.read_text(encoding="utf-8")
            for private in (str(trained.parent), str(ROOT), str(Path(encoder).parent)):
                assert private not in text, f"{path.name} holds {private}"


def test_the_hub_token_is_in_no_file(trained: Path) -> None:
    assert (trained / "training_args.bin").is_file()
    for path in trained.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def collect(**data: Any) -> dict[str, Any]:
    """What `collect_arguments` keeps of data arguments."""
    training = SimpleNamespace(to_dict=lambda: {"hub_token": SECRET})
    arguments: Any = SimpleNamespace(model=SimpleNamespace(), data=SimpleNamespace(**data), training=training)
    return collect_arguments(arguments)


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        ("/home/me/data", "data"),
        ("/home/me/data/", "data/"),
        ("/home/me//data", "data"),
        ("mine=//home/me/data", "mine=data"),
        ("mine=/home/me/my corpus/a.jsonl:Disease+/srv/b.conll,ncbi", "mine=a.jsonl:Disease+b.conll,ncbi"),
        ("mine=./corpus/a.jsonl", "mine=a.jsonl"),
        ("../shared/corpora", "corpora"),
        ("outputs/ncbi,bc5cdr", "outputs/ncbi,bc5cdr"),
        ("dmis-lab/biobert-base-cased-v1.2", "dmis-lab/biobert-base-cased-v1.2"),
        ({"config_file": "/home/me/fsdp.json", "n": 1}, {"config_file": "fsdp.json", "n": 1}),
        (["/a/b", 2, None], ["b", 2, None]),
    ],
)
def test_paths_are_recorded_by_their_last_part(value: Any, recorded: Any) -> None:
    assert collect(value=value) == {"value": recorded}


def test_a_folder_named_sample_is_not_the_embedded_one() -> None:
    assert collect(data_dir="sample") == {"data_dir": "sample"}
    assert collect(data_dir="/data/sample") == {"data_dir": "a folder named sample"}


def test_a_json_file_of_arguments_gives_the_same_scores(
    trained: Path, encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = {
        "tasks": "ncbi,bc5cdr", "model_name_or_path": encoder, "data_dir": "sample", "max_seq_length": 64,
        "context_size": 8, "num_train_epochs": 1, "max_train_samples": 6, "max_eval_samples": 3,
        "max_predict_samples": 4, "use_cpu": True, "disable_tqdm": True, "cache_dir": None, "teachers": ["none"],
    }  # fmt: skip
    path = tmp_path / "arguments.json"
    path.write_text(json.dumps(arguments), encoding="utf-8")
    assert run_mtl_ner.main([str(path), "--output_dir", str(tmp_path / "out")]) == 0
    assert read_scores(tmp_path / "out") == read_scores(trained)
    table = capsys.readouterr().out
    assert "macro over tasks" in table and "micro over tasks" in table
    assert f"\nerrors: {tmp_path / 'out/errors.html'}\nmodel: {tmp_path / 'out'}\n" in table
    assert f"{100 * read_scores(trained)['test_bc5cdr_f1_Chemical']:.2f}" in table


def test_the_last_lines_name_the_model_and_a_command_that_annotates(
    argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_mtl_ner.main(argv("--do_train", "--max_steps", "1")) == 0
    folder, files, command = capsys.readouterr().out.splitlines()[-3:]
    assert folder == f"model: {tmp_path / 'out'}"
    assert files == f"annotate files: mtl-bioner annotate {tmp_path / 'out'} FILE --output DIR"
    code = shlex.split(command.removeprefix("annotate a text: python -c "))
    done = subprocess.run([sys.executable, "-c", *code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[")


def test_a_full_disk_is_one_line(argv: Argv, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail(path: Path, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("mtl_bioner.training.results.write_json", fail)
    assert run_mtl_ner.main(argv("--do_train")) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("run_mtl_ner: error: [Errno 28] No space left on device: ")
    assert "nothing was kept; begin again with: " in last


def test_one_task_is_the_single_task_baseline(argv: Argv, tmp_path: Path) -> None:
    assert run_mtl_ner.main(argv(tasks="bc2gm")) == 0
    results = read_scores(tmp_path / "out")
    assert results["test_macro_f1"] == results["test_bc2gm_f1"] == results["test_micro_f1"]
    assert 0 <= results["test_bc2gm_f1"] <= results["test_bc2gm_official_f1"] <= 1
    assert read_json(tmp_path / "out" / "config.json")["id2label"] == {"0": "O", "1": "B-Gene", "2": "I-Gene"}


def test_a_task_of_several_corpora_is_scored_by_corpus_too(argv: Argv, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options = ["--do_train", "--do_predict", "--max_steps", "1"]
    assert run_mtl_ner.main(argv(*options, tasks="disease=ncbi+bc5cdr:Disease", data=SAMPLE)) == 0
    results = read_scores(folder)
    assert results["test_disease_support"] == 148 + 111
    assert results["test_disease_support_ncbi"] == results["test_disease_support_ncbi_Disease"] == 148
    assert results["test_disease_support_bc5cdr_Disease"] == 111
    assert read_json(folder / "config.json")["tasks"] == [
        {"name": "disease", "types": ["Disease"], "corpora": ["ncbi", "bc5cdr"]}
    ]
    written = {path.name: len(read_jsonl(path)) for path in folder.glob("*.jsonl")}
    assert written == {"predictions_disease_ncbi.jsonl": 20, "predictions_disease_bc5cdr.jsonl": 18}


def test_the_best_epoch_by_the_f1_of_a_type(argv: Argv) -> None:
    assert run_mtl_ner.main(argv("--do_train", "--metric_for_best_model", "bc5cdr_f1_Chemical", tasks="bc5cdr")) == 0


def test_activation_checkpointing_trains(argv: Argv) -> None:
    assert run_mtl_ner.main(argv("--do_train", "--activation_checkpointing", "true")) == 0


def test_what_a_run_found_is_kept_whatever_the_document_ids(argv: Argv, tmp_path: Path) -> None:
    """PubTator can't hold such an id; everything else is written."""
    documents = [item | {"document_id": f"10.1|t|{n}"} for n, item in enumerate(gout_cases(20))]
    own, output = write_jsonl(tmp_path / "own.jsonl", documents), tmp_path / "out"
    assert run_mtl_ner.main(argv("--leaks", "warn", tasks=f"mine={own}")) == 0
    assert "test_mine_f1" in read_scores(output)
    assert all(item["document_id"].startswith("10.1|t|") for item in read_jsonl(output / "predictions_mine.jsonl"))
    assert not (output / "predictions_mine.pubtator").exists()


def test_calibrations_are_fitted_kept_and_used_by_the_pipeline(argv: Argv, tmp_path: Path) -> None:
    output = tmp_path / "out"
    # Hardly trained, so that much is found, most of it wrong; and scored in fp32, as the pipeline computes.
    options = ["--num_train_epochs=1", "--learning_rate=1e-6", "--bf16=false"]
    assert run_mtl_ner.main(argv(*options, tasks="ncbi,bc5cdr", data=SAMPLE)) == 0
    tasks = {task["name"]: task for task in read_json(output / "config.json")["tasks"]}
    assert tasks["bc5cdr"]["temperature"] != 1.0  # the sample has enough entities for this head
    assert {f"{split}_{name}_ece" for split in ("eval", "test") for name in tasks} <= read_scores(output).keys()
    assert (output / "reliability.png").stat().st_size > 1000
    item = next(item for item in read_jsonl(output / "predictions_bc5cdr.jsonl") if item["entities"])
    model = MtlBionerModel.from_pretrained(output)
    ner = MtlBionerPipeline(model=model, tokenizer=load_tokenizer(str(output), config=model.config.encoder_config))
    again = ner(item["text"], tasks="bc5cdr")
    assert [(e["start"], e["end"]) for e in again] == [(e["start"], e["end"]) for e in item["entities"]]
    assert [e["score"] for e in again] == pytest.approx([e["score"] for e in item["entities"]], abs=1e-4)
    model.config.tasks[1]["temperature"] *= 2
    assert [e["score"] for e in ner(item["text"], tasks="bc5cdr")] != [e["score"] for e in again]


def test_calibration_errors_are_those_that_the_fit_leaves(argv: Argv, tmp_path: Path) -> None:
    common = {"tasks": "ill=ncbi+bc5cdr:Disease", "data": ["--use_cpu", "--data_dir", "sample", "--bf16", "false"]}
    options = ["--do_train", "--do_eval", "--learning_rate", "1e-6", "--num_train_epochs", "1"]  # finds much
    assert run_mtl_ner.main(argv(*options, output="trained", **common)) == 0
    assert run_mtl_ner.main(argv("--do_eval", model=tmp_path / "trained", output="again", **common)) == 0
    assert '"note":"bc5cdr"' in (tmp_path / "again/errors.html").read_text()
    errors = {key: value for key, value in read_scores(tmp_path / "again").items() if "_ece" in key}
    assert set(errors) == {"eval_ill_ece", "eval_ill_ece_ncbi", "eval_ill_ece_bc5cdr"}
    before = read_scores(tmp_path / "trained")
    assert errors == pytest.approx({key: before[key] for key in errors}, abs=1e-4)


@pytest.mark.parametrize("sharing", ["shared_private", "adversarial", "cross"])
def test_each_sharing_layer_trains_and_loads_back(
    argv: Argv, tmp_path: Path, sharing: str, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "a"
    gates = ["--report_gates"] if sharing == "cross" else []
    options = ["--sharing", sharing, "--sharing_size", "8", *gates]
    assert run_mtl_ner.main(argv(*options, tasks="ncbi,bc5cdr,bc2gm", output="a")) == 0
    assert run_mtl_ner.main(argv("--do_predict", tasks="bc5cdr", model=output, output="b")) == 0
    before, after = read_scores(output), read_scores(tmp_path / "b")
    for key in (key for key in after if "bc5cdr" in key):
        assert after[key] == pytest.approx(before[key], abs=1e-6), key
    recorded = read_json(output / "run.json")["arguments"]
    assert (recorded["sharing"], recorded["sharing_size"], recorded["adversarial_weight"]) == (sharing, 8, 0.01)
    if sharing == "cross":
        means = read_json(output / "gates.json")
        names = [["bc5cdr", "bc2gm"], ["ncbi", "bc2gm"], ["ncbi", "bc5cdr"]]
        assert [list(others) for others in means.values()] == names
        assert all(0.8 < gate < 0.95 for others in means.values() for gate in others.values())
        assert (output / "gates.png").stat().st_size > 1000
        assert run_mtl_ner.main(argv("--freeze_encoder", tasks="jnlpba", model=output, output="c")) == 2
        assert "open gates for each other, so the other heads can't stay" in capsys.readouterr().err


def test_tensorboard_shows_the_loss_and_the_score_of_each_task(argv: Argv, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run_mtl_ner.main(argv("--do_train", "--report_to", "tensorboard", tasks="ncbi,bc5cdr")) == 0
    (events,) = (tmp_path / "out").rglob("events.out.tfevents.*")
    shown = EventAccumulator(str(events)).Reload().Tags()["scalars"]
    assert {"train/loss_ncbi", "train/loss_bc5cdr", "eval/ncbi_f1", "eval/bc5cdr_f1", "eval/macro_f1"} <= set(shown)


@pytest.mark.slow
def test_three_ways_to_start_give_the_same(encoder: str, tmp_path: Path) -> None:
    script, installed = str(ROOT / "run_mtl_ner.py"), Path(sys.executable).parent / "mtl-bioner"
    if not installed.exists():
        pytest.skip("the project is not installed in this environment")
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "1"]
    scores = []
    for number, way in enumerate([[sys.executable, script], [*accelerate, script], [str(installed), "train"]]):
        output = tmp_path / str(number)
        done = subprocess.run(
            [*way, "--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(output), *SMALL],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert "macro over tasks" in done.stdout
        scores.append(read_scores(output))
    # To the last digits but one: where an array happens to lie in memory changes the order of some sums.
    assert scores[0] == pytest.approx(scores[1], abs=1e-5) and scores[0] == pytest.approx(scores[2], abs=1e-5)


# ------------------------------------------------------------------------------------------------------ the Hub, plans


def test_a_dry_run_makes_no_repository(argv: Argv) -> None:
    assert not run_mtl_ner.prepare(argv("--push_to_hub", "--dry_run")).args.push_to_hub
    assert run_mtl_ner.prepare(argv("--push_to_hub")).args.push_to_hub


def test_after_a_failed_push_the_model_is_there_and_no_process_waits(
    argv: Argv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: Any) -> str:
        raise PushError("the Hub refused me/ner")

    def name_it(self: Any, *_: Any) -> None:
        self.hub_model_id = "me/ner"

    shut_down: list[Any] = []
    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "init_hf_repo", name_it)
    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "push_to_hub", fail)
    monkeypatch.setattr(run_mtl_ner, "shut_down_processes", shut_down.append)
    output = tmp_path / "out"
    options = ["--do_train", "--push_to_hub", "--save_strategy", "no", "--eval_strategy", "no"]
    assert run_mtl_ner.main(argv(*options)) == 1
    message = capsys.readouterr().err
    assert f"refused me/ner; the model is in {output}: mtl-bioner push {output} me/ner" in message
    assert (output / "model.safetensors").is_file() and len(shut_down) == 1


def test_dry_run_says_what_would_be_trained_and_leaves_nothing(
    argv: Argv, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_jsonl(own, gout_cases(20))
    options = ["--dry_run", "--num_train_epochs", "3", "--per_device_train_batch_size", "4", "--leaks", "warn"]
    assert run_mtl_ner.main(argv(*options, tasks=f"mine={own}")) == 0
    told = capsys.readouterr().out
    rows, subwords, drawn = re.search(r"^mine +(\d+) +(\d+) +(\d+)$", told, re.MULTILINE).groups()
    steps = -(-int(rows) // 4)
    assert rows == drawn and int(subwords) > 5 * int(rows)
    assert f"an epoch: {steps} steps of 1 process(es), {subwords} sub-words" in told
    assert re.search(rf"training: {3 * steps} steps, about \d+\.\d minutes", told)
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------------------------------- corpora and rows


def test_no_path_has_the_name_of_a_registered_corpus_or_of_a_type() -> None:
    sources = ["ncbi", "/data/ncbi", "./bc5cdr", "/data/mine", "./mine"]
    assert list(name_corpora(sources).values()) == ["ncbi", "ncbi-2", "bc5cdr-2", "mine", "mine-2"]
    # Else the scores of the one stood in the place of the other's.
    names = name_corpora(["/data/Disease", "ncbi"], {"Disease", "Gene"})
    assert names == {"/data/Disease": "Disease-2", "ncbi": "ncbi"}


@pytest.mark.parametrize(
    ("flags", "splits"),
    [
        ([], {"train": 6, "dev": 3, "test": 4}),
        (["--do_train"], {"train": 6, "dev": 3}),
        (["--do_train", "--eval_strategy", "no"], {"train": 6}),
    ],
)
def test_documents_per_task_are_limited_by_split(argv: Argv, flags: list[str], splits: dict[str, int]) -> None:
    run = run_mtl_ner.prepare(argv(*flags, tasks="ncbi,bc2gm"))
    counted = {split: [text.task_id for text in rows.texts] for split, rows in run.rows.items()}
    assert counted == {split: [0] * limit + [1] * limit for split, limit in splits.items()}


def test_a_fraction_of_the_training_documents(argv: Argv) -> None:
    def draw(fraction: str, *seed: str) -> dict[str, list[str]]:
        options = ["--data_dir", "sample", "--use_cpu", *seed, "--train_fraction", fraction]
        run = run_mtl_ner.prepare(argv(*options, tasks="ncbi,bc5cdr", data=[]))
        assert len(set(list_ids(run.rows["test"]))) > 10  # only training is cut
        documents: dict[str, list[str]] = {"ncbi": [], "bc5cdr": []}
        for text in run.rows["train"].texts:
            documents[text.corpus].append(text.document.document_id)
        return documents

    whole, half, tenth = draw("1"), draw("0.5"), draw("0.1")
    for name in whole:
        assert len(half[name]) == round(len(whole[name]) / 2) and len(tenth[name]) == round(len(whole[name]) / 10)
        assert half[name] == [i for i in whole[name] if i in set(half[name])]
        assert set(tenth[name]) < set(half[name])
    assert draw("0.5", "--seed", "43") != half
    assert draw("ncbi=0.5") == {"ncbi": half["ncbi"], "bc5cdr": whole["bc5cdr"]}


def test_development_documents_can_be_trained_on(argv: Argv, tmp_path: Path) -> None:
    output = tmp_path / "out"
    dev = set(list_ids(run_mtl_ner.prepare(argv(tasks="ncbi,bc2gm")).rows["dev"]))
    options = ["--train_on_dev", "--save_strategy", "steps"]
    run = run_mtl_ner.prepare(argv(*options, tasks="ncbi,bc2gm", data=SAMPLE))
    assert dev < set(list_ids(run.rows["train"])) and "dev" not in run.rows
    assert run_mtl_ner.main(argv("--train_on_dev", tasks="ncbi,bc2gm")) == 0
    scores = read_scores(output)
    assert "test_ncbi_f1" in scores and not any(key.startswith("eval_") for key in scores)
    scoring = argv("--train_on_dev", "--do_eval", tasks="ncbi,bc2gm", model=output, output="b")
    assert "dev" in run_mtl_ner.prepare(scoring).rows  # where nothing is trained
    ledger = read_json(output / "ledger.json")["ncbi"]
    assert ledger["dev"]["documents"] == 0
    for counts in ledger.values():
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())


def test_held_out_text_of_further_corpora_is_kept_out_of_training(argv: Argv, tmp_path: Path) -> None:
    shared = document("1", "A woman of middle age was treated for severe gout.", [("gout", "Disease")])
    other = document("2", "Nobody knows what became of the man with asthma.", [("asthma", "Disease")])
    write_jsonl(tmp_path / "mine" / "train.jsonl", [shared, other])
    for split in ("dev", "test"):
        write_jsonl(tmp_path / "mine" / f"{split}.jsonl", [document(split, "No gout here.", [("gout", "Disease")])])
        write_jsonl(tmp_path / "theirs" / f"{split}.jsonl", [shared | {"document_id": split}])
    write_jsonl(tmp_path / "theirs" / "train.jsonl", [other])

    def list_training_ids(*options: str) -> list[str]:
        run = run_mtl_ner.prepare(argv("--use_cpu", *options, tasks=f"mine={tmp_path / 'mine'}", data=[]))
        assert list(run.corpora) == ["mine"]
        return list_ids(run.rows["train"])

    assert list_training_ids() == ["1", "2"]
    assert list_training_ids("--leak_corpora", str(tmp_path / "theirs")) == ["2"]


def test_corpora_of_one_name_are_told_apart(argv: Argv, tmp_path: Path) -> None:
    for folder, word in (("a", "lupus"), ("b", "gout")):
        documents = [document(f"{folder}{n}", f"Case {n} of {word}.", [(word, "Disease")]) for n in range(8)]
        write_jsonl(tmp_path / folder / "own.jsonl", documents)
    run = run_mtl_ner.prepare(argv(tasks=f"both={tmp_path}/a/own.jsonl+{tmp_path}/b/own.jsonl"))
    assert list(run.corpora) == ["own.jsonl", "own.jsonl-2"]
    assert run.tasks[0].corpora == ("own.jsonl", "own.jsonl-2")
    assert run.model.config.tasks[0]["corpora"] == ["own.jsonl", "own.jsonl-2"]
    metrics = run_mtl_ner.make_trainer(run).predict(build_rows(run, "test")).metrics
    assert metrics["test_both_support_own.jsonl"] == metrics["test_both_support_own.jsonl-2"] == 1


def test_sentences_begin_windows_if_they_are_the_unit(argv: Argv, own: Path, tmp_path: Path) -> None:
    text = "Gout is old. Lupus (e.g. in women) came later! It hurts."  # words 0-3, 4-15, 16-18
    write_jsonl(own, [document(str(n), text, [("Gout", "Disease"), ("Lupus", "Disease")]) for n in range(5)])
    for unit, cores in (("passage", [(0, 19)]), ("sentence", [(0, 4), (4, 16), (16, 19)])):
        run = run_mtl_ner.prepare(argv("--text_unit", unit, "--leaks", "warn", tasks=f"mine={own}"))
        for rows in run.rows.values():
            assert sorted(row.window.core for row in rows.rows if row.text == 0) == cores
        # The pipeline makes of the text what the model was trained and scored on.
        run.model.save_pretrained(tmp_path / unit)
        ner = MtlBionerPipeline(MtlBionerModel.from_pretrained(tmp_path / unit), tokenizer=run.tokenizer)
        assert [window.core for window in ner.preprocess(text)["windows"]] == cores


def test_window_length_left_out_is_the_encoders_limit_if_that_is_shorter(argv: Argv) -> None:
    run = run_mtl_ner.prepare(argv("--data_dir", "sample", "--use_cpu", data=FEW))
    limit = run.model.config.encoder_config.max_position_embeddings
    assert run.data_args.max_seq_length == run.model.config.max_seq_length == min(320, limit)


def test_text_that_differs_from_its_offsets_is_a_warning_and_the_offsets_are_trusted(
    argv: Argv, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = gout_cases(5)
    documents[3]["entities"][0]["text"] = "lupus"
    write_jsonl(own, documents)
    run = run_mtl_ner.prepare(argv(tasks=f"mine={own}"))
    told = f"Disease 11-15 of document 3 ({own}:4), 'gout' in the text and 'lupus' in the mention"
    assert f"1 mention in 1 document with another text than at the offsets; the first is {told}" in (caplog.text)
    spans = {(e.start, e.end) for rows in run.rows.values() for text in rows.texts for e in text.document.entities}
    assert spans == {(11, 15)}


@pytest.mark.parametrize("mode", ["first", "all"])
def test_further_subwords_are_labelled_in_training_alone_and_if_asked_for(argv: Argv, mode: str) -> None:
    for split, rows in run_mtl_ner.prepare(argv("--label_subwords", mode)).rows.items():
        sizes = [size for row in rows.rows for size in row.window.sizes if size]
        labelled = sum(label != IGNORE for row in rows.rows for label in row.labels)
        assert labelled == (sum(sizes) if (mode, split) == ("all", "train") else len(sizes)) and max(sizes) > 1
