"""Real trainings in processes of their own: several at once, stopped, killed and resumed."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from toys import document, write_jsonl

from mtl_bioner.training.checkpointing import find_last_checkpoint


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "run_mtl_ner.py"
ONE = [sys.executable]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
TWO = [*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
TWO += ["--mixed_precision", "no", "--dynamo_backend", "no"]
SICK = ["asthma", "gout", "lung cancer", "lupus", "renal failure", "breast cancer", "anaemia"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Callable[[str], str]) -> Path:
    """A folder with a large corpus, a small one, and encoders with and without dropout."""
    folder = tmp_path_factory.mktemp("processes")
    for dropout in (0.0, 0.1):
        encoder = folder / f"dropout{dropout}"
        shutil.copytree(toy_encoder("bert"), encoder)
        config = json.loads((encoder / "config.json").read_text())
        config |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        (encoder / "config.json").write_text(json.dumps(config))
    for name, count in (("large", 40), ("small", 3)):
        for split, number in (("train", count), ("dev", 4)):
            words = [SICK[i % len(SICK)] for i in range(number)]
            texts = [f"{'Patient ' * (i % 9)}number {i} of {name} {split} had {words[i]} today" for i in range(number)]
            documents = [document(f"{name}{split}{i}", texts[i], [(words[i], "Disease")]) for i in range(number)]
            write_jsonl(folder / name / f"{split}.jsonl", documents)
    return folder


def make_command(
    workplace: Path, output: Path, launcher: Sequence[str], dropout: float, script: Path = SCRIPT, **options: Any
) -> list[str]:
    defaults = {"tasks": f"large={workplace / 'large'},small={workplace / 'small'}", "output_dir": output}
    defaults |= {"model_name_or_path": workplace / f"dropout{dropout}", "head_dropout": dropout, "do_train": True}
    defaults |= {"learning_rate": 1e-3, "logging_steps": 1, "disable_tqdm": True, "bf16": False, "teachers": "none"}
    return [*launcher, str(script), *(f"--{name}={value}" for name, value in (defaults | options).items())]


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)


def train(*args: Any, **options: Any) -> Path:
    done = run(make_command(*args, **options))
    assert done.returncode == 0, done.stderr[-3000:]
    return args[1]


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((output / "run.json").read_text())["history"] if "loss" in entry]


def largest_difference(one: Path, other: Path) -> float:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    return max((first[name].float() - second[name].float()).abs().max().item() for name in first)


def latest(output: Path) -> Path:
    return Path(find_last_checkpoint(output))


NO_EVALUATION = {"eval_strategy": "no", "save_strategy": "no"}


@pytest.fixture(scope="module")
def teacher(workplace: Path) -> Path:
    """A model for both tasks, some steps better than chance."""
    return train(workplace, workplace / "teacher", ONE, 0.0, max_steps=10, **NO_EVALUATION)


@pytest.mark.parametrize(
    ("one_task_batches", "accumulation", "extra"),
    [
        (False, 1, {}),
        (False, 2, {}),
        (True, 1, {}),
        (True, 2, {}),
        (True, 1, {"sharing": "cross", "sharing_size": 8}),
        (False, 2, {"sharing": "adversarial", "sharing_size": 8, "loss_weighting": "uncertainty"}),
        (False, 2, {"teachers": "{teacher}", "teacher_weight": 2}),
        (True, 1, {"teachers": "{teacher}"}),
        (False, 1, {"teachers": "auto"}),
    ],
)
def test_two_processes_train_as_one_with_the_doubled_batch(
    workplace: Path, teacher: Path, tmp_path: Path, one_task_batches: bool, accumulation: int, extra: dict[str, Any]
) -> None:
    options = {name: str(value).format(teacher=teacher) for name, value in extra.items()} | NO_EVALUATION
    options |= {"one_task_batches": one_task_batches, "gradient_accumulation_steps": accumulation}
    options |= {"num_train_epochs": 2 * accumulation, "max_tokens_per_batch": 0, "warmup_steps": 0}
    options |= {"mask_probability": 0, "task_loss_weights": "large=1,small=3"}
    # AdamW would divide differences in the last bit of tiny gradients by gradients as tiny.
    options |= {"optim": "sgd", "learning_rate": 0.1}
    two = train(workplace, tmp_path / "two", TWO, 0.0, per_device_train_batch_size=3, **options)
    one = train(workplace, tmp_path / "one", ONE, 0.0, per_device_train_batch_size=6, **options)
    assert len(losses(one)) >= 8  # 43 rows in batches of 6
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert largest_difference(one, two) < 1e-5
    untrained = load_file(workplace / "dropout0.0" / "model.safetensors")["embeddings.word_embeddings.weight"]
    trained = load_file(one / "model.safetensors")["encoder.embeddings.word_embeddings.weight"]
    assert (trained - untrained).abs().max() > 1e-3


def test_two_processes_score_as_one(workplace: Path, teacher: Path, tmp_path: Path) -> None:
    """An odd number of rows, so that one process has a row too many in its last batch."""
    both = []
    for name, launcher in (("one", ONE), ("two", TWO)):
        options = {"model_name_or_path": teacher, "do_train": False, "do_eval": True, "per_device_eval_batch_size": 3}
        output = train(workplace, tmp_path / name, launcher, 0.0, max_eval_samples=3, **options)
        scores = json.loads((output / "all_results.json").read_text())
        both.append({key: scores[key] for key in scores if "_f1" in key or key in ("eval_loss", "eval_large_ece")})
    assert both[0]["eval_loss"] > 0.1 and both[1] == pytest.approx(both[0], abs=1e-5)


PARTING = f"""
import gc, sys
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
destroy = torch.distributed.destroy_process_group
def checked(*args):
    wrapped = sum(type(one) is DistributedDataParallel for one in gc.get_objects())
    sys.stderr.write(f"wrapped models left: {{wrapped}}\\n")
    destroy(*args)
torch.distributed.destroy_process_group = checked
sys.path.insert(0, {str(ROOT)!r})
import run_mtl_ner
sys.exit(run_mtl_ner.main())
"""


def test_the_wrapped_model_goes_before_the_process_group(workplace: Path, tmp_path: Path) -> None:
    """Else some runs hang at exit, see `shut_down_processes`; the race itself is too rare to wait for."""
    script = tmp_path / "script.py"
    script.write_text(PARTING)
    done = run(make_command(workplace, tmp_path / "out", TWO, 0.0, script, max_steps=1, **NO_EVALUATION))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("wrapped models left: 0\n") == 2


def test_a_launch_that_became_one_process_is_an_error(workplace: Path, tmp_path: Path) -> None:
    alone = [*ACCELERATE, "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    done = run(make_command(workplace, tmp_path / "out", [*alone, "--dynamo_backend", "no"], 0.0))
    assert done.returncode != 0
    assert "accelerate was asked for several processes but started one" in done.stderr
    assert not (tmp_path / "out").exists()


@contextlib.contextmanager
def running(arguments: list[str], ready: Callable[[str], bool], log: Path) -> Iterator[psutil.Popen]:
    """A training whose output says that it is ready; at the end all of its processes are killed."""
    with log.open("w") as stream:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = psutil.Popen(arguments, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        end = time.monotonic() + 200
        while not ready(log.read_text()):
            assert process.poll() is None, f"it ended before it was ready: {log.read_text()[-2000:]}"
            assert time.monotonic() < end
            time.sleep(0.002)
        everyone = [*process.children(recursive=True), process]  # the launcher's workers are in sessions of their own
        try:
            yield process
        finally:
            for one in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):  # a helper that was about to end
                    one.kill()
            psutil.wait_procs(everyone, timeout=20)
            process.wait()


@pytest.mark.parametrize(("processes", "taught"), [(1, False), (2, False), (1, True)])
def test_killed_and_resumed_training_ends_with_the_same_weights(
    workplace: Path, teacher: Path, tmp_path: Path, processes: int, taught: bool
) -> None:
    launcher = TWO if processes == 2 else ONE
    options = {"num_train_epochs": 3, "gradient_accumulation_steps": 2, "max_tokens_per_batch": 120 // processes}
    options |= {"task_sampling_alpha": 0.5, "eval_strategy": "steps", "eval_steps": 2, "early_stopping_patience": 50}
    options |= {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 3}  # with 1 only the best is left
    options |= {"teachers": teacher, "bf16": True} if taught else {}
    whole = train(workplace, tmp_path / "whole", launcher, 0.1, **options)
    steps = len(losses(whole))
    assert steps >= 12
    output = tmp_path / "killed"
    begin = make_command(workplace, output, launcher, 0.1, **options)
    resume = [*begin, "--resume_from_checkpoint=true"]
    reached = [0]
    for number, step in enumerate((3, steps // 2, steps - 2)):  # in the middle of epochs
        # Losses are logged at the end of a step; a checkpoint of an even step is written at about the same time.
        arguments, left = resume if number else begin, step - reached[-1]
        with running(arguments, lambda text: text.count("  loss ") >= left, tmp_path / f"log{number}"):  # noqa: B023
            pass
        reached.append(int(latest(output).name.partition("-")[2]))
    assert 0 < reached[1] < reached[2] < reached[3] < steps
    done = run(resume)
    assert done.returncode == 0, done.stderr[-3000:]
    assert largest_difference(whole, output) == 0.0  # of the best checkpoint, which may be an early one
    last = [latest(folder) for folder in (whole, output)]
    assert {folder.name for folder in last} == {f"checkpoint-{steps}"}
    assert largest_difference(*last) == 0.0
    moments = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in last]
    assert all(torch.equal(one["exp_avg"], moments[1][key]["exp_avg"]) for key, one in moments[0].items())
    states = [json.loads((latest(folder) / "trainer_state.json").read_text()) for folder in (whole, output)]
    for key in ("global_step", "best_metric", "best_global_step"):
        assert states[0][key] == states[1][key]
    patience = [state["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"] for state in states]
    assert patience[0] == patience[1]


@pytest.mark.parametrize(("processes", "name", "workers"), [(1, "SIGINT", 0), (1, "SIGTERM", 2), (2, "SIGINT", 0)])
def test_a_stopped_training_says_in_one_line_how_to_resume_and_ends_with_the_same_weights(
    workplace: Path, tmp_path: Path, processes: int, name: str, workers: int
) -> None:
    options = {"max_steps": 150, "save_strategy": "steps", "save_steps": 20, "eval_strategy": "no"}
    options |= {"dataloader_num_workers": workers}
    launcher, output, log = ONE if processes == 1 else TWO, tmp_path / "out", tmp_path / "log"
    whole = train(workplace, tmp_path / "whole", launcher, 0.1, **options)
    arguments = make_command(workplace, output, launcher, 0.1, **options)
    with running(arguments, lambda text: text.count("  loss ") >= 25, log) as process:
        process.send_signal(getattr(signal, name))
        status = process.wait(60)
    told = log.read_text()
    assert told.count("stopped by") == 1
    kept, _, resume = told.partition(f"run_mtl_ner: stopped by {name}; kept: ")[2].splitlines()[0].partition("; ")
    assert kept == str(latest(output)) and resume.startswith("resume in 2" if processes == 2 else "resume with: ")
    if processes == 1:  # a launcher prints a traceback of its own, and has its own status
        assert "Traceback" not in told and status == 128 + getattr(signal, name)
    resume = shlex.split(resume.partition("with: ")[2])
    done = run(resume if processes == 1 else [*arguments, "--resume_from_checkpoint=true"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert largest_difference(whole, output) == 0.0


def test_a_checkpoint_half_written_is_passed_over(workplace: Path, tmp_path: Path) -> None:
    options = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "no", "save_total_limit": 5}
    whole = train(workplace, tmp_path / "whole", ONE, 0.1, **options)
    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copy(whole / "model.safetensors", weights)
    # As a kill leaves it: some files there, one of them cut, the last one missing or cut.
    newest = whole / "checkpoint-6"
    (newest / "optimizer.pt").write_bytes((newest / "optimizer.pt").read_bytes()[:100])
    state = newest / "trainer_state.json"
    state.write_text(state.read_text()[:50])
    resume = make_command(workplace, whole, ONE, 0.1, **options, resume_from_checkpoint="true")
    done = run(resume)
    assert done.returncode == 0, done.stderr[-3000:]
    assert largest_difference(whole, weights) == 0.0
    assert torch.load(newest / "optimizer.pt", weights_only=True)["state"]  # written anew
    state.unlink()
    done = run([*resume[:-1], f"--resume_from_checkpoint={newest}"])
    assert done.returncode == 2
    assert "was not written to its end" in done.stderr
