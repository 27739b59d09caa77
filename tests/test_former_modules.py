"""An import of a former module says where it went."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from conftest import ROOT

MOVED = dict(line.split() for line in (ROOT / "moved.txt").read_text().splitlines())


def file_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def test_every_former_module_is_gone_and_its_successor_exists() -> None:
    assert not [former for former in MOVED if file_of(former).exists()]
    assert not [new for new in MOVED.values() if not file_of(new).exists()]


@pytest.mark.parametrize("former", MOVED)
def test_an_import_says_where_it_went(former: str) -> None:
    """Also of a name in a former module that is a package now."""
    package, _, module = f"crossfade.{former}".rpartition(".")
    is_package = file_of(former).with_suffix("").is_dir()
    code = f"from {package}.{module} import Anything" if is_package else f"from {package} import {module}"
    with pytest.raises(ModuleNotFoundError, match=rf"^crossfade\.{former} is crossfade\.{MOVED[former]} now; what is"):
        exec(code)


def test_other_imports_fail_as_always() -> None:
    for name in ("crossfade.nothing", "crossfade.pipelines.nothing", "no_such_package.library"):
        with pytest.raises(ModuleNotFoundError, match="No module named"):
            importlib.import_module(name)
    with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'crossfade'"):
        exec("from crossfade import Nothing")
