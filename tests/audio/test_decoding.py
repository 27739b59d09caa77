"""Decoding and windows: any format, only the parts needed, and a reason for what can't be heard."""

from __future__ import annotations

import pickle
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from sounds import music_like, noise, tone

from crossfade.audio.decoding import Recording
from crossfade.audio.windows import Grid, excerpts, runs
from crossfade.errors import AudioError

RATE = 16_000
GRID = Grid(window_samples=48_128, hop_samples=47_872)
SEEK_TOLERANCE = 1e-4
LOSSY_CORRELATION = 0.99


def write(path: Path, samples: np.ndarray, rate: int, **options: object) -> Path:
    with soundfile.SoundFile(path, "w", rate, 1 if samples.ndim == 1 else samples.shape[1], **options) as file:
        for start in range(0, len(samples), 65_536):
            file.write(samples[start : start + 65_536])
    return path


def write_av(path: Path, samples: np.ndarray, rate: int, codec: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate, frame_size=1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def heard(path: Path, *, all_windows: bool = False) -> np.ndarray:
    with Recording(path, RATE) as recording:
        return np.concatenate([excerpt.windows for excerpt in excerpts(recording, GRID, all_windows=all_windows)])


def reason(path: Path) -> str:
    with pytest.raises(AudioError) as caught, Recording(path, RATE) as recording:
        list(excerpts(recording, GRID))
    return caught.value.reason


@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("wma", "wmav2"), ("ac3", "ac3"), ("opus", "libopus")])
def test_what_soundfile_cannot_open_ffmpeg_does(
    tmp_path: Path, rng: np.random.Generator, suffix: str, codec: str
) -> None:
    samples = music_like(8, 48_000, rng)
    path = write_av(tmp_path / f"a.{suffix}", samples, 48_000, codec)
    expected = heard(write(tmp_path / "a.wav", samples, 48_000), all_windows=True)
    found = heard(path, all_windows=True)
    assert len(found) == len(expected)
    spectra = [np.abs(np.fft.rfft(windows)) for windows in (found, expected)]
    assert np.corrcoef(spectra[0].ravel(), spectra[1].ravel())[0, 1] > LOSSY_CORRELATION


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_part_is_the_same_as_in_the_whole(tmp_path: Path, rng: np.random.Generator, rate: int, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(12, rate, rng), rate)
    with Recording(path, RATE) as recording:
        whole = np.concatenate([clip.samples for clip in recording.stream()])
        assert len(whole) == pytest.approx(12 * RATE, abs=2)
        for start in (0, 1, 4_567, 100_000, len(whole) - 50):
            part = recording.clip(start, 20_000).samples
            np.testing.assert_allclose(part, whole[start : start + 20_000], atol=SEEK_TOLERANCE)


def test_seeking_in_ffmpeg_is_exact(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write_av(tmp_path / "a.m4a", noise(60, RATE, rng), RATE, "alac")
    with Recording(path, RATE) as recording:
        whole = np.concatenate([clip.samples for clip in recording.stream()])
        for start in (500_000, 40_001, 700_003, 0):
            part = recording.clip(start, 10_000).samples
            np.testing.assert_allclose(part, whole[start : start + 10_000], atol=SEEK_TOLERANCE)


def test_chosen_windows_are_among_all_windows(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write(tmp_path / "a.flac", noise(70, 22_050, rng), 22_050)
    every, chosen = heard(path, all_windows=True), heard(path)
    numbers = [number for run in runs(len(every)) for number in run]
    assert len(chosen) == len(numbers) == 9
    np.testing.assert_allclose(chosen, every[numbers], atol=SEEK_TOLERANCE)


def test_channels_are_averaged(tmp_path: Path, rng: np.random.Generator) -> None:
    channels = np.stack([noise(4, RATE, rng) for _ in range(8)], axis=1)
    path = write(tmp_path / "a.wav", channels, RATE, subtype="FLOAT")
    with Recording(path, RATE) as recording:
        np.testing.assert_allclose(recording.clip(0, len(channels)).samples, channels.mean(axis=1), atol=1e-6)


def test_short_clips_are_repeated_and_shorter_ones_refused(tmp_path: Path) -> None:
    assert heard(write(tmp_path / "a.wav", tone(440, 0.5, RATE), RATE)).shape == (1, GRID.window_samples)
    assert reason(write(tmp_path / "b.wav", tone(440, 0.05, RATE), RATE)) == "too short"
    assert reason(write(tmp_path / "c.wav", np.zeros(0), RATE)) == "too short"


def test_silence_is_a_reason_and_does_not_hide_the_music(tmp_path: Path, rng: np.random.Generator) -> None:
    assert reason(write(tmp_path / "a.wav", np.zeros(10 * RATE), RATE)) == "silent"
    assert reason(write(tmp_path / "b.wav", noise(10, RATE, rng) * 1e-4, RATE, subtype="FLOAT")) == "silent"
    hidden = np.zeros(120 * RATE, np.float32)
    hidden[60 * RATE // 2 : 64 * RATE // 2] = noise(2, RATE, rng)
    assert len(heard(write(tmp_path / "c.flac", hidden, RATE))) in (1, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_a_reason(tmp_path: Path, bad: float) -> None:
    samples = tone(440, 5, RATE)
    samples[1_000] = bad
    assert reason(write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")) == "NaN or infinite samples"


def test_what_is_no_audio_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("hello " * 100)
    assert reason(tmp_path / "empty.mp3") == "empty file"
    assert reason(tmp_path / "text.mp3").startswith("cannot be decoded")
    assert reason(tmp_path) == "a folder, not a file"
    assert reason(tmp_path / "none.mp3") == "no such file"


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "wav"])
def test_a_truncated_file_is_decoded_as_far_as_it_goes(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", music_like(60, 22_050, rng), 22_050)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 1 <= len(heard(path)) <= 10


def test_names_need_not_be_utf8(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = music_like(4, 48_000, rng)
    plain = write_av(tmp_path / "a.m4a", samples, 48_000, "aac")
    odd = tmp_path / "b\udcff\n.m4a"
    plain.rename(odd)
    assert len(heard(odd)) == 1


def test_all_odd_files_end_in_windows_or_a_reason(shared: Path) -> None:
    for path in sorted((shared / "odd_files").iterdir()):
        try:
            assert np.isfinite(heard(path)).all()
        except AudioError as error:
            assert error.reason and "\n" not in error.reason


BEGINNINGS = {
    "MIDI, which holds notes and no sound": b"MThd\0\0\0\6\0\1\0\6\0\x60MTrk",
    "OptimFROG, which only its own program decodes": b"OFR \x0f\0\0\0",
    "tags with no sound after them, or damaged sound": b"ID3\4\0\0\0\0\0\0",
    "damaged or cut short (FLAC)": b"fLaC\0\0\0\x22",
    "damaged or cut short (WAV)": b"RIFF\0\0\0\0WAVE",
    "not audio, or damaged where it begins": b"<!doctype html>",
}


@pytest.mark.parametrize(("why", "beginning"), BEGINNINGS.items())
def test_the_reason_names_what_is_wrong_with_the_file(tmp_path: Path, why: str, beginning: bytes) -> None:
    """Not what the decoder answered, such as "Operation not permitted" or "Error number -16976906 occurred"."""
    path = tmp_path / "a.mp3"
    path.write_bytes(beginning + b"<p>" * 300)
    assert reason(path) == f"cannot be decoded: {why}"


def test_sound_that_is_damaged_throughout_is_not_too_short(tmp_path: Path, rng: np.random.Generator) -> None:
    """A header that promises minutes over a stream that cannot be searched: the search itself is what failed."""
    path = write(tmp_path / "a.flac", noise(60, RATE, rng), RATE)
    path.write_bytes(path.read_bytes()[:4_000].replace(b"\xff\xf8", b"\0\0"))
    assert reason(path) == "cannot be decoded: damaged or cut short (FLAC)"


def test_an_error_names_its_file(tmp_path: Path) -> None:
    """Whoever lets it pass prints which file could not be heard, whether it failed on opening, reading or listening."""
    text = tmp_path / "text.mp3"
    text.write_text("hello " * 100)
    broken = tone(440, 5, RATE)
    broken[1_000] = np.nan
    for path in (
        tmp_path / "none\udcff.mp3",
        text,
        write(tmp_path / "nan.wav", broken, RATE, subtype="FLOAT"),
        write(tmp_path / "silent.wav", np.zeros(5 * RATE), RATE),
    ):
        with pytest.raises(AudioError) as caught, Recording(path, RATE) as recording:
            list(excerpts(recording, GRID))
        passed_on = pickle.loads(pickle.dumps(caught.value))
        assert str(passed_on) == f"{path}: {caught.value.reason}".replace("\udcff", "\\xff")


def test_headers_and_samples_that_cannot_be_true_are_reasons(tmp_path: Path, rng: np.random.Generator) -> None:
    loud = noise(4, RATE, rng) * np.float32(1e25)
    assert reason(write(tmp_path / "a.wav", loud, RATE, subtype="FLOAT")) == "samples far beyond full scale"
    fast = write(tmp_path / "b.wav", noise(1, RATE, rng), 2_000_000_000)
    assert reason(fast) == "the header promises an impossible sample rate: 2000000000 Hz"


@pytest.mark.parametrize("channels", [3, 16, 500])
def test_any_number_of_channels_is_decoded(tmp_path: Path, rng: np.random.Generator, channels: int) -> None:
    path = write(tmp_path / "a.wav", np.stack([noise(1, RATE, rng)] * channels, axis=1), RATE)
    assert len(heard(path)) == 1


def test_a_part_decodes_little_more_than_itself(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.flac", noise(60, RATE, rng), RATE)
    with Recording(path, RATE) as recording:
        asked: list[int] = []
        read = recording._source.read

        def counted(frames: int) -> np.ndarray:
            asked.append(frames)
            return read(frames)

        monkeypatch.setattr(recording._source, "read", counted)
        recording.clip(20 * RATE, 9 * RATE)
    assert 9 * RATE <= sum(asked) <= 10 * RATE
