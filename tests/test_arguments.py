"""Arguments: how they are read, and that everything wrong with them, or with what they name, is told in one line."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError
from toys import document, gout_cases, write_jsonl

import run_mtl_ner
from dataset_scripts import CorpusError
from mtl_bioner.training import model_setup
from mtl_bioner.training.arguments import ModelArguments
from mtl_bioner.training.parsing import Arguments, collect_given_arguments, parse_arguments


ROOT = Path(__file__).parents[1]
Fails = Callable[..., str]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--tasks", "nbci"], ["unknown corpus 'nbci'", "did you mean 'ncbi'?", "./nbci"]),
        (["--tasks", "ncbi:Diseases"], ["'Diseases'", "did you mean 'Disease'?"]),
        (["--tasks", "ncbi+bc5cdr"], ["task ncbi+bc5cdr", "ncbi does not annotate Chemical", "ncbi:Disease"]),
        (["--tasks", "ncbi,ncbi"], ["--tasks names 'ncbi' twice", "other=ncbi"]),
        (["--tasks", "./nowhere.jsonl"], ["nowhere.jsonl: no such file or folder", "check the path"]),
        (["--data_dir", "nowhere"], ["--data_dir nowhere: no such folder", "ncbi_disease/"]),
        (["--max_seq_length", "500"], ["--max_seq_length is 500", "8 to 130", "several windows"]),
        (["--max_seq_length", "4"], ["--max_seq_length is 4", "8 to 130"]),
        (["--context_size", "-1"], ["--context_size is -1", "0 or more"]),
        (["--task_loss_weights", "ncib=1"], ["--task_loss_weights names 'ncib'", "the tasks are ncbi"]),
        (["--task_loss_weights", "ncbi=x"], ["--task_loss_weights gives ncbi the weight 'x'", "ncbi=0.5"]),
        (["--sharing", "soft"], ["--sharing: invalid choice: 'soft'", "'hard'"]),
        (["--sharing", "cross", "--sharing_size", "0"], ["--sharing_size is 0", "1 or more"]),
        (["--adversarial_weight", "-1"], ["--adversarial_weight is -1", "0 or more"]),
        (["--head_dropout", "1"], ["--head_dropout is 1.0; give a number from 0 to below 1"]),
        (["--attention_dropout", "-0.1"], ["--attention_dropout is -0.1; give a number from 0 to below 1"]),
        (["--difference_weight", "inf"], ["--difference_weight is inf; give 0 or more"]),
        (["--train_fraction", "0"], ["--train_fraction gives ncbi the share 0", "at most 1"]),
        (["--train_fraction", "ncbi=2"], ["--train_fraction gives ncbi the share 2", "at most 1"]),
        (["--train_fraction", "nbci=0.5"], ["--train_fraction names 'nbci'", "the tasks are ncbi"]),
        (["--train_fraction", "few"], ["--train_fraction names 'few'", "the tasks are ncbi"]),
        (["--loss_weighting", "learned"], ["--loss_weighting", "invalid choice: 'learned'", "uncertainty"]),
        (
            ["--report_to", "tensorbord"],
            ["--report_to names 'tensorbord'", "installed here: ", "pip install tensorboard"],
        ),
        (["--train_on_dev", "--early_stopping_patience", "2"], ["--train_on_dev leaves nothing to evaluate on"]),
        (["--save_strategy", "often"], ["--save_strategy", "invalid choice: 'often' (choose from", "best"]),
        (["--save_strategy", "steps"], ["--save_strategy is steps, --eval_strategy epoch", "leave out --save_"]),
        (
            ["--eval_strategy", "steps", "--eval_steps", "10", "--save_steps", "30"],
            ["--save_steps 30, --eval_steps 10", "leave out --save_strategy and --save_steps"],
        ),
        (
            ["--save_strategy", "no"],
            ["--save_strategy is no, --eval_strategy epoch", "--load_best_model_at_end false"],
        ),
        (["--train_on_dev", "--save_strategy", "best"], ["--train_on_dev leaves nothing to evaluate on"]),
        (["--search", "2", "--train_on_dev"], ["--search trains and goes by development scores", "--train_on_dev"]),
        (["--search", "2", "--do_train", "--eval_strategy", "no"], ["--search trains", "--eval_strategy no"]),
        (["--search", "2", "--dry_run"], ["--search trains and goes by development scores", "--dry_run"]),
        (["--search", "2", "--do_predict"], ["--search trains and goes by development scores", "--do_*"]),
        (["--search", "0"], ["--search is 0", "give 1 or more"]),
        (["--train_on_dev", "--report_gates"], ["--report_gates reads the development split", "leave one out"]),
        (["--report_gates"], ["--report_gates", "--sharing cross and two tasks"]),
        (["--test_size", "2"], ["--test_size is 2", "between 0 and 1"]),
        (["--dev_size", "0"], ["--dev_size is 0", "between 0 and 1"]),
        (["--leaks", "foo"], ["--leaks: invalid choice: 'foo' (choose from", "warn"]),
        (["--text_unit", "line"], ["--text_unit", "invalid choice: 'line' (choose from", "passage"]),
        (["--label_subwords", "last"], ["--label_subwords", "invalid choice: 'last' (choose from", "first"]),
        (["--max_train_samples", "0"], ["--max_train_samples is 0", "1 or more"]),
        (["--max_train_samples", "many"], ["--max_train_samples", "invalid int value: 'many'", "--help"]),
        (["--per_device_eval_batch_size", "0"], ["--per_device_eval_batch_size is 0", "give 1 or more"]),
        (["--gradient_accumulation_steps", "0"], ["--gradient_accumulation_steps is 0", "give 1 or more"]),
        (["--task_sampling_alpha", "nan"], ["--task_sampling_alpha is nan", "give 0 or more"]),
        (["--early_stopping_patience", "-1"], ["--early_stopping_patience is -1", "give 1 or more"]),
        (["--num_train_epochs", "-1"], ["--num_train_epochs is -1", "more than 0"]),
        (["--label_smoothing_factor", "0.1"], ["--label_smoothing_factor has no effect"]),
        (["--batch_eval_metrics", "true"], ["--batch_eval_metrics has no effect"]),
        (["--label_names", "labels"], ["--label_names would score something else"]),
        (["--use_liger_kernel"], ["--use_liger_kernel serves language models only"]),
        (["--dataloader_persistent_workers", "true"], ["needs --dataloader_num_workers of 1 or more"]),
        (["--torch_compile_mode", "bad"], ["--torch_compile_mode is bad; choose of default", "max-autotune"]),
        (["--bf16_full_eval", "true"], ["--bf16_full_eval would leave the saved weights in that type"]),
        (["--eval_do_concat_batches", "false"], ["--eval_do_concat_batches false leaves nothing to score"]),
        (["--average_tokens_across_devices", "false"], ["--average_tokens_across_devices false would scale"]),
        (["--train_sampling_strategy", "group_by_length"], ["--train_sampling_strategy is group_by_length"]),
        (["--accelerator_config", '{"split_batches": true}'], ["--accelerator_config has split_batches"]),
        (
            ["--metric_for_best_model", "ncbi_f1_disease"],
            ["--metric_for_best_model is", "loss, ncbi_f1 or ncbi_f1_Disease"],
        ),
        (["--metric_for_best_model", "ncbi_f1_ncbi"], ["--metric_for_best_model is ncbi_f1_ncbi"]),
        (["--learning_rate", "-1"], ["--learning_rate is -1.0; give more than 0"]),
        (["--learning_rate", "0"], ["--learning_rate is 0.0; give more than 0"]),
        (["--eval_steps", "0.5"], ["--eval_steps 0.5 has no effect without --eval_strategy steps"]),
        (["--tasks", "ncbi", "bc5cdr"], ["unknown argument bc5cdr; tasks are separated by commas alone"]),
        (["--metric_for_best_model", "micro_F1"], ["--metric_for_best_model is micro_F1", "give macro_f1"]),
        (["--tasks", "macro=ncbi"], ["task name 'macro'", "take another"]),
        (["--mask_probability", "1.5"], ["--mask_probability is 1.5", "from 0 to below 1"]),
        (["--max_tokens_per_batch", "-1"], ["--max_tokens_per_batch is -1", "give 0 or more"]),
        (["--eval_strategy", "daily"], ["--eval_strategy", "invalid choice: 'daily'", "epoch"]),
        (
            ["--eval_strategy", "no", "--early_stopping_patience", "3"],
            ["--early_stopping_patience", "leave out --eval_strategy no"],
        ),
        (["--data_dri", "sample"], ["unknown argument --data_dri", "did you mean --data_dir?"]),
        (["--colour", "blue"], ["unknown argument --colour", "--help"]),
        (["--resume_from_checkpoint", "true"], ["--resume_from_checkpoint: no whole checkpoint in", "leave it out"]),
        (["--resume_from_checkpoint", "nowhere"], ["--resume_from_checkpoint nowhere: no such folder"]),
        (
            ["--metric_for_best_model", "f1"],
            ["--metric_for_best_model is f1", "micro_f1, loss, ncbi_f1 or"],
        ),
        (["--drop_tasks", "bc5cdr"], ["--drop_tasks names 'bc5cdr'", "an encoder without heads"]),
        (["--do_predict"], ["--tasks names 'ncbi', but nothing is trained", "--do_train"]),
        (["--model_name_or_path", "./nowhere"], ["--model_name_or_path ./nowhere: no such folder"]),
    ],
)
def test_a_bad_value_is_one_line(fails: Fails, arguments: list[str], parts: list[str]) -> None:
    message = fails(*arguments)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("tasks", [None, ""])
def test_without_tasks(fails: Fails, tasks: str | None) -> None:
    arguments = () if tasks is None else ("--tasks", tasks)
    assert "--tasks is missing; name one or more corpora, for example --tasks ncbi,bc5cdr" in fails(
        *arguments, tasks=None
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--epochs", "--num_train_epochs"),
        ("--batch_size", "--per_device_train_batch_size"),
        ("--lr", "--learning_rate"),
        ("--model", "--model_name_or_path"),
        ("--output", "--output_dir"),
        ("--data", "--data_dir"),
        ("--task", "--tasks"),
        ("--overwrite_output_dir", "--overwrite_output"),
    ],
)
def test_a_usual_alias_leads_to_the_argument(fails: Fails, given: str, meant: str) -> None:
    assert fails(given, "3") == f"unknown argument {given}; did you mean {meant}?; --help lists all arguments"


def test_version_is_printed(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_mtl_ner.main(["--version"])
    assert stopped.value.code == 0 and re.fullmatch(r"mtl-bioner \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_missing_file_of_a_corpus(fails: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "ncbi_disease"
    folder.mkdir(parents=True)
    (folder / "NCBItrainset_corpus.txt").write_text("1|t|Lupus\n1|a|\n1\t0\t5\tLupus\tSpecificDisease\tD1\n\n")
    message = fails("--data_dir", str(tmp_path / "data"))
    assert "NCBIdevelopset_corpus.txt" in message
    assert "https://" in message
    assert "--data_dir" in message


@pytest.mark.parametrize(
    ("name", "content", "place", "parts"),
    [
        ("own.pubtator", "1|t|Lupus\n1|a|More.\n1\t0\t5\tLupus\n", ":3:", ["4 columns", "expected"]),
        ("own.jsonl", '{"document_id": "1", "text": "Lupus"}\n{"document_id"\n', ":2:", ["invalid JSON"]),
        (
            "own.jsonl",
            '{"document_id": "1", "text": "Lupus", "entities": [{"start": 0, "end": 9, "type": "Disease"}]}\n',
            ": 1 of 1 mentions become no labels (1 outside the text)",
            ["correct the corpus, or accept the losses with --allow_losses"],
        ),
        ("own.conll", "Lupus\tB-Disease\nis\tX-Disease\n", ":2:", ["X-Disease"]),
        ("own.jsonl", "", "", ["holds no document", "format"]),
        ("own.txt", "Just some text.\n", ":1:", ["neither PubTator"]),
        ("own.docx", "x", "", [".docx ending", ".jsonl"]),
    ],
)
def test_malformed_file(fails: Fails, tmp_path: Path, name: str, content: str, place: str, parts: list[str]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    message = fails("--tasks", f"mine={path}")
    assert message.startswith(f"{path}{place}")
    for part in parts:
        assert part in message


def test_documents_without_annotations_are_for_the_pipeline(trained: Path, fails: Fails, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "plain.jsonl", [document("1", "He has gout.", [])])
    for task in (f"ncbi={path}", f"ncbi={path}:Disease"):
        message = fails("--tasks", task, "--model_name_or_path", str(trained), "--do_predict")
        assert "annotates nothing, so nothing can be trained or scored; to annotate texts, use the pipeline" in message


def test_corpus_without_a_training_mention(fails: Fails, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "own" / "train.jsonl", [document(str(n), "All is well.", []) for n in range(5)])
    write_jsonl(tmp_path / "own" / "test.jsonl", [document("t", "No, gout.", [("gout", "Disease")])])
    assert "none of its 4 training documents holds a mention" in fails("--tasks", f"mine={tmp_path / 'own'}")


def test_task_without_a_training_mention_among_the_first_documents(fails: Fails, tmp_path: Path) -> None:
    documents = [*(document(str(n), "All is well.", []) for n in range(5)), *gout_cases(9)[5:]]
    for split in ("train", "dev", "test"):
        changed = [{**item, "document_id": f"{split}{item['document_id']}"} for item in documents]
        write_jsonl(tmp_path / "own" / f"{split}.jsonl", changed)
    message = fails("--tasks", f"mine={tmp_path / 'own'}", "--max_train_samples", "2")
    assert "task mine has no training mention of Disease" in message
    assert "--max_train_samples" in message


def test_corpus_for_scoring_only_cannot_be_trained_on(fails: Fails, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "my_test.jsonl", [document("1", "He has gout.", [("gout", "Disease")])])
    assert "has a test split only, so nothing can be trained on it; add training files" in fails(
        "--tasks", f"mine={path}"
    )


def test_leak_as_an_error(fails: Fails, tmp_path: Path) -> None:
    text = "He has had gout for many years now."
    for split in ("train", "test"):
        documents = [document(f"{split}{n}", f"{n}. {text}", [("gout", "Disease")]) for n in range(3)]
        write_jsonl(tmp_path / "own" / f"{split}.jsonl", documents)
    message = fails("--tasks", f"mine={tmp_path / 'own'}", "--leaks", "error")
    assert "training text is held-out text" in message
    assert "--leaks drop" in message


def test_slow_tokenizer(fails: Fails, tmp_path: Path, encoder: str) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path / "slow")
    (tmp_path / "slow" / "config.json").write_bytes((Path(encoder) / "config.json").read_bytes())
    message = fails("--model_name_or_path", str(tmp_path / "slow"))
    assert f"--model_name_or_path {tmp_path / 'slow'}" in message
    assert "slow tokenizer (ByT5Tokenizer)" in message
    assert "choose an encoder with a fast one" in message


@pytest.mark.parametrize(("kind", "reason"), [("t5", "ValueError: You must specify"), ("squeezebert", "TypeError: ")])
def test_encoders_of_another_kind(fails: Fails, tmp_path: Path, encoder: str, kind: str, reason: str) -> None:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_heads": 2, "num_layers": 1} if kind == "t5" else {
        "hidden_size": 16, "embedding_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.save_pretrained(tmp_path)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    message = fails("--model_name_or_path", str(tmp_path))
    assert f"the encoder, of type {kind}, can't be used ({reason}" in message and "choose one like BERT" in message


def test_model_folders_that_lack_something(fails: Fails, tmp_path: Path, encoder: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert f"--model_name_or_path {folder}: the folder has no config.json" in fails(
        "--model_name_or_path", str(folder)
    )
    (folder / "config.json").write_text("{")
    assert f"--model_name_or_path {folder}" in fails("--model_name_or_path", str(folder))
    (folder / "config.json").write_bytes((Path(encoder) / "config.json").read_bytes())
    assert f"--model_name_or_path {folder}" in fails("--model_name_or_path", str(folder))  # no tokenizer
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((Path(encoder) / name).read_bytes())
    message = fails("--model_name_or_path", str(folder))
    assert f"--model_name_or_path {folder}" in message
    assert "model.safetensors" in message


def test_output_folders_that_cannot_be_written_to(fails: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep me")
    for resuming in ((), ("--resume_from_checkpoint", "false")):
        message = fails("--output_dir", str(folder), *resuming, output=False)
        assert f"--output_dir {folder} is not empty" in message and "--overwrite_output" in message
    for place in (folder / "notes.txt", folder / "notes.txt" / "below"):
        assert "notes.txt is a file; name a folder" in fails("--output_dir", str(place), output=False)


def test_a_split_without_a_word_and_damaged_weights_are_found_before_training(
    fails: Fails, tmp_path: Path, encoder: str
) -> None:
    folder = tmp_path / "own"
    for split in ("train", "dev"):
        write_jsonl(folder / f"{split}.jsonl", [document(split, "He had gout.", [("gout", "Disease")])])
    write_jsonl(folder / "test.jsonl", [document("1", "  ", [])])
    message = fails("--tasks", f"mine={folder}", "--leaks", "warn")
    assert "task mine has no test document with a word in it" in message
    damaged = Path(shutil.copytree(encoder, tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:100])
    assert fails("--model_name_or_path", str(damaged)).startswith(f"--model_name_or_path {damaged}: ")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"tasks": "ncbi",\n "max_seq_length": 64,,\n}', [":2: ", "an object of arguments"]),
        ('["ncbi"]', ["a list of JSON", "an object of arguments"]),
        ('{"tasks": "ncbi", "max_seq_length": "long"}', ["--max_seq_length", "invalid int value: 'long'"]),
        ('{"tasks": "ncbi", "max_seq_length": true}', ["--max_seq_length", "invalid int value: 'true'"]),
        ('{"tasks": "ncbi", "learning_rate": {"a": 1}}', ["--learning_rate", "invalid float value"]),
        ('{"tasks": "ncbi", "do_train": "perhaps"}', ["--do_train", "perhaps"]),
        ('{"tasks": "ncbi", "data_dri": "sample"}', ["unknown argument --data_dri", "did you mean --data_dir?"]),
    ],
)
def test_bad_json_file_of_arguments(
    tmp_path: Path, content: str, parts: list[str], capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "arguments.json"
    path.write_text(content, encoding="utf-8")
    assert run_mtl_ner.main([str(path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"run_mtl_ner: error: {path}:")
    assert message.count("\n") == 1
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("name", "told"),
    [(name, f"{name}: no such argument file") for name in ("nowhere.json", "nowhere.yaml")],
)
def test_an_argument_file_that_cannot_be_read(name: str, told: str, capsys: pytest.CaptureFixture) -> None:
    assert run_mtl_ner.main([name]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("tasks: ncbi\nseed: 1\n  x: 2", ":3: mapping values are not allowed here; an object of arguments"),
        ("tasks: [ncbi\n", ":2: expected ',' or ']', but got '<stream end>'; an object"),
        ("- ncbi", ": a list of YAML; an object of arguments"),
        ("", ": nothing; an object of arguments"),
        ("tasks: \x00", ": unacceptable character #x0000: special characters are not allowed; an"),
        ("tasks: !!python/object/apply:os.system [ls]", "--tasks takes one value, not the list ['ls']"),
        ("tasks: ncbi\nseed: many", "--seed: invalid int value: 'many'"),
    ],
)
def test_a_bad_yaml_file_of_arguments(tmp_path: Path, content: str, told: str, capsys: pytest.CaptureFixture) -> None:
    (path := tmp_path / "arguments.yaml").write_text(content, encoding="utf-8")
    assert run_mtl_ner.main([str(path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"run_mtl_ner: error: {path}:") and told in message and message.count("\n") == 1


def test_yaml_says_the_same_as_a_command_line(tmp_path: Path) -> None:
    content = """
        tasks: ncbi=no          # a task of this name
        learning_rate: 1e-4     # a text by the rules of YAML
        save_strategy: no       # false by these rules
        use_cpu: true
        run_name: 2026-12-01
        label_names: [a, "1"]
        lr_scheduler_kwargs: {num_cycles: 2, name: x}
        cache_dir:
        teachers: none
    """
    (path := tmp_path / "arguments.yml").write_text(content, encoding="utf-8")
    expected = {
        "tasks": "ncbi=no", "learning_rate": 1e-4, "save_strategy": "no", "use_cpu": True, "run_name": "2026-12-01",
        "label_names": ["a", "1"], "lr_scheduler_kwargs": '{"num_cycles": 2, "name": "x"}', "teachers": ["none"],
    }  # fmt: skip
    assert collect_given_arguments([str(path)]) == expected
    assert collect_given_arguments([str(path), "--run_name", "b"]) == {**expected, "run_name": "b"}


def test_values_by_name_are_read_like_a_command_line() -> None:
    values = {"tasks": "ncbi", "learning_rate": "1e-4", "num_train_epochs": 3, "bf16": False, "cache_dir": None}
    by_name = parse_arguments({**values, "teachers": "none", "use_cpu": True})
    command = ["--tasks", "ncbi", "--learning_rate", "1e-4", "--num_train_epochs=3", "--bf16", "false", "--use_cpu"]
    by_command = parse_arguments([*command, "--teachers", "none"])
    assert by_name.explicit == by_command.explicit
    assert by_name.explicit["num_train_epochs"] == 3.0 and by_name.explicit["teachers"] == ["none"]
    assert by_name.training.to_dict() == by_command.training.to_dict()
    with pytest.raises(ValueError, match=r"--seed takes one value, not the list \[1, 2\]"):
        parse_arguments({"tasks": "ncbi", "seed": [1, 2]})


def test_replaced_arguments_settle_anew() -> None:
    steps = ["--eval_strategy", "steps", "--eval_steps", "7", "--use_cpu"]
    arguments = parse_arguments(["--tasks", "ncbi,bc5cdr", *steps])
    other = arguments.replace(tasks="ncbi", eval_steps=9)
    assert isinstance(other, Arguments) and other.explicit["tasks"] == other.data.tasks == "ncbi"
    assert (arguments.training.save_steps, other.training.save_steps) == (7, 9)
    assert (arguments.training.output_dir, other.training.output_dir) == ("outputs/ncbi-bc5cdr", "outputs/ncbi")
    assert "eval_steps" not in arguments.replace(eval_strategy=None, eval_steps=None).explicit


# --------------------------------------------------------------------------------------------------------------- Hub


def test_hub_out_of_reach_offline(fails: Fails) -> None:
    message = fails("--model_name_or_path", "dmis-lab/no-such-model-in-the-cache")
    assert "--model_name_or_path dmis-lab/no-such-model-in-the-cache: is no folder, and the Hub can't be" in message
    assert "give the folder of a downloaded encoder with --model_name_or_path" in message


def response(status: int) -> HfHubHTTPError:
    return HfHubHTTPError("no", response=SimpleNamespace(status_code=status, headers={}, request=None))


@pytest.mark.parametrize(
    ("raised", "answers"),
    [(None, True), (response(404), True), (response(401), True), (response(503), False), (OSError("no"), False)],
)
def test_one_request_tells_whether_the_hub_answers(
    monkeypatch: pytest.MonkeyPatch, raised: Exception | None, answers: bool
) -> None:
    asked: list[str] = []

    def head(url: str) -> None:
        asked.append(url)
        if raised is not None:
            raise raised

    monkeypatch.setattr(model_setup, "get_hf_file_metadata", head)
    model_setup.hub_answers.cache_clear()
    arguments = ModelArguments(model_name_or_path="me/model", model_revision="v1")
    options = [model_setup.get_hub_options(arguments) for _ in range(3)]
    model_setup.hub_answers.cache_clear()
    assert options[0] == {"revision": "v1", "cache_dir": None, "local_files_only": not answers}
    assert len(asked) == 1
    assert asked[0].endswith("/me/model/resolve/v1/config.json")


TIMED = """
import sys, time
import run_mtl_ner
begin = time.monotonic()
status = run_mtl_ner.main(sys.argv[1:])
print(time.monotonic() - begin)
sys.exit(status)
"""


@pytest.mark.slow
def test_hub_out_of_reach_is_told_in_seconds(tmp_path: Path) -> None:
    """Not in offline mode: nothing listens at the Hub's address."""
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", TIMED, "--tasks", "ncbi", "--data_dir", "sample"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert float(done.stdout) < 10
    assert len(done.stderr.splitlines()) == 1
    assert "--model_name_or_path dmis-lab/biobert-base-cased-v1.2: is no folder" in done.stderr


@pytest.mark.slow
def test_help_from_any_folder_lists_the_arguments_of_the_project(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_mtl_ner.py"), "--help"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("tasks", "data_dir", "leaks", "sharing", "task_loss_weights", "task_sampling_alpha", "drop_tasks"):
        assert f"--{name} " in done.stdout
    assert "outputs/<tasks>" in done.stdout


def test_default_output_folder_is_named_by_the_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for tasks, expected in (
        ("ncbi,bc5cdr", "outputs/ncbi-bc5cdr"),
        ("a=bc5cdr:Disease|Chemical+ncbi", "outputs/a-bc5cdr-Disease-Chemical-ncbi"),
        ("mine=../x/y.jsonl", "outputs/mine-y.jsonl"),
    ):
        assert parse_arguments(["--tasks", tasks, "--use_cpu"]).training.output_dir == expected
    with pytest.raises(ValueError, match="'ncbi,bc5cdr', the name of --output_dir, can't be .*; give --hub_model_id"):
        parse_arguments(["--tasks", "ncbi", "--output_dir", "ncbi,bc5cdr", "--use_cpu", "--push_to_hub"])


@pytest.mark.parametrize(
    ("given", "wanted"), [(["--bf16"], True), (["--bf16", "false"], False), (["--bf16=true"], True)]
)
def test_bf16_alone_means_true(given: list[str], wanted: bool) -> None:
    assert parse_arguments(["--tasks", "ncbi", *given, "--seed", "3"]).training.bf16 is wanted


def test_errors_of_a_corpus_are_value_errors() -> None:
    assert issubclass(CorpusError, ValueError)
