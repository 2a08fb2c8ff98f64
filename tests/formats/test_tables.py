"""Tables of the `datasets` library: Parquet files and folders of `save_to_disk`."""

import struct

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from formats.format_tools import describe, error_of

from dataset_scripts import load_corpus
from dataset_scripts.bio import flatten
from dataset_scripts.export import export_corpus
from dataset_scripts.formats import read_any
from dataset_scripts.formats.tables import list_rows
from dataset_scripts.schema import ReadOptions


STRING, NUMBERS = Value("string"), List(Value("int64"))
TAGS = List(ClassLabel(names=["O", "B-Drug", "I-Drug"]))
WORDS = ["Aspirin", "acid", "may"]
SPAN = {"start": 0, "end": 4, "label": "Disease"}
BIGBIO = {
    "id": "0",
    "document_id": "77",
    "passages": [
        {"type": "abstract", "text": ["A lupus and renal failure."], "offsets": [[6, 32]]},
        {"type": "title", "text": ["Gout."], "offsets": [[0, 5]]},
    ],
    "entities": [
        {"type": "Disease", "text": ["Gout"], "offsets": [[0, 4]]},
        {"type": "Disease", "text": ["lupus", "failure"], "offsets": [[8, 13], [24, 31]]},
        {"type": "", "text": ["A"], "offsets": [[6, 7]]},
    ],
}


@pytest.fixture
def save(tmp_path):
    """Writes rows to a Parquet file, with what `datasets` knows of the columns."""

    def write(rows, **features):
        dataset = Dataset.from_list(rows, features=Features(features) if features else None)
        dataset.to_parquet(str(tmp_path / "mine.parquet"))
        return tmp_path / "mine.parquet"

    return write


@pytest.mark.parametrize(
    ("rows", "features", "expected"),
    [
        ([{"tokens": WORDS, "ner_tags": [1, 2, 0]}], {"tokens": List(STRING), "ner_tags": TAGS},
         ("mine-1", "Aspirin acid may", "1:0-12 Drug Aspirin acid")),
        ([{"words": WORDS, "labels": ["B-Drug", "I-Drug", "O"], "id": 7}], {},
         ("7", "Aspirin acid may", "1:0-12 Drug Aspirin acid")),
        ([{"pmid": "7", "text": "Gout.", "spans": [SPAN]}], {}, ("7", "Gout.", "1:0-4 Disease Gout")),
        ([{"text": "Gout.", "entities": {"start_offset": [0], "end_offset": [4], "type": [1]}}],
         {"text": STRING, "entities": {"start_offset": NUMBERS, "end_offset": NUMBERS,
                                       "type": List(ClassLabel(names=["Drug", "Disease"]))}},
         ("mine-1", "Gout.", "1:0-4 Disease Gout")),
        ([BIGBIO], {}, ("77", "Gout.\nA lupus and renal failure.", "1:0-4 Disease Gout",
                        "1:8-13,24-31 Disease lupus failure", "1:6-7  A")),
    ],
    ids=["class labels", "strings", "spans", "lists of classes", "bigbio"],
)  # fmt: skip
def test_columns_are_detected(save, rows, features, expected):
    assert [describe(raw) for raw in read_any(save(rows, **features))] == [expected]


def test_a_document_in_several_rows_is_a_group(save):
    rows = [{"document_id": "7", "tokens": ["a"], "tags": ["O"]}, {"document_id": "7", "tokens": ["b"], "tags": ["O"]}]
    assert [(raw.document_id, raw.group) for raw in read_any(save(rows))] == [("mine-1", "7"), ("mine-2", "7")]


def test_features_that_are_older_than_the_columns_are_left_out(save):
    path = save(
        [{"tokens": ["Gout"], "tags": ["B-X"], "id": 7}], tokens=List(STRING), tags=List(STRING), id=Value("int64")
    )
    table = pyarrow.parquet.read_table(path)
    renamed = table.rename_columns(["tokens", "tags", "key"]).replace_schema_metadata(table.schema.metadata)
    pyarrow.parquet.write_table(renamed, path)
    assert [describe(raw) for raw in read_any(path)] == [("mine-1", "Gout", "1:0-4 X Gout")]


def test_a_second_column_of_mentions_is_told(save, caplog):
    (raw,) = read_any(save([{"text": "Gout", "entities": [SPAN], "spans": [SPAN | {"label": "X"}]}]))
    assert describe(raw)[2:] == ("1:0-4 Disease Gout",)
    assert "the mentions are read from entities, not from spans (mentions, too)" in caplog.text


def test_options_choose_the_columns(save, caplog):
    row = {"forms": ["Gout", "B-cell"], "ner_tags": [1, 2], "fine": [1, 0], "strings": ["O", "B-X"]}
    path = save([row], forms=List(STRING), ner_tags=TAGS, fine=TAGS, strings=List(STRING))
    (raw,) = read_any(path, ReadOptions(token_column="forms"))
    assert describe(raw)[2:] == ("1:0-11 Drug Gout B-cell",)
    assert (
        "mine.parquet: the mentions are read from ner_tags, not from fine or strings (mentions, too);" in caplog.text
    )
    caplog.clear()
    (raw,) = read_any(path, ReadOptions(token_column="forms", tag_column="fine"))
    assert describe(raw)[2:] == ("1:0-4 Drug Gout",) and not caplog.records


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"tokens": WORDS, "ner_tags": [1, 2, 0]}, {}, r":1: ner_tags holds numbers without names; name them in"),
        ({"tokens": WORDS, "pos": ["N", "N", "V"]}, {}, r"the columns are tokens, pos; expected tokens \(tokens or"),
        ({"tokens": WORDS, "pos": ["N"]}, {"tag_column": "x"}, r"no column 'x'; the columns are tokens, pos"),
        ({"tokens": WORDS, "tags": ["O"] * 3, "ner": ["O"] * 3}, {}, r"may be in tags or ner; choose with --tag_col"),
        ({"tokens": WORDS, "tags": ["O"]}, {}, r":1: 3 tokens, but 1 tags; each token needs one"),
        ({"tokens": WORDS, "tags": ["O", "B-X", "Noun"]}, {}, r":1: 'Noun' is no tag; expected O, B-TYPE"),
        ({"tokens": None, "tags": ["O"]}, {}, r":1: tokens is 'None'; expected a list of strings"),
        ({"text": "Gout.", "entities": ["Gout"]}, {}, r":1: entities holds 'Gout'; expected records with start"),
        ({"text": "Gout.", "entities": [{"start": 0, "label": "X"}]}, {}, r"expected start and end \(whole numbers\)"),
        ({"text": "Gout.", "entities": [{**SPAN, "label": 3}]}, {}, r":1: label holds numbers without names"),
        ({"text": "Gout.", "entities": [{**SPAN, "label": "a\tb"}]}, {}, r":1: the type 'a\\tb'; expected a string"),
        ({"text": "a  b", "tokens": ["a", "b"], "starts": [0, 2], "ends": [1, 3], "tags": ["O", "O"]}, {},
         r":1: token 2 is 'b', but the text has ' ' between starts and ends; offsets must count characters"),
        ({"text": "a b", "tokens": ["a", "b"], "starts": [0], "ends": [1], "tags": ["O", "O"]}, {},
         r":1: token 2 is 'b', but the text has None"),
        ({**BIGBIO, "entities": [{"type": "X", "text": ["x"], "offsets": [[1]]}]}, {}, r"offsets are \[\[1\]\]; exp"),
        ({**BIGBIO, "passages": [{"text": ["Gout."], "offsets": [[1 << 40, 5]]}]}, {}, "1: offset 1099511627776, but"),
        ({**BIGBIO, "passages": [{"text": ["a", "b"], "offsets": [[0, 1]]}]}, {}, "with 2 texts, but 1 offsets"),
    ],
)  # fmt: skip
def test_refusals_name_file_row_and_remedy(save, row, options, message):
    path = save([row])
    with pytest.raises(ValueError, match=r"mine\.parquet.*" + message):
        list(read_any(path, ReadOptions(**options)))


def test_a_number_beyond_the_names_is_refused(tmp_path):
    table = pyarrow.table({"tokens": [["a"]], "ner_tags": [[-1]]})
    features = Features(tokens=List(STRING), ner_tags=TAGS)
    Dataset(table.replace_schema_metadata(features.arrow_schema.metadata)).to_parquet(str(tmp_path / "x.parquet"))
    message = error_of(read_any, tmp_path / "x.parquet")
    assert message.endswith("ner_tags holds -1; expected a string, or a number from 0 to 2 with a name")


def test_offsets_beyond_a_damaged_file_are_refused():
    buffers = [None, pyarrow.py_buffer(struct.pack("iii", 0, 1 << 20, 4)), pyarrow.py_buffer(b"Gout")]
    column = pyarrow.Array.from_buffers(pyarrow.string(), 2, buffers)
    assert "d: can't be read (ArrowInvalid(" in error_of(list_rows, [pyarrow.record_batch([column], ["text"])], "d")


@pytest.mark.parametrize("cut", [10, -10])
def test_a_damaged_file_is_refused(save, cut):
    path = save([{"tokens": WORDS, "tags": ["O"] * 3}])
    path.write_bytes(path.read_bytes()[:cut])
    assert "mine.parquet: no Parquet file (" in error_of(read_any, path)


def test_what_export_writes_is_read_back_exactly(tmp_path):
    corpus = load_corpus("bc5cdr", "sample")
    again = load_corpus(export_corpus(corpus, "parquet", tmp_path / "out"))
    for split, documents in corpus.splits.items():
        expected = [(d.document_id, d.text, flatten(d.entities)[0]) for d in documents]
        assert [(d.document_id, d.text, d.entities) for d in again.splits[split]] == expected
    assert again.types == ("Chemical", "Disease") and sum(map(len, again.splits.values())) > 10


def test_saved_data_sets_are_read(tmp_path):
    features = Features(tokens=List(STRING), ner_tags=TAGS)
    rows = [{"tokens": ["Case", str(n), "aspirin"], "ner_tags": [0, 0, 1]} for n in range(8)]
    whole = Dataset.from_list(rows, features=features)
    whole.save_to_disk(tmp_path / "one")
    split = {"train": whole.select(range(4)), "validation": whole.select([4]), "test": whole.select([5, 6, 7])}
    datasets.DatasetDict(split).save_to_disk(tmp_path / "several")
    assert [len(documents) for documents in load_corpus(tmp_path / "one").splits.values()] == [6, 1, 1]
    corpus = load_corpus(tmp_path / "several")
    assert [[d.text for d in corpus.splits[name]] for name in ("dev", "test")] == [
        ["Case 4 aspirin"],
        ["Case 5 aspirin", "Case 6 aspirin", "Case 7 aspirin"],
    ]
    assert sorted(corpus.hashes) == ["test", "train", "validation"] and corpus.types == ("Drug",)
    (tmp_path / "one" / "state.json").write_text("{}")
    assert "one: can't be loaded by `datasets` (" in error_of(read_any, tmp_path / "one")
