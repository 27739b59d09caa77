"""Key: of cadences made in code, at any pitch and tuning, and none where there are no pitches."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import chords, drums, hits_at_random, melody, music_like, noise, pad, single_click, speech_like, tone

from crossfade.audio.decoding import Clip
from crossfade.audio.key import KEYS, PITCHES, SAMPLE_RATE, Key, chroma, key

RATE = SAMPLE_RATE
CADENCES = {
    "major": ((0, 4, 7), (-3, 0, 4), (5, 9, 12), (-5, -1, 2), (0, 4, 7, 12)),
    "minor": ((0, 3, 7), (-4, 0, 3), (5, 8, 12), (-5, -1, 2), (0, 3, 7, 12)),
}


def key_of(*parts: np.ndarray) -> Key | None:
    return key(np.sum([chroma(Clip(part, RATE)) for part in parts], axis=0))


@pytest.mark.parametrize("cents", [-40, 0, 25])
@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode", CADENCES)
def test_a_cadence_has_its_key_at_any_pitch_and_tuning(mode: str, tonic: int, cents: float) -> None:
    found = key_of(chords(CADENCES[mode], RATE, tonic=261.63 * 2 ** ((tonic + cents / 100) / 12)))
    assert found is not None
    assert found.name == f"{PITCHES[tonic]} {mode}"
    assert found.alternative in set(KEYS) - {found.name}
    assert found.confidence > 0.6


def test_drums_level_and_cuts_change_no_key(rng: np.random.Generator) -> None:
    samples = chords(CADENCES["minor"] * 3, RATE)
    with_drums = samples + 0.3 * drums(15, RATE, rng)
    for parts in ([samples], [1e-3 * samples], [with_drums], np.array_split(with_drums, 3)):
        found = key_of(*parts)
        assert found is not None and found.name == "C minor"


def test_a_cadence_with_a_beat(rng: np.random.Generator) -> None:
    found = key_of(music_like(8, RATE, rng))
    assert found is not None and found.name == "C major"


def test_one_voice_alone_has_its_key_or_a_neighbour() -> None:
    found = key_of(melody((0, 2, 4, 5, 7, 9, 7, 5, 4, 2, 0, -1, 0, 4, 7, 12, 7, 4, 0, 0), RATE))
    assert found is not None and found.name in {"A major", "F# minor", "E major", "D major"}


NO_KEY = {
    "white noise": lambda rng: noise(9, RATE, rng),
    "pink noise": lambda rng: noise(27, RATE, rng, slope=0.5),
    "silence": lambda rng: np.zeros(9 * RATE, np.float32),
    "a click": lambda rng: single_click(27, RATE),
    "another click": lambda rng: single_click(9, RATE),
    "nothing": lambda rng: np.zeros(0, np.float32),
    "a tenth of a second": lambda rng: music_like(0.1, RATE, rng),
}


@pytest.mark.parametrize("sound", NO_KEY)
def test_what_has_no_pitches_has_no_key(sound: str, rng: np.random.Generator) -> None:
    assert key_of(NO_KEY[sound](rng)) is None


@pytest.mark.parametrize("bpm", [60, 70, 90, 120, 150])
def test_drums_alone_are_never_sure_of_a_key(bpm: float) -> None:
    for seed in range(6):
        found = key_of(drums(9, RATE, np.random.default_rng(seed), bpm=bpm))
        assert found is None or found.confidence < 0.5


def test_speech_and_hits_at_random_are_never_sure_of_a_key() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        for samples in (speech_like(9, RATE, rng), hits_at_random(9, RATE, rng)):
            found = key_of(samples)
            assert found is None or found.confidence < 0.65


def test_chords_of_notes_at_random_are_rarely_sure_of_a_key() -> None:
    """A few notes lean towards some key by chance."""
    sure = []
    for seed in range(12):
        notes = np.random.default_rng(seed).integers(0, 24, (12, 4))
        found = key_of(chords(tuple(map(tuple, notes.tolist())), RATE))
        sure.append(found.confidence if found else 0.0)
    assert np.mean(sure) < 0.6 and max(sure) < 0.85


def test_keys_that_fit_alike_share_the_confidence() -> None:
    """A cadence of one key is surer than two keys, one after the other, that are a tritone apart."""
    one, other = (chords(CADENCES["major"], RATE, tonic=hertz) for hertz in (261.63, 261.63 * 2**0.5))
    alone, both = key_of(one, one), key_of(one, other)
    assert alone is not None and both is not None
    assert both.confidence < 0.6 < alone.confidence


def test_one_tone_and_one_chord_are_less_sure_than_a_cadence() -> None:
    cadence, chord, single = key_of(chords(CADENCES["major"], RATE)), key_of(pad(9, RATE)), key_of(tone(110, 9, RATE))
    assert cadence is not None and chord is not None and single is not None
    assert chord.name == "A major"
    assert single.confidence < 0.5
    assert single.confidence < chord.confidence < cadence.confidence


def test_it_is_none_or_all_of_an_answer() -> None:
    """Any profile at all: a key, another one, and a share."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        found = key(rng.exponential(size=36) ** 2)
        assert found is None or (found.name != found.alternative and 0 <= found.confidence <= 1)
