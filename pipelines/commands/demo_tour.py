"""The tour behind `crossfade demo`: a small synthetic world goes through the ordinary commands, with a word to each.

Every step but the rendering is a command that a newcomer can type as well; the tour shows it and then runs it.
"""

from __future__ import annotations

import io
import json
import shlex
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import CrossfadeError, MissingExtra
from ...models.arrays import l2_normalize, top_k
from ..library.store import Library
from ..simulation.composition import STYLES
from ..simulation.demo import CatalogueOptions, DemoTrack, demo_world, plan, unplayed_tracks, write_catalogue
from .console import Console
from .main import run

NEIGHBOURS = 5
EVALUATED = ("als", "content", "hybrid")
USERS = 400


def tour(folder: Path, options: CatalogueOptions, recordings: Sequence[Path], console: Console) -> None:
    """All of it, into the library at `folder`; a second tour reuses what is there. `recordings` are real ones."""
    steps = _Tour(folder, options, recordings, console)
    steps.render()
    steps.hear()
    steps.search()
    if find_spec("implicit") is None or find_spec("scipy") is None:
        console.message(f"\nThat was hearing. {MissingExtra('listeners, training and recommendations', 'train')}")
        return
    steps.listen()
    steps.recommend()
    steps.evaluate()


class _Tour:
    def __init__(self, folder: Path, options: CatalogueOptions, recordings: Sequence[Path], console: Console) -> None:
        self._folder, self._music = folder, folder / "music"
        self._library = ("--library", str(folder))
        self._seed, self._recordings, self._console = options.seed, recordings, console
        self._tracks = plan(options)

    def render(self) -> None:
        tracks = self._tracks
        artists = len({track.artist for track in tracks})
        self._say(
            f"1. A record shop that does not exist: {len(tracks)} tracks by {artists} made-up artists, written as "
            "mp3, flac, ogg, m4a and wav, some loud and some quiet.",
            f"Their styles ({', '.join(STYLES)}) are regions in tempo, swing, brightness, distortion and the like; "
            "the regions overlap, and two artists live between styles.",
        )
        started = time.monotonic()
        with Library.open(self._folder, create=True), self._console.bar("render") as progress:
            for done, _ in enumerate(write_catalogue(self._music, tracks), 1):
                progress(done, len(tracks))
        self._console.message(f"   rendered into {self._music} ({time.monotonic() - started:.0f} s)")

    def hear(self) -> None:
        self._say("2. Hear every file once. What was heard is kept, and a second run finds nothing to do.")
        self._run("embed", str(self._music), *self._library)
        self._say(
            "3. What does the model, which was trained on real recordings, call them? One track of each style; "
            "`confident` says when to believe it."
        )
        self._run("classify", *(str(self._music / self._first(style).path) for style in STYLES))
        if self._recordings:
            self._say("And the real recordings that you brought:")
            self._run("classify", *map(str, self._recordings))

    def search(self) -> None:
        folk, bridge = self._first("folk"), next(track for track in self._tracks if "/" in track.style)
        self._say(f"4. What sounds like “{folk.title}” by {folk.artist} ({folk.style})?")
        self._run("similar", folk.path, *self._library, "-k", str(NEIGHBOURS))
        between = bridge.style.replace("/", " and ")
        self._say(f"“{bridge.title}” by {bridge.artist} was made halfway between {between}. One track an artist:")
        self._run("similar", bridge.path, *self._library, "-k", str(NEIGHBOURS), "--per-artist", "1")
        for recording in self._recordings:
            self._say(f"And what is nearest to {recording.name}?")
            self._run("similar", str(recording), *self._library, "-k", str(NEIGHBOURS))
        self._say(
            f"How well does sound alone find the style again? The share of each track's {NEIGHBOURS} nearest "
            "that are of its style, among all tracks and among those of other artists:"
        )
        self._figures()

    def _figures(self) -> None:
        with Library.open(self._folder) as library:
            catalogue = library.catalogue("encoder")
        row_of = {track_id: row for row, track_id in enumerate(catalogue.track_ids)}
        tracks = [track for track in self._tracks if track.path in row_of]
        rows = [row_of[track.path] for track in tracks]
        shares = same_style_shares(tracks, catalogue.sound[rows])
        others = same_style_shares(tracks, catalogue.sound[rows], other_artists=True)
        pure = np.array(["/" not in track.style for track in tracks])
        for style in [*STYLES, None]:
            chosen = pure if style is None else np.array([track.style == style for track in tracks])
            heard = np.log(catalogue.genre_probabilities[rows][chosen] + 1e-6).mean(axis=0)
            self._console.record(
                style=style or "all",
                tracks=int(chosen.sum()),
                heard_as=[catalogue.genre_names[k] for k in top_k(heard, 2)[0]] if style else [],
                same_style=round(float(shares[chosen].mean()), 3),
                same_style_other_artists=round(float(others[chosen].mean()), 3),
            )
        self._console.close()

    def listen(self) -> None:
        self._world = demo_world(self._tracks, users=USERS, seed=self._seed)
        events = self._world.event_table()
        self._say(
            f"5. {self._world.options.users} listeners move in: {events.height:,} listens in "
            f"{self._world.options.days} days. Each has a taste somewhere in the space of styles, plays what is "
            "popular and fits, skips what does not, and now and then likes something."
        )
        log = self._folder / "demo-listens.parquet"
        events.write_parquet(log)
        self._run("listens", str(log), "--format", "csv", *self._library)
        self._say(
            "6. Learn from them: taste vectors from what was played, a prior that predicts taste from sound and "
            "artist, and the crossfade between the two."
        )
        self._run("train", *self._library)

    def recommend(self) -> None:
        user, style = self._listener()
        self._say(f"7. Listener {user} plays mostly {style}. What next, and because of what?")
        self._run("recommend", user, *self._library, "-k", str(NEIGHBOURS))
        self._say("And for somebody who has never been here?")
        self._run("recommend", "a-stranger", *self._library, "-k", str(NEIGHBOURS))

    def evaluate(self) -> None:
        self._say(
            "8. Is it any good? Every model on the last weeks, which it has not seen; and apart from the rest the cold "
            "slices: tracks and listeners without history."
        )
        self._slices()
        cold = unplayed_tracks(self._world)[0]
        track = next(track for track in self._tracks if track.path == cold)
        self._say(
            f"9. “{track.title}” by {track.artist} ({track.style}) came out yesterday and nobody has played it. "
            "Where does it belong, and why?"
        )
        self._run("explain", cold, *self._library)
        self._say("10. All of it on one page, to be opened in a browser.")
        self._run("report", *self._library, "--out", str(self._folder / "report"))
        self._say(f"The library is yours to play with: every command above works on {self._folder}.")
        self._console.message("To see and hear it in a browser, run this and open http://127.0.0.1:8000")
        self._console.message(f"   $ crossfade serve --library {shlex.quote(str(self._folder))}")

    def _slices(self) -> None:
        """The evaluation, which prints a line per figure, as one line per slice."""
        table = self._folder / "evaluation.jsonl"
        quiet = Console(as_json=True, out=io.StringIO(), err=io.StringIO())
        models = ("--models", ",".join(EVALUATED), "-k", "5,10,20")
        self._run("evaluate", *self._library, *models, "--out", str(table), console=quiet)
        slices: dict[str, dict[str, Any]] = {}
        hybrid: dict[str, float] = {}
        for row in map(json.loads, table.read_text().splitlines()):
            if row["model"] == "hybrid":
                hybrid[row["metric"]] = row["value"]
            shown = not row["slice"].startswith("n = ") and "group" not in row
            if row["metric"] == "ndcg" and row["k"] == 10 and shown:
                slices.setdefault(row["slice"], {"listeners": row["users"]})[row["model"]] = row["value"]
        self._say("NDCG@10 of each model by slice (1 is perfect):")
        for name, figures in slices.items():
            values = {model: figures.get(model) for model in ("popular", "item-knn", *EVALUATED)}
            self._console.record(slice=name, listeners=figures["listeners"], **values)
        self._console.close()
        if hybrid.get("cold_share") is not None and hybrid.get("ndcg_cold_to_warm") is not None:
            self._console.message(
                f"   Where all tracks compete, {hybrid['cold_share']:.0%} of the hybrid's lists are tracks that nobody "
                f"had played: {hybrid['cold_share_ratio']:.2f} times their share of what was played next. It ranks "
                f"them {hybrid['ndcg_cold_to_warm']:.2f} times as well among themselves as it ranks warm ones."
            )

    def _listener(self) -> tuple[str, str]:
        """A listener with a clear taste and enough listens, and the style that they play most."""
        styles = {track.path: track.style.partition("/")[0] for track in self._tracks}
        total = pl.col("n").sum().over("user_id")
        plays = (
            self._world.event_table()
            .group_by("user_id", style=pl.col("track_id").replace_strict(styles))
            .agg(n=pl.len())
            .with_columns(share=pl.col("n") / total, total=total)
            .filter(pl.col("total") >= 20)
            .sort("share", "user_id", descending=[True, False])
        )
        return plays["user_id"][0], plays["style"][0]

    def _first(self, style: str) -> DemoTrack:
        return next(track for track in self._tracks if track.style == style)

    def _say(self, *lines: str) -> None:
        self._console.message("\n" + "\n".join(lines))

    def _run(self, *command: str, console: Console | None = None) -> None:
        """Shows a command and runs it as it would run alone."""
        self._console.message(f"   $ crossfade {shlex.join(command)}")
        status = run(command, console or self._console)
        self._console.close()
        if status:
            raise CrossfadeError(f"crossfade {command[0]}: ended with status {status}")


def same_style_shares(
    tracks: Sequence[DemoTrack], sound: NDArray[np.float32], *, other_artists: bool = False
) -> NDArray[np.float64]:
    """[T] the share of each track's five nearest by cosine that are of the same style, or of one of its two."""
    unit = l2_normalize(sound)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    artists = np.array([track.artist for track in tracks])
    if other_artists:
        scores[artists[:, None] == artists] = -np.inf
    styles = [set(track.style.split("/")) for track in tracks]
    same = np.array([[bool(one & other) for other in styles] for one in styles])
    nearest, _ = top_k(scores, NEIGHBOURS)
    found = np.take_along_axis(same, np.maximum(nearest, 0), axis=1) & (nearest >= 0)
    return np.asarray(found.sum(axis=1) / np.maximum((nearest >= 0).sum(axis=1), 1))
