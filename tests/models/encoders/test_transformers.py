"""Audio models of transformers: tiny ones of each family, saved locally, through the real loading path, offline."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from crossfade.errors import LibraryError, MissingExtra, UsageError
from crossfade.models.encoders.base import Encoder
from crossfade.models.encoders.transformers import HubEncoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_encoders import FAMILIES, save_ast, save_families, save_hubert  # noqa: E402

TRAINED_ON = ["ast", "wav2vec2", "hubert", "whisper"]
WITH_TEXT = ["clap", "fused-clap", "pe-audio", "pe-audio-frames", "pe-audio-video"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return save_families(tmp_path_factory.mktemp("encoders"))


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


@pytest.mark.parametrize("family", TRAINED_ON)
def test_a_layer_can_be_chosen(family, folders, rng):
    encoder = HubEncoder.open(str(folders[family]), layer=1)
    clips = rng.normal(0, 0.1, (1, encoder.window_samples)).astype(np.float32)
    assert encoder.name.endswith("@1")
    assert not np.allclose(encoder.embed(clips), HubEncoder.open(str(folders[family])).embed(clips))
    with pytest.raises(UsageError, match="layers 0 to 2"):
        HubEncoder.open(str(folders[family]), layer=7)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_is_neither_cut_nor_padded(family, folders, rng):
    encoder = HubEncoder.open(str(folders[family]))
    clip = rng.normal(0, 0.1, (1, encoder.window_samples)).astype(np.float32)
    changed = clip.copy()
    changed[:, -encoder.sample_rate // 100 :] *= 2
    inputs, others = encoder._inputs(clip), encoder._inputs(changed)
    (main,) = inputs.keys() - {"is_longer", "padding_mask", "attention_mask"}
    over_time = -2 if inputs[main].ndim > 2 and family in ("ast", "clap", "fused-clap") else -1
    assert (inputs[main] != others[main]).transpose(over_time, -1)[..., -1].any()
    assert all(mask.all() for name, mask in inputs.items() if name.endswith("mask"))


def test_the_mean_is_over_what_is_of_the_sound(folders, rng):
    encoder = HubEncoder.open(str(folders["ast"]))
    clips = rng.normal(0, 0.1, (2, encoder.window_samples)).astype(np.float32)
    with torch.inference_mode():
        hidden = encoder.model(**encoder._inputs(clips)).last_hidden_state
    np.testing.assert_allclose(encoder.embed(clips), hidden[:, 2:].mean(dim=1), atol=1e-5)


def test_whisper_is_its_encoder_alone(folders):
    encoder = HubEncoder.open(str(folders["whisper"]))
    assert not any("decoder" in name for name, _ in encoder.model.named_parameters())


@pytest.mark.parametrize("family", ["pe-audio", "pe-audio-video"])
def test_pe_embeds_as_its_own_forward(family, folders, rng):
    encoder = HubEncoder.open(str(folders[family]))
    clips = rng.normal(0, 0.1, (1, encoder.window_samples)).astype(np.float32)
    tokens = {"input_ids": torch.tensor([[0, 8, 2]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    with torch.inference_mode():
        both = encoder.model(**encoder._inputs(clips), **tokens)
    np.testing.assert_allclose(encoder.embed(clips), both.audio_embeds, atol=1e-5)
    text = both.text_audio_embeds / both.text_audio_embeds.norm()
    np.testing.assert_allclose(encoder.embed_text(["rock"]), text, atol=1e-5)


@pytest.mark.parametrize("family", WITH_TEXT)
def test_text_and_sound_share_a_space(family, folders, rng):
    encoder = HubEncoder.open(str(folders[family]))
    text = encoder.embed_text(["this is a rock song", "jazz"])
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    clips = rng.normal(0, 0.1, (2, encoder.window_samples)).astype(np.float32)
    assert encoder.embed(clips).shape[1] == text.shape[1]
    # A text has the same embedding beside longer ones.
    np.testing.assert_allclose(encoder.embed_text(["jazz"])[0], text[1], atol=1e-5)


def test_others_know_no_text(folders):
    with pytest.raises(UsageError, match="has no text encoder"):
        HubEncoder.open(str(folders["ast"])).embed_text(["rock"])


def test_a_missing_model_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LibraryError, match="no such folder, and not to be had"):
        HubEncoder.open("nobody/nothing-of-that-name")
    with pytest.raises(LibraryError, match="of the family None"):
        HubEncoder.open(str(tmp_path))


def test_what_the_cache_lacks_is_fetched(monkeypatch):
    """A download that was interrupted leaves the configuration in the cache, without the weights."""
    import huggingface_hub

    from crossfade.models.encoders.transformers import _loaded

    def load(name: str, *, local_files_only: bool = False, **options: object) -> str:
        if local_files_only:
            raise OSError(f"{name} does not appear to have a file named model.safetensors")
        return name

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    assert _loaded(load, "somebody/model") == "somebody/model"


def rewrite(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("family", ["audio-spectrogram-transformer", "mert_model"])
@pytest.mark.parametrize("changed", ["config.json", "preprocessor_config.json"])
def test_code_beside_a_model_is_never_run(family, changed, tmp_path):
    """MERT-v1 and MuQ bring a model, MAEST a feature extractor for a model that transformers has."""
    save_ast(tmp_path)
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    code = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoFeatureExtractor": "evil.Evil"}
    rewrite(tmp_path / "config.json", model_type=family)
    rewrite(tmp_path / changed, auto_map=code, feature_extractor_type="Evil")
    with pytest.raises(LibraryError) as error:
        HubEncoder.open(str(tmp_path))
    assert "needs code that comes with it, which is never run" in str(error.value) or "mert_model" in str(error.value)
    assert "\n" not in str(error.value)
    assert not ran.exists()


def test_pickled_weights_are_not_read(folders, tmp_path):
    save_ast(tmp_path)
    torch.save(transformers.ASTModel.from_pretrained(tmp_path).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(LibraryError, match=r"no weights as safetensors; pickled ones \(\.bin\) are never read"):
        HubEncoder.open(str(tmp_path))


def test_the_page_says_how_to_convert_mert_v0(tmp_path):
    """Its configuration names code that is not needed, and its weights are pickled: a HuBERT all the same."""
    save_hubert(tmp_path / "hub")
    before = transformers.HubertModel.from_pretrained(tmp_path / "hub").state_dict()
    torch.save(before, tmp_path / "hub" / "pytorch_model.bin")
    (tmp_path / "hub" / "model.safetensors").unlink()
    code = {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"}
    rewrite(tmp_path / "hub" / "config.json", model_type="mert_model", auto_map=code)
    with pytest.raises(LibraryError, match="needs code that comes with it"):
        HubEncoder.open(str(tmp_path / "hub"))
    (example,) = re.findall(
        r"```python\n(from transformers.*?)```", (ROOT / "docs" / "encoders.md").read_text(), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(example, names)
    names["convert"](tmp_path / "hub", tmp_path / "mert-v0")
    after = HubEncoder.open(str(tmp_path / "mert-v0")).model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_family_that_is_not_known_names_those_that_are(tmp_path):
    save_ast(tmp_path)
    for family in ("encodec", "nobody_knows"):
        rewrite(tmp_path / "config.json", model_type=family)
        with pytest.raises(LibraryError, match=f"of the family '{family}'; supported are audio-spectrogram-tr.*hubert"):
            HubEncoder.open(str(tmp_path))


def test_weights_of_another_model_are_refused(folders, tmp_path):
    save_ast(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folders["wav2vec2"] / "model.safetensors").read_bytes())
    with pytest.raises(LibraryError, match=r"its weights lack \S+ and \d+ more"):
        HubEncoder.open(str(tmp_path))


def test_without_torch_the_pip_command_is_named(folders, monkeypatch):
    for module in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=r"pip install 'crossfade\[train\]'"):
            HubEncoder.open(str(folders["ast"]))
