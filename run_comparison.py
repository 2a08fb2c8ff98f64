"""Compare single-task with multi-task training: does sharing help?

    python run_comparison.py --tasks ncbi,bc5cdr,bc2gm,jnlpba --data_dir CORPORA --model_name_or_path ENCODER
    python run_comparison.py --tasks ncbi,bc5cdr --structures hard cross --seeds 42 43 44 --fractions 1:6 0.1:20
    python run_comparison.py --quick --output_dir DIR               # on the sample, in three minutes

A cell is one training with `run_mtl_ner.py`, in a process of its own: of one task, or of all tasks with one structure,
for one seed and one fraction of the training documents. All cells of a fraction have the same rows (text that is held
out in any corpus is in no training) and the same epochs, of which the best is kept by the same rule; a `taught` model
has the budget of its teachers, the single-task models, on top of its own. Finished cells are kept in
`--output_dir/cells`: the same command continues after an interruption, or adds seeds. The report is `comparison.json`,
`comparison.md` and plots.
"""

import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts import CorpusError
from dataset_scripts.messages import set_up_logging
from mtl_bioner.comparison.arguments import parse_arguments
from mtl_bioner.messages import print_error, summarize_error
from mtl_bioner.reporting.files import write_json


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NEXT_STEP = "next: the same on your corpora, with --tasks, --data_dir and --model_name_or_path instead of --quick\n"


def train_cell(request: Path) -> int:
    """Train a cell in this process, as its request file says, and write its record; return the exit status."""
    import run_mtl_ner
    from mtl_bioner.comparison.record import check_heads, collect_identity, make_record
    from mtl_bioner.training.runtime import set_up_process
    from mtl_bioner.training.saving import is_write_failure

    content = json.loads(request.read_text(encoding="utf-8"))
    set_up_process()
    try:
        run = run_mtl_ner.prepare(content["arguments"])
        check_heads(run.tasks)
        trainer = run_mtl_ner.make_trainer(run)
    except (ValueError, CorpusError, OSError) as error:
        print_error("run_comparison", error)
        return 2
    if run.data_args.dry_run:
        record = {"identity": collect_identity(run), "evaluates": run.args.eval_strategy != "no"}
    else:
        try:
            record = make_record(run, trainer, run_mtl_ner.execute(run, trainer))
        except Exception as error:
            if not is_write_failure(error):
                raise
            print_error("run_comparison", f"{run.output} can't be written to ({summarize_error(error)})")
            return 1
    write_json(Path(content["record"]), record, indent=None)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 if a cell failed; 2 for input that can't be used."""
    set_up_logging()
    try:
        arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
        if arguments.cell:
            return train_cell(arguments.cell)
        from mtl_bioner.comparison import cells, report, runner  # imports pandas

        output = arguments.output_dir
        finished = [] if arguments.report_only else runner.Runner(arguments).compute_all()
        report.write_report(list(cells.read_cells(output)), cells.keep_plan(arguments), output)
    except (ValueError, CorpusError, OSError) as error:
        is_full = getattr(error, "errno", None) in DISK_FULL
        print_error("run_comparison", f"{error}; go on with the same command" if is_full else error)
        return 1 if is_full else 2
    path, missing = output / "comparison.md", finished.count(False)
    sys.stdout.write(path.read_text(encoding="utf-8") if path.is_file() else "no cell is finished\n")
    if path.is_file():
        sys.stderr.write(f"the report is in {path}\n" + NEXT_STEP * arguments.quick)
    if missing:
        sys.stderr.write(f"{missing} of {len(finished)} cells are missing; the same command tries them again\n")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
