"""Documents to words and BIO tags, and back.

`encode_bio` and `decode_bio` are inverse to each other on flat, alignable entities. Whatever a flat tag sequence can't
hold (nested, crossing or unaligned mentions) is left out and counted, never moved.
"""

import itertools
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import regex

from dataset_scripts.schema import CROSSING, NESTED, NOT_ALIGNABLE, CorpusError, Document, Entity, Span


# A run of letters and digits (with their accents, where these are characters of their own), or any other single
# character that is no space; each character of a script without spaces (Thai, Lao, Myanmar, Khmer, kana, Han) is a
# word. Kept equal to the default of the model's config (`modeling_mtl_bioner.py` can't import
# this module: it travels to the Hub alone); a test ties the two.
DEFAULT_WORD_PATTERN = (
    r"(?:[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff][\u0300-\u036f]*)+|\S"
)

# A sentence ends after . ! ? (and closing brackets or quotes) before a space and then a capital, a digit or an opening
# bracket; not after a single capital ("J. Smith") or a common abbreviation. It ends at a line break too, but for one
# inside a sentence, of text in lines of a fixed width: after none of . ! ? : and before a small letter.
SENTENCE_PATTERN = (
    r"\n+(?![ \t]*[a-z])|(?<=:)\s*\n+|(?<=[.!?])(?<![ (][A-Z]\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)(?<!\bcf\.)"
    r"(?<!\bal\.)(?<!\bFig\.)(?<!\bno\.)[\])\"']*(?:\s*\n+|\s+(?=[A-Z0-9(\[]))"
)

# Word patterns of new models and of those of 0.1. Others are matched by `regex`, for it knows a time limit; its `\w`
# holds combining marks, and no superscripts.
OWN_PATTERNS = (DEFAULT_WORD_PATTERN, r"(?:[^\W_][\u0300-\u036f]*)+|\S")
SECONDS = 5.0  # that a pattern other than the default may take for a text, and one more for 100,000 characters


def split_words(text: str, pattern: str = DEFAULT_WORD_PATTERN) -> list[Span]:
    """Return the half-open character offsets of the words of a text, in order; words never overlap.

    Raises CorpusError for a pattern, such as that of a foreign model, that backtracks without end.
    """
    if pattern in OWN_PATTERNS:
        return [match.span() for match in re.finditer(pattern, text)]
    try:
        return [match.span() for match in regex.finditer(pattern, text, timeout=SECONDS + len(text) / 100_000)]
    except TimeoutError:
        problem = f"takes too long for a text of {len(text)} characters"
        raise CorpusError(f"word_pattern {pattern!r} {problem}; give a simpler one") from None


def split_sentences(text: str) -> list[Span]:
    """Return the half-open offsets of sentences, without white space around them; together they hold every word."""
    boundaries = [0, *(match.end() for match in re.finditer(SENTENCE_PATTERN, text)), len(text)]
    pieces = ((start, end, text[start:end]) for start, end in itertools.pairwise(boundaries))
    return [(end - len(piece.lstrip()), start + len(piece.rstrip())) for start, end, piece in pieces if piece.strip()]


def find_words(document: Document, pattern: str = DEFAULT_WORD_PATTERN) -> list[Span]:
    """Return `split_words` of a document's text, computed once for each pattern.

    The document keeps the offsets as two arrays: 8 bytes a word, where a list of tuples takes 120.
    """
    key = (pattern, document.text)
    if document.word_offsets is None:
        document.word_offsets = {}
    if key not in document.word_offsets:
        columns = zip(*split_words(document.text, pattern), strict=True)
        document.word_offsets[key] = [array("I", column) for column in columns]
    return list(zip(*document.word_offsets[key], strict=True))


def label_words(
    document: Document, pattern: str = DEFAULT_WORD_PATTERN, types: Collection[str] | None = None
) -> tuple[list[Span], list[str], Counter[str]]:
    """Return the words and BIO tags of a document, and the number of entities lost by cause.

    Only entities of the given types are labelled, by default all: a task may be trained on some types of a corpus.
    """
    entities, lost = flatten(e for e in document.entities if types is None or e.type in types)
    words = find_words(document, pattern)
    tags, unaligned = encode_bio(words, entities)
    return words, tags, lost + unaligned


def count_label_losses(document: Document, pattern: str = DEFAULT_WORD_PATTERN) -> Counter[str]:
    """Return the number of entities that BIO tags can't hold by cause, as `label_words` does; keep no words."""
    entities, lost = flatten(document.entities)
    if entities:
        lost += encode_bio(split_words(document.text, pattern), entities)[1]
    return lost


def flatten(entities: Iterable[Entity]) -> tuple[list[Entity], Counter[str]]:
    """Return the entities that one flat tag sequence can hold, and the number of the others by cause.

    Of nested entities only the outermost is kept; of crossing entities, the first; of entities with the same span,
    the first by type name, and the others count as nested.
    """
    kept: list[Entity] = []
    lost: Counter[str] = Counter()
    for entity in sorted(entities, key=lambda entity: (entity.start, -entity.end, entity.type)):
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
        else:
            lost[NESTED if entity.end <= kept[-1].end else CROSSING] += 1
    return kept, lost


def encode_bio(words: Sequence[Span], entities: Iterable[Entity]) -> tuple[list[str], Counter[str]]:
    """Return the tags of words in ascending order, and the number of (flat) entities that don't fit the words."""
    word_at_start = {start: index for index, (start, _) in enumerate(words)}
    word_at_end = {end: index for index, (_, end) in enumerate(words)}
    tags, lost = ["O"] * len(words), Counter()
    for entity in entities:
        first, last = word_at_start.get(entity.start), word_at_end.get(entity.end)
        if first is None or last is None:
            lost[NOT_ALIGNABLE] += 1
        else:
            tags[first : last + 1] = [f"B-{entity.type}", *[f"I-{entity.type}"] * (last - first)]
    return tags, lost


def decode_bio(words: Sequence[Span], tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a tag sequence. Strict IOB2: an `I-X` that continues no entity of type X is ignored."""
    if len(words) != len(tags):
        raise ValueError(f"{len(tags)} tags for {len(words)} words; one tag a word is needed")
    entities: list[Entity] = []
    open_type = ""
    for (start, end), tag in zip(words, tags, strict=True):
        prefix, _, type_name = tag.partition("-")
        if prefix == "I" and type_name == open_type:
            entities[-1] = Entity(entities[-1].start, end, type_name)
            continue
        open_type = type_name if prefix == "B" else ""
        if prefix == "B":
            entities.append(Entity(start, end, type_name))
    return entities
