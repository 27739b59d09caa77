"""MusiCNN: the default encoder, from raw windows to embeddings and tags with ONNX Runtime.

Pons & Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (ISMIR late-breaking, 2019).
0.79 M parameters; musically motivated front end (timbral and temporal filters), dense middle, max and mean over time.
Two corpora: MSD (Million Song Dataset with Last.fm tags) and MTT (MagnaTagATune; it knows classical and choirs).
The numbers are in `musicnn_{msd,mtt}.safetensors`; `scripts/dev/convert_musicnn` makes them, NOTICE.musicnn
licenses them.

Shapes: B windows, N samples, F = 187 frames, M = 96 mel bands, C channels, D = 200, G = 50 tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from ...audio.log_mel import LogMel
from .base import Floats

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto
    from onnxruntime import InferenceSession

MEL_SOURCE = "musicnn-mel"
"""windows of MusiCNN's log-mel, as the name of a genre model's features"""
EPSILON = 1e-3
"""of every batch normalisation (TensorFlow's default)"""
TIMBRAL = ("timbral_38", "timbral_67")
TEMPORAL = ("temporal_128", "temporal_64", "temporal_32")
MIDDLE = ("middle_1", "middle_2", "middle_3")

_MSD_TAGS = """rock,pop,alternative,indie,electronic,female vocalists,dance,00s,alternative rock,jazz,beautiful,metal,
chillout,male vocalists,classic rock,soul,indie rock,Mellow,electronica,80s,folk,90s,chill,instrumental,punk,oldies,
blues,hard rock,ambient,acoustic,experimental,female vocalist,guitar,Hip-Hop,70s,party,country,easy listening,sexy,
catchy,funk,electro,heavy metal,Progressive rock,60s,rnb,indie pop,sad,House,happy"""
_MTT_TAGS = """guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,vocal,synth,
female,indian,opera,male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,
sitar,solo,man,classic,choir,voice,new age,dance,male voice,female vocal,beats,harp,cello,no voice,weird,country,
metal,female voice,choral"""


class Corpus(StrEnum):
    """What a MusiCNN was trained on."""

    MSD = "msd"
    MTT = "mtt"

    @property
    def tags(self) -> tuple[str, ...]:
        """[G] in the order of the network's outputs."""
        text = _MSD_TAGS if self is Corpus.MSD else _MTT_TAGS
        return tuple(text.replace("\n", "").split(","))


@lru_cache
def weights(corpus: Corpus) -> dict[str, Floats]:
    """The network's tensors by name, kernels as [out, in, height, width]."""
    return load((files(__package__) / f"musicnn_{corpus}.safetensors").read_bytes())


def affine(tensors: dict[str, Floats], layer: str) -> tuple[Floats, Floats]:
    """A batch normalisation as (scale, shift), each [C]."""
    scale = tensors[f"{layer}.norm.weight"] / np.sqrt(tensors[f"{layer}.norm.running_var"] + np.float32(EPSILON))
    return scale, tensors[f"{layer}.norm.bias"] - tensors[f"{layer}.norm.running_mean"] * scale


@dataclass(frozen=True)
class MusiCNN:
    """MusiCNN on ONNX Runtime; a `Tagger`.

    `threads` is how many cores one call may use: None for all; 1 in each of several workers.
    """

    corpus: Corpus = Corpus.MSD
    threads: int | None = None

    sample_rate = 16_000
    hop_samples = 187 * 256
    window_samples = 186 * 256 + 512
    """187 frames, the half frames at both ends included"""
    dimensions = 200

    @property
    def name(self) -> str:
        return f"musicnn-{self.corpus}"

    @property
    def tags(self) -> tuple[str, ...]:
        return self.corpus.tags

    def embed(self, clips: Floats) -> Floats:
        """Shape: [B, N] -> [B, D]"""
        return self.embed_and_tag(clips)[0]

    def embed_and_tag(self, clips: Floats) -> tuple[Floats, Floats]:
        """Embeddings and logits of the tags. Shape: [B, N] -> [B, D], [B, G]"""
        return self.from_log_mel(self.log_mel(clips))

    def from_log_mel(self, log_mel: Floats) -> tuple[Floats, Floats]:
        """The network alone. Shape: [B, F, M] -> [B, D], [B, G]"""
        embeddings, logits = self._session.run(None, {"log_mel": log_mel})
        return embeddings, logits

    @cached_property
    def prior(self) -> Floats:
        """[G] each tag's logit for the average track of the corpus.

        Read off the network itself: the mean of the normalised embedding over the training set is its last batch
        norm's shift, and the logits are linear in it.
        """
        tensors = weights(self.corpus)
        return tensors["tags.dense.weight"] @ tensors["embedding.norm.bias"] + tensors["tags.dense.bias"]

    @cached_property
    def log_mel(self) -> LogMel:
        return LogMel(sample_rate=self.sample_rate, fft_samples=512, hop_samples=256, bands=96)

    @cached_property
    def _session(self) -> InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self.threads or 0
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        providers = [name for name in onnxruntime.get_available_providers() if name in _PROVIDERS]
        return onnxruntime.InferenceSession(network(self.corpus).SerializeToString(), options, providers=providers)


_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def network(corpus: Corpus) -> ModelProto:
    """The ONNX graph: log_mel [B, F, M] -> embedding [B, D], logits [B, G], with B free.

    Two rewritings make it cheaper than a literal export, and change nothing but rounding:
    - the front end's maximum over frequency is taken before ReLU and batch norm, on 1/59 or less of the values. Both
      are monotone; where the norm's scale is negative the kernel is negated, so that the maximum finds the minimum;
    - the middle convolutions span all frequencies, so they are 1-d convolutions over time with channels as input.
    """
    from onnx import TensorProto, helper, numpy_helper

    tensors = weights(corpus)
    nodes = []
    constants = {}

    def constant(name: str, values: NDArray[np.generic]) -> str:
        constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def node(kind: str, *inputs: str, out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def normalised(value: str, layer: str, shape: tuple[int, ...]) -> str:
        scale, shift = (part.reshape(shape) for part in affine(tensors, layer))
        scaled = node("Mul", value, constant(f"{layer}.scale", scale), out=f"{layer}.scaled")
        return node("Add", scaled, constant(f"{layer}.shift", shift), out=f"{layer}.normalised")

    def front(layer: str) -> str:
        """[B, 1, F, M] -> [B, C, F]: convolution, ReLU, batch norm, maximum over frequency."""
        kernel, bias = tensors[f"{layer}.conv.weight"], tensors[f"{layer}.conv.bias"]
        frames = kernel.shape[2]
        sign = np.where(affine(tensors, layer)[0] < 0, -1, 1).astype(np.float32)
        before = (frames - 1) // 2
        found = node(
            "Conv",
            "image",
            constant(f"{layer}.kernel", kernel * sign[:, None, None, None]),
            constant(f"{layer}.bias", bias * sign),
            out=f"{layer}.found",
            pads=[before, 0, frames - 1 - before, 0],
        )
        most = node("ReduceMax", found, out=f"{layer}.most", axes=[3], keepdims=0)
        signed = node("Mul", most, constant(f"{layer}.sign", sign[:, None]), out=f"{layer}.signed")
        return normalised(node("Relu", signed, out=f"{layer}.rectified"), layer, (-1, 1))

    def middle(value: str, layer: str) -> str:
        """[B, C, F] -> [B, 64, F]: convolution over time, ReLU, batch norm."""
        kernel = tensors[f"{layer}.conv.weight"][:, 0].transpose(0, 2, 1)
        found = node(
            "Conv",
            value,
            constant(f"{layer}.kernel", kernel),
            constant(f"{layer}.bias", tensors[f"{layer}.conv.bias"]),
            out=f"{layer}.found",
            pads=[3, 3],
        )
        return normalised(node("Relu", found, out=f"{layer}.rectified"), layer, (-1, 1))

    def dense(value: str, layer: str, out: str) -> str:
        weight, bias = (constant(f"{layer}.{part}", tensors[f"{layer}.dense.{part}"]) for part in ("weight", "bias"))
        return node("Gemm", value, weight, bias, out=out, transB=1)

    node("Unsqueeze", normalised("log_mel", "input", (1,)), constant("channel", np.array([1])), out="image")
    stages = [node("Concat", *map(front, TIMBRAL + TEMPORAL), out="front", axis=1)]
    stages.append(middle(stages[0], MIDDLE[0]))
    for layer in MIDDLE[1:]:
        stages.append(node("Add", middle(stages[-1], layer), stages[-1], out=f"{layer}.sum"))
    route = node("Concat", *stages, out="route", axis=1)
    # Maximum and mean stand interleaved, channel by channel.
    pools = [node(kind, route, out=kind, axes=[2], keepdims=1) for kind in ("ReduceMax", "ReduceMean")]
    pooled = node("Flatten", node("Concat", *pools, out="pools", axis=2), out="pooled")
    hidden = dense(normalised(pooled, "pool", (-1,)), "embedding", "hidden")
    embedding = normalised(node("Relu", hidden, out="active"), "embedding", (-1,))
    logits = dense(embedding, "tags", "logits")

    def described(name: str, *shape: int) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["windows", *shape])

    graph = helper.make_graph(
        nodes,
        f"musicnn-{corpus}",
        [described("log_mel", 187, 96)],
        [described(embedding, 200), described(logits, 50)],
        list(constants.values()),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
