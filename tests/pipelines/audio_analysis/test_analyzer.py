"""What the analyser says of a track beside its description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer

RATE = 16_000


@pytest.mark.parametrize("third", [0, 1, 2])
def test_the_strongest_excerpt_is_the_loudest(third: int, tmp_path: Path, rng: np.random.Generator) -> None:
    noise = 0.05 * rng.normal(size=60 * RATE).astype(np.float32)
    noise[third * 20 * RATE : (third + 1) * 20 * RATE] *= 4
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    assert AudioAnalyzer(threads=1).analyze(tmp_path / "a.wav").strongest_seconds == 10 + 20 * third


def test_a_track_that_is_heard_whole_has_no_excerpts(tmp_path: Path, rng: np.random.Generator) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.normal(size=10 * RATE), RATE)
    assert AudioAnalyzer(threads=1).analyze(tmp_path / "a.wav").strongest_seconds is None
