"""spaCy's binary training data: a DocBin of documents with entities, in `.spacy` files.

Needs the library spacy, which is loaded when such a file is read or written.
Source: https://spacy.io/api/data-formats#binary-training
"""

import logging
from collections.abc import Iterable, Iterator
from types import ModuleType

from dataset_scripts.bio import DEFAULT_WORD_PATTERN, decode_bio, label_words
from dataset_scripts.formats.files import FilePath, get_stem, open_file, write_then_rename
from dataset_scripts.formats.json_records import check_text, check_type
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument


logger = logging.getLogger(__name__)


def _load_spacy(path: FilePath) -> ModuleType:
    try:
        import spacy.tokens
    except ImportError as error:
        raise CorpusError(f"{path}: .spacy files need the library spacy ({error}); pip install spacy") from None
    return spacy


def read_spacy(path: FilePath) -> Iterator[RawDocument]:
    """Read the entities of each document; span groups are not read, and a warning counts them."""
    spacy = _load_spacy(path)
    with open_file(path) as file:
        data = file.read()
    try:
        docs = spacy.tokens.DocBin().from_bytes(data).get_docs(spacy.blank("xx").vocab)
        docs = list(docs)
    except Exception as error:  # zlib, msgpack and spaCy raise many kinds for damaged data
        raise CorpusError(f"{path}: no DocBin of spaCy ({str(error)[:100]}); write it again") from error
    grouped = 0
    for number, doc in enumerate(docs, 1):
        where = f"{path}:{number}"  # the number of the document, since a binary file has no lines
        mentions = []
        for entity in doc.ents:
            name = check_type(entity.label_, where)
            mentions.append(Mention(((entity.start_char, entity.end_char),), name, entity.text, where))
        stated = doc.user_data.get("document_id")
        document_id = stated if isinstance(stated, str) and stated else f"{get_stem(path)}-{number}"
        grouped += sum(map(len, doc.spans.values()))
        yield RawDocument(document_id, check_text(doc.text, where), mentions, where=where)
    if grouped:
        logger.warning("%s: %d spans of span groups are not read, only entities (doc.ents) are", path, grouped)


def write_spacy(documents: Iterable[Document], path: FilePath, word_pattern: str = DEFAULT_WORD_PATTERN) -> None:
    """Write a DocBin for `spacy train`; it holds the words of `word_pattern` and the mentions that BIO tags hold.

    The document id is in `doc.user_data["document_id"]`.
    """
    spacy = _load_spacy(path)
    vocab, doc_bin = spacy.blank("xx").vocab, spacy.tokens.DocBin(store_user_data=True)
    for document in documents:
        words, tags, _ = label_words(document, word_pattern)
        doc = spacy.tokens.Doc(vocab, *_split_tokens(document.text, words))
        doc.ents = [doc.char_span(e.start, e.end, e.type) for e in decode_bio(words, tags)]
        doc.user_data["document_id"] = document.document_id
        doc_bin.add(doc)
    with write_then_rename(path) as temporary:
        temporary.write_bytes(doc_bin.to_bytes())


def _split_tokens(text: str, words: Iterable[tuple[int, int]]) -> tuple[list[str], list[bool]]:
    """Return tokens, and whether a space follows each; what else stands between words is a token too."""
    tokens: list[str] = []
    spaces: list[bool] = []
    at = 0
    for start, end in (*words, (len(text), len(text))):
        if tokens and text[at:start].startswith(" "):
            spaces[-1], at = True, at + 1
        pieces = [piece for piece in (text[at:start], text[start:end]) if piece]
        tokens += pieces
        spaces += [False] * len(pieces)
        at = end
    return tokens, spaces
