"""Neural matrix factorisation: embeddings of users and tracks with biases, learned by gradient steps.

For ratings the squared error is minimised; there the biases are not learned but solved for, those of users from their
latest ratings (see `Biases.recent`), and the embeddings explain what is left. For implicit feedback the loss is a
softmax over the track and sampled others, which all users of a batch share. Sampling is for learning only: every track
is ranked when recommending. With `hidden` units a small network on both embeddings is added to their dot product (He et
al. 2017, "Neural Collaborative Filtering").

Shapes: U users, T tracks, F factors, H hidden units, N events, B users asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ....errors import UsageError
from ...arrays import Ids, Scores
from ...interactions import Interactions
from ...nn.training_loop import state_arrays, tensor
from ..biases import Biases, ratings_of
from ..search_space import Choice, Range, SearchSpace
from .base import DotRecommender, HeldOut, NeuralOptions, multinomial_loss, sampled_softmax_loss, tensor_int

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

OBJECTIVES = ("softmax", "ratings")
_CELLS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class NeuralMFOptions(NeuralOptions):
    # Chosen on validation parts of ml-latest-small and mpd-5core: see scripts/experiments/choose_neural.
    objective: str = "softmax"
    patience: int = 5
    factors: int = 64
    hidden: int = 0
    """units of the network beside the dot product; 0 for none"""
    learning_rate: float = 3e-3
    regularization: float = 0.1
    """of the embeddings and biases that an event touches, so that active users are held less tightly"""
    batch: int | None = None
    """events; None for a fortieth of them, 32 to 65,536"""
    negatives: int = 256
    """tracks that every softmax of a batch is taken over, besides the right one"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in OBJECTIVES:
            cure = "BPR is the model bpr" if self.objective == "bpr" else f"there are {', '.join(OBJECTIVES)}"
            raise UsageError(f"objective {self.objective}: no such one; {cure}")


def rating_options(**changes: Any) -> NeuralMFOptions:
    """Options that suit ratings."""
    # Chosen on a validation part of ml-latest-small: see scripts/experiments/choose_neural.
    defaults: dict[str, Any] = {"objective": "ratings", "batch": 1024, "patience": 4}
    return NeuralMFOptions(**(defaults | changes))


class _Factors(nn.Module):
    def __init__(self, users: int, tracks: int, options: NeuralMFOptions, biases: Biases | None) -> None:
        super().__init__()
        self.users, self.tracks = nn.Embedding(users, options.factors), nn.Embedding(tracks, options.factors)
        # The smaller at first, the less do ids that were seen once stray.
        spread = 0.1 if biases is None else 0.01
        nn.init.normal_(self.users.weight, std=spread)
        nn.init.normal_(self.tracks.weight, std=spread)
        self.user_bias, self.track_bias = nn.Embedding(users, 1), nn.Embedding(tracks, 1)
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.track_bias.weight)
        if biases is not None:
            with torch.no_grad():
                self.user_bias.weight[:, 0] = torch.from_numpy(biases.users)
                self.track_bias.weight[:, 0] = torch.from_numpy(biases.tracks)
            self.user_bias.requires_grad_(False)
            self.track_bias.requires_grad_(False)
        self.hidden = nn.Linear(2 * options.factors, options.hidden) if options.hidden else None
        self.last = nn.Linear(options.hidden, 1, bias=False) if options.hidden else None

    def pairs(self, users: Tensor, tracks: Tensor) -> Tensor:
        """One score for each pair. Shape: [N], [N] -> [N]"""
        user_vectors, track_vectors = self.users(users), self.tracks(tracks)
        scores = (user_vectors * track_vectors).sum(dim=1) + self.user_bias(users)[:, 0] + self.track_bias(tracks)[:, 0]
        found: Tensor = scores + self._network(torch.cat([user_vectors, track_vectors], dim=1))
        return found

    def table(self, users: Tensor, tracks: Tensor) -> Tensor:
        """Every user with every track. Shape: [N], [M] -> [N, M]"""
        user_vectors, track_vectors = self.users(users), self.tracks(tracks)
        scores = user_vectors @ track_vectors.T + self.track_bias(tracks)[:, 0]
        if self.hidden is None or self.last is None:
            return scores  # type: ignore[no-any-return]
        left, right = self.hidden.weight.chunk(2, dim=1)
        inner = (user_vectors @ left.T)[:, None] + (track_vectors @ right.T)[None] + self.hidden.bias
        return scores + self.last(torch.relu(inner))[..., 0]  # type: ignore[no-any-return]

    def size(self, users: Tensor, tracks: Tensor) -> Tensor:
        """The mean squared length of what N events touch."""
        sizes = [
            (self.users(users) ** 2).sum(dim=1),
            (self.tracks(tracks) ** 2).sum(dim=1),
            (self.user_bias(users) ** 2)[:, 0],
            (self.track_bias(tracks) ** 2)[:, 0],
        ]
        return torch.stack(sizes).sum(dim=0).mean()

    def _network(self, both: Tensor) -> Tensor:
        if self.hidden is None or self.last is None:
            return torch.zeros(len(both), device=both.device)
        return self.last(torch.relu(self.hidden(both)))[:, 0]  # type: ignore[no-any-return]


class NeuralMF(DotRecommender):
    """Recommends by the dot product of learned embeddings; with the objective `ratings` it predicts stars."""

    name = "mf"
    options: NeuralMFOptions

    options_type = NeuralMFOptions
    stored_arrays = (
        ("embeddings", "user_vectors"),
        "user_bias",
        "track_vectors",
        "track_bias",
        ("network", "network_"),
    )
    stored_facts = ("mean", "rating_range")
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(1e-3, 1e-2, logarithmic=True),
        "factors": Choice((32, 64, 128)),
        "regularization": Range(0.01, 1, logarithmic=True),
        "negatives": Choice((128, 256, 512)),
    }

    def predict(self, user_rows: Ids, track_rows: Ids) -> NDArray[np.float32]:
        """[N] predicted ratings, on the scale that was learned from; an unknown user or track (-1) has no bias.

        Only for the objective `ratings`.
        """
        if self.options.objective != "ratings":
            raise UsageError(f"objective {self.options.objective}: predicts no ratings; choose ratings")
        found = np.empty(len(user_rows), np.float32)
        for start in range(0, len(user_rows), 1 << 16):
            part = slice(start, start + (1 << 16))
            users, tracks = user_rows[part], track_rows[part]
            user_vectors: Scores = np.where(users[:, None] >= 0, self.embeddings[users], np.float32(0))
            track_vectors: Scores = np.where(tracks[:, None] >= 0, self.track_vectors[tracks], np.float32(0))
            scores = np.einsum("nf,nf->n", user_vectors, track_vectors) + np.where(users >= 0, self.user_bias[users], 0)
            scores += np.where(tracks >= 0, self.track_bias[tracks], 0) + self.mean
            if self.network:
                scores += self._network(user_vectors @ self.network["left"].T + track_vectors @ self.network["right"].T)
            found[part] = scores
        low, high = self.rating_range
        return np.clip(found, low, high)

    def user_vectors(self, rows: Ids) -> Scores:
        return np.asarray(self.embeddings[rows])

    def fold_in(self, user_items: csr_matrix) -> Scores:
        """The embeddings that fit a new user's listens best while the tracks' stay as they are.

        For ratings `user_items` holds ratings, and a ridge regression gives the answer; else a few steps towards the
        softmax over all tracks.
        """
        if self.options.objective == "ratings":
            return self._fold_in_ratings(user_items)[:, :-1]
        return self._fold_in_likes(user_items)

    def scores(self, user_vectors: Scores) -> Scores:
        cells = super().scores(user_vectors)
        if self.network:
            right = self.track_vectors @ self.network["right"].T
            step = max(1, _CELLS // right.size)
            for start in range(0, len(cells), step):
                left = user_vectors[start : start + step] @ self.network["left"].T
                cells[start : start + step] += self._network(left[:, None] + right[None])
        return cells

    def _prepare(self, interactions: Interactions) -> None:
        super()._prepare(interactions)
        self.mean, self.rating_range = 0.0, (-np.inf, np.inf)
        if self.options.objective == "ratings":
            ratings = ratings_of(interactions)
            self._events: tuple[NDArray[Any], ...] = (interactions.user_rows, interactions.track_rows, ratings)
            self._biases: Biases | None = Biases.fit(interactions).recent(interactions)
            self.mean, self.rating_range = self._biases.mean, (float(ratings.min()), float(ratings.max()))
        else:
            liked = self.history.liked
            users = np.repeat(np.arange(liked.shape[0], dtype=np.int32), np.diff(liked.indptr))
            self._events, self._biases = (users, liked.indices), None

    def _build(self) -> nn.Module:
        users, tracks = self.history.matrix.shape
        return _Factors(users, tracks, self.options, self._biases)

    def _batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        count = len(self._events[0])
        size = self.options.batch or int(np.clip(count // 40, 32, 65_536))
        order = rng.permutation(count).astype(np.int32 if count < 1 << 31 else np.int64)
        for start in range(0, count, size):
            rows = order[start : start + size]
            users, tracks = tensor_int(self._events[0][rows]), tensor_int(self._events[1][rows])
            if self.options.objective == "ratings":
                yield users, tracks, tensor(self._events[2][rows])
            else:
                yield users, tracks, self._negatives(self.options.negatives, rng)

    def _loss(self, module: Any, batch: tuple[Tensor, ...]) -> Tensor:
        users, tracks, third = batch
        size: Tensor = self.options.regularization * module.size(users, tracks)
        if self.options.objective == "ratings":
            loss = functional.mse_loss(module.pairs(users, tracks) + self.mean, third)
        else:
            positive = module.pairs(users, tracks) - module.user_bias(users)[:, 0]
            loss = sampled_softmax_loss(positive, module.table(users, third), tracks, third)
        return size + loss

    def _held_out(self, interactions: Interactions, rng: np.random.Generator) -> HeldOut | None:
        if self.options.objective == "ratings":
            return HeldOut.of_ratings(interactions, rng)
        return super()._held_out(interactions, rng)

    def _validation_loss(self, held: HeldOut) -> float:
        if self.options.objective != "ratings":
            return super()._validation_loss(held)
        test = held.test
        return float(np.sqrt(np.mean((self.predict(test.user_rows, test.track_rows) - ratings_of(test)) ** 2)))

    def _keep(self, module: Any) -> None:
        arrays = state_arrays(module)
        # What was never learned stays at its random beginning, which would look like taste.
        warm_users = np.diff(self.history.matrix.indptr) > 0
        self.embeddings: Scores = np.where(warm_users[:, None], arrays["users.weight"], 0)
        """[U, F]"""
        self.user_bias: Scores = arrays["user_bias.weight"][:, 0]
        """[U]"""
        in_training = np.bincount(self.history.matrix.indices, minlength=len(arrays["tracks.weight"])) > 0
        self.track_vectors = np.where(in_training[:, None], arrays["tracks.weight"], 0)
        self.track_bias = arrays["track_bias.weight"][:, 0]
        self.network: dict[str, Scores] = {}
        if "hidden.weight" in arrays:
            left, right = np.split(arrays["hidden.weight"], 2, axis=1)
            self.network = {
                "left": np.ascontiguousarray(left),
                "right": np.ascontiguousarray(right),
                "bias": arrays["hidden.bias"],
                "last": arrays["last.weight"][0],
            }

    def _network(self, inner: Scores) -> Scores:
        return np.asarray(np.maximum(inner + self.network["bias"], 0) @ self.network["last"], np.float32)

    def _fold_in_ratings(self, user_items: csr_matrix) -> Scores:
        """[B, F + 1]: the embedding, and the user's bias."""
        if self.network:
            raise UsageError("hidden: the embedding of a new user is solved for without a network; use hidden=0")
        found = np.zeros((user_items.shape[0], self.options.factors + 1), np.float32)
        # As many ratings' worth of doubt as the embeddings' spread calls for.
        spread = self.embeddings[self.history.warm_users].std() + 1e-6
        ridge = np.append(np.full(self.options.factors, 0.7 / spread**2), 5.0)
        for row in range(len(found)):
            part = slice(user_items.indptr[row], user_items.indptr[row + 1])
            tracks = user_items.indices[part]
            if len(tracks):
                left = user_items.data[part] - self.mean - self.track_bias[tracks]
                design = np.column_stack([self.track_vectors[tracks], np.ones(len(tracks), np.float32)])
                found[row] = np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ left)
        return found

    def _fold_in_likes(self, user_items: csr_matrix, steps: int = 30) -> Scores:
        """Adam on each user's vector alone, from the users' mean."""
        warm, mean = self.history.warm_rows, self.embeddings[self.history.warm_users].mean(axis=0)
        likes, found = user_items[:, warm], np.tile(mean, (user_items.shape[0], 1)).astype(np.float32)
        with torch.inference_mode(False), torch.enable_grad():
            track_vectors, track_bias, start = map(tensor, (self.track_vectors[warm], self.track_bias[warm], mean))
            for low in range(0, len(found), 256):
                part = likes[low : low + 256]
                counts = np.diff(part.indptr)
                owners, tracks = tensor_int(np.repeat(np.arange(len(counts)), counts)), tensor_int(part.indices)
                vectors = tensor(found[low : low + 256].copy()).requires_grad_()
                optimiser = torch.optim.Adam([vectors], lr=0.1)
                for _ in range(steps):
                    loss = multinomial_loss(vectors @ track_vectors.T + track_bias, owners, tracks, counts)
                    optimiser.zero_grad()
                    (0.5 * ((vectors - start) ** 2).sum() + len(counts) * loss).backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                found[low : low + 256] = vectors.detach().cpu().numpy()
        return found
