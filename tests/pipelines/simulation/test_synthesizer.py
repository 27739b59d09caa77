"""The synthesiser and the demo's catalogue: repeatable, in tune, quick enough, and readable by anybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossfade.audio.decoding import Recording
from crossfade.audio.metadata import read_tags
from crossfade.errors import UsageError
from crossfade.pipelines.simulation import instruments
from crossfade.pipelines.simulation.composition import BRIDGES, PARAMETERS, STYLES, Sound
from crossfade.pipelines.simulation.demo import CatalogueOptions, plan, waveform, write_catalogue
from crossfade.pipelines.simulation.instruments import SAMPLE_RATE
from crossfade.pipelines.simulation.synthesizer import render

PITCH_TOLERANCE_CENTS = 20
"""strings are deliberately a few cents apart"""


@pytest.mark.parametrize("style", STYLES)
def test_a_seed_renders_the_same_piece_again(style: str) -> None:
    first, again = (render(STYLES[style], seconds=3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3 * SAMPLE_RATE,) and first.dtype == np.float32
    assert np.isfinite(first).all() and np.abs(first).max() == pytest.approx(1)
    assert not np.array_equal(first, render(STYLES[style], seconds=3, seed=5))


@pytest.mark.parametrize("frequency", [110.0, 246.9, 440.0])
def test_instruments_play_the_pitch_they_are_asked_for(frequency: float, rng: np.random.Generator) -> None:
    notes = {
        "pluck": instruments.pluck(frequency, 1.0, 0.5, rng),
        "struck": instruments.struck(frequency, 1.0, 0.5),
        "bowed": instruments.bowed(frequency, 1.0, 0.5, rng, players=1),
        "synth": instruments.synth(frequency, 1.0, 0.5, rng),
        "bass": instruments.bass(frequency, 1.0, 0.5),
    }
    for name, note in notes.items():
        spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note)), 8 * len(note)))
        at = np.fft.rfftfreq(8 * len(note), 1 / SAMPLE_RATE)
        near = (at > frequency / 1.06) & (at < frequency * 1.06)
        found = at[near][np.argmax(spectrum[near])]
        assert abs(1200 * np.log2(found / frequency)) < PITCH_TOLERANCE_CENTS, name
        assert spectrum[near].max() > 20 * np.median(spectrum), name


def test_a_string_dies_away_and_a_muted_one_at_once(rng: np.random.Generator) -> None:
    def remaining(note: instruments.Samples) -> float:
        half = len(note) // 2
        return float(np.sum(note[half:] ** 2) / np.sum(note**2))

    ringing = remaining(instruments.power_chord(82.4, 1.0, 0.5, rng, muted=False))
    muted = remaining(instruments.power_chord(82.4, 1.0, 0.5, rng, muted=True))
    assert muted < 0.01 < ringing < 0.5


def test_brightness_brightens_and_reverb_rings_on() -> None:
    def centroid(sound: Sound) -> float:
        spectrum = np.abs(np.fft.rfft(render(sound, seconds=4, seed=1)))
        return float(np.sum(np.arange(spectrum.size) * spectrum) / spectrum.sum())

    for style in STYLES.values():
        assert centroid(replace(style, brightness=0.9)) > centroid(replace(style, brightness=0.1))


def test_a_sound_is_its_vector() -> None:
    for style in STYLES.values():
        assert style.vector().shape == (len(PARAMETERS),)
        np.testing.assert_allclose(Sound.from_vector(style.vector()).vector(), style.vector())


def test_the_plan_has_every_style_bridges_formats_and_different_loudness() -> None:
    tracks = plan()
    assert len(tracks) >= 48
    assert len({track.path for track in tracks}) == len(tracks)
    assert all(20 <= track.seconds <= 30 for track in tracks)
    for style in STYLES:
        assert len({track.artist for track in tracks if track.style == style}) >= 4
    assert {track.style for track in tracks} - set(STYLES) == {"/".join(pair) for pair in BRIDGES}
    assert {Path(track.path).suffix for track in tracks} == {".mp3", ".flac", ".ogg", ".m4a", ".wav"}
    assert np.ptp([track.loudness_dbfs for track in tracks]) > 10
    assert plan() == tracks != plan(CatalogueOptions(seed=1))


def test_files_of_all_formats_hold_the_waveform_and_the_tags(tmp_path: Path) -> None:
    options = CatalogueOptions(artists_per_style=1, tracks_per_artist=1, shortest_seconds=4, longest_seconds=4)
    planned = plan(options)[0]
    for suffix in ("mp3", "flac", "ogg", "m4a", "wav"):
        track = replace(planned, path=f"a/{suffix}.{suffix}")
        list(write_catalogue(tmp_path, [track]))
        path = tmp_path / track.path
        with Recording(path, SAMPLE_RATE) as recording:
            assert recording.duration_seconds == pytest.approx(4, abs=0.2), suffix
        tags = read_tags(path)
        assert (tags.title, tags.artists, tags.album) == (track.title, (track.artist,), track.album), suffix
        assert tags.genres == (track.style,) and tags.released_at, suffix
    samples = waveform(planned)
    assert np.abs(samples).max() < 1
    level = 20 * np.log10(np.sqrt(np.mean(samples**2)))
    assert level <= planned.loudness_dbfs + 0.1


def test_an_interrupted_catalogue_carries_on_and_a_changed_plan_starts_anew(tmp_path: Path) -> None:
    options = CatalogueOptions(artists_per_style=1, tracks_per_artist=1, shortest_seconds=1, longest_seconds=1)
    tracks = plan(options)
    started = write_catalogue(tmp_path, tracks)
    first = next(started)
    started.close()
    before = first.stat().st_mtime_ns
    assert [path.is_file() for path in write_catalogue(tmp_path, tracks)] == [True] * len(tracks)
    assert first.stat().st_mtime_ns == before
    changed = [replace(track, seconds=1.5) for track in tracks]
    list(write_catalogue(tmp_path, changed))
    assert first.stat().st_mtime_ns != before
    assert not list(tmp_path.rglob(".unfinished*"))


def test_an_impossible_catalogue_is_refused() -> None:
    with pytest.raises(UsageError, match="seconds"):
        CatalogueOptions(shortest_seconds=5, longest_seconds=2)
