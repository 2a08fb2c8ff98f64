"""From a trained model's folder to the Hub.

    mtl-bioner-push outputs/ncbi,bc5cdr ME/REPOSITORY [--private] [--revision BRANCH] [--space]

A push is one commit of a complete repository: weights, config, tokenizer, the one modeling file, the handler of
Inference Endpoints, card, record, scores, plots. It fails whole or succeeds whole. The token is of `hf auth login`
or `HF_TOKEN`, and never in a file.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, RepoCard, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from model_card_mtl_bioner import write_card


logger = logging.getLogger(__name__)

# What a repository holds. All else in a folder stays there: optimiser, `training_args.bin`, predictions (corpus text).
NEEDED = ("config.json", "*.safetensors", "tokenizer*.json", "*.py")
PUBLISHED = (
    *NEEDED, "model.safetensors.index.json", "vocab.*", "merges.txt", "spiece.model", "*.bpe.model",
    "added_tokens.json", "special_tokens_map.json", "README.md", "run.json", "all_results.json", "ledger.json",
    "*.png",
)  # fmt: skip
CODE = "modeling_mtl_bioner.py"
HANDLER = Path(__file__).with_name("handler_mtl_bioner.py")
SPACE = Path(__file__).with_name("space")


class PushError(RuntimeError):
    """Nothing was pushed; says why, and what to do."""


def published_files(folder: Path) -> list[Path]:
    """The files of a push.

    Raises:
        PushError: one without which the model can't be loaded is missing, or one holds a secret or a path.
    """
    if not folder.is_dir():
        raise PushError(f"{folder}: no such folder; name the --output_dir of a training")
    files = [path for path in sorted(folder.iterdir()) if any(fnmatch(path.name, pattern) for pattern in PUBLISHED)]
    files = [path for path in files if path.is_file() and (path.suffix != ".py" or path.name == CODE)]
    for pattern in NEEDED:
        if not any(fnmatch(path.name, pattern) for path in files):
            raise PushError(
                f"{folder} has no {pattern}; name the --output_dir of a training, or one of its checkpoints"
            )
    secrets = {"the token of the Hub": get_token(), "a path of this machine": str(Path.home())}
    for path in files:
        content = path.read_text(encoding="utf-8", errors="ignore") if path.suffix in (".json", ".md") else ""
        for what, secret in secrets.items():
            if secret and len(secret) > 4 and secret in content:
                raise PushError(f"{path} holds {what}; take it out before it is pushed")
    return files


def push_folder(
    folder: str | os.PathLike[str],
    repository: str,
    private: bool | None = None,
    revision: str | None = None,
    message: str = "Model",
    token: str | None = None,
) -> str:
    """Push what is in a model's folder, in one commit; returns the commit's address.

    Args:
        repository: `owner/name`; made if it isn't there.
        revision: branch to push to, made if it isn't there; the main one by default.

    Raises:
        PushError: the folder is not complete, or the Hub refuses or can't be reached. Nothing was pushed then.
    """
    files, api = published_files(Path(folder)), HfApi(token=token)
    operations = [CommitOperationAdd(path.name, path) for path in files]
    operations.append(CommitOperationAdd("handler.py", HANDLER))

    def push() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision:
            api.create_branch(repository, branch=revision, exist_ok=True)
        return api.create_commit(repository, operations, commit_message=message, revision=revision).commit_url

    address = explained(push, repository)
    logger.info("pushed %d files to %s", len(operations), address)
    return address


def push_space(repository: str, private: bool | None = None, token: str | None = None) -> str:
    """Push the page of `space/` to the Space `owner/name`, which shows the model `owner/name`; returns its address.

    Raises:
        PushError: as `push_folder`.
    """
    api, card = (
        HfApi(token=token),
        RepoCard((SPACE / "README.md").read_text(encoding="utf-8"), ignore_metadata_errors=True),
    )
    card.data.models = [repository]
    operations = [CommitOperationAdd("README.md", str(card).encode())]
    operations += [CommitOperationAdd(name, SPACE / name) for name in ("app.py", "requirements.txt")]

    def push() -> str:
        address = api.create_repo(repository, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        api.create_commit(repository, operations, commit_message="Page", repo_type="space")
        return str(address)

    return explained(push, repository)


def explained(action: Callable[[], Any], repository: str) -> Any:
    """What the action returns; what may go wrong with it on the Hub, as one line."""
    try:
        return action()
    except HFValidationError as error:
        raise PushError(f"{repository!r} is no name of a repository: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = {
            401: "log in with `hf auth login`, or set HF_TOKEN to a valid token",
            403: "the token may not write there; take one with write access, or another owner",
            404: "check the name of the repository and its owner",
        }.get(status, "try again later")
        raise PushError(f"the Hub refused {repository} ({status}): {remedy}; nothing was pushed") from error
    except Exception as error:  # whatever the HTTP library of the day raises where there is no connection
        kind, text = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
        raise PushError(f"the push to {repository} failed ({kind}: {text}); nothing was pushed, try again") from error


# ----------------------------------------------------------------------------------------------------------- commands


def run_command(parser: argparse.ArgumentParser, action: Callable[[argparse.Namespace], str], argv: Any) -> int:
    """Prints what the action returns; what it raises, as one line. Exit status 0, or 2."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        sys.stdout.write(f"{action(parser.parse_args(argv))}\n")
    except (PushError, ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: error: {' '.join(str(error).split())}\n")
        return 2
    return 0


def push_main(argv: Sequence[str] | None = None) -> int:
    """`mtl-bioner-push`; exit status 0, or 2 if nothing was pushed."""
    parser = argparse.ArgumentParser(prog="mtl-bioner-push", description="Push a trained model to the Hub.")
    parser.add_argument("folder", type=Path, help="--output_dir of a training")
    parser.add_argument("repository", help="OWNER/NAME on the Hub")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument("--revision", help="branch to push to (default: the main one)")
    parser.add_argument("--space", action="store_true", help="push a Space of the same name too, a page for the model")

    def push(arguments: argparse.Namespace) -> str:
        repository, private = arguments.repository, arguments.private or None
        write_card(arguments.folder, repository)
        address = push_folder(arguments.folder, repository, private, arguments.revision)
        return f"{address}\n{push_space(repository, private)}" if arguments.space else address

    return run_command(parser, push, argv)


if __name__ == "__main__":
    sys.exit(push_main())
