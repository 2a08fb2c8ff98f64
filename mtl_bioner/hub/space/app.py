"""Serve a page that shows the entities a model finds in a text: `python app.py MODEL`, a folder or a name on the Hub.

As a Space on the Hub, the page shows the model that `README.md` names. Texts are untrusted: they are escaped wherever
they are shown, their length is bounded, and none is written to a file.
"""

from __future__ import annotations  # other Python versions run this file

import base64
import functools
import html
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr


logger = logging.getLogger(__name__)

Entity = Mapping[str, Any]  # as the pipeline gives it: entity_group, score, word, start, end, task
Pipeline = Callable[..., list[Entity]]
Colours = Mapping[str, str]  # in CSS, by entity type

MAX_CHARACTERS = 20_000
EXAMPLE = "Cisplatin caused acute renal failure in two patients with Huntington disease and a mutation of BRCA1."
# The keys of an entity in tables and files, and in the pipeline.
KEYS = {"start": "start", "end": "end", "type": "entity_group", "text": "word", "score": "score", "task": "task"}
# Characters that would break a line of PubTator, and those that XML can't hold.
LINE_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CSS = """
.ner-text {white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2.4; font-size: 1.1em}
.ner-text mark {color: inherit; unicode-bidi: isolate}
.ner-tag {color: white; border-radius: 4px; padding: 1px 5px; margin: 0 3px; font-size: 0.7em; white-space: nowrap;
  unicode-bidi: isolate}
.ner-file {margin-right: 1em}
.ner-error {color: #b00020; font-weight: bold}
"""


def highlight(text: str, entities: Sequence[Entity], colours: Colours) -> str:
    """Return HTML of a text, each entity underlined and followed by type, score and, if there are several, task.

    Entities of several tasks may overlap: each has an underline of its own, one below the other.
    """
    several = len({e["task"] for e in entities}) > 1
    cuts = sorted({0, len(text), *(e["start"] for e in entities), *(e["end"] for e in entities)})
    waiting = sorted(entities, key=lambda e: (e["start"], -e["end"]), reverse=True)
    lanes: list[Entity | None] = []  # the entity that each underline belongs to
    parts = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        while waiting and waiting[-1]["start"] == start:
            lane = lanes.index(None) if None in lanes else len(lanes)
            lanes[lane : lane + 1] = [waiting.pop()]
        parts.append(_underline(text[start:end], lanes, colours))
        for lane, entity in enumerate(lanes):
            if entity and entity["end"] == end:
                label = f"{entity['entity_group']} {entity['score']:.2f}" + f" {entity['task']}" * several
                parts.append(_tag(label, colours[entity["entity_group"]]))
                lanes[lane] = None
        while lanes and lanes[-1] is None:
            lanes.pop()
    return f'<div class="ner-text">{"".join(parts)}</div>'


def _underline(text: str, lanes: Sequence[Entity | None], colours: Colours) -> str:
    """Return HTML of a piece of text that the same entities cover from end to end."""
    entities = [entity for entity in lanes if entity]
    if not entities:
        return html.escape(text)
    lines = ", ".join(
        f"linear-gradient({colour}, {colour}) 0 calc(100% - {4 * (len(lanes) - lane - 1)}px) / 100% 3px no-repeat"
        for lane, colour in ((lane, colours[e["entity_group"]]) for lane, e in enumerate(lanes) if e)
    )
    style = f"padding-bottom: {4 * len(lanes)}px; background: {lines}"
    title = "; ".join(f"{e['word']}: {e['entity_group']} {e['score']:.2f} ({e['task']})" for e in entities)
    tasks = html.escape(" ".join(e["task"] for e in entities))
    return f'<mark data-tasks="{tasks}" title="{html.escape(title)}" style="{style}">{html.escape(text)}</mark>'


def _tag(text: str, colour: str) -> str:
    return f'<span class="ner-tag" style="background: {colour}">{html.escape(text)}</span>'


def describe_types(entities: Sequence[Entity], colours: Colours) -> str:
    """Return HTML of the types in their colours, each with the number and the mean score of its entities."""
    parts = []
    for name, colour in colours.items():
        scores = [entity["score"] for entity in entities if entity["entity_group"] == name]
        counts = f"{len(scores)}, mean score {sum(scores) / len(scores):.2f}" if scores else "none"
        parts.append(f"{_tag(name, colour)}{counts} ")
    return f"<div>{''.join(parts)}</div>"


def format_error(text: str) -> str:
    """Return HTML of what went wrong."""
    return f'<p class="ner-error" role="alert">{html.escape(text)}</p>'


def format_jsonl(text: str, entities: Sequence[Entity]) -> str:
    """Return a document as `run_mtl_ner.py` writes its predictions."""
    mentions = [{name: entity[key] for name, key in KEYS.items()} for entity in entities]
    return json.dumps({"document_id": "1", "text": text, "entities": mentions}, ensure_ascii=False) + "\n"


def format_pubtator(text: str, entities: Sequence[Entity]) -> str:
    """Return PubTator with the text as a title; characters that would break its line become blanks, one for one."""
    lines = [f"1|t|{LINE_BREAKS.sub(' ', text)}", "1|a|"]
    for e in entities:
        lines.append(f"1\t{e['start']}\t{e['end']}\t{LINE_BREAKS.sub(' ', e['word'])}\t{e['entity_group']}")
    return "\n".join(lines) + "\n\n"


def format_bioc(text: str, entities: Sequence[Entity]) -> str:
    """Return BioC XML with one passage; characters that XML can't hold become blanks, one for one."""

    def escape(value: str) -> str:
        return html.escape(NO_XML.sub(" ", value), quote=False)

    annotations = [
        f'<annotation id="{number}"><infon key="type">{escape(e["entity_group"])}</infon>'
        f'<infon key="task">{escape(e["task"])}</infon><infon key="score">{e["score"]:.4f}</infon><location '
        f'offset="{e["start"]}" length="{e["end"] - e["start"]}" /><text>{escape(e["word"])}</text></annotation>'
        for number, e in enumerate(entities, 1)
    ]
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n<collection><source>MTL-BioNER</source><date /><key /><document>"
        f"<id>1</id><passage><offset>0</offset><text>{escape(text)}</text>{''.join(annotations)}</passage></document>"
        "</collection>\n"
    )


def link_files(text: str, entities: Sequence[Entity]) -> str:
    """Return HTML of a link to each format; a link holds its whole file, so that no text is kept on the server."""
    links = []
    formats = ("JSONL", "jsonl", format_jsonl), ("PubTator", "pubtator", format_pubtator), ("BioC", "xml", format_bioc)
    for name, ending, write in formats:
        content = base64.b64encode(write(text, entities).encode()).decode()
        link = f'href="data:application/octet-stream;base64,{content}" download="entities.{ending}"'
        links.append(f'<a class="ner-file" id="as-{name}" {link}>Download {name}</a>')
    return "".join(links)


def annotate(
    ner: Pipeline, colours: Colours, text: str | None, tasks: Sequence[str], threshold: float, overlaps: str
) -> tuple[str, str, list[list[Any]], str]:
    """Return a marked text (or what is wrong), its types, the rows of the table, and the links to the files."""
    if refusal := find_refusal(text, tasks):
        return format_error(refusal), "", [], ""
    try:
        entities = ner(text, tasks=list(tasks), threshold=threshold, overlaps=overlaps)
        rows = [[round(e[key], 4) if key == "score" else e[key] for key in KEYS.values()] for e in entities]
        return highlight(text, entities, colours), describe_types(entities, colours), rows, link_files(text, entities)
    except Exception as error:
        logger.exception("a request failed")
        return format_error(f"This text could not be read ({type(error).__name__}: {error})."), "", [], ""


def find_refusal(text: str | None, tasks: Sequence[str]) -> str | None:
    """Return why a request isn't even tried; None if it is."""
    if not isinstance(text, str) or not text.strip():
        return "There is no text; type or paste some."
    if len(text) > MAX_CHARACTERS:
        return f"The text has {len(text):,} characters; this page takes at most {MAX_CHARACTERS:,}. Shorten it."
    return None if tasks else "No task is chosen; choose at least one."


def build_page(ner: Pipeline, types_by_task: Mapping[str, Sequence[str]]) -> gr.Blocks:
    """Return the page of a pipeline."""
    names = dict.fromkeys(name for types in types_by_task.values() for name in types)
    colours = {name: f"hsl({137.5 * i % 360:.0f} 65% 40%)" for i, name in enumerate(names)}  # by the golden angle
    with gr.Blocks(title="MTL-BioNER", analytics_enabled=False) as page:
        gr.Markdown("# MTL-BioNER\nEntities in biomedical text, found by one model with a head for each corpus.")
        text = gr.Textbox(EXAMPLE, label=f"Text, at most {MAX_CHARACTERS:,} characters", lines=6, elem_id="text")
        choices = [(f"{task} ({', '.join(types)})", task) for task, types in types_by_task.items()]
        tasks = gr.CheckboxGroup(choices, value=list(types_by_task), label="Tasks", elem_id="tasks")
        with gr.Row():
            threshold = gr.Slider(0, 1, 0, step=0.05, label="Lowest score")
            overlaps = gr.Radio(["all", "longest", "best"], value="all", label="Overlapping entities of several tasks")
        button = gr.Button("Find entities", variant="primary", elem_id="find")
        marked, legend = gr.HTML(elem_id="marked"), gr.HTML(elem_id="legend")
        table = gr.Dataframe(headers=list(KEYS), datatype="str", interactive=False, elem_id="table")
        files = gr.HTML(elem_id="files")
        show = functools.partial(annotate, ner, colours)
        button.click(show, [text, tasks, threshold, overlaps], [marked, legend, table, files], api_name="annotate")
    return page


def read_model_name(readme: Path) -> str:
    """Return the model that the Space's card names; exit if it names none."""
    from huggingface_hub import RepoCard

    models = RepoCard.load(readme).data.get("models") or []
    if not models:
        raise SystemExit(f"{readme} names no model; put one under `models:`, or start with `python app.py MODEL`")
    return models[0]


def main(arguments: Sequence[str]) -> None:
    """Load the model and serve the page."""
    from transformers import pipeline

    model = arguments[0] if arguments else read_model_name(Path(__file__).with_name("README.md"))
    try:
        ner = pipeline("token-classification", model=model, trust_remote_code=True)
    except OSError as error:
        sys.exit(f"app: error: {model} can't be loaded: {str(error).splitlines()[0]}")
    page = build_page(ner, {task["name"]: task["types"] for task in ner.model.config.tasks})
    page.launch(css=CSS, theme=gr.themes.Default(font="sans-serif", font_mono="monospace"))


if __name__ == "__main__":
    main(sys.argv[1:])
