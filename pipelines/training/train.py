"""Training: a library's log and sounds become a version of models that recommends and searches.

Three steps, each taken over from the current version while what goes into it is the same (see `resumable_steps`):

    hybrid      cleaned listens and the catalogue -> ALS, content prior and crossfade, chosen on validation -> the index
    ranking     candidates, features and labels of the log's last part -> the ranker
    artefacts   tables that a product can take away

They are written into `models/<version>/`, which becomes the current one only when all of it is there.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import DataError, LibraryError, UsageError
from ...models.catalogue import Catalogue
from ...models.hybrid.index import HybridIndex
from ...models.hybrid.model import Hybrid
from ...models.interactions import Interactions
from ...models.ranking.dataset import TwoStageOptions
from ...models.ranking.diversity import RerankingOptions
from ...models.ranking.two_stage import TwoStageRecommender
from ...models.recommenders.als import ALSOptions
from ...models.storage import content_hash, hash_of_values, write_json
from ..charts.chart import draw
from ..charts.training import importance_chart
from ..interactions.cleaning import CleaningOptions, CleaningStep
from ..interactions.live_events import events_mark
from ..interactions.schema import mixed_clocks, parts_of, read_listens
from ..interactions.user_deletion import forget_the_missing
from ..library.folder_layout import ARTEFACTS, KEPT_VERSIONS
from ..library.progress import Message, Progress, silent
from ..library.store import Library
from ..versions.model_version import FORMAT, ModelVersion
from .batch_tables import ArtefactOptions, complete_version, write_artefacts
from .engine import LocalEngine
from .memory import LogSize, check_memory
from .resumable_steps import ResumableSteps, key_of_catalogue

STEP_VERSIONS = {"hybrid": 2, "ranking": 9, "artefacts": 1}
"""Raised when a step's code comes to other results: libraries then run it again."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    sound: str | None = None
    """name of the sound vectors; None means embeddings if there are any, else the only imported ones"""
    seed: int = 0
    cleaning: CleaningOptions = field(default_factory=CleaningOptions)
    als: ALSOptions = field(default_factory=ALSOptions)
    ranking: TwoStageOptions = field(default_factory=TwoStageOptions)
    reranking: RerankingOptions = field(default_factory=RerankingOptions)
    """of every list that `recommend` and the artefacts give, unless it is asked for otherwise"""
    artefacts: ArtefactOptions = field(default_factory=ArtefactOptions)
    keep_versions: int = KEPT_VERSIONS
    """how many trained versions stay on disk, the new one included"""

    def __post_init__(self) -> None:
        if self.keep_versions < 1:
            raise UsageError(f"keep_versions: {self.keep_versions}; it has to be at least 1")


@dataclass(frozen=True)
class TrainingSummary:
    """What was trained on, what was chosen, and what was measured on validation."""

    version: str
    listens: int
    users: int
    tracks: int
    """in the log"""
    catalogue: int
    """tracks in the library"""
    heard: int
    users_sample: float
    choices: dict[str, Any]
    figures: dict[str, float]
    """on the validation part, by name; empty where the log is too small for one"""
    seconds: float
    steps: tuple[CleaningStep, ...]
    """of the cleaning"""
    ranker: str = ""
    """what it learned to do, or why there is none"""
    candidate_recall: dict[str, float] = field(default_factory=dict)
    """source -> the share of the label period's listens that it nominated; `all`: that are candidates"""
    log: dict[str, Any] = field(default_factory=dict)
    """density of the cleaned log, share of zero cells per column (see `log_figures`)"""
    unchanged: tuple[str, ...] = ()
    """steps that were taken over from the version before"""

    def record(self) -> dict[str, Any]:
        """For the command line."""
        figures = {name: round(value, 4) for name, value in self.figures.items()}
        steps = [asdict(step) for step in self.steps]
        recall = {name: round(value, 4) for name, value in self.candidate_recall.items()}
        rounded = {"figures": figures, "seconds": round(self.seconds, 1), "candidate_recall": recall}
        return {**vars(self), **rounded, "steps": steps}

    @classmethod
    def of(cls, about: dict[str, Any]) -> TrainingSummary:
        """Back from a version's training.json."""
        known = {option.name: about[option.name] for option in fields(cls) if option.name in about}
        return cls(**known | {"steps": tuple(CleaningStep(**step) for step in about["steps"])})


def train(
    library: Library,
    options: TrainingOptions | None = None,
    *,
    engine: LocalEngine | None = None,
    force: bool = False,
    message: Message = silent,
    progress: Progress = silent,
) -> TrainingSummary:
    """Trains a version and makes it the library's current one; a failure leaves the old one in place.

    Where nothing has changed since the current version, nothing is done, and a training that was killed is gone on
    with. `engine` None is this machine; `force` runs all steps again; `message` gets what was left out, and why, and
    how much memory a step needs.
    """
    started = time.monotonic()
    job = _Training(library, options or TrainingOptions(), engine or LocalEngine(), force, message, progress)
    if all(job.unchanged.values()):
        summary = job.summary_of_current()
        for name in job.keys:
            job.steps.log(name, "unchanged", 0.0, 0)
        return _timed(summary, started, tuple(job.keys))
    with job.steps.in_folder(library, "hybrid", job.keys["hybrid"]) as version:
        try:
            summary = _timed(job.run(version), started, tuple(job.steps.unchanged))
            about = job.about | {**summary.record(), "version": version.name}
            write_json(version / "training.json", about)
            complete_version(version, {"listens": summary.listens, "users": summary.users, "tracks": summary.tracks})
        except Exception:
            # One that is interrupted or killed leaves its folder to the next.
            shutil.rmtree(version, ignore_errors=True)
            raise
        with library.rewriting():
            forget_the_missing(library, version)
            library.publish_version(version, keep=job.options.keep_versions)
    return summary


class _Training:
    """One run: the keys of its steps, and what they hand to each other, each made when it is first needed."""

    def __init__(
        self,
        library: Library,
        options: TrainingOptions,
        engine: LocalEngine,
        force: bool,
        message: Message,
        progress: Progress,
    ) -> None:
        self.library, self.options, self.engine = library, options, engine
        self.message, self.progress = message, progress
        # Before the tracks are read: what changes meanwhile is looked at again when the version is loaded.
        mark = library.change_counter()
        try:
            current = library.current_version()
        except LibraryError:
            current = None
        read_listens(library)
        self.steps = ResumableSteps(library.folder, current, force)
        cleaning, ranking = asdict(options.cleaning), asdict(options.ranking)
        # How many cores there are makes no difference to the answer.
        ranking["ranker"].pop("threads")
        als = {name: value for name, value in asdict(options.als).items() if name != "threads"}
        log = hash_of_values([(file.name, content_hash(file)) for file in parts_of(library)])
        base = (FORMAT, log, key_of_catalogue(self.catalogue), self.sound, library.about("encoder"), options.seed)
        # Every engine comes to an ALS of its own; versions of before there were several are the local one's.
        solved_by = () if engine.name == LocalEngine.name else (engine.name,)
        hybrid = hash_of_values(STEP_VERSIONS["hybrid"], base, cleaning, als, *solved_by)
        ranker = hash_of_values(STEP_VERSIONS["ranking"], hybrid, ranking, self.catalogue.albums)
        names = self.tracks["title"].to_list()
        tables = hash_of_values(
            STEP_VERSIONS["artefacts"], ranker, asdict(options.artefacts), asdict(options.reranking), names
        )
        self.keys = {"hybrid": hybrid, "ranking": ranker, "artefacts": tables}
        self.unchanged = {name: self.steps.is_unchanged(name, key) for name, key in self.keys.items()}
        self.about: dict[str, Any] = {
            "format_version": FORMAT,
            "sound": self.sound,
            "encoder": library.about("encoder") if self.sound == "encoder" else None,
            "genres": list(self.catalogue.genre_names),
            "seed": options.seed,
            "engine": engine.name,
            "cleaning": cleaning,
            "reranking": asdict(options.reranking),
            "events": events_mark(library),
            "changes": asdict(mark),
        }

    @cached_property
    def catalogue(self) -> Catalogue:
        return self.library.catalogue(self.options.sound)

    @cached_property
    def tracks(self) -> pl.DataFrame:
        return self.library.tracks()

    @cached_property
    def sound(self) -> str | None:
        return self.library.vector_name(self.options.sound)

    def summary_of_current(self) -> TrainingSummary:
        version = self.library.current_version()
        try:
            return TrainingSummary.of(json.loads((version / "training.json").read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LibraryError(f"{version / 'training.json'}: damaged ({error}); train again with --force") from None

    def run(self, version: Path) -> TrainingSummary:
        if note := mixed_clocks(self.library):
            self.message(note)
        trained = self._hybrid(version)
        ranker, recommender = self._ranking(version, trained)
        self._artefacts(version, trained, recommender)
        hybrid = trained.hybrid
        return TrainingSummary(
            version.name,
            len(self.listens),
            len(trained.user_ids),
            int((self.listens.listeners > 0).sum()),
            len(self.catalogue),
            int(self.catalogue.has_sound.sum()),
            self.options.cleaning.users_sample,
            hybrid.options.record(),
            hybrid.figures,
            0.0,
            tuple(self.cleaning_steps),
            ranker,
            recommender.recall if recommender else {},
            self.log,
        )

    @cached_property
    def listens(self) -> Interactions:
        """The cleaned log over the catalogue's tracks; sets `cleaning_steps`, `log` and `user_ids`, too."""
        known = pl.Series(list(self.catalogue.track_ids), dtype=pl.String)
        log = self.engine.cleaned_log(self.library, known, self.options.cleaning)
        if not log.played_ids.is_in(known.implode()).any():
            count = len(log.played_ids)
            raise DataError(f"{self.library.folder}: none of the {count:,} tracks in the log is in the library")
        self.user_ids, self.cleaning_steps, self.log = log.user_ids, log.steps, asdict(log.figures)
        return log.listens

    def _hybrid(self, version: Path) -> ModelVersion:
        name, current = "hybrid", self.steps.current
        if self.unchanged[name] and current is not None:
            trained = ModelVersion.load(self.library, current)
            self.steps.take_over(name, version)
            return trained
        if self.steps.is_finished(name, self.keys[name]):
            return ModelVersion.load(self.library, version)
        with self.steps.running(name, self.keys[name], version) as count:
            catalogue, listens = self.catalogue, self._checked(name)
            hybrid = Hybrid(catalogue, als=self.options.als, als_solver=self.engine.solver, seed=self.options.seed)
            hybrid.fit(listens)
            index = HybridIndex.of(np.where(hybrid.known[:, None], hybrid.taste, 0), catalogue.sound)
            trained = ModelVersion(hybrid, index, catalogue.track_ids, self.user_ids.to_list(), self.about)
            trained.save(version)
            count(len(listens))
        return trained

    def _ranking(self, version: Path, trained: ModelVersion) -> tuple[str, TwoStageRecommender | None]:
        name, current = "ranking", self.steps.current
        if self.unchanged[name] and current is not None:
            self.steps.take_over(name, version)
            return self.summary_of_current().ranker, trained.two_stage
        if self.steps.is_finished(name, self.keys[name]):
            two_stage = trained.two_stage
            return two_stage.options.ranker.objective if two_stage else "none (see the log)", two_stage
        with self.steps.running(name, self.keys[name], version) as count:
            listens = self._checked(name)
            try:
                options = self.options
                recommender = TwoStageRecommender(
                    self.catalogue, hybrid=trained.hybrid, options=options.ranking, seed=options.seed
                ).fit(listens)
            except DataError as error:
                self.message(f"no ranker, so recommendations come from the hybrid ({error})")
                return str(error), None
            for source, why in recommender.generator.similarities.failed.items():
                self.message(f"{source}: left out of the candidates; {why}")
            recommender.save(version, with_hybrid=False)
            _write_importance(recommender, version)
            count(len(listens))
        return recommender.options.ranker.objective, recommender

    def _artefacts(self, version: Path, trained: ModelVersion, recommender: TwoStageRecommender | None) -> None:
        name = "artefacts"
        if self.unchanged[name]:
            self.steps.take_over(name, version)
            return
        with self.steps.running(name, self.keys[name], version) as count:
            trained = trained.with_ranking(recommender, self.options.reranking)
            listens, options = self._checked(name), self.options.artefacts
            if not (version / "training.json").exists():
                # Who makes lists elsewhere loads the version from its folder; all that was measured is written later.
                write_json(version / "training.json", trained.metadata)
            rows = write_artefacts(
                version,
                self.library,
                trained,
                listens,
                options,
                self.progress,
                spread=self.engine.spread(self.library, version),
                rows_per_part=self.engine.rows_per_part,
                key=self.keys[name][:12],
            )
            count(rows)

    def _checked(self, step: str) -> Interactions:
        """The listens, where there is memory enough for a step on them."""
        listens = self.listens
        size = LogSize(len(listens), listens.user_count, len(self.catalogue), self.options.als.factors)
        self.progress(list(self.keys).index(step), len(self.keys), f"step {step}")
        check_memory(step, size, self.message)
        return listens


def _timed(summary: TrainingSummary, started: float, unchanged: tuple[str, ...]) -> TrainingSummary:
    return replace(summary, seconds=time.monotonic() - started, unchanged=unchanged)


def _write_importance(recommender: TwoStageRecommender, version: Path) -> None:
    """What the ranker looks at: `artefacts/feature_importance.parquet` and a picture of it."""
    folder, importance = version / ARTEFACTS, recommender.ranker.importance
    folder.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame({"feature": list(importance), "importance": list(importance.values())})
    table.write_parquet(folder / "feature_importance.parquet")
    draw(importance_chart(importance), folder / "feature_importance.png")
