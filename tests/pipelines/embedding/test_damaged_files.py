"""Damaged music: `scripts/benchmarks/embed_mutated` on a few files of each kind."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT


def test_every_damaged_file_is_embedded_or_has_a_reason() -> None:
    words = [sys.executable, ROOT / "scripts/benchmarks/embed_mutated", "--files", "49", "--seconds", "2"]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert "0 lost, of 49" in found.stdout
