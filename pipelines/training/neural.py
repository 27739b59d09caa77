"""One neural recommender of a library, trained into a folder and loaded from it.

The folder holds the model, what every epoch came to (epochs.parquet, epochs.png), and where the model has them the
embeddings by id: users.parquet and tracks.parquet (`id`, `embedding`, `bias`), null for rows of zeros.

Shapes: U users, T tracks, F factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError, LibraryError, UsageError
from ...models.arrays import Ids, Scores
from ...models.nn.training_loop import Watch, best_epoch
from ...models.recommenders.neural.base import DotRecommender
from ...models.recommenders.registry import REGISTRY
from ..charts.chart import draw
from ..charts.training import epoch_table, learning_curve
from ..interactions.schema import read_interactions
from ..library.store import Library


@dataclass(frozen=True, eq=False)
class NeuralModel:
    """A model and the ids of its tracks."""

    model: Any
    track_ids: Sequence[str]
    """[T]"""

    @classmethod
    def load(cls, folder: Path) -> NeuralModel:
        """LibraryError where the folder holds no model that `train_neural` has written."""
        name = next((name for name in REGISTRY if (folder / f"{name}.json").exists()), None)
        if name is None:
            raise LibraryError(f"{folder}: holds no neural model; learn one with crossfade neural train")
        try:
            ids = pl.read_parquet(folder / "tracks.parquet", glob=False).get_column("id").to_list()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LibraryError(f"{folder / 'tracks.parquet'}: missing or damaged ({error}); learn again") from None
        return cls(REGISTRY[name].load().load(folder), ids)

    def recommend(self, history: Sequence[tuple[str, float]], k: int) -> tuple[Ids, Scores]:
        """[k] tracks for a user of these (track, rating or confidence) pairs, oldest first; nothing is trained."""
        rows = self._rows(history)
        if hasattr(self.model, "recommend_after"):
            ids, scores = self.model.recommend_after([[row for row, value in rows if value > 0]], k)
        else:
            ids, scores = self.model.recommend_from(self._matrix(rows), k)
        return ids[0], scores[0]

    def embedding(self, history: Sequence[tuple[str, float]]) -> NDArray[np.float32]:
        """[F] of a user of these (track, rating or confidence) pairs."""
        if not isinstance(self.model, DotRecommender):
            raise UsageError(f"{self.model.name}: has no embeddings of users; choose another model")
        return np.asarray(self.model.fold_in(self._matrix(self._rows(history)))[0], np.float32)

    def _rows(self, history: Sequence[tuple[str, float]]) -> list[tuple[int, float]]:
        row_of = {name: row for row, name in enumerate(self.track_ids)}
        for name, _ in history:
            if name not in row_of:
                raise DataError(f"{name}: the model knows no such track; it may be newer than the training")
        return [(row_of[name], value) for name, value in history]

    def _matrix(self, rows: list[tuple[int, float]]) -> Any:
        from scipy.sparse import csr_matrix

        columns, values = [row for row, _ in rows], np.array([value for _, value in rows], np.float32)
        return csr_matrix((values, ([0] * len(rows), columns)), shape=(1, len(self.track_ids)))


def train_neural(
    library: Library,
    name: str,
    out: Path,
    *,
    objective: str | None = None,
    epochs: int | None = None,
    refit: bool = False,
    seed: int = 0,
    sound: str | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Trains on the library's listens and writes the folder; an interrupted run carries on. Returns its figures."""
    catalogue = library.catalogue(sound)
    users, listens = read_interactions(library, catalogue)
    entry = REGISTRY[name]
    kind: Any = entry.load()
    options = replace(_options(name, objective), refit=refit, seed=seed)
    if epochs is not None:
        options = replace(options, epochs=epochs)
    resumption = {"checkpoint": out / "unfinished", "watch": watch}
    model: Any = kind(catalogue, options, **resumption) if entry.by_content else kind(options, **resumption)
    model.fit(listens)
    model.save(out)
    (out / "unfinished").rmdir()
    _write(model, users.to_list(), catalogue.track_ids, out)
    best = best_epoch(model.curve)
    loss = model.curve[best - 1].validation_loss
    rated = getattr(options, "objective", "") == "ratings"
    return {
        "model": name,
        "users": int(model.history.warm_users.sum()),
        "tracks": int(model.history.warm_tracks.sum()),
        "epochs": len(model.curve),
        "best_epoch": best,
        "validation_rmse" if rated else "validation_ndcg@20": None if loss is None else loss if rated else -loss,
        "refitted": refit and loss is not None,
        "seconds": round(sum(point.seconds for point in model.curve), 1),
    }


def _options(name: str, objective: str | None) -> Any:
    from ...models.recommenders.neural.neural_mf import NeuralMFOptions, rating_options

    if name == "mf":
        return rating_options() if objective == "ratings" else NeuralMFOptions(objective=objective or "softmax")
    if objective is not None:
        raise UsageError(f"--objective {objective}: only mf has a choice")
    kind: Any = REGISTRY[name].load()
    return kind().options


def _write(model: Any, user_ids: Sequence[str], track_ids: Sequence[str], out: Path) -> None:
    tracks = getattr(model, "track_vectors", None)
    bias = getattr(model, "track_bias", None)
    _embeddings(track_ids, tracks, bias, np.arange(len(track_ids))).write_parquet(out / "tracks.parquet")
    if isinstance(model, DotRecommender):
        rows = np.flatnonzero(model.history.warm_users).astype(np.int32)
        vectors = np.concatenate([model.user_vectors(part) for part in np.array_split(rows, len(rows) // 4096 + 1)])
        own = getattr(model, "user_bias", None)
        _embeddings(user_ids, vectors, None if own is None else own[rows], rows).write_parquet(out / "users.parquet")
    epoch_table(model.curve).write_parquet(out / "epochs.parquet")
    note = "The validation loss is what the best epoch is chosen by: RMSE, or NDCG@20 below 0."
    draw(learning_curve(model.curve, note), out / "epochs.png")


def _embeddings(
    ids: Sequence[str], vectors: Scores | None, biases: Scores | None, rows: NDArray[np.integer]
) -> pl.DataFrame:
    """Those of `rows`; the other ids have none, nor have rows of zeros."""
    frame = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String)}).with_row_index("row")
    if vectors is None:
        return frame.drop("row")
    known = np.any(vectors != 0, axis=1)
    table = pl.DataFrame({"row": pl.Series(rows[known], dtype=pl.UInt32), "embedding": vectors[known]})
    table = table.with_columns(pl.col("embedding").arr.to_list())
    if biases is not None:
        table = table.with_columns(bias=pl.Series(biases[known]))
    return frame.join(table, on="row", how="left", maintain_order="left").drop("row")
