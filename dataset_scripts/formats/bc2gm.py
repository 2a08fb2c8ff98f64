"""BioCreative II Gene Mention: sentences, gold and alternative mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from dataset_scripts.formats.files import _BLANK, FilePath, _columns, _lines
from dataset_scripts.schema import CorpusError, Mention, RawDocument


_BC2GM_MENTION = re.compile(r"([^|]+)\|([0-9]{1,15})[ \t]+([0-9]{1,15})\|(.*)", re.DOTALL)


def read_bc2gm(
    in_path: FilePath, gene_path: FilePath, altgene_path: FilePath | None = None, idmap_path: FilePath | None = None
) -> Iterator[RawDocument]:
    """Read BioCreative II gene mentions: one sentence is one document, every mention has the type `GENE`.

    The files' offsets count no spaces and their end is inclusive; here they become ordinary half-open ones.

    Args:
        in_path: lines `ID sentence`.
        gene_path: lines `ID|start end|text`, the gold mentions.
        altgene_path: the same for other acceptable spans, which become `alternatives`.
        idmap_path: lines `P-id ID`; the test sentences' ids tell no PMID, theirs do.

    Raises:
        CorpusError: a malformed line, offsets outside the sentence, a mention of an unknown sentence (raised last).
    """
    genes = _bc2gm_mentions(gene_path)
    alternatives = _bc2gm_mentions(altgene_path) if altgene_path else {}
    pmid_ids = _bc2gm_idmap(idmap_path) if idmap_path else {}
    seen: set[str] = set()
    for where, line in _lines(in_path):
        if not line.strip(_BLANK):
            continue
        sentence_id, space, sentence = line.partition(" ")
        if not space or not sentence_id or sentence_id in seen:
            problem = f"sentence id {sentence_id!r} a second time" if sentence_id in seen else f"{line[:60]!r}"
            raise CorpusError(f"{where}: {problem}; expected a unique sentence id, a space and the sentence")
        seen.add(sentence_id)
        mentions, others = (_with_spaces(sentence, m.pop(sentence_id, ())) for m in (genes, alternatives))
        yield RawDocument(sentence_id, sentence, mentions, others, _bc2gm_group(sentence_id, pmid_ids), where)
    for unknown_id, (mention, *_) in (genes | alternatives).items():
        raise CorpusError(
            f"{mention.where}: sentence id {unknown_id!r} is not in {in_path}; check that the files match"
        )


def _bc2gm_mentions(path: FilePath) -> dict[str, list[Mention]]:
    """Mentions by sentence id; their offsets are half-open here, but still count no spaces."""
    mentions: dict[str, list[Mention]] = {}
    for where, line in _lines(path):
        if not line.strip(_BLANK):
            continue
        match = _BC2GM_MENTION.fullmatch(line)
        if match is None:
            raise CorpusError(f"{where}: {line[:60]!r}; expected ID|START END|TEXT")
        mention = Mention(((int(match[2]), int(match[3]) + 1),), "GENE", match[4], where)
        mentions.setdefault(match[1], []).append(mention)
    return mentions


def _with_spaces(sentence: str, mentions: Iterable[Mention]) -> list[Mention]:
    """The mentions with offsets that count spaces too."""
    mentions = list(mentions)
    if not mentions:
        return []
    positions = [index for index, character in enumerate(sentence) if character != " "]
    converted = []
    for mention in mentions:
        ((start, end),) = mention.spans
        if not start < end <= len(positions):
            raise CorpusError(
                f"{mention.where}: offsets {start} {end - 1} are not inside the sentence, which has {len(positions)} "
                "characters without its spaces; expected START <= END, both counted from 0 without spaces"
            )
        converted.append(replace(mention, spans=((positions[start], positions[end - 1] + 1),)))
    return converted


def _bc2gm_idmap(path: FilePath) -> dict[str, str]:
    ids: dict[str, str] = {}
    for where, line in _lines(path):
        columns = _columns(line)
        if len(columns) == 2:
            ids[columns[1]] = columns[0]
        elif columns != [""]:
            raise CorpusError(f"{where}: {len(columns)} columns; expected the id with the PMID and the test file's id")
    return ids


def _bc2gm_group(sentence_id: str, pmid_ids: dict[str, str]) -> str:
    """The PMID inside an id such as P00001606T0076 (T title, A abstract, X unknown), "" if there is none."""
    match = re.match(r"P([0-9]+)[A-Z]", pmid_ids.get(sentence_id, sentence_id))
    return match[1] if match else ""


def _read_bc2gm_folder(in_path: Path) -> Iterator[RawDocument]:
    genes = _beside(in_path, "GENE.eval")
    if genes is None:
        raise CorpusError(f"{in_path}: no GENE.eval beside it; put the gold mentions there or call read_bc2gm")
    idmap = _beside(in_path, f"{_stem(in_path)}.idmap")
    return read_bc2gm(in_path, genes, _beside(in_path, "ALTGENE.eval"), idmap)


def find_companion_files(path: Path) -> list[Path]:
    """The file, and those beside it that `read_any` reads with it: gold mentions and ids of BC2GM."""
    if not re.search(r"\.in(\.gz)?$", path.name, re.IGNORECASE):
        return [path]
    names = ("GENE.eval", "ALTGENE.eval", f"{_stem(path)}.idmap")
    return [path, *filter(None, (_beside(path, name) for name in names))]


def _beside(path: Path, name: str) -> Path | None:
    candidates = (path.with_name(name), path.with_name(f"{name}.gz"))
    return next(filter(Path.exists, candidates), None)


def _stem(path: Path) -> str:
    return Path(re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)).stem
