"""Single-task against multi-task training, for the same epochs: does sharing help?

    python run_comparison.py --tasks ncbi,bc5cdr,bc2gm,jnlpba --data_dir CORPORA --model_name_or_path ENCODER
    python run_comparison.py --tasks ncbi,bc5cdr --structures hard cross --seeds 42 43 44 --fractions 1:6 0.1:20
    python run_comparison.py --quick --output_dir DIR               # on the sample, in three minutes

Each cell is one training with `run_mtl_ner.py`, in a process of its own: of a single task, or of all tasks with one
structure, for one seed and one fraction of the training documents. All cells of a fraction have the same rows (text
that is held-out text of any of the tasks' corpora is in no training), the same epochs, and the best of these by the
same rule. (A `taught` model has the budget of its teachers, the single-task models, on top of its own.) A small
fraction needs more epochs to reach its plateau, which `--fractions 0.1:20` gives it; the report shows how much each
training still rose at its end. `--tune learning_rate=1e-4,2e-4` lets every system, and every single task, take the
value that serves it best on its development split: trainings that score no test split, one for each value, with the
first seed. A finished cell is kept in `--output_dir/cells` and never computed again, so the same command goes on where
it stopped, or with more seeds. Other arguments are handed on to `run_mtl_ner.py`; the argument file of its `--search`
may stand first.

Writes `comparison.json`, `comparison.md` and plots. The one comparison named beforehand (`--primary`, over all of
`--tasks`, at the largest fraction) is tested by itself; the p values of all others are corrected for their number.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts import CorpusError
from mtl_bioner.comparison import report
from mtl_bioner.comparison.arguments import parse_arguments
from mtl_bioner.comparison.plan import finished, keep_plan
from mtl_bioner.comparison.record import check_heads, identity_of, record
from mtl_bioner.comparison.runner import compute_all
from mtl_bioner.messages import print_error
from mtl_bioner.reporting.files import write_json


def train_cell(part: Path, argv: Sequence[str]) -> int:
    """What the process of a cell does: `run_mtl_ner.py`, and then the record of it."""
    import run_mtl_ner  # takes seconds

    run_mtl_ner.set_up_process()
    try:
        run = run_mtl_ner.prepare(argv)
        check_heads(run)
        trainer = run_mtl_ner.make_trainer(run)
    except (ValueError, CorpusError, OSError) as error:
        print_error("run_comparison", error)
        return 2
    if run.data_args.dry_run:
        evaluates = run.args.eval_strategy != "no"
        write_json(part, {"identity": identity_of(run), "evaluates": evaluates}, indent=None)
        return 0
    metrics = run_mtl_ner.execute(run, trainer)
    write_json(part, record(run, trainer, metrics), indent=None)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 if a cell failed; 2 for input that can't be used."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        arguments, rest = parse_arguments(sys.argv[1:] if argv is None else argv)
        if arguments.cell:
            return train_cell(
                arguments.cell, [f"--tasks={arguments.tasks}", f"--output_dir={arguments.output_dir}", *rest]
            )
        done = [] if arguments.report_only else compute_all(arguments, rest)
        report.write(list(finished(arguments.output_dir)), keep_plan(arguments), arguments.output_dir)
    except (ValueError, CorpusError, OSError) as error:
        print_error("run_comparison", error)
        return 2
    written = arguments.output_dir / "comparison.md"
    sys.stdout.write(written.read_text(encoding="utf-8") if written.is_file() else "no cell is finished\n")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
