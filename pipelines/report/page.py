"""The report: one HTML page that works offline, its pictures as PNG and its numbers as Parquet.

The page is `page.html.jinja` filled in, with Vega-Lite in it, once. A part that cannot be shown is named as missing,
and the rest is shown.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import DataError, optional_module
from ...models.storage import replacing, write_json
from ..charts.chart import Chart, column_title, draw, vega_lite
from ..interactions.statistics import day_of, share_of_top
from ..library.progress import Progress, silent
from ..library.store import Library
from .context import ReportData, ReportOptions
from .exhibits import Exhibit, Gallery, Gap, Table
from .sections import data_quality, genre_trends, listening, models, sound
from .sections.evaluation import winners

NARROW_COLUMNS = 4
"""tables of no more stand beside each other"""
_TEMPLATE = Path(__file__).parent / "page.html.jinja"

SECTIONS = (
    (
        *("listening", "Listening", listening.exhibits),
        "Who listens, when, and how evenly attention is spread over listeners and tracks.",
    ),
    (
        *("genres", "Genres in time", genre_trends.exhibits),
        "What is played by genre, what rises and falls, and what leads inside each.",
    ),
    (
        *("sound", "Sound", sound.exhibits),
        "How the library sounds: what lies near what, what is typical, what stands out, and what is there twice.",
    ),
    (
        *("models", "Models", models.exhibits),
        "How good the recommendations are, for whom, and why they are what they are.",
    ),
    ("quality", "Data quality", data_quality.exhibits, "What is missing, doubtful or there twice."),
)
"""name, title, exhibits, what the section answers"""


@dataclass(frozen=True)
class Report:
    """The files of a report."""

    page: Path
    pictures: int
    tables: int
    gaps: tuple[str, ...]
    """what it names as missing"""

    def record(self) -> dict[str, Any]:
        return {
            "report": str(self.page),
            "bytes": self.page.stat().st_size,
            "pictures": self.pictures,
            "tables": self.tables,
            "missing": list(self.gaps),
        }


def write_report(
    library: Library, out: Path, options: ReportOptions | None = None, *, progress: Progress = silent
) -> Report:
    """Writes `out/report.html`, `out/pictures/*.png` and `out/numbers/*.parquet`."""
    for folder in (out / "pictures", out / "numbers"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"{folder}: cannot be made; there is a file of that name") from None
    page = _page_template()
    sections: dict[str, list[Exhibit]] = {}
    with tempfile.TemporaryDirectory(prefix=".report-", dir=out) as scratch:
        data = ReportData.read(library, Path(scratch), options or ReportOptions(), progress)
        for number, (name, title, exhibits, _) in enumerate(SECTIONS):
            progress(number, len(SECTIONS), title.lower())
            sections[name] = list(exhibits(data))
        cards, sentences = _cards(data), list(_sentences(data))
    shown = [exhibit for exhibits in sections.values() for exhibit in exhibits]
    files: list[str] = []
    for number, exhibit in enumerate(shown):
        progress(number, len(shown), "drawing")
        files += _write_files(exhibit, out)
    _forget_others(out, files)
    html = page.render(
        title=library.folder.resolve().name,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        period=_period(data),
        cards=cards,
        sentences=sentences,
        sections=[
            {"name": name, "title": title, "lead": lead} | _rendered(sections[name])
            for name, title, _, lead in SECTIONS
        ],
        vega=_vega_source(),
    )
    with replacing(out / "report.html") as part:
        part.write_text(html, encoding="utf-8")
    return Report(
        out / "report.html",
        sum(isinstance(exhibit, Chart) for exhibit in shown),
        sum(isinstance(exhibit, Table) for exhibit in shown),
        tuple(exhibit.what for exhibit in shown if isinstance(exhibit, Gap) and not exhibit.clear),
    )


# -- at a glance ---------------------------------------------------------------------------------------------------


def _period(data: ReportData) -> str:
    log = data.log
    if log is None:
        return "no listens"
    if log.span is None:
        return "a log without times"
    whole = ", the whole log" if log.period.whole else ""
    return f"{day_of(log.span.start)} to {day_of(log.span.end - 1)}{whole}"


def _cards(data: ReportData) -> list[tuple[str, str]]:
    """(what is counted, the number)"""
    log, tracks = data.log, data.tracks
    cards = [("tracks", f"{len(tracks):,}"), ("with audio", f"{tracks.get_column('content_hash').count():,}")]
    if log is not None and len(log.tracks):
        cards = [("listens", f"{log.plays:,.0f}"), ("listeners", f"{len(log.users):,}"), *cards]
        if minutes := float(log.tracks.get_column("minutes").sum()):
            cards.append(("hours listened", f"{minutes / 60:,.0f}"))
    if len(data.genres):
        cards.append(("genres", f"{data.genres.get_column('genre').n_unique():,}"))
    return cards


def _sentences(data: ReportData) -> Iterator[str]:
    """Answers to what is asked first."""
    log = data.log
    if log is None:
        yield "Nobody's listening is known yet, so this page is about the tracks alone."
    elif not len(log.tracks):
        yield "Nothing was played in this period."
    else:
        plays = log.tracks.get_column("plays")
        first = data.named(log.tracks.head(1)).row(0, named=True)
        by = f" by {first['artist']}" if first["artist"] else ""
        yield f"“{first['title']}”{by} is played most: {first['plays']:,.0f} listens of {first['users']:,} people."
        yield (
            f"The top 1 % of tracks get {share_of_top(plays):.0%} of the listens; "
            f"{(len(plays) / max(1, len(log.track_ids))):.0%} of all tracks were played at all."
        )
        if len(data.genres):
            table = genre_trends.played_genres(data, log)
            names = table.head(3).select("genre", "share").rows()
            yield "Most played: " + ", ".join(f"{genre} ({share:.0%})" for genre, share in names) + "."
            moved = table.drop_nulls(["share_earlier", "share_later"]).sort("change", maintain_order=True)
            if len(moved) > 1:
                down, up = moved.row(0, named=True), moved.row(-1, named=True)
                yield (
                    f"{up['genre'][:1].upper()}{up['genre'][1:]} rises most ({100 * up['change']:+.1f} points of "
                    f"share), {down['genre']} falls most ({100 * down['change']:+.1f})."
                )
    if failures := data.library.failure_count():
        yield f"{failures:,} file{'s' if failures > 1 else ''} could not be read."
    if len(known := data.known_labels):
        agree = int(known.get_column("agrees").sum()) / len(known)
        yield f"{agree:.0%} of {len(known):,} labelled tracks are heard as what their label says."
    if data.evaluation is not None:
        yield from _best_models(data.evaluation)


def _best_models(evaluation: pl.DataFrame) -> Iterator[str]:
    """The best model on warm tracks, and on tracks nobody has played."""
    best = winners(evaluation)
    for name, tracks in (("warm", "known tracks"), ("cold track, known artist", "new tracks of known artists")):
        for row in best.filter(pl.col("slice") == name).iter_rows(named=True):
            rivals = f", not clearly better than {_listed(row['rivals'])}" if row["rivals"] else ""
            yield (
                f"For {tracks} {row['model']} recommends best (NDCG {row['value']:.3f}, {row['low']:.3f} to "
                f"{row['high']:.3f}){rivals}."
            )


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# -- files and the page --------------------------------------------------------------------------------------------


def _write_files(exhibit: Exhibit, out: Path) -> list[str]:
    """The names of the files it wrote."""
    if isinstance(exhibit, Gap):
        return []
    files = [f"numbers/{exhibit.name}.parquet"]
    exhibit.frame.write_parquet(out / files[0])
    if isinstance(exhibit, Chart):
        files.append(f"pictures/{exhibit.name}.png")
        draw(exhibit, out / files[1])
    elif isinstance(exhibit, Gallery):
        for number, (_, png) in enumerate(exhibit.images):
            files.append(f"pictures/{exhibit.name}_{number:02}.png")
            (out / files[-1]).write_bytes(png)
    return files


def _forget_others(out: Path, files: Sequence[str]) -> None:
    """Removes what an earlier report left here and this one has not; nothing that no report wrote."""
    listing = out / "files.json"
    try:
        before = [str(name) for name in json.loads(listing.read_text())]
    except (OSError, ValueError, TypeError):
        before = []
    for name in set(before) - set(files):
        if re.fullmatch(r"(numbers|pictures)/\w+\.(parquet|png)", name):
            (out / name).unlink(missing_ok=True)
    write_json(listing, sorted(files))


def _rendered(exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    gaps = [exhibit for exhibit in exhibits if isinstance(exhibit, Gap)]
    shown = [_shown(exhibit) for exhibit in exhibits if not isinstance(exhibit, Gap)]
    # Of an odd number of halves in a row, the last takes the whole width.
    halves = 0
    for exhibit, following in zip(shown, [*shown[1:], {"wide": True}], strict=False):
        halves = 0 if exhibit["wide"] else halves + 1
        exhibit["wide"] |= bool(halves % 2) and following["wide"]
    none = [gap for gap in gaps if gap.clear]
    return {"exhibits": shown, "none": none, "gaps": [gap for gap in gaps if not gap.clear]}


def _shown(exhibit: Chart | Table | Gallery) -> dict[str, Any]:
    """What the template needs of an exhibit."""
    about: dict[str, Any] = {"name": exhibit.name, "title": exhibit.title, "note": exhibit.note}
    if isinstance(exhibit, Chart):
        specification = json.dumps(vega_lite(exhibit), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # "</script>" in a title must not end the page's script.
        return about | {"chart": specification.replace("<", "\\u003c"), "wide": exhibit.wide, "height": exhibit.height}
    if isinstance(exhibit, Gallery):
        images = [(caption, base64.b64encode(png).decode()) for caption, png in exhibit.images]
        return about | {"images": images, "wide": True}
    columns = [name for name in exhibit.frame.columns if name not in exhibit.hidden and _filled(exhibit.frame[name])]
    rows = exhibit.frame.select(columns).head(exhibit.rows_shown)
    return about | {
        "wide": len(columns) > NARROW_COLUMNS,
        "grouped": exhibit.grouped,
        "headings": [exhibit.headings.get(name, column_title(name)) for name in columns],
        "numeric": [rows.schema[name].is_numeric() for name in columns],
        "rows": [
            [_cell(value, name in exhibit.percents) for name, value in zip(columns, row, strict=True)]
            for row in rows.rows()
        ],
        "all": len(exhibit.frame),
    }


def _filled(column: pl.Series) -> bool:
    """Whether a column has anything in it: a log without artists needs no column for them."""
    return not len(column) or bool((column.is_not_null() & (column.cast(pl.String, strict=False) != "")).any())


def _cell(value: Any, percent: bool) -> tuple[str, Any]:
    """(as shown, by what it sorts)"""
    if value is None:
        return "", ""
    if isinstance(value, int):
        return f"{value:,}", value
    if isinstance(value, float):
        if percent:
            return f"{value:.1%}", value
        return (f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"), value
    return str(value), str(value).lower()


def _page_template() -> Any:
    environment = optional_module("jinja2", "report").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["prose"] = _prose
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _prose(text: str) -> Any:
    """HTML; what is in backticks is code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@cache
def _vega_source() -> str:
    """JavaScript of Vega, Vega-Lite and Vega-Embed; it takes a second to bundle."""
    return str(optional_module("vl_convert", "report").javascript_bundle("window.vegaEmbed = vegaEmbed;"))
