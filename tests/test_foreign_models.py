"""Encoders and models of others: their code and pickles are not run, and what is wrong is said in one line."""

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import SAMPLE, edit_json

import mtl_bioner
import run_annotate
import run_mtl_ner
from mtl_bioner.annotation.engine import EngineOptions, load_engine
from mtl_bioner.tokenizer import load_tokenizer


TOKENIZER = """
from pathlib import Path
from transformers import BertTokenizer
class ToyTokenizer(BertTokenizer):
    pass
Path({marker!r}).touch()
"""


class Evil:
    """A pickle of it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that code of others would make."""
    return tmp_path / "code was run"


@pytest.fixture
def foreign(encoder: str, tmp_path: Path) -> Path:
    """A copy of the toy BERT, to change."""
    return Path(shutil.copytree(encoder, tmp_path / "foreign"))


def bring_tokenizer(folder: Path, marker: Path) -> None:
    """Let a model's tokenizer name code that lies beside it."""
    (folder / "tokenization_toy.py").write_text(TOKENIZER.format(marker=str(marker)))
    names = ["tokenization_toy.ToyTokenizer", "tokenization_toy.ToyTokenizer"]
    code = {"tokenizer_class": "ToyTokenizer", "auto_map": {"AutoTokenizer": names}}
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(code))


UNTRUSTED = "has a tokenizer with code of its own (ToyTokenizer), which is not run; read the code and give --trust_rem"


def test_code_of_a_tokenizer_is_not_run_in_training(fails: Callable[..., str], foreign: Path, marker: Path) -> None:
    bring_tokenizer(foreign, marker)
    told = fails("--model_name_or_path", str(foreign))
    assert told.startswith(f"--model_name_or_path {foreign}: {foreign} {UNTRUSTED}") and not marker.exists()


def test_code_of_a_tokenizer_is_not_run_in_loading(trained: Path, tmp_path: Path, marker: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    bring_tokenizer(folder, marker)
    for load in (mtl_bioner.load, lambda folder: load_engine(EngineOptions(str(folder)), "cpu")):
        with pytest.raises(ValueError, match=re.escape(UNTRUSTED)):
            load(folder)
    assert not marker.exists()
    load_engine(EngineOptions(str(folder), trust_remote_code=True), "cpu")
    assert marker.exists()


def test_trusted_code_of_a_tokenizer_is_run_and_travels_with_the_model(
    argv: Callable[..., list[str]], foreign: Path, marker: Path, tmp_path: Path
) -> None:
    bring_tokenizer(foreign, marker)
    assert run_mtl_ner.main(argv("--trust_remote_code", "--do_train", model=foreign)) == 0 and marker.exists()
    assert (tmp_path / "out/tokenization_toy.py").is_file()
    ner = mtl_bioner.load(tmp_path / "out", trust_remote_code=True)
    assert type(ner.tokenizer).__name__ == "ToyTokenizer" and ner.tokenizer.is_fast
    assert load_tokenizer(str(foreign), trust_remote_code=True).get_vocab() == ner.tokenizer.get_vocab()


def test_an_encoder_with_a_class_of_its_own_is_refused(fails: Callable[..., str], foreign: Path) -> None:
    code = {"model_type": "toy", "auto_map": {"AutoConfig": "toy.ToyConfig", "AutoModel": "toy.ToyModel"}}
    edit_json(foreign / "config.json", lambda config: config.update(code))
    told = f"--model_name_or_path {foreign}: the encoder needs code of its own, which a saved model can't hold; choose"
    assert fails("--model_name_or_path", str(foreign)).startswith(told)


def test_an_encoder_that_lacks_weights_is_refused(fails: Callable[..., str], foreign: Path) -> None:
    weights = load_file(foreign / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layer.1." not in name and "pooler" not in name}
    save_file(kept, foreign / "model.safetensors", {"format": "pt"})
    told = "its files lack 16 weights of the encoder, such as encoder.layer.1.attention.output.LayerNorm.bias; copy"
    assert told in fails("--model_name_or_path", str(foreign))


@pytest.mark.parametrize("content", ["evil", "evil old", "cut", "text"])
def test_a_pickle_of_weights_that_is_no_whole_one_is_refused(
    fails: Callable[..., str], foreign: Path, marker: Path, content: str
) -> None:
    path = foreign / "pytorch_model.bin"
    torch.save(load_file(foreign / "model.safetensors"), path)
    (foreign / "model.safetensors").unlink()
    whole = path.read_bytes()
    if content == "evil":
        torch.save({"a": Evil(marker)}, path)
    else:
        others = {"evil old": pickle.dumps(Evil(marker)), "cut": whole[:-999], "text": b"<html>"}
        path.write_bytes(others[content])
    told = fails("--model_name_or_path", str(foreign))
    assert "weights_only" not in told and not marker.exists()
    assert "pytorch_model.bin" in told or "choose an encoder with model.safetensors" in told


def test_a_whole_pickle_of_weights_is_taken_as_encoder(argv: Callable[..., list[str]], foreign: Path) -> None:
    torch.save(load_file(foreign / "model.safetensors"), foreign / "pytorch_model.bin")
    (foreign / "model.safetensors").unlink()
    run = run_mtl_ner.prepare(argv(model=foreign))
    assert run.model.config.encoder_config.model_type == "bert"


def test_a_model_of_pickles_is_refused(
    trained: Path, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    torch.save({"a": Evil(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        mtl_bioner.load(folder)
    (tmp_path / "in.txt").write_text("Cisplatin caused renal failure.")
    assert run_annotate.main([str(folder), str(tmp_path / "in.txt"), "--output", str(tmp_path / "out")]) == 2
    assert "has no weights (model.safetensors)" in capsys.readouterr().err.splitlines()[-1]
    again = ["--tasks", "ncbi", *SAMPLE, "--model_name_or_path", str(folder), "--output_dir", str(tmp_path / "again")]
    assert run_mtl_ner.main(again) == 2
    assert "no file named model.safetensors" in capsys.readouterr().err.splitlines()[-1] and not marker.exists()
