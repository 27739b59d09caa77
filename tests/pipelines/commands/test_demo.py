"""The tour: what a newcomer sees, with and without the extras."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import ROOT

from crossfade.pipelines.commands import demo_tour as demo
from crossfade.pipelines.commands.demo_tour import same_style_shares
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.simulation.composition import STYLES
from crossfade.pipelines.simulation.demo import CatalogueOptions, demo_world, plan, unplayed_tracks

SHORT = ("--seconds", "4", "--artists", "1")


def _records(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_without_the_train_extra_the_tour_ends_with_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    library = tmp_path / "library"
    assert main(["demo", "--library", str(library), *SHORT]) == 0
    out, err = capsys.readouterr()
    assert err.rstrip().splitlines()[-1].endswith("pip install 'crossfade[train]'")
    tracks = plan(CatalogueOptions(artists_per_style=1, shortest_seconds=4, longest_seconds=4))
    records = _records(out)
    assert records[0]["embedded"] == len(tracks)
    assert {record["style"] for record in records if "style" in record} == {*STYLES, "all"}
    with Library.open(library) as opened:
        assert set(opened.track_ids()) == {track.path for track in tracks}

    # A second tour, with a recording, renders and hears nothing again.
    recording = library / "music" / tracks[0].path
    assert main(["demo", "--library", str(library), *SHORT, "--with", str(recording)]) == 0
    assert _records(capsys.readouterr().out)[0]["unchanged"] == len(tracks)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--with", "nothing.mp3"], "does not exist"),
        (["--artists", "0"], "at least one"),
        (["--seed", "-1"], "Must be >= 0"),
    ],
)
def test_wrong_arguments_are_one_line(
    wrong: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--library", str(tmp_path / "library"), *wrong]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_neighbours_of_the_same_style_are_counted() -> None:
    tracks = plan(CatalogueOptions(artists_per_style=3))
    codes = {style: number for number, style in enumerate(STYLES)}
    pure = [track for track in tracks if "/" not in track.style]
    perfect = np.eye(len(STYLES), dtype=np.float32)[[codes[track.style] for track in pure]]
    assert same_style_shares(pure, perfect).mean() == 1
    assert same_style_shares(pure, perfect, other_artists=True).mean() == 1
    noise = np.random.default_rng(0).normal(size=(len(pure), 8)).astype(np.float32)
    assert same_style_shares(pure, noise).mean() < 0.4
    # A bridge belongs to both of its styles.
    halfway = [replace(pure[0], style="folk/jazz"), *(track for track in pure if track.style in ("folk", "jazz"))]
    assert same_style_shares(halfway, np.ones((len(halfway), 2), np.float32))[0] == 1


def test_demo_listeners_play_their_style_and_leave_the_newest_tracks_alone() -> None:
    tracks = plan()
    world = demo_world(tracks)
    events = world.event_table()
    unheard = unplayed_tracks(world)
    assert unheard and not set(unheard) & set(events["track_id"])
    # Taste shows: listeners play their favourite style much more than its share of all plays.
    style_of = {track.path: track.style.partition("/")[0] for track in tracks}
    counts = (
        events.with_columns(style=pl.col("track_id").replace_strict(style_of))
        .group_by("user_id", "style")
        .agg(n=pl.len())
        .with_columns(share=pl.col("n") / pl.col("n").sum().over("user_id"))
    )
    overall = counts.group_by("style").agg(pl.col("n").sum())["n"]
    assert counts.group_by("user_id").agg(pl.col("share").max())["share"].mean() > overall.max() / overall.sum() + 0.1


PLAUSIBLE = {
    "metal": {"metal", "rock", "punk"},
    "electronic": {"electronic", "dance"},
    "ambient": {"ambient"},
    "folk": {"folk", "country"},
    "jazz": {"jazz"},
    "classical": {"classical"},
}


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_the_whole_tour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("implicit")
    library = tmp_path / "library"
    assert main(["demo", "--library", str(library)]) == 0
    out, err = capsys.readouterr()
    records = _records(out)
    styles = {str(record["style"]): record for record in records if "same_style" in record}
    assert 0.75 <= float(str(styles["all"]["same_style"])) <= 0.95
    assert sum(styles[style]["heard_as"][0] in names for style, names in PLAUSIBLE.items()) >= 4  # type: ignore[index]
    recommended = [record for record in records if "because" in record]
    assert {record["user_id"] for record in recommended} >= {"a-stranger"}
    slices = {record["slice"]: record for record in records if "hybrid" in record}
    warm, cold = slices["warm"], slices["cold track"]
    assert warm["hybrid"] > warm["popular"]  # type: ignore[operator]
    assert cold["hybrid"] > cold["als"]  # type: ignore[operator]
    assert "nobody has played it" in err
    (shown,) = re.findall(r'@crossfade-demo/(.+?)"', (ROOT / "README.md").read_text())
    assert (library / shown).is_file(), "what the README asks the service for"
