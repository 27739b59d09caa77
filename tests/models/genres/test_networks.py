"""Training the CNN: it learns, repeats exactly, and carries on from a checkpoint as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossfade.audio.augmentation import Augmentation, gain, masked, mixed, shift_bands
from crossfade.audio.log_mel import LogMel

torch = pytest.importorskip("torch")

from crossfade.models.encoders.musicnn import MEL_SOURCE, Corpus  # noqa: E402
from crossfade.models.encoders.musicnn_torch import pretrained_musicnn  # noqa: E402
from crossfade.models.genres import networks  # noqa: E402
from crossfade.models.genres.networks import (  # noqa: E402
    CnnShape,
    NetworkClassifier,
    NetworkTraining,
    shape_of,
    train_network,
)
from crossfade.pipelines.genres.dataset import AudioDataset  # noqa: E402
from crossfade.pipelines.genres.labels import LabelledAudio  # noqa: E402
from crossfade.pipelines.genres.methods import method_named  # noqa: E402

SHAPE = CnnShape(2, bands=16, channels=(4, 8))
OPTIONS = NetworkTraining(epochs=6, batch=8, learning_rate=1e-2, augmentation=Augmentation(gain_decibels=0))


def stripes(rng, tracks=24):
    """Two classes: energy in low or in high bands, at any level."""
    numbers = np.arange(tracks) % 2
    found = []
    for number in numbers:
        patches = rng.random((3, 24, 16), np.float32) * 0.3
        patches[:, :, number * 8 : number * 8 + 8] += 0.7
        found.append(patches)
    return found, np.eye(2, dtype=bool)[numbers]


def trained(rng, options=OPTIONS, **more):
    tracks, targets = stripes(rng)
    return train_network(tracks[:16], targets[:16], (tracks[16:], targets[16:]), SHAPE, options, **more)


def arrays_equal(one, other):
    return all(
        np.array_equal(one.classifier.state[name], other.classifier.state[name]) for name in one.classifier.state
    )


def test_it_learns_and_repeats_exactly():
    runs = [trained(np.random.default_rng(0)) for _ in range(2)]
    assert runs[0].curve[-1].figures["accuracy"] == 1
    assert arrays_equal(*runs)
    other = trained(np.random.default_rng(0), dataclasses.replace(OPTIONS, seed=1))
    assert not arrays_equal(runs[0], other)


def test_interrupted_it_carries_on_to_the_same_end(tmp_path):
    whole = trained(np.random.default_rng(0))
    path = tmp_path / "checkpoint.pt"

    def stop(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(np.random.default_rng(0), checkpoint=path, watch=stop)
    seen = []
    resumed = trained(np.random.default_rng(0), checkpoint=path, watch=seen.append)
    assert [epoch.epoch for epoch in seen] == [4, 5, 6]
    assert arrays_equal(whole, resumed)
    assert [e.validation_loss for e in resumed.curve] == [e.validation_loss for e in whole.curve]


def test_a_checkpoint_of_something_else_or_a_broken_one_is_not_used(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    assert len(trained(np.random.default_rng(0), checkpoint=path).curve) == 6
    seen = []
    trained(np.random.default_rng(7), checkpoint=path, watch=seen.append)
    assert seen[0].epoch == 1


@pytest.mark.parametrize("what", ["a later patch", "a validation patch", "a validation label"])
def test_a_checkpoint_belongs_to_every_number_it_was_made_of(what, tmp_path):
    """The fingerprint of a checkpoint leaves out none of the data."""
    tracks, targets = stripes(np.random.default_rng(0))
    held, held_targets = tracks[16:], targets[16:].copy()
    seen = []

    def train():
        seen.clear()
        options = dataclasses.replace(OPTIONS, epochs=2)
        path = tmp_path / "checkpoint"
        learned = tracks[:16], targets[:16], (held, held_targets)
        train_network(*learned, SHAPE, options, checkpoint=path, watch=seen.append)

    train()
    train()
    assert not seen
    if what == "a later patch":
        tracks[5][2, 3, 4] += 1e-3
    elif what == "a validation patch":
        held[-1][2, 3, 4] += 1e-3
    else:
        held_targets[-1] = held_targets[-1, ::-1]
    train()
    assert len(seen) == 2


def test_it_stops_early():
    found = trained(np.random.default_rng(0), dataclasses.replace(OPTIONS, epochs=200, patience=2))
    assert len(found.curve) < 200


@pytest.mark.parametrize(("losses", "best"), [([np.nan, 0.5, 0.5, 0.7], 3), ([0.4, 0.5], 1)])
def test_the_card_names_the_epoch_whose_numbers_were_kept(losses, best, monkeypatch):
    """Of equally good epochs the last, and never one whose validation is not a number."""
    held, tracks = iter(losses), [np.zeros((1, 24, 16), np.float32)] * 4
    monkeypatch.setattr(networks, "_validation_loss", lambda *_: next(held))
    monkeypatch.setattr(networks, "shape_of", lambda *_: SHAPE)
    method = method_named("cnn", epochs=len(losses))
    names = tuple("abcd")
    labels = LabelledAudio("labels", tuple(map(Path, names)), names, (("x",), ("y",)) * 2)
    dataset = AudioDataset(labels, {SHAPE.source: tracks})
    fitted = method.fit(dataset, np.array([0, 1]), validation=np.array([2, 3]), seed=0)
    assert fitted.chosen == f"epoch {best} of {len(losses)}"


def test_several_labels(rng):
    tracks, targets = stripes(rng)
    both = targets | (rng.random(len(targets)) < 0.2)[:, None]
    found = train_network(tracks, both, (tracks, both), SHAPE, OPTIONS)
    assert ((found.validation_scores > 0) == both).mean() > 0.8


def test_gain_is_what_a_louder_clip_gives(rng):
    clip = rng.normal(0, 0.05, (1, 16_000)).astype(np.float32)
    front_end = LogMel()
    louder = front_end(clip * np.float32(10 ** (6 / 20)))
    np.testing.assert_allclose(
        gain(
            front_end(clip),
            np.array([6.0]),
        ),
        louder,
        atol=1e-4,
    )


def test_bands_are_shifted(rng):
    patches = rng.random((2, 5, 12), np.float32)
    moved = shift_bands(patches, np.array([2.0, -0.5]))
    np.testing.assert_allclose(moved[0, :, 2:], patches[0, :, :-2])
    np.testing.assert_allclose(moved[1, :, 3], (patches[1, :, 3] + patches[1, :, 4]) / 2, atol=1e-6)


def test_masks_cover_no_more_than_allowed(rng):
    patches = rng.random((4, 40, 30), np.float32)
    hidden = masked(patches, rng, masks=1, shares=(0.1, 0.1))
    assert ((hidden != patches).mean(axis=(1, 2)) <= 0.1 + 0.1).all()


def test_mixup_mixes_targets_alike(rng):
    patches = rng.random((6, 3, 3), np.float32)
    targets = np.eye(6, dtype=np.float32)
    images, wanted = mixed(patches, targets, rng, alpha=0.4)
    np.testing.assert_allclose(wanted.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(images, np.einsum("bc,cfm->bfm", wanted, patches), atol=1e-5)


def test_nothing_is_changed_when_all_is_off(rng):
    off = Augmentation(gain_decibels=0, pitch_bands=0, masks=0, mixup=0)
    patches, targets = rng.random((2, 4, 4), np.float32), np.eye(2, dtype=np.float32)
    images, wanted = off(patches, targets, rng)
    np.testing.assert_array_equal(images, patches)
    np.testing.assert_array_equal(wanted, targets)


def test_an_encoder_is_trained_on_but_not_its_front_end(rng):
    tracks, targets = stripes(rng, 6)
    wide = [np.tile(patches, (1, 8, 6))[:1, :187] for patches in tracks]
    shape = shape_of(2, "musicnn-msd")
    options = NetworkTraining(epochs=2, batch=4, learning_rate=1e-3)
    found = train_network(wide, targets, (wide, targets), shape, options)
    before = pretrained_musicnn(Corpus.MSD).state_dict()
    same = {
        name for name, tensor in before.items() if np.array_equal(found.classifier.state[f"encoder.{name}"], tensor)
    }
    frozen = {name for name in before if name.startswith(("input", "timbral", "temporal")) or "running" in name}
    assert frozen <= same
    assert not {name for name in same if name.endswith("weight")} - frozen - {"tags.dense.weight"}
    again = NetworkClassifier.from_arrays(found.classifier.arrays(), found.classifier.options())
    np.testing.assert_array_equal(again.scores({MEL_SOURCE: wide}), found.validation_scores)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="that training ran without AVX-512")
def test_networks_are_trained_without_avx512_too():
    """With AVX2 alone, oneDNN writes past its buffers in strided 1x1 convolutions of a few channels, channels last.

    The process aborts, so that it has to be another one; the smallest training is enough for that.
    """
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    test = test_it_learns_and_repeats_exactly.__name__
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{test}"]
    run = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
