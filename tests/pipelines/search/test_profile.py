"""What a listener is shown of their own past."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crossfade.audio.metadata import released_at
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.profile import MONTHS, past, profile

DAY = 86_400


def listens(track_id: str, *days: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"track_id": track_id, "time": DAY * day, **fields} for day in days]


def test_what_was_often_listened_to_long_ago_is_forgotten() -> None:
    log = [
        *listens("often", 0, 1, 2, 3),
        *listens("seldom", 0, 1),
        *listens("still", 0, 1, 2, 350),
        *listens("skipped since", 0, 1, 2),
        *listens("skipped since", 355, played_ratio=0.1),
        *listens("only skipped", 0, 1, 2, 3, played_ratio=0.2),
        *listens("counted", 5, plays=9.0),
        *listens("liked", 7, liked=1),
        *listens("disliked", 0, 1, 2),
        *listens("disliked", 3, liked=-1),
        *listens("last", 360),
        {"track_id": "no time"},
        *listens("far", 400_000_000),
    ]
    assert past(log).forgotten == ("counted", "often", "skipped since", "liked")
    assert past([]).forgotten == ()


def test_months_have_no_gaps_and_are_the_last_ones() -> None:
    assert past([*listens("a", 0, 1, 75), *listens("b", 75, plays=2.0)]).months == {
        "1970-01": 2,
        "1970-02": 0,
        "1970-03": 3,
    }
    months = past(listens("a", 0, 5000)).months
    assert len(months) == MONTHS and list(months.values()) == [0] * (MONTHS - 1) + [1]
    assert past([{"track_id": "a", "time": None}]).months == {}


def test_a_profile_counts_by_weight(tmp_path: Path) -> None:
    with Library.open(tmp_path / "L", create=True) as library:
        library.add_tracks(
            pl.DataFrame(
                {
                    "track_id": ["a", "b", "c"],
                    "artists": [["X"], ["X", "Y"], ["Z"]],
                    "genres": [["rock"], ["folk"], []],
                    "released_at": [released_at("1980"), released_at("1969-12-31"), None],
                }
            )
        )
        shown = profile(library, ["a", "b", "c", "gone"], [3.0, 1.0, 9.0, 9.0])
        assert shown.genres == {"rock": pytest.approx(0.75), "folk": pytest.approx(0.25)}
        assert shown.decades == {"1960s": pytest.approx(0.25), "1980s": pytest.approx(0.75)}
        assert list(shown.decades) == ["1960s", "1980s"]
        assert shown.artists == {"X": 2, "Y": 1, "Z": 1}
        assert profile(library, [], []).genres == {}
