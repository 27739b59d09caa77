"""The house: imports run one way, every folder says what belongs in it, docstrings' examples are true, and the wheel
holds what the tree holds."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

FOLDERS = (
    "audio",
    "models",
    "models/nn",
    "models/encoders",
    "models/evaluation",
    "models/genres",
    "models/recommenders",
    "models/hybrid",
    "models/ranking",
    "models/analysis",
    "pipelines/audio_analysis",
    "pipelines/library",
    "pipelines/interactions",
    "pipelines/embedding",
    "pipelines/charts",
    "pipelines/versions",
    "pipelines/search",
    "pipelines/training",
    "pipelines/evaluation",
    "pipelines/genres",
    "pipelines/analysis",
    "pipelines/report",
    "pipelines/simulation",
    "pipelines/spark",
    "pipelines/commands",
    "pipelines",
    "service",
)
"""from the bottom up: a folder may import itself and those before it"""

MODULES_IN_A_FOLDER = 15
LAYERS = ("audio", "models", "pipelines", "service")
SOURCES = [*ROOT.glob("*.py"), *(file for layer in LAYERS for file in (ROOT / layer).rglob("*.py"))]


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def floor(path: str) -> int:
    """Where a path stands in FOLDERS; folders inside those count as theirs, what stands at the root is below all."""
    folders = Path(path).parts[:-1]
    return next((FOLDERS.index(name) for name in ("/".join(folders[:2]), *folders[:1]) if name in FOLDERS), -1)


def imports(file: Path) -> Iterator[str]:
    """The paths of Crossfade's modules that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = file.parents[node.level - 1] / (node.module or "").replace(".", "/")
            for alias in node.names:
                inner = base / f"{alias.name}.py"
                yield relative(inner if inner.exists() else base.with_suffix(".py") if base != ROOT else ROOT / "_")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "crossfade":
            pytest.fail(f"{file}: imports {node.module} by its full name; use a relative import")


@pytest.mark.parametrize("file", SOURCES, ids=relative)
def test_imports_run_one_way(file: Path) -> None:
    here = relative(file)
    if here == "__init__.py":
        return
    up = [path for path in imports(file) if floor(path) > floor(here)]
    assert not up, f"{here} imports {', '.join(up)}"


def test_no_import_circles() -> None:
    graph = {relative(file): set(imports(file)) for file in SOURCES}
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert not graph, f"a circle among {', '.join(sorted(graph))}"


def test_every_folder_has_its_sentence_and_is_packaged() -> None:
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {"." if file.parent == ROOT else relative(file.parent) for file in SOURCES}
    assert {"crossfade" if name == "." else f"crossfade.{name.replace('/', '.')}" for name in there} == set(packaged)
    for name in there:
        assert ast.get_docstring(ast.parse((ROOT / name / "__init__.py").read_text())), name
        modules = [file for file in (ROOT / name).glob("*.py") if file.stem != "__init__"]
        assert len(modules) <= MODULES_IN_A_FOLDER, name


@pytest.mark.parametrize("layer", LAYERS)
def test_examples_in_docstrings(layer: str) -> None:
    for file in sorted((ROOT / layer).rglob("*.py")):
        if ">>>" in file.read_text():
            module = importlib.import_module("crossfade." + relative(file)[:-3].replace("/", "."))
            assert doctest.testmod(module).failed == 0, file


def test_nothing_unpickles_or_runs_remote_code() -> None:
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "joblib", "dill", "cloudpickle"} & set(names), file
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, file


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
    files = (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "__init__.py",
        "errors.py",
        "option_types.py",
        "moved.txt",
        "py.typed",
    )
    for name in (*files, *LAYERS):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", source, "-w", tmp_path)
    wheel = next(tmp_path.glob("*.whl"))
    packed = {name.removeprefix("crossfade/") for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in packed if name.endswith(".py")} == {relative(file) for file in SOURCES}
    page = {relative(file) for file in (ROOT / "service" / "page").rglob("*") if file.is_file()}
    assert {"py.typed", "moved.txt"} | page <= packed
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
