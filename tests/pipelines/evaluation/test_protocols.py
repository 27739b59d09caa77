"""Protocols by hand: who is asked for what, which lists count, and the benchmark of Yambda to its letter."""

from __future__ import annotations

import bz2
import json
from collections.abc import Callable
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest

from crossfade.errors import DataError, UsageError
from crossfade.models.catalogue import Catalogue
from crossfade.models.confidence_weights import ConfidenceOptions, States
from crossfade.models.evaluation.metrics import hits
from crossfade.models.interactions import Clock, Interactions
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.evaluation import yambda_benchmark
from crossfade.pipelines.evaluation.evaluate import evaluate
from crossfade.pipelines.evaluation.options import EvaluationOptions, Protocol
from crossfade.pipelines.evaluation.protocols import PROTOCOLS, EvaluationSlice, plan
from crossfade.pipelines.evaluation.yambda_benchmark import GAP_SECONDS, TEST_START

DAY = 86_400


def log_of(*events: tuple[int, int, float], users: int, tracks: int, clock: Clock = Clock.TIME) -> Interactions:
    """(user, track, time) each."""
    columns = np.array(events, np.int64).T
    rows = [column.astype(np.int32) for column in columns[:2]]
    times = None if clock is Clock.NONE else columns[2]
    return Interactions(*rows, np.ones(len(events), np.float32), users, tracks, times, clock)


def catalogue_of(*artists: str) -> Catalogue:
    names = tuple((name,) if name else () for name in artists)
    return Catalogue(tuple(str(track) for track in range(len(artists))), names, np.zeros((len(artists), 0), np.float32))


def asked(part: EvaluationSlice) -> dict[int, list[int]]:
    """user -> the tracks to find"""
    return {int(user): sorted(part.truth[row].indices.tolist()) for row, user in enumerate(part.user_rows)}


def test_repeats_are_asked_for_beside_what_is_new() -> None:
    """The last of five listens each is the test: user 0 hears track 0 again, user 1 track 2 for the first time."""
    events = [(0, track, time) for time, track in enumerate([0, 1, 0, 1, 0])]
    events += [(1, track, time) for time, track in enumerate([0, 1, 1, 0, 2])]
    events += [(2, track, time) for time, track in enumerate([2, 2, 2, 2, 2])]
    log = log_of(*events, users=3, tracks=3, clock=Clock.ORDER)
    (scenario,) = plan(log, catalogue_of("", "", ""), protocol="repeats")
    both, new = scenario.slices
    assert "67% of its listens are repeats" in scenario.split.name
    assert both.allow_seen and asked(both) == {0: [0], 1: [2], 2: [2]}
    assert not new.allow_seen and asked(new) == {1: [2]}
    rows = list(evaluate(log, catalogue_of("", "", ""), EvaluationOptions(models=(), protocol="repeats", ks=(1, 3))))
    whole = [row for row in rows if row["slice"].startswith("next") and "group" not in row]
    said = {(row["slice"], row["allow_seen"]) for row in whole}
    assert said == {("next, heard before or not", True), ("next, not heard before", False)}
    rows = [row for row in rows if row["model"] == "popular" and row["k"] == 1]
    unseen = {row["slice"]: row["value"] for row in rows if row["metric"] == "unseen_share"}
    assert unseen["next, not heard before"] == 1 > unseen["next, heard before or not"]


def test_cold_users_are_known_by_their_first_listens_in_order() -> None:
    """Of ten listens each the first five, or eight; what comes later is to be found."""
    events = [(user, (user + place) % 12, place) for user in range(40) for place in range(10)]
    log = log_of(*events, users=40, tracks=12, clock=Clock.ORDER)
    (scenario,) = plan(log, catalogue_of(*map(str, range(12))), scenarios=("cold",))
    nothing, five, most = (part for part in scenario.slices if part.name.startswith("cold user"))
    assert (five.name, most.name) == ("cold user, 5 listens", "cold user, four fifths of the listens")
    assert nothing.newest is None and not nothing.history.nnz and not nothing.fold_in
    for part in (five, most):
        assert part.fold_in and len(part.newest) == len(part.history.indptr) - 1 == part.truth.shape[0]
        for row, newest in enumerate(part.newest):
            mine = newest[newest >= 0]
            assert sorted(mine) == sorted(part.history[row].indices)
            assert (np.diff(mine) % 12 == 11).all()
            later = part.truth[row].indices
            assert len(mine) and not np.isin(later, mine).any()
    assert np.diff(most.history.indptr).mean() > np.diff(five.history.indptr).mean()


def releases() -> tuple[Interactions, Catalogue]:
    """Six users and five tracks of artist a (track 4: of b), then, in the last 28 days, the new tracks 5 to 8.

    Track 5 is by a, 6 by b, 7 by the unknown c, 8 by nobody; user 4 has not heard b. User 5 comes only at the end.
    """
    events = [(user, track, track) for user in (0, 1, 2, 3, 6) for track in (0, 1, 2, 3, 4, 9)]
    events += [(4, track, track) for track in (0, 1, 2, 3, 9)]
    later = [
        (0, 5, 40),
        (4, 5, 41),
        (4, 6, 42),
        (4, 8, 42),
        (1, 7, 43),
        (5, 5, 43),
        (0, 0, 44),
        (0, 10, 12),
        (0, 10, 44),
    ]
    log = log_of(*((user, track, DAY * day) for user, track, day in events + later), users=7, tracks=11)
    return log, catalogue_of("a", "a", "a", "a", "b", "a", "b", "c", "", "a", "a")


def test_new_releases_apart_by_artist_and_discovery() -> None:
    log, catalogue = releases()
    (scenario,) = plan(log, catalogue, protocol="new-releases")
    found = {part.name: asked(part) for part in scenario.slices}
    assert found == {
        "new release": {0: [5], 1: [7], 4: [5, 6, 8]},
        "new release, discovery": {1: [7], 4: [6]},
        "new release, known artist": {0: [5], 4: [5, 6]},
        "new release, known artist, discovery": {4: [6]},
        "new release, new artist": {1: [7]},
    }
    candidates = {part.name: np.flatnonzero(part.candidates).tolist() for part in scenario.slices}
    assert candidates["new release"] == candidates["new release, discovery"] == [5, 6, 7, 8]
    assert candidates["new release, known artist, discovery"] == [5, 6] and candidates["new release, new artist"] == [7]
    # Track 10 was heard once before: it is outside the 5-core, and it is not new.
    assert 10 in log.track_rows and 10 not in scenario.split.train.track_rows


def in_yambdas_schema(folder: Path, log: Interactions, catalogue: Catalogue) -> None:
    columns = {"uid": log.user_rows, "item_id": log.track_rows, "timestamp": log.times}
    table = pl.DataFrame(columns).cast(pl.UInt32).with_columns(played_ratio_pct=pl.lit(100, pl.UInt16))
    table.write_parquet(folder / "listens.parquet")
    names = {name: row for row, name in enumerate(catalogue.artist_names)}
    pairs = [(names[name], track) for track, some in enumerate(catalogue.artists) for name in some]
    pl.DataFrame(pairs, ["artist_id", "item_id"], orient="row").write_parquet(folder / "artist_item_mapping.parquet")
    vectors = np.eye(len(catalogue)) + 0.5
    embeddings = pl.DataFrame({"item_id": range(len(catalogue)), "normalized_embed": vectors})
    embeddings.cast({"normalized_embed": pl.List(pl.Float64)}).write_parquet(folder / "embeddings.parquet")


def in_onions_schema(folder: Path, log: Interactions, catalogue: Catalogue) -> None:
    times = pl.from_epoch(pl.Series(log.times)).dt.strftime("%Y-%m-%d %H:%M:%S")
    listens = pl.DataFrame({"user_id": log.user_rows, "track_id": log.track_rows, "timestamp": times})
    text = listens.write_csv(separator="\t")
    (folder / "userid_trackid_timestamp.tsv.bz2").write_bytes(bz2.compress(text.encode()))
    rows = [(track, some[0] if some else None, f"song {track}", None) for track, some in enumerate(catalogue.artists)]
    information = pl.DataFrame(rows, ["id", "artist", "song", "album_name"], orient="row")
    information.write_csv(folder / "id_information.csv", separator="\t")


@pytest.mark.parametrize(("format", "write"), [("yambda", in_yambdas_schema), ("music4all-onion", in_onions_schema)])
def test_new_releases_of_the_sets_that_have_them(
    format: str,
    write: Callable[[Path, Interactions, Catalogue], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, library = tmp_path / "source", str(tmp_path / "library")
    source.mkdir()
    write(source, *releases())
    assert main(["listens", str(source), "--format", format, "--library", library]) == 0
    if format == "music4all-onion":
        features = "".join(f"{track}\t{track % 3}\t{track}\n" for track in range(11))
        (source / "id_musicnn.tsv.bz2").write_bytes(bz2.compress(f"id\tx\ty\n{features}".encode()))
        assert main(["vectors", str(source / "id_musicnn.tsv.bz2"), "--name", "musicnn", "--library", library]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--library", library, "--models", "content", "--protocol", "new-releases", "-k", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counts = {row["slice"]: row["users"] for row in rows if row["model"] == "content" and row["metric"] == "recall"}
    assert counts == {
        "new release": 3,
        "new release, discovery": 2,
        "new release, known artist": 2,
        "new release, known artist, discovery": 1,
        "new release, new artist": 1,
    }
    found = {row["model"]: row["value"] for row in rows if row["metric"] == "recall" and row["slice"] == "new release"}
    assert found["content"] > 0 == found["popular"]


def plays(*events: tuple[int, int, int, float], users: int, tracks: int) -> Interactions:
    """(user, track, time, share played) each; a share of -1 is a like without a play."""
    columns = np.array(events, np.float64).T
    like = columns[3] < 0
    played_ratio = np.where(like, np.nan, columns[3]).astype(np.float32)
    states = States.of(
        len(events), ConfidenceOptions(), played_ratio=played_ratio, liked=np.where(like, np.float32(1), np.nan)
    )
    rows = [column.astype(np.int32) for column in columns[:2]]
    times = columns[2].astype(np.int64)
    return Interactions(*rows, states.confidences(), users, tracks, times, Clock.TIME, states=states)


LAST_TRAINED = TEST_START - GAP_SECONDS - 5
"""times come in steps of 5 seconds"""
YAMBDA = (
    (0, 0, 0, 1.0),
    (0, 1, 100, 0.5),
    (0, 2, 200, 0.49),  # not Listen+
    (0, 2, LAST_TRAINED, 1.2),
    (1, 0, 300, 1.0),
    (1, 3, 400, -1),  # a like is no listen
    (2, 3, TEST_START - GAP_SECONDS, 1.0),  # in the gap, and user 2 has nothing else before the test
    (0, 0, TEST_START, 1.0),
    (0, 0, TEST_START + 300, 1.0),  # the same target again
    (0, 4, TEST_START + 600, 1.0),  # never in training
    (0, 1, TEST_START + 900, 0.2),  # not Listen+
    (1, 4, TEST_START + DAY, 1.0),  # later than a day: the test has no end
    (2, 0, TEST_START + 5, 1.0),
)


def test_yambdas_protocol_to_the_letter() -> None:
    log = plays(*YAMBDA, users=3, tracks=5)
    (scenario,) = plan(log, catalogue_of(*"aabbc"), protocol="yambda")
    (part,) = scenario.slices
    train = set(zip(scenario.split.train.user_rows.tolist(), scenario.split.train.track_rows.tolist(), strict=True))
    assert train == {(0, 0), (0, 1), (0, 2), (1, 0)}
    assert asked(part) == {0: [0, 4], 1: [4]}
    assert part.target_counts is not None and part.target_counts.tolist() == [3, 1]
    assert part.candidates is not None and np.flatnonzero(part.candidates).tolist() == [0, 1, 2]
    assert part.allow_seen


def test_the_training_part_has_yambdas_validation_day() -> None:
    """[25,825,400, 25,911,800), and half an hour of gap before it."""
    day = TEST_START - GAP_SECONDS - DAY
    events = ((0, 0, 0, 1.0), (0, 1, day - GAP_SECONDS - 5, 1.0), (0, 2, day - GAP_SECONDS, 1.0), (0, 3, day, 1.0))
    (scenario,) = plan(plays(*events, *YAMBDA[3:], users=3, tracks=5), catalogue_of(*"aabbc"), protocol="yambda")
    (validation,) = plan(scenario.split.train, catalogue_of(*"aabbc"), protocol="yambda")
    assert validation.split.name == "yambda, validation day"
    assert sorted(validation.split.train.track_rows[validation.split.train.user_rows == 0]) == [0, 1]
    assert asked(validation.slices[0]) == {0: [2, 3]}


def test_yambdas_ndcg_is_mean_dcg_over_mean_ideal_dcg() -> None:
    """Most popular: track 0, then 1 and 2. User 0 finds track 0 of the three listens 0, 0, 4; user 1 finds nothing."""
    log = plays(*YAMBDA, users=3, tracks=5)
    options = EvaluationOptions(models=("popular",), protocol="yambda", ks=(1, 2, 10), resamples=20)
    rows = list(evaluate(log, catalogue_of(*"aabbc"), options))
    found = {row["k"]: row for row in rows if row["model"] == "popular" and row["metric"] == "pooled_ndcg"}
    ideal_of_three = 1 + 1 / log2(3) + 1 / log2(4)
    assert found[1]["value"] == pytest.approx((1 + 0) / (1 + 1))
    assert found[2]["value"] == pytest.approx((1 + 0) / (1 + 1 / log2(3) + 1), abs=1e-6)
    assert found[10]["value"] == pytest.approx((1 + 0) / (ideal_of_three + 1), abs=1e-6)
    # The mean over users of DCG / ideal DCG is another number.
    assert found[10]["value"] != pytest.approx((1 / ideal_of_three + 0) / 2, abs=1e-3)
    assert found[10]["users"] == 2 and found[10]["allow_seen"]
    published = {row["model"]: row for row in rows if "source" in row}
    assert {name: row["value"] for name, row in published.items()} == {
        "MostPop (published)": 0.0186,
        "DecayPop (published)": 0.0260,
        "ItemKNN (published)": 0.0781,
        "iALS (published)": 0.0407,
        "BPR (published)": 0.0389,
        "SASRec (published)": 0.0748,
    }
    rest = {(row["metric"], row["k"], row["low"], row["allow_seen"]) for row in published.values()}
    assert rest == {("pooled_ndcg", 10, None, True)}


def test_a_perfect_list_has_a_pooled_ndcg_of_1() -> None:
    from scipy.sparse import csr_matrix

    truth = csr_matrix(np.array([[1, 1, 0], [0, 0, 1]], np.float32))
    found = hits(np.array([[1, 0, 2], [2, 1, 0]]), truth)
    for k in (1, 3):
        dcg, ideal = yambda_benchmark.gains(found, np.array([2, 1]), k)
        np.testing.assert_allclose(dcg, ideal)


def test_the_command_runs_yambdas_benchmark_beside_what_was_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, library = tmp_path / "yambda", str(tmp_path / "library")
    folder.mkdir()
    listened = [event for event in YAMBDA if event[3] >= 0]
    # An exact repetition of a row is a target of its own: the log is not cleaned.
    listened.append((0, 0, TEST_START, 1.0))
    schema = {"uid": pl.UInt32, "item_id": pl.UInt32, "timestamp": pl.UInt32, "played_ratio_pct": pl.UInt16}
    columns = {
        **dict(zip(("uid", "item_id", "timestamp"), zip(*(event[:3] for event in listened), strict=True), strict=True)),
        "played_ratio_pct": [round(100 * event[3]) for event in listened],
    }
    table = pl.DataFrame(columns, schema).with_columns(is_organic=pl.lit(1, pl.UInt8))
    table.with_columns(track_length_seconds=pl.lit(200, pl.UInt32)).write_parquet(folder / "listens.parquet")
    (liked,) = [event for event in YAMBDA if event[3] < 0]
    likes = pl.DataFrame({"uid": [liked[0]], "item_id": [liked[1]], "timestamp": [liked[2]]})
    likes.with_columns(is_organic=pl.lit(1, pl.UInt8)).write_parquet(folder / "likes.parquet")
    assert main(["listens", str(folder), "--format", "yambda", "--library", library]) == 0
    capsys.readouterr()
    asked = ["evaluate", "--library", library, "--models", "popular", "--protocol", "yambda", "-k", "10"]
    assert main(asked) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (row,) = [row for row in rows if row["model"] == "popular" and row["metric"] == "pooled_ndcg"]
    ideal_of_four = sum(1 / log2(place + 1) for place in range(1, 5))
    assert row["value"] == pytest.approx(1 / (ideal_of_four + 1), abs=1e-6)
    # All listens of the log are organic.
    recall = {row["slice"]: row["value"] for row in rows if (row["model"], row["metric"]) == ("popular", "recall")}
    assert recall["yambda, organic listens"] == recall["yambda"] and "yambda, recommended listens" not in recall
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "ItemKNN (published)" in shown and "0.078" in shown and "pooled_ndcg@10" in shown


def test_a_log_that_a_protocol_cannot_use_is_one_line() -> None:
    log, catalogue = releases()
    ordered, bare = replace(log, clock=Clock.ORDER), replace(log, clock=Clock.NONE, times=None)
    for name, other, what in (
        ("temporal", ordered, "only an order; there remain auto, within-user, random, repeats"),
        ("temporal", bare, "neither times nor an order; there remain auto, random"),
        ("new-releases", ordered, "only an order"),
        ("yambda", ordered, "only an order"),
        ("repeats", bare, "needs times or an order"),
        ("within-user", bare, "neither times nor an order"),
        ("yambda", log, "needs listens with times and shares played"),
        ("repeats", log.take(log.times < 5 * DAY), "nobody hears a track again"),
        ("new-releases", log.take(log.times > 30 * DAY), "it is too short"),
        ("new-releases", log.take((log.times > 30 * DAY) | (log.track_rows == 0)), "too few listens"),
        ("new-releases", log.take(~np.isin(log.track_rows, [5, 6, 7, 8])), "no track of the log was first heard"),
    ):
        with pytest.raises(DataError, match=f"protocol {name}: .*{what}"):
            list(plan(other, catalogue, protocol=name))
    early = plays(*YAMBDA[:3], users=3, tracks=5)
    with pytest.raises(
        DataError, match=r"test begins 25,913,600 s after the log's beginning, and .* comes after 100 s"
    ):
        list(plan(early, catalogue, protocol="yambda"))
    with pytest.raises(DataError, match=r"protocol yambda: no listen .* before 25,911,800 s"):
        list(plan(plays((0, 0, 1_700_000_000, 1.0), users=1, tracks=1), catalogue, protocol="yambda"))
    with pytest.raises(DataError, match=r"protocol yambda: .* comes after 0 s"):
        list(plan(plays(YAMBDA[5], users=3, tracks=5), catalogue, protocol="yambda"))
    strict = replace(early, confidence=ConfidenceOptions(ratio_threshold=0.8))
    with pytest.raises(UsageError, match=r"half of a track, but here it is 0\.8"):
        list(plan(strict, catalogue, protocol="yambda"))
    with pytest.raises(DataError, match=r"protocol temporal: .* nobody to ask"):
        strangers = log.take((log.user_rows == 5) | ((log.user_rows == 1) & (log.times < 4 * DAY)))
        list(evaluate(strangers, catalogue, EvaluationOptions(models=(), scenarios=("warm",), protocol="temporal")))


def test_the_command_knows_every_protocol() -> None:
    assert get_args(Protocol) == tuple(PROTOCOLS)


def test_options_that_a_protocol_does_not_have_are_wrong_usage() -> None:
    for given, what in (
        ({"scenarios": ("warm",)}, "scenarios"),
        ({"allow_seen": True}, "allow-seen"),
        ({"gap_days": 1}, "gap"),
    ):
        with pytest.raises(UsageError, match=f"{what}: .*yambda"):
            EvaluationOptions(protocol="yambda", **given)  # type: ignore[arg-type]
    assert {name for name, protocol in PROTOCOLS.items() if not protocol.has_gap} == {"within-user", "random", "yambda"}
