"""SASRec: a transformer over a user's last tracks, in order, that predicts the next one.

Kang & McAuley (2018), "Self-Attentive Sequential Recommendation"; with a softmax over the next track and sampled others
in place of one negative, which is what makes it work (Klenitskiy & Vasilev 2023). Where the catalogue has sound, a
track's embedding is a linear map of it plus a part of its own that begins at almost nothing.

Sampling is for learning only: every track is ranked when recommending.

Shapes: U users, T tracks, D dimensions of sound, F factors, L length of a sequence, B users asked for, k answers each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ....errors import DataError, UsageError
from ...arrays import Answers, Ids, Mask, Rows, Scores
from ...interactions import Interactions, liked
from ...nn.training_loop import Dropout, device, state_arrays, tensor
from ...storage import Arrays
from ..search_space import Choice, Range, SearchSpace
from .base import CatalogueRecommender, NeuralOptions, sampled_softmax_loss, tensor_int
from .two_tower import standardized

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_SORTED_BATCHES = 10


@dataclass(frozen=True, kw_only=True)
class SASRecOptions(NeuralOptions):
    epochs: int = 60
    patience: int = 4
    learning_rate: float = 3e-3
    factors: int = 64
    length: int = 50
    """how many of the last tracks are looked at"""
    layers: int = 2
    heads: int = 2
    dropout: float = 0.3
    negatives: int = 256
    """tracks that every softmax of a batch is taken over, besides the right one"""
    batch: int | None = None
    """sequences; None for a fortieth of them, 16 to 64"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factors % self.heads:
            raise UsageError(f"heads: {self.heads}, but they have to divide the {self.factors} factors")


class _Block(nn.Module):
    """Causal self-attention, then a small network; both residual."""

    def __init__(self, options: SASRecOptions) -> None:
        super().__init__()
        width = options.factors
        self.heads, self.dropout = options.heads, Dropout(options.dropout)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.network = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), Dropout(options.dropout), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.queries_keys_values(self.first_norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.dropout(self.mixed(found.transpose(1, 2).reshape(batch, length, width)))
        return x + self.dropout(self.network(self.second_norm(x)))  # type: ignore[no-any-return]


class _Transformer(nn.Module):
    def __init__(self, tracks: int, sound: Tensor, options: SASRecOptions) -> None:
        super().__init__()
        width = options.factors
        self.sound: Tensor
        self.register_buffer("sound", sound, persistent=False)
        self.own = nn.Embedding(tracks, width)
        nn.init.normal_(self.own.weight, std=0.02 if sound.shape[1] else 0.1)
        self.from_sound = nn.Linear(sound.shape[1], width, bias=False) if sound.shape[1] else None
        self.positions = nn.Embedding(options.length, width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(_Block(options) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Embedding(tracks, 1)
        nn.init.zeros_(self.bias.weight)
        self.dropout = Dropout(options.dropout)

    def vectors(self, tracks: Tensor) -> Tensor:
        """Any shape -> that shape and F"""
        found = self.own(tracks)
        return found if self.from_sound is None else found + self.from_sound(self.sound[tracks])  # type: ignore[no-any-return]

    def forward(self, tracks: Tensor) -> Tensor:
        """[B, L] -> [B, L, F]: what is expected after each place."""
        x = self.vectors(tracks) * self.own.embedding_dim**0.5
        x = x + self.positions.weight[: tracks.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)  # type: ignore[no-any-return]


class SASRec(CatalogueRecommender):
    """Recommends what follows a user's last tracks."""

    name = "sasrec"
    options: SASRecOptions
    options_type = SASRecOptions
    stored_arrays = ("ends", "sequence", "placed", ("_sound", "sound"), ("network", "network."))
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(1e-3, 1e-2, logarithmic=True),
        "factors": Choice((32, 64, 128)),
        "length": Choice((30, 50, 100)),
        "layers": Choice((1, 2)),
        "dropout": Range(0.1, 0.6),
        "negatives": Choice((128, 256, 512)),
    }

    def recommend_after(self, sequences: Sequence[Sequence[int]], k: int, *, candidates: Mask | None = None) -> Answers:
        """What follows each of B sequences of track rows, oldest first; the popular tracks where one is empty.

        Tracks of the sequence may come again. Shape: [B, k], [B, k]
        """
        ends = np.cumsum([0, *(len(sequence) for sequence in sequences)])
        tracks = np.array([track for sequence in sequences for track in sequence], np.int32)
        outside = tracks[(tracks < 0) | (tracks >= self._track_count)]
        if len(outside):
            raise DataError(f"track {outside[0]}: the model has {self._track_count} tracks; train it again")
        return self._ranked(np.diff(ends) > 0, lambda rows: self._after(tracks, ends, rows), k, candidates=candidates)

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        super().restore(arrays, facts)
        module = self._build()
        module.load_state_dict({name: torch.from_numpy(array) for name, array in self.network.items()})
        with torch.inference_mode():
            self._keep(module.to(device()).eval())

    def _prepare(self, interactions: Interactions) -> None:
        super()._prepare(interactions)
        if interactions.times is None:
            raise DataError("sasrec: the log has neither time nor order, so nothing comes next")
        liked = np.flatnonzero(interactions.likes)
        order = liked[np.lexsort((liked, interactions.times[liked], interactions.user_rows[liked]))]
        self.sequence: Ids = interactions.track_rows[order]
        """all users' tracks, each user's oldest first"""
        counts = np.bincount(interactions.user_rows[order], minlength=interactions.user_count)
        self.ends: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)])
        """[U + 1] where each user's tracks begin and end"""
        catalogue, without = self._catalogue, np.zeros((interactions.track_count, 0), np.float32)
        self._sound = standardized(without if catalogue is None or not catalogue.sound.any() else catalogue.sound)
        self.placed: Mask = self.history.warm_tracks | np.any(self._sound != 0, axis=1)
        """[T] tracks that have listeners or sound"""

    def _build(self) -> nn.Module:
        return _Transformer(len(self.history.popularity), tensor(self._sound), self.options)

    def _batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Sequences and the negatives of the batch; a long user's are cut at random places."""
        length = self.options.length
        counts = np.diff(self.ends)
        users = np.repeat(np.arange(len(counts)), np.where(counts >= 2, np.ceil((counts - 1) / length), 0).astype(int))
        if not len(users):
            raise DataError("sasrec: nobody listened to two tracks, so nothing comes next")
        users = rng.permutation(users)
        longest = np.maximum(counts[users] - (length + 1), 0)
        starts = self.ends[users] + (rng.random(len(users)) * (longest + 1)).astype(np.int64)
        size = self.options.batch or int(np.clip(len(users) // 40, 16, 64))
        # Sequences of like length side by side: a batch is as wide as its longest.
        lengths = np.minimum(self.ends[users + 1] - starts, length + 1)
        order = np.lexsort((lengths, np.arange(len(users)) // (_SORTED_BATCHES * size)))
        users, starts = users[order], starts[order]
        for low in size * rng.permutation(-(-len(users) // size)):
            begin, end = starts[low : low + size], self.ends[users[low : low + size] + 1]
            slots = begin[:, None] + np.arange(length + 1)
            mask = slots < end[:, None]
            tracks = np.where(mask, self.sequence[np.minimum(slots, len(self.sequence) - 1)], -1)
            tracks = tracks[:, mask.any(axis=0)]
            yield tensor_int(tracks), self._negatives(self.options.negatives, rng)

    def _loss(self, module: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        tracks, negatives = batch
        expected = module(tracks[:, :-1].clamp(min=0))
        mask = tracks[:, 1:] >= 0
        following, expected = tracks[:, 1:][mask], expected[mask]
        positive = (expected * module.vectors(following)).sum(dim=1) + module.bias(following)[:, 0]
        negative = expected @ module.vectors(negatives).T + module.bias(negatives)[:, 0]
        return sampled_softmax_loss(positive, negative, following, negatives)

    def _keep(self, module: Any) -> None:
        self.network: Arrays = state_arrays(module)
        self._module = module
        every = tensor_int(np.arange(len(self.history.popularity)))
        vectors = module.vectors(every)
        own = tensor(self.history.warm_tracks)[:, None]
        # A cold track's own part is still its random beginning, and its bias was never learned.
        vectors = torch.where(own, vectors, vectors - module.own.weight)
        self.track_vectors: Scores = vectors.cpu().numpy().copy()
        """[T, F]"""
        bias = module.bias.weight[:, 0].cpu().numpy()
        self.track_bias: Scores = np.where(
            self.history.warm_tracks, bias, bias[self.history.warm_tracks].mean()
        ).astype(np.float32)
        """[T]"""

    def user_scores(self, rows: Ids) -> Scores:
        return self._after(self.sequence, self.ends, rows)

    def recommend_from(
        self,
        user_items: csr_matrix,
        k: int,
        *,
        newest: Ids | None = None,
        allow_seen: bool = False,
        candidates: Mask | None = None,
    ) -> Answers:
        """By `newest`, where a user has any; the others by `scores_from`."""
        found = super().recommend_from(user_items, k, allow_seen=allow_seen, candidates=candidates)
        if newest is None:
            return found
        counts = (newest >= 0).sum(axis=1)
        rows, ends = np.flatnonzero(counts), np.cumsum([0, *counts])
        oldest_first = newest[:, ::-1]
        sequence = oldest_first[oldest_first >= 0]
        seen = None if allow_seen else user_items[rows]
        every = np.ones(len(rows), bool)
        answers = self._ranked(every, lambda places: self._after(sequence, ends, rows[places]), k, seen, candidates)
        for values, better in zip(found, answers, strict=True):
            values[rows] = better
        return found

    def scores_from(self, user_items: csr_matrix) -> Scores:
        """The order of such listens is not known (see `recommend_after`): the surest stands for the latest."""
        likes = liked(user_items)
        owners = np.repeat(np.arange(likes.shape[0]), np.diff(likes.indptr))
        return self._after(likes.indices[np.lexsort((likes.data, owners))], likes.indptr, np.arange(likes.shape[0]))

    def _after(self, sequence: Ids, ends: Rows, rows: Rows) -> Scores:
        """[B] rows of `ends` -> [B, T]"""
        length = self.options.length
        stop = ends[rows + 1]
        begin = np.maximum(ends[rows], stop - length)
        slots = begin[:, None] + np.arange(length)
        tracks = np.where(slots < stop[:, None], sequence[np.minimum(slots, len(sequence) - 1)], 0)
        last = stop - begin - 1
        found = []
        self._module.eval()
        with torch.inference_mode():
            for low in range(0, len(rows), 256):
                part = self._module(tensor_int(tracks[low : low + 256]))
                places = tensor_int(last[low : low + 256])
                found.append(part[torch.arange(len(part), device=device()), places].cpu().numpy())
        return self.scores(np.concatenate(found))
