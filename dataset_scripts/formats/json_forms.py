"""Tell by its keys which tool wrote a JSON file, and read it."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from dataset_scripts.formats.bioc_json import is_bioc_record, read_bioc_json
from dataset_scripts.formats.doccano import is_doccano_record, read_doccano
from dataset_scripts.formats.files import FilePath
from dataset_scripts.formats.gliner import is_gliner_record, read_gliner
from dataset_scripts.formats.json_records import Record, read_json_records
from dataset_scripts.formats.jsonl import is_own_record, read_own_records
from dataset_scripts.formats.label_studio import (
    is_label_studio_min,
    is_label_studio_task,
    read_label_studio,
    read_label_studio_min,
)
from dataset_scripts.formats.prodigy import is_prodigy_record, read_prodigy
from dataset_scripts.formats.spacy_json import is_spacy_record, read_spacy_json
from dataset_scripts.formats.tagged_tokens import is_tagged_record, read_tagged
from dataset_scripts.schema import DETECT, CorpusError, RawDocument, ReadOptions


logger = logging.getLogger(__name__)


class _Form(NamedTuple):
    name: str
    fits: Callable[[Record], bool]  # whether the keys of a record show this form
    read: Callable[[Iterable[Record]], Iterator[RawDocument]]


def _list_forms(options: ReadOptions) -> list[_Form]:
    """List the forms; of several that fit a record, the first is taken."""
    return [
        _Form("this project", is_own_record, read_own_records),
        _Form("BioC JSON", is_bioc_record, read_bioc_json),
        _Form("Label Studio JSON", is_label_studio_task, read_label_studio),
        _Form("Label Studio JSON-MIN", is_label_studio_min, read_label_studio_min),
        _Form("GLiNER", is_gliner_record, read_gliner),
        _Form("Prodigy", is_prodigy_record, read_prodigy),
        _Form("doccano", is_doccano_record, read_doccano),
        _Form("spaCy", is_spacy_record, read_spacy_json),
        _Form("tokens and tags", partial(is_tagged_record, options=options), partial(read_tagged, options=options)),
    ]


def read_json(path: FilePath, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read JSONL or a JSON list in the form that the keys of its first record with mentions show.

    A file that shows none is read as this project's own form. A later record of another form raises CorpusError.
    """
    forms = _list_forms(options)
    records = read_json_records(path)
    undecided: list[Record] = []  # records before the first that shows its form, as texts without mentions
    for record in records:
        fitting = [form for form in forms if form.fits(record)]
        if fitting:
            break
        if not undecided:
            _check_text_is_there(record, forms)
        undecided.append(record)
    else:
        return read_own_records(undecided)
    if len(fitting) > 1:
        names = " and ".join(form.name for form in fitting[1:])
        logger.warning("%s: read in the form of %s; its keys also fit %s", record.where, fitting[0].name, names)
    return fitting[0].read(itertools.chain(undecided, [record], _check_form(records, fitting[0], forms, record.where)))


def _check_text_is_there(record: Record, forms: list[_Form]) -> None:
    """Refuse a file whose first record is of no form, not even a text without mentions."""
    if not any(key in record.fields for key in ("text", "data")):
        keys = f"the keys {list(record.fields)!r:.100}" if record.fields else f"{record.value!r:.60}"
        names = ", ".join(form.name for form in forms)
        expected = f"expected text and entities, or a record in the form of {names}"
        raise CorpusError(f"{record.where}: {keys}; {expected} (if the file is no corpus, move it elsewhere)")


def _check_form(records: Iterable[Record], chosen: _Form, forms: list[_Form], where: str) -> Iterator[Record]:
    for record in records:
        if not chosen.fits(record) and (other := next((form.name for form in forms if form.fits(record)), None)):
            problem = f"{record.where}: a record in the form of {other}, where {where} has the form of {chosen.name}"
            raise CorpusError(f"{problem}; put them into files of their own")
        yield record
