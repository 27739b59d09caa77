"""What the neural recommenders share: how long to train is chosen on held out listens, then all listens are learned.

A model defines its module, its batches and its loss; the rest is here. Where scores come from plain vectors, these are
kept as numpy arrays, so that recommending needs no torch.

Shapes: U users, T tracks, F factors, B users asked for, k answers each.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import UsageError
from ...arrays import Answers, Ids, Mask, Scores
from ...catalogue import Catalogue
from ...evaluation.metrics import hits, ndcg, relevant_counts
from ...evaluation.splits import within_users
from ...interactions import Interactions, liked, to_find
from ...nn.training_loop import Curve, Schedule, Watch, best_epoch, device, seeded, train
from ..base import History, Recommender, check_catalogue, nearest_neighbours, rank

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

VALIDATION_USERS = 2000
LEAST_STEPS = 200
_K = 20


@dataclass(frozen=True, kw_only=True)
class NeuralOptions:
    """Options of every neural recommender."""

    epochs: int = 100
    """at most"""
    patience: int = 8
    """epochs without a better figure on held out listens after which it stops"""
    learning_rate: float = 1e-3
    refit: bool = True
    """Learn all listens once more, for as many epochs as were best without those held out."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: {getattr(self, name)}, but has to be at least 1")
        if self.learning_rate <= 0:
            raise UsageError(f"learning_rate: {self.learning_rate:g}, but has to be above 0")
        # Of those that have one.
        dropout = getattr(self, "dropout", 0.0)
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout: {dropout:g}, but has to be at least 0 and below 1")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Each user's last tenth, to choose the epoch on."""

    train: Interactions
    test: Interactions
    user_rows: Ids
    """[B] to recommend to, no more than `VALIDATION_USERS`"""
    truth: csr_matrix
    """[B, T]"""

    @classmethod
    def of_ratings(cls, interactions: Interactions, rng: np.random.Generator) -> HeldOut | None:
        """For predicting ratings: without users to recommend to. None where one of the parts is empty."""
        split, nobody = within_users(interactions, rng, share=0.1), np.zeros(0, np.int32)
        if not len(split.train) or not len(split.test):
            return None
        return cls(split.train, split.test, nobody, interactions.matrix[nobody])

    @classmethod
    def of(cls, interactions: Interactions, rng: np.random.Generator) -> HeldOut | None:
        """None where nobody has enough listens to hold one out."""
        split = within_users(interactions, rng, share=0.1)
        truth = to_find(split.test.matrix, split.train.matrix)
        known = np.diff(liked(split.train.matrix).indptr) > 0
        users = np.flatnonzero(known & (np.diff(truth.indptr) > 0)).astype(np.int32)
        if not len(users):
            return None
        users = np.sort(rng.permutation(users)[:VALIDATION_USERS])
        return cls(split.train, split.test, users, truth[users])

    def ndcg(self, score: Callable[[Ids], Scores]) -> float:
        """Mean NDCG@20 of scores [B, T] among the tracks that are new to the users."""
        seen, users = self.train.matrix[self.user_rows], self.user_rows
        ids, _ = rank(lambda start, stop: score(users[start:stop]), len(users), _K, seen.shape[1], seen=seen)
        return float(np.nanmean(ndcg(hits(ids, self.truth), relevant_counts(self.truth), _K)))


class NeuralRecommender(Recommender):
    """A recommender that is a torch module while it learns."""

    name: ClassVar[str]
    options: NeuralOptions
    history: History
    curve: Curve = ()
    """the epochs of the search for the best one"""

    track_vectors: Scores
    """[T, F]"""
    track_bias: Scores
    """[T]"""

    def __init__(self, options: Any = None, *, checkpoint: Path | None = None, watch: Watch | None = None) -> None:
        """With a `checkpoint` folder an interrupted `fit` on the same listens carries on where it was."""
        super().__init__(options)
        self._checkpoint, self._watch = checkpoint, watch

    def fit(self, interactions: Interactions) -> Self:
        options = self.options
        History.of(interactions)
        held = self._held_out(interactions, np.random.default_rng([options.seed, 7]))
        part = interactions if held is None else held.train
        if held is not None and not np.any(part.weights > 0):
            held, part = None, interactions
        self.curve = self._train(part, options.epochs, held, "search")
        if held is not None and options.refit:
            self._train(interactions, best_epoch(self.curve), None, "refit")
        else:
            self._prepare(interactions)
        if self._checkpoint is not None:
            for stage in ("search", "refit"):
                (self._checkpoint / f"{self.name}.{stage}").unlink(missing_ok=True)
        return self

    def _train(self, interactions: Interactions, epochs: int, held: HeldOut | None, stage: str) -> Curve:
        options = self.options
        self._prepare(interactions)
        with seeded(options.seed):
            module = self._build().to(device())

        def validate(held: HeldOut) -> tuple[float, dict[str, float]]:
            self._keep(module)
            return self._validation_loss(held), {}

        curve = train(
            module,
            lambda batch: self._loss(module, batch),
            self._batches,
            Schedule(
                epochs=epochs,
                patience=options.patience,
                least_steps=LEAST_STEPS,
                learning_rate=options.learning_rate,
            ),
            seed=options.seed,
            validate=None if held is None else partial(validate, held),
            checkpoint=None if self._checkpoint is None else self._checkpoint / f"{self.name}.{stage}",
            options=options,
            data=_columns(interactions, held),
            watch=self._watch,
        )
        with torch.inference_mode():
            self._keep(module)
        return curve

    def _held_out(self, interactions: Interactions, rng: np.random.Generator) -> HeldOut | None:
        return HeldOut.of(interactions, rng)

    def _validation_loss(self, held: HeldOut) -> float:
        """Lower is better."""
        return -held.ndcg(self.user_scores)

    def _prepare(self, interactions: Interactions) -> None:
        """Takes over the interactions."""
        self.history = History.of(interactions)

    def scores(self, user_vectors: Scores) -> Scores:
        """[B, F] -> [B, T], -inf for tracks of which the model has learned nothing."""
        scores = np.asarray(user_vectors @ self.track_vectors.T + self.track_bias, np.float32)
        scores[:, self._unreachable_rows] = -np.inf
        return scores

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of the tracks' vectors."""
        vectors = self.track_vectors.copy()
        vectors[self._unreachable_rows] = 0
        return nearest_neighbours(vectors, track_rows, k)

    @property
    def _unreachable_rows(self) -> NDArray[np.intp]:
        """Rows of the tracks whose vectors were not learned."""
        return self.history.cold_rows

    def _negatives(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """Rows of warm tracks drawn at random, all of them where there are no more than `count`."""
        warm = self.history.warm_rows
        return tensor_int(warm if len(warm) <= count else rng.choice(warm, count))

    def _user_batches(self, size: int | None, rng: np.random.Generator) -> Iterator[csr_matrix]:
        """The likes [B, T] of all warm users in random order; by default a twentieth of them at once, 32 to 256."""
        users = rng.permutation(np.flatnonzero(self.history.warm_users))
        size = size or int(np.clip(len(users) // 20, 32, 256))
        for start in range(0, len(users), size):
            yield self.history.liked[users[start : start + size]]

    @abstractmethod
    def _build(self) -> torch.nn.Module: ...

    @abstractmethod
    def _batches(self, rng: np.random.Generator) -> Iterator[Any]: ...

    @abstractmethod
    def _loss(self, module: torch.nn.Module, batch: Any) -> torch.Tensor: ...

    @abstractmethod
    def _keep(self, module: torch.nn.Module) -> None:
        """Takes over the numbers that scores are computed from."""


class DotRecommender(NeuralRecommender):
    """Scores are dot products of a user's and the tracks' vectors, plus a bias of the track."""

    @abstractmethod
    def fold_in(self, user_items: csr_matrix) -> Scores:
        """[B, T] confidences -> [B, F] vectors of users known by them alone; nothing is trained."""

    def user_vectors(self, rows: Ids) -> Scores:
        """[B] warm users -> [B, F]"""
        return self.fold_in(self.history.liked[rows])

    def user_scores(self, rows: Ids) -> Scores:
        return self.scores(self.user_vectors(rows))

    def scores_from(self, user_items: csr_matrix) -> Scores:
        return self.scores(self.fold_in(liked(user_items)))


class CatalogueRecommender(NeuralRecommender):
    """A neural recommender that is made with the catalogue, and places tracks without listeners by it."""

    placed: Mask
    """[T] tracks that have listeners, or something in the catalogue that a vector is made of"""

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        options: Any = None,
        *,
        checkpoint: Path | None = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(options, checkpoint=checkpoint, watch=watch)
        self._catalogue = catalogue

    def _prepare(self, interactions: Interactions) -> None:
        super()._prepare(interactions)
        if self._catalogue is not None:
            check_catalogue(self.name, self._catalogue, interactions)

    @property
    def _unreachable_rows(self) -> NDArray[np.intp]:
        return np.flatnonzero(~self.placed)


def multinomial_loss(logits: torch.Tensor, owners: torch.Tensor, tracks: torch.Tensor, counts: Any) -> torch.Tensor:
    """Minus the mean over B users of Σ log softmax over a user's tracks. Shape: [B, T], [N], [N], [B] -> []"""
    likelihood = logits[owners, tracks].sum() - (torch.logsumexp(logits, dim=1) * tensor_int(counts)).sum()
    return -likelihood / len(counts)


def sampled_softmax_loss(
    positive: torch.Tensor, negative: torch.Tensor, tracks: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the right track among sampled ones that all rows share; a right one drawn again is left out.

    Shape: scores [N] of `tracks` [N], scores [N, M] of `negatives` [M] -> []
    """
    negative = negative.masked_fill(negatives[None] == tracks[:, None], -torch.inf)
    return (torch.logsumexp(torch.cat([positive[:, None], negative], dim=1), dim=1) - positive).mean()


def tensor_int(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.int64)).to(device())


def _columns(interactions: Interactions, held: HeldOut | None) -> Iterator[NDArray[Any] | None]:
    """All that training and validation read."""
    for part in (interactions,) if held is None else (interactions, held.test):
        yield from (part.user_rows, part.track_rows, part.weights, part.times, part.ratings)
        yield np.array([part.user_count, part.track_count])
