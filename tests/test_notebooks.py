"""The notebooks of the documentation run on the embedded sample with the quickstart's encoder."""

from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["look_at_errors", "new_type", "train_on_your_corpus"])
def test_notebook_runs(name: str, tmp_path: Path, minilm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    text = (ROOT / "docs" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not [part for part in ("/home/", "/root/", "/tmp/", "image/png") if part in text]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook, resources = nbformat.reads(text, as_version=4), {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=resources).execute()
