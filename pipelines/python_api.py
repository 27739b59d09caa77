"""The Python API: what `import crossfade` gives, over the same functions as the command line.

Tables are polars or pandas data frames; what is given decides what comes back. Ids may be of any type.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .interactions.columns import UNREADABLE_TIME, SourceTable
from .library.store import Library as LibraryFolder

if TYPE_CHECKING:
    import pandas as pd

    from ..models.catalogue import Catalogue
    from ..models.recommenders.base import Recommender
    from .embedding.extract import EmbedSummary
    from .search.similar import Neighbour

    Frame = pl.DataFrame | pd.DataFrame

Place = str | os.PathLike[str]


@dataclass(frozen=True)
class Genre:
    """A genre and its probability, 0 … 1."""

    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Classification:
    """The analysis of one file; None where something is unclear."""

    path: Path
    duration_seconds: float
    genres: list[Genre]
    """the most probable first"""
    confident: bool
    """whether the first genre is to be believed"""
    moods: list[str]
    tempo_bpm: float | None
    key: str | None
    loudness_lufs: float | None
    embedding: NDArray[np.float32]
    """[D] of the whole track"""


def classify(
    path: Place, *, windows: Literal["default", "all"] = "default", model: Place | None = None
) -> Classification:
    """Genres, moods, tempo, key and loudness of an audio file.

    `windows` is nine windows spread over the track, or all of it; `model` the folder of a genre model of your own
    (`crossfade genres train`). AudioError where the file cannot be decoded.
    """
    from ..audio.decoding import quiet_decoders
    from ..models.genres.model import GenreModel
    from .audio_analysis.analyzer import AudioAnalyzer

    file = Path(path).expanduser()
    analyzer = AudioAnalyzer(
        all_windows=windows == "all", model=None if model is None else GenreModel.load(Path(model))
    )
    with quiet_decoders():
        found = analyzer.analyze(file)
    genres = [Genre(one["genre"], one["probability"]) for one in found.ranked_genres()]
    return Classification(file, found.duration_seconds, genres, embedding=found.embedding, **asdict(found.description))


class Library:
    """A library folder: tracks, their embeddings, listening logs and trained versions. A context manager."""

    def __init__(self, folder: Place) -> None:
        """An empty library is made where there is none."""
        self._library = LibraryFolder.open(Path(folder).expanduser(), create=True)

    @property
    def folder(self) -> Path:
        return self._library.folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._library.close()

    def __repr__(self) -> str:
        return f"crossfade.Library({str(self.folder)!r})"

    def embed(self, *places: Place, **options: Any) -> EmbedSummary:
        """Embeds files and folders; resumable. `options` are the fields of `EmbedOptions`, such as `workers`.

        Files that cannot be decoded are counted, and named by `crossfade failures`. Worker processes import the main
        module again: call it under `if __name__ == "__main__":` in a script.
        """
        from .embedding.extract import EmbedOptions, embed

        paths = [Path(place).expanduser() for place in places]
        return embed(self._library, paths, _options(EmbedOptions, "embed", options))

    def tracks(self) -> pl.DataFrame:
        """A row for each track: track_id, title, artists and what else is known."""
        return self._library.tracks()

    def similar(
        self, track_or_file: Place, k: int = 10, *, blend: float | None = None, per_artist: int | None = None
    ) -> list[Neighbour]:
        """The k nearest tracks to a track_id of the library, or to any audio file.

        `blend` is how much taste (1) counts against sound (0); `per_artist` the most of one artist.
        """
        from .search.similar import limit_per_artist, query_for, similar

        is_path = isinstance(track_or_file, os.PathLike)
        query = query_for(self._library, str(Path(track_or_file).expanduser() if is_path else track_or_file))
        return list(limit_per_artist(similar(self._library, query, blend=blend), k, per_artist))

    def recommend(self, users: Iterable[str], k: int = 10, *, allow_seen: bool = False) -> pl.DataFrame:
        """By the trained version: user_id, rank, track_id, score and the listened track each is because of."""
        from .search.recommend import recommend
        from .versions.model_version import ModelVersion

        return pl.concat(recommend(ModelVersion.load(self._library), list(users), k, allow_seen=allow_seen))


def recommender(name: str, **options: Any) -> FrameRecommender:
    """A recommender by its name (`als`, `item-knn`, `vae`, `hybrid` …), with its own options, not yet fitted.

    UsageError where there is no such model or option; MissingExtra where a package is not installed.
    """
    from ..models.recommenders.registry import entry

    kind = entry(name).load()
    _options(_options_parameter(kind)[1], name, options)
    return FrameRecommender(name, options)


class FrameRecommender:
    """A recommender that takes and gives data frames.

    Interactions have a row for each event: user_id, item_id, and where known weight (above 0 liked, below 0 disliked,
    0 skipped; 1 without the column) and time (a date-time, a date as text, or seconds since 1970).
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name, self.options = name, options
        self._users = self._items = pl.Series(dtype=pl.String)
        self._model: Recommender | None = None
        self._as_pandas = False

    def __repr__(self) -> str:
        known = f", {len(self._users):,} users, {len(self._items):,} items" if self._model else ""
        return f"crossfade.recommender({self.name!r}{known})"

    @property
    def model(self) -> Recommender:
        """The fitted model, on row numbers instead of ids."""
        if self._model is None:
            raise UsageError(f"{self.name}: not fitted yet; call fit(interactions) first")
        return self._model

    def fit(self, interactions: Frame, items: Frame | None = None) -> Self:
        """Learns from interactions; models by content (`hybrid`, `content` …) also from `items`.

        `items` has item_id and where known artists (a name or a list of names) and vector (a list of numbers); items
        without interactions are cold, and recommended all the same. DataError where a column is missing or broken.
        """
        from ..models.interactions import Clock, Interactions
        from ..models.recommenders.registry import entry

        chosen = entry(self.name)
        if items is not None and not chosen.by_content:
            raise UsageError(f"{self.name}: learns from interactions alone; leave out items")
        frame = _polars(interactions, "interactions", ("user_id", "item_id"))
        described = frame.select("item_id") if items is None else _polars(items, "items", ("item_id",))
        self._users = frame["user_id"].unique(maintain_order=True)
        self._items = pl.concat([described["item_id"], frame["item_id"]]).unique(maintain_order=True)
        self._as_pandas = not isinstance(interactions, pl.DataFrame)
        times = _times(frame)
        events = Interactions(
            _rows(frame["user_id"], self._users),
            _rows(frame["item_id"], self._items),
            _weights(frame),
            len(self._users),
            len(self._items),
            times,
            Clock.NONE if times is None else Clock.TIME,
        )
        kind = chosen.load()
        parameter, options_type = _options_parameter(kind)
        given = {parameter: _options(options_type, self.name, self.options)}
        if chosen.by_content:
            given["catalogue"] = _catalogue(described, self._items)
        make: Any = kind
        self._model = make(**given).fit(events)
        return self

    def recommend(self, users: Sequence[Any] | None = None, k: int = 10, *, allow_seen: bool = False) -> Frame:
        """user_id, item_id, score, rank: the k best of each user, best first; None is all users of the training.

        Somebody unknown gets what is popular. What a user interacted with is left out unless `allow_seen`.
        """
        known = self._users
        asked = known if users is None else pl.Series("user_id", list(users), dtype=known.dtype, strict=False)
        return self._frame("user_id", asked, self.model.recommend(_rows(asked, known), k, allow_seen=allow_seen))

    def similar(self, items: Sequence[Any], k: int = 10) -> Frame:
        """item_id, similar_item_id, score, rank: the k items nearest to each. UsageError for an unknown item."""
        asked = pl.Series("item_id", list(items), dtype=self._items.dtype, strict=False)
        rows = _rows(asked, self._items)
        if (rows < 0).any():
            raise UsageError(f"{list(items)[int(np.argmax(rows < 0))]!r}: no such item in the interactions")
        return self._frame("item_id", asked, self.model.similar(rows, k))

    def _frame(self, key: str, asked: pl.Series, answers: tuple[NDArray[np.int32], NDArray[np.float32]]) -> Frame:
        ids, scores = answers
        which, places = np.nonzero(ids >= 0)
        found = self._items.gather(ids[which, places]).alias("similar_item_id" if key == "item_id" else "item_id")
        table = pl.DataFrame(
            [asked.gather(which).alias(key), found, pl.Series("score", scores[which, places])]
        ).with_columns(pl.Series("rank", places + 1, pl.Int32))
        return table.to_pandas() if self._as_pandas else table


def _options_parameter(kind: Any) -> tuple[str, type]:
    """Name and dataclass of the parameter of a recommender's options; of the hybrid those of its ALS."""
    from ..models.recommenders.als import ALSOptions

    return ("als", ALSOptions) if kind.name == "hybrid" else ("options", kind.options_type)


def _options(kind: Any, name: str, given: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(given.keys() - known):
        raise UsageError(f"{name}: no option {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return kind(**given)


def _polars(frame: Any, name: str, needed: tuple[str, ...]) -> pl.DataFrame:
    table = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    SourceTable(Path(name), table.lazy()).require(*needed)
    for column in needed:
        if nulls := table[column].null_count():
            raise DataError(f"{name}: {nulls} rows without {column}; drop them first")
    if not len(table):
        raise DataError(f"{name}: no rows")
    return table


def _weights(interactions: pl.DataFrame) -> NDArray[np.float32]:
    if "weight" not in interactions.columns:
        return np.ones(len(interactions), np.float32)
    column = (
        SourceTable(Path("interactions"), interactions.lazy()).number("weight").cast(pl.Float32).fill_null(float("nan"))
    )
    weights = interactions.select(column).to_series().to_numpy()
    if not np.isfinite(weights).all():
        raise DataError(f"interactions: weight: {int((~np.isfinite(weights)).sum())} rows are not numbers")
    return weights


def _times(interactions: pl.DataFrame) -> NDArray[np.int64] | None:
    if "time" not in interactions.columns:
        return None
    times = interactions.select(SourceTable(Path("interactions"), interactions.lazy()).seconds("time")).to_series()
    if wrong := times.null_count() + int((times == UNREADABLE_TIME).sum()):
        raise DataError(f"interactions: {wrong} rows without a time that can be read; drop them, or the column")
    return times.to_numpy()


def _rows(ids: pl.Series, known: pl.Series) -> NDArray[np.int32]:
    """Positions of ids among the known ones, -1 for the others."""
    table = pl.DataFrame({"id": known}).with_row_index("row")
    joined = ids.rename("id").to_frame().join(table, on="id", how="left", maintain_order="left")
    return joined["row"].cast(pl.Int32).fill_null(-1).to_numpy()


def _catalogue(items: pl.DataFrame, ids: pl.Series) -> Catalogue:
    """Artists and vectors in the order of `ids`; those that are not described have neither."""
    from ..models.catalogue import Catalogue

    table = pl.DataFrame({"item_id": ids}).join(
        items.unique("item_id", keep="first"), on="item_id", how="left", maintain_order="left"
    )
    artists: list[tuple[str, ...]] = [()] * len(table)
    if "artists" in table.columns:
        artists = [
            () if names is None else (names,) if isinstance(names, str) else tuple(map(str, names))
            for names in table["artists"].to_list()
        ]
    sound = np.zeros((len(table), 0), np.float32)
    if "vector" in table.columns:
        vectors = table["vector"].to_list()
        widths = {len(vector) for vector in vectors if vector is not None}
        if len(widths) != 1:
            raise DataError(f"items: vector: {sorted(widths)} numbers; all have to have the same, at least one of them")
        blank = [0.0] * widths.pop()
        sound = np.array([blank if vector is None else vector for vector in vectors], np.float32)
    return Catalogue(tuple(map(str, ids.to_list())), tuple(artists), sound)
