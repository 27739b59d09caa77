"""HEAR's API: what its validator asks of a module, for every encoder, and the same numbers as an embedded file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import music_like

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_encoders import FAMILIES, save_families  # noqa: E402

import crossfade  # noqa: E402
from crossfade.pipelines.audio_analysis.feature_sources import extract  # noqa: E402
from crossfade.pipelines.audio_analysis.hear import HearModel  # noqa: E402

ENCODERS = ["", "musicnn-mtt", *FAMILIES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_families(tmp_path_factory.mktemp("encoders"))


@pytest.fixture
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> HearModel:
    name = request.param
    return crossfade.load_model(str(folders.get(name, name)))


@pytest.mark.parametrize("model", ENCODERS, indirect=True)
def test_it_is_what_the_validator_asks_for(model: HearModel) -> None:
    """hearvalidator/validate.py: shapes, types, regular moments that cover the clip and do not leave it."""
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate in (16_000, 22_050, 32_000, 44_100, 48_000)
    noise = torch.rand(2, int(0.27 * model.sample_rate), generator=torch.Generator().manual_seed(0)) * 2 - 1
    embeddings, moments = crossfade.get_timestamp_embeddings(noise, model)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (2, len(moments[0]), model.timestamp_embedding_size)
    assert torch.isfinite(embeddings).all()
    np.testing.assert_allclose(moments[0].diff(), 50)
    assert moments[0, 0] == 0
    assert 270 - 50 <= moments[0, -1] <= 270
    scenes = crossfade.get_scene_embeddings(noise, model)
    assert (scenes.shape, scenes.dtype) == ((2, model.scene_embedding_size), torch.float32)
    alone = crossfade.get_scene_embeddings(noise[1:], model)
    np.testing.assert_allclose(alone[0], scenes[1], atol=1e-4)


@pytest.mark.parametrize("model", ["", "hubert", "clap"], indirect=True)
def test_a_scene_is_the_embedding_of_a_file(model: HearModel, tmp_path: Path, rng: np.random.Generator) -> None:
    for seconds in (0.5, 12):
        samples = music_like(seconds, model.sample_rate, rng).astype(np.float32)
        soundfile.write(tmp_path / "song.wav", samples, model.sample_rate, subtype="FLOAT")
        windows = extract(tmp_path / "song.wav", model.encoder.name)[:, : model.scene_embedding_size]
        scene = crossfade.get_scene_embeddings(torch.from_numpy(samples)[None], model)[0]
        np.testing.assert_allclose(scene, windows.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("model", [""], indirect=True)
def test_a_moment_is_the_window_around_it(model: HearModel, rng: np.random.Generator) -> None:
    size = model.encoder.window_samples
    clip = rng.normal(0, 0.1, (1, size + size // 10)).astype(np.float32)
    embeddings, moments = crossfade.get_timestamp_embeddings(torch.from_numpy(clip), model)
    for at in (31, 33):
        start = round(float(moments[0, at]) * model.sample_rate / 1000) - size // 2
        expected = model.encoder.embed(clip[:, start : start + size])
        np.testing.assert_allclose(embeddings[0, at], expected[0], atol=1e-4)


def test_a_clip_without_samples_or_of_another_shape_is_refused() -> None:
    model = crossfade.load_model()
    for shape in ((16_000,), (1, 0), (1, 2, 16_000)):
        with pytest.raises(crossfade.UsageError, match=r"clips are \[clips, samples\] at 16000 Hz"):
            crossfade.get_scene_embeddings(torch.zeros(shape), model)
