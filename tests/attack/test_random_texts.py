"""Random Unicode texts through words, windows and decoding: no offset is wrong. `make attack` tries a million."""

import random
from typing import Any

import pytest
import torch
from cases import IS_LONG, Cases

from modeling_mtl_bioner import MtlBionerPipeline
from mtl_bioner.training.model_building import build_model


pytestmark = pytest.mark.slow

BATCH = 250  # texts of one call
TASKS = [{"name": "a", "types": ["Gene", "Disease"]}, {"name": "b", "types": ["Chemical"]}]
# Scripts with and without spaces, marks that combine, joined emoji, all kinds of spaces and line ends, controls,
# characters that change the direction, halves of surrogate pairs, private and unassigned ones.
SCRIPTS = """
Gout p53 IL-2 BRCA1 cancer naïve étude e\u0301 o\u0308\u0323 \u0301 Straße İstanbul ﬁ Ⅻ ½ µg α-β 𝐀 𝔊 10\u00b3 ☠ ‰
肝炎 が か\u3099 カ゚ 한국어 각 ไทย ລາວ မြန်မာ ខ្មែរ हिन्दी க்ஷ עברית العربية لا ـ \u0600 ߊ \U000e0041
🧬 👩🏽\u200d🔬 🇩🇪 1\ufe0f\u20e3 \U0001f469\u200d\U0001f4bb [MASK] [CLS] ##in </s> <unk> ▁ Ġ http://a.b/?c=d
( ) . , ; - / ' " & < > _ __ ... —"""
PIECES = SCRIPTS.split()
ODD = [" ", " ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "\x0b", "\x1c", "\u200b",
       "\u200d", "\u2060", "\ufeff", "\xad", "\x00", "\x07", "\x1b[0m", "\x7f", "\u202e", "\u2066", "\ud800",
       "\udfff", "\ufffe", "\ufffd", "\ue000", "\u0378", "\ufe0f", "\U0010ffff", "\U0001f1e6", "\u1680",
       "\u180e"]  # fmt: skip


def make_text(rng: random.Random) -> str:
    """Pieces and odd characters, and now and then code points of all kinds."""
    pieces = rng.choices(PIECES, k=rng.randrange(8))
    pieces += rng.choices(ODD, k=rng.randrange(5))
    if rng.random() < 0.3:
        top = rng.choice([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000])
        pieces += [chr(rng.randrange(top)) for _ in range(rng.randrange(5))]
    rng.shuffle(pieces)
    return rng.choice(["", " "]).join(pieces) if rng.random() < 0.97 else "".join(pieces) * rng.randrange(20)


def check_windows(item: dict[str, Any], capacity: int) -> None:
    """Words hold all that is no space, cores hold each word once, positions lie in their window."""
    text, words = item["text"], item["words"]
    at = 0
    for start, end in words:
        assert at <= start < end and not text[at:start].strip(), (text, words)
        at = end
    assert at <= len(text) and not text[at:].strip(), (text, words)
    at = 0
    for window in item["windows"]:
        assert window.core[0] == at < window.core[1], (text, window)
        at = window.core[1]
        places = [place for place in window.positions if place >= 0]
        assert len(window.positions) == window.core[1] - window.core[0] == len(window.sizes)
        assert places == sorted(set(places)) and all(0 < place < len(window.input_ids) - 1 for place in places)
        assert len(window.input_ids) <= capacity
    assert at == len(words), (text, item["windows"])


def check_entities(item: dict[str, Any], entities: list[dict[str, Any]]) -> None:
    """Each entity is its text, from the begin of a word to the end of one; one task's don't overlap."""
    text = item["text"]
    starts, ends = ({word[side] for word in item["words"]} for side in (0, 1))
    reached = dict.fromkeys("ab", 0)
    for entity in entities:
        start, end = entity["start"], entity["end"]
        assert 0 <= start < end <= len(text) and text[start:end] == entity["word"], (text, entity)
        assert start in starts and end in ends and start >= reached[entity["task"]], (text, entity)
        assert 0 < entity["score"] < 1
        reached[entity["task"]] = end


@pytest.mark.parametrize("pattern", ["", r"[.!?]\s+|\n"], ids=["running", "sentences"])
def test_random_texts(toy_encoder, toy_tokenizer, encoder_type, cases: Cases, pattern):
    torch.manual_seed(0)
    options = {"max_seq_length": 24, "context_size": 4, "sentence_pattern": pattern}
    model = build_model(toy_encoder(encoder_type), TASKS, **options).eval()
    for head in model.heads.values():  # so that it finds something
        torch.nn.init.normal_(head.weight)
    ner, items, found = MtlBionerPipeline(model=model, tokenizer=toy_tokenizer(encoder_type)), [], 0
    preprocess = ner.preprocess
    ner.preprocess = lambda *arguments: items.append(preprocess(*arguments)) or items[-1]  # type: ignore[method-assign]
    for rng in cases.seeds(4 if IS_LONG else 1, most=400):  # in each of ten tests
        texts = [make_text(rng) for _ in range(BATCH)]
        items.clear()
        with cases.case(number=BATCH):
            results = ner(texts)
            assert [item["text"] for item in items] == texts and len(results) == BATCH
            for item, entities in zip(items, results, strict=True):
                check_windows(item, model.config.max_seq_length)
                check_entities(item, entities)
            found += sum(map(len, results))
            alone = rng.randrange(BATCH)
            assert [(e["start"], e["end"], e["task"]) for e in ner(texts[alone])] == [
                (e["start"], e["end"], e["task"]) for e in results[alone]
            ], texts[alone]
    assert found > cases.number / 2
