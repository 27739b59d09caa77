"""A small world whose truth is known: how far sound, artist and taste hang together is an option."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossfade.models.arrays import top_k
from crossfade.models.catalogue import Catalogue
from crossfade.models.evaluation.metrics import hits, recall, relevant_counts
from crossfade.models.interactions import Interactions


@dataclass(frozen=True, eq=False)
class Planted:
    """Training listens and what was held out: all of `new` artists, and some tracks of `known` ones."""

    train: Interactions
    test: Interactions
    catalogue: Catalogue
    known: np.ndarray
    new: np.ndarray

    def recall(self, scores: np.ndarray, tracks: np.ndarray, k: int = 10) -> float:
        """Mean recall@k of scores [U, T] among the tracks given by rows."""
        truth = self.test.matrix[:, tracks].tocsr()
        ids, _ = top_k(scores[:, tracks].astype(np.float32), k)
        return float(np.nanmean(recall(hits(ids, truth), relevant_counts(truth), k)))


def planted(
    seed: int = 0, *, link: float = 0.8, users: int = 600, artists: int = 80, each: int = 9, within: float = 0.7
) -> Planted:
    """`link` 0 … 1 is how much of a track's place in taste can be heard; `within` how far an artist's tracks differ."""
    rng = np.random.default_rng(seed)
    count, latent, width = artists * each, 6, 24
    centres = rng.normal(size=(artists, latent))
    artist = np.repeat(np.arange(artists), each)
    places = np.sqrt(1 - within**2) * centres[artist] + within * rng.normal(size=(count, latent))
    people = rng.normal(size=(users, latent))
    attraction = people @ places.T / np.sqrt(latent) + 0.3 * rng.normal(size=count)
    chances = 1 / (1 + np.exp(-3 * (attraction - np.quantile(attraction, 0.93))))
    board = rng.random((users, count)) < 0.6 * chances
    blank = rng.normal(size=(count, latent))
    audible = link * places + np.sqrt(1 - link**2) * blank
    sound = (audible @ rng.normal(size=(latent, width)) + 0.1 * rng.normal(size=(count, width))).astype(np.float32)
    order = rng.permutation(artists)
    new = np.flatnonzero(np.isin(artist, order[: artists // 6]))
    others = np.setdiff1d(np.arange(count), new)
    known = np.sort(rng.permutation(others)[: count // 6])
    cold = np.zeros(count, bool)
    cold[new] = cold[known] = True
    rows, columns = np.nonzero(board)
    everything = Interactions(
        rows.astype(np.int32), columns.astype(np.int32), np.ones(len(rows), np.float32), users, count
    )
    catalogue = Catalogue(tuple(f"t{t}" for t in range(count)), tuple((f"artist {a}",) for a in artist), sound)
    return Planted(everything.take(~cold[columns]), everything.take(cold[columns]), catalogue, known, new)
