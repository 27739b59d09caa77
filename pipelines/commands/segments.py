"""The commands that look for kinds of listeners and strange events: `segments` and `autoencoder`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import UsageError
from .console import Console
from .main import AddCommand, positive


def add_commands(add_command: AddCommand) -> None:
    segments = add_command("segments", "cluster listeners or tracks by taste, and say what sets each cluster apart")
    segments.add_argument("--library", required=True, type=Path, metavar="L")
    segments.add_argument("--of", default="listeners", choices=("listeners", "tracks"), help="whom (%(default)s)")
    segments.add_argument("--count", type=int, metavar="N", help="how many; by silhouette and stability if absent")
    segments.add_argument("--method", default="k-means", choices=("k-means", "mixture"), help="(%(default)s)")
    segments.add_argument(
        "--bottleneck", type=Path, metavar="MODEL", help="by this autoencoder's bottleneck instead of taste vectors"
    )
    segments.add_argument(
        "--newcomer",
        metavar="SEGMENT",
        help="print what somebody without listens is recommended who fits this segment, or any, instead",
    )
    segments.add_argument("-k", type=positive, default=20, metavar="K", help="how many tracks for a newcomer (20)")
    segments.add_argument("--sound", metavar="NAME", help="imported vectors to use as sound, where there are several")
    segments.add_argument("--seed", type=int, default=0, metavar="N")
    segments.add_argument("--out", type=Path, metavar="DIR", help="where tables, pictures and the model go")
    segments.set_defaults(run=_segments)

    autoencoder = add_command("autoencoder", "learn what events look like, and find the strange ones")
    autoencoder.add_argument("--library", required=True, type=Path, metavar="L")
    autoencoder.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for model and finds")
    autoencoder.add_argument("--ids", choices=("numbers", "embedded"), help="how users and tracks enter (numbers)")
    autoencoder.add_argument(
        "--noise", type=float, metavar="SHARE", help="share of the values hidden while learning (0)"
    )
    autoencoder.add_argument(
        "--continue-from", type=Path, metavar="MODEL", help="learn on from a trained one, with its options"
    )
    autoencoder.add_argument("--epochs", type=positive, metavar="N", help="at most (20)")
    autoencoder.add_argument("--seed", type=int, metavar="N")
    autoencoder.set_defaults(run=_autoencoder)


def _segments(arguments: argparse.Namespace, console: Console) -> None:
    from tempfile import TemporaryDirectory

    from ...errors import MissingExtra
    from ...models.analysis.segments import SegmentOptions, Segments
    from ..analysis.segments import segment_listeners, segment_tracks
    from ..library.store import Library

    if arguments.bottleneck is not None and arguments.of == "tracks":
        raise UsageError("--bottleneck: tells listeners apart, not tracks")
    newcomer = _newcomer(arguments.newcomer)
    segments = Segments(SegmentOptions(method=arguments.method, count=arguments.count, seed=arguments.seed))
    with Library.open(arguments.library) as library:
        if arguments.of == "tracks":
            found = segment_tracks(library, segments, sound=arguments.sound)
        else:
            vectors = None
            if arguments.bottleneck is not None:
                try:
                    from ..analysis.event_autoencoder import user_bottlenecks
                except ModuleNotFoundError:
                    raise MissingExtra("--bottleneck", "train") from None
                with TemporaryDirectory() as scratch:
                    vectors = user_bottlenecks(library, arguments.bottleneck, Path(scratch))
            found = segment_listeners(library, segments, sound=arguments.sound, vectors=vectors)
    for choice in found.segments.choices:
        chosen = "  <- taken" if choice.chosen else ""
        console.message(
            f"{choice.count} segments: silhouette {choice.silhouette:.3f}, stability {choice.stability:.3f}{chosen}"
        )
    if arguments.newcomer is None:
        for portrait in found.portraits:
            console.record(**portrait.record())
    else:
        for segment, track_id in found.for_newcomer(newcomer, arguments.k):
            console.record(segment=segment, track_id=track_id)
    if arguments.out is not None:
        for path in found.write(arguments.out):
            console.message(f"wrote {path}")


def _newcomer(text: str | None) -> int | None:
    """The segment, None for any."""
    if text is None or text == "any":
        return None
    if not text.isdecimal():
        raise UsageError(f"--newcomer {text}: has to be the number of a segment, or any")
    return int(text)


def _autoencoder(arguments: argparse.Namespace, console: Console) -> None:
    from dataclasses import asdict

    from ...errors import MissingExtra
    from ..library.store import Library

    try:
        from ..analysis.event_autoencoder import learn
    except ModuleNotFoundError:
        raise MissingExtra("autoencoder", "train") from None

    given = {name: getattr(arguments, name) for name in ("ids", "noise", "epochs", "seed")}
    with Library.open(arguments.library) as library:
        summary = learn(
            library,
            arguments.out,
            {name: value for name, value in given.items() if value is not None},
            continue_from=arguments.continue_from,
            watch=lambda point: console.record(**point.record()),
        )
    console.close()
    console.record(**asdict(summary))
