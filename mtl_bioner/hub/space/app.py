"""Serve a page that shows the entities a model finds in a text: `python app.py MODEL`, a folder or a name on the Hub.

As a Space on the Hub, the page shows the model that `README.md` names. Texts are untrusted: they are escaped wherever
they are shown, their length is bounded, and none is written to a file.
"""

from __future__ import annotations  # other Python versions run this file

import base64
import functools
import html
import importlib.util
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr


try:
    from entity_page import LEAST_SCORE, build_entity_page  # on the Hub the module lies beside this one
except ModuleNotFoundError:
    from mtl_bioner.reporting.entity_page import LEAST_SCORE, build_entity_page


logger = logging.getLogger(__name__)

Entity = Mapping[str, Any]  # as the pipeline gives it: entity_group, score, word, start, end, task
Pipeline = Callable[..., list[Entity]]

MAX_CHARACTERS = 20_000
MAX_BYTES = 1 << 20  # of a request
MAX_WAITING = 20  # requests
OVERLAPS = [
    ("best of each type", "by_type"), ("all", "all"), ("longest", "longest"), ("best scored", "best"),
]  # fmt: skip
EXAMPLE = "Cisplatin caused acute renal failure in two patients with Huntington disease and a mutation of BRCA1."
EXAMPLES = [
    EXAMPLE,
    "Mutations of TP53 and KRAS were found in patients with colorectal cancer treated with 5-fluorouracil.",
    "Interleukin-2 activates NF-kappa B in human T lymphocytes and increases IL-2 receptor alpha mRNA.",
]
# The keys of an entity in tables and files, and in the pipeline.
KEYS = {"start": "start", "end": "end", "type": "entity_group", "text": "word", "score": "score", "task": "task"}
# Characters that would break a line of PubTator, and those that XML can't hold.
LINE_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CSS = """
.ner-page {width: 100%; border: 0; resize: vertical}
.ner-file {margin-right: 1em}
.ner-error {color: #b00020; font-weight: bold}
"""


def show_page(text: str, entities: Sequence[Entity]) -> str:
    """Return HTML of a frame with the text, in which each entity is underlined and followed by type, score and tasks.

    The frame has no access to the page around it.
    """
    document = {"document_id": "text", "text": text, "entities": [{**e, "type": e["entity_group"]} for e in entities]}
    page = html.escape(build_entity_page("Entities", [document], least_score=0, compact=True))
    types = {entity["entity_group"] for entity in entities}
    height = min(6 + len(text) // 25 + 2 * len(types), 50)  # em
    return (
        f'<iframe class="ner-page" sandbox="allow-scripts" title="Text with its entities" style="height: {height}em" '
        f'srcdoc="{page}"></iframe>'
    )


def name_tasks(entity: Entity) -> str:
    """Return the task that found an entity, or the tasks that agree on it."""
    return " + ".join(dict.fromkeys(entity.get("tasks", [entity["task"]])))


def format_error(text: str) -> str:
    """Return HTML of what went wrong."""
    return f'<p class="ner-error" role="alert">{html.escape(text)}</p>'


def format_jsonl(text: str, entities: Sequence[Entity]) -> str:
    """Return a document as `mtl-bioner annotate` writes it."""
    keys = KEYS | {"tasks": "tasks"}
    mentions = [{name: e[key] for name, key in keys.items() if key in e} for e in entities]
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
    ner: Pipeline, text: str | None, tasks: Sequence[str], threshold: float, overlaps: str
) -> tuple[str, list[list[Any]], str]:
    """Return a marked text (or what is wrong), the rows of the table, and the links to the files."""
    if refusal := find_refusal(text, tasks):
        return format_error(refusal), [], ""
    try:
        entities = ner(text, tasks=list(tasks), threshold=threshold, overlaps=overlaps)
        shown = [{**entity, "score": round(entity["score"], 4), "task": name_tasks(entity)} for entity in entities]
        rows = [[entity[key] for key in KEYS.values()] for entity in shown]
        return show_page(text, entities), rows, link_files(text, entities)
    except Exception as error:
        logger.exception("a request failed")
        return format_error(f"This text could not be read ({type(error).__name__}: {error})."), [], ""


def make_tool(ner: Pipeline, names: list[str]) -> Callable[..., list[dict[str, Any]]]:
    """Make the function that programs call, and agents as a tool; its docstring is what they are told."""

    def find_entities(
        text: str, tasks: list[str] = names, threshold: float = LEAST_SCORE, overlaps: str = "by_type"
    ) -> list[dict[str, Any]]:
        """Find the biomedical entities of a text, such as diseases, chemicals and genes.

        Parameters:
            text: the text, in English.
            tasks: names of the model's tasks; all by default.
            threshold: least score of an entity, from 0 to 1.
            overlaps: of overlapping entities, keep the best of each type (by_type), all, the longest or the best.

        Returns:
            Entities with type, text, score, task, and start and end as character offsets, the end exclusive.
        """
        if refusal := find_refusal(text, tasks):
            raise gr.Error(refusal)
        try:
            entities = ner(text, tasks=list(tasks), threshold=threshold, overlaps=overlaps)
        except ValueError as error:  # an option that the pipeline doesn't take
            raise gr.Error(str(error)) from None
        return [{**{name: e[key] for name, key in KEYS.items()}, "task": name_tasks(e)} for e in entities]

    return find_entities


def find_refusal(text: str | None, tasks: Sequence[str]) -> str | None:
    """Return why a request isn't even tried; None if it is."""
    if not isinstance(text, str) or not text.strip():
        return "There is no text; type or paste some."
    if len(text) > MAX_CHARACTERS:
        return f"The text has {len(text):,} characters; this page takes at most {MAX_CHARACTERS:,}. Shorten it."
    return None if tasks else "No task is chosen; choose at least one."


class LimitRequests:
    """Refuse uploads, which the page has no use for, and large requests, before Gradio reads them."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer a request of the server (ASGI)."""
        length = dict(scope.get("headers") or ()).get(b"content-length", b"0")
        received = 0

        async def receive_some() -> Mapping[str, Any]:
            """Receive a piece of a request that doesn't say how long it is; end the request where it is too long."""
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= MAX_BYTES else {"type": "http.disconnect"}

        is_large = not length.isdigit() or int(length) > MAX_BYTES
        if scope["type"] == "http" and (is_large or scope["path"].rstrip("/").endswith("/upload")):
            start = {"type": "http.response.start", "headers": [(b"content-type", b"text/plain")]}
            await send({**start, "status": 413 if is_large else 403})
            await send({"type": "http.response.body", "body": b"This page takes short texts and no files."})
        else:
            await self.app(scope, receive_some, send)


def build_page(ner: Pipeline, types_by_task: Mapping[str, Sequence[str]], name: str = "") -> gr.Blocks:
    """Return the page of a pipeline, whose model may have a name."""
    with gr.Blocks(title="MTL-BioNER", analytics_enabled=False) as page:
        gr.Markdown("# MTL-BioNER\nEntities in biomedical text, found by one model with a head for each corpus.")
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name):  # on the Hub; the path of a folder is nobody's business
            gr.Markdown(f"Model: [`{name}`](https://huggingface.co/{name})")
        text = gr.Textbox(EXAMPLE, label=f"Text, at most {MAX_CHARACTERS:,} characters", lines=6, elem_id="text")
        choices = [(f"{task} ({', '.join(types)})", task) for task, types in types_by_task.items()]
        tasks = gr.CheckboxGroup(choices, value=list(types_by_task), label="Tasks", elem_id="tasks")
        with gr.Row():
            threshold = gr.Slider(0, 1, LEAST_SCORE, step=0.05, label="Lowest score")
            overlaps = gr.Radio(OVERLAPS, value="by_type", label="Overlapping entities of several tasks")
        gr.Examples([[example] for example in EXAMPLES], text, elem_id="examples")
        button = gr.Button("Find entities", variant="primary", elem_id="find")
        marked = gr.HTML(elem_id="marked")
        table = gr.Dataframe(headers=list(KEYS), datatype="str", interactive=False, elem_id="table")
        files = gr.HTML(elem_id="files")
        show = functools.partial(annotate, ner)
        of_page = {"api_name": "annotate", "api_visibility": "undocumented", "concurrency_id": "model"}
        button.click(show, [text, tasks, threshold, overlaps], [marked, table, files], **of_page)
        gr.api(make_tool(ner, list(types_by_task)), api_name="find_entities", concurrency_id="model")
    # One text at a time; others see their place in the queue, and whoever finds it full a message.
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


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
    page = build_page(ner, {task["name"]: task["types"] for task in ner.model.config.tasks}, model)
    theme = gr.themes.Default(font="sans-serif", font_mono="monospace")
    has_mcp = importlib.util.find_spec("mcp") is not None  # of gradio[mcp], which a Space on the Hub has
    page.launch(css=CSS, theme=theme, app_kwargs={"middleware": [(LimitRequests, (), {})]}, mcp_server=has_mcp)


if __name__ == "__main__":
    main(sys.argv[1:])
