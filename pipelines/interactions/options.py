"""How to read a log: the options of `crossfade listens`. Imports nothing heavy, since help needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from ...option_types import Flag

_COLUMNS = """csv: NAME=COLUMN,… names the columns of user_id, track_id, time, position, plays, played_ratio,
played_percent, rating, liked, organic, title, artist, album, genre; those not named are recognised"""


def _columns(_: Any, tokens: Sequence[Token]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in tokens[-1].value.split(",") if pair.strip()]
    for name, equals, _column in pairs:
        if not equals:
            raise ValueError(f"{name!r} is not of the form NAME=COLUMN")
    return {name.strip(): column.strip() for name, _equals, column in pairs}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    format: Literal["yandex", "yambda", "movielens", "lastfm", "mpd", "music4all-onion", "csv"]
    """kind of log"""
    columns: Annotated[
        Mapping[str, str],
        Parameter(converter=_columns, n_tokens=1, accepts_keys=False, show_default=False, help=_COLUMNS),
    ] = field(default_factory=dict)
    match: Literal["artist,title"] | None = None
    """join by artist and title, not only by id"""
    known_only: Flag = False
    """drop listens of tracks that nothing else is known of"""
    source: str | None = None
    """name of this part of the log; the same name replaces it"""
    out: Path | None = None
    """yandex: where items.parquet and events.parquet go (default L/yandex)"""
