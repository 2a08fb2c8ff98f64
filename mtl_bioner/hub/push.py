"""Push a trained model's folder to the Hub, in one commit of a complete repository.

It holds weights, config, tokenizer, modeling file, the handler of Inference Endpoints, card, record, scores and plots.
The token comes from `hf auth login` or `HF_TOKEN`, and is never written to a file.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import filter_repo_objects

from mtl_bioner.hub.model_card import compute_spread, is_edited, name_repository, read_record, write_card
from mtl_bioner.hub.private_content import find_private_content


logger = logging.getLogger(__name__)

# All other files of a folder stay there: optimizer, `training_args.bin`, predictions and errors (text of corpora).
REQUIRED = ("config.json", "*.safetensors", "tokenizer*.json")
LOADED = (
    *REQUIRED, "model.safetensors.index.json", "vocab.*", "merges.txt", "spiece.model", "*.bpe.model",
    "added_tokens.json", "tokenization*.py", "special_tokens_map.json", "training_texts.json",
)  # fmt: skip
PUBLISHED = (*LOADED, "README.md", "run.json", "all_results.json", "ledger.json", "*.png")
CODE = "modeling_mtl_bioner.py"
HERE = Path(__file__).parent
SPACE = HERE / "space"
PAGE = HERE.parent / "reporting" / "entity_page.py"  # which the Space imports
SPACE_FILES = (SPACE / "app.py", SPACE / "requirements.txt", PAGE, PAGE.with_suffix(".html"))
# A dedicated Inference Endpoint looks for a handler, and installs the requirements.
ENDPOINT = {"handler.py": HERE / "handler.py", "requirements.txt": SPACE / "requirements.txt"}
REMEDIES = {
    400: "the Hub found the request wrong",
    401: "log in with `hf auth login`, or set HF_TOKEN to a valid token",
    403: "the token may not write there; take one with write access, or another owner",
    404: "check the name of the repository and its owner",
    409: "another push was at work there; push again",
    413: "a file is too large for the Hub; see its limits",
    422: "the Hub found a value wrong, such as one in the head of README.md",
    429: "too many requests; try again in some minutes",
}
TEMPORARY = "try again later"


class PushError(RuntimeError):
    """Says why nothing was pushed, and what to do."""


def collect_push_files(folder: Path, token: str | None = None) -> dict[str, Path]:
    """Return the files of a push by their names in the repository.

    Raises PushError if a file that loading needs is missing, or one is a link that leaves the folder, or holds a path
    of a machine, a token or a key.
    """
    if not folder.is_dir():
        raise PushError(f"{folder}: no such folder; name the --output_dir of a training")
    code = () if is_stock(folder) else (CODE,)
    names = filter_repo_objects(list_files(folder), allow_patterns=[*PUBLISHED, *code])
    files = {name: folder / name for name in names}
    files |= ENDPOINT if code else {}
    for pattern in (*REQUIRED, *code):
        if not any(filter_repo_objects(files, allow_patterns=pattern)):
            remedy = "name the --output_dir of a training, or one of its checkpoints"
            raise PushError(f"{folder} has no {pattern}; {remedy}")
    login = token or get_token()
    secrets = {"a path of this machine": f"{Path.home()}/"} if len(str(Path.home())) > 4 else {}
    secrets |= {"the token of the Hub": login} if login else {}
    for path in files.values():
        if kind := find_private_content(path, secrets):
            raise PushError(f"{path} holds {kind}; take it out before it is pushed")
    return files


def list_files(folder: Path) -> list[str]:
    """List the files of a folder by name; raise PushError for a link to a file outside it, which may be private."""
    names = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and is_published(path.name) and path.resolve().parent != folder.resolve():
            raise PushError(
                f"{path} is a link to {path.resolve()}, outside the folder; put a copy there, or delete it"
            )
        if path.is_file():
            names.append(path.name)
    return names


def is_published(name: str) -> bool:
    """Return whether a push takes a file of this name."""
    return any(filter_repo_objects([name], allow_patterns=[*PUBLISHED, CODE]))


def is_stock(folder: Path) -> bool:
    """Return whether a folder holds a model of a class that transformers has, as `mtl-bioner-export` writes."""
    config = folder / "config.json"
    return config.is_file() and "auto_map" not in read_record(config)


def push_folder(
    folder: str | os.PathLike[str], repository: str, private: bool | None = None, revision: str | None = None,
    message: str = "Model", token: str | None = None,
) -> str:  # fmt: skip
    """Push a model's folder in one commit, and return the commit's address.

    Weights and tokenizer files of earlier pushes are deleted, lest they be loaded together with the new ones.

    Args:
        repository: `OWNER/NAME`, or a name for the login's own; made if it doesn't exist.
        private: whether others must not see it; None leaves an existing repository as it is.
        revision: branch to push to, made if it doesn't exist; the main one by default.

    Raises:
        PushError: the folder isn't complete, or the Hub refuses or can't be reached.
    """
    files, api = collect_push_files(Path(folder), token), HfApi(token=token)

    # Not `upload_folder`: it splits a large folder into several commits, its `delete_patterns` reach into sub-folders,
    # and the endpoint's files lie elsewhere.
    def push() -> str:
        name = create_repository(api, repository, private)
        if revision:
            api.create_branch(name, branch=revision, exist_ok=True)
        others = [path for path in api.list_repo_files(name, revision=revision) if path not in files]
        stale = [path for path in filter_repo_objects(others, allow_patterns=[*LOADED]) if "/" not in path]
        operations = [CommitOperationAdd(path, source) for path, source in files.items()]
        operations += map(CommitOperationDelete, stale)
        return api.create_commit(name, operations, commit_message=message, revision=revision).commit_url

    address = explain_hub_errors(push, repository)
    logger.info("pushed %d files to %s", len(files), address)
    return address


def create_repository(api: HfApi, repository: str, private: bool | None, **kind: str) -> str:
    """Make a repository unless it exists, and return its name with the owner's.

    Raises PushError if it shall be private, but exists and is public.
    """
    name = api.create_repo(repository, private=private, exist_ok=True, **kind).repo_id
    if private and not api.repo_info(name, repo_type=kind.get("repo_type")).private:
        raise PushError(f"{name} is there and public; make it private on the Hub first, or name another repository")
    return name


def push_space(repository: str, private: bool | None = None) -> str:
    """Push the page of `space/` as a Space named as its model, and return its address; errors as `push_folder`."""
    api = HfApi()
    card = RepoCard((SPACE / "README.md").read_text(encoding="utf-8"), ignore_metadata_errors=True)

    def push() -> str:
        name = create_repository(api, repository, private, repo_type="space", space_sdk="gradio")
        card.data.models = [name]
        operations = [CommitOperationAdd("README.md", str(card).encode())]
        operations += [CommitOperationAdd(path.name, path) for path in SPACE_FILES]
        api.create_commit(name, operations, commit_message="Page", repo_type="space")
        return f"{api.endpoint}/spaces/{name}"

    return explain_hub_errors(push, f"the Space {repository}")


def explain_hub_errors(action: Callable[[], Any], target: str) -> Any:
    """Return the result of an action on the Hub; raise PushError for whatever goes wrong with it, in one line."""
    try:
        return action()
    except PushError:
        raise
    except HFValidationError as error:
        raise PushError(f"{target!r} is no name of a repository: {error}") from error
    except Exception as error:  # whatever the HTTP library of the day raises where there is no connection
        if refusal := find_refusal(error):
            status, message = refusal.response.status_code, getattr(refusal, "server_message", None) or ""
            remedy = REMEDIES.get(status, TEMPORARY if status >= 500 else "see what it says")
            told = f" (it says: {message.strip().splitlines()[0][:200]})" if message.strip() else ""
            raise PushError(
                f"the Hub refused {target} ({status}): {remedy}{told}; nothing was pushed there"
            ) from error
        cause = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        remedy = "a push arrives whole or not at all, so try again"
        raise PushError(f"the push to {target} failed ({cause}); {remedy}") from error


def find_refusal(error: BaseException) -> HfHubHTTPError | None:
    """Return the Hub's refusal that led to an error, as the upload of a large file raises errors of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HfHubHTTPError):
        cause = cause.__cause__ or cause.__context__
    return cause


def prepare_card(folder: Path, repository: str, seeds: Sequence[Path]) -> None:
    """Write the folder's card for its repository; of a card that was edited, change only the name in the example."""
    if is_stock(folder) or is_edited(folder):
        name_repository(folder, repository)
    elif (folder / "run.json").is_file():  # a checkpoint has none
        write_card(folder, repository, compute_spread([folder, *seeds]))
    if is_edited(folder):
        logger.warning("%s/README.md was changed by hand and is pushed as it is; delete it for a new one", folder)


def complete_name(repository: str, private: bool | None) -> str:
    """Return a repository's name with its owner; one without is made for the login's own, to learn the owner."""
    if "/" in repository:
        return repository
    return explain_hub_errors(lambda: create_repository(HfApi(), repository, private), repository)
