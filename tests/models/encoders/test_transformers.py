"""Audio models of transformers: tiny ones of each family, saved locally, through the real loading path, offline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crossfade.errors import LibraryError, UsageError
from crossfade.models.encoders.base import Encoder
from crossfade.models.encoders.transformers import HubEncoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def save_ast(folder: Path) -> None:
    config = transformers.ASTConfig(**TINY, max_length=128, num_mel_bins=32)
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder)


def save_wav2vec2(folder: Path) -> None:
    convolutions = {"conv_dim": (16, 16), "conv_stride": (20, 16), "conv_kernel": (40, 16)}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = transformers.Wav2Vec2Config(**TINY, **convolutions, **positions, num_feat_extract_layers=2)
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def save_hubert(folder: Path) -> None:
    convolutions = {"conv_dim": (16, 16), "conv_stride": (20, 16), "conv_kernel": (40, 16)}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = transformers.HubertConfig(**TINY, **convolutions, **positions, num_feat_extract_layers=2)
    transformers.HubertModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def save_whisper(folder: Path) -> None:
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    frames = {"num_mel_bins": 16, "max_source_positions": 100}
    config = transformers.WhisperConfig(**sizes, **heads, **tokens, **frames, suppress_tokens=None)
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained(folder)


def save_clap(folder: Path) -> None:
    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 1, 1],
        "spec_size": 256,
        "num_mel_bins": 64,
        "projection_dim": 12,
        "enable_fusion": False,
    }
    text = {**TINY, "vocab_size": 300, "projection_dim": 12, "max_position_embeddings": 64}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    transformers.ClapModel(config).save_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor(max_length_s=2, truncation="rand_trunc", padding="repeatpad")
    extractor.save_pretrained(folder)
    save_tokenizer(folder)


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["<s>", "<pad>", "</s>", "<unk>", "this", "is", "a", "song", "rock", "jazz"]
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)


FAMILIES = {
    "ast": (save_ast, 16_000, 16),
    "wav2vec2": (save_wav2vec2, 16_000, 16),
    "hubert": (save_hubert, 16_000, 16),
    "whisper": (save_whisper, 16_000, 16),
    "clap": (save_clap, 48_000, 12),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    found = {}
    for name, (save, _, _) in FAMILIES.items():
        torch.manual_seed(0)
        found[name] = tmp_path_factory.mktemp(name)
        save(found[name])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_an_encoder(family, folders, rng):
    _, rate, dimensions = FAMILIES[family]
    encoder = HubEncoder.open(str(folders[family]))
    assert isinstance(encoder, Encoder)
    assert (encoder.sample_rate, encoder.dimensions) == (rate, dimensions)
    clips = rng.normal(0, 0.1, (3, encoder.window_samples)).astype(np.float32)
    found = encoder.embed(clips)
    assert found.shape == (3, dimensions)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(encoder.embed(clips[1:2])[0], found[1], atol=1e-5)
    np.testing.assert_allclose(HubEncoder.open(str(folders[family])).embed(clips), found, atol=1e-6)


@pytest.mark.parametrize("family", ["ast", "wav2vec2", "hubert", "whisper"])
def test_a_layer_can_be_chosen(family, folders, rng):
    encoder = HubEncoder.open(str(folders[family]), layer=1)
    clips = rng.normal(0, 0.1, (1, encoder.window_samples)).astype(np.float32)
    assert encoder.name.endswith("@1")
    assert not np.allclose(encoder.embed(clips), HubEncoder.open(str(folders[family])).embed(clips))
    with pytest.raises(UsageError, match="layers 0 to 2"):
        HubEncoder.open(str(folders[family]), layer=7)


def test_text_and_sound_share_a_space(folders, rng):
    encoder = HubEncoder.open(str(folders["clap"]))
    text = encoder.embed_text(["this is a rock song", "jazz"])
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    clips = rng.normal(0, 0.1, (2, encoder.window_samples)).astype(np.float32)
    assert encoder.embed(clips).shape[1] == text.shape[1]


def test_others_know_no_text(folders):
    with pytest.raises(UsageError, match="has no text encoder"):
        HubEncoder.open(str(folders["ast"])).embed_text(["rock"])


def test_a_missing_model_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LibraryError, match="no such folder, and not to be had"):
        HubEncoder.open("nobody/nothing-of-that-name")
    with pytest.raises(LibraryError, match="holds no audio model"):
        HubEncoder.open(str(tmp_path))


def test_code_beside_a_model_is_never_run(folders, tmp_path):
    save_ast(tmp_path)
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    for name in ("config.json", "preprocessor_config.json"):
        config = json.loads((tmp_path / name).read_text())
        config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoFeatureExtractor": "evil.Evil"}
        config["model_type"] = "evil"
        (tmp_path / name).write_text(json.dumps(config))
    with pytest.raises(LibraryError):
        HubEncoder.open(str(tmp_path))
    assert not ran.exists()


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


@pytest.mark.parametrize("family", ["ast", "wav2vec2", "hubert", "whisper"])
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
    before = HubEncoder.open(str(folders[family])).core.state_dict()
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
