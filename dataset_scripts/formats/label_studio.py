"""Label Studio: tasks with annotations (JSON), or a text with its labels (JSON-MIN).

    [{"id": 1, "data": {"text": "Gout."}, "annotations": [{"result": [{"type": "labels", "to_name": "text",
      "value": {"start": 0, "end": 4, "text": "Gout", "labels": ["Disease"]}}]}]}]
    [{"id": 1, "text": "Gout.", "label": [{"start": 0, "end": 4, "text": "Gout", "labels": ["Disease"]}]}]
Source: https://labelstud.io/guide/task_format
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

from dataset_scripts.formats.files import FilePath, write_text
from dataset_scripts.formats.json_records import (
    Keys,
    Record,
    check_list,
    check_text,
    get_document_id,
    has_keys,
    read_mentions,
    write_json_list,
)
from dataset_scripts.schema import CorpusError, Document, Entity, Mention, RawDocument


logger = logging.getLogger(__name__)

_KEYS: Keys = ("start", "end", "label")
_OTHER_SPANS = ("hypertextlabels", "paragraphlabels", "timeserieslabels")  # their offsets count within HTML or turns
_RESULTS = ("annotations", "completions", "predictions")  # completions until version 1.0
_NO_TEXT = ("id", "document_id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time")
_MODEL = "MTL-BioNER"
_CONFIG = """<View>
  <Labels name="label" toName="text">
{labels}
  </Labels>
  <Text name="text" value="$text"/>
</View>
"""


def is_label_studio_task(record: Record) -> bool:
    """Whether a record is a task of the JSON export."""
    fields = record.fields
    return isinstance(fields.get("data"), dict) and any(key in fields for key in _RESULTS)


def read_label_studio(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read the `labels` of each task; relations, choices and predictions are skipped.

    Of several annotations, the one marked as ground truth is read. Tasks without an annotation (or with cancelled ones
    only) are no gold; a warning counts them.
    """
    left_out: list[str] = []
    for record in records:
        annotation = _choose_annotation(record)
        if annotation is None:
            left_out.append(record.where)
        else:
            yield _read_task(record, annotation)
    if left_out:
        logger.warning("%s: a task without an annotation that isn't cancelled; such tasks (%d) are left out",
                       left_out[0], len(left_out))  # fmt: skip


def read_label_studio_texts(records: Iterable[Record]) -> Iterator[str]:
    """Read the text of each task, whether it is annotated or not."""
    for record in records:
        yield _find_text(_get_data(record), [], record.where)


def _choose_annotation(record: Record) -> dict[str, Any] | None:
    key = "completions" if "completions" in record.fields else "annotations"
    annotations = check_list(record.fields.get(key), key, record.where)
    if not all(isinstance(annotation, dict) for annotation in annotations):
        raise CorpusError(f"{record.where}: {key} holds {annotations!r:.60}; expected objects, not their ids alone")
    valid = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    chosen = [annotation for annotation in valid if annotation.get("ground_truth")] or valid
    if len(chosen) > 1:
        problem = f"{record.where}: task {record.fields.get('id')} has {len(chosen)} annotations"
        raise CorpusError(f"{problem}, of which none alone is marked as ground truth; mark one, or remove the others")
    return chosen[0] if chosen else None


def _read_task(record: Record, annotation: dict[str, Any]) -> RawDocument:
    where, data = record.where, _get_data(record)
    results = [result for result in check_list(annotation.get("result"), "result", where) if isinstance(result, dict)]
    if others := [result["type"] for result in results if result.get("type") in _OTHER_SPANS]:
        problem = f"{where}: {others[0]} of task {record.fields.get('id')} are no offsets in a plain text"
        raise CorpusError(f"{problem}; label a <Text> instead, or export as CONLL2003")
    labels = [result for result in results if result.get("type") == "labels"]
    if len(names := sorted({str(result.get("to_name")) for result in labels})) > 1:
        raise CorpusError(f"{where}: labels of several texts ({names!r:.100}) in one task; export them apart")
    mentions = _read_labels([result.get("value") for result in labels], "value", where)
    text = _find_text(data, mentions, where)
    document_id = get_document_id(record, data) if "document_id" in data else get_document_id(record, record.fields)
    return RawDocument(document_id, text, [mention.restore_line_breaks(text) for mention in mentions], where=where)


def _get_data(record: Record) -> dict[str, Any]:
    data = record.fields.get("data")
    if not isinstance(data, dict):
        raise CorpusError(f"{record.where}: the task {record.value!r:.60}; expected data (an object) with the text")
    return data


def _read_labels(values: object, name: str, where: str) -> list[Mention]:
    """Read a list of values, whose `labels` may be several, or none."""
    spread = []
    for value in check_list(values, name, where):
        names = (value.get("labels") or [None]) if isinstance(value, dict) else [None]
        names = names if isinstance(names, list) else [names]
        spread += [{**value, "label": label} if isinstance(value, dict) else value for label in names]
    return read_mentions(spread, name, _KEYS, where)


def _find_text(data: dict[str, Any], mentions: list[Mention], where: str) -> str:
    """Return the text of a task: the export doesn't tell its key, so it is `text`, or the one that fits the labels."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    if "text" not in texts and len(texts) > 1 and any(mention.text for mention in mentions):
        texts = {key: text for key, text in texts.items() if all(mention.fits(text) for mention in mentions)}
    if "text" not in texts and len(texts) != 1:
        raise CorpusError(f"{where}: which key is the text can't be known ({list(data)!r:.100}); rename it to text")
    return check_text(texts.get("text", next(iter(texts.values()))), where)


def is_label_studio_min(record: Record) -> bool:
    """Whether a record is one of the JSON-MIN export, whose labels stand under any name."""
    fields = record.fields
    return "annotation_id" in fields or bool(_find_labels(record))


def read_label_studio_min(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read JSON-MIN, a record for each annotation; two annotations of one task raise CorpusError."""
    annotated: dict[str, str] = {}  # place by id of the task
    for record in records:
        fields, where = record.fields, record.where
        if (first := annotated.setdefault(str(fields.get("id", where)), where)) != where:
            problem = f"{where}: a second annotation of task {fields['id']} (the first: {first})"
            raise CorpusError(f"{problem}; keep one of them, or export as JSON with one marked as ground truth")
        mentions = [mention for key in _find_labels(record) for mention in _read_labels(fields[key], key, where)]
        texts = {name: value for name, value in fields.items() if name not in _NO_TEXT}
        text = _find_text(texts, mentions, where)
        mentions = [mention.restore_line_breaks(text) for mention in mentions]
        yield RawDocument(get_document_id(record, fields), text, mentions, where=where)


def _find_labels(record: Record) -> list[str]:
    """List the keys with labels: each is the name of a control of the project."""
    return [key for key, value in record.fields.items() if has_keys(value, ("start", "end", "labels"))]


def write_label_studio(documents: Iterable[Document], path: FilePath, predicted: bool | None = None) -> None:
    """Write tasks to import into a project with `<Labels name="label" toName="text">`; gzip if the name ends so.

    Entities are annotations, or, if `predicted`, predictions: suggestions in a task that still waits for its
    annotation. By default they are predictions if any of them has a score.
    """
    documents = list(documents)
    if predicted is None:
        predicted = any(entity.score is not None for document in documents for entity in document.entities)
    write_json_list((_format_task(document, predicted) for document in documents), path)


def _format_task(document: Document, predicted: bool) -> dict[str, object]:
    results = [_format_result(document.text, n, entity) for n, entity in enumerate(document.entities, 1)]
    data = {"text": document.text, "document_id": document.document_id}
    if not predicted:
        return {"data": data, "annotations": [{"result": results}]}
    scores = [entity.score for entity in document.entities if entity.score is not None]
    score = {"score": float(min(scores))} if scores else {}  # the least certain tasks come first when sorted by it
    return {"data": data, "annotations": [], "predictions": [{"model_version": _MODEL, **score, "result": results}]}


def _format_result(text: str, number: int, entity: Entity) -> dict[str, object]:
    value = {
        "start": entity.start,
        "end": entity.end,
        "text": text[entity.start : entity.end],
        "labels": [entity.type],
    }
    result = {"id": f"T{number}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}
    return result if entity.score is None else {**result, "score": float(entity.score)}


def write_labelling_config(types: Iterable[str], path: FilePath) -> None:
    """Write the labelling configuration of a project, for tasks of `write_label_studio` with these types."""
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in types)
    write_text(path, [_CONFIG.format(labels=labels)])
