"""A short-chunk residual CNN on log-mel patches.

Won et al. 2020, "Evaluation of CNN-based automatic music tagging models", in a size that a CPU can train. The patch is
treated as a picture: residual blocks halve time and frequency until little is left, then maximum and mean over what
remains. A track's scores are the mean over its patches.

Shapes: B patches, F frames, M mel bands, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError, MissingExtra
from .classical import Arrays, Floats
from .classifiers import Heard

if TYPE_CHECKING:
    import torch

SOURCE = "log-mel"


@dataclass(frozen=True)
class CnnShape:
    """Sizes of the network."""

    kind: ClassVar[str] = "cnn"
    classes: int
    bands: int = 96
    channels: tuple[int, ...] = (16, 32, 48, 64, 96)
    """of each residual block; every block halves time and frequency"""
    dropout: float = 0.3

    @property
    def source(self) -> str:
        """What it listens through."""
        return SOURCE

    def network(self, *, pretrained: bool) -> torch.nn.Module:
        """The untrained network: patches [B, F, M] -> scores [B, C]. Initialised from torch's global generator."""
        return _short_chunk(self)


class Architecture(Protocol):
    """What network is trained: a CNN from scratch (`CnnShape`), or an encoder (`TunedShape` of fine_tuning.py).

    A frozen dataclass whose fields are JSON.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    kind: ClassVar[str]
    """by which a saved model names it"""

    @property
    def source(self) -> str:
        """what it listens through"""
        ...

    def network(self, *, pretrained: bool) -> torch.nn.Module:
        """Windows [B, …] -> scores [B, C]; not `pretrained`, all its numbers are about to be loaded"""
        ...


def require_torch() -> None:
    """MissingExtra where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the CNN", "train") from error


def network(shape: Architecture) -> torch.nn.Module:
    """The network before training, from torch's global generator and what was learnt elsewhere."""
    require_torch()
    return shape.network(pretrained=True)


def _short_chunk(shape: CnnShape) -> torch.nn.Module:
    import torch
    from torch import Tensor, nn

    class Residual(nn.Module):
        """Two 3x3 convolutions beside a 1x1 one, with a stride of 2."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
            self.first_norm = nn.BatchNorm2d(outputs)
            self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.second_norm = nn.BatchNorm2d(outputs)
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(outputs)

        def forward(self, x: Tensor) -> Tensor:
            deep = self.second_norm(self.second(self.first_norm(self.first(x)).relu()))
            result: Tensor = (deep + self.shortcut_norm(self.shortcut(x))).relu()
            return result

    class ShortChunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input_norm = nn.BatchNorm1d(shape.bands)
            pairs = zip((1, *shape.channels[:-1]), shape.channels, strict=True)
            self.blocks = nn.Sequential(*(Residual(a, b) for a, b in pairs))
            self.dropout = nn.Dropout(shape.dropout)
            self.scores = nn.Linear(2 * shape.channels[-1], shape.classes)

        def forward(self, patches: Tensor) -> Tensor:
            image = self.input_norm(patches.transpose(1, 2)).transpose(1, 2)[:, None]
            found = self.blocks(image).flatten(2)
            pooled = torch.cat([found.amax(dim=2), found.mean(dim=2)], dim=1)
            result: Tensor = self.scores(self.dropout(pooled))
            return result

    return ShortChunk()


def state_arrays(module: torch.nn.Module) -> Arrays:
    """The network's numbers, on the CPU."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


@dataclass(frozen=True, eq=False)
class CnnClassifier:
    """A trained network as a genre model's classifier; torch on the CPU, or a GPU where there is one."""

    shape: Architecture
    state: Arrays
    _built: list[Any] = field(default_factory=list, repr=False)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.shape.source,)

    def scores(self, heard: Heard) -> Floats:
        """Mean over windows. Shape: N tracks of [W, …] -> [N, C]"""
        require_torch()
        import torch

        (tracks,) = heard.values()

        if not self._built:
            self._built.append(self._module())
        module = self._built[0]
        device = next(module.parameters()).device
        result = []
        with torch.inference_mode():
            for windows in tracks:
                found = module(torch.from_numpy(np.asarray(windows, np.float32)).to(device))
                result.append(found.mean(dim=0).cpu().numpy())
        return np.stack(result).astype(np.float32)

    def _module(self) -> torch.nn.Module:
        import torch

        module = self.shape.network(pretrained=False)
        try:
            module.load_state_dict({name: torch.from_numpy(array) for name, array in self.state.items()})
        except RuntimeError as error:
            raise LibraryError("genre model: its arrays do not fit the network its card describes") from error
        return module.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def options(self) -> dict[str, Any]:
        return {"type": self.shape.kind, "shape": asdict(self.shape)}

    def arrays(self) -> Arrays:
        return self.state

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], options: Mapping[str, Any]) -> Self:
        sizes = options["shape"]
        if options["type"] == CnnShape.kind:
            return cls(CnnShape(**{**sizes, "channels": tuple(sizes["channels"])}), dict(arrays))
        from ..encoders.fine_tuning import TunedShape

        return cls(TunedShape(**sizes), dict(arrays))
