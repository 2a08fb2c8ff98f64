"""Write annotated documents as pages to look at, and an index of them."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset_scripts.formats.files import write_text
from mtl_bioner.annotation.engine import Annotated
from mtl_bioner.annotation.run_folder import PartRecord
from mtl_bioner.reporting.entity_page import build_entity_page, escape_name, write_policy


INDEX = "index.html"
_STYLE = "body {font: 15px/1.5 system-ui, sans-serif; margin: 2em} td, th {padding: 2px 12px; text-align: left}"


def write_page(annotated: Sequence[Annotated], path: Path) -> None:
    """Write the page of a part."""
    documents = (
        {"document_id": document.document_id, "text": document.text, "entities": entities}
        for document, entities in annotated
    )
    write_text(path, [build_entity_page(path.stem, documents)])


def write_index(output: Path, records: Mapping[int, PartRecord], types: Counter[str]) -> None:
    """Write `index.html`, which links the parts and counts their entities."""
    counts = "".join(f"<tr><td>{escape_name(name)}<td>{number:,}\n" for name, number in types.most_common())
    rows = "".join(
        f'<tr><td><a href="{html.escape(record.file)}">{html.escape(record.file)}</a><td>{record.documents:,}'
        f"<td>{sum(record.entities.values()):,}\n"
        for _, record in sorted(records.items())
    )
    style = f"<style>{_STYLE}</style>"
    documents = sum(record.documents for record in records.values())
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" '
        f'content="{write_policy(style)}">\n<title>Annotated documents</title>\n{style}\n'
        f"<h1>{documents:,} annotated documents</h1>\n<table>\n<tr><th>Type<th>Entities\n{counts}</table>\n"
        f"<h2>Parts</h2>\n<table>\n<tr><th>Page<th>Documents<th>Entities\n{rows}</table>\n</html>\n"
    )
    write_text(output / INDEX, [page])
