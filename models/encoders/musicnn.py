"""MusiCNN: the default encoder, from raw windows to embeddings and tags with ONNX Runtime.

Pons & Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (ISMIR late-breaking, 2019).
0.79 M parameters; musically motivated front end (timbral and temporal filters), dense middle, max and mean over time.
Two corpora: MSD (Million Song Dataset with Last.fm tags) and MTT (MagnaTagATune; with classical and choirs).
The weights are in `musicnn_{msd,mtt}.safetensors`, which the graphs in `musicnn_{msd,mtt}.onnx` point into;
`scripts/dev/convert_musicnn` makes both, NOTICE.musicnn licenses them.

Shapes: B windows, N samples, F = 187 frames, M = 96 mel bands, C channels, D = 200, G = 50 tags.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load

from ...audio.log_mel import LogMel
from ..arrays import Floats
from ..machine import available_cores

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class MusiCNN:
    """MusiCNN on ONNX Runtime; an `Encoder` with tags.

    `threads` is how many windows are taken at a time, each on one core: None for as many as there are cores; 1 in each
    of several workers.
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

    def features(self, clips: Floats) -> Floats:
        """What the network takes, as torch computes it. Shape: [B, N] -> [B, F, M]"""
        return self.log_mel.in_torch(clips)

    def from_log_mel(self, log_mel: Floats) -> tuple[Floats, Floats]:
        """The network alone. Shape: [B, F, M] -> [B, D], [B, G]"""
        session = self.session.result()
        # A core takes one at a time: what lies between two layers then stays in its cache, and a long clip needs no
        # more memory.
        batch = 1 if session.get_providers() == ["CPUExecutionProvider"] else _GPU_WINDOWS
        embeddings = np.empty((len(log_mel), self.dimensions), np.float32)
        logits = np.empty((len(log_mel), len(self.tags)), np.float32)

        def run(first: int) -> None:
            some = slice(first, first + batch)
            embeddings[some], logits[some] = session.run(None, {"log_mel": log_mel[some]})

        firsts = range(0, len(log_mel), batch)
        threads = min(self.threads or available_cores(), len(firsts))
        if threads <= 1:
            list(map(run, firsts))
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, firsts))
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
    def session(self) -> Future[InferenceSession]:
        """The network: loads in the background from the first mention on; `result()` waits for it."""
        return _LOADERS.submit(self._load)

    def _load(self) -> InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        providers = [name for name in onnxruntime.get_available_providers() if name in _PROVIDERS]
        # A path, not bytes: the weights lie in the file beside it.
        with as_file(files(__package__)) as folder:
            return onnxruntime.InferenceSession(folder / f"musicnn_{self.corpus}.onnx", options, providers=providers)


_LOADERS = ThreadPoolExecutor()
_GPU_WINDOWS = 64
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
