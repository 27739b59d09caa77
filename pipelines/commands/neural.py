"""The commands of a single neural recommender: `neural train` and `neural recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from ...errors import UsageError
from ...option_types import Count, Flag
from .options import Length, LibraryFolder, Screen, Seed, SoundName, open_library, option

Model = Literal["mf", "vae", "dae", "sasrec", "two-tower"]
NAMES = get_args(Model)


def neural_train(
    model: Model,
    /,
    *,
    library: LibraryFolder,
    out: Annotated[Path, option("folder for model, embeddings and curve")],
    objective: Annotated[Literal["softmax", "ratings"] | None, option("of mf (softmax)")] = None,
    epochs: Annotated[Count | None, option("at most")] = None,
    refit: Annotated[Flag, option("then learn all listens, for as many epochs as were best")] = False,
    sound: SoundName = None,
    seed: Seed = 0,
    console: Screen,
) -> None:
    """Learn the library's listens.

    Example: crossfade neural train sasrec --library L --out model
    """
    from ..training.neural import train_neural

    with open_library(library) as opened:
        summary = train_neural(
            opened,
            model,
            out,
            objective=objective,
            epochs=epochs,
            refit=refit,
            seed=seed,
            sound=sound,
            watch=lambda point: console.record(**point.record()),
        )
    console.close()
    console.record(**summary)


def neural_recommend(
    folder: Annotated[Path, option("as neural train wrote it")],
    /,
    *,
    heard: Annotated[str, option("ID[=VALUE],… tracks, oldest first; with ratings where mf trained such")],
    k: Length = 10,
    embedding: Annotated[Flag, option("print the user's embedding instead")] = False,
    console: Screen,
) -> None:
    """What a model recommends to a user who was not in the training.

    Example: crossfade neural recommend model --heard TRACK_ID,TRACK_ID
    """
    from ..training.neural import NeuralModel

    tracks = [_track(part) for part in heard.split(",") if part.strip()]
    trained = NeuralModel.load(folder)
    if embedding:
        console.record(embedding=[round(float(value), 6) for value in trained.embedding(tracks)])
        return
    for row, score in zip(*trained.recommend(tracks, k), strict=True):
        if row >= 0:
            console.record(track_id=trained.track_ids[row], score=round(float(score), 4))


def _track(text: str) -> tuple[str, float]:
    name, equals, value = text.strip().rpartition("=")
    if not equals:
        return text.strip(), 1.0
    try:
        return name, float(value)
    except ValueError:
        raise UsageError(f"--heard {text}: {value} is not a number") from None
