"""Audio models of transformers as encoders: AST, CLAP, Wav2Vec2, HuBERT, Whisper and their kin.

A model is named as on the hub, or by the folder it was saved in. Only weights and configurations are loaded, never
code that comes with them. The rate comes from the model's feature extractor, the window from its receptive length.

Shapes: B windows, N samples, L tokens or frames, D dimensions, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...errors import LibraryError, UsageError, optional_module
from ..arrays import Floats, l2_normalize
from .musicnn import MEL_SOURCE

if TYPE_CHECKING:
    import torch

OWN_WINDOW_SECONDS = 5.0
"""for models that take any length (Wav2Vec2, HuBERT)"""
BATCH = 8
PREFIX = "hub:"
"""before the name of a model of transformers"""
INPUT_SOURCE = "input:"
"""before an encoder's name: windows of what its feature extractor makes of the sound"""


def input_source(encoder: str) -> str:
    """The name of what an encoder's network takes: of musicnn-msd, musicnn-mtt or hub:NAME."""
    return f"{INPUT_SOURCE}{encoder}" if encoder.startswith(PREFIX) else MEL_SOURCE


@dataclass(frozen=True, eq=False)
class HubEncoder:
    """An `Encoder` made of a transformers model; open it with `HubEncoder.open`."""

    name: str
    """hub:NAME, with @LAYER where a layer was chosen"""
    sample_rate: int
    window_samples: int
    dimensions: int
    layer: int | None
    """which hidden state is pooled, 0 being what goes into the first layer; None for the last"""
    model: Any = field(repr=False)
    """the transformers model"""
    _extractor: Any = field(repr=False)
    _folder: str = field(repr=False)

    @property
    def hop_samples(self) -> int:
        """Windows follow each other without overlap."""
        return self.window_samples

    @property
    def core(self) -> Any:
        """The part of the model that takes audio."""
        return _audio_part(self.model)

    @property
    def embeds_text(self) -> bool:
        """Whether it embeds text beside audio (CLAP)."""
        return hasattr(self.model, "get_text_features")

    @classmethod
    def open(cls, name: str, *, layer: int | None = None) -> Self:
        """A model by name or folder. LibraryError where it cannot be had, is no audio model, or brings its own code."""
        extractor = _from_pretrained("AutoFeatureExtractor", name)
        rate = getattr(extractor, "sampling_rate", None)
        if not rate:
            raise LibraryError(f"{name}: not an audio model: its feature extractor has no sample rate")
        model = _from_pretrained("AutoModel", name)
        import torch

        device, precision = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)
        model = model.eval().to(device=device, dtype=precision)
        layers = getattr(getattr(model.config, "audio_config", model.config), "num_hidden_layers", None)
        if layer is not None and (layer < 0 or (layers is not None and layer > layers)):
            raise UsageError(f"--encoder {name}@{layer}: the model has layers 0 to {layers}")
        window = round(_window_seconds(extractor) * rate)
        full_name = f"{PREFIX}{name}" + (f"@{layer}" if layer is not None else "")
        encoder = cls(full_name, int(rate), window, 0, layer, model, extractor, name)
        if layer is not None and encoder.embeds_text:
            raise UsageError(
                f"--encoder {name}@{layer}: a model of sound and text is used through its common space only"
            )
        return replace(encoder, dimensions=encoder.embed(np.zeros((1, window), np.float32)).shape[1])

    def embed(self, clips: Floats) -> Floats:
        """Shape: [B, N] -> [B, D]"""
        import torch

        with torch.inference_mode():
            batches = (self._inputs(clips[start : start + BATCH]) for start in range(0, len(clips), BATCH))
            parts = [self._pooled(inputs).float().cpu().numpy() for inputs in batches]
        return np.concatenate(parts).astype(np.float32)

    def _inputs(self, clips: Floats) -> dict[str, torch.Tensor]:
        """What the feature extractor makes of windows, on the model's device and in its precision."""
        first = next(self.model.parameters())
        return {
            name: value.to(first.device, first.dtype) if value.is_floating_point() else value.to(first.device)
            for name, value in self._extracted(clips, "pt").items()
        }

    def features(self, clips: Floats) -> Floats:
        """The network's main input, for windows of equal length. Shape: [B, N] -> [B, …]

        UsageError for a model that is not trained on here.
        """
        if self.embeds_text:
            raise UsageError(f"{self._folder}: a model of sound and text is not fine-tuned here; a probe can use it")
        return np.asarray(self._extracted(clips, "np")[self.core.main_input_name], np.float32)

    def _extracted(self, clips: Floats, tensors: str) -> Any:
        return self._extractor([clip.copy() for clip in clips], sampling_rate=self.sample_rate, return_tensors=tensors)

    def _pooled(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, D]"""
        if self.embeds_text:
            return _embedding(self.model.get_audio_features(**inputs))
        if self.layer is None:
            hidden: torch.Tensor = self.core(**inputs).last_hidden_state
        else:
            hidden = self.core(**inputs, output_hidden_states=True).hidden_states[self.layer]
        return hidden.mean(dim=1)

    def embed_text(self, prompts: Sequence[str]) -> Floats:
        """Prompts in the space of the sounds, each of length 1. Shape: [P] -> [P, D]"""
        if not self.embeds_text:
            raise UsageError(f"{self.name}: has no text encoder; a CLAP model does (laion/clap-htsat-unfused)")
        tokens = _from_pretrained("AutoTokenizer", self._folder)(list(prompts), padding=True, return_tensors="pt")
        import torch

        with torch.inference_mode():
            inputs = {name: tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            return l2_normalize(_embedding(self.model.get_text_features(**inputs)).float().cpu().numpy())

    @property
    def text_scale(self) -> float:
        """What cosines of sound and text are multiplied with to be logits; learnt with the model."""
        return float(self.model.logit_scale_a.detach().float().exp())


def from_config(config: dict[str, Any]) -> Any:
    """The audio part of a model, with numbers that are still to be loaded."""
    transformers = _transformers()
    return _audio_part(transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config)))


def _audio_part(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _transformers() -> Any:
    optional_module("torch", "audio models of transformers")
    transformers = optional_module("transformers", "audio models of transformers")
    # Its bars for loading weights would stand between a command's own lines.
    transformers.utils.logging.disable_progress_bar()
    return transformers


_UNREACHABLE = "no such folder, and not to be had from the hub (no network, or no such model); give a local folder"


def _at_hand(name: str) -> bool:
    """Whether a model is a folder or in the hub's cache; LibraryError where it is not on the hub either.

    Asked once and briefly: loading would try each of several files for half a minute.
    """
    import huggingface_hub

    if Path(name).is_dir():
        return True
    try:
        if isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str):
            return True
        huggingface_hub.HfApi().model_info(name, timeout=10)
    except Exception as error:
        # Which network library raises differs between versions of the hub's client, and with it the exceptions.
        raise LibraryError(f"{name}: {_UNREACHABLE}") from error
    return False


def _from_pretrained(kind: str, name: str) -> Any:
    """An object of a class of transformers, or one line about why not."""
    transformers = _transformers()
    at_hand = _at_hand(name)
    try:
        return getattr(transformers, kind).from_pretrained(name, trust_remote_code=False, local_files_only=at_hand)
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = str(error)
        if "trust_remote_code" in text or "remote code" in text:
            why = "needs code that comes with it, which is never run"
        elif Path(name).is_dir():
            reason = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:200]
            why = f"holds no audio model of transformers ({reason})"
        else:
            why = _UNREACHABLE
        raise LibraryError(f"{name}: {why}") from error


def _window_seconds(extractor: Any) -> float:
    """The length of the clips that a model was trained on."""
    if getattr(extractor, "max_length_s", None):
        return float(extractor.max_length_s)
    if getattr(extractor, "chunk_length", None):
        return float(extractor.chunk_length)
    if getattr(extractor, "num_mel_bins", None) and getattr(extractor, "max_length", None):
        # AST: frames of 25 ms every 10 ms.
        return float(extractor.max_length * 0.01 + 0.015)
    return OWN_WINDOW_SECONDS


def _embedding(output: Any) -> torch.Tensor:
    """transformers 5 returns an output with a pooled embedding, older ones the embedding."""
    embedding: torch.Tensor = output.pooler_output if hasattr(output, "pooler_output") else output
    return embedding
