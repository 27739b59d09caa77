"""The report: one HTML page that works offline, its pictures as PNG and its numbers as Parquet.

The page is `report.html.jinja` filled in; plotly.js is in it, once. A part that cannot be shown says what is missing,
and the rest is shown.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import DataError, MissingExtra
from ...models.storage import replacing
from ..charts.interactive import Chart, Exhibit, Gallery, Gap, Section, Table, plotly_figure
from ..charts.static import draw
from ..interactions.statistics import Period, Progress, day_of, share_of_top
from ..library.store import Library
from .context import Subject
from .sections.data_quality import quality_section
from .sections.genre_trends import genre_section, top_genres
from .sections.listening import listening_section
from .sections.models import model_section
from .sections.quality import evaluation_rows, winners
from .sections.sound import sound_section

NARROW_COLUMNS = 4
"""tables of no more stand beside each other"""
_TEMPLATE = Path(__file__).parent / "page.html.jinja"


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    period: Period = field(default_factory=Period)
    top: int = 10
    """tracks to list inside each genre"""
    evaluation: Path | None = None
    """JSON lines of an evaluation; None looks for `evaluation.jsonl` in the library"""
    genre_model: Path | None = None
    """folder of a genre classifier of one's own, to be shown too"""


@dataclass(frozen=True)
class Written:
    """What a report left behind."""

    report: Path
    pictures: int
    tables: int
    gaps: tuple[str, ...]
    """what it says is missing"""

    def record(self) -> dict[str, Any]:
        return {
            "report": str(self.report),
            "bytes": self.report.stat().st_size,
            "pictures": self.pictures,
            "tables": self.tables,
            "missing": list(self.gaps),
        }


def write_report(
    library: Library,
    out: Path,
    options: ReportOptions | None = None,
    *,
    progress: Progress = lambda what, done, total: None,
) -> Written:
    """Writes `out/report.html`, `out/pictures/*.png` and `out/numbers/*.parquet`."""
    options = options or ReportOptions()
    for folder in (out / "pictures", out / "numbers"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"{folder}: cannot be made; there is a file of that name") from None
    page = _page_template()
    with tempfile.TemporaryDirectory(prefix=".report-", dir=out) as scratch:
        subject = Subject.read(library, Path(scratch), period=options.period, top=options.top, progress=progress)
        sections = _sections(subject, options, progress)
        glance = _glance(subject, options)
    exhibits = [exhibit for section in sections for exhibit in section.exhibits]
    files: list[str] = []
    for number, exhibit in enumerate(exhibits):
        progress("drawing", number, len(exhibits))
        files += _keep(exhibit, out)
    _forget_others(out, files)
    html = page.render(
        title=library.folder.resolve().name,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        period=_period(subject),
        glance=glance,
        sections=[_rendered(section) for section in sections],
        plotly=_plotly_source(),
    )
    with replacing(out / "report.html") as part:
        part.write_text(html, encoding="utf-8")
    return Written(
        out / "report.html",
        sum(isinstance(exhibit, Chart) for exhibit in exhibits),
        sum(isinstance(exhibit, Table) for exhibit in exhibits),
        tuple(exhibit.what for exhibit in exhibits if isinstance(exhibit, Gap) and not exhibit.clear),
    )


def _sections(subject: Subject, options: ReportOptions, progress: Progress) -> list[Section]:
    makers: dict[str, Callable[[], Section]] = {
        "listening": lambda: listening_section(subject),
        "genres": lambda: genre_section(subject),
        "sound": lambda: sound_section(subject),
        "models": lambda: model_section(subject, options.evaluation, options.genre_model),
        "data quality": lambda: quality_section(subject),
    }
    sections = []
    for number, (name, make) in enumerate(makers.items()):
        progress(name, number, len(makers))
        sections.append(make())
    return sections


# -- at a glance ---------------------------------------------------------------------------------------------------


def _period(subject: Subject) -> str:
    log = subject.log
    if log is None:
        return "no listens"
    if log.span is None:
        return "a log without times"
    first, last = max(log.span.start, log.span.first), min(log.span.end - 1, log.span.last)
    if log.period.whole:
        return f"{day_of(first)} to {day_of(last)}, the whole log"
    return f"{day_of(log.span.start)} to {day_of(log.span.end - 1)}"


def _glance(subject: Subject, options: ReportOptions) -> dict[str, Any]:
    """Cards of numbers, and sentences that answer what is asked first."""
    log, tracks = subject.log, subject.tracks
    heard = tracks.get_column("content_hash").count()
    cards = [("tracks", f"{len(tracks):,}"), ("with audio", f"{heard:,}")]
    says: list[str] = []
    if log is None:
        says.append("Nobody's listening is known yet, so this page is about the tracks alone.")
    elif not len(log.tracks):
        says.append("Nothing was played in this period.")
    else:
        plays = log.tracks.get_column("plays")
        cards = [("listens", f"{log.plays:,.0f}"), ("listeners", f"{len(log.users):,}"), *cards]
        minutes = float(log.tracks.get_column("minutes").sum())
        if minutes:
            cards.append(("hours listened", f"{minutes / 60:,.0f}"))
        first = log.tracks.head(1).join(subject.names, on="track_row").row(0, named=True)
        by = f" by {first['artist']}" if first["artist"] else ""
        says.append(
            f"“{first['title']}”{by} is played most: {first['plays']:,.0f} listens of {first['users']:,} people."
        )
        says.append(
            f"The top 1 % of tracks get {share_of_top(plays):.0%} of the listens; "
            f"{(len(plays) / max(1, len(log.track_ids))):.0%} of all tracks were played at all."
        )
        if len(subject.genres):
            table = top_genres(subject, log)
            names = table.head(3).select("genre", "share").rows()
            says.append("Most played: " + ", ".join(f"{genre} ({share:.0%})" for genre, share in names) + ".")
            moved = table.filter(pl.col("share_earlier").is_not_null() & pl.col("share_later").is_not_null())
            if len(moved) > 1:
                up, down = (moved.sort("change", descending=order).row(0, named=True) for order in (True, False))
                says.append(
                    f"{_capital(up['genre'])} rises most ({100 * up['change']:+.1f} points of share), "
                    f"{down['genre']} falls most ({100 * down['change']:+.1f})."
                )
    if len(subject.genres):
        cards.append(("genres", f"{subject.genres.get_column('genre').n_unique():,}"))
    return {"cards": cards, "says": [*says, *_of_sound(subject), *_of_models(subject, options)]}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of_sound(subject: Subject) -> list[str]:
    heard = subject.heard_genres
    failures = len(subject.library.failures())
    says = [f"{failures:,} file{'s' if failures > 1 else ''} could not be read."] if failures else []
    if subject.has_labels and len(heard):
        labels = subject.tracks.select("track_row", label=pl.col("genres").list.first().str.to_lowercase())
        both = heard.join(labels, on="track_row").filter(pl.col("label").is_in(subject.genre_probabilities[1]))
        if len(both):
            right = both.filter(pl.col("heard") == pl.col("label")).height / len(both)
            says.append(f"{right:.0%} of {len(both):,} labelled tracks are heard as what their label says.")
    return says


def _of_models(subject: Subject, options: ReportOptions) -> list[str]:
    """The best model on warm tracks, and on tracks nobody has played."""
    rows = evaluation_rows(subject, options.evaluation)
    if rows is None:
        return []
    best = winners(rows)
    says = []
    for name, words in (("warm", "known tracks"), ("cold track, known artist", "new tracks of known artists")):
        for row in best.filter(pl.col("slice") == name).iter_rows(named=True):
            rivals = f", not clearly better than {_listed(row['rivals'])}" if row["rivals"] else ""
            says.append(
                f"For {words} {row['model']} recommends best (NDCG {row['value']:.3f}, {row['low']:.3f} to "
                f"{row['high']:.3f}){rivals}."
            )
    return says


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# -- files and the page --------------------------------------------------------------------------------------------


def _keep(exhibit: Exhibit, out: Path) -> list[str]:
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
    listing.write_text(json.dumps(sorted(files), indent=1) + "\n")


def _rendered(section: Section) -> dict[str, Any]:
    gaps = [exhibit for exhibit in section.exhibits if isinstance(exhibit, Gap)]
    shown = [_shown(exhibit) for exhibit in section.exhibits if not isinstance(exhibit, Gap)]
    _without_holes(shown)
    return {
        "name": section.name,
        "title": section.title,
        "lead": section.lead,
        "exhibits": shown,
        "none": [gap for gap in gaps if gap.clear],
        "gaps": [gap for gap in gaps if not gap.clear],
    }


def _without_holes(shown: list[dict[str, Any]]) -> None:
    """Of an odd number of halves in a row, the last takes the whole width."""
    halves = 0
    for exhibit, following in zip(shown, [*shown[1:], None], strict=False):
        halves = 0 if exhibit["wide"] else halves + 1
        if halves % 2 and (following is None or following["wide"]):
            exhibit["wide"] = True


def _shown(exhibit: Chart | Table | Gallery) -> dict[str, Any]:
    about: dict[str, Any] = {"name": exhibit.name, "title": exhibit.title, "note": exhibit.note}
    if isinstance(exhibit, Chart):
        figure = json.dumps(plotly_figure(exhibit), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # "</script>" in a title must not end the page's script.
        height = max(340, 90 + 19 * exhibit.frame.get_column(exhibit.y).n_unique()) if exhibit.kind == "across" else 340
        return about | {
            "kind": "chart",
            "figure": figure.replace("<", "\\u003c"),
            "wide": exhibit.wide,
            "height": height,
        }
    if isinstance(exhibit, Gallery):
        images = [(caption, base64.b64encode(png).decode()) for caption, png in exhibit.images]
        return about | {"kind": "gallery", "images": images, "wide": True}
    columns = [name for name in exhibit.frame.columns if name not in exhibit.hidden and _filled(exhibit.frame[name])]
    rows = exhibit.frame.select(columns).head(exhibit.rows_shown)
    numeric = [rows.schema[name].is_numeric() for name in columns]
    headings = [exhibit.headings.get(name, name.replace("_", " ")) for name in columns]
    cells = [
        [_cell(value, name in exhibit.percents) for name, value in zip(columns, row, strict=True)]
        for row in rows.rows()
    ]
    return about | {
        "kind": "table",
        "wide": len(columns) > NARROW_COLUMNS,
        "whole": exhibit.grouped,
        "grouped": exhibit.grouped,
        "head": list(zip(headings, numeric, strict=True)),
        "rows": cells,
        "numeric": numeric,
        "more": len(exhibit.frame) - len(rows),
        "all": len(exhibit.frame),
    }


def _filled(column: pl.Series) -> bool:
    """Whether a column says anything: a log without artists needs no column for them."""
    return not len(column) or bool((column.is_not_null() & (column.cast(pl.String, strict=False) != "")).any())


def _cell(value: Any, percent: bool) -> tuple[str, Any]:
    """(as shown, by what it sorts)"""
    if value is None:
        return "", ""
    if isinstance(value, bool):
        return ("yes" if value else "no"), int(value)
    if isinstance(value, int):
        return f"{value:,}", value
    if isinstance(value, float):
        if percent:
            return f"{value:.1%}", value
        return (f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"), value
    text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return text, text.lower()


def _page_template() -> Any:
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise MissingExtra("report", "train") from error
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["prose"] = _prose
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _prose(text: str) -> Any:
    """HTML; what is in backticks is code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _plotly_source() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtra("report", "train") from error
    return str(get_plotlyjs())
