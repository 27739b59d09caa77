"""The notebooks run from top to bottom, quickly, by the public API and the command line alone, and are kept without
outputs."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PUBLIC = {"crossfade", "polars", "numpy", "matplotlib", "librosa", "sklearn", "IPython", "tempfile", "pathlib"}


def test_there_are_all_of_them() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, len(NOTEBOOKS) + 1)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_kept(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_imports_nothing_below_the_public_api(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.splitlines() if not line.startswith("!")]
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= PUBLIC
            assert not [alias.name for alias in node.names if alias.name.startswith("crossfade.")]
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] in PUBLIC - {"crossfade"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.source.startswith("!") or "\n!" in cell.source:  # a command that fails is no exception of Python's
            cell.source = cell.source.replace("\n!", "\nassert not globals().get('_exit_code')\n!")
            cell.source += "\nassert not _exit_code, _exit_code"
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "\\u001b[2K" not in nbformat.writes(book), "a command draws a moving bar into the page"
    size = sum(len(nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))) for cell in book.cells)
    assert size < 2_000_000, "outputs should be small"
