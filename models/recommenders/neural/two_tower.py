"""Two towers: one makes a vector of what a user likes, the other of what a track is; both use the sound.

A track's vector is a small network of its sound, plus a vector of its artists, plus one of its own that is dropped half
of the time while learning (Volkovs, Yu & Poutanen 2017, "DropoutNet"), so that sound and artist learn to stand alone: a
track that nobody has played has a place at once. A user's vector is the sum of what was liked, at unit length, through
another table of the same make. The loss is that of the autoencoders: a softmax over all warm tracks.

Shapes: U users, T tracks, A artists, D dimensions of sound, F factors, B users asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...arrays import Mask, Scores, as_binary
from ...interactions import Interactions
from ...nn.training_loop import device, tensor
from ..base import check_catalogue
from ..content import standardized_columns
from ..search_space import Choice, Range, SearchSpace
from .base import CatalogueRecommender, DotRecommender, NeuralOptions, multinomial_loss, tensor_int

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, kw_only=True)
class TwoTowerOptions(NeuralOptions):
    # Tried by hand on a validation part of ml-latest-small.
    patience: int = 4
    learning_rate: float = 5e-3
    factors: int = 64
    hidden: int = 128
    """units of the network between sound and factors"""
    dropout: float = 0.5
    """share of a user's listens, and of the tracks' own vectors, that is hidden while learning"""
    batch: int | None = None
    """users; None for a twentieth of them, 32 to 256"""


class _Tower(nn.Module):
    """Vectors of all tracks: sound + artists + their own."""

    def __init__(self, sound: Tensor, artists: Tensor, options: TwoTowerOptions) -> None:
        super().__init__()
        self.sound: Tensor
        self.artists: Tensor
        self.register_buffer("sound", sound, persistent=False)
        self.register_buffer("artists", artists, persistent=False)
        factors = options.factors
        self.own = nn.Embedding(len(sound), factors)
        self.artist = nn.Embedding(max(1, artists.shape[1]), factors)
        nn.init.normal_(self.own.weight, std=0.05)
        nn.init.normal_(self.artist.weight, std=0.05)
        self.network = nn.Sequential(
            nn.Linear(max(1, sound.shape[1]), options.hidden), nn.ReLU(), nn.Linear(options.hidden, factors, bias=False)
        )
        self.dropout = options.dropout

    def forward(self) -> Tensor:
        """[T, F]"""
        vectors = self.artists_of() + self.own_of()
        if self.sound.shape[1]:
            vectors = vectors + self.network(self.sound) * torch.any(self.sound != 0, dim=1, keepdim=True)
        return vectors

    def artists_of(self) -> Tensor:
        if not self.artists.shape[1]:
            return torch.zeros_like(self.own.weight)
        found: Tensor = torch.sparse.mm(self.artists, self.artist.weight)
        return found

    def own_of(self) -> Tensor:
        if not self.training:
            return self.own.weight
        return self.own.weight * (torch.rand(len(self.own.weight), 1, device=self.own.weight.device) >= self.dropout)


class _Towers(nn.Module):
    def __init__(self, sound: Tensor, artists: Tensor, options: TwoTowerOptions) -> None:
        super().__init__()
        self.into, self.out = _Tower(sound, artists, options), _Tower(sound, artists, options)
        self.bias = nn.Parameter(torch.zeros(len(sound)))
        self.scale = nn.Parameter(torch.tensor(3.0))


class TwoTower(CatalogueRecommender, DotRecommender):
    """Recommends by the dot product of the towers, also tracks that nobody has played."""

    name = "two-tower"
    options: TwoTowerOptions

    options_type = TwoTowerOptions
    stored_arrays = ("track_vectors", "track_bias", "profile_vectors", "placed")
    stored_facts = ("scale",)
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(1e-3, 2e-2, logarithmic=True),
        "factors": Choice((32, 64, 128)),
        "hidden": Choice((64, 128, 256)),
        "dropout": Range(0.2, 0.7),
    }

    def fold_in(self, user_items: csr_matrix) -> Scores:
        binary = as_binary(user_items)
        summed = np.asarray(binary @ self.profile_vectors, np.float32)
        lengths = np.linalg.norm(summed, axis=1, keepdims=True)
        return np.asarray(self.scale * summed / np.maximum(lengths, 1e-6), np.float32)

    def _prepare(self, interactions: Interactions) -> None:
        super()._prepare(interactions)
        catalogue = check_catalogue(self.name, self._catalogue, interactions)
        self._sound, warm, matrix = standardized(catalogue.sound), self.history.warm_tracks, catalogue.artist_matrix
        known = np.asarray(matrix.T @ warm.astype(np.float32)) > 0
        self._artists = matrix[:, np.flatnonzero(known)]
        by_artist = np.diff(self._artists.indptr) > 0
        self.placed: Mask = warm | catalogue.has_sound | by_artist
        """[T] tracks that have listeners, sound or an artist with listeners"""
        self._column = np.full(len(warm), -1)
        self._column[warm] = np.arange(np.count_nonzero(warm))

    def _build(self) -> nn.Module:
        coo = self._artists.tocoo()
        # Each artist of a track has an equal part in it.
        parts = 1 / np.maximum(np.diff(self._artists.indptr), 1)
        artists = torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64)),
            torch.from_numpy(parts[coo.row].astype(np.float32)),
            coo.shape,
            check_invariants=False,
        ).coalesce()
        return _Towers(tensor(self._sound), artists.to(device()), self.options)

    def _batches(self, rng: np.random.Generator) -> Iterator[csr_matrix]:
        return self._user_batches(self.options.batch, rng)

    def _loss(self, module: Any, batch: csr_matrix) -> Tensor:
        counts = np.diff(batch.indptr)
        owners = tensor_int(np.repeat(np.arange(len(counts)), counts))
        tracks = tensor_int(batch.indices)
        kept = (torch.rand(len(tracks), device=device()) >= self.options.dropout).float()
        summed = functional.embedding_bag(
            tracks, module.into(), tensor_int(batch.indptr[:-1]), mode="sum", per_sample_weights=kept
        )
        profiles = module.scale * functional.normalize(summed, dim=1, eps=1e-6)
        warm = tensor_int(self.history.warm_rows)
        logits = profiles @ module.out()[warm].T + module.bias[warm]
        return multinomial_loss(logits, owners, tensor_int(self._column)[tracks], counts)

    def _keep(self, module: Any) -> None:
        own = self.history.warm_tracks[:, None]
        # Only what was learned: a cold track's own vector is still its random beginning.
        with torch.inference_mode():
            vectors = [
                np.where(own, tower.eval()().cpu().numpy(), (tower() - tower.own.weight).cpu().numpy())
                for tower in (module.into, module.out)
            ]
        self.profile_vectors: Scores = np.asarray(vectors[0], np.float32)
        """[T, F]"""
        self.track_vectors = np.asarray(vectors[1], np.float32)
        bias = module.bias.detach().cpu().numpy().copy()
        # A cold track has as much bias as the average warm one, not the zero that no loss ever touched.
        self.track_bias = np.where(own[:, 0], bias, bias[self.history.warm_rows].mean()).astype(np.float32)
        self.scale = float(module.scale)


def standardized(sound: Scores) -> Scores:
    """Sound vectors of mean length 1, columns of different units brought to one scale; rows of zeros stay."""
    found = standardized_columns(sound)
    lengths = np.linalg.norm(found, axis=1)
    return np.asarray(found / lengths[lengths > 0].mean(), np.float32) if (lengths > 0).any() else found
