"""Audio models of transformers as encoders: AST, CLAP, HuBERT, PE-AV, Wav2Vec2, Whisper.

A model is named as on the hub, or by the folder it was saved in. Only configurations and safetensors are loaded, never
code that comes with a model, nor pickled weights. The rate comes from its feature extractor; a window is as long as
what the model was trained on, so that no part of it is padding.

Shapes: B windows, N samples, L tokens or frames, D dimensions, P prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
"""for models that take any length (Wav2Vec2, HuBERT, PE-AV)"""
_FAMILIES = ("clap", "data2vec-audio", "hubert", "pe_audio", "pe_audio_video", "wav2vec2", "wavlm", "whisper")
SPECIAL_TOKENS = {"audio-spectrogram-transformer": 2, **dict.fromkeys(_FAMILIES, 0)}
"""The families, by the `model_type` of their configuration, and how many tokens stand before those of the sound: AST's
class and distillation tokens are no part of the mean."""
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
    def embeds_text(self) -> bool:
        """Whether it embeds text beside audio, and is used through the space that both share (CLAP, PE-AV)."""
        return hasattr(self.model, "get_text_features") or hasattr(self.model, "get_text_audio_embeds")

    @classmethod
    def open(cls, name: str, *, layer: int | None = None) -> Self:
        """A model by name or folder. LibraryError where it cannot be had or is of a family that is not known."""
        extractor, model = _open(name)
        rate = int(extractor.sampling_rate)
        import torch

        device, precision = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)
        model = model.eval().to(device=device, dtype=precision)
        layers = getattr(model.config, "num_hidden_layers", None)
        window = round(_window_seconds(extractor) * rate)
        full_name = f"{PREFIX}{name}" + (f"@{layer}" if layer is not None else "")
        encoder = cls(full_name, rate, window, 0, layer, model, extractor, name)
        if layer is not None and encoder.embeds_text:
            raise UsageError(
                f"--encoder {name}@{layer}: a model of sound and text is used through its common space only"
            )
        if layer is not None and (layer < 0 or (layers is not None and layer > layers)):
            raise UsageError(f"--encoder {name}@{layer}: the model has layers 0 to {layers}")
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
        return np.asarray(self._extracted(clips, "np")[self.model.main_input_name], np.float32)

    def _extracted(self, clips: Floats, tensors: str) -> Any:
        found = self._extractor([clip.copy() for clip in clips], sampling_rate=self.sample_rate, return_tensors=tensors)
        if "is_longer" in found:
            # CLAP's extractor calls one clip of every batch longer than the model's window, by chance.
            found["is_longer"] = found["is_longer"] & False
        return found

    def _pooled(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[B, D]"""
        if hasattr(self.model, "get_audio_features"):
            return _embedding(self.model.get_audio_features(**inputs))
        if hasattr(self.model, "get_audio_embeds"):
            embeddings: torch.Tensor = self.model.get_audio_embeds(**inputs)
            return embeddings.mean(dim=1) if embeddings.ndim == 3 else embeddings
        if self.layer is None:
            hidden: torch.Tensor = self.model(**inputs).last_hidden_state
        else:
            hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.layer]
        return mean_of_sound(self.model, hidden)

    def embed_text(self, prompts: Sequence[str]) -> Floats:
        """Prompts in the space of the sounds, each of length 1. Shape: [P] -> [P, D]"""
        if not self.embeds_text:
            raise UsageError(f"{self.name}: {NO_TEXT}")
        tokenizer = _loaded(_transformers().AutoTokenizer.from_pretrained, self._folder)
        tokens = tokenizer(list(prompts), padding=True, return_tensors="pt")
        import torch

        with torch.inference_mode():
            inputs = {name: tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            if hasattr(self.model, "get_text_features"):
                found = _embedding(self.model.get_text_features(**inputs))
            else:
                # As the model's forward does it; its own get_text_audio_embeds asks for no hidden states and fails.
                hidden = self.model.text_model(**inputs, output_hidden_states=True).hidden_states[-1]
                found = self.model.text_audio_head(hidden[:, 0])
            return l2_normalize(found.float().cpu().numpy())

    @property
    def text_scale(self) -> float:
        """What cosines of sound and text are multiplied with to be logits; learnt with the model."""
        if hasattr(self.model, "logit_scale_a"):
            return float(self.model.logit_scale_a.detach().float().exp())
        return float(self.model.text_audio_logit_scale.detach().float())


def mean_of_sound(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The mean over the tokens of the sound, without special ones. Shape: [B, L, D] -> [B, D]"""
    return hidden[:, SPECIAL_TOKENS[model.config.model_type] :].mean(dim=1)


def from_config(config: dict[str, Any]) -> Any:
    """The audio part of a model, with numbers that are still to be loaded."""
    transformers = _transformers()
    return _audio_part(transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config)))


def _audio_part(model: Any) -> Any:
    """Of a model of several parts (Whisper) the encoder, so that the decoder takes no memory."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _transformers() -> Any:
    optional_module("torch", "audio models of transformers")
    transformers = optional_module("transformers", "audio models of transformers")
    # Its bars for loading weights would stand between a command's own lines.
    transformers.utils.logging.disable_progress_bar()
    return transformers


NEEDS_CODE = "needs code that comes with it, which is never run"
NO_TEXT = "has no text encoder; CLAP and PE-AV have one (laion/larger_clap_music)"


def _loaded(load: Callable[..., Any], name: str, **options: Any) -> Any:
    """What a loading function gives: of a folder, the hub's cache, or the hub; LibraryError says why not."""
    logging = _transformers().utils.logging
    verbosity = logging.get_verbosity()
    # It reports weights that only other uses of a model need.
    logging.set_verbosity_error()
    options["trust_remote_code"] = False
    try:
        try:
            return load(name, local_files_only=True, **options)
        except OSError:
            if Path(name).is_dir():
                raise
            _check_is_on_hub(name)
            return load(name, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = str(error)
        if "remote code" in text or "trust_remote_code" in text:
            why = NEEDS_CODE
        elif "safetensors" in text:
            why = "no weights as safetensors; pickled ones (.bin) are never read: docs/encoders.md converts them"
        else:
            reason = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:200]
            why = f"holds no audio model of transformers ({reason})"
        raise LibraryError(f"{name}: {why}") from error
    finally:
        logging.set_verbosity(verbosity)


def _check_is_on_hub(name: str) -> None:
    """Asks once and briefly: loading would try each of several files for half a minute."""
    import huggingface_hub

    try:
        huggingface_hub.HfApi().model_info(name, timeout=10)
    except Exception as error:
        # Which network library raises differs between versions of the hub's client, and with it the exceptions.
        why = "no such folder, and not to be had from the hub (no network, or no such model); give a local folder"
        raise LibraryError(f"{name}: {why}") from error


def _open(name: str) -> tuple[Any, Any]:
    """The feature extractor of a model, and the part of it that takes audio; of CLAP and PE-AV that with text."""
    transformers = _transformers()
    settings, _ = _loaded(transformers.PretrainedConfig.get_config_dict, name)
    family, own_code = settings.get("model_type"), settings.get("auto_map") or {}
    if "AutoModel" in own_code or (own_code and family not in SPECIAL_TOKENS):
        raise LibraryError(f"{name}: {NEEDS_CODE}")
    if family not in SPECIAL_TOKENS:
        raise LibraryError(f"{name}: a model of the family {family!r}; supported are {', '.join(SPECIAL_TOKENS)}")
    extractor = _loaded(transformers.AutoFeatureExtractor.from_pretrained, name)
    if "AutoFeatureExtractor" in (getattr(extractor, "auto_map", None) or {}):
        # transformers takes the family's own extractor in its place (for MAEST AST's), which hears something else.
        raise LibraryError(f"{name}: {NEEDS_CODE}")
    config, kind = _loaded(transformers.AutoConfig.from_pretrained, name), transformers.AutoModel
    if family == "pe_audio_video":
        # Its sound and text are a model of their own, without the part that sees.
        config, kind = config.audio_config, transformers.PeAudioModel
    if "PeAudioFrameLevelModel" in (config.architectures or ()):
        # PE-A-Frame: trained on its frames, not on the one token for the whole.
        kind = transformers.PeAudioFrameLevelModel
    weights = {"config": config, "use_safetensors": True, "output_loading_info": True}
    model, loading = _loaded(kind.from_pretrained, name, **weights)
    # What masks the input in training may be missing.
    if missing := sorted(one for one in loading["missing_keys"] if not one.endswith("masked_spec_embed")):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise LibraryError(f"{name}: its weights lack {missing[0]}{more}; they are of another model")
    return extractor, _audio_part(model)


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
