"""A page that shows what a model finds in a text: `python app.py MODEL`, MODEL being a folder or a name on the Hub.

On the Hub, as a Space, MODEL is the one that `README.md` names. Text is untrusted: it is escaped wherever it is shown,
and its length is bounded.
"""

from __future__ import annotations

import html
import json
import logging
import re
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr


logger = logging.getLogger(__name__)

Entity = Mapping[str, Any]  # as the pipeline gives it: entity_group, score, word, start, end, task

MAX_CHARACTERS = 20_000
COLOURS = (
    "#d62728",
    "#1f77b4",
    "#2ca02c",
    "#9467bd",
    "#ff7f0e",
    "#17becf",
    "#e377c2",
    "#8c564b",
    "#7f7f7f",
    "#bcbd22",
)
EXAMPLE = "Cisplatin caused acute renal failure in two patients with Huntington disease and a mutation of BRCA1."
COLUMNS = ["start", "end", "text", "type", "score", "task"]
CSS = """
.ner-text {white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2.4; font-size: 1.1em}
.ner-text mark {color: inherit; unicode-bidi: isolate}
.ner-tag {color: white; border-radius: 4px; padding: 1px 5px; margin: 0 3px; font-size: 0.7em; white-space: nowrap;
  unicode-bidi: isolate}
.ner-error {color: #b00020; font-weight: bold}
"""


# ----------------------------------------------------------------------------------------------------------- the text


def highlight(text: str, entities: Sequence[Entity], colours: Mapping[str, str]) -> str:
    """HTML of a text, each entity underlined in its type's colour and followed by type, score and, if several, task.

    Entities of several tasks may overlap: each then has an underline of its own, one below the other.
    """
    several = len({e["task"] for e in entities}) > 1
    cuts = sorted({0, len(text), *(e["start"] for e in entities), *(e["end"] for e in entities)})
    waiting = sorted(entities, key=lambda e: (e["start"], -e["end"]), reverse=True)
    lanes: list[Entity | None] = []  # the entity that each underline belongs to
    parts = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        while waiting and waiting[-1]["start"] == start:
            lane = next((i for i, own in enumerate(lanes) if own is None), len(lanes))
            lanes[lane : lane + 1] = [waiting.pop()]
        parts.append(_segment(text[start:end], lanes, colours))
        for lane, entity in enumerate(lanes):
            if entity and entity["end"] == end:
                parts.append(_tag(entity, colours, several))
                lanes[lane] = None
        while lanes and lanes[-1] is None:
            lanes.pop()
    return f'<div class="ner-text">{"".join(parts)}</div>'


def _segment(text: str, lanes: Sequence[Entity | None], colours: Mapping[str, str]) -> str:
    """A piece of text that the same entities cover from end to end."""
    own = [entity for entity in lanes if entity]
    if not own:
        return html.escape(text)
    lines = ", ".join(
        f"linear-gradient({colour}, {colour}) 0 calc(100% - {4 * (len(lanes) - lane - 1)}px) / 100% 3px no-repeat"
        for lane, colour in ((lane, colours[e["entity_group"]]) for lane, e in enumerate(lanes) if e)
    )
    style = f"padding-bottom: {4 * len(lanes)}px; background: {lines}"
    title = html.escape("; ".join(f"{e['word']}: {e['entity_group']} {e['score']:.2f} ({e['task']})" for e in own))
    tasks = html.escape(" ".join(e["task"] for e in own))
    return f'<mark data-tasks="{tasks}" title="{title}" style="{style}">{html.escape(text)}</mark>'


def _tag(entity: Entity, colours: Mapping[str, str], with_task: bool) -> str:
    label = f"{entity['entity_group']} {entity['score']:.2f}{' ' + entity['task'] if with_task else ''}"
    return f'<span class="ner-tag" style="background: {colours[entity["entity_group"]]}">{html.escape(label)}</span>'


def legend(entities: Sequence[Entity], colours: Mapping[str, str]) -> str:
    """HTML of the types with their colours, how many entities of each were found, and their mean score."""
    parts = []
    for name, colour in colours.items():
        scores = [entity["score"] for entity in entities if entity["entity_group"] == name]
        found = f"{len(scores)}, mean score {sum(scores) / len(scores):.2f}" if scores else "none"
        parts.append(f'<span class="ner-tag" style="background: {colour}">{html.escape(name)}</span>{found} ')
    return f"<div>{''.join(parts)}</div>"


def message(text: str) -> str:
    """HTML of what went wrong."""
    return f'<p class="ner-error" role="alert">{html.escape(text)}</p>'


# ---------------------------------------------------------------------------------------------------------- the files


def write_jsonl(text: str, entities: Sequence[Entity]) -> str:
    """A document as `run_mtl_ner.py` writes its predictions."""
    own = [
        {
            "start": e["start"],
            "end": e["end"],
            "type": e["entity_group"],
            "text": e["word"],
            "score": e["score"],
            "task": e["task"],
        }
        for e in entities
    ]
    return json.dumps({"document_id": "1", "text": text, "entities": own}, ensure_ascii=False) + "\n"


def write_pubtator(text: str, entities: Sequence[Entity]) -> str:
    """PubTator: the text as a title, in one line; characters that would break a line become blanks, one for one."""
    lines = [f"1|t|{_line(text)}", "1|a|"]
    for e in entities:
        lines.append(f"1\t{e['start']}\t{e['end']}\t{_line(e['word'])}\t{e['entity_group']}")
    return "\n".join(lines) + "\n\n"


def _line(text: str) -> str:
    return re.sub(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]", " ", text)


def write_bioc(text: str, entities: Sequence[Entity]) -> str:
    """BioC XML, one passage; characters that XML can't hold become blanks, one for one."""
    root = ElementTree.Element("collection")
    for name, value in (("source", "MTL-BioNER"), ("date", ""), ("key", "")):
        ElementTree.SubElement(root, name).text = value
    document = ElementTree.SubElement(root, "document")
    ElementTree.SubElement(document, "id").text = "1"
    passage = ElementTree.SubElement(document, "passage")
    ElementTree.SubElement(passage, "offset").text = "0"
    ElementTree.SubElement(passage, "text").text = _legal(text)
    for i, e in enumerate(entities):
        annotation = ElementTree.SubElement(passage, "annotation", id=str(i + 1))
        for key, value in (("type", e["entity_group"]), ("task", e["task"]), ("score", f"{e['score']:.4f}")):
            ElementTree.SubElement(annotation, "infon", key=key).text = value
        place = {"offset": str(e["start"]), "length": str(e["end"] - e["start"])}
        ElementTree.SubElement(annotation, "location", place)
        ElementTree.SubElement(annotation, "text").text = _legal(e["word"])
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _legal(text: str) -> str:
    return re.sub("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)


FORMATS = {
    "JSONL": ("entities.jsonl", write_jsonl),
    "PubTator": ("entities.pubtator", write_pubtator),
    "BioC": ("entities.xml", write_bioc),
}


# ----------------------------------------------------------------------------------------------------------- the page


def annotate(
    ner: Callable[..., list[Entity]],
    colours: Mapping[str, str],
    folder: Path,
    text: str,
    tasks: Sequence[str],
    threshold: float,
    overlaps: str,
) -> tuple[str, str, list[list[Any]], list[str]]:
    """Marked text and legend as HTML, rows of the table, and the files that were written into the folder.

    One bad request gets a message, and the page lives on.
    """
    if problem := refusal(text, tasks):
        return message(problem), "", [], []
    try:
        entities = ner(text, tasks=list(tasks), threshold=threshold, overlaps=overlaps)
        files = []
        for name, write in FORMATS.values():
            (folder / name).write_text(write(text, entities), encoding="utf-8", newline="")
            files.append(str(folder / name))
        rows = [
            [e["start"], e["end"], e["word"], e["entity_group"], round(e["score"], 4), e["task"]] for e in entities
        ]
        return highlight(text, entities, colours), legend(entities, colours), rows, files
    except Exception as error:
        logger.exception("a request failed")
        return message(f"This text could not be read ({type(error).__name__}: {error})."), "", [], []


class Folders:
    """A fresh folder for each request; those of more than an hour ago are deleted, so that no text stays for long."""

    def __init__(self, seconds: float = 3600) -> None:
        self.seconds, self.made = seconds, []

    def new(self) -> Path:
        now = time.monotonic()
        while self.made and self.made[0][0] < now - self.seconds:
            shutil.rmtree(self.made.pop(0)[1], ignore_errors=True)
        self.made.append((now, Path(tempfile.mkdtemp(prefix="mtl-bioner-"))))
        return self.made[-1][1]


def build(ner: Callable[..., list[Entity]], tasks: Mapping[str, Sequence[str]]) -> gr.Blocks:
    """The page.

    Args:
        ner: the pipeline.
        tasks: types by task.
    """
    types = dict.fromkeys(name for own in tasks.values() for name in own)
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(types)}
    folders = Folders()

    def show(text: str, chosen: Sequence[str], threshold: float, overlaps: str) -> list[Any]:
        marked, key, rows, files = annotate(ner, colours, folders.new(), text, chosen, threshold, overlaps)
        buttons = [gr.DownloadButton(value=file, interactive=True) for file in files]
        return [marked, key, rows, *(buttons or [gr.DownloadButton(value=None, interactive=False) for _ in FORMATS])]

    with gr.Blocks(title="MTL-BioNER", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown("# MTL-BioNER\nEntities in biomedical text, found by one model with a head for each corpus.")
        text = gr.Textbox(EXAMPLE, label=f"Text, at most {MAX_CHARACTERS:,} characters", lines=6, elem_id="text")
        labels = [(f"{task} ({', '.join(own)})", task) for task, own in tasks.items()]
        chosen = gr.CheckboxGroup(labels, value=list(tasks), label="Tasks", elem_id="tasks")
        with gr.Row():
            threshold = gr.Slider(0, 1, 0, step=0.05, label="Least score")
            overlaps = gr.Radio(
                ["all", "longest", "best"], value="all", label="Where entities of several tasks overlap"
            )
        button = gr.Button("Find entities", variant="primary", elem_id="find")
        marked, key = gr.HTML(elem_id="marked"), gr.HTML(elem_id="legend")
        table = gr.Dataframe(headers=COLUMNS, datatype="str", interactive=False, elem_id="table")
        with gr.Row():
            files = [gr.DownloadButton(name, interactive=False, elem_id=f"as-{name}") for name in FORMATS]
        button.click(show, [text, chosen, threshold, overlaps], [marked, key, table, *files], api_name="annotate")
    return page


def refusal(text: str | None, chosen: Sequence[str]) -> str | None:
    """Why a request isn't even tried; None if it is."""
    if not isinstance(text, str) or not text.strip():
        return "There is no text; type or paste some."
    if len(text) > MAX_CHARACTERS:
        return f"The text has {len(text):,} characters; this page takes at most {MAX_CHARACTERS:,}. Shorten it."
    return None if chosen else "No task is chosen; choose at least one."


def named_model(readme: Path) -> str:
    """The model that the Space's card names.

    Raises:
        SystemExit: it names none.
    """
    from huggingface_hub import RepoCard

    models = RepoCard.load(readme).data.get("models") or []
    if not models:
        raise SystemExit(f"{readme} names no model; put one under `models:`, or start with `python app.py MODEL`")
    return models[0]


def main(arguments: Sequence[str]) -> None:
    """Loads the model and serves the page."""
    from transformers import pipeline

    model = arguments[0] if arguments else named_model(Path(__file__).with_name("README.md"))
    try:
        ner = pipeline("token-classification", model=model, trust_remote_code=True)
    except OSError as error:
        sys.exit(f"app: error: {model} can't be loaded: {str(error).splitlines()[0]}")
    tasks = {task["name"]: task["types"] for task in ner.model.config.tasks}
    build(ner, tasks).launch(css=CSS, theme=gr.themes.Default(font="sans-serif", font_mono="monospace"))


if __name__ == "__main__":
    main(sys.argv[1:])
