"""The spaCy component `mtl_bioner`: the entities of all tasks as spans.

    nlp = spacy.blank("en")
    nlp.add_pipe("mtl_bioner", config={"model": "outputs/quickstart"})
    doc = nlp("Cisplatin caused renal failure.")
    [(span.text, span.label_, span.id_, span._.score) for span in doc.spans["mtl_bioner"]]

`import spacy` finds it by its entry point once the package is installed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import srsly
from spacy.language import Language
from spacy.tokens import Doc, Span

from modeling_mtl_bioner import OVERLAPS, resolve_overlaps
from mtl_bioner.backends import choose_backend


if TYPE_CHECKING:
    from modeling_mtl_bioner import MtlBionerPipeline
    from mtl_bioner.onnx_runtime import OnnxPipeline

NAME = "mtl_bioner"
_SETTINGS, _MODEL = "settings.json", "model"
_SAVED = {"overlaps": "by_type", "dtype": "auto", "set_ents": True, "backend": "auto"}
DEFAULTS = {"model": None, "tasks": None, "threshold": None, **_SAVED}


@Language.factory(NAME, assigns=["doc.spans", "doc.ents"], default_config=DEFAULTS)
def make_component(
    nlp: Language,
    name: str,
    model: str | None,
    tasks: Sequence[str] | None,
    threshold: float | None,
    overlaps: str,
    dtype: str,
    set_ents: bool,
    backend: str,
) -> EntityComponent:
    """Make the component; raises ValueError for a bad setting. The model is loaded when the first text comes."""
    return EntityComponent(name, model, tasks, threshold, overlaps, dtype, set_ents, backend)


class EntityComponent:
    """Add the entities of a multi-task model to documents.

    `doc.spans[name]` holds the entities of all tasks, and `doc.spans[f"{name}/{task}"]` those of a task. A span begins
    and ends at tokens: where the model's words are others than spaCy's, it is widened to the tokens that it touches.
    `span.id_` is the task, `span._.score` the score, and `span._.characters` the half-open range that the model found.

    Args:
        name: of the component and of its group of spans.
        model: output folder of a training, or a model on the Hub; a folder of `to_disk` has a copy of it.
        tasks, threshold: options of the pipeline.
        overlaps: which of overlapping entities `doc.spans[name]` holds, as for the pipeline; the groups of tasks hold
            all.
        dtype: of the computation; `auto` is bfloat16 where the device has hardware for it.
        backend: `torch`, `onnx` for a model of `mtl-bioner export --to onnx`, or `auto`, as for `mtl_bioner.load`.
        set_ents: also put into `doc.ents` the longest of overlapping spans, but for those that overlap entities that
            are there already.
    """

    def __init__(
        self,
        name: str,
        model: str | None,
        tasks: Sequence[str] | None = None,
        threshold: float | None = None,
        overlaps: str = "by_type",
        dtype: str = "auto",
        set_ents: bool = True,
        backend: str = "auto",
    ) -> None:
        if overlaps not in list(OVERLAPS):
            raise ValueError(f"overlaps is {overlaps!r}; choose one of {', '.join(OVERLAPS)}")
        self.name, self.model, self.overlaps, self.dtype, self.set_ents = name, model, overlaps, dtype, set_ents
        choose_backend(model or "", backend)  # which raises an error for an unknown one
        self.backend = backend
        self.options = {"tasks": tasks and list(tasks), "threshold": threshold}
        self._ner: MtlBionerPipeline | OnnxPipeline | None = None

    @property
    def ner(self) -> MtlBionerPipeline | OnnxPipeline:
        """The pipeline, loaded when it is first needed."""
        if self._ner is None:
            self._ner = self._load(self.dtype)
        return self._ner

    def _load(self, dtype: str) -> MtlBionerPipeline | OnnxPipeline:
        import mtl_bioner

        if self.model is None:
            raise ValueError(f"{self.name} has no model; give config={{'model': FOLDER}} to add_pipe")
        options = {name: value for name, value in self.options.items() if value is not None}
        return mtl_bioner.load(self.model, dtype=dtype, backend=self.backend, **options)

    def __call__(self, doc: Doc) -> Doc:
        """Annotate a document."""
        return self._add(doc, self.ner(doc.text))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 256) -> Iterator[Doc]:
        """Annotate documents in the batches of the pipeline, whatever the batches of spaCy are."""
        docs, read_ahead = itertools.tee(stream)
        results = self.ner(doc.text for doc in read_ahead)
        for doc, entities in zip(docs, results, strict=True):
            yield self._add(doc, entities)

    def _add(self, doc: Doc, entities: list[dict[str, Any]]) -> Doc:
        spans = [self._make_span(doc, entity) for entity in entities]
        for task in self.options["tasks"] or self.ner.model.config.task_names:
            doc.spans[f"{self.name}/{task}"] = [span for span in spans if span.id_ == task]
        kept = resolve_overlaps([{**entity, "place": place} for place, entity in enumerate(entities)], self.overlaps)
        doc.spans[self.name] = [spans[place] for place in sorted(entity["place"] for entity in kept)]
        if self.set_ents:
            taken = [*doc.ents]
            for span in sorted(doc.spans[self.name], key=lambda span: (-len(span), span.start)):
                if all(span.end <= other.start or other.end <= span.start for other in taken):
                    taken.append(span)
            doc.ents = taken
        return doc

    def _make_span(self, doc: Doc, entity: dict[str, Any]) -> Span:
        touched = doc.char_span(entity["start"], entity["end"], alignment_mode="expand")
        span = Span(doc, touched.start, touched.end, label=entity["entity_group"], span_id=entity["task"])
        key, details = _get_key(span), (entity["score"], entity["start"], entity["end"])
        # Several entities inside one token become equal spans, with the best score of them.
        doc.user_data[key] = max(details, doc.user_data.get(key, details))
        return span

    def to_disk(self, path: str | Path, *, exclude: Sequence[str] = ()) -> None:
        """Save the settings and a copy of the model, so that the folder works elsewhere."""
        path = Path(path)
        is_onnx = choose_backend(self.model or "", self.backend) == "onnx"
        # For torch the weights as they are, whatever they are rounded to in use.
        ner = self.ner if is_onnx else self._load("float32")
        path.mkdir(parents=True, exist_ok=True)
        settings = {name: getattr(self, name) for name in _SAVED}
        srsly.write_json(path / _SETTINGS, {**self.options, **settings})
        ner.model.save_pretrained(path / _MODEL)
        if not is_onnx:
            ner.tokenizer.save_pretrained(path / _MODEL)

    def from_disk(self, path: str | Path, *, exclude: Sequence[str] = ()) -> EntityComponent:
        """Take settings and model from a folder of `to_disk`."""
        settings = srsly.read_json(Path(path) / _SETTINGS)
        for name, default in _SAVED.items():
            setattr(self, name, settings.pop(name, default))
        self.options, self.model, self._ner = settings, str(Path(path) / _MODEL), None
        return self


def _get_key(span: Span) -> tuple[str, int, int, str, str]:
    """Return the key of a span in `user_data`; spaCy's own keys don't tell tasks and types of one place apart."""
    return NAME, span.start_char, span.end_char, span.label_, span.id_


def _get_score(span: Span) -> float | None:
    return span.doc.user_data.get(_get_key(span), (None,))[0]


def _get_characters(span: Span) -> tuple[int, int] | None:
    details = span.doc.user_data.get(_get_key(span))
    return details and (details[1], details[2])


for _name, _getter in (("score", _get_score), ("characters", _get_characters)):
    if not Span.has_extension(_name):  # another component may have one of this name
        Span.set_extension(_name, getter=_getter)
