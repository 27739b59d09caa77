"""What a genre model hears of files: reasons for single files, and one line where the machine is at fault."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from crossfade.errors import ResourceError
from crossfade.pipelines.audio_analysis.feature_sources import FeatureCache, extract_all


def test_a_disk_that_fails_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk ends the run with one line; a file that may not be read is named, and the others go on."""
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    cache = FeatureCache(tmp_path / "cache")
    fault = errno.EACCES

    def refuse(self: Path, *_: Any) -> None:
        raise OSError(fault, os.strerror(fault), str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert [one.reason for one in extract_all(files, ["descriptors"], cache)] == ["not readable: Permission denied"] * 2
    fault = errno.EIO
    with pytest.raises(ResourceError, match=r"a\.wav: Input/output error; what was heard stays in the cache"):
        list(extract_all(files, ["descriptors"], cache))
