"""Train the cells of a comparison, each in a process of its own."""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from mtl_bioner.comparison import cells, report
from mtl_bioner.comparison.arguments import SINGLE, TAUGHT, collect_training_arguments
from mtl_bioner.comparison.cells import Cell, check_same_experiment, list_teachers, take_fingerprint
from mtl_bioner.folder_lock import lock_folder
from mtl_bioner.reporting.files import write_json
from mtl_bioner.reporting.run_record import remove_checkpoints


logger = logging.getLogger(__name__)

SCRIPT = Path(__file__).parents[2] / "run_comparison.py"  # in a clone, and in an installation


class Runner:
    """Compute the cells of a comparison in its folder.

    All methods raise ValueError for input that `run_mtl_ner.py` can't use, or that doesn't fit the finished cells.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.output = arguments, arguments.output_dir
        self.settings = cells.collect_settings(arguments)

    def compute_all(self) -> list[bool]:
        """Compute the planned cells that are missing, report after each, and return whether each is finished."""
        with lock_folder(self.output, "run_comparison"):
            return self._compute_planned(cells.plan_cells(self.arguments))

    def _compute_planned(self, planned: list[Cell]) -> list[bool]:
        for stale in [*self.output.glob("cells/training-*"), *self.output.glob("trials/training-*")]:
            shutil.rmtree(stale)  # of a process that was killed
        self.check_finished({})
        missing = [cell for cell in planned if not cell.path(self.output).is_file()]
        if missing:
            self.check_teachers(missing)
            self.check_tasks(planned)
        primary, finished = cells.keep_plan(self.arguments), []
        for number, cell in enumerate(planned, 1):
            logger.info("cell %d of %d: %s", number, len(planned), cell.name)
            finished.append(cell not in missing or self.compute(cell))
            if cell in missing and number < len(planned):  # the caller writes the last report
                report.write_report(list(cells.read_cells(self.output)), primary, self.output)
        return finished

    def check_finished(self, identity: Mapping[str, Any]) -> None:
        """Raise ValueError if a finished cell can't stand beside those to come, whose `identity` a dry run tells."""
        epochs = dict(self.arguments.fractions)
        varying = ("num_train_epochs", *(self.arguments.tune or ())[:1])  # between fractions, or between cells
        for content in cells.read_cells(self.output):
            if (fraction := content["cell"]["fraction"]) in epochs:
                to_come = {"settings": self.settings, "epochs": epochs[fraction], "identity": identity}
                place = f"{self.output / 'cells'}, {100 * fraction:g} % of the documents"
                check_same_experiment(take_fingerprint(content), take_fingerprint(to_come), place, varying)

    def check_teachers(self, missing: Iterable[Cell]) -> None:
        """Raise ValueError if finished single-task cells lack the models that missing cells need as teachers."""
        teachers = dict.fromkeys(teacher for cell in missing for teacher in list_teachers(cell, self.arguments))
        paths = [teacher.path(self.output) for teacher in teachers if not teacher.model_path(self.output).is_dir()]
        if lost := [str(path) for path in paths if path.is_file()]:
            cause = f"the models of {', '.join(lost)} were not kept, but are needed as teachers"
            raise ValueError(f"{cause}; delete these cells, so that they are trained again")

    def check_tasks(self, planned: Iterable[Cell]) -> None:
        """Try `--tasks` and each group in a dry run; raise ValueError if one fails, or if finished cells were computed
        differently: machines differ in their data type, versions in their arguments."""
        groups = {cell.tasks: cell for cell in planned if cell.system != SINGLE}.values()
        for cell, value in product(groups, self.arguments.tune[1] if self.arguments.tune else (None,)):
            logger.info("check of %s", cell.tasks)
            with tempfile.TemporaryDirectory() as folder:
                record, log = Path(folder) / "record", Path(folder) / "log"
                options = {"output_dir": f"{folder}/model", "dry_run": True, **self._parse_tuned(value)}
                if self.run_cell(cell, options, record, log):
                    raise ValueError(f"--tasks {cell.tasks} failed: {log.read_text(encoding='utf-8').strip()[-500:]}")
                to_come = json.loads(record.read_text(encoding="utf-8"))
            if self.arguments.tune and not to_come["evaluates"]:
                raise ValueError("--tune goes by development scores; leave out --eval_strategy no, --train_on_dev")
            self.check_finished(to_come["identity"])

    def _parse_tuned(self, value: str | None) -> dict[str, Any]:
        """Return the argument of `--tune` with one of its values; nothing without a value."""
        return {} if value is None else collect_training_arguments([f"--{self.arguments.tune[0]}={value}"])

    def compute(self, cell: Cell) -> bool:
        """Train a cell, with the best value of `--tune`; return whether it is finished."""
        for teacher in list_teachers(cell, self.arguments):
            if not teacher.model_path(self.output).is_dir():
                logger.error("%s has to wait for its teacher %s", cell.name, teacher.name)
                return False
        content: dict[str, Any] = {"cell": asdict(cell.without_paths()), "settings": self.settings}
        options: dict[str, Any] = {"do_train": True, "do_eval": True, "do_predict": True}
        if self.arguments.tune:
            if (tuned := self.find_tuned(cell) or self.tune(cell)) is None:
                return False
            content["tuned"] = tuned
            options |= self._parse_tuned(tuned["value"])
        if (record := self.train(cell, options, cell.path(self.output))) is None:
            return False
        if self.arguments.tune:
            record["identity"].pop(self.arguments.tune[0])
        write_json(cell.path(self.output), content | record, indent=None)
        return True

    def find_tuned(self, cell: Cell) -> dict[str, Any] | None:
        """Find what `tune` returned for the same training with another seed."""
        for content in cells.read_cells(self.output):
            if Cell(**content["cell"] | {"seed": cell.seed, "sharing": cell.sharing}) == cell.without_paths():
                return content["tuned"]
        return None

    def tune(self, cell: Cell) -> dict[str, Any] | None:
        """Train a cell of the first seed with each value of `--tune`; trials score no test split. Return the argument,
        the value with the best macro F1 on the development split, and the best F1 of each value; None if a training
        failed, or for another seed."""
        if cell.seed != self.arguments.seeds[0]:
            logger.error("%s has to wait for what is found with seed %d", cell.name, self.arguments.seeds[0])
            return None
        name, values = self.arguments.tune
        best: dict[str, float] = {}
        fingerprint: dict[str, Any] = {}
        for value in values:
            path = self.output / "trials" / f"{cell.name}_{cells.make_file_name(value)}.json"
            content = {"settings": self.settings, "epochs": cell.epochs, "value": value}
            if not path.is_file():
                logger.info("trial of %s with --%s %s", cell.name, name, value)
                options = {"do_train": True, "do_eval": True, **self._parse_tuned(value)}
                if (record := self.train(cell, options, path)) is None:
                    return None
                if not record["development"]:
                    raise ValueError(f"{cell.name} was trained without an evaluation; lower or leave out --eval_steps")
                write_json(path, content | record, indent=None)
            trial = cells.read_cell(path)
            fingerprint |= {**take_fingerprint(content), "value": value}
            check_same_experiment({**take_fingerprint(trial), "value": trial["value"]}, fingerprint, path, [name])
            fingerprint = take_fingerprint(trial)
            best[value] = max(f1 for _, f1 in trial["development"])
        return {"argument": name, "value": max(values, key=lambda value: best[value]), "development": best}

    def train(self, cell: Cell, options: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
        """Train a cell with further arguments of `run_mtl_ner.py`, and keep its model if asked for; return what its
        process recorded, or None if it failed, as the log beside `path` tells."""
        record, log, kept = path.with_suffix(".part"), path.with_suffix(".log"), cell.model_path(self.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        teachers = [str(teacher.model_path(self.output)) for teacher in list_teachers(cell, self.arguments)]
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="training-") as folder:
            model = Path(folder) / "model"
            places = {"output_dir": str(model), "overwrite_output": True, "teachers": teachers or ["none"]}
            status = self.run_cell(cell, {**options, **places}, record, log)
            if status == 0 and self.arguments.keep_models and "do_predict" in options:
                remove_checkpoints(model)
                shutil.rmtree(kept, ignore_errors=True)
                kept.parent.mkdir(exist_ok=True)
                os.replace(model, kept)
        if status or not record.is_file():
            logger.error("%s failed, see %s", cell.name, log)
            return None
        # The caller gives the cell its name: a child that outlives this process leaves nothing that looks like a cell.
        content = json.loads(record.read_text(encoding="utf-8"))
        record.unlink()
        log.unlink()
        return content

    def run_cell(self, cell: Cell, options: Mapping[str, Any], record: Path, log: Path) -> int:
        """Run the process of a cell, which reads its arguments from a request file; return its exit status."""
        training = self.make_cell_arguments(cell) | options
        with tempfile.TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as stream:
            request = Path(folder) / "request.json"
            write_json(request, {"arguments": training, "record": str(record)})
            command = [sys.executable, str(SCRIPT), "--cell", str(request)]
            status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
        if status == 2:
            message = log.read_text(encoding="utf-8").strip().splitlines()[-1]
            raise ValueError(message.removeprefix("run_comparison: error: "))
        return status

    def make_cell_arguments(self, cell: Cell) -> dict[str, Any]:
        """Make the arguments of `run_mtl_ner.py` for a cell."""
        tasks, training = self.arguments.tasks, dict(self.arguments.training)
        if cell.tasks != tasks and "=" in training.get("task_loss_weights", ""):
            del training["task_loss_weights"]  # which name tasks that the cell doesn't have
        return training | {
            "tasks": cell.tasks,
            "sharing": "hard" if cell.sharing == TAUGHT else cell.sharing,
            "seed": cell.seed,
            "train_fraction": str(cell.fraction),
            "teachers": ["none"],
            "leak_corpora": ",".join(cells.list_corpora(tasks, *self.arguments.groups)),
            **({} if cell.epochs is None else {"num_train_epochs": cell.epochs}),
        }
