"""Selecting texts to annotate: how unsure a model is, how a selection is spread, and what the tools get and give."""

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import put, read_json, read_jsonl, write_jsonl

import run_mtl_ner
from dataset_scripts import file_ledgers
from dataset_scripts.formats import read_any, write_doccano, write_label_studio, write_prodigy
from dataset_scripts.formats.label_studio import write_labelling_config
from dataset_scripts.schema import Document, Entity
from mtl_bioner.annotation.parts import SourceDocument
from mtl_bioner.annotation.selection import strategies
from mtl_bioner.annotation.selection.candidates import (
    Pool,
    compare_terms,
    draw,
    drop_near_copies,
    hash_terms,
    hash_text,
)
from mtl_bioner.annotation.selection.command import main
from mtl_bioner.annotation.selection.spread import group_vectors, spread
from mtl_bioner.annotation.selection.strategies import STRATEGIES, Selector
from mtl_bioner.annotation.selection.uncertainty import measure_texts, measure_words, summarize_words


TOPICS = {
    "gout": "Uric acid crystals swell the big toe of patients with gout",
    "flu": "Vaccines against influenza virus protect elderly people in winter",
    "gene": "Mutations in tumour suppressor genes drive colorectal carcinoma growth",
}


def make_documents(texts: Sequence[str]) -> list[SourceDocument]:
    return [SourceDocument(str(number), text, f"t:{number}") for number, text in enumerate(texts)]


def make_pool(texts: Sequence[str], ranks: Sequence[float] = (), size: int = 100) -> Pool:
    pool = Pool(size)
    for document, rank in zip(make_documents(texts), ranks or [0.5] * len(texts), strict=True):
        pool.offer(document, rank)
    return pool


def list_ids(candidates: Sequence[Any]) -> list[str]:
    return [candidate.document.document_id for candidate in candidates]


# --------------------------------------------------------------------------------------------------------- uncertainty


@pytest.mark.parametrize(
    ("probabilities", "uncertainty"),
    [
        ([1.0, 0.0, 0.0], 0.0),
        ([0.6, 0.3, 0.1], 0.7),  # 1 - (0.6 - 0.3)
        ([0.1, 0.3, 0.6], 0.7),  # whichever labels they are
        ([0.5, 0.5, 0.0], 1.0),
        ([0.98, 0.01, 0.01], 0.03),
    ],
)
def test_the_uncertainty_of_a_word_is_one_minus_its_margin(probabilities: list[float], uncertainty: float) -> None:
    assert measure_words(torch.tensor([probabilities]).log()).tolist() == pytest.approx([uncertainty], abs=1e-6)


def test_a_word_without_subwords_is_sure() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [-torch.inf] * 3])
    assert measure_words(logits).tolist() == [1.0, 0.0]
    assert measure_words(logits[:0]).tolist() == []


def test_a_text_is_as_unsure_as_its_ten_least_sure_words_for_the_least_sure_task() -> None:
    first, second = torch.full((30,), 0.01), torch.full((30,), 0.01)
    first[3], first[4], second[3], second[20] = 0.8, 0.5, 0.9, 0.3
    assert summarize_words([first]) == pytest.approx((0.8 + 0.5 + 8 * 0.01) / 10)
    assert summarize_words([first, second]) == pytest.approx((0.9 + 0.5 + 0.3 + 7 * 0.01) / 10)
    assert summarize_words([torch.tensor([1.0, 1.0])]) == pytest.approx(0.2)  # a short text has less to learn from
    assert summarize_words([torch.tensor([])]) == 0.0


def test_texts_are_measured_by_the_logits_of_the_pipeline(ner: Any) -> None:
    texts = [TOPICS["gout"], "", "word " * 300]
    measured = measure_texts(ner, make_documents(texts))
    assert measured[1] == 0.0 and all(0 < value <= 1 for value in (measured[0], measured[2]))
    assert measure_texts(ner, make_documents(texts[:1])) == pytest.approx(measured[:1], abs=1e-5)
    by_task = [measure_texts(ner, make_documents(texts[:1]), [task])[0] for task in ("ncbi", "bc5cdr")]
    assert max(by_task) <= measured[0] + 1e-5
    probabilities = ner.compute_word_logits([ner.preprocess(texts[0])], tasks=["ncbi"])["ncbi"][0].softmax(-1)
    best = probabilities.sort(descending=True).values
    margins = (best[:, 0] - best[:, 1]).sort().values
    assert by_task[0] == pytest.approx(float((1 - margins[:10]).sum() / 10), abs=1e-5)


# ---------------------------------------------------------------------------------------------------------- candidates


def test_texts_of_the_same_words_are_one() -> None:
    assert hash_text("Gout, (severe) hurts!") == hash_text("gout\nSEVERE   hurts")
    assert hash_text("Gout hurts") != hash_text("Hurts gout")
    assert hash_text("... \n!") == hash_text("") == 0


@pytest.mark.parametrize(
    ("other", "index"), [("c b a", 1.0), ("a b", 2 / 3), ("a b c d", 0.75), ("x", 0.0), ("", 0.0), ("A, b; C?", 1.0)]
)
def test_texts_are_compared_by_their_distinct_words(other: str, index: float) -> None:
    assert compare_terms(hash_terms("a b c a"), hash_terms(other)) == pytest.approx(index)


def test_copies_of_a_form_with_other_numbers_are_near_equal() -> None:
    form = "Patient {} was seen on day {} after the operation and had no complaints apart from mild pain."
    assert compare_terms(hash_terms(form.format(12, 3)), hash_terms(form.format(77, 41))) == 1.0


def test_near_equal_texts_are_held_once_the_best_ranked_of_them() -> None:
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    texts = [" ".join(words), " ".join([*words[:-1], "other"]), " ".join([*words[:13], "so", "much", "else"]), "else"]
    pool = make_pool(texts, [0.2, 0.9, 0.5, 0.1])
    assert list_ids(pool.list_best()) == ["1", "2", "3"]
    assert pool.near_copies == 1


def test_most_pairs_that_share_four_fifths_of_their_words_are_found() -> None:
    found = 0
    for seed in range(200):
        words = [
            f"w{chr(97 + n // 26)}{chr(97 + n % 26)}{chr(97 + seed % 26)}{chr(97 + seed // 26)}" for n in range(110)
        ]
        candidates = make_pool([" ".join(words[:99]), " ".join(words[11:])]).candidates
        assert compare_terms(candidates[0].terms, candidates[1].terms) == pytest.approx(0.8)
        found += len(drop_near_copies(candidates)) == 1
    assert found >= 190


def test_a_pool_holds_the_best_and_at_most_twice_its_size() -> None:
    ranks = np.random.default_rng(1).permutation(500) / 500
    pool, most = Pool(10), 0
    for number, rank in enumerate(ranks):
        letters = "".join(chr(97 + int(digit)) for digit in str(number))
        pool.offer(SourceDocument(str(number), f"{letters} {letters}x {letters}y", ""), float(rank))
        most = max(most, len(pool.candidates))
    assert list_ids(pool.list_best()) == [str(int(n)) for n in np.argsort(-ranks)[:10]]
    assert most < 20


def test_a_draw_depends_on_seed_and_text_alone() -> None:
    assert draw(42, 7) == draw(42, 7) != draw(43, 7)
    assert min(draw(1, n) for n in range(99)) >= 0 and max(draw(1, n) for n in range(99)) < 1


# -------------------------------------------------------------------------------------------------------------- spread


def test_a_selection_is_spread_over_the_kinds_of_texts() -> None:
    """Nine texts of one kind rank best; one of each kind is selected all the same, the best of its kind."""
    fillers = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india"]
    texts = [f"{TOPICS['gout']} {filler} {filler}{filler}" for filler in fillers]
    texts += [f"{TOPICS['flu']} {filler}" for filler in fillers[:2]] + [f"{TOPICS['gene']} {fillers[0]}"]
    ranks = [0.9 - 0.01 * number for number in range(9)] + [0.2, 0.3, 0.1]
    candidates = sorted(make_pool(texts, ranks).candidates, key=lambda candidate: -candidate.rank)
    assert list_ids(candidates)[:3] == ["0", "1", "2"]
    chosen = [list_ids(spread(candidates, 3, seed)) for seed in range(5)]
    assert chosen.count(["0", "10", "11"]) >= 3, chosen  # k-means may begin with two of a kind
    assert list_ids(spread(candidates, 12, 0)) == list_ids(spread(candidates, 99, 0)) == list_ids(candidates)


def test_as_many_are_selected_as_asked_for_if_there_are_fewer_kinds() -> None:
    candidates = make_pool([f"{TOPICS['gout']} {word}" for word in ("a", "b", "c", "d", "e", "f")]).candidates
    for count in range(1, 7):
        assert len({*list_ids(spread(candidates, count, 1))}) == count


def test_vectors_of_three_directions_are_three_groups() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
    groups = [group_vectors(vectors, 3, seed).tolist() for seed in range(8)]
    assert [0, 0, 1, 1, 1, 2] in [[sorted({*one}, key=one.index).index(group) for group in one] for one in groups]


# ------------------------------------------------------------------------------------------------------------ selector


class Unsure:
    """Stands for a pipeline whose uncertainty of a text is the number that it ends in."""

    subwords = 0


@pytest.fixture
def unsure(monkeypatch: pytest.MonkeyPatch) -> Any:
    def measure(ner: Any, documents: Sequence[SourceDocument], tasks: Any) -> list[float]:
        return [float(document.text.split()[-1]) / 100 for document in documents]

    monkeypatch.setattr(strategies, "measure_texts", measure)
    return Unsure()


def letters(number: int) -> str:
    return "".join(chr(97 + int(digit)) for digit in str(number))


def make_texts(count: int) -> list[str]:
    return [f"{letters(n)}x {letters(n)}y {letters(n)}z {n}" for n in range(count)]


def test_the_least_sure_are_selected_first_in_order(unsure: Any) -> None:
    selector = Selector(unsure, 3, "uncertain")
    selector.offer(make_documents(make_texts(60)))
    selector.offer(make_documents(["other 99", "Other, 99!", "...", ""]))
    assert [candidate.rank for candidate in selector.select()] == [0.99, 0.59, 0.58]
    assert (selector.offered, selector.copies) == (61, 3)


def test_excluded_texts_are_not_selected(unsure: Any) -> None:
    selector = Selector(unsure, 2, "uncertain", excluded={hash_text("JX, jy: jz 9"), 5})
    selector.offer(make_documents(make_texts(10)))
    assert list_ids(selector.select()) == ["8", "7"]
    assert selector.known == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_selection_depends_on_its_seed_and_not_on_how_it_is_offered(strategy: str, unsure: Any) -> None:
    def select(seed: int, size: int) -> list[str]:
        selector = Selector(unsure, 10, strategy, seed=seed)
        documents = make_documents(make_texts(90))
        for begin in range(0, 90, size):
            selector.offer(documents[begin : begin + size])
        return list_ids(selector.select())

    first = select(1, 90)
    assert len({*first}) == 10
    assert first == select(1, 90) == select(1, 7)
    if not STRATEGIES[strategy].by_uncertainty:
        assert first != select(2, 90)


# ------------------------------------------------------------------------------------- the files of tools, and answers

ODD = Document("pmid 1", "💉 Gout; 𝛼-synuclein\u200b and e\u0301 in “Wilson's” disease,\nthen 𝔭53.", [
    Entity(2, 6, "Disease", score=0.9), Entity(8, 19, "Gene & <protein>", score=0.6),
    Entity(30, 46, "Disease", score=0.7),
])  # fmt: skip
EMPTY = Document("pmid 2", "Nothing is named here.")


def find_spans(documents: Sequence[Any]) -> list[tuple[str, str, list[tuple[int, int, str]]]]:
    """Document id, text and spans of what a reader yields."""
    return [
        (raw.document_id, raw.text, [(*mention.spans[0], mention.type) for mention in raw.mentions])
        for raw in documents
    ]


WANTED = [
    (one.document_id, one.text, [(entity.start, entity.end, entity.type) for entity in one.entities])
    for one in (ODD, EMPTY)
]


def accept_label_studio(path: Path) -> None:
    """Submit the suggestions of each task as its annotation, as Label Studio exports it."""
    tasks = read_json(path)
    assert [task["annotations"] for task in tasks] == [[], []]
    for number, task in enumerate(tasks, 1):
        result = [{**item, "origin": "prediction"} for item in task["predictions"][0]["result"]]
        task |= {"id": number, "annotations": [{"id": number, "result": result, "was_cancelled": False}]}
    path.write_text(json.dumps(tasks))


def accept_doccano(path: Path) -> None:
    rows = [{"id": number, **row, "Comments": []} for number, row in enumerate(read_jsonl(path), 1)]
    write_jsonl(path, rows)


def accept_prodigy(path: Path) -> None:
    rows = read_jsonl(path)
    rows = [{**row, "_input_hash": n, "_task_hash": -n, "_is_binary": False, "_view_id": "ner_manual",
             "answer": "accept", "_timestamp": 1} for n, row in enumerate(rows)]  # fmt: skip
    write_jsonl(path, [*rows, {**rows[0], "_input_hash": 9, "text": "Rejected.", "answer": "reject"}])


@pytest.mark.parametrize(
    ("write", "accept"),
    [
        (lambda documents, path: write_label_studio(documents, path, predicted=True), accept_label_studio),
        (write_doccano, accept_doccano),
        (lambda documents, path: write_prodigy(documents, path, r"[^\W_]+|[^\s]"), accept_prodigy),
    ],
    ids=["label-studio", "doccano", "prodigy"],
)
@pytest.mark.parametrize("documents", [[ODD, EMPTY], [EMPTY, ODD]], ids=["odd first", "empty first"])
def test_accepted_suggestions_come_back_as_they_were(
    write: Callable, accept: Callable, documents: list[Document], tmp_path: Path
) -> None:
    path = tmp_path / "tasks.json"
    write(documents, path)
    accept(path)
    assert sorted(find_spans(read_any(path))) == WANTED
    assert sum(ledger.documents for ledger in file_ledgers(str(path)).values()) == 2


def test_a_task_with_suggestions_alone_is_no_gold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_label_studio([EMPTY], tmp_path / "a.json", predicted=True)
    assert list(read_any(tmp_path / "a.json")) == []
    assert "a task without an annotation" in caplog.text


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([{"id": 1, "data": {"text": "None."}, "annotations": [{"result": []}]},
          {"id": 2, "data": {"text": "Skipped."}, "annotations": [{"result": [], "was_cancelled": True}]},
          {"id": 3, "data": {"text": "Open."}, "annotations": []}], ["None."]),
        ([{"text": "None.", "spans": [], "answer": "accept"}, {"text": "Bad.", "spans": [], "answer": "reject"},
          {"text": "Unknown.", "answer": "ignore"}, {"text": "No spans.", "answer": "accept"}],
         ["None.", "No spans."]),
        ([{"id": 1, "text": "None.", "label": []}, {"id": 2, "text": "Gout.", "label": [[0, 4, "D"]]}],
         ["None.", "Gout."]),
        ([{"id": 1, "text": "None.", "entities": [], "relations": [], "Comments": []},
          {"id": 2, "text": "Gout.", "relations": [], "Comments": [],
           "entities": [{"id": 7, "label": "D", "start_offset": 0, "end_offset": 4}]}], ["None.", "Gout."]),
    ],
    ids=["label-studio", "prodigy", "doccano", "doccano with relations"],
)  # fmt: skip
def test_a_text_without_an_entity_is_a_true_negative_and_a_refused_one_is_none(
    rows: list[dict[str, Any]], kept: list[str], tmp_path: Path
) -> None:
    assert [raw.text for raw in read_any(write_jsonl(tmp_path / "answers.jsonl", rows))] == kept


def test_labels_of_doccano_behind_wide_characters_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """doccano counts UTF-16 units, and its files don't say what they count."""
    texts = [("Gout 💉", 0), ("💉 gout", 3), ("💉 lump", 3), ("\ufb01n gout", 3)]
    rows = [{"id": n, "text": text, "label": [[at, at + 4, "D"]]} for n, (text, at) in enumerate(texts)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert len(list(read_any(path))) == 4
    assert f"{path}:2: labels behind a character that doccano counts as two" in caplog.text
    assert "in 2 texts; if they were made there, correct the file" in caplog.text
    caplog.clear()
    ours = {"document_id": "1", **rows[1]}
    ours.pop("id")
    list(read_any(write_jsonl(tmp_path / "b.jsonl", [rows[0], rows[3]])))
    list(read_any(write_jsonl(tmp_path / "c.jsonl", [ours])))
    assert caplog.text == ""


def test_tokens_for_prodigy_are_our_words(tmp_path: Path) -> None:
    text = "IL-2 in gout"
    documents = [
        Document("1", text, [Entity(0, 4, "Gene"), Entity(8, 12, "D")]),
        Document("2", text, [Entity(1, 4, "G")]),
    ]
    write_prodigy(documents, tmp_path / "a.jsonl", r"[^\W_]+|[^\s]")
    first, second = read_jsonl(tmp_path / "a.jsonl")
    assert [(token["text"], token["start"], token["end"], token["id"], token["ws"]) for token in first["tokens"]] == [
        ("IL", 0, 2, 0, False), ("-", 2, 3, 1, False), ("2", 3, 4, 2, True), ("in", 5, 7, 3, True),
        ("gout", 8, 12, 4, False),
    ]  # fmt: skip
    assert [(span["token_start"], span["token_end"]) for span in first["spans"]] == [(0, 2), (4, 4)]
    assert "tokens" not in second and second["spans"] == [{"start": 1, "end": 4, "label": "G"}]


def test_a_labelling_configuration_is_xml_whatever_the_types(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    names = ["Disease", "Sign & <\"symptom'>"]
    write_labelling_config(names, tmp_path / "c.xml")
    root = ElementTree.parse(tmp_path / "c.xml").getroot()
    assert [label.get("value") for label in root.iter("Label")] == names
    assert root.find("Labels").attrib == {"name": "label", "toName": "text"}
    assert root.find("Text").attrib == {"name": "text", "value": "$text"}


def test_label_studio_itself_takes_the_tasks(tmp_path: Path) -> None:
    """Runs with `pip install label-studio-sdk`, which is no dependency."""
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface
    converter = pytest.importorskip("label_studio_sdk.converter")
    write_labelling_config(["Disease", "Gene & <protein>"], tmp_path / "c.xml")
    write_label_studio([ODD, EMPTY], tmp_path / "tasks.json", predicted=True)
    config, tasks = (tmp_path / "c.xml").read_text(), read_json(tmp_path / "tasks.json")
    project = interface(config)
    project.validate()
    for task in tasks:
        assert project.validate_task({"data": task["data"]})
        assert not project.validate_prediction(task["predictions"][0], return_errors=True)
    accept_label_studio(tmp_path / "tasks.json")
    export = converter.Converter(config, str(tmp_path), upload_dir=str(tmp_path))
    for name in ("JSON", "JSON_MIN"):
        form = converter.converter.Format[name]
        export.convert(str(tmp_path / "tasks.json"), str(tmp_path / name), form, is_dir=False)
        (exported,) = (tmp_path / name).glob("*.json")
        assert find_spans(read_any(exported)) == WANTED


# ------------------------------------------------------------------------------------------------------------- command


@pytest.fixture(scope="module")
def ner(trained: Path) -> Any:
    import mtl_bioner

    return mtl_bioner.load(str(trained), dtype="float32", device="cpu")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    kinds = list(TOPICS.values())
    rows = [{"pmid": n, "text": f"{kinds[n % 3]} {letters(n)}a {letters(n)}b {letters(n)}c."} for n in range(12)]
    return write_jsonl(tmp_path / "texts" / "t.jsonl", [*rows, rows[0], {"pmid": 99, "text": "!!!"}])


@pytest.fixture
def select(
    trained: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in `tmp_path`; returns status, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*options: str, inputs: Sequence[str] = ("texts",), model: object = trained) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(model), *inputs, "--dtype", "float32", *options])
        return (status, *capsys.readouterr())

    return run


@pytest.mark.parametrize("to", ["label-studio", "doccano", "prodigy"])
def test_the_command_writes_tasks_and_names_the_next_steps(to: str, select: Callable, tmp_path: Path) -> None:
    name = "s.json" if to == "label-studio" else "s.jsonl"
    status, printed, told = select("-n", "3", "--output", name, "--to", to, "--threshold", "0", "--new_types", "Sign")
    assert status == 0 and printed.startswith(f"{name}: 3 texts of 12, ") and printed.endswith("; 2 copies\n")
    rows = read_json(tmp_path / name) if to == "label-studio" else read_jsonl(tmp_path / name)
    assert len(rows) == 3
    first, *then = told.splitlines()[-3:]
    assert first.startswith("next: ") and name in first
    assert then[0] == f"then: mtl-bioner corpora stats answers{Path(name).suffix}"
    assert f"--tasks new=answers{Path(name).suffix}:Sign --output_dir DIR" in then[1]
    if to == "label-studio":
        assert "s.config.xml" in first
        assert '<Label value="Sign"/>\n    <Label value="Disease"/>' in (tmp_path / "s.config.xml").read_text()
    if to == "prodigy":
        assert "--label Sign,Disease,Chemical;" in first
    assert {path.name for path in tmp_path.iterdir()} <= {"texts", name, "s.config.xml"}


def test_answers_add_a_head_to_the_model(
    select: Callable, trained: Path, argv: Callable[..., list[str]], tmp_path: Path
) -> None:
    """From a selection to the rows of a new head: a text without an entity is one of them, the model's heads stay."""
    assert select("-n", "10", "--output", "s.json", "--new_types", "Sign", "--no_suggestions")[0] == 0
    tasks = read_json(tmp_path / "s.json")
    for number, task in enumerate(tasks):
        text = task["data"]["text"]
        values = [{"start": 0, "end": text.index(" "), "labels": ["Sign"]}] if number % 2 else []
        results = [{"from_name": "label", "to_name": "text", "type": "labels", "value": value} for value in values]
        task["annotations"] = [{"result": results}]
    put(tmp_path / "answers.json", json.dumps(tasks))
    run = run_mtl_ner.prepare(argv("--num_train_epochs", "1", tasks="new=./answers.json:Sign", model=trained, data=[]))
    assert run.model.config.task_names == ["ncbi", "bc5cdr", "new"]
    assert run.model.config.tasks[2]["types"] == ["Sign"]
    before, after = load_file(trained / "model.safetensors"), run.model.state_dict()
    assert all(after[name].equal(before[name]) for name in before)
    entities = [len(text.document.entities) for rows in run.rows.values() for text in rows.texts]
    assert sorted(entities) == [0] * 5 + [1] * 5


def test_the_command_gives_the_same_file_again_and_excludes_earlier_ones(select: Callable, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        assert select("-n", "4", "--output", name)[0] == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    status, printed, _ = select("-n", "99", "--output", "c.jsonl", "--to", "doccano", "--exclude", "a.json")
    assert status == 0 and "8 texts of 8" in printed
    assert "; 5 excluded" in printed or "; 4 excluded" in printed
    assert "no more than 8 differ enough" in printed
    ids = [{task["data"]["document_id"] for task in read_json(tmp_path / "a.json")},
           {row["document_id"] for row in read_jsonl(tmp_path / "c.jsonl")}]  # fmt: skip
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 12
    assert " --tasks ncbi=answers.json:Disease " in select("--output", "e.json", "--tasks", "ncbi")[2]
    status, _, told = select("--output", "d.json", "--exclude", "a.json", "c.jsonl")
    assert status == 2 and "no text is left to select" in told


def test_suggestions_can_be_left_out(select: Callable, tmp_path: Path) -> None:
    options = ["--no_suggestions", "--strategy", "spread", "--new_types", "Sign, Side effect"]
    assert select("-n", "2", "--output", "s.json", *options)[0] == 0
    assert [task["predictions"][0]["result"] for task in read_json(tmp_path / "s.json")] == [[], []]
    config = (tmp_path / "s.config.xml").read_text()
    assert config.count("<Label ") == 2 and "Side effect" in config


def test_what_cannot_be_read_is_told_and_the_rest_selected(select: Callable, tmp_path: Path) -> None:
    put(tmp_path / "texts" / "broken.jsonl", '{"text": "Gout and lupus hurt."}\n{"text": 5}\nnot json\n')
    put(tmp_path / "texts" / "long.txt", "word " * 30_000)
    status, printed, told = select("-n", "2", "--output", "s.json")
    assert status == 1 and printed.endswith("; 3 left out\n")
    assert "left out: texts/broken.jsonl:2: text is '5'; expected a string" in told
    assert "a text of 150,000 characters, too long; split it" in told


def test_texts_that_doccano_counts_otherwise_are_left_out(select: Callable, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts" / "wide.jsonl", [{"text": "Gout of 𝛼 and 💉 hurts."}])
    status, printed, told = select("-n", "99", "--output", "s.jsonl", "--to", "doccano")
    assert (
        status == 1
        and "12 texts of 12" in printed
        and printed.endswith("; 1 left out; no more than 12 differ enough\n")
    )
    assert "left out: texts/wide.jsonl:1: the character U+1D6FC, which doccano counts as two" in told
    assert select("-n", "99", "--output", "s.json")[1].startswith("s.json: 13 texts of 13")


def test_standard_input_is_read(select: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "in.txt", "Gout hurts.\nLupus hurts.\n")
    with (tmp_path / "in.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert select("-n", "2", "--lines", "--output", "s.json", inputs=["-"])[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"texts", "in.txt", "s.json", "s.config.xml"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--output", "s.jsonl"], "--output s.jsonl: the import of label-studio needs a name that ends in .json"),
        (["--output", "s.json", "--to", "doccano"], "the import of doccano needs a name that ends in .jsonl"),
        (["--output", "no/s.json"], "--output no/s.json: no such folder no; make it first"),
        (["--output", "old.json"], "old.json is there already; give another name, or move it away"),
        (["--output", "half.json"], "half.config.xml is there already; give another name, or move it away"),
        (["--output", "s.json", "-n", "0"], "argument -n/--number: '0' is no whole number from 1; --help lists"),
        (["--output", "s.json", "--threshold", "2"], "argument --threshold: '2' is no number from 0 to 1"),
        (["--output", "s.json", "--tasks", "ncbi,gene"], "--tasks: no task 'gene'; the model's are ncbi, bc5cdr"),
        (["--output", "s.json", "--new_types", "A|B"], "--new_types: 'A|B' is no name; separate names by commas"),
        (["--output", "s.json", "--exclude", "none.json"], "--exclude none.json: no such file or folder"),
        (["--output", "s.json", "--exclude", "broken.jsonl"], "--exclude broken.jsonl:2: invalid JSON"),
        (["--output", "s.json", "--strategy", "best"], "argument --strategy: invalid choice: 'best'"),
        (["--nothing"], "the following arguments are required: --output"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    options: list[str], told: str, select: Callable, tmp_path: Path
) -> None:
    put(tmp_path / "old.json", "mine")
    put(tmp_path / "half.config.xml", "mine")
    put(tmp_path / "broken.jsonl", "{\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    status, printed, error = select(*options)
    assert (status, printed, error.count("\n")) == (2, "", 1)
    assert error.startswith("mtl-bioner select: error: ") and told in error
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("inputs", "model", "told"),
    [
        (["none.txt"], None, "none.txt: no such file or folder; check the path"),
        (["texts"], "texts", "texts has no config.json; give the --output_dir of a training"),
        (["texts/t.jsonl", "texts/t.jsonl"], None, "is there twice among the inputs"),
    ],
)
def test_missing_texts_and_models_are_one_line(
    inputs: list[str], model: str | None, told: str, select: Callable, trained: Path
) -> None:
    status, printed, error = select("--output", "s.json", inputs=inputs, model=model or trained)
    assert (status, printed, error.count("\n")) == (2, "", 1) and told in error


def test_a_failed_write_leaves_nothing(select: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataset_scripts.formats import label_studio

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(label_studio, "_format_task", fail)
    status, _, error = select("-n", "2", "--output", "s.json")
    assert status == 2 and "disk full" in error
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "s.config.xml").unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"texts"}
