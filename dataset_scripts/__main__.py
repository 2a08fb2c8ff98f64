"""Look at corpora and convert them.

    mtl-bioner corpora list
    mtl-bioner corpora stats [CORPUS ...] [--data_dir D] [--json] [--overlap] [--figure FILE.png]
    mtl-bioner corpora export CORPUS [--data_dir D] --to FORMAT --output DIR
    mtl-bioner corpora convert IN OUT --to FORMAT
    mtl-bioner corpora fix-offsets IN OUT [--as utf-16|bytes|inclusive|shift|...]

A CORPUS is a registered name, the path of a corpus of your own, or a data set on the Hub: hf:OWNER/NAME[:CONFIG].
`export` harmonises types and cuts missing splits; `convert` writes a file or folder as it is. `export --help` lists
the formats. `python -m dataset_scripts` takes the same commands, and needs no torch.
"""

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from dataset_scripts.bio import DEFAULT_WORD_PATTERN
from dataset_scripts.convert import convert
from dataset_scripts.corpora import CORPORA
from dataset_scripts.export import FORMATS, export_corpus
from dataset_scripts.figures import draw_corpora, import_pyplot
from dataset_scripts.fix_offsets import fix_offsets
from dataset_scripts.formats.files import format_count
from dataset_scripts.formats.tags import SCHEMES
from dataset_scripts.loading import check_arguments, count_mentions, find_data_dir, load_corpus, read_splits
from dataset_scripts.messages import escape_controls, set_up_logging
from dataset_scripts.offsets import NAMES
from dataset_scripts.overlap import Overlap, compute_overlap, format_matrix
from dataset_scripts.schema import CorpusError, Document, Ledger, ReadOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 if something was left out, or 2 after a one-line error on stderr."""
    parser = argparse.ArgumentParser(
        prog="mtl-bioner corpora", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_commands(parser.add_subparsers(required=True, metavar="COMMAND"))
    return run_command(parser.parse_args(argv))


def run_command(arguments: argparse.Namespace) -> int:
    """Run the command of arguments that a parser with `add_commands` parsed; return the exit status."""
    set_up_logging(logging.WARNING, "%(levelname)s: %(message)s")
    try:
        return arguments.run(arguments) or 0
    except (CorpusError, OSError) as error:
        print(f"error: {escape_controls(str(error))}", file=sys.stderr)
        return 2


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the commands to the sub-commands of any parser, whose `prog` then begins their usage."""
    subparsers.add_parser("list", help="the registered corpora").set_defaults(run=_list)

    stats = subparsers.add_parser("stats", help="mentions read, kept and dropped by cause, for each official split")
    stats.add_argument("corpora", nargs="*", metavar="CORPUS", help="default: every registered one")
    stats.add_argument("--json", action="store_true", help="JSON on stdout instead of a table")
    stats.add_argument("--overlap", action="store_true", help="also how many texts and mention strings corpora share")
    stats.add_argument("--figure", type=Path, metavar="FILE.png", help="also draw all this, and mention lengths")
    stats.set_defaults(run=_show_stats)

    export = subparsers.add_parser("export", help="write a corpus in another format")
    export.add_argument("corpus", metavar="CORPUS")
    export.add_argument("--to", required=True, choices=FORMATS)
    export.add_argument("--output", required=True, metavar="DIR", help="a new or empty folder")
    export.add_argument("--native_types", action="store_true", help="keep the corpus' own type names")
    export.add_argument("--test_size", type=float, help="pool all documents and hold out this share of them")
    export.add_argument("--dev_size", type=float, default=0.1, help="share cut from training if there is no dev split")
    export.add_argument("--seed", type=int, default=42, help="seed of the cuts")
    export.set_defaults(run=_export)

    conversion = subparsers.add_parser("convert", help="write a file or folder in another format, no split cut")
    conversion.add_argument("source", metavar="IN", help="a file in any format, or a folder of files named by split")
    conversion.add_argument("output", metavar="OUT", help="a new file with the ending of the format, or a new folder")
    conversion.add_argument("--to", required=True, choices=FORMATS)
    conversion.set_defaults(run=_convert)

    _add_fix_offsets(subparsers)
    for command in (stats, export):
        command.add_argument("--data_dir", help="holds ncbi_disease/ and so on; 'sample' is embedded; else downloaded")
    for command in (stats, export, conversion):
        command.add_argument("--tag_column", help="column of the tags: in CoNLL its number (-1: last), else its name")
        command.add_argument("--token_column", help="column of the tokens, in the same way")
        command.add_argument("--tag_scheme", choices=SCHEMES, help="of the tags; default: detected")
        command.add_argument("--strict", action="store_true", help="refuse empty, untyped and misplaced mentions")
        command.add_argument("--allow_losses", action="store_true", help="accept corpora that lose most mentions")
        command.add_argument("--word_pattern", default=DEFAULT_WORD_PATTERN, help="regular expression of a word")


def _list(arguments: argparse.Namespace) -> None:
    infos = CORPORA.values()
    rows = [(info.name, info.title, ", ".join(info.types), f"{info.folder}/", info.licence) for info in infos]
    _print_table([("corpus", "title", "types", "folder", "terms"), *rows])
    print()
    archives = [(f"{Path(info.folder, archive.into)}/", archive.url) for info in infos for archive in info.archives]
    _print_table([("unpack in", "archive"), *archives])


def _show_stats(arguments: argparse.Namespace) -> None:
    if arguments.figure:
        import_pyplot(arguments.figure)  # to fail before the reading
    names = arguments.corpora or _list_present(arguments.data_dir)
    check_arguments(None, 0.1, arguments.word_pattern)
    compares = arguments.overlap or arguments.figure
    ledgers: dict[str, dict[str, Ledger]] = {}
    documents: dict[str, list[Document]] = {}  # as far as they are compared
    for name in names:
        splits = read_splits(name, arguments.data_dir, _get_options(arguments))
        ledgers[name] = {split: count_mentions(splits[split], arguments.word_pattern) for split in splits}
        documents[name] = [*itertools.chain(*splits.values())] if compares else []
        info = CORPORA.get(name)
        if edition := info and info.name_edition({split: ledger.read for split, ledger in ledgers[name].items()}):
            print(f"note: {name}: this is {edition}", file=sys.stderr)
    overlap = _compare(ledgers, documents, arguments) if compares else None
    if arguments.json:
        more = {"overlap": overlap.as_dict()} if overlap and arguments.overlap else {}
        print(json.dumps(ledgers | more, indent=2, default=Ledger.as_dict))
        return
    rows = [("corpus", "split", "documents", "read", "kept", "dropped", "types")]
    for name, splits in ledgers.items():
        for split, ledger in splits.items():
            numbers = (f"{number:,}" for number in (ledger.documents, ledger.read, ledger.kept))
            rows.append((name, split, *numbers, _join_counts(ledger.dropped), _join_counts(ledger.types)))
    _print_table(rows)
    for title, matrix in overlap.matrices.items() if overlap and arguments.overlap else ():
        print()
        _print_table(format_matrix(title, matrix))


def _compare(
    ledgers: Mapping[str, Mapping[str, Ledger]], documents: dict[str, list[Document]], arguments: argparse.Namespace
) -> Overlap | None:
    """Compare the documents of several corpora; draw the figure that `--figure` asks for."""
    overlap = compute_overlap(documents) if len(documents) > 1 else None
    if arguments.overlap and not overlap:
        print("note: --overlap compares corpora; name two or more", file=sys.stderr)
    if arguments.figure:
        draw_corpora(arguments.figure, ledgers, documents, overlap, arguments.word_pattern)
    return overlap


def _get_options(arguments: argparse.Namespace) -> ReadOptions:
    values = {field.name: getattr(arguments, field.name, None) for field in fields(ReadOptions)}
    return ReadOptions(**{name: value for name, value in values.items() if value is not None})


def _list_present(data_dir: str | None) -> list[str]:
    """List the corpora in the data folder, with a note on each that is absent; all of them without a folder."""
    if data_dir is None:
        return list(CORPORA)
    root, present = find_data_dir(data_dir), []
    for name, info in CORPORA.items():
        try:
            info.find_files(root)
            present.append(name)
        except CorpusError as error:
            print(f"note: left out: {escape_controls(str(error))}", file=sys.stderr)
    if not present:
        raise CorpusError(f"--data_dir {data_dir}: no corpus there; it should hold ncbi_disease/ and so on")
    return present


def _join_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items())) or "-"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _export(arguments: argparse.Namespace) -> None:
    names = ("test_size", "dev_size", "seed", "word_pattern", "native_types")
    options = {name: getattr(arguments, name) for name in names} | {"options": _get_options(arguments)}
    corpus = load_corpus(arguments.corpus, arguments.data_dir, **options)
    folder = export_corpus(corpus, arguments.to, arguments.output)
    written = ", ".join(f"{split} {len(documents):,}" for split, documents in corpus.splits.items())
    print(f"{folder}: {written} documents")


def _add_fix_offsets(subparsers: argparse._SubParsersAction) -> None:
    fix = subparsers.add_parser("fix-offsets", help="write a copy of a corpus file whose offsets count characters")
    fix.add_argument("source", metavar="IN", type=Path, help="a file that states its mentions' texts, or brat folder")
    kept = "like IN if that is PubTator, JSONL, BioC XML or a brat folder, else a .jsonl file"
    fix.add_argument("target", metavar="OUT", type=Path, help=f"a new path, {kept}")
    choice = "how IN counts offsets, by default what makes most mentions fit"
    fix.add_argument("--as", dest="hypothesis", choices=NAMES, metavar="NAME", help=f"{choice}: {', '.join(NAMES)}")
    fix.set_defaults(run=_fix_offsets)


def _fix_offsets(arguments: argparse.Namespace) -> int:
    outcome = fix_offsets(arguments.source, arguments.target, arguments.hypothesis)
    print(f"{arguments.source}: {outcome.diagnosis}")
    print(f"{arguments.target}: {outcome.corrected} of {outcome.mentions} mentions corrected")
    if outcome.misfits:
        problem = f"{format_count(len(outcome.misfits), 'mention')} left as written, whose text isn't at the offsets"
        print(f"warning: {problem}, the first at {outcome.misfits[0]}", file=sys.stderr)
    if outcome.lost:
        print(f"warning: not written: {_join_counts(outcome.lost)}", file=sys.stderr)
    return int(bool(outcome.misfits or outcome.lost))


def _convert(arguments: argparse.Namespace) -> int:
    check_arguments(None, 0.1, arguments.word_pattern)
    done = convert(arguments.source, arguments.output, arguments.to, arguments.word_pattern, _get_options(arguments))
    lost = f"; {done.lost.total():,} mentions not written ({_join_counts(done.lost)})" if done.lost else ""
    print(f"{arguments.output}: {done.documents:,} documents, {done.mentions:,} mentions{lost}")
    return int(bool(done.lost))


if __name__ == "__main__":
    sys.exit(main())
