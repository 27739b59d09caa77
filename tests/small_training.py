"""A small world that is trained in seconds, and with which options."""

from __future__ import annotations

from pathlib import Path

from crossfade.models.ranking.candidates import CandidateOptions
from crossfade.models.ranking.dataset import TwoStageOptions
from crossfade.models.ranking.ranker import RankerOptions
from crossfade.models.recommenders.als import ALSOptions
from crossfade.pipelines.interactions.schema import SourceLog, sink, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.simulation.world import World, WorldOptions
from crossfade.pipelines.training.batch_tables import ArtefactOptions
from crossfade.pipelines.training.train import TrainingOptions, train

OPTIONS = TrainingOptions(
    als=ALSOptions(factors=16, threads=1),
    ranking=TwoStageOptions(
        candidates=CandidateOptions(most=60), ranker=RankerOptions(iterations=10, threads=1, least_positives=20)
    ),
    artefacts=ArtefactOptions(top=10, lists="all", per_user=8, per_track=4),
)
WORLD = World(WorldOptions(users=100, tracks=120, artists=25, listens_per_user=40, seed=5))


def trained_library(folder: Path) -> Path:
    """The folder, with a library of the world in it."""
    with Library.open(folder, create=True) as library:
        library.add_tracks(WORLD.track_table())
        library.add_vectors("world", WORLD.tracks.track_ids, WORLD.tracks.sound)
        with writing(library, "world") as (part, _):
            sink(SourceLog(folder, WORLD.event_table().lazy()), part)
        train(library, OPTIONS)
    return folder
