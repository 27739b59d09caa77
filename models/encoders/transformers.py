"""Audio models of transformers as encoders: AST, CLAP, Wav2Vec2, HuBERT, Whisper and their kin.

A model is named as on the hub, or by the folder it was saved in. Only weights and configurations are loaded, never
code that comes with them. The rate comes from the model's feature extractor, the window from its receptive length.

Shapes: B windows, N samples, L tokens or frames, D dimensions, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError, MissingExtra, UsageError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

OWN_WINDOW_SECONDS = 5.0
"""for models that take any length (Wav2Vec2, HuBERT)"""
BATCH = 8
PREFIX = "hub:"


@dataclass(frozen=True, eq=False)
class HubEncoder:
    """An `Encoder` made of a transformers model; open it with `HubEncoder.open`."""

    name: str
    """hub:NAME, with @LAYER where a layer was chosen"""
    sample_rate: int
    window_samples: int
    dimensions: int
    layer: int | None
    """which hidden state is pooled, 0 being what goes into the first layer; None for the model's own last word"""
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
        """The part that hears."""
        return _core(self.model)

    @property
    def knows_text(self) -> bool:
        """Whether it embeds text beside sound (CLAP)."""
        return hasattr(self.model, "get_text_features")

    @classmethod
    def open(cls, name: str, *, layer: int | None = None) -> Self:
        """A model by name or folder. LibraryError where it cannot be had, is no audio model, or brings its own code."""
        transformers = _transformers()
        import torch

        options = {"trust_remote_code": False, "local_files_only": _at_hand(name)}
        extractor = _loaded(name, transformers.AutoFeatureExtractor, options)
        rate = getattr(extractor, "sampling_rate", None)
        if not rate:
            raise LibraryError(f"{name}: not an audio model: its feature extractor has no sample rate")
        model = _loaded(name, transformers.AutoModel, options)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.eval().to(device=device, dtype=torch.float16 if device == "cuda" else torch.float32)
        layers = getattr(getattr(model.config, "audio_config", model.config), "num_hidden_layers", None)
        if layer is not None and (layer < 0 or (layers is not None and layer > layers)):
            raise UsageError(f"--encoder {name}@{layer}: the model has layers 0 to {layers}")
        if layer is not None and hasattr(model, "get_text_features"):
            raise UsageError(
                f"--encoder {name}@{layer}: a model of sound and text is used through its common space only"
            )
        window = round(_window_seconds(extractor) * rate)
        full_name = f"{PREFIX}{name}" + (f"@{layer}" if layer is not None else "")
        half_made = cls(full_name, int(rate), window, 0, layer, model, extractor, name)
        dimensions = half_made.embed(np.zeros((1, window), np.float32)).shape[1]
        return cls(full_name, int(rate), window, dimensions, layer, model, extractor, name)

    def embed(self, clips: Floats) -> Floats:
        """Shape: [B, N] -> [B, D]"""
        import torch

        with torch.inference_mode():
            batches = (self.inputs(clips[start : start + BATCH]) for start in range(0, len(clips), BATCH))
            parts = [self._pooled(inputs).float().cpu().numpy() for inputs in batches]
        return np.concatenate(parts).astype(np.float32)

    def inputs(self, clips: Floats) -> dict[str, torch.Tensor]:
        """What the feature extractor makes of windows, where and in the precision that the model wants it."""
        found = self._extractor([clip.copy() for clip in clips], sampling_rate=self.sample_rate, return_tensors="pt")
        first = next(self.model.parameters())
        return {
            name: value.to(first.device, first.dtype) if value.is_floating_point() else value.to(first.device)
            for name, value in found.items()
        }

    def features(self, clips: Floats) -> Floats:
        """The network's main input, for windows of equal length. Shape: [B, N] -> [B, …]

        UsageError for a model that is not trained on here.
        """
        if self.knows_text:
            raise UsageError(f"{self._folder}: a model of sound and text is not fine-tuned here; a probe can use it")
        found = self._extractor([clip.copy() for clip in clips], sampling_rate=self.sample_rate, return_tensors="np")
        return np.asarray(found[self.core.main_input_name], np.float32)

    def _pooled(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, D]"""
        if self.knows_text:
            return _embedding(self.model.get_audio_features(**inputs))
        if self.layer is None:
            hidden: torch.Tensor = self.core(**inputs).last_hidden_state
        else:
            hidden = self.core(**inputs, output_hidden_states=True).hidden_states[self.layer]
        return hidden.mean(dim=1)

    def embed_text(self, prompts: Sequence[str]) -> Floats:
        """Prompts in the space of the sounds, each of length 1. Shape: [P] -> [P, D]"""
        if not self.knows_text:
            raise UsageError(f"{self.name}: knows no text; a CLAP model does (laion/clap-htsat-unfused)")
        transformers = _transformers()
        import torch

        options = {"trust_remote_code": False, "local_files_only": _at_hand(self._folder)}
        tokenizer = _loaded(self._folder, transformers.AutoTokenizer, options)
        tokens = tokenizer(list(prompts), padding=True, return_tensors="pt")
        with torch.inference_mode():
            wanted = {name: tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            found = _embedding(self.model.get_text_features(**wanted)).float().cpu().numpy()
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)

    @property
    def text_scale(self) -> float:
        """What cosines of sound and text are multiplied with to be logits; learnt with the model."""
        return float(self.model.logit_scale_a.detach().float().exp())

    def zero_shot(self, embeddings: Floats, prompts: Sequence[str]) -> Floats:
        """The logit of each prompt for sounds never learnt from. Shape: [B, D], [P] -> [B, P]"""
        sounds = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        return np.asarray(self.text_scale * sounds @ self.embed_text(prompts).T, np.float32)

    def export_onnx(self, path: Path) -> None:
        """Writes the network (extractor's features -> embedding) for ONNX Runtime; LibraryError where it cannot be."""
        import torch

        inputs = self.inputs(np.zeros((2, self.window_samples), np.float32))
        # What the model takes besides features (CLAP's flag for long clips) is the same for all windows.
        values = [name for name, value in inputs.items() if value.is_floating_point()]
        fixed = {name: value for name, value in inputs.items() if name not in values}
        pooled = self._pooled

        class Core(torch.nn.Module):
            def __init__(self, model: torch.nn.Module) -> None:
                super().__init__()
                self.model = model

            def forward(self, features: torch.Tensor) -> torch.Tensor:
                return pooled({values[0]: features, **fixed})

        try:
            torch.onnx.export(
                Core(self.model),
                (inputs[values[0]],),
                path,
                input_names=["features"],
                output_names=["embedding"],
                dynamic_axes={"features": {0: "windows"}, "embedding": {0: "windows"}},
                dynamo=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise LibraryError(f"{self.name}: cannot be exported to ONNX: {reason}") from error


def from_config(config: dict[str, Any]) -> Any:
    """The part of a model that hears, with numbers that are still to be loaded."""
    transformers = _transformers()
    return _core(transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config)))


def pooled(core: Any, inputs: torch.Tensor) -> torch.Tensor:
    """The mean over time of a core's last hidden state. Shape: [B, …] -> [B, D]"""
    hidden: torch.Tensor = core(inputs).last_hidden_state
    return hidden.mean(dim=1)


def _core(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise MissingExtra("audio models of transformers", "train") from error
    # Its bars for loading weights would stand between a command's own lines.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
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


def _loaded(name: str, kind: Any, options: dict[str, bool]) -> Any:
    """What `kind.from_pretrained` gives, or one line about why not."""
    try:
        return kind.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = str(error)
        if "trust_remote_code" in text or "remote code" in text:
            why = "needs code that comes with it, which is never run"
        elif Path(name).is_dir():
            why = f"holds no audio model of transformers ({_first_line(text)})"
        else:
            why = _UNREACHABLE
        raise LibraryError(f"{name}: {why}") from error


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:200]


def _window_seconds(extractor: Any) -> float:
    """How much a model hears at once."""
    if getattr(extractor, "max_length_s", None):
        return float(extractor.max_length_s)
    if getattr(extractor, "chunk_length", None):
        return float(extractor.chunk_length)
    if getattr(extractor, "num_mel_bins", None) and getattr(extractor, "max_length", None):
        # AST: frames of 25 ms every 10 ms.
        return float(extractor.max_length * 0.01 + 0.015)
    return OWN_WINDOW_SECONDS


def _embedding(found: Any) -> torch.Tensor:
    """transformers 5 returns an output with a pooled embedding, older ones the embedding."""
    result: torch.Tensor = found if not hasattr(found, "pooler_output") else found.pooler_output
    return result
