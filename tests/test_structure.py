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
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sounds import music_like

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


def needed_alone(name: str, found: dict[str, Distribution] | None = None) -> dict[str, Distribution]:
    """The installed distributions that one needs without its extras, itself included, by name."""
    found = {} if found is None else found
    if canonicalize_name(name) not in found:
        found[canonicalize_name(name)] = one = distribution(name)
        for needed in map(Requirement, one.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                needed_alone(needed.name, found)
    return found


@pytest.mark.slow
def test_the_core_wheel_alone_classifies(tmp_path: Path) -> None:
    """Builds the wheel, and hears a file with it, outside here, where nothing is but what it needs without extras."""
    # From a copy: setuptools leaves a build folder behind, and would ship what is still in it next time.
    source, place = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    names = [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "__init__.py",
        "errors.py",
        "option_types.py",
        "moved.txt",
        "py.typed",
    ]
    for name in (*names, *LAYERS):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", source, "-w", tmp_path]
    subprocess.run(build, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": ""})
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name.removeprefix("crossfade/") for name in wheel.namelist()}
        wheel.extractall(place)
    assert {name for name in packed if name.endswith(".py")} == {relative(file) for file in SOURCES}
    page = {relative(file) for file in (ROOT / "service" / "page").rglob("*") if file.is_file()}
    assert {"py.typed", "moved.txt"} | page <= packed
    needed = needed_alone("crossfade")
    assert not {"torch", "pandas", "scipy", "librosa", "scikit-learn"} & needed.keys()
    del needed["crossfade"]
    for one in needed.values():
        for name in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            (place / name).symlink_to(Path(str(one.locate_file(name))))

    def crossfade(*words: str) -> subprocess.CompletedProcess[str]:
        start = "from importlib.metadata import entry_points as all; (one,) = all(group='console_scripts', name=NAME)"
        code = f"import sys; sys.path.append({str(place)!r}); NAME = 'crossfade'; {start}; sys.exit(one.load()())"
        # Isolated, and without the folder of what is installed here.
        command = [sys.executable, "-I", "-S", "-c", code, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    soundfile.write(tmp_path / "a.flac", music_like(5.0, 16_000, np.random.default_rng(0)), 16_000)
    heard = crossfade("classify", "a.flac")
    assert '"genres"' in heard.stdout, heard.stderr
    train = crossfade("train", "--library", "L")
    assert train.returncode == 1
    assert "pip install 'crossfade[train]'" in train.stderr and "Traceback" not in train.stderr
