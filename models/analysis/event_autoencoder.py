"""An autoencoder over single events: what was played how far, by whom, and how it reconstructs.

The original network: four inputs (played_ratio and interaction standardised, the numbers of user and track scaled to
0 … 1), an encoder of 128, 64 and 32 units, its mirror image and four outputs; every layer but the bottleneck and the
outputs is followed by batch norm, and by dropout. Numbers of users carry no meaning, so that variant is a baseline:
`ids="embedded"` reads learned embeddings instead, and reconstructs only the two values. With `noise` a share of the
values is hidden from the encoder and has to be found again (Vincent et al. 2008, "denoising autoencoders").

Shapes: N events, U users, T tracks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import DataError, UsageError
from ..nn.training_loop import Curve, Dropout, Schedule, Watch, device, seeded, state_arrays, tensor, train
from ..storage import Arrays, StoredModel

COLUMNS = ("played_ratio", "interaction", "user", "track")
BOTTLENECK = 32
_BLOCK_ROWS = 1 << 18
_MOST_IDS = 1 << 22
"""Numbers of rows are scaled and scaled back in float32, which is exact as far as this."""

Rows = NDArray[np.float32]
"""[N, 4] in the order of COLUMNS, as they are; NaN where an event does not have the value"""


@dataclass(frozen=True, kw_only=True)
class AutoencoderOptions:
    ids: str = "numbers"
    """or "embedded" """
    noise: float = 0.0
    """share of the values that is hidden while learning"""
    id_factors: int = 8
    """of each embedding"""
    dropout: float = 0.1
    epochs: int = 20
    patience: int = 3
    learning_rate: float = 1e-3
    batch: int | None = None
    """events; None for a four-hundredth of them, 256 to 16,384"""
    validation: float = 0.1
    """share of the events, taken from the end"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ids not in ("numbers", "embedded"):
            raise UsageError(f"ids {self.ids}: has to be numbers or embedded")
        for name in ("noise", "dropout", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}: {getattr(self, name)}, outside 0 … 1")
        if self.epochs < 1 or (self.batch is not None and self.batch < 2):
            raise UsageError("epochs and batch: at least 1 epoch, in batches of 2 or more")


@dataclass(frozen=True)
class Scaling:
    """How columns become inputs: (value - offset) / scale."""

    offset: tuple[float, ...]
    """[4]"""
    scale: tuple[float, ...]
    """[4]"""
    users: int
    """U"""
    tracks: int
    """T"""

    @classmethod
    def of(cls, rows: Rows, users: int, tracks: int) -> Scaling:
        """From all rows, a block at a time; a constant column keeps its scale, one without any value becomes 0."""
        count, total, squares = np.zeros(2), np.zeros(2), np.zeros(2)
        for block in _blocks(rows):
            values = np.asarray(block[:, :2], np.float64)
            _check(values)
            count += (~np.isnan(values)).sum(axis=0)
            total += np.nansum(values, axis=0)
            squares += np.nansum(values**2, axis=0)
        count = np.maximum(count, 1)
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
        spread = np.where(spread > 1e-6 * np.maximum(np.abs(mean), 1), spread, 1.0)
        scale = (*spread.tolist(), float(max(users - 1, 1)), float(max(tracks - 1, 1)))
        return cls((*mean.tolist(), 0.0, 0.0), scale, users, tracks)

    def __call__(self, rows: Rows) -> Rows:
        """[N, 4] inputs; NaN stays."""
        return np.asarray((rows - np.array(self.offset)) / np.array(self.scale), np.float32)


class _Layers(nn.Module):
    """Encoder 128-64-32 and its mirror image."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()

        def layer(before: int, after: int) -> list[nn.Module]:
            return [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), Dropout(dropout)]

        self.encoder = nn.Sequential(*layer(inputs, 128), *layer(128, 64), nn.Linear(64, BOTTLENECK), nn.ReLU())
        self.decoder = nn.Sequential(*layer(BOTTLENECK, 64), *layer(64, 128), nn.Linear(128, outputs))


class _Embedded(_Layers):
    """The two values and embedded ids in, the two values out; row 0 is an unknown user or track."""

    def __init__(self, scaling: Scaling, options: AutoencoderOptions) -> None:
        super().__init__(2 + 2 * options.id_factors, 2, options.dropout)
        self.users = nn.Embedding(scaling.users + 1, options.id_factors)
        self.tracks = nn.Embedding(scaling.tracks + 1, options.id_factors)
        for table in (self.users, self.tracks):
            nn.init.normal_(table.weight, std=0.1)
            with torch.no_grad():
                table.weight[0] = 0


class FeatureAutoencoder(StoredModel):
    """Learns to reconstruct events; an unusual one has a large error."""

    name = "feature-autoencoder"
    options: AutoencoderOptions
    options_type = AutoencoderOptions

    def __init__(
        self, options: AutoencoderOptions | None = None, *, checkpoint: Path | None = None, watch: Watch | None = None
    ) -> None:
        self.options = options or AutoencoderOptions()
        self.curve: Curve = ()
        self._checkpoint, self._watch = checkpoint, watch

    def fit(self, rows: Rows, users: int, tracks: int) -> Self:
        """Learns [N, 4] events, which may be a memory-mapped file: no more than a block of it is held at once."""
        _check_shape(rows, users, tracks)
        self.scaling = Scaling.of(rows, users, tracks)
        with seeded(self.options.seed):
            self.module = self._build()
        self._train(rows)
        return self

    def resume(
        self, rows: Rows, users: int, tracks: int, *, checkpoint: Path | None = None, watch: Watch | None = None
    ) -> Self:
        """Trains on from the present weights; scales stay, new users and tracks get embeddings of their own.

        With ids as numbers a larger vocabulary would change what every number means; that is refused. `options` may be
        changed before, but for `ids`.
        """
        _check_shape(rows, users, tracks)
        self._checkpoint, self._watch = checkpoint, watch
        known = self.scaling
        if users < known.users or tracks < known.tracks:
            raise DataError(
                f"vocabulary: {users} users and {tracks} tracks, but the model has {known.users} and {known.tracks}; "
                "old ones have to keep their rows"
            )
        if (users, tracks) != (known.users, known.tracks):
            if self.options.ids == "numbers":
                raise DataError(
                    f"vocabulary: {known.users} users and {known.tracks} tracks has grown to {users} and {tracks}, "
                    "which changes all scaled numbers; train again, or use embedded ids"
                )
            self.scaling = replace(known, users=users, tracks=tracks)
            state = self.module.state_dict()
            with seeded(self.options.seed):
                module = self._build()
            fresh = module.state_dict()
            for name, value in state.items():
                known_rows = fresh[name][: len(value)] if value.ndim else fresh[name]
                known_rows.copy_(value)
            module.load_state_dict(fresh)
            self.module = module
        self._train(rows)
        return self

    def encode(self, rows: Rows) -> NDArray[np.float32]:
        """[N, 4] -> [N, 32] the bottleneck."""
        return self._through(rows, lambda inputs: self.module.encoder(inputs))

    def reconstruct(self, rows: Rows) -> NDArray[np.float32]:
        """[N, 4] -> [N, 4] scaled as the inputs, or [N, 2] with embedded ids."""
        return self._through(rows, lambda inputs: self.module.decoder(self.module.encoder(inputs)))

    def errors(self, rows: Rows) -> NDArray[np.float32]:
        """[N] mean squared error of each event's outputs, unknown ones left out; NaN where all are."""
        found = []
        for block in _blocks(rows):
            target = self.scaling(np.asarray(block, np.float32))
            target = target if self.options.ids == "numbers" else target[:, :2]
            squares = (self.reconstruct(np.asarray(block, np.float32)) - target) ** 2
            known = ~np.isnan(squares)
            total, count = np.where(known, squares, 0).sum(axis=1), known.sum(axis=1)
            found.append(np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32))
        return np.concatenate(found)

    def arrays(self) -> Arrays:
        return state_arrays(self.module)

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        self.scaling = Scaling(tuple(facts["offset"]), tuple(facts["scale"]), facts["users"], facts["tracks"])
        self.module = self._build()
        self.module.load_state_dict({name: tensor(array) for name, array in arrays.items()})
        self.module.eval()

    def facts(self) -> dict[str, Any]:
        return {**asdict(self.scaling), "columns": COLUMNS}

    def _build(self) -> Any:
        options = self.options
        module = (
            _Embedded(self.scaling, options) if options.ids == "embedded" else _Layers(4, len(COLUMNS), options.dropout)
        )
        return module.to(device())

    def _train(self, rows: Rows) -> None:
        options = self.options
        held = round(len(rows) * options.validation)
        split = len(rows) - held if 0 < held <= len(rows) - 2 else len(rows)
        learned, later = rows[:split], rows[split:]

        self.curve = train(
            self.module,
            self._loss,
            lambda rng: self._batches(learned, rng),
            Schedule(epochs=options.epochs, patience=options.patience, learning_rate=options.learning_rate),
            seed=options.seed,
            validate=(lambda: (float(np.nanmean(self.errors(later))), {})) if len(later) else None,
            checkpoint=self._checkpoint,
            options=(options, self.scaling),
            data=_blocks(rows),
            watch=self._watch,
        )

    def _batches(self, rows: Rows, rng: np.random.Generator) -> Iterator[Tensor]:
        """Blocks of the file in random order, shuffled inside."""
        size = self.options.batch or int(np.clip(len(rows) // 400, 256, 16_384))
        starts = rng.permutation(np.arange(0, len(rows), _BLOCK_ROWS))
        for start in starts:
            block = self.scaling(np.asarray(rows[start : start + _BLOCK_ROWS]))
            block = block[rng.permutation(len(block))]
            for low in range(0, len(block), size):
                if len(block) - low >= 2:  # batch norm cannot learn from one row
                    yield tensor(block[low : low + size])

    def _loss(self, batch: Tensor) -> Tensor:
        values, options = batch[:, :2], self.options
        if options.noise:
            hidden = torch.rand(values.shape, device=values.device) < options.noise
            values = values.masked_fill(hidden, torch.nan)
        found = self.module.decoder(self.module.encoder(self._inputs(torch.cat([values, batch[:, 2:]], dim=1))))
        target = batch if options.ids == "numbers" else batch[:, :2]
        known = ~torch.isnan(target)
        loss: Tensor = ((found - target.nan_to_num())[known] ** 2).mean()
        # A batch without any known value has no gradient.
        return loss if known.any() else found.sum() * 0

    def _inputs(self, scaled: Tensor) -> Tensor:
        """[N, 4] -> [N, inputs]; what an event does not have enters as the mean."""
        if self.options.ids == "numbers":
            return scaled.nan_to_num()
        users = (scaled[:, 2] * self.scaling.scale[2]).round().long() + 1
        tracks = (scaled[:, 3] * self.scaling.scale[3]).round().long() + 1
        users = torch.where(users <= self.scaling.users, users, 0)
        tracks = torch.where(tracks <= self.scaling.tracks, tracks, 0)
        return torch.cat([scaled[:, :2].nan_to_num(), self.module.users(users), self.module.tracks(tracks)], dim=1)

    def _through(self, rows: Rows, way: Any) -> NDArray[np.float32]:
        self.module.eval()
        found = []
        with torch.inference_mode():
            for start in range(0, len(rows), 1 << 15):
                scaled = self.scaling(np.asarray(rows[start : start + (1 << 15)], np.float32))
                _check(scaled)
                found.append(way(self._inputs(tensor(scaled))).cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, BOTTLENECK), np.float32)


@dataclass(frozen=True)
class ErrorSummary:
    """How well events are reconstructed."""

    count: int
    mean: float
    standard_deviation: float
    minimum: float
    quartiles: tuple[float, float, float]
    maximum: float

    @classmethod
    def of(cls, errors: NDArray[np.float32]) -> ErrorSummary:
        known = errors[~np.isnan(errors)].astype(np.float64)
        if not len(known):
            raise DataError("errors: no event has a value to be reconstructed")
        least, low, middle, high, most = np.quantile(known, [0, 0.25, 0.5, 0.75, 1]).tolist()
        return cls(len(known), float(known.mean()), float(known.std()), least, (low, middle, high), most)


def _blocks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield rows[start : start + _BLOCK_ROWS]


def _check(values: NDArray[np.floating]) -> None:
    if np.isinf(values).any():
        column = COLUMNS[int(np.flatnonzero(np.isinf(values).any(axis=0))[0])]
        raise DataError(f"{column}: infinite in some rows; leave such events out")


def _check_shape(rows: Rows, users: int, tracks: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(COLUMNS):
        raise DataError(f"events: {rows.shape}, but they have to be rows of {', '.join(COLUMNS)}")
    if len(rows) < 2:
        raise DataError(f"events: {len(rows)}, too few to learn from")
    if max(users, tracks) > _MOST_IDS:
        raise DataError(f"vocabulary: {users} users and {tracks} tracks; at most {_MOST_IDS:,} of each are told apart")
    for column, count in ((2, users), (3, tracks)):
        for block in _blocks(rows):
            numbers = np.asarray(block[:, column])
            if np.isnan(numbers).any() or numbers.min() < 0 or numbers.max() >= count:
                raise DataError(f"{COLUMNS[column]}: a row is no number or outside 0…{count - 1}")
