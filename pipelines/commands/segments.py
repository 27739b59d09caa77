"""The commands that look for kinds of listeners and strange events: `segments` and `autoencoder`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from ...errors import UsageError
from ...option_types import Count
from .options import Length, LibraryFolder, Screen, Seed, SoundName, open_library, option


def segments(
    *,
    library: LibraryFolder,
    of: Annotated[Literal["listeners", "tracks"], option("whom to cluster")] = "listeners",
    count: Annotated[int | None, option("how many; by silhouette and stability if absent")] = None,
    method: Literal["k-means", "mixture"] = "k-means",
    bottleneck: Annotated[Path | None, option("an autoencoder, to cluster by its bottleneck instead of taste")] = None,
    newcomer: Annotated[str | None, option("a segment's number, or any: print tracks for somebody new to it")] = None,
    k: Length = 20,
    sound: SoundName = None,
    seed: Seed = 0,
    out: Annotated[Path | None, option("folder for tables, pictures and the model")] = None,
    console: Screen,
) -> None:
    """Cluster listeners or tracks by taste, and list what sets each cluster apart.

    Example: crossfade segments --library L --of tracks
    """
    from tempfile import TemporaryDirectory

    from ...models.analysis.listener_clusters import SegmentOptions, Segments
    from ..analysis.segments import find_segments

    if bottleneck is not None and of == "tracks":
        raise UsageError("--bottleneck: clusters listeners, not tracks")
    if newcomer not in (None, "any") and not newcomer.isdecimal():
        raise UsageError(f"--newcomer {newcomer}: has to be the number of a segment, or any")
    model = Segments(SegmentOptions(method=method, count=count, seed=seed))
    with open_library(library) as opened:
        vectors = None
        if bottleneck is not None:
            from ..analysis.event_autoencoder import user_bottlenecks

            with TemporaryDirectory() as scratch:
                vectors = user_bottlenecks(opened, bottleneck, Path(scratch))
        found = find_segments(opened, of, model, sound=sound, vectors=vectors)
    for choice in found.segments.choices:
        console.message(
            f"{choice.count} segments: silhouette {choice.silhouette:.3f}, stability {choice.stability:.3f}"
            f"{'  <- taken' if choice.chosen else ''}"
        )
    if newcomer is None:
        for profile in found.profiles:
            console.record(**profile.record())
    else:
        for segment, track_id in found.for_newcomer(None if newcomer == "any" else int(newcomer), k):
            console.record(segment=segment, track_id=track_id)
    for path in found.write(out) if out is not None else ():
        console.message(f"wrote {path}")


def autoencoder(
    *,
    library: LibraryFolder,
    out: Annotated[Path, option("folder for model and finds")],
    ids: Annotated[Literal["numbers", "embedded"] | None, option("how users and tracks enter (numbers)")] = None,
    noise: Annotated[float | None, option("share of the values hidden while learning (0)")] = None,
    continue_from: Annotated[Path | None, option("learn on from a trained one, with its options")] = None,
    epochs: Annotated[Count | None, option("at most (20)")] = None,
    seed: int | None = None,
    console: Screen,
) -> None:
    """Learn what events look like, and find the strange ones.

    Example: crossfade autoencoder --library L --out strange
    """
    from ..analysis.event_autoencoder import train_autoencoder

    given = {"ids": ids, "noise": noise, "epochs": epochs, "seed": seed}
    with open_library(library) as opened:
        summary = train_autoencoder(
            opened,
            out,
            {name: value for name, value in given.items() if value is not None},
            continue_from=continue_from,
            watch=lambda point: console.record(**point.record()),
        )
    console.close()
    console.record(**asdict(summary))
