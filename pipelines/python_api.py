"""The Python API: what `import crossfade` gives, over the same functions as the command line.

Tables are polars or pandas data frames; what is given decides what comes back. Ids may be of any type.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import UsageError
from .interactions.data_frames import NumberedData, rows_of
from .library.store import Library as LibraryFolder

if TYPE_CHECKING:
    from ..audio.music_detection import Texture
    from ..models.recommenders.base import Recommender
    from .embedding.embed import EmbedSummary
    from .interactions.data_frames import Frame
    from .search.similar import Neighbour
    from .simulation.world import World

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
    mood_lifts: list[float]
    """how many times the odds of the average track each mood has"""
    tempo_bpm: float | None
    tempo_alternative_bpm: float | None
    """the second best; a wrong tempo is mostly this one"""
    tempo_confidence: float | None
    """0 … 1, how likely the tempo is right, within 4 %"""
    key: str | None
    key_alternative: str | None
    key_confidence: float | None
    """0 … 1, how likely the key is exactly right"""
    loudness_lufs: float | None
    loudness_spread_lu: float | None
    """between the loudest and the quietest part that was heard; None where it was one part"""
    heard_seconds: float
    """how much of the file all this is of"""
    texture: Texture
    """what tells music from speech, calls, tones and noise"""
    embedding: NDArray[np.float32]
    """[D] of the whole track"""


def classify(
    path: Place,
    *,
    windows: Literal["default", "all"] = "default",
    genre_model: Place | None = None,
    model: Place | None = None,
) -> Classification:
    """Genres, moods, tempo, key and loudness of an audio file.

    `windows` is nine windows spread over the track, or all of it; `genre_model` the folder of a genre model of your own
    (`crossfade genres train`), `model` its former name. AudioError where the file cannot be decoded.
    """
    if model is not None:
        warnings.warn("classify(model=…) is called genre_model=… now", DeprecationWarning, stacklevel=2)
        genre_model = model
    from ..audio.decoding import quiet_decoders
    from .audio_analysis.analyzer import AudioAnalyzer

    file = Path(path).expanduser()
    folder = None if genre_model is None else Path(genre_model)
    analyzer = AudioAnalyzer.with_genre_model(folder, all_windows=windows == "all")
    with quiet_decoders():
        found = analyzer.analyze(file)
    genres = [Genre(one["genre"], one["probability"]) for one in found.ranked_genres()]
    return Classification(file, found.duration_seconds, genres, embedding=found.embedding, **vars(found.description))


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
        from .embedding.embed import embed
        from .embedding.options import EmbedOptions

        if "all_windows" in options:
            warnings.warn('embed(all_windows=True) is called windows="all" now', DeprecationWarning, stacklevel=2)
            options["windows"] = "all" if options.pop("all_windows") else "default"
        paths = [Path(place).expanduser() for place in places]
        return embed(self._library, paths, _options(EmbedOptions, "embed", options))

    def tracks(self) -> pl.DataFrame:
        """A row for each track: track_id, title, artists and what else is known."""
        return self._library.tracks()

    def similar(
        self,
        track_or_file: Place,
        k: int = 10,
        *,
        blend: float | None = None,
        per_artist: int | None = None,
        duplicates: bool = True,
        genre: str | None = None,
        artist: str | None = None,
        years: tuple[int, int] | None = None,
    ) -> list[Neighbour]:
        """The k nearest tracks to a track_id of the library, or to any audio file.

        `blend` is how much taste (1) counts against sound (0); `per_artist` the most of one artist; without
        `duplicates`, other versions of the same recording are left out. `genre` (a label), `artist` and `years` (the
        first and the last) leave only such tracks.
        """
        from .library.tracks import TrackFilter
        from .search.similar import limit_per_artist, query_for, similar

        is_path = isinstance(track_or_file, os.PathLike)
        query = query_for(self._library, str(Path(track_or_file).expanduser() if is_path else track_or_file))
        wanted = TrackFilter(genre=genre, artist=artist, years=years)
        found = similar(self._library, query, blend=blend, duplicates=duplicates, wanted=wanted)
        return list(limit_per_artist(found, k, per_artist))

    def recommend(self, users: Iterable[str], k: int = 10, *, allow_seen: bool = False) -> pl.DataFrame:
        """By the trained version, best first: user_id, track_id, score, because (the listened track that adds most)."""
        from .search.recommend import recommend
        from .versions.model_version import ModelVersion

        return pl.concat(recommend(ModelVersion.load(self._library), list(users), k, allow_seen=allow_seen))


def recommender(name: str, **options: Any) -> FrameRecommender:
    """A recommender by its name (`als`, `item-knn`, `vae`, `hybrid` …), with its own options, not yet fitted.

    Those of `hybrid` are the options of its ALS; the others it chooses itself. UsageError where there is no such model
    or option; MissingExtra where a package is not installed.
    """
    return FrameRecommender(name, options)


class FrameRecommender:
    """A recommender that takes and gives data frames.

    Interactions have a row for each event: user_id, item_id, and where known weight (above 0 liked, below 0 disliked,
    0 skipped; 1 without the column) and time (a date-time, a date as text, or seconds since 1970).
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name, self.options = name, options
        self._fitted: tuple[Recommender, NumberedData] | None = None
        self._arguments()

    def __repr__(self) -> str:
        data = self._fitted and self._fitted[1]
        known = f", {len(data.user_ids):,} users, {len(data.item_ids):,} items" if data else ""
        return f"crossfade.recommender({self.name!r}{known})"

    @property
    def model(self) -> Recommender:
        """The fitted model, on row numbers instead of ids."""
        return self._model_and_data()[0]

    def fit(self, interactions: Frame, items: Frame | None = None) -> Self:
        """Learns from interactions; models by content (`hybrid`, `content` …) also from `items`.

        `items` has item_id and where known artists (a name or a list of names) and vector (a list of numbers); items
        without interactions are cold, and recommended all the same. DataError where a column is missing or broken.
        """
        from ..models.recommenders.registry import entry, make

        if items is not None and not entry(self.name).by_content:
            raise UsageError(f"{self.name}: learns from interactions alone; leave out items")
        data = NumberedData.of(interactions, items)
        self._fitted = make(self.name, data.catalogue, **self._arguments()).fit(data.interactions), data
        return self

    def recommend(
        self, users: Sequence[Any] | None = None, k: int = 10, *, allow_seen: bool = False, because: bool = False
    ) -> Frame:
        """user_id, item_id, score, rank: the k best of each user, best first; None is all users of the training.

        Somebody unknown gets what is popular. What a user interacted with is left out unless `allow_seen`. `because`
        adds a column: the item the user likes that adds most to the score, null where none does (`hybrid` alone).
        """
        model, data = self._model_and_data()
        if because and not hasattr(model, "because"):
            raise UsageError(f"{self.name}: gives no reasons; hybrid does")
        known = data.user_ids
        asked = known if users is None else pl.Series("user_id", list(users), dtype=known.dtype, strict=False)
        rows = rows_of(asked, known)
        ids, scores = model.recommend(rows, k, allow_seen=allow_seen)
        table, reasons = data.table(asked.alias("user_id"), "item_id", ids, scores), np.empty_like(ids)
        if because:
            hybrid: Any = model
            for place, row in enumerate(rows.tolist()):
                reasons[place] = hybrid.because(hybrid.user_history(row), ids[place])
            items = pl.Series("row", reasons[ids >= 0]).replace(-1, None)
            table = table.with_columns(data.item_ids.gather(items).alias("because"))
        return data.like_given(table)

    def similar(self, items: Sequence[Any], k: int = 10) -> Frame:
        """item_id, similar_item_id, score, rank: the k items nearest to each. UsageError for an unknown item."""
        model, data = self._model_and_data()
        asked = pl.Series("item_id", list(items), dtype=data.item_ids.dtype, strict=False)
        rows = rows_of(asked, data.item_ids)
        if (rows < 0).any():
            raise UsageError(f"{list(items)[int(np.argmax(rows < 0))]!r}: no such item in the interactions")
        return data.like_given(data.table(asked, "similar_item_id", *model.similar(rows, k)))

    def _arguments(self) -> dict[str, Any]:
        """What the model is made with; nothing where no option is given, so that it keeps its own defaults."""
        from ..models.recommenders.als import ALSOptions
        from ..models.recommenders.registry import entry

        kind: Any = entry(self.name).load()
        parameter, options_type = ("als", ALSOptions) if self.name == "hybrid" else ("options", kind.options_type)
        options = _options(options_type, self.name, self.options)
        return {parameter: options} if self.options else {}

    def _model_and_data(self) -> tuple[Recommender, NumberedData]:
        if self._fitted is None:
            raise UsageError(f"{self.name}: not fitted yet; call fit(interactions) first")
        return self._fitted


def evaluate(
    interactions: Frame,
    items: Frame | None = None,
    *,
    models: Sequence[str | FrameRecommender] = ("als", "content", "hybrid"),
    **options: Any,
) -> Frame:
    """Models side by side, by one protocol: the rows of `crossfade evaluate`, one per model, slice, metric and k.

    Columns: model, slice, metric, k, value, low and high (the 95 % interval), users, split and more. `models` are
    names, or recommenders with options of their own, which stay as they are; `interactions` and `items` as for
    `FrameRecommender.fit`; `options` are the fields of `EvaluationOptions`, such as `protocol`
    (auto, temporal, within-user, random, repeats, new-releases, yambda), `scenarios` (warm, cold, listeners), `ks` and
    `seed`. The baselines are always in it, `content` where items have vectors.
    """
    from ..models.recommenders.registry import REGISTRY
    from .evaluation.evaluate import evaluate as evaluation_rows
    from .evaluation.options import OLD_SPLITS, EvaluationOptions

    if (split := options.pop("split", None)) is not None:
        options["protocol"] = OLD_SPLITS.get(split, split)
        warnings.warn(
            f"split={split!r} is now called protocol={options['protocol']!r}", DeprecationWarning, stacklevel=2
        )
    if (scenarios := options.pop("trials", None)) is not None:
        options["scenarios"] = scenarios
        warnings.warn("trials is now called scenarios", DeprecationWarning, stacklevel=2)
    chosen = [FrameRecommender(model, {}) if isinstance(model, str) else model for model in models]
    made = {model.name: model._arguments() for model in chosen}
    if len(made) < len(chosen):
        raise UsageError(f"evaluate: models: {', '.join(model.name for model in chosen)}; each name may come once")
    given = _options(EvaluationOptions, "evaluate", {"models": tuple(made), "model_arguments": made, **options})
    data = NumberedData.of(interactions, items)
    places = {name: place for place, name in enumerate(REGISTRY)}
    rows = sorted(
        evaluation_rows(data.interactions, data.catalogue, given), key=lambda row: places.get(row["model"], -1)
    )
    return data.like_given(pl.DataFrame(rows, infer_schema_length=None))


@dataclass(frozen=True, eq=False)
class DemoListening:
    """A synthetic listening log, whose truth is known."""

    interactions: pl.DataFrame
    """user_id, item_id, weight, time: a row for each listen"""
    items: pl.DataFrame
    """item_id, title, artists, album, genres, released_at, vector (which stands for the sound)"""
    users: pl.DataFrame
    """user_id, group: whose taste each user's is near"""
    _world: World = field(repr=False)

    def write(self, folder: Place, format: Literal["yambda", "yandex"]) -> None:
        """The same log as files of another one's format, for `crossfade listens --format`."""
        from .simulation.log_writer import write_yambda, write_yandex

        writer = {"yambda": write_yambda, "yandex": write_yandex}[format]
        writer(self._world, Path(folder).expanduser())


def demo_listening(**options: Any) -> DemoListening:
    """Listeners and tracks that are made up; `options` are the fields of `WorldOptions`: users, tracks, seed …"""
    from .simulation.world import World, WorldOptions

    world = World(_options(WorldOptions, "demo_listening", options))
    users, listens = pl.Series(world.user_ids), world.listens()
    items = world.track_table().rename({"track_id": "item_id"})
    interactions = {
        "user_id": users.gather(listens.user_rows),
        "item_id": items["item_id"].gather(listens.track_rows),
        "weight": listens.weights,
        "time": listens.times,
    }
    return DemoListening(
        pl.DataFrame(interactions),
        items.with_columns(pl.Series("vector", list(world.tracks.sound))),
        pl.DataFrame({"user_id": users, "group": world.user_groups}),
        world,
    )


def demo_music(folder: Place, **options: Any) -> pl.DataFrame:
    """Renders music of made-up artists in six styles into a folder, and gives its labels; what is there stays.

    Columns: path (in the folder), title, artist, album, style (two with a stroke, for an artist between them), year.
    `options` are the fields of `CatalogueOptions`, such as `artists_per_style` and `seed`.
    """
    from .simulation.demo import CatalogueOptions, plan, write_catalogue

    tracks = plan(_options(CatalogueOptions, "demo_music", options))
    for _ in write_catalogue(Path(folder).expanduser(), tracks):
        pass
    columns = ("path", "title", "artist", "album", "style", "year")
    return pl.DataFrame({column: [getattr(track, column) for track in tracks] for column in columns})


def _options(kind: Any, name: str, given: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(given.keys() - known):
        raise UsageError(f"{name}: no option {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return kind(**given)
