"""The house: imports run one way, examples in docstrings are true, and the wheel holds what the tree holds."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

FLOORS = ("audio", "models", "pipelines", "service")


def modules(floor: str) -> list[Path]:
    return sorted((ROOT / floor).glob("*.py"))


def imported_floors(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 2 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("crossfade"):
            pytest.fail(f"{file}: imports {node.module} by its full name; use a relative import")


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_run_one_way(floor: str) -> None:
    below = FLOORS[: FLOORS.index(floor)]
    for file in modules(floor):
        assert set(imported_floors(file)) <= set(below), file


@pytest.mark.parametrize("floor", FLOORS)
def test_examples_in_docstrings(floor: str) -> None:
    for file in modules(floor):
        if ">>>" in file.read_text():
            module = importlib.import_module(f"crossfade.{floor}.{file.stem}")
            assert doctest.testmod(module).failed == 0, file


def test_nothing_unpickles_or_runs_remote_code() -> None:
    for floor in FLOORS:
        for file in modules(floor):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                    assert not {"pickle", "joblib", "dill", "cloudpickle"} & set(names), file
                if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                    assert isinstance(node.value, ast.Constant) and node.value.value is False, file


def test_nothing_is_tracked_that_is_ignored() -> None:
    """What a library writes beside its work (`catboost_info/`) is no part of the tree."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    command = ["git", "-C", ROOT, "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.slow
def test_the_core_wheel_alone_classifies(tmp_path: Path) -> None:
    """Builds the wheel, installs it without extras in a clean environment, and hears a file with it, outside here."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # From a copy: setuptools leaves a build folder behind, and would ship what is still in it next time.
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE", *FLOORS):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", source, "-w", tmp_path)
    wheel = next(tmp_path.glob("*.whl"))
    held = {name.removeprefix("crossfade/") for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    assert held == {f"{floor}/{file.name}" for floor in FLOORS for file in modules(floor)}
    run(sys.executable, "-m", "venv", tmp_path / "clean")
    python = tmp_path / "clean" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel)
    make = (
        "import numpy, soundfile; t = numpy.arange(80000) / 16000; "
        "soundfile.write('a.flac', .3 * numpy.sin(2 * numpy.pi * 220 * t) * (1 + numpy.sin(12 * t)), 16000)"
    )
    run(python, "-c", make)
    assert '"genres"' in run(tmp_path / "clean" / "bin" / "crossfade", "classify", "a.flac")
    heavy = run(python, "-m", "pip", "list", "--format", "freeze").lower()
    assert not {"torch", "pandas", "scipy", "librosa", "scikit-learn"} & {
        line.split("==")[0] for line in heavy.splitlines()
    }
    train = subprocess.run(
        [tmp_path / "clean" / "bin" / "crossfade", "train", "--library", "L"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert train.returncode == 1
    assert "Traceback" not in train.stderr
