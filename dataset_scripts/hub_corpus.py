"""Read a data set of the Hugging Face Hub by its name.

    hf:OWNER/NAME[@REVISION][:CONFIG]

Columns are chosen as in `formats/tables.py`. The splits train, validation and test are used; if none has such a name,
all of them together are a corpus without splits. Nothing of a data set is executed: if it has only a script, the
Parquet files are read to which the Hub has converted it.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dataset_scripts.corpus import Part
from dataset_scripts.formats.saved_dataset import read_dataset
from dataset_scripts.schema import DETECT, CorpusError, ReadOptions
from dataset_scripts.splits import WHOLE, infer_split


if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder


logger = logging.getLogger(__name__)

CONVERTED = "refs/convert/parquet"  # where the Hub keeps its conversion, as CONFIG/SPLIT/NUMBER.parquet
LOG_IN = "check the name, and for a private or gated data set ask for access and log in with `hf auth login`"
_SOURCE = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([^:|]*))?")


class HubSource(NamedTuple):
    """A data set on the Hub."""

    repository: str  # OWNER/NAME
    revision: str | None = None  # branch, tag or commit
    config: str | None = None  # None: the only one, or the default

    @property
    def short_name(self) -> str:
        """The name for tasks, results and ids: `NAME`, or `NAME-CONFIG`."""
        return "-".join(filter(None, (self.repository.split("/")[1], self.config)))


def is_hub_source(source: object) -> bool:
    """Whether a source is a data set on the Hub."""
    return isinstance(source, str) and source.startswith("hf:")


def parse_hub_source(source: str) -> HubSource:
    """Parse `hf:OWNER/NAME[@REVISION][:CONFIG]`; raise CorpusError for anything else."""
    match = _SOURCE.fullmatch(source)
    if match is None:
        grammar = "hf:OWNER/NAME[@REVISION][:CONFIG], and types behind another colon: hf:OWNER/NAME::Type"
        raise CorpusError(f"{source!r} names no data set on the Hub; write {grammar}")
    return HubSource(match[1], match[2], match[3] or None)


def find_hub_dataset(source: str, options: ReadOptions = DETECT) -> list[Part]:
    """Download a data set, or take it from the cache; return its splits, with its commit as their hash."""
    hub = parse_hub_source(source)
    commit, datasets = _load(hub)
    splits = {name: infer_split(name) for name in datasets}
    if not any(splits.values()):
        splits = dict.fromkeys(datasets, WHOLE)
    if unused := [name for name, split in splits.items() if split is None]:
        logger.warning("%s: the splits %s are none of train, validation and test, and left out",
                       source, ", ".join(unused))  # fmt: skip
    key = ":".join(filter(None, ("hf", hub.repository, hub.config)))
    parts = []
    for name, split in splits.items():
        place, stem = f"{hub.repository} {name}", f"{hub.short_name}-{name}"
        if split:
            read = partial(read_dataset, datasets[name], place, stem, options)
            parts.append(Part(split, read, [], {key: commit}))
    return parts


def load_splits(source: str) -> tuple[str, dict[str, Dataset]]:
    """Load all splits of a data set, also those of other names than ours; return its commit and them."""
    return _load(parse_hub_source(source))


def _load(hub: HubSource) -> tuple[str, dict[str, Dataset]]:
    """Return the commit of a data set and its splits by name; raise CorpusError for whatever goes wrong."""
    try:
        state = _look_up(hub, hub.revision)
        if state is None:
            return _load_cached(hub)
        commit, paths, options = *state, {"name": hub.config}
        if f"{hub.repository.split('/')[1]}.py" in paths:
            commit, paths = _look_up(hub, CONVERTED) or (commit, [])
            options = {"data_files": _group_converted(hub, paths)}
        builder = _prepare(hub.repository, revision=commit, **options)
        if builder.hash != commit:  # `datasets` takes an older copy from its cache if the Hub refuses the files
            raise CorpusError(f"hf:{hub.repository}: the Hub refuses the files of commit {commit}; {LOG_IN}")
        return commit, _list_splits(builder)
    except CorpusError:
        raise
    except Exception as error:  # of `datasets`, of the Hub's client, or of the HTTP library of the day
        raise CorpusError(_explain(hub, error)) from error


def _look_up(hub: HubSource, revision: str | None) -> tuple[str, list[str]] | None:
    """Return the commit and the files of a revision; None without connection."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().dataset_info(hub.repository, revision=revision)
    except HfHubHTTPError as error:
        if revision == CONVERTED:
            return None
        status = error.response.status_code
        problem = f"hf:{hub.repository}{f'@{revision}' if revision else ''}: the Hub answers {status}"
        missing = f"so there is no such data set, or not for you; {LOG_IN}"
        raise CorpusError(f"{problem}, {missing if status in (401, 403, 404) else 'try again later'}") from error
    except Exception:  # offline mode, or of the HTTP library of the day
        return None
    return info.sha, [file.rfilename for file in info.siblings]


def _load_cached(hub: HubSource) -> tuple[str, dict[str, Dataset]]:
    """Load what an earlier run downloaded."""
    builder = _prepare(hub.repository, name=hub.config)
    commit, config = builder.hash, builder.config.name
    if hub.revision not in (None, commit):
        raise ConnectionError(f"no connection, and the cache holds commit {commit}, not {hub.revision}")
    message = "hf:%s: no connection to the Hub; configuration %s of commit %s is read from the cache"
    logger.warning(message, hub.repository, config, commit)
    return commit, _list_splits(builder)


def _prepare(repository: str, **options: Any) -> DatasetBuilder:
    """Do what `datasets.load_dataset` does; `hf://` keeps it from reading a local folder of that name."""
    import datasets  # takes seconds, and only this source needs it

    builder = datasets.load_dataset_builder(f"hf://datasets/{repository}", **options)
    builder.download_and_prepare()
    return builder


def _list_splits(builder: DatasetBuilder) -> dict[str, Dataset]:
    return {str(split): dataset for split, dataset in builder.as_dataset().items()}


def _group_converted(hub: HubSource, paths: list[str]) -> dict[str, list[str]]:
    """Group the converted files of a configuration by split."""
    configs: dict[str, dict[str, list[str]]] = {}
    for path in sorted(path for path in paths if re.fullmatch(r"[^/]+/[^/]+/[^/]+\.parquet", path)):
        config, split, _ = path.split("/")
        configs.setdefault(config, {}).setdefault(split, []).append(path)
    if not configs:
        problem = f"hf:{hub.repository} holds a script, which is not run, and the Hub has not converted it to Parquet"
        raise CorpusError(f"{problem}; convert it with its script, and give the files")
    config = hub.config or (next(iter(configs)) if len(configs) == 1 else "")
    if config not in configs:
        names = f"the configurations {', '.join(configs)}"
        raise CorpusError(f"hf:{hub.repository} has {names}; {_ask_for_config(hub)}")
    return configs[config]


def _ask_for_config(hub: HubSource) -> str:
    return f"write hf:{hub.repository}:CONFIG (and types behind another colon: hf:{hub.repository}::Type)"


def _explain(hub: HubSource, error: Exception) -> str:
    """Explain in one line why a data set can't be loaded."""
    reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    problem = f"hf:{hub.repository} can't be loaded: {reason}"
    if isinstance(error, ConnectionError):
        return f"{problem}; check the network, and whether HF_HUB_OFFLINE is set"
    if type(error).__name__ == "DatasetNotFoundError":
        return f"{problem}; {LOG_IN}"
    if re.search("BuilderConfig|Config name", reason):
        return f"{problem}; {_ask_for_config(hub)}"
    return f"{problem}; see https://huggingface.co/datasets/{hub.repository}"
