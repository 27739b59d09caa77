"""MusiCNN: the reference's numbers, through ONNX Runtime and through torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT

from crossfade.audio.decoding import Recording
from crossfade.audio.windows import Grid, excerpts
from crossfade.models.encoders.base import Encoder
from crossfade.models.encoders.musicnn import Corpus, MusiCNN, weights
from crossfade.models.encoders.musicnn_torch import pretrained_musicnn

GOLDEN_TOLERANCE = 1e-4
RUNTIME_TOLERANCE = 1e-4


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "musicnn_msd_reference.npz") as arrays:
        return dict(arrays)


def windows_of(path: Path) -> np.ndarray:
    encoder = MusiCNN()
    with Recording(path, encoder.sample_rate) as recording:
        found = list(excerpts(recording, Grid(encoder.window_samples, encoder.hop_samples), all_windows=True))
    return np.concatenate([excerpt.windows for excerpt in found])


def test_reference_taggrams_are_reproduced(shared: Path, golden: dict[str, np.ndarray]) -> None:
    encoder, module = MusiCNN(), pretrained_musicnn(Corpus.MSD)
    names = [key.split("|")[0] for key in golden if key.endswith("|taggram")]
    assert len(names) == 6
    for name in names:
        log_mel = encoder.log_mel(windows_of(shared / name))
        embeddings, logits = encoder.from_log_mel(log_mel)
        np.testing.assert_allclose(sigmoid(logits), golden[f"{name}|taggram"], atol=GOLDEN_TOLERANCE)
        first = golden[f"{name}|penultimate_first_window"]
        np.testing.assert_allclose(embeddings[0], first, atol=10 * GOLDEN_TOLERANCE)
        with torch.inference_mode():
            _, through_torch = module(torch.from_numpy(log_mel))
        np.testing.assert_allclose(torch.sigmoid(through_torch), golden[f"{name}|taggram"], atol=GOLDEN_TOLERANCE)


def test_the_tags_are_the_references(golden: dict[str, np.ndarray]) -> None:
    assert tuple(golden["tags"]) == Corpus.MSD.tags


@pytest.mark.parametrize("corpus", Corpus)
def test_onnx_equals_torch(corpus: Corpus, rng: np.random.Generator) -> None:
    log_mel = rng.uniform(0, 4, (3, 187, 96)).astype(np.float32)
    with torch.inference_mode():
        expected = [value.numpy() for value in pretrained_musicnn(corpus)(torch.from_numpy(log_mel))]
    for found, wanted in zip(MusiCNN(corpus).from_log_mel(log_mel), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=RUNTIME_TOLERANCE * np.abs(wanted).max())


@pytest.mark.parametrize("corpus", Corpus)
def test_it_is_an_encoder_with_tags(corpus: Corpus, rng: np.random.Generator) -> None:
    encoder = MusiCNN(corpus)
    assert isinstance(encoder, Encoder)
    clips = rng.normal(0, 0.1, (2, encoder.window_samples)).astype(np.float32)
    embeddings, logits = encoder.embed_and_tag(clips)
    assert embeddings.shape == (2, encoder.dimensions)
    assert logits.shape == (2, len(encoder.tags)) == (2, 50)
    np.testing.assert_allclose(encoder.embed(clips[:1]), embeddings[:1], atol=RUNTIME_TOLERANCE)


def test_cores_change_no_number(rng: np.random.Generator) -> None:
    log_mel = rng.uniform(0, 4, (5, 187, 96)).astype(np.float32)
    for alone, shared in zip(
        MusiCNN(threads=1).from_log_mel(log_mel), MusiCNN(threads=3).from_log_mel(log_mel), strict=True
    ):
        np.testing.assert_array_equal(alone, shared)
    assert [len(part) for part in MusiCNN().from_log_mel(log_mel[:0])] == [0, 0]


def test_the_prior_is_the_output_at_the_mean_embedding() -> None:
    prior = dict(zip(Corpus.MSD.tags, sigmoid(MusiCNN().prior), strict=True))
    assert max(prior, key=lambda tag: prior[tag]) == "rock"
    assert 0.1 < prior["rock"] < 0.2


@pytest.mark.parametrize("corpus", Corpus)
def test_the_numbers_are_those_of_the_provenance_file(corpus: Corpus) -> None:
    provenance = json.loads((files("crossfade.models.encoders") / "musicnn.provenance.json").read_text())
    recorded = provenance["taggers"][f"musicnn_{corpus}.safetensors"]["tensor_sha256"]
    found = {name: hashlib.sha256(tensor.tobytes()).hexdigest() for name, tensor in weights(corpus).items()}
    assert found == recorded


def convert(out: Path, *options: str | Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts/dev/convert_musicnn", *options, "--out", out], check=True)


def shipped(name: str) -> bytes:
    return (files("crossfade.models.encoders") / name).read_bytes()


def test_conversion_gives_the_shipped_graphs(tmp_path: Path) -> None:
    for corpus in Corpus:
        (tmp_path / f"musicnn_{corpus}.safetensors").write_bytes(shipped(f"musicnn_{corpus}.safetensors"))
    convert(tmp_path)
    for corpus in Corpus:
        assert (tmp_path / f"musicnn_{corpus}.onnx").read_bytes() == shipped(f"musicnn_{corpus}.onnx")


@pytest.mark.parametrize("corpus", Corpus)
def test_matrix_products_of_spectra_are_the_convolutions(
    corpus: Corpus, tmp_path: Path, rng: np.random.Generator
) -> None:
    (tmp_path / f"musicnn_{corpus}.safetensors").write_bytes(shipped(f"musicnn_{corpus}.safetensors"))
    convert(tmp_path, "--plain")
    plain = onnxruntime.InferenceSession(tmp_path / f"musicnn_{corpus}.onnx", providers=["CPUExecutionProvider"])
    log_mel = rng.uniform(0, 5, (5, 187, 96)).astype(np.float32)
    log_mel[3], log_mel[4] = 0, 5
    for found, wanted in zip(MusiCNN(corpus).from_log_mel(log_mel), plain.run(None, {"log_mel": log_mel}), strict=True):
        np.testing.assert_allclose(found, wanted, atol=RUNTIME_TOLERANCE / 5)


@pytest.mark.network
def test_conversion_gives_the_shipped_weights(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "musicnn==0.1.0", "-d", str(tmp_path)]
    subprocess.run(pip, check=True)
    convert(tmp_path, "--wheel", next(tmp_path.glob("*.whl")))
    for corpus in Corpus:
        assert (tmp_path / f"musicnn_{corpus}.safetensors").read_bytes() == shipped(f"musicnn_{corpus}.safetensors")
