"""Other encoders used: embedded with, searched by, described by text, trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_encoders import save_families  # noqa: E402

from crossfade.models.encoders.transformers import HubEncoder  # noqa: E402
from crossfade.pipelines.commands.main import main  # noqa: E402
from crossfade.pipelines.library.store import Library  # noqa: E402

TRAINED_ON = ["ast", "wav2vec2", "hubert", "whisper"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return save_families(tmp_path_factory.mktemp("encoders"))


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_folder_is_embedded_with_another_encoder_as_well(folders, songs, tmp_path, capsys):
    import shutil

    music = tmp_path / "music"
    shutil.copytree(songs, music)
    library, hubert = str(tmp_path / "L"), str(folders["hubert"])
    words = ["embed", str(music), "--library", library, "--encoder", hubert]
    assert main(words) == 0
    (summary,) = said(capsys)
    assert (summary["embedded"], summary["encoder_embedded"], summary["encoder_failed"]) == (6, 6, 0)
    # By a track, by a file of the library, and by one that is not in it.
    search = ["similar", "--library", library, "--sound", f"hub:{hubert}", "-k", "9"]
    assert main([*search, str(music / "rock" / "0.wav")]) == 0
    neighbours = said(capsys)
    assert len(neighbours) == 5
    shutil.move(music / "rock" / "0.wav", tmp_path / "new.wav")
    with Library.open(tmp_path / "L") as opened:
        (track_id,) = (name for name, path in opened.paths().items() if b"rock/0.wav" in path)
        vector = opened.vector(track_id, f"hub:{hubert}")
        encoder = HubEncoder.open(hubert)
        from crossfade.pipelines.audio_analysis.feature_sources import extract

        np.testing.assert_allclose(extract(tmp_path / "new.wav", encoder.name).mean(axis=0), vector, atol=1e-5)
    # A file that changed is heard again by both; the others by neither.
    (music / "jazz" / "0.wav").write_bytes((music / "jazz" / "1.wav").read_bytes()[:-2_000])
    assert main(words) == 0
    (summary,) = said(capsys)
    assert (summary["embedded"], summary["encoder_embedded"]) == (1, 1)
    (tmp_path / "new.wav").write_bytes((tmp_path / "new.wav").read_bytes()[:-4_000])
    assert main([*search, str(tmp_path / "new.wav")]) == 0
    assert said(capsys)[0]["track_id"] == track_id


def test_an_encoder_that_is_none_is_found_out_before_anything_is_heard(songs, tmp_path, capsys):
    words = ["embed", str(songs), "--library", str(tmp_path / "L"), "--encoder", str(tmp_path)]
    assert main(words) == 1
    assert "of the family None; supported are" in capsys.readouterr().err
    assert not (tmp_path / "L").exists()


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    import soundfile

    folder = tmp_path_factory.mktemp("songs")
    noise = np.random.default_rng(0)
    for genre in ("rock", "jazz"):
        (folder / genre).mkdir()
        for number in range(3):
            samples = noise.normal(0, 0.1, 32_000).astype(np.float32)
            soundfile.write(folder / genre / f"{number}.wav", samples, 16_000)
    return folder


def test_zero_shot_is_a_genre_model_without_training(folders, songs, tmp_path):
    from crossfade.models.encoders.transformers import HubEncoder
    from crossfade.models.genres.model import GenreModel
    from crossfade.pipelines.audio_analysis.feature_sources import FeatureCache, extract
    from crossfade.pipelines.genres.dataset import prepare
    from crossfade.pipelines.genres.evaluate import train
    from crossfade.pipelines.genres.labels import read_labels
    from crossfade.pipelines.genres.methods import PROMPT, method_named

    method = method_named(f"zero-shot:{folders['clap']}")
    prepared = prepare(read_labels(songs), method.sources, FeatureCache(tmp_path / "cache"))
    train(prepared, method).save(tmp_path / "M")
    model = GenreModel.load(tmp_path / "M")
    windows = extract(songs / "rock" / "0.wav", method.sources[0])
    scores = model.classifier.scores({method.sources[0]: [windows]})
    prompts = [PROMPT.format(name) for name in model.card.classes]
    encoder = HubEncoder.open(str(folders["clap"]))
    sound = windows.mean(axis=0) / np.linalg.norm(windows.mean(axis=0))
    expected = encoder.text_scale * sound[None] @ encoder.embed_text(prompts).T
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("family", TRAINED_ON)
def test_an_encoder_is_trained_on_and_saved_whole(family, folders, songs, tmp_path):
    from crossfade.models.genres.model import GenreModel
    from crossfade.pipelines.audio_analysis.feature_sources import FeatureCache
    from crossfade.pipelines.genres.dataset import prepare
    from crossfade.pipelines.genres.evaluate import train
    from crossfade.pipelines.genres.labels import read_labels
    from crossfade.pipelines.genres.methods import method_named

    method = method_named(f"fine-tuned:{folders[family]}", epochs=1)
    prepared = prepare(read_labels(songs), method.sources, FeatureCache(tmp_path / "cache"))
    model, again = (train(prepared, method) for _ in range(2))
    heard = prepared.of(np.arange(2), method.sources)
    np.testing.assert_array_equal(model.predict(heard), again.predict(heard))
    model.save(tmp_path / "M")
    np.testing.assert_array_equal(GenreModel.load(tmp_path / "M").predict(heard), model.predict(heard))
    before = HubEncoder.open(str(folders[family])).model.state_dict()
    after = model.classifier.arrays()
    assert any(not np.array_equal(after[f"encoder.core.{name}"], tensor) for name, tensor in before.items())


def test_a_model_of_sound_and_text_is_not_trained_on(folders, songs, tmp_path, capsys):
    from crossfade.pipelines.commands.main import main

    words = ["genres", "train", str(songs), "--out", str(tmp_path / "M"), "--cache", str(tmp_path / "cache")]
    assert main([*words, "--model", "fine-tuned", "--encoder", str(folders["clap"])]) == 2
    assert "a model of sound and text is not fine-tuned" in capsys.readouterr().err


def test_find_by_text(folders, songs, tmp_path, capsys):
    import polars as pl

    from crossfade.pipelines.commands.main import main
    from crossfade.pipelines.library.store import Library

    with Library.open(tmp_path / "L", create=True) as library:
        library.add_tracks(pl.DataFrame({"track_id": [f"{n}" for n in range(3)], "artists": [["X"]] * 3}))
        with library.transaction() as db:
            for n in range(3):
                db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (bytes(songs / f"rock/{n}.wav"), f"{n}"))
    words = ["find", "a rock song", "--library", str(tmp_path / "L"), "-k", "2"]
    assert main(words) == 1
    assert "not embedded by a model of text and sound" in capsys.readouterr().err
    assert main([*words, "--encoder", str(folders["clap"])]) == 0
    first = capsys.readouterr().out
    lines = [json.loads(line) for line in first.splitlines()]
    assert len(lines) == 2
    assert lines[0]["score"] >= lines[1]["score"]
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert main([*words, "--encoder", str(folders["ast"])]) == 2
