"""The interface of an encoder: windows of a clip to embeddings.

Shapes: B windows, N samples each, D dimensions.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..arrays import Floats


@runtime_checkable
class Encoder(Protocol):
    """Waveform to embedding. A track's vector is the mean over its windows.

    Embeddings come normalised with constants that belong to the encoder, never with statistics of a library: a library
    of one track works, and adding tracks changes no embedding.
    """

    @property
    def name(self) -> str:
        """what a library records, and refuses to mix with another"""
        ...

    @property
    def sample_rate(self) -> int:
        """Hz"""
        ...

    @property
    def window_samples(self) -> int:
        """N: what one window needs, its margins included"""
        ...

    @property
    def hop_samples(self) -> int:
        """from one window to the next; less than `window_samples` where windows need a margin"""
        ...

    @property
    def dimensions(self) -> int:
        """D"""
        ...

    def embed(self, clips: Floats) -> Floats:
        """Shape: [B, N] -> [B, D]"""
        ...
