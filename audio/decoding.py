"""Decoding: any audio file to mono float32 at the rate asked for, only the parts that are needed.

soundfile opens what libsndfile reads (wav, flac, ogg, mp3); PyAV, with FFmpeg in its wheel, opens the rest
(m4a, aac, opus, wma, ape, ac3, mp4 …) and what has more than two channels, since it has their places. Neither
ever holds more than a part of a file in memory.
"""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..errors import AudioError
from .loudness import Meter, Powers, channel_weights
from .metadata import undecodable_reason

Floats = NDArray[np.float32]

BLOCK_SECONDS = 8
"""how much is decoded at a time"""
_BLOCK_VALUES = 2**22
"""samples of all channels decoded at a time, at most"""
_MARGIN_SECONDS = 0.1
"""decoded before and after a part inside a file, so that the resampler's filter has settled at its ends"""
_MOST_SECONDS = 7 * 24 * 3600
_MOST_HERTZ = 10_000_000
"""a header that promises more is not believed"""
_MOST_PLACED = 16
"""channels whose places are asked for; FFmpeg takes 64"""
_MOST_POWER = 1e20
"""mean square of samples whose full scale is 1; a spectrogram of more overflows"""


@dataclass(frozen=True, eq=False)
class Clip:
    """A part of a track: mono float32 samples."""

    samples: Floats
    """[N] the mean of the channels"""
    sample_rate: int
    """Hz"""
    step_powers: Powers = field(default_factory=lambda: np.zeros(0))
    """[S] of a metered recording: what loudness needs, and downmixing and resampling lose"""

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def __repr__(self) -> str:
        return f"Clip({self.duration_seconds:.2f} s at {self.sample_rate} Hz)"


class Recording:
    """An open audio file, read as mono clips at one sample rate. A context manager; raises AudioError.

    The clips of a `metered` one carry their `step_powers`.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, *, metered: bool = False) -> None:
        self.sample_rate = sample_rate
        self.metered = metered
        self._path = path
        with _decoder_errors(path):
            self._source = _open(path)
            if self._source.sample_rate > _MOST_HERTZ:
                self._source.close()
                raise AudioError(f"the header promises an impossible sample rate: {self._source.sample_rate} Hz")
        self.duration_seconds = self._source.frame_count / self._source.sample_rate

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, AudioError):
            error.path = self._path
        self._source.close()

    def clip(self, start: int, count: int) -> Clip:
        """`count` samples from sample `start` on (both at `sample_rate`); fewer where the file ends."""
        return joined(list(self.stream(start, count)), self.sample_rate)

    def stream(self, start: int = 0, count: int = sys.maxsize) -> Generator[Clip]:
        """Consecutive clips of `count` samples from sample `start` on, resampled as if the whole file were.

        A file that breaks off after its beginning ends there.
        """
        rate = self._source.sample_rate
        # Only at multiples of this many seconds do samples of both rates coincide.
        coincidence = math.gcd(rate, self.sample_rate)
        step_in, step_out = rate // coincidence, self.sample_rate // coincidence
        before = max(0, start - math.ceil(_MARGIN_SECONDS * self.sample_rate)) // step_out
        drop = start - before * step_out
        resampler = None if step_in == step_out else soxr.ResampleStream(rate, self.sample_rate, 1, "float32", "HQ")
        meter = Meter(rate, self._source.weights) if self.metered else None
        unmetered, metered = drop * step_in // step_out, count * step_in // step_out
        whole = unmetered + metered + math.ceil(_MARGIN_SECONDS * rate)
        for frames in self._frames(before * step_in, whole):
            mono = frames @ np.full(frames.shape[1], 1 / frames.shape[1], np.float32)
            samples = mono if resampler is None else resampler.resample_chunk(mono, last=len(mono) == 0)
            samples, drop = samples[drop:][:count], max(0, drop - len(samples))
            count -= len(samples)
            own = frames[unmetered:][:metered]
            unmetered, metered = max(0, unmetered - len(frames)), metered - len(own)
            powers = np.zeros(0) if meter is None else meter(own)
            if len(samples) or len(powers):
                yield Clip(samples, self.sample_rate, powers)

    def _frames(self, start: int, count: int) -> Iterator[Floats]:
        """[n, channels] blocks of at most `count` frames from frame `start` on; the last is empty."""
        begun = start > 0
        missing = count
        block = min(BLOCK_SECONDS * self._source.sample_rate, max(1, _BLOCK_VALUES // self._source.channels))
        try:
            with _decoder_errors(self._path):
                self._source.seek(start)
                while len(frames := self._source.read(min(missing, block))):
                    begun = True
                    missing -= len(frames)
                    if not np.vdot(frames, frames) <= _MOST_POWER * frames.size:
                        finite = np.isfinite(frames).all()
                        raise AudioError("samples far beyond full scale" if finite else "NaN or infinite samples")
                    yield frames
                if not begun and self._source.frame_count:
                    raise BrokenOff(f"cannot be decoded: {undecodable_reason(self._path)}")
        except BrokenOff:
            if not begun and isinstance(self._source, _SndfileSource):
                # libsndfile opens some files that only FFmpeg can read.
                self._source.close()
                with _decoder_errors(self._path):
                    self._source = _FFmpegSource(self._path)
                yield from self._frames(0, count)
                return
            if not begun:
                raise
        yield np.zeros((0, self._source.channels), np.float32)


def joined(parts: Sequence[Clip], sample_rate: int) -> Clip:
    """One clip of several that follow each other."""
    samples = [np.zeros(0, np.float32), *(part.samples for part in parts)]
    step_powers = [np.zeros(0), *(part.step_powers for part in parts)]
    return Clip(np.concatenate(samples), sample_rate, np.concatenate(step_powers))


def resampled(clip: Clip, sample_rate: int) -> Clip:
    """The clip at another sample rate, for analyses that need no more."""
    samples = soxr.resample(clip.samples, clip.sample_rate, sample_rate, "MQ")
    return Clip(samples, sample_rate, clip.step_powers)


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keeps the C libraries' own warnings about odd files off stderr, all of which is silenced meanwhile."""
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


class BrokenOff(AudioError):
    """The decoder can't go on; what it gave so far is good."""


@contextmanager
def _decoder_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """What decoders raise, as a reason, with the file that it is about."""
    try:
        try:
            yield
        except _raised_by_decoders() as error:
            raise BrokenOff(f"cannot be decoded: {undecodable_reason(path)}") from error
        except MemoryError as error:
            raise AudioError("cannot be decoded: asks for more memory than there is") from error
    except AudioError as error:
        error.path = path
        raise


def _raised_by_decoders() -> tuple[type[Exception], ...]:
    """FFmpeg's errors only where it was needed: its import takes as long as a song."""
    av = sys.modules.get("av")
    return (soundfile.LibsndfileError,) if av is None else (soundfile.LibsndfileError, av.FFmpegError)


def _open(path: str | os.PathLike[str]) -> _SndfileSource | _FFmpegSource:
    try:
        with Path(path).open("rb") as file:
            if not file.read(1):
                raise AudioError("empty file")
    except OSError as error:
        known = {errno.EISDIR: "a folder, not a file", errno.ENOENT: "no such file"}
        raise AudioError(known.get(error.errno or 0, f"not readable: {error.strerror}")) from error

    try:
        source = _SndfileSource(path)
    except (soundfile.LibsndfileError, AudioError):
        return _FFmpegSource(path)
    if not 2 < source.channels <= _MOST_PLACED:
        return source
    # libsndfile has no places of channels, and orders those of Vorbis differently.
    import av

    try:
        placed = _FFmpegSource(path)
    except (av.FFmpegError, AudioError):
        return source
    source.close()
    return placed


class _SndfileSource:
    """What libsndfile opens: frames [n, channels] in order, from wherever `seek` puts it.

    `frame_count` is that of the header; the file may end before or after. `weights` [channels] are loudness'.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = soundfile.SoundFile(os.fsencode(path))
        self.sample_rate = self._file.samplerate
        self.channels = self._file.channels
        self.weights = channel_weights(["NONE"] * self.channels)
        self.frame_count = self._file.frames
        try:
            if not 0 <= self.frame_count <= _MOST_SECONDS * self.sample_rate:
                raise AudioError("the header promises an impossible length")
            # Some files open well and fail at the first frame; FFmpeg may read them.
            self.read(1)
            self.seek(0)
        except BaseException:
            self.close()
            raise

    def seek(self, frame: int) -> None:
        self._file.seek(min(frame, self.frame_count))

    def read(self, frames: int) -> Floats:
        found: Floats = self._file.read(frames, dtype="float32", always_2d=True)
        return found

    def close(self) -> None:
        self._file.close()


class _FFmpegSource:
    """The same of what FFmpeg opens: its first audio stream."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # As an open file, since PyAV refuses names that are not valid UTF-8.
        self._file = Path(path).open("rb")  # noqa: SIM115
        try:
            self._begin()
            self.frame_count = self._length()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Opens the container, at the first frame."""
        import av

        self._file.seek(0)
        self._container: Any = av.open(self._file, metadata_errors="replace")
        if not self._container.streams.audio:
            raise AudioError("not audio: no audio stream")
        self._stream = self._container.streams.audio[0]
        codec = self._stream.codec_context
        if codec is None:
            raise AudioError("cannot be decoded: no decoder for its codec (rare, or protected by its seller)")
        self.sample_rate = int(codec.sample_rate or 0)
        self.channels = int(codec.channels or 0)
        if not self.sample_rate or not self.channels:
            raise AudioError("not audio: no sample rate or no channels")
        self.weights = channel_weights([channel.name for channel in codec.layout.channels])
        codec.thread_count = 1
        self._to_float = av.AudioResampler(format="flt", layout=codec.layout.name, rate=self.sample_rate)
        self._first = self._stream.start_time or 0
        self._at = 0
        self._frames = self._decoded()
        self._rest = np.zeros((0, self.channels), np.float32)

    def _length(self) -> int:
        if self._stream.duration:
            seconds = float(self._stream.duration * (self._stream.time_base or 0))
        elif self._container.duration:
            seconds = self._container.duration / 1e6
        else:
            seconds = -1.0
        if 0 <= seconds <= _MOST_SECONDS:
            return int(seconds * self.sample_rate)
        # Raw streams have no length in a header, and some headers a nonsensical one: the frames are counted.
        count = 0
        while len(block := self.read(BLOCK_SECONDS * self.sample_rate)):
            count += len(block)
        self.seek(0)
        return count

    def _decoded(self) -> Iterator[tuple[int, Floats]]:
        """(position of the first frame, frames), from where the container stands. Broken packets are left out."""
        import av

        position: int | None = None
        broken: av.FFmpegError | None = None
        for packet in self._container.demux(self._stream):
            try:
                decoded = packet.decode()
            except av.FFmpegError as error:
                broken = error
                continue
            for frame in decoded:
                if frame.sample_rate != self.sample_rate or len(frame.layout.channels) != self.channels:
                    raise AudioError("cannot be decoded: changes its sample rate or channels midway")
                if position is None:
                    seconds = 0.0
                    if frame.pts is not None and frame.time_base is not None and self._first is not None:
                        seconds = float((frame.pts - self._first) * frame.time_base)
                    position = max(0, round(seconds * self.sample_rate))
                for part in self._to_float.resample(frame):
                    samples = part.to_ndarray().reshape(-1, self.channels).astype(np.float32, copy=False)
                    yield position, samples
                    position += len(samples)
        if position is None and broken is not None:
            raise broken

    def seek(self, frame: int) -> None:
        """To the frame exactly: from the packet before it, decoding what lies between."""
        import av

        near = 0 <= frame - self._at <= 2 * BLOCK_SECONDS * self.sample_rate
        if not near:
            base = self._stream.time_base
            target = self._first + int(frame / self.sample_rate / base) if base else 0
            try:
                self._container.seek(target, stream=self._stream, backward=True)
            except av.FFmpegError:
                # Some streams can't be searched.
                self._container.close()
                self._begin()
            else:
                self._stream.codec_context.flush_buffers()
                self._frames = self._decoded()
                self._at, self._rest = self._next() or (frame, self._rest[:0])
        while frame > self._at:
            if not len(self.read(min(frame - self._at, BLOCK_SECONDS * self.sample_rate))):
                return

    def read(self, frames: int) -> Floats:
        parts, missing = [self._rest], frames - len(self._rest)
        while missing > 0:
            found = self._next()
            if found is None:
                break
            parts.append(found[1])
            missing -= len(found[1])
        joined = np.concatenate(parts)
        self._rest = joined[frames:]
        self._at += min(frames, len(joined))
        return joined[:frames]

    def _next(self) -> tuple[int, Floats] | None:
        import av

        try:
            return next(self._frames, None)
        except (av.FFmpegError, AudioError):
            # Nowhere: whatever is read next has to be looked for.
            self._at = sys.maxsize
            raise

    def close(self) -> None:
        if hasattr(self, "_container"):
            self._container.close()
        self._file.close()
