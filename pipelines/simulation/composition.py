"""The demo's styles and its composer: parameters of how a track sounds -> what each instrument plays, bar by bar.

A style is a point in the space of the parameters (`Sound`); artists scatter around their style, tracks around their
artist, and some of both lie between two styles.

Shapes: P parameters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Sound:
    """How a track sounds; every parameter is in 0 … 1."""

    tempo: float = 0.4
    """60 … 180 beats a minute"""
    swing: float = 0.0
    """offbeats from straight to triplet"""
    brightness: float = 0.5
    distortion: float = 0.0
    density: float = 0.5
    """how many of the possible notes are played"""
    reverb: float = 0.2
    complexity: float = 0.2
    """chords from triads to ninths, bass from roots to walking lines"""
    minor: float = 0.4
    """how likely a minor key is"""
    machine: float = 0.0
    """drums and lead from acoustic to electronic"""
    drums: float = 0.0
    bass: float = 0.0
    pluck: float = 0.0
    """acoustic guitar"""
    keys: float = 0.0
    strings: float = 0.0
    pad: float = 0.0
    lead: float = 0.0
    """a horn, or a synthesiser where `machine` is high"""
    power: float = 0.0
    """electric guitars"""
    voice: float = 0.0

    def vector(self) -> NDArray[np.float32]:
        """[P] the parameters in order of `PARAMETERS`."""
        return np.array(astuple(self), np.float32)

    @classmethod
    def from_vector(cls, vector: NDArray[np.floating[Any]]) -> Sound:
        """The sound at a point, pulled back into 0 … 1."""
        return cls(**dict(zip(PARAMETERS, np.clip(vector, 0, 1).tolist(), strict=True)))

    @property
    def beats_per_minute(self) -> float:
        return 60 + 120 * self.tempo


PARAMETERS = tuple(field.name for field in fields(Sound))
INSTRUMENTS = ("drums", "bass", "pluck", "keys", "strings", "pad", "lead", "power", "voice")
"""the parameters that say how loud each instrument is"""

STYLES: dict[str, Sound] = {
    "metal": Sound(tempo=0.38, brightness=0.7, distortion=0.95, density=0.85, reverb=0.2, complexity=0.1, minor=0.95,
                   drums=0.45, bass=0.2, power=1.0, voice=0.8),
    "electronic": Sound(tempo=0.56, brightness=0.75, distortion=0.15, density=0.7, reverb=0.3, complexity=0.2,
                        minor=0.6, machine=1.0, drums=0.9, bass=0.8, pad=0.4, lead=0.6),
    "ambient": Sound(tempo=0.15, brightness=0.3, density=0.15, reverb=0.95, complexity=0.5, minor=0.5, machine=0.8,
                     strings=0.1, pad=1.0, keys=0.2),
    "folk": Sound(tempo=0.4, brightness=0.5, density=0.65, reverb=0.15, complexity=0.1, minor=0.25, pluck=1.0,
                  bass=0.15, voice=0.4),
    "jazz": Sound(tempo=0.5, swing=0.9, brightness=0.4, density=0.5, reverb=0.25, complexity=0.95, minor=0.4, drums=0.5,
                  bass=0.8, keys=0.7, lead=0.6),
    "classical": Sound(tempo=0.35, brightness=0.45, density=0.55, reverb=0.55, complexity=0.25, minor=0.5, strings=1.0,
                       keys=0.3),
}  # fmt: skip
"""The centre of each style's region, by the name that a listener would give it."""

BRIDGES = (("ambient", "classical"), ("folk", "jazz"))
"""pairs of styles that have an artist halfway between them"""


ARTIST_SPREAD, TRACK_SPREAD = 0.09, 0.08
"""standard deviation of each parameter, of artists around their style and of tracks around their artist"""
BORROWED = 0.45
"""the most that a track takes from another style, as a share"""


def artist_sound(style: str, rng: np.random.Generator, *, bridge: str | None = None) -> Sound:
    """An artist of a style, or halfway between two."""
    centre = (STYLES[style].vector() + STYLES[bridge or style].vector()) / 2
    return Sound.from_vector(_strayed(centre, ARTIST_SPREAD, rng))


def track_sound(artist: Sound, rng: np.random.Generator) -> Sound:
    """A track of an artist, who now and then borrows from some other style."""
    other = list(STYLES.values())[rng.integers(len(STYLES))].vector()
    share = BORROWED * rng.random() ** 2
    return Sound.from_vector(_strayed((1 - share) * artist.vector() + share * other, TRACK_SPREAD, rng))


def _strayed(centre: NDArray[np.floating[Any]], spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A point around the centre; an instrument that is not there at all rarely joins."""
    noise = rng.normal(0, spread, len(PARAMETERS))
    absent = (centre < 0.02) & (rng.random(len(PARAMETERS)) < 0.7)
    return np.clip(centre + np.where(absent, 0, noise), 0, 1)


BEATS = 4
"""in a bar"""
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 4), (0, 5, 3, 4), (0, 3, 0, 4), (5, 3, 0, 4), (1, 4, 0, 0), (0, 6, 5, 6))
"""chord roots as degrees of the scale, one bar each"""


@dataclass(frozen=True)
class Note:
    """One note; drums have the hit's name instead of a pitch."""

    start_seconds: float
    seconds: float
    pitch: int
    velocity: float
    manner: str = ""
    """a drum's name, or `muted` for a palm-muted guitar"""


Score = dict[str, list[Note]]


class Composer:
    """Writes one piece, `seconds` long, from a sound's parameters."""

    def __init__(self, sound: Sound, seconds: float, rng: np.random.Generator) -> None:
        self.sound = sound
        self.rng = rng
        self.seconds = seconds
        self.beat = 60 / sound.beats_per_minute
        self.tonic = int(rng.integers(12))
        self.scale = MINOR if rng.random() < sound.minor else MAJOR
        self.progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
        self.score: Score = defaultdict(list)

    def compose(self) -> Score:
        """The notes of every instrument that is not silent, all within the piece; one method, `_NAME`, for each."""
        bars = int(np.ceil(self.seconds / (self.beat * BEATS)))
        self.motif = self.rng.integers(-3, 5, 8)
        for part in INSTRUMENTS:
            if getattr(self.sound, part) >= 0.05:
                for bar in range(bars):
                    getattr(self, f"_{part}")(bar, self.progression[bar % 4])
        return self.score

    def _add(
        self, part: str, bar: int, beat: float, beats: float, pitch: int, velocity: float, manner: str = ""
    ) -> None:
        """Places a note; offbeats swing, and nobody plays quite on the grid."""
        whole, fraction = divmod(beat, 1)
        late = self.sound.swing * 0.17 * (1 - abs(2 * fraction - 1))
        loose = self.rng.normal(0, 0.006 * (1 - self.sound.machine) + 0.0005)
        start = max(0.0, (bar * BEATS + whole + fraction + late) * self.beat + loose)
        if start < self.seconds - 0.05:
            loud = float(np.clip(velocity * self.rng.normal(1, 0.1 * (1 - 0.8 * self.sound.machine)), 0.05, 1.2))
            length = min(beats * self.beat, self.seconds - start)
            self.score[part].append(Note(start, length, pitch, loud, manner))

    def _pitch(self, degree: int, low: int) -> int:
        """The scale's degree in the octave above `low`."""
        octave, step = divmod(degree, 7)
        return low + (self.tonic + self.scale[step] - low) % 12 + 12 * octave

    def _chord(self, root: int, low: int) -> list[int]:
        """Triad, seventh or ninth, the more complex the more often."""
        size = 3 + int(self.rng.random() < self.sound.complexity) + int(self.rng.random() < self.sound.complexity**2)
        return sorted(self._pitch((root + 2 * third) % 7, low) for third in range(size))

    def _grid(self, step: float) -> list[float]:
        """The beats of a bar's grid that are played at this density; the downbeat always is."""
        places = np.arange(0, BEATS, step)
        played = self.rng.random(places.size) < 0.25 + 0.75 * self.sound.density
        played[0] = True
        return [float(place) for place in places[played]]

    def _drums(self, bar: int, root: int) -> None:
        sound, rng = self.sound, self.rng
        if sound.swing > 0.45:
            self._hits(bar, (0, 1, 1.5, 2, 3, 3.5), ("ride", 0.55))
            self._hits(bar, (1, 3), ("hat", 0.4), ("brush", 0.35))
            for beat in self._grid(1.5):
                self._hits(bar, (beat,), ("kick" if rng.random() < 0.6 else "snare", 0.3))
            return
        four = rng.random() < sound.machine * (0.2 + sound.tempo) * 1.6
        if four:
            kicks = [0.0, 1, 2, 3]
        elif sound.distortion > 0.6 and rng.random() < sound.density * 0.6:
            kicks = [step / 4 for step in range(16)]
        else:
            kicks = [0.0, 2, *(place for place in (0.75, 1.5, 2.5, 3.5) if rng.random() < 0.4 * sound.density)]
        self._hits(bar, kicks, ("kick", 0.95))
        self._hits(bar, (1, 3), ("snare", 0.9))
        if four:
            self._hits(bar, (0.5, 1.5, 2.5, 3.5), ("open", 0.6))
        if sound.distortion > 0.5:
            self._hits(bar, (0, 1, 2, 3), ("crash", 0.45))  # on a cymbal that never stops ringing
            return
        for beat in self._grid(0.25 if sound.machine > 0.5 and sound.density > 0.5 else 0.5):
            self._hits(bar, (beat,), ("hat", 0.5 if beat % 1 else 0.65))
        if bar % 4 == 3 and sound.machine < 0.5:
            self._hits(bar, (3, 3.25, 3.5, 3.75), ("tom", 0.6))

    def _hits(self, bar: int, beats: Iterable[float], *drums: tuple[str, float]) -> None:
        """Each drum (its name, its velocity) on each of the beats."""
        for beat in beats:
            for name, velocity in drums:
                self._add("drums", bar, beat, 1, 0, velocity, name)

    def _bass(self, bar: int, root: int) -> None:
        low = self._pitch(root, 28)
        if self.rng.random() < self.sound.complexity:
            for beat, step in enumerate((0, 2, 4, int(self.rng.integers(3, 7)))):
                self._add("bass", bar, beat, 0.95, self._pitch((root + step) % 7, 28), 0.85)
        elif self.sound.machine > 0.5 and self.sound.tempo > 0.4:
            for offbeat in (0.5, 0.75, 1.5, 1.75, 2.5, 2.75, 3.5, 3.75):
                self._add("bass", bar, offbeat, 0.3, low, 0.9)
        else:
            for place in self._grid(0.5):
                self._add("bass", bar, place, 0.5 if self.sound.density > 0.5 else 1.5, low, 0.85)

    def _pluck(self, bar: int, root: int) -> None:
        chord = self._chord(root, 50)
        low = self._pitch(root, 40)
        if self.rng.random() < 0.35 * self.sound.density + 0.15 * self.sound.drums:
            for beat in self._grid(0.5):  # strummed
                down = beat % 1 == 0
                for string, pitch in enumerate([low, *chord, chord[0] + 12] if down else chord[::-1]):
                    self._add("pluck", bar, beat + 0.02 * string, 1.0, pitch, 0.5 if down else 0.3)
            return
        for beat in (0, 2):  # Travis picking: the thumb alternates, the fingers fill in
            self._add("pluck", bar, beat, 2, low, 0.8)
            self._add("pluck", bar, beat + 1, 2, low + 7, 0.65)
        for place, beat in enumerate(self._grid(0.5)):
            pitch = [*chord, chord[0] + 12][int(self.motif[place % 8]) % (len(chord) + 1)]
            self._add("pluck", bar, beat, 1.5, pitch, 0.6)

    def _keys(self, bar: int, root: int) -> None:
        chord = self._chord(root, 55)
        if self.sound.swing > 0.4 or self.sound.machine > 0.4:  # comping
            beats = self.rng.choice([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5], 1 + round(3 * self.sound.density), replace=False)
            for beat in sorted(beats):
                for pitch in chord:
                    self._add("keys", bar, float(beat), 1.2, pitch, 0.5)
        else:  # broken chords
            for place, beat in enumerate(self._grid(0.5)):
                self._add("keys", bar, beat, 1.5, chord[place % len(chord)] - 12 * (place == 0), 0.5)
        if self.rng.random() < 0.8:
            self._melody("keys", bar, root, low=67, velocity=0.7)

    def _strings(self, bar: int, root: int) -> None:
        chord = self._chord(root, 52)
        for pitch in [chord[0] - 12, *chord[1:]]:
            self._add("strings", bar, 0, BEATS * 1.03, pitch, 0.45)
        self._melody("strings", bar, root, low=67, velocity=0.8)

    def _pad(self, bar: int, root: int) -> None:
        hold = 2 if self.sound.density < 0.3 else 1
        if bar % hold == 0:
            for pitch in self._chord(root, 48):
                self._add("pad", bar, 0, BEATS * hold * 1.15, pitch, 0.5)

    def _lead(self, bar: int, root: int) -> None:
        if self.sound.machine > 0.5:
            chord = self._chord(root, 60)
            for place, beat in enumerate(self._grid(0.25)):
                self._add("lead", bar, beat, 0.3, chord[int(self.motif[place % 8]) % len(chord)], 0.7)
        elif bar % 4 != 3:
            self._melody("lead", bar, root, low=58, velocity=0.8)

    def _power(self, bar: int, root: int) -> None:
        low = self._pitch(root, 38)
        if self.sound.distortion < 0.45:  # rock: held and struck chords
            for beat in self._grid(1):
                self._add("power", bar, beat, 1.0, low, 0.8)
            return
        step = 0.5 if self.sound.density > 0.5 else 1.0
        for place, beat in enumerate(np.arange(0, BEATS, step)):
            accent = place == 0 or self.rng.random() < 0.5
            pitch = low + (int(self.motif[(place + bar) % 8]) % 4 if accent and place else 0)
            self._add("power", bar, float(beat), step, pitch, 0.95 if accent else 0.7, "" if accent else "muted")

    def _voice(self, bar: int, root: int) -> None:
        if bar % 4 != 3:
            self._melody("voice", bar, root, low=57, velocity=0.8)

    def _melody(self, part: str, bar: int, root: int, *, low: int, velocity: float) -> None:
        """The piece's motif over this bar's chord; what is not played is held."""
        beats = self._grid(0.5 if self.sound.density > 0.35 else 1)
        kept = [beat for beat in beats if beat == 0 or self.rng.random() < 0.65]
        for place, beat in enumerate(kept):
            end = kept[place + 1] if place + 1 < len(kept) else BEATS
            degree = root + int(self.motif[(place + bar) % 8])
            self._add(part, bar, beat, end - beat, self._pitch(degree, low), velocity)
