"""Data sets of the Hub by name, loaded by `datasets` from the double."""

import io
from collections.abc import Iterator

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hub_double import TOKEN, HubDouble
from huggingface_hub import HfFileSystem, constants
from toys import SMALL, read_json, read_jsonl

import run_mtl_ner
from dataset_scripts import CorpusError, hash_corpus, load_corpus
from dataset_scripts.__main__ import main
from dataset_scripts.tasks import Source, parse_tasks


FEATURES = Features(tokens=List(Value("string")), ner_tags=List(ClassLabel(names=["O", "B-Drug", "I-Drug"])))
README = b"---\nconfigs:\n- config_name: a\n  data_files: a.parquet\n- config_name: b\n  data_files: b.parquet\n---\n"
COMMIT = "c0ffee" + "0" * 34


def pack(*words: str) -> bytes:
    """A Parquet file with one sentence for each word, a drug."""
    rows = [{"tokens": ["Take", word, "."], "ner_tags": [0, 1, 0]} for word in words]
    Dataset.from_list(rows, features=FEATURES).to_parquet(file := io.BytesIO())
    return file.getvalue()


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[HubDouble]:
    """The double, known to `datasets` as the Hub, with nothing in the cache."""
    double = HubDouble()
    monkeypatch.setattr(constants, "ENDPOINT", double.url)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", double.url + template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", double.url)
    for module in (constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    HfFileSystem.clear_instance_cache()
    yield double
    double.close()
    HfFileSystem.clear_instance_cache()


def publish(hub: HubDouble, name: str, files: dict[str, bytes], revision: str = "main", commit: str = COMMIT) -> None:
    hub.repositories.setdefault(f"datasets/{name}", {})[revision] = [(commit, files)]
    hub.private[f"datasets/{name}"] = False


@pytest.fixture
def drugs(hub) -> HubDouble:
    words = {"train": ("Aspirin", "Codeine", "Digoxin"), "validation": ("Heparin",), "test": ("Insulin", "Lithium")}
    files = {f"data/{split}-00000-of-00001.parquet": pack(*drugs) for split, drugs in words.items()}
    publish(hub, "me/drugs", {"README.md": b"# Drugs\n", **files})
    return hub


def test_a_data_set_is_loaded_by_its_name(drugs):
    corpus = load_corpus("hf:me/drugs")
    first = corpus.splits["train"][0]
    assert (first.document_id, first.text, first.entities[0].native_type) == (
        "drugs-train-1",
        "Take Aspirin .",
        "Drug",
    )
    assert [(e.start, e.end, e.type) for e in first.entities] == [(5, 12, "Drug")]
    assert [[d.text for d in corpus.splits[name]] for name in ("dev", "test")] == [
        ["Take Heparin ."],
        ["Take Insulin .", "Take Lithium ."],
    ]
    assert (corpus.types, corpus.hashes) == (("Drug",), {"hf:me/drugs": COMMIT})


def test_a_revision_is_loaded_as_it_was(drugs):
    publish(drugs, "me/drugs", {"train.parquet": pack("Aspirin", "Codeine")}, "v1", "b" * 40)
    for revision in ("v1", "b" * 40):
        corpus = load_corpus(f"hf:me/drugs@{revision}", scoring_only=True, test_size=0.5)
        assert [d.document_id for split in corpus.splits.values() for d in split] == ["drugs-train-1", "drugs-train-2"]
        assert corpus.hashes == {"hf:me/drugs": "b" * 40}
    assert hash_corpus("hf:me/drugs") != hash_corpus("hf:me/drugs@v1")


def test_one_configuration_is_loaded(hub, caplog):
    publish(hub, "me/two", {"README.md": README, "a.parquet": pack("Aspirin"), "b.parquet": pack("B1", "B2", "B3")})
    assert {d.text for d in load_corpus("hf:me/two:b").splits["train"]} <= {"Take B1 .", "Take B2 .", "Take B3 ."}
    with pytest.raises(CorpusError, match=r"available configs: \['a', 'b'\].*write hf:me/two:CONFIG \(and types beh"):
        load_corpus("hf:me/two")
    with pytest.raises(CorpusError, match=r"'Drug' not found. Available: \['a', 'b'\].*hf:me/two::Type"):
        load_corpus("hf:me/two:Drug")


def test_of_a_script_the_converted_files_are_read(hub):
    publish(hub, "me/scripted", {"scripted.py": b"raise SystemExit"})
    with pytest.raises(CorpusError, match="holds a script, which is not run, and the Hub has not converted it"):
        load_corpus("hf:me/scripted")
    converted = {"kb/train/0000.parquet": pack("A"), "kb/test/0000.parquet": pack("B"), "raw/train/0.parquet": b""}
    publish(hub, "me/scripted", converted, "refs/convert/parquet", "d" * 40)
    with pytest.raises(CorpusError, match="has the configurations kb, raw; write hf:me/scripted:CONFIG"):
        load_corpus("hf:me/scripted")
    for _ in range(2):  # from the Hub, and from the cache
        corpus = load_corpus("hf:me/scripted:kb")
        assert [d.text for d in corpus.splits["test"]] == ["Take B ."]
        assert corpus.hashes == {"hf:me/scripted:kb": "d" * 40}


def test_splits_of_other_names(hub, caplog):
    whole = b"---\nconfigs:\n- config_name: x\n  data_files:\n  - {split: gold, path: data/*}\n---\n"
    publish(hub, "me/whole", {"README.md": whole, "data/0.parquet": pack(*"ABCDEFGH")})
    assert [len(documents) for documents in load_corpus("hf:me/whole").splits.values()] == [6, 1, 1]
    assert not caplog.records
    more = whole.replace(b"gold, path: data/*}", b"gold, path: data/*}\n  - {split: test, path: data/*}")
    publish(hub, "me/more", {"README.md": more, "data/0.parquet": pack("A")})
    assert [len(documents) for documents in load_corpus("hf:me/more").splits.values()] == [0, 0, 1]
    assert "hf:me/more: the splits gold are none of train, validation and test, and left out" in caplog.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "hf:me/gone",
            "hf:me/gone: the Hub answers 404, so there is no such data set, or not for you; check the name",
        ),
        ("hf:me/drugs@v9", "hf:me/drugs@v9: the Hub answers 404"),
        ("hf:me/private", "hf:me/private: the Hub answers 404, .* log in with `hf auth login`"),
        ("hf:me/gated", "hf:me/gated can't be loaded: .* gated .*; check the name, and for a private or gated"),
        ("hf:me/empty", "hf:me/empty can't be loaded: .* doesn't contain any data files"),
        ("hf:me/words", "me/words train: the columns are text; expected tokens"),
        ("hf:drugs", "'hf:drugs' names no data set on the Hub; write hf:OWNER/NAME"),
    ],
)
def test_errors_are_one_line(drugs, monkeypatch, source, message):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    for name in ("private", "gated"):
        publish(drugs, f"me/{name}", drugs.files("datasets/me/drugs"))
    drugs.private["datasets/me/private"] = True
    drugs.gated.add("datasets/me/gated")
    publish(drugs, "me/empty", {"README.md": b""})
    publish(drugs, "me/words", {"train.csv": b"text\nx\n"})
    with pytest.raises(CorpusError, match=message) as error:
        load_corpus(source)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert load_corpus("hf:me/private").types == ("Drug",)


def test_without_connection_the_cache_is_read(drugs, monkeypatch, caplog):
    loaded = load_corpus("hf:me/drugs")
    for module in (constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    again = load_corpus("hf:me/drugs")
    assert (again.splits, again.hashes) == (loaded.splits, loaded.hashes)
    assert f"no connection to the Hub; configuration default of commit {COMMIT} is read from the cache" in caplog.text
    with pytest.raises(CorpusError, match=f"the cache holds commit {COMMIT}, not v1; check the network, and whether"):
        load_corpus("hf:me/drugs@v1")
    with pytest.raises(CorpusError, match="hf:me/gone can't be loaded: .*; check the network, and whether HF_HUB_OFF"):
        load_corpus("hf:me/gone")


@pytest.mark.parametrize(
    ("text", "name", "source"),
    [
        ("hf:me/My.set", "My-set", Source("hf:me/My.set")),
        ("hf:me/set:kb.v1", "set-kb-v1", Source("hf:me/set:kb.v1")),
        ("hf:me/set@v1.0:kb:A|B", "set-kb-A_B", Source("hf:me/set@v1.0:kb", ("A", "B"))),
        ("hf:me/set::A|B", "set-A_B", Source("hf:me/set", ("A", "B"))),
        ("x=hf:me/set::A+ncbi:A", "x", Source("hf:me/set", ("A",))),
    ],
)
def test_grammar(text, name, source):
    (spec,) = parse_tasks(text)
    assert (spec.name, spec.sources[0]) == (name, source)


@pytest.mark.parametrize("text", ["hf:me", "hf:me/a/b", "hf:me/set:A|B", "hf:me/set:a:", "hf:me/set:a:b:c|", "hf:/a"])
def test_grammar_refuses(text):
    with pytest.raises(CorpusError, match="hf:"):
        parse_tasks(text)


def test_a_data_set_is_trained_on_and_exported(drugs, encoder, tmp_path, capsys):
    output = tmp_path / "model"
    arguments = ["--tasks", "drugs=hf:me/drugs::Drug", "--model_name_or_path", encoder, "--output_dir", str(output)]
    assert run_mtl_ner.main([*arguments, *SMALL, "--max_steps", "2"]) == 0
    record = read_json(output / "run.json")
    assert record["arguments"]["tasks"] == "drugs=hf:me/drugs::Drug"
    assert record["corpora"] == {"drugs": {"hf:me/drugs": COMMIT}}
    assert [row["document_id"] for row in read_jsonl(output / "predictions_drugs.jsonl")] == [
        "drugs-test-1",
        "drugs-test-2",
    ]
    assert main(["export", "hf:me/drugs", "--to", "jsonl", "--output", str(tmp_path / "out")]) == 0
    assert read_jsonl(tmp_path / "out" / "test.jsonl")[1] == {
        "document_id": "drugs-test-2",
        "text": "Take Lithium .",
        "entities": [{"start": 5, "end": 12, "type": "Drug", "text": "Lithium"}],
    }
