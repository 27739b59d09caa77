"""The report: its numbers are those of direct queries, its page is sound, and what is missing is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import need
from polars.testing import assert_frame_equal

from crossfade.errors import DataError, LibraryError
from crossfade.models.analysis.projection import flat_map
from crossfade.pipelines.charts.chart import Chart, Kind, draw, vega_lite
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.statistics import Period
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.report.context import ReportOptions
from crossfade.pipelines.report.page import Report, write_report
from crossfade.pipelines.report.sections import models as model_figures
from crossfade.pipelines.report.sections.data_quality import near_duplicates
from crossfade.pipelines.report.sections.evaluation import learning_curves, winners
from crossfade.pipelines.report.sections.genre_trends import typical_of_groups
from crossfade.pipelines.simulation.world import World, WorldOptions


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldOptions(users=60, tracks=100, artists=20, listens_per_user=25, days=100, seed=4))


def fill(folder: Path, events: pl.DataFrame | None, tracks: pl.DataFrame | None = None) -> Library:
    library = Library.open(folder / "library", create=True)
    if tracks is not None:
        library.add_tracks(tracks)
    if events is not None:
        library.listens_folder.mkdir()
        from crossfade.pipelines.interactions.schema import conform

        conform(events.lazy()).collect().write_parquet(library.listens_folder / "log.parquet")
    return library


@pytest.fixture(scope="module")
def made(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, Path, Report]:
    """A library without audio, but with sound vectors, and its report."""
    folder = tmp_path_factory.mktemp("report")
    library = fill(folder, world.event_table(), world.track_table())
    library.add_vectors("sound", list(world.tracks.track_ids), world.tracks.sound)
    out = folder / "out"
    return library, out, write_report(library, out, ReportOptions(top=3))


class _Page(HTMLParser):
    """Collects the figures, and whatever would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[dict[str, object]] = []
        self.fetched: list[str] = []
        self._json = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self._json = tag == "script" and facts.get("type") == "application/json"
        for name in ("src", "href"):
            link = facts.get(name) or ""
            if link and not link.startswith(("#", "data:")):
                self.fetched.append(link)

    def handle_endtag(self, tag: str) -> None:
        self._json = False

    def handle_data(self, data: str) -> None:
        if self._json:
            self.figures.append(json.loads(data))


def test_page_is_whole_small_and_offline(made: tuple[Library, Path, Report]) -> None:
    _, out, written = made
    html = (out / "report.html").read_text()
    assert len(html) < 10_000_000
    assert html.count("return vegaEmbed(element") == 1
    page = _Page()
    page.feed(html)
    assert page.fetched == []
    assert len(page.figures) == written.pictures == len(list((out / "pictures").glob("*.png")))
    assert written.tables + written.pictures == len(list((out / "numbers").glob("*.parquet")))


def test_numbers_are_those_of_direct_queries(made: tuple[Library, Path, Report], world: World) -> None:
    _, out, _ = made
    events, tracks = world.event_table(), world.track_table()
    numbers = {file.stem: pl.read_parquet(file) for file in (out / "numbers").iterdir()}

    top = events.group_by("track_id").agg(plays=pl.len(), users=pl.col("user_id").n_unique())
    assert_frame_equal(
        numbers["top_tracks"].select("track_id", "plays", "users").sort("track_id"),
        top.sort("track_id"),
        check_dtypes=False,
    )
    activity = events.group_by("user_id").agg(plays=pl.len(), tracks=pl.col("track_id").n_unique())
    assert_frame_equal(
        numbers["user_activity"].select("user_id", "plays", "tracks").sort("user_id"),
        activity.sort("user_id"),
        check_dtypes=False,
    )
    labelled = events.join(tracks.explode("genres", empty_as_null=True), on="track_id").rename({"genres": "genre"})
    genres = labelled.group_by("genre").agg(
        plays=pl.len(), share=pl.len() / len(events), listeners=pl.col("user_id").n_unique()
    )
    assert_frame_equal(
        numbers["genre_table"].select("genre", "plays", "share", "listeners").sort("genre"),
        genres.sort("genre"),
        check_dtypes=False,
    )
    leaders = (
        labelled.group_by("genre", "track_id")
        .len("plays")
        .group_by("genre")
        .agg(pl.col("plays").top_k(3).sum())
        .sort("genre")
    )
    ours = numbers["genre_leaders"].group_by("genre").agg(pl.col("plays").sum()).sort("genre")
    assert_frame_equal(ours, leaders, check_dtypes=False)
    artists = events.join(tracks.explode("artists", empty_as_null=True), on="track_id").group_by("artists").len("plays")
    assert_frame_equal(
        numbers["top_artists"].select("artist", "plays").sort("artist"),
        artists.rename({"artists": "artist"}).sort("artist"),
        check_dtypes=False,
    )
    mix = numbers["genre_mix"]
    assert mix["plays"].sum() == len(events)
    assert np.allclose(mix.group_by("at").agg(pl.col("share").sum())["share"], 1)
    silent = set(world.tracks.track_ids) - set(events["track_id"])
    assert set(numbers["not_played"]["track_id"] if silent else ()) == silent
    days = events.group_by(at=pl.from_epoch("time", time_unit="s").dt.date()).len("plays").sort("at")
    assert_frame_equal(numbers["listens_per_day"], days, check_dtypes=False)


def test_a_period_and_its_change(made: tuple[Library, Path, Report], world: World, tmp_path: Path) -> None:
    library, _, _ = made
    first, last = "2024-02-01", "2024-02-20"
    write_report(library, tmp_path, ReportOptions(period=Period.of_days(first, last)))
    day = pl.from_epoch("time", time_unit="s").dt.date().cast(pl.String)
    events = world.event_table().join(world.track_table().explode("genres", empty_as_null=True), on="track_id")
    inside = events.filter(day.is_between(pl.lit(first), pl.lit(last)))
    before = events.filter(day.is_between(pl.lit("2024-01-12"), pl.lit("2024-01-31")))
    found = pl.read_parquet(tmp_path / "numbers" / "genre_table.parquet")
    assert found["plays"].sum() == len(inside)
    genre = found.row(0, named=True)
    change = (inside["genres"] == genre["genre"]).mean() - (before["genres"] == genre["genre"]).mean()  # type: ignore[operator]
    assert genre["change"] == pytest.approx(change)
    assert f"{first} to {last}" in (tmp_path / "report.html").read_text()


def test_titles_cannot_break_the_page(tmp_path: Path) -> None:
    tracks = pl.DataFrame(
        {"track_id": ["x", "y"], "title": ["</script><b>$\\frac$", "日本 & <i>"], "genres": [["<u>"], ["a"]]}
    )
    events = pl.DataFrame({"user_id": ["a", "b"], "track_id": ["x", "y"], "time": [1_700_000_000, 1_700_090_000]})
    with fill(tmp_path, events, tracks) as library:
        write_report(library, tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<b>$" not in html
    assert "<u>" not in html
    page = _Page()
    page.feed(html)
    assert page.figures


ONE = pl.DataFrame({"user_id": ["a"] * 3, "track_id": ["x", "y", "x"], "time": [1_700_000_000, 1_600_000_000, 0]})
NAMED = pl.DataFrame({"track_id": ["x", "y"], "title": ["X", "Y"], "artists": [["A"], ["B"]], "genres": [["g"], ["g"]]})


@pytest.mark.parametrize(
    ("events", "tracks", "missing"),
    [
        (None, None, {"Listening", "Genres", "Sound"}),
        (None, NAMED, {"Listening", "Genres in time", "Sound"}),
        (ONE, NAMED, {"Comparisons", "Sound", "Labels against sound"}),
        (ONE, None, {"Genres", "Sound"}),
        (ONE.drop("time"), NAMED, {"Listening over time", "Genres over time"}),
        (ONE.with_columns(liked=pl.lit(-1)), NAMED, {"Sound"}),
    ],
    ids=["empty library", "no listens", "one user, one genre, out of order", "ids only", "no times", "only dislikes"],
)
def test_the_report_lists_what_is_missing(
    events: pl.DataFrame | None, tracks: pl.DataFrame | None, missing: set[str], tmp_path: Path
) -> None:
    with fill(tmp_path, events, tracks) as library:
        written = write_report(library, tmp_path / "out")
    assert missing <= set(written.gaps)
    html = written.page.read_text()
    assert all(gap in html for gap in missing)


def test_a_period_without_data(tmp_path: Path) -> None:
    with fill(tmp_path, ONE, NAMED) as library:
        written = write_report(library, tmp_path / "out", ReportOptions(period=Period.of_days("2001-01-01", None)))
        assert "This period" not in written.gaps
        written = write_report(library, tmp_path / "out", ReportOptions(period=Period.of_days(None, "1969-12-31")))
    assert "This period" in written.gaps
    # What the report before this one wrote does not stay to be taken for this one's.
    pictures = {file.stem for file in (tmp_path / "out" / "pictures").iterdir()}
    assert "listens_per_day" in pictures and "popularity" not in pictures
    assert "the log runs from 1970-01-01 to 2023-11-14" in written.page.read_text()


def test_doubtful_times_and_listeners_are_counted(tmp_path: Path) -> None:
    busy = pl.DataFrame({"user_id": "bot", "track_id": "x", "time": 1_700_000_000 + np.arange(1_200)})
    doubtful = ONE.with_columns(time=pl.Series([1_700_000_000, 0, 32_000_000_000]))
    with fill(tmp_path, pl.concat([doubtful, busy], how="vertical_relaxed"), NAMED) as library:
        written = write_report(library, tmp_path / "out")
    numbers = written.page.parent / "numbers"
    found = dict(pl.read_parquet(numbers / "data_quality.parquet").select("finding", "count").iter_rows())
    assert (found["events dated in the future"], found["events dated 1970-01-01"]) == (1, 1)
    assert found["listeners with over 1,000 listens on a day"] == 1
    assert pl.read_parquet(numbers / "suspicious_listeners.parquet")["user_id"].to_list() == ["bot"]


def test_a_genre_model_of_ones_own_is_shown(tmp_path: Path) -> None:
    measured = {"accuracy": 0.5, "low": 0.25, "high": 0.75, "macro_f1": 0.5, "ece": 0.125, "tracks": 9}
    card = {"name": "probe", "figures": {"artist": {**measured, "per_class": {"jazz": {"f1": 0.25}}}}}
    (tmp_path / "learning.png").write_bytes(b"\x89PNG")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_figures, "read_card", lambda folder: card)
        table, classes, pictures = model_figures.genre_model_figures(tmp_path)
    assert table.frame.rows(named=True) == [{"split": "artist", **measured}]
    assert classes.frame.rows() == [("artist", "jazz", 0.25)]
    assert pictures.images == [("Learning curves", b"\x89PNG")]
    with pytest.raises(LibraryError, match="not a genre model"):
        list(model_figures.genre_model_figures(tmp_path))


def test_winners_and_learning_curves_of_an_evaluation() -> None:
    rows = pl.DataFrame(
        [
            ("a", "warm", "ndcg", 10, 0.3, None, None),
            ("b", "warm", "ndcg", 10, 0.4, None, None),
            ("c", "warm", "ndcg", 10, 0.1, None, None),
            ("a", "cold track", "ndcg", 10, 0.0, None, None),
            ("b", "warm", "ndcg_gain", 10, 0.1, "a", False),
            ("b", "warm", "ndcg_gain", 10, 0.3, "c", True),
            ("a", "warm", "ndcg_gain", 10, 0.2, "c", True),
        ],
        schema=["model", "slice", "metric", "k", "value", "against", "better"],
        orient="row",
    ).with_columns(low="value", high="value", worse=pl.lit(False), epoch=pl.lit(None, pl.Int64), group=None)
    (best,) = winners(rows).iter_rows(named=True)
    assert (best["model"], best["value"], best["rivals"]) == ("b", 0.4, ["a"])
    points = [("vae", "validation_loss", n, -value) for n, value in ((1, 0.1), (2, 0.4), (3, 0.2))]
    curve = pl.DataFrame(points, schema=["model", "metric", "epoch", "value"], orient="row")
    (chart,) = learning_curves(curve.with_columns(slice=pl.lit("learning")))
    assert isinstance(chart, Chart)
    assert chart.frame["relative"].to_list() == [0.25, 1.0, 0.5]


def test_a_broken_evaluation_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"model": 1}\n')
    with fill(tmp_path, ONE, NAMED) as library, pytest.raises(DataError, match=r"bad\.jsonl"):
        write_report(library, tmp_path / "out", ReportOptions(evaluation=tmp_path / "bad.jsonl"))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, ONE, NAMED).close()
    arguments = ["report", "--library", str(tmp_path / "library"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--from", "2020-01-01"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "out" / "report.html")
    assert main([*arguments, "--from", "soon"]) == 2
    assert re.match(r"crossfade: --from soon: .*\n$", capsys.readouterr().err)


def test_a_chart_is_drawn_from_its_numbers(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2, 1, 2], "y": [1.0, None, 3.0, 4.0], "s": ["a", "a", "b", "b"]})
    chart = Chart(name="c", title="$", frame=frame, kind="line", x="x", y="y", series="s")
    specification = vega_lite(chart)
    drawn = [(row["s"], row["x"], row["y"]) for row in specification["data"]["values"]]
    assert drawn == [("a", 1, 1.0), ("a", 2, None), ("b", 1, 3.0), ("b", 2, 4.0)]
    json.dumps(specification, allow_nan=False)
    draw(chart, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["line", "area", "bar", "across", "points", "heat"])
def test_every_kind_of_chart_is_drawn_with_what_it_may_have(kind: Kind, tmp_path: Path) -> None:
    days = [date(2024, 1, 1), date(2024, 1, 2)] * 2
    frame = pl.DataFrame({"at": days, "y": [1.0, 2.0, None, 4.0], "low": 0.5, "high": 5.0, "s": ["a", "a", "b", "b"]})
    x, y = ("y", "s") if kind == "across" else ("at", "s") if kind == "heat" else ("at", "y")
    plain = Chart(name="c", title="日本", frame=frame, kind=kind, x=x, y=y, value="y" if kind == "heat" else None)
    whole = replace(plain, interval=("low", "high"), series=None if kind == "heat" else "s", percent=True, wide=True)
    for chart in (plain, whole, replace(plain, shade=tuple(days[:2])) if x == "at" else plain):
        draw(chart, tmp_path / "c.png")
        assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("step", [0.05, 5.0])
def test_bars_of_numbers_fill_the_distance_between_them(step: float) -> None:
    frame = pl.DataFrame({"x": [0.0, step, 3 * step], "y": [1, 2, 3]})
    bars = vega_lite(Chart(name="c", title="c", frame=frame, kind="bar", x="x", y="y"))["data"]["values"]
    assert all(0.9 * step < bar["right"] - bar["left"] < step for bar in bars)


def test_numbers_stand_in_the_cells_of_a_heat_map_that_are_not_0(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": ["a", "b"], "y": ["a", "a"], "share": [0.8, 0.0]})
    chart = Chart(name="c", title="c", frame=frame, kind="heat", x="x", y="y", value="share", values_shown=True)
    (text,) = (layer for layer in vega_lite(chart)["layer"] if layer["mark"]["type"] == "text")
    assert text["transform"] == [{"filter": "datum['share'] > 0"}]
    assert text["encoding"]["color"]["condition"]["test"] == "datum['share'] > 0.4"
    draw(chart, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_groups_are_named_by_what_they_have_more_of() -> None:
    counts = pl.DataFrame({"group": [0, 0, 1, 1], "genre": ["a", "b", "a", "b"], "count": [8.0, 2.0, 2.0, 8.0]})
    assert typical_of_groups(counts, "genre") == {0: "a", 1: "b"}
    assert set(typical_of_groups(counts.with_columns(count=pl.lit(1.0)), "genre").values()) == {"a bit of all"}


def test_map_keeps_neighbours(rng: np.random.Generator) -> None:
    centres = rng.normal(size=(3, 16)) * 10
    groups = np.repeat(np.arange(3), 20)
    places, _ = flat_map((centres[groups] + rng.normal(size=(60, 16))).astype(np.float32), method="tsne")
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(60)
    assert (groups[gaps.argmin(axis=1)] == groups).mean() == 1
    assert flat_map(np.ones((2, 3), np.float32), method="tsne")[0].shape == (2, 2)


def test_near_duplicates(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(30, 16)).astype(np.float32)
    vectors[7] = vectors[3]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (pair,) = near_duplicates(vectors)
    assert pair[:2] == (3, 7)


@pytest.mark.slow
def test_chromium_shows_it_without_a_complaint(made: tuple[Library, Path, Report], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need("chromium", chromium is not None, "scripts/dev/ci-setup installs it")
    _, out, written = made
    done = subprocess.run(
        [
            *(str(chromium), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path}", "--virtual-time-budget=60000", "--dump-dom"),
            (out / "report.html").resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    assert done.stdout.count('data-drawn="yes"') == written.pictures
    assert done.stdout.count("<svg") >= written.pictures
