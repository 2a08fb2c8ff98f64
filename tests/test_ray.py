"""The command `annotate --ray`: the output is that of one machine, whatever is killed on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from toys import put, read_json, read_jsonl

import mtl_bioner
import run_annotate
from dataset_scripts.schema import CorpusError
from mtl_bioner.annotation import cluster as cluster_module
from mtl_bioner.annotation import cluster_inputs, ray_session
from mtl_bioner.annotation.cluster_folder import ClusterFolder
from mtl_bioner.annotation.cluster_inputs import ReadOptions, Scan
from mtl_bioner.annotation.local import WorkerError
from mtl_bioner.annotation.parts import SourceDocument, Unreadable, number_ids
from mtl_bioner.annotation.sources import find_sources, measure
from mtl_bioner.annotation.tables import ColumnOptions


ROOT = Path(__file__).parents[1]


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model that is never loaded."""
    put(tmp_path / "model/model.safetensors", "x")
    return put(tmp_path / "model/config.json", '{"model_type": "mtl_bioner", "tasks": []}').parent


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a.txt", "--ray", "--to", "brat"], "--to brat: with --ray, only jsonl or parquet; mtl-bioner corpora conv"),
        (["-", "--ray"], "standard input is not on the nodes of a cluster; save it on a file system that they sh"),
        (["hf:me/notes", "--ray"], "hf:me/notes is not on the nodes of a cluster; save it on"),
        (["--ray", "a.txt"], "'a.txt' is no address of a cluster; give HOST:PORT, auto or local, or --ray as the l"),
        (["a.txt", "--ray", "ray://head:10001"], "ray://head:10001 is for the Ray client; start this command on the"),
        (["b.txt", "--ray"], "b.txt: no such file or folder"),
        (["a.txt", "--ray", "--output", "nowhere://x"], "--output nowhere://x: no such file system ("),
        (["a.txt", "--output", "s3://b/x"], "--output s3://b/x: a URI can be written with --ray only; give a fol"),
        (["a.txt", "--ray", "--output", "a.txt"], "--output a.txt is a file; give a folder"),
        (["a.txt", "--ray", "--output", "model"], "--output model is not empty, and no run of annotate; give"),
        (["a.txt", "--ray", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1 ([Errno 111] Connection refused); "),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(model, tmp_path, capsys, monkeypatch, arguments, told):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.txt", "Gout.")
    assert run_annotate.main(["model", "--output", "out", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mtl-bioner annotate: error: ") and told in line
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    put(tmp_path / "a.txt", "Gout.")
    assert run_annotate.main([str(model), str(tmp_path / "a.txt"), "--output", str(tmp_path / "out"), "--ray"]) == 2
    assert "--ray needs Ray (" in (shown := capsys.readouterr().err)
    assert shown.endswith("; pip install 'mtl-bioner[ray]'\n")


# -------------------------------------------------------------------------------------------------- groups and folders


def test_groups_are_consecutive_files_of_some_size(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_inputs, "GROUP_BYTES", 5)
    for name, text in {"a": "1234", "b": "12", "c": "123456", "d": "1"}.items():
        put(tmp_path / f"in/{name}.txt", text)
    monkeypatch.chdir(tmp_path)
    sources = find_sources(["in"], ColumnOptions(), tmp_path)
    groups = cluster_inputs.form_groups(sources, [measure(source.path) for source in sources])
    assert [[source.path.name for source in group.sources] for group in groups] == [["a.txt", "b.txt"], ["c.txt"],
                                                                                  ["d.txt"]]  # fmt: skip
    assert groups[0].stated == {str(tmp_path / "in/a.txt"): "in/a.txt", str(tmp_path / "in/b.txt"): "in/b.txt"}
    options = ReadOptions(ColumnOptions(), 1)
    monkeypatch.chdir("/")
    assert [part.documents[0].document_id for part in cluster_inputs.read_parts(groups[0], options)] == ["a", "b"]
    put(tmp_path / "in/b.txt", "other")
    with pytest.raises(CorpusError, match="b.txt is missing or differs on a node of the cluster"):
        list(cluster_inputs.read_parts(groups[0], options))


@pytest.mark.parametrize("seed", range(20))
def test_repeated_ids_get_the_names_of_one_machine(seed):
    import pyarrow as pa

    generator = random.Random(seed)
    ids = [generator.choice(["7", "7-2", "7-2-2", "7-3", "8", "x-1", "-1", str(n)]) for n in range(24)]
    scans = [Scan(pa.array(ids[i : i + 6], pa.large_string()), [], 1, 0) for i in range(0, 24, 6)]
    groups = [cluster_inputs.Group(n, (), (), {}) for n in range(4)]
    named = cluster_inputs.name_repeated(groups, scans)
    renamed = [group.names.get(n, ids[6 * group.number + n]) for group in named for n in range(6)]
    expected = [item.document_id for item in number_ids([SourceDocument(name, "", "") for name in ids])]
    assert renamed == expected


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_a_run_is_written_to_any_file_system(tmp_path, scheme):
    folder = ClusterFolder(f"{scheme}{tmp_path}/out")
    assert folder.read_manifest() is None
    manifest = {"mtl_bioner": "1", "model": {}, "arguments": {}, "inputs": [], "finished": False}
    folder.write_manifest(manifest)
    folder.write_errors([Unreadable("a.txt", 1, "broken")])
    assert folder.read_manifest() == manifest
    assert folder.list_names() == ["errors.jsonl", "manifest.json"]
    assert folder.read("errors.jsonl") == b'{"file": "a.txt", "line": 1, "reason": "broken"}\n'
    folder.write("manifest.json", b"{}")
    with pytest.raises(CorpusError, match=r"/out/manifest.json is no manifest of annotate; give another --output"):
        folder.read_manifest()


@pytest.mark.parametrize(
    ("to", "content"), [("jsonl", b'{"entities": [{"type": "D"}]}\n{"enti'), ("parquet", b"PAR1")]
)
def test_a_damaged_part_is_told(tmp_path, to, content):
    (folder := ClusterFolder(str(tmp_path))).write("part", content)
    with pytest.raises(WorkerError, match=r"^part is damaged \(.*; see that all nodes share the output"):
        cluster_module.count_entities(folder, ["part"], to)


@pytest.mark.parametrize(
    ("cause", "expected", "told", "is_loading"),
    [
        (CorpusError("a.txt is missing"), CorpusError, "a.txt is missing", None),
        (
            OSError(28, "No space left on device"),
            WorkerError,
            "the cluster failed: OSError: [Errno 28] No space l",
            False,
        ),
        (
            ray_session.ModelError("no weights"),
            WorkerError,
            "no weights; check its name, copy it again, or put it",
            True,
        ),
        (None, WorkerError, "the cluster failed: ValueError: boom", False),
    ],
)
def test_failures_on_the_cluster_are_one_line(cause, expected, told, is_loading):
    exceptions = pytest.importorskip("ray").exceptions
    trace = "Traceback ...\nValueError: boom\n\nThe above exception was the direct cause of the following exception:\n"
    cause = cause or exceptions.UserCodeException("UDF failed")
    with pytest.raises(expected) as caught, ray_session.explain_failures():
        raise exceptions.RayTaskError("f", trace, cause)
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)
    assert getattr(caught.value, "is_loading", None) == is_loading


# ------------------------------------------------------------------------------------------------------ a real cluster

TEXT = "Cisplatin caused renal failure in case {}, and BRCA1 carriers had breast cancer. "
PART_SIZE = 2
NODE = {"num_cpus": 2, "object_store_memory": 100 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes on this machine."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = str(ROOT)  # of the workers
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Files of which ids repeat, and some lines can't be read."""
    for file in range(2):
        rows = [{"text": TEXT.format(n) * 20, "id": str(n % 40), "n": n} for n in range(60)]
        put(tmp_path / f"in/{file}.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    return tmp_path / "in"


@pytest.fixture
def start(cluster: Any, trained: Path, inputs: Path, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """`start(option, ...)` starts the command on the cluster."""

    def start(*options: str) -> subprocess.Popen:
        arguments = ["in", "--output", "out", "--part_size", str(PART_SIZE), "--dtype", "float32"]
        arguments += ["--ray", cluster.address, *options]
        return subprocess.Popen(
            [sys.executable, "-m", "mtl_bioner", "annotate", str(trained), *arguments], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


@pytest.fixture
def expected(trained: Path, inputs: Path) -> list[dict[str, Any]]:
    """What one machine writes."""
    return list(mtl_bioner.annotate(inputs, trained, part_size=PART_SIZE, dtype="float32"))


def wait_for_parts(process: subprocess.Popen, folder: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while len(list(folder.glob("part-*"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, f"no {count} parts"
        time.sleep(0.02)


def read_output(folder: Path) -> list[dict[str, Any]]:
    return [line for path in sorted(folder.glob("part-*")) for line in read_jsonl(path)]


def finish(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=300)
    assert process.returncode == 1, error  # two lines can't be read
    return out


def kill_actor() -> None:
    """Kill a process that annotates."""
    import psutil

    next(p for p in psutil.process_iter(["cmdline"]) if "(PartAnnotator)" in " ".join(p.info["cmdline"] or ())).kill()


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_node_change_nothing(start, cluster, expected, tmp_path):
    from pyarrow import parquet

    out = tmp_path / "out"
    process = start("--workers", "2", "--output", f"file://{out}", "--to", "parquet")
    wait_for_parts(process, out, 1)
    kill_actor()
    wait_for_parts(process, out, 20)
    cluster.remove_node(list(cluster.worker_nodes)[0], allow_graceful=False)
    summary = finish(process)
    cluster.add_node(**NODE)
    rows = [row for path in sorted(out.glob("part-*")) for row in parquet.read_table(path).to_pylist()]
    assert [row["document_id"] for row in rows] == [document["document_id"] for document in expected]
    assert [[{**e, "tasks": None} for e in row["entities"]] for row in rows] == [
        [{**e, "tasks": None} for e in document["entities"]] for document in expected
    ]
    assert summary.startswith(f"file://{out}: 120 documents, ") and ", 2 not read; " in summary
    assert summary.count("\n") == 1
    assert [error["file"] for error in read_jsonl(out / "errors.jsonl")] == ["in/0.jsonl", "in/1.jsonl"]
    assert {path.name for path in out.iterdir() if not path.name.startswith("part-")} == {
        "errors.jsonl", "manifest.json"
    }  # fmt: skip


@pytest.mark.slow
def test_a_killed_driver_goes_on(start, expected, tmp_path):
    for parts, number in ((1, signal.SIGKILL), (20, signal.SIGINT)):
        process = start()
        wait_for_parts(process, tmp_path / "out", parts)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    told = [line for line in error.splitlines() if line and "logging.cc" not in line]
    assert len(told) == 1 and "stopped by SIGINT; what is done is kept" in told[0]
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    out = finish(start())
    assert read_output(tmp_path / "out") == expected
    again = sum(path.stat().st_mtime_ns != when for path, when in done.items())
    assert again <= 6  # those that were written, but not noted yet
    assert "; the last of it in " in out
    assert "; all of it was done before" in finish(start())
    assert read_json(tmp_path / "out/manifest.json")["totals"]["documents"] == 120
