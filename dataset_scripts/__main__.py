"""Look at corpora and convert them.

    python -m dataset_scripts list
    python -m dataset_scripts stats [CORPUS ...] [--data_dir D] [--json]
    python -m dataset_scripts export CORPUS [--data_dir D] --to conll|jsonl|parquet|pubtator|bioc|brat --output DIR

A CORPUS is a registered name or the path of a corpus of your own.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset_scripts.bio import DEFAULT_WORD_PATTERN

from .export import FORMATS, export_corpus
from .registry import corpus_root, file_ledgers, get_corpus, list_corpora, load_corpus
from .schema import CorpusError, Ledger


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 2 after a one-line error on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (CorpusError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dataset_scripts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("list", help="the registered corpora").set_defaults(run=_list)

    stats = commands.add_parser("stats", help="mentions read, kept and dropped by cause, for each official split")
    stats.add_argument("corpora", nargs="*", metavar="CORPUS", help="default: every registered one")
    stats.add_argument("--json", action="store_true", help="JSON on stdout instead of a table")
    stats.set_defaults(run=_stats)

    export = commands.add_parser("export", help="write a corpus in another format")
    export.add_argument("corpus", metavar="CORPUS")
    export.add_argument("--to", required=True, choices=FORMATS)
    export.add_argument("--output", required=True, metavar="DIR", help="a new or empty folder")
    export.add_argument("--native_types", action="store_true", help="the corpus' own type names")
    export.add_argument("--test_size", type=float, help="pool all documents and hold out this share of them")
    export.add_argument("--dev_size", type=float, default=0.1, help="share cut from training where no dev split is")
    export.add_argument("--seed", type=int, default=42, help="of the cuts")
    export.set_defaults(run=_export)

    for command in (stats, export):
        command.add_argument("--data_dir", help="holds ncbi_disease/ and so on; 'sample' is embedded; else downloaded")
        command.add_argument("--word_pattern", default=DEFAULT_WORD_PATTERN, help="regular expression of a word")
    return parser


def _list(arguments: argparse.Namespace) -> None:
    rows = [("corpus", "title", "types", "folder", "terms")]
    for name in list_corpora():
        info = get_corpus(name)
        rows.append((name, info.title, ", ".join(info.types), f"{info.folder}/", info.licence))
    _print_table(rows)
    infos = [get_corpus(name) for name in list_corpora()]
    places = [(f"{Path(info.folder, own.into)}/", own.url) for info in infos for own in info.archives]
    print()
    _print_table([("unpack in", "archive"), *places])


def _stats(arguments: argparse.Namespace) -> None:
    found: dict[str, dict[str, Ledger]] = {}
    for name in arguments.corpora or list_corpora():
        try:
            found[name] = file_ledgers(name, arguments.data_dir, word_pattern=arguments.word_pattern)
        except CorpusError as error:
            if arguments.corpora or not _is_absent(name, arguments.data_dir):
                raise
            print(f"note: left out: {error}", file=sys.stderr)
    if not found:
        raise CorpusError(f"--data_dir {arguments.data_dir}: no corpus there; it should hold ncbi_disease/ and so on")
    if arguments.json:
        shown = {name: {split: own.as_dict() for split, own in ledgers.items()} for name, ledgers in found.items()}
        print(json.dumps(shown, indent=2))
    else:
        _print_stats(found)


def _is_absent(name: str, data_dir: str | None) -> bool:
    """Whether the corpus' files just aren't there, as opposed to there and broken."""
    if data_dir is None:
        return False
    try:
        get_corpus(name).find(corpus_root(data_dir))
    except CorpusError:
        return corpus_root(data_dir).is_dir()
    return False


def _print_stats(found: Mapping[str, Mapping[str, Ledger]]) -> None:
    rows = [("corpus", "split", "documents", "read", "kept", "dropped", "types")]
    for name, ledgers in found.items():
        for split, ledger in ledgers.items():
            numbers = (f"{number:,}" for number in (ledger.documents, ledger.read, ledger.kept))
            rows.append((name, split, *numbers, _counted(ledger.dropped), _counted(ledger.types)))
    _print_table(rows)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items())) or "-"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _export(arguments: argparse.Namespace) -> None:
    corpus = load_corpus(
        arguments.corpus,
        arguments.data_dir,
        test_size=arguments.test_size,
        dev_size=arguments.dev_size,
        seed=arguments.seed,
        word_pattern=arguments.word_pattern,
        native_types=arguments.native_types,
    )
    folder = export_corpus(corpus, arguments.to, arguments.output)
    written = ", ".join(f"{split} {len(documents):,}" for split, documents in corpus.splits.items())
    print(f"{folder}: {written} documents")


if __name__ == "__main__":
    sys.exit(main())
