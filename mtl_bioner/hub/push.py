"""From a trained model's folder to the Hub.

    mtl-bioner-push outputs/ncbi,bc5cdr ME/REPOSITORY [--private] [--revision BRANCH] [--space]

A push is one commit of a complete repository: weights, config, tokenizer, the one modeling file, the handler of
Inference Endpoints, card, record, scores, plots. It fails whole or succeeds whole. The token is of `hf auth login`
or `HF_TOKEN`, and never in a file.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from mtl_bioner.hub.model_card import is_edited, name_repository, spread_over, write_card
from mtl_bioner.messages import print_error


logger = logging.getLogger(__name__)

# What a repository holds. All else in a folder stays there: optimiser, `training_args.bin`, predictions (corpus text).
NEEDED = ("config.json", "*.safetensors", "tokenizer*.json")
LOADED = (
    *NEEDED, "model.safetensors.index.json", "vocab.*", "merges.txt", "spiece.model", "*.bpe.model",
    "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip
PUBLISHED = (*LOADED, "README.md", "run.json", "all_results.json", "ledger.json", "*.png")
CODE = "modeling_mtl_bioner.py"
SPACE = Path(__file__).with_name("space")
# What a dedicated Inference Endpoint looks for: the handler, and the versions that the code needs.
ENDPOINT = {
    "handler.py": Path(__file__).with_name("handler.py"),
    "requirements.txt": SPACE / "requirements.txt",
}


class PushError(RuntimeError):
    """Nothing was pushed; says why, and what to do."""


def collect_push_files(folder: Path, token: str | None = None) -> dict[str, Path]:
    """The files of a push by their names in the repository.

    Args:
        token: of the push, which no file may hold; by default that of the login.

    Raises:
        PushError: one without which the model can't be loaded is missing, or one holds a secret or a path.
    """
    if not folder.is_dir():
        raise PushError(f"{folder}: no such folder; name the --output_dir of a training")
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and matches(path.name, PUBLISHED)}
    stock = is_stock(folder)  # one of these needs no code, and an endpoint no handler for it
    if not stock:
        files |= ENDPOINT | ({CODE: folder / CODE} if (folder / CODE).is_file() else {})
    for pattern in NEEDED if stock else (*NEEDED, CODE):
        if not any(fnmatch(name, pattern) for name in files):
            raise PushError(
                f"{folder} has no {pattern}; name the --output_dir of a training, or one of its checkpoints"
            )
    secrets = {"the token of the Hub": token or get_token(), "a path of this machine": f"{Path.home()}/"}
    for path in files.values():
        content = path.read_text(encoding="utf-8", errors="ignore") if path.suffix in (".json", ".md") else ""
        for what, secret in secrets.items():
            if secret and len(secret) > 4 and secret in content:
                raise PushError(f"{path} holds {what}; take it out before it is pushed")
    return files


def is_stock(folder: Path) -> bool:
    """Whether a folder holds a model of a class that transformers has, as `mtl-bioner-export` writes."""
    config = folder / "config.json"
    return config.is_file() and "auto_map" not in json.loads(config.read_text(encoding="utf-8"))


def push_folder(
    folder: str | os.PathLike[str],
    repository: str,
    private: bool | None = None,
    revision: str | None = None,
    message: str = "Model",
    token: str | None = None,
) -> str:
    """Push what is in a model's folder, in one commit; returns the commit's address.

    Weights and tokenizer files of an earlier push that this one doesn't hold are deleted, lest they be loaded with it.

    Args:
        repository: `owner/name`, or a name of one's own; made if it isn't there.
        private: whether others must not see it; None leaves one that is there as it is.
        revision: branch to push to, made if it isn't there; the main one by default.

    Raises:
        PushError: the folder is not complete, or the Hub refuses or can't be reached; says so.
    """
    files, api = collect_push_files(Path(folder), token), HfApi(token=token)

    def push() -> str:
        name = created(api, repository, private)
        if revision:
            api.create_branch(name, branch=revision, exist_ok=True)
        there = api.list_repo_files(name, revision=revision)
        old = [own for own in there if "/" not in own and own not in files and matches(own, LOADED)]
        operations = [CommitOperationAdd(own, path) for own, path in files.items()]
        operations += [CommitOperationDelete(own) for own in old]
        return api.create_commit(name, operations, commit_message=message, revision=revision).commit_url

    address = explain_hub_errors(push, repository)
    logger.info("pushed %d files to %s", len(files), address)
    return address


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file's name is one of those."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def created(api: HfApi, repository: str, private: bool | None, **kind: str) -> str:
    """Make a repository if it isn't there; returns its name with the owner's.

    Raises:
        PushError: it shall be private, and is there and public.
    """
    name = api.create_repo(repository, private=private, exist_ok=True, **kind).repo_id
    if private and not api.repo_info(name, repo_type=kind.get("repo_type")).private:
        raise PushError(f"{name} is there and public; make it private on the Hub first, or name another repository")
    return name


def push_space(repository: str, private: bool | None = None) -> str:
    """Push the page of `space/` to the Space `owner/name`, which shows the model `owner/name`; returns its address.

    Raises:
        PushError: as `push_folder`.
    """
    api = HfApi()
    card = RepoCard((SPACE / "README.md").read_text(encoding="utf-8"), ignore_metadata_errors=True)

    def push() -> str:
        name = created(api, repository, private, repo_type="space", space_sdk="gradio")
        card.data.models = [name]
        operations = [CommitOperationAdd("README.md", str(card).encode())]
        operations += [CommitOperationAdd(own, SPACE / own) for own in ("app.py", "requirements.txt")]
        api.create_commit(name, operations, commit_message="Page", repo_type="space")
        return f"{api.endpoint}/spaces/{name}"

    return explain_hub_errors(push, f"the Space {repository}")


def explain_hub_errors(action: Callable[[], Any], what: str) -> Any:
    """What the action returns.

    Raises:
        PushError: in one line, whatever may go wrong with it on the Hub.
    """
    try:
        return action()
    except PushError:
        raise
    except HFValidationError as error:
        raise PushError(f"{what!r} is no name of a repository: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = {
            401: "log in with `hf auth login`, or set HF_TOKEN to a valid token",
            403: "the token may not write there; take one with write access, or another owner",
            404: "check the name of the repository and its owner",
        }.get(status, "try again later")
        raise PushError(f"the Hub refused {what} ({status}): {remedy}; nothing was pushed there") from error
    except Exception as error:  # whatever the HTTP library of the day raises where there is no connection
        kind, text = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
        raise PushError(
            f"the push to {what} failed ({kind}: {text}); a push arrives whole or not at all, so try again"
        ) from error


# ----------------------------------------------------------------------------------------------------------- commands


def run_command(parser: argparse.ArgumentParser, action: Callable[[argparse.Namespace], str], argv: Any) -> int:
    """Prints what the action returns; what it raises, as one line. Exit status 0, or 2."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    for name in ("httpx", "httpx2"):  # a line for each request
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        sys.stdout.write(f"{action(parser.parse_args(argv))}\n")
    except (PushError, ValueError, OSError) as error:
        print_error(parser.prog, error)
        return 2
    return 0


def main_push(argv: Sequence[str] | None = None) -> int:
    """`mtl-bioner-push`; exit status 0, or 2 if not all was pushed."""
    parser = argparse.ArgumentParser(prog="mtl-bioner-push", description="Push a trained model to the Hub.")
    parser.add_argument("folder", type=Path, help="--output_dir of a training, or --output of mtl-bioner-export")
    parser.add_argument("repository", help="OWNER/NAME on the Hub")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument("--revision", help="branch to push to (default: the main one)")
    parser.add_argument("--space", action="store_true", help="push a Space of the same name too, a page for the model")
    parser.add_argument(
        "--seeds", nargs="+", type=Path, default=[], metavar="FOLDER",
        help="--output_dir of the same training with other seeds: the card tells the spread of the scores",
    )  # fmt: skip

    def push(arguments: argparse.Namespace) -> str:
        folder, repository, private = arguments.folder, arguments.repository, arguments.private or None
        if arguments.space and arguments.revision:
            raise ValueError("--space shows what is on the main branch; leave out --revision, or --space")
        collect_push_files(folder)
        if is_stock(folder) and (arguments.space or arguments.seeds):
            raise ValueError("--space and --seeds are for models of several heads; leave them out for an exported one")
        if "/" not in repository:
            repository = explain_hub_errors(lambda: created(HfApi(), arguments.repository, private), repository)
        if is_stock(folder) or is_edited(folder):
            name_repository(folder, repository)
        elif (folder / "run.json").is_file():  # not so in a checkpoint
            write_card(folder, repository, spread_over([folder, *arguments.seeds]))
        if is_edited(folder):
            logger.warning("%s/README.md was changed by hand and is pushed as it is; delete it for a new one", folder)
        lines = [push_folder(folder, repository, private, arguments.revision)]
        if arguments.space:
            sys.stdout.write(f"{lines.pop()}\n")
            lines = [push_space(repository, private)]
            if private:
                lines.append("(the Space is private too: give it a secret HF_TOKEN that may read the model)")
        return "\n".join(lines)

    return run_command(parser, push, argv)


if __name__ == "__main__":
    sys.exit(main_push())
