"""Tiny audio models of transformers, one of each family, with random weights: saved as a user would have them.

A rate and the dimensions of the embedding come with each.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SAMPLES = {
    "conv_dim": (16, 16),
    "conv_stride": (20, 16),
    "conv_kernel": (40, 16),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
"""the convolutions of models that take samples: a frame every 320"""


def save_ast(folder: Path) -> None:
    config = transformers.ASTConfig(**TINY, max_length=128, num_mel_bins=32)
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder)


def save_wav2vec2(folder: Path) -> None:
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**TINY, **SAMPLES)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def save_hubert(folder: Path) -> None:
    """MERT-v0 is one of these."""
    transformers.HubertModel(transformers.HubertConfig(**TINY, **SAMPLES)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def save_wavlm(folder: Path) -> None:
    transformers.WavLMModel(transformers.WavLMConfig(**TINY, **SAMPLES)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def save_data2vec(folder: Path) -> None:
    """music2vec is one of these."""
    sizes = {**SAMPLES, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}
    transformers.Data2VecAudioModel(transformers.Data2VecAudioConfig(**TINY, **sizes)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def save_whisper(folder: Path) -> None:
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    frames = {"num_mel_bins": 16, "max_source_positions": 100}
    config = transformers.WhisperConfig(**sizes, **heads, **tokens, **frames, suppress_tokens=None)
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained(folder)


def save_clap(folder: Path, *, fused: bool = False) -> None:
    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 1, 1],
        "spec_size": 256,
        "num_mel_bins": 64,
        "projection_dim": 12,
        "enable_fusion": fused,
        "aff_block_r": 2,
    }
    text = {**TINY, "vocab_size": 300, "projection_dim": 12, "max_position_embeddings": 64}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    transformers.ClapModel(config).save_pretrained(folder)
    truncation = "fusion" if fused else "rand_trunc"
    extractor = transformers.ClapFeatureExtractor(max_length_s=2, truncation=truncation, padding="repeatpad")
    extractor.save_pretrained(folder)
    save_tokenizer(folder)


def save_pe_audio(folder: Path, *, frames: bool = False) -> None:
    dac = {"downsampling_ratios": [8, 12, 20], "encoder_hidden_size": 4, "hidden_size": 32, "codebook_dim": 8}
    audio = {**TINY, "head_dim": 8, "dac_config": dac}
    text = {**TINY, "vocab_size": 300, "hidden_size": 24, "pad_token_id": 1}
    text |= dict.fromkeys(("bos_token_id", "cls_token_id"), 0) | dict.fromkeys(("eos_token_id", "sep_token_id"), 2)
    config = transformers.PeAudioConfig(audio_config=audio, text_config={"model_type": "modernbert", **text})
    kind = transformers.PeAudioFrameLevelModel if frames else transformers.PeAudioModel
    kind(config).save_pretrained(folder)
    transformers.PeAudioFeatureExtractor().save_pretrained(folder)
    save_tokenizer(folder)


def save_pe_audio_video(folder: Path) -> None:
    """As PE-AV is published: the text once for all, sound below a name of its own, and a part that sees."""
    save_pe_audio(folder)
    config = json.loads((folder / "config.json").read_text())
    both = {"text_config": config["text_config"], "audio_video_config": {"audio_config": config["audio_config"]}}
    (folder / "config.json").write_text(json.dumps({"model_type": "pe_audio_video", **both}))
    weights = load_file(folder / "model.safetensors")
    renamed = {name if name.startswith("text_model.") else f"audio_model.{name}": w for name, w in weights.items()}
    save_file(renamed | {"video_model.video_head.proj.weight": torch.zeros(2, 2)}, folder / "model.safetensors")


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    words = ["<s>", "<pad>", "</s>", "<unk>", "this", "is", "a", "song", "rock", "jazz"]
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)


def save_fused_clap(folder: Path) -> None:
    save_clap(folder, fused=True)


def save_pe_audio_frames(folder: Path) -> None:
    """PE-A-Frame."""
    save_pe_audio(folder, frames=True)


FAMILIES = {
    "ast": (save_ast, 16_000, 16),
    "wav2vec2": (save_wav2vec2, 16_000, 16),
    "hubert": (save_hubert, 16_000, 16),
    "whisper": (save_whisper, 16_000, 16),
    "wavlm": (save_wavlm, 16_000, 16),
    "data2vec": (save_data2vec, 16_000, 16),
    "clap": (save_clap, 48_000, 12),
    "fused-clap": (save_fused_clap, 48_000, 12),
    "pe-audio": (save_pe_audio, 48_000, 24),
    "pe-audio-frames": (save_pe_audio_frames, 48_000, 24),
    "pe-audio-video": (save_pe_audio_video, 48_000, 24),
}


def save_families(folder: Path) -> dict[str, Path]:
    """A folder for each."""
    found = {name: folder / name for name in FAMILIES}
    for name, (save, _, _) in FAMILIES.items():
        torch.manual_seed(0)
        save(found[name])
    return found
