"""Two processes never write into one folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import run_mtl_ner
from mtl_bioner.folder_lock import OWNER, FolderInUseError, lock_folder


ROOT = Path(__file__).parents[1]
HOLD = "import sys; from pathlib import Path; from mtl_bioner.folder_lock import lock_folder\n"
HOLD += "with lock_folder(Path(sys.argv[1]), 'a training'): print('held', flush=True); sys.stdin.read()"


def test_a_second_owner_is_told_who_the_first_is(tmp_path):
    with lock_folder(tmp_path / "out", "a training"):
        message = (
            rf"out is in use by a training \(process {os.getpid()} on .*, since 20\d\d-.*\); wait for it, or name"
        )
        with pytest.raises(FolderInUseError, match=message), lock_folder(tmp_path / "out", "another"):
            pass
        (tmp_path / "out" / OWNER).write_text("{", encoding="utf-8")
        with pytest.raises(FolderInUseError, match="in use by another process;"), lock_folder(tmp_path / "out", "b"):
            pass
    with lock_folder(tmp_path / "out", "another"):
        assert json.loads((tmp_path / "out" / OWNER).read_text(encoding="utf-8"))["program"] == "another"
    assert not (tmp_path / "out" / OWNER).exists()


def test_a_killed_owner_holds_nothing(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError, match=f"process {process.pid} "), lock_folder(tmp_path, "another"):
        pass
    process.kill()
    process.wait()
    with lock_folder(tmp_path, "another"):
        pass


@pytest.mark.parametrize("option", [(), ("--search", "1")])
def test_a_second_training_in_a_folder_is_refused_in_one_line(argv, tmp_path, capsys, option):
    with lock_folder(tmp_path / "out", "run_mtl_ner"):
        assert run_mtl_ner.main(argv("--overwrite_output", *option)) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("run_mtl_ner: error:") and "out is in use by run_mtl_ner (process" in line
