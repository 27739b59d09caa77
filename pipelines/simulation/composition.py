"""The demo's composer: a sound's parameters -> what each instrument plays, bar by bar."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from .styles import Sound

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
        """The notes of every instrument that can be heard, all within the piece."""
        bars = int(np.ceil(self.seconds / (self.beat * BEATS)))
        parts = {
            "drums": self._drums,
            "bass": self._bass,
            "pluck": self._pluck,
            "keys": self._keys,
            "strings": self._strings,
            "pad": self._pad,
            "lead": self._lead,
            "power": self._power,
            "voice": self._voice,
        }
        motif = self.rng.integers(-3, 5, 8)
        for part, write in parts.items():
            if getattr(self.sound, part) < 0.05:
                continue
            for bar in range(bars):
                write(bar, self.progression[bar % 4], motif)
        return self.score

    # -- helpers ---------------------------------------------------------------------------------------------------

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

    # -- parts -----------------------------------------------------------------------------------------------------

    def _drums(self, bar: int, root: int, motif: np.ndarray) -> None:
        sound, rng = self.sound, self.rng
        if sound.swing > 0.45:
            for beat in (0, 1, 1.5, 2, 3, 3.5):
                self._add("drums", bar, beat, 1, 0, 0.55, "ride")
            for beat in (1, 3):
                self._add("drums", bar, beat, 1, 0, 0.4, "hat")
                self._add("drums", bar, beat, 1, 0, 0.35, "brush")
            for beat in self._grid(1.5):
                self._add("drums", bar, beat, 1, 0, 0.3, "kick" if rng.random() < 0.6 else "snare")
            return
        four = rng.random() < sound.machine * (0.2 + sound.tempo) * 1.6
        if four:
            kicks = [0.0, 1, 2, 3]
        elif sound.distortion > 0.6 and rng.random() < sound.density * 0.6:
            kicks = [step / 4 for step in range(16)]
        else:
            kicks = [0.0, 2, *(place for place in (0.75, 1.5, 2.5, 3.5) if rng.random() < 0.4 * sound.density)]
        for beat in kicks:
            self._add("drums", bar, beat, 1, 0, 0.95, "kick")
        for beat in (1, 3):
            self._add("drums", bar, beat, 1, 0, 0.9, "snare")
        if four:
            for beat in (0.5, 1.5, 2.5, 3.5):
                self._add("drums", bar, beat, 1, 0, 0.6, "open")
        if sound.distortion > 0.5:
            for beat in (0, 1, 2, 3):  # on a cymbal that never stops ringing
                self._add("drums", bar, beat, 1, 0, 0.45, "crash")
            return
        for beat in self._grid(0.25 if sound.machine > 0.5 and sound.density > 0.5 else 0.5):
            self._add("drums", bar, beat, 1, 0, 0.5 if beat % 1 else 0.65, "hat")
        if bar % 4 == 3 and sound.machine < 0.5:
            for beat in (3, 3.25, 3.5, 3.75):
                self._add("drums", bar, beat, 1, 0, 0.6, "tom")

    def _bass(self, bar: int, root: int, motif: np.ndarray) -> None:
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

    def _pluck(self, bar: int, root: int, motif: np.ndarray) -> None:
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
            pitch = [*chord, chord[0] + 12][int(motif[place % 8]) % (len(chord) + 1)]
            self._add("pluck", bar, beat, 1.5, pitch, 0.6)

    def _keys(self, bar: int, root: int, motif: np.ndarray) -> None:
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
            self._melody("keys", bar, root, motif, low=67, velocity=0.7)

    def _strings(self, bar: int, root: int, motif: np.ndarray) -> None:
        chord = self._chord(root, 52)
        for pitch in [chord[0] - 12, *chord[1:]]:
            self._add("strings", bar, 0, BEATS * 1.03, pitch, 0.45)
        self._melody("strings", bar, root, motif, low=67, velocity=0.8)

    def _pad(self, bar: int, root: int, motif: np.ndarray) -> None:
        hold = 2 if self.sound.density < 0.3 else 1
        if bar % hold == 0:
            for pitch in self._chord(root, 48):
                self._add("pad", bar, 0, BEATS * hold * 1.15, pitch, 0.5)

    def _lead(self, bar: int, root: int, motif: np.ndarray) -> None:
        if self.sound.machine > 0.5:
            chord = self._chord(root, 60)
            for place, beat in enumerate(self._grid(0.25)):
                self._add("lead", bar, beat, 0.3, chord[int(motif[place % 8]) % len(chord)], 0.7)
        elif bar % 4 != 3:
            self._melody("lead", bar, root, motif, low=58, velocity=0.8)

    def _power(self, bar: int, root: int, motif: np.ndarray) -> None:
        low = self._pitch(root, 38)
        if self.sound.distortion < 0.45:  # rock: held and struck chords
            for beat in self._grid(1):
                self._add("power", bar, beat, 1.0, low, 0.8)
            return
        step = 0.5 if self.sound.density > 0.5 else 1.0
        for place, beat in enumerate(np.arange(0, BEATS, step)):
            accent = place == 0 or self.rng.random() < 0.5
            pitch = low + (int(motif[(place + bar) % 8]) % 4 if accent and place else 0)
            self._add("power", bar, float(beat), step, pitch, 0.95 if accent else 0.7, "" if accent else "muted")

    def _voice(self, bar: int, root: int, motif: np.ndarray) -> None:
        if bar % 4 != 3:
            self._melody("voice", bar, root, motif, low=57, velocity=0.8)

    def _melody(self, part: str, bar: int, root: int, motif: np.ndarray, *, low: int, velocity: float) -> None:
        """The piece's motif over this bar's chord; what is not played is held."""
        beats = self._grid(0.5 if self.sound.density > 0.35 else 1)
        kept = [beat for beat in beats if beat == 0 or self.rng.random() < 0.65]
        for place, beat in enumerate(kept):
            end = kept[place + 1] if place + 1 < len(kept) else BEATS
            degree = root + int(motif[(place + bar) % 8])
            self._add(part, bar, beat, end - beat, self._pitch(degree, low), velocity)
