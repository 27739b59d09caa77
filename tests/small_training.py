"""Options with which a small world is trained in seconds."""

from __future__ import annotations

from crossfade.models.ranking.candidates import CandidateOptions
from crossfade.models.ranking.dataset import TwoStageOptions
from crossfade.models.ranking.ranker import RankerOptions
from crossfade.models.recommenders.als import ALSOptions
from crossfade.pipelines.training.batch_tables import ArtefactOptions
from crossfade.pipelines.training.train import TrainingOptions

OPTIONS = TrainingOptions(
    als=ALSOptions(factors=16, threads=1),
    ranking=TwoStageOptions(
        candidates=CandidateOptions(most=60), ranker=RankerOptions(iterations=10, threads=1, least_positives=20)
    ),
    artefacts=ArtefactOptions(top=10, per_user=8, per_track=4),
)
