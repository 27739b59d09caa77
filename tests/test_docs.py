"""The docs: links lead somewhere, commands exist, code is true, every folder is described, and the site builds."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT, need
from cyclopts import CycloptsError

from crossfade.pipelines.commands.main import application

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
]
OURS = [page for page in PAGES if page.stem.startswith(("tutorial", "index", "limits", "architecture", "report"))]


def blocks(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http://", "https://", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_are_there(page: Path) -> None:
    named = re.findall(r"`((?:audio|models|pipelines|service|scripts|tests|docs|examples)/[\w/.]+)`", page.read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    commands = application()
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["crossfade"]:
                try:
                    commands.parse_args(words[1:], print_error=False, exit_on_error=False)
                except CycloptsError as error:
                    pytest.fail(f"{page.name}: {line}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_imports_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
        for module, names in re.findall(r"^from (crossfade[\w.]*) import (.+)$", block, re.MULTILINE):
            found = importlib.import_module(module)
            for name in names.strip("()").split(","):
                assert hasattr(found, name.strip()), f"{page.name}: {module}.{name.strip()}"


def test_python_of_the_tutorials_runs() -> None:
    for page in OURS:
        for block in blocks(page, "python"):
            if "table.jsonl" not in block:
                exec(compile(block, page.name, "exec"), {})


def test_every_folder_is_described() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for layer in ("audio", "models", "pipelines", "service"):
        for file in (ROOT / layer).rglob("__init__.py"):
            sentence = (ast.get_docstring(ast.parse(file.read_text())) or "").rstrip(".")
            assert f"| `{file.parent.relative_to(ROOT)}/` | {sentence} |" in page


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    need("mkdocs", find_spec("mkdocstrings") is not None, "pip install '.[docs]'")
    subprocess.run([ROOT / "scripts" / "dev" / "link-types"], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "to_listens" in (tmp_path / "site" / "reference_pipelines" / "index.html").read_text()
