"""Export to ONNX, and what runs an exported model: the command, the Python interface, spaCy."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import assert_same_entities, edit_json, read_json, read_jsonl

import mtl_bioner
import run_annotate
from modeling_mtl_bioner import SHARING
from mtl_bioner import backends
from mtl_bioner.hub import commands, info, onnx_export, onnx_int8
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.model_building import build_model


pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TEXT = "Cisplatin induced nephrotoxicity in BRCA1 carriers with ovarian cancer. EGFR and (OMIM 113705)."
NAMES = ["a", "b/é '\"\n", "heads"]


def save_toy(folder: Path, encoder: str, **options: Any) -> Path:
    """A model with three tasks, whose names are odd, and large random heads."""
    torch.manual_seed(0)
    tasks = [{"name": name, "types": [*"XYZ"[: 1 + number]]} for number, name in enumerate(NAMES)]
    model = build_model(encoder, tasks, max_seq_length=20, context_size=3, **options)
    for module in (model.sharing, model.heads):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    load_tokenizer(encoder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(toy_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model, and its exports in float32 and int8."""
    folder = tmp_path_factory.mktemp("onnx")
    torch_folder = save_toy(folder / "torch", toy_encoder("bert"))
    for name, options in (("float32", []), ("int8", ["--int8"])):
        command = [str(torch_folder), "--to", "onnx", "--output", str(folder / name), *options]
        assert commands.main_export(command) == 0
    return {name: folder / name for name in ("torch", "float32", "int8")}


# -------------------------------------------------------------------------------------------------------------- export


def test_a_folder_holds_graph_config_tokenizer_and_runtime(folders):
    for name in ("float32", "int8"):
        files = sorted(path.name for path in folders[name].iterdir())
        assert files == ["config.json", "model.onnx", "onnx_runtime.py", "tokenizer.json"]
        config = read_json(folders[name] / "config.json")
        assert not {"auto_map", "custom_pipelines"} & config.keys()
        assert config["onnx"]["weights"] == name
        assert [task["name"] for task in config["tasks"]] == NAMES
    assert not list(folders["torch"].parent.glob(".*"))


def test_the_names_of_tasks_are_not_in_the_graph(folders):
    import onnx

    model = onnx.load(folders["float32"] / "model.onnx")
    names = [name for node in model.graph.node for name in (node.name, *node.input, *node.output)]
    names += [one.name for one in (*model.graph.initializer, *model.graph.input, *model.graph.output)]
    assert not [name for name in names if "é" in name or "\n" in name]


@pytest.mark.parametrize("sharing", SHARING)
def test_every_sharing_layer_is_exported(toy_encoder, tmp_path, sharing):
    source = save_toy(tmp_path / "source", toy_encoder("bert"), sharing=sharing, sharing_size=4)
    done = onnx_export.export_onnx(source, tmp_path / "onnx")
    assert done.difference < 1e-5 and done.agreement == 1
    assert_same_entities(mtl_bioner.load(source)([TEXT, "Gout."]), mtl_bioner.load(tmp_path / "onnx")([TEXT, "Gout."]))


@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["hard", "cross"])
def test_every_family_of_encoders_is_exported(encoder_type, toy_encoder, tmp_path, sharing):
    source = save_toy(tmp_path / "source", toy_encoder(encoder_type), sharing=sharing, sharing_size=4)
    onnx_export.export_onnx(source, tmp_path / "onnx")
    assert_same_entities(mtl_bioner.load(source)([TEXT, "Gout."]), mtl_bioner.load(tmp_path / "onnx")([TEXT, "Gout."]))


@pytest.mark.slow
@pytest.mark.parametrize("reduce_range", [False, True])
def test_int8_of_a_real_encoder_is_small_and_near(minilm, tmp_path, reduce_range):
    source = save_toy(tmp_path / "source", minilm)
    done = onnx_export.export_onnx(source, tmp_path / "onnx", int8=True, reduce_range=reduce_range)
    assert done.bytes < 0.3 * (source / "model.safetensors").stat().st_size
    assert done.agreement > 0.9


def test_a_table_of_embeddings_keeps_its_rows_in_8_bits():
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32) * np.logspace(-3, 3, 1000)[:, None]
    table = table.astype(np.float32)
    constant = numpy_helper.from_array(table, "table")
    ends = (
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 6])],
    )
    graph = helper.make_graph([helper.make_node("Gather", ["table", "ids"], ["rows"])], "g", *ends, [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx_int8.shrink_embeddings(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = session.run(None, {"ids": np.arange(1000)})[0]
    assert len(model.SerializeToString()) < 0.5 * table.nbytes
    assert (np.abs(rows - table).max(1) <= np.abs(table).max(1) / 127).all()


def test_balancing_changes_activations_but_no_logits(folders):
    import onnx
    import onnxruntime

    path = folders["float32"] / "model.onnx"
    model = onnx.load(path)
    products = onnx_int8.list_products(model)
    ids = torch.randint(5, 80, (4, 12), generator=torch.Generator().manual_seed(0)).numpy()
    largest = onnx_int8.measure_channels(path, list(products), ids.tolist())
    onnx_int8.balance_graph(model, products, largest)
    assert sum(node.op_type == "ReduceMax" for node in model.graph.node) == 2  # one a layer, before the narrow matrix
    feed = {"input_ids": ids, "attention_mask": ids * 0 + 1}
    sources = (str(path), model.SerializeToString())
    before, after = (onnxruntime.InferenceSession(one).run(None, feed)[0] for one in sources)
    assert after == pytest.approx(before, abs=1e-4)


def test_a_graph_that_computes_something_else_is_refused(folders, tmp_path, monkeypatch, capsys):
    class Other(onnx_export.Graph):
        def forward(self, input_ids, attention_mask):
            logits = super().forward(input_ids, attention_mask)
            return logits * (1 if torch.onnx.is_in_onnx_export() else 2)

    monkeypatch.setattr(onnx_export, "Graph", Other)
    assert commands.main_export([str(folders["torch"]), "--to", "onnx", "--output", str(tmp_path / "out")]) == 2
    assert "computes logits that differ from torch by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_traced_is_refused(folders, tmp_path, monkeypatch, capsys):
    class Other(onnx_export.Graph):
        def forward(self, input_ids, attention_mask):
            return torch.linalg.matrix_exp(super().forward(input_ids, attention_mask))

    monkeypatch.setattr(onnx_export, "Graph", Other)
    assert commands.main_export([str(folders["torch"]), "--to", "onnx", "--output", str(tmp_path / "out")]) == 2
    assert "BertModel with HardSharing can't be exported to ONNX (" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx", "--task", "a"], "--task is for --to stock; leave it out, or give --to stock"),
        (["--to", "onnx", "--data_dir", "sample"], "--data_dir is for --to stock"),
        (["--task", "a", "--int8"], "--int8 is for --to onnx; leave it out, or give --to onnx"),
        (["--to", "onnx", "--reduce_range"], "--reduce_range is for weights in 8 bits; give --int8 too"),
        ([], "--task is missing; name the task to export, or give --to onnx for all"),
        (["--to", "onnx", "--output", "{torch}"], "is not empty; name another folder"),
    ],
)
def test_bad_arguments_are_one_line(folders, tmp_path, capsys, arguments, message):
    arguments = [part.format(torch=folders["torch"]) for part in arguments]
    assert commands.main_export([str(folders["torch"]), "--output", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mtl-bioner-export: error: ") and message in error and error.count("\n") == 1


def test_an_export_is_no_source_of_another(folders, tmp_path, capsys):
    command = [str(folders["int8"]), "--to", "onnx", "--output", str(tmp_path / "out")]
    assert commands.main_export(command) == 2
    assert "has no model.safetensors; name the --output_dir of a training" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------------- backends


def test_a_backend_is_chosen_by_what_a_folder_holds(folders, tmp_path):
    for name, chosen in (("torch", "torch"), ("float32", "onnx"), ("int8", "onnx")):
        assert backends.choose_backend(folders[name]) == chosen
    assert backends.choose_backend("OWNER/NAME") == "torch"
    shutil.copytree(folders["torch"], tmp_path / "both")
    shutil.copy(folders["float32"] / "model.onnx", tmp_path / "both")
    assert backends.choose_backend(tmp_path / "both") == "torch"
    expected = mtl_bioner.load(tmp_path / "both")(TEXT)
    assert_same_entities(mtl_bioner.load(tmp_path / "both", backend="onnx")(TEXT), expected)
    with pytest.raises(ValueError, match="backend is 'tf'; choose one of auto, torch, onnx"):
        backends.choose_backend("x", "tf")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "dtype is bfloat16, but .*model.onnx was exported in float32"),
        ({"dtype": torch.bfloat16}, "dtype is torch.bfloat16, but"),
        ({"device": "cuda:0"}, "device is 'cuda:0', but an ONNX model runs on the CPU"),
        ({"backend": "torch"}, "is no whole model|no file named|safetensors"),
        ({"tasks": ["c"]}, "no task 'c'; the model's are a, "),
    ],
)
def test_load_refuses_what_a_graph_cannot_do(folders, options, message):
    with pytest.raises((ValueError, OSError), match=message):
        mtl_bioner.load(folders["float32"], **options)


def test_load_takes_the_options_of_the_pipeline(folders):
    ner = mtl_bioner.load(folders["float32"], dtype="auto", device="cpu", tasks=["a"], threshold=0.2, threads=1)
    expected = mtl_bioner.load(folders["torch"], tasks=["a"], threshold=0.2)
    assert_same_entities(expected(TEXT), ner(TEXT))
    assert (ner.model.dtype, ner.model.config.task_names) == ("float32", NAMES)


def run(*arguments: object) -> int:
    return run_annotate.main([str(argument) for argument in arguments])


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text(f"{TEXT}\nGout.\n{TEXT}\n", encoding="utf-8")
    return tmp_path / "texts.txt"


def test_the_command_finds_what_torch_finds(folders, text_file, tmp_path):
    options = ("--lines", "--workers", "1", "--overlaps", "all", "--output", tmp_path / "onnx")
    assert run(folders["float32"], text_file, *options) == 0
    texts = text_file.read_text(encoding="utf-8").splitlines()
    with_torch = list(mtl_bioner.annotate(texts, folders["torch"], overlaps="all", dtype="float32"))
    without = read_jsonl(tmp_path / "onnx" / "part-00000.jsonl")
    assert len(without) == 3 and without[0]["entities"]
    assert_same_entities(*([document["entities"] for document in found] for found in (with_torch, without)))
    manifest = read_json(tmp_path / "onnx" / "manifest.json")
    assert (manifest["arguments"]["backend"], manifest["dtype"]) == ("onnx", "float32")


def test_a_run_goes_on_with_its_backend_only(folders, text_file, tmp_path, capsys):
    shutil.copytree(folders["torch"], tmp_path / "both")
    shutil.copy(folders["float32"] / "model.onnx", tmp_path / "both")
    common = (tmp_path / "both", text_file, "--lines", "--workers", "1", "--output", tmp_path / "out")
    assert run(*common, "--backend", "onnx") == 0
    assert run(*common, "--backend", "onnx") == 0
    capsys.readouterr()
    assert run(*common) == 2
    assert "holds another run: --backend was onnx, is torch; repeat its command" in capsys.readouterr().err
    manifest = tmp_path / "out" / "manifest.json"
    edit_json(manifest, lambda content: content["arguments"].pop("backend"))  # as before there was a choice
    assert run(*common, "--backend", "onnx") == 2
    assert "--backend was torch, is onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("torch", ["--backend", "onnx"], "has no model.onnx, so ONNX Runtime can't run it; export it with"),
        ("float32", ["--backend", "torch"], "has no weights (model.safetensors)"),
        ("float32", ["--dtype", "bfloat16"], "dtype is bfloat16, but an ONNX model has the type it was exported with"),
        ("float32", ["--tasks", "c"], "--tasks: no task 'c'; the model's are a, "),
        ("int8", ["--dtype", "float32"], "dtype is float32, but"),
    ],
)
def test_the_command_refuses_what_a_backend_cannot_do(folders, text_file, tmp_path, capsys, name, arguments, message):
    assert run(folders[name], text_file, "--output", tmp_path / "out", "--workers", "1", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(folders, monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(ValueError, match=r"the backend onnx needs onnxruntime; pip install 'mtl-bioner\[onnx\]'"):
        mtl_bioner.load(folders["float32"])


def test_annotate_takes_an_exported_model(folders):
    (document,) = mtl_bioner.annotate([TEXT], folders["float32"], overlaps="all")
    (expected,) = mtl_bioner.annotate([TEXT], folders["torch"], overlaps="all", dtype="float32")
    assert_same_entities([expected["entities"]], [document["entities"]])


def test_info_tells_what_an_exported_model_is(folders, tmp_path, capsys):
    assert info.main([str(folders["int8"]), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["backend"], described["dtypes"]) == ("onnx", ["int8"])
    assert described["parameters"] == info.describe_model(folders["torch"])["parameters"]
    shutil.copytree(folders["int8"], tmp_path / "copy")
    for entry in (None, [], {"parameters": "many"}):
        edit_json(tmp_path / "copy/config.json", lambda config, entry=entry: config.update(onnx=entry))
        assert "unknown parameters" in info.format_info(info.describe_model(tmp_path / "copy"))


def test_spacy_runs_and_copies_an_exported_model(folders, tmp_path):
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    nlp.add_pipe("mtl_bioner", config={"model": str(folders["float32"]), "backend": "onnx", "overlaps": "all"})
    doc = nlp(TEXT)
    found = [(span.id_, span.label_, *span._.characters) for span in doc.spans["mtl_bioner"]]
    expected = mtl_bioner.load(folders["torch"])(TEXT)
    assert set(found) == {(e["task"], e["entity_group"], e["start"], e["end"]) for e in expected}
    nlp.to_disk(tmp_path / "nlp")
    copies = [folder / "model.onnx" for folder in (folders["float32"], tmp_path / "nlp/mtl_bioner/model")]
    assert copies[0].read_bytes() == copies[1].read_bytes()
    config = tmp_path / "nlp/config.cfg"
    config.write_text(config.read_text(encoding="utf-8").replace(str(folders["float32"]), "gone"), encoding="utf-8")
    again = spacy.load(tmp_path / "nlp")(TEXT)
    assert [(span.id_, span.label_, *span._.characters) for span in again.spans["mtl_bioner"]] == found
    with pytest.raises(ValueError, match="backend is 'tf'"):
        spacy.blank("en").add_pipe("mtl_bioner", config={"model": "x", "backend": "tf"})
