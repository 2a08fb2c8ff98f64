"""Save and push what a training writes, and tell what is left of one that was stopped."""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer_utils import HubStrategy

from dataset_scripts.training_texts import TrainingTexts
from mtl_bioner.hub.push import PushError, explain_hub_errors, push_folder
from mtl_bioner.messages import summarize_error
from mtl_bioner.reporting import run_record
from mtl_bioner.reporting.files import write_json
from mtl_bioner.training.checkpointing import find_last_checkpoint


logger = logging.getLogger(__name__)


class SavingTrainer(Trainer):
    """A Trainer that writes no token into files, and pushes complete repositories, each in one commit.

    Attributes:
        training_texts: of this training and of earlier ones, saved with each model; None if they are not recorded.
    """

    training_texts: TrainingTexts | None = None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save the model, without the token of the Hub in `training_args.bin`, and readable as the umask says."""
        token, self.args.hub_token = self.args.hub_token, None
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.args.hub_token = token
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            share_weights(folder)
            if self.training_texts is not None:
                write_json(folder / run_record.TRAINING_TEXTS, self.training_texts.as_dict())

    def _save_rng_state(self, output_dir: str) -> None:
        """Save the state, and wait for all processes: `trainer_state.json`, written next, marks a whole checkpoint."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository before training starts; raises PushError, in one line, where the Hub refuses."""
        name = str(self.args.hub_model_id or Path(self.args.output_dir).name)
        explain_hub_errors(lambda: super(SavingTrainer, self).init_hf_repo(token, private), name)

    def push_to_hub(self, commit_message: str = "End of training", **kwargs: Any) -> str | None:
        """Push the output folder in one commit, without `training_args.bin`."""
        return self._push(self.args.output_dir, commit_message) if self.is_world_process_zero() else None

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push a whole checkpoint, code included; Trainer's own push leaves a repository that can't be loaded."""
        if self.is_world_process_zero() and self.args.hub_strategy != HubStrategy.END:
            try:
                self._push(checkpoint_folder, f"Training in progress, step {self.state.global_step}")
            except PushError as error:  # the next one may succeed; training goes on
                logger.warning("%s", error)

    def _push(self, folder: str, message: str) -> str:
        name, args = self.hub_model_id, self.args
        return push_folder(folder, name, args.hub_private_repo, args.hub_revision, message, args.hub_token)


def share_weights(folder: Path) -> None:
    """Give the weights in a folder the mode of other new files, by the user's umask; safetensors writes mode 0600."""
    os.umask(umask := os.umask(0o022))
    for path in folder.glob("*.safetensors"):
        path.chmod(0o666 & ~umask)


def is_write_failure(error: BaseException) -> bool:
    """Return whether an error is that of a full disk or the like; safetensors and torch have their own ones for it."""
    of_torch = isinstance(error, RuntimeError) and ("inline_container" in str(error) or "writ" in str(error))
    return isinstance(error, OSError | SafetensorError) or of_torch


def explain_failure(error: Exception, output_dir: str | Path, repository: str | None) -> str | None:
    """Return what to do after a failed push or a full disk, in one line; None for any other error."""
    if isinstance(error, PushError):
        return f"{error}; the model is in {output_dir}: mtl-bioner push {output_dir} {repository}"
    if not is_write_failure(error):
        return None
    names_file = getattr(error, "filename", None) or str(output_dir) in str(error)
    reason = error if names_file else f"{output_dir} can't be written to ({summarize_error(error)}); free some space"
    return f"{reason}; {explain_stop(output_dir)}"


def explain_stop(output_dir: str | Path, command: Sequence[str] = tuple(sys.orig_argv)) -> str:
    """Return what a stopped training leaves in its output folder, and how to resume it, given its command."""
    if not (Path(output_dir) / run_record.BEGUN).is_file():
        return f"nothing was kept; begin again with: {shlex.join(command)}"
    teachers = Path(output_dir) / run_record.TEACHERS
    kept = find_last_checkpoint(output_dir) or "no checkpoint"
    kept += f" and the teachers in {teachers}" if any(teachers.glob(f"*/{run_record.RECORD}")) else ""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    launch = f" in {processes} processes" if processes > 1 else ""
    return f"kept: {kept}; resume{launch} with: {shlex.join(add_resume_argument(command))}"


def add_resume_argument(command: Sequence[str]) -> list[str]:
    """Return a command with `--resume_from_checkpoint true` in place of any such argument and `--overwrite_output`."""
    replaced, dropped, kept = ("__overwrite_output", "__resume_from_checkpoint"), False, []
    for part in command:
        if part.startswith("--"):
            dropped = part.partition("=")[0].replace("-", "_") in replaced
        kept += [] if dropped else [part]
    return [*kept, "--resume_from_checkpoint", "true"]
