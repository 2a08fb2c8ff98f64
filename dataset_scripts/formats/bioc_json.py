"""BioC in JSON: the parts of BioC XML under the same names.

    {"documents": [{"id": "1", "passages": [{"offset": 0, "text": "Gout.", "annotations": [{"text": "Gout",
      "infons": {"type": "Disease"}, "locations": [{"offset": 0, "length": 4}]}]}]}]}
A file holds a collection, a list of them, `{"PubTator3": [documents]}`, or one document a line (`.biocjson`).
Source: https://github.com/bionlplab/bioc; https://www.ncbi.nlm.nih.gov/research/pubtator3/api
"""

from collections.abc import Iterable, Iterator

from dataset_scripts.formats.bioc import Node, build_documents, convert_document
from dataset_scripts.formats.files import FilePath
from dataset_scripts.formats.json_records import Record, check_list, write_json_list
from dataset_scripts.schema import CorpusError, Document, RawDocument


_COLLECTIONS = ("documents", "PubTator3")  # keys of lists of documents


def is_bioc_record(record: Record) -> bool:
    """Whether a record is a collection, or a document; one with a `text` is this project's, with its passages."""
    keys = _COLLECTIONS if "text" in record.fields else (*_COLLECTIONS, "passages")
    return any(isinstance(record.fields.get(key), list) for key in keys)


def read_bioc_json(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read BioC JSON; see `bioc.build_documents`."""
    return build_documents(node for record in records for node in _list_documents(record))


def _list_documents(record: Record) -> Iterator[Node]:
    key = next((key for key in _COLLECTIONS if key in record.fields), None)
    for node in check_list(record.fields[key], key, record.where) if key else [record.value]:
        if not isinstance(node, dict) or "passages" not in node:
            raise CorpusError(f"{record.where}: {node!r:.60}; expected a document with id and passages")
        yield {**node, "where": record.where}


def write_bioc_json(documents: Iterable[Document], path: FilePath) -> None:
    """Write one collection as `write_bioc` does; gzip if the name ends so."""
    before = '{"source": "MTL-BioNER", "date": "", "key": "", "infons": {}, "documents": ['
    write_json_list(map(_format_document, documents), path, before, "]}")


def _format_document(document: Document) -> Node:
    node = convert_document(document)
    passages = [{**passage, "sentences": [], "relations": []} for passage in node["passages"]]
    return {"id": node["id"], "infons": {}, "passages": passages, "annotations": node["annotations"], "relations": []}
