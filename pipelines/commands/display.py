"""What a terminal shows for records: blocks, lines and tables that are no wider than it and break no word."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

GENRES = 5
BAR_CELLS = 40


def classified(fields: Mapping[str, Any], width: int) -> str:
    """A file: its path and length, genres with bars, then moods, tempo, key and loudness."""
    minutes, seconds = divmod(round(fields["duration_seconds"]), 60)
    length = f"{minutes}:{seconds:02}" if fields["confident"] else f"{minutes}:{seconds:02}, not confident"
    genres = [(f"{one['genre']}", one["probability"]) for one in fields["genres"][:GENRES]]
    named = min(max(cell_len(name) for name, _ in genres), width // 3)
    full = min(BAR_CELLS, width - named - 11)
    lines = [f"{shortened(_text(fields['path']), width - len(length) - 2)}  {length}"]
    for name, probability in genres:
        bar = "█" * round(full * probability)
        lines.append(f"  {_padded(shortened(name, named), named)}  {_padded(bar, full)} {probability:4.0%}")
    facts = {
        "moods": fields["moods"],
        "tempo": fields["tempo_bpm"] and f"{fields['tempo_bpm']:.0f} bpm",
        "key": fields["key"],
        "loudness": fields["loudness_lufs"] is not None and f"{fields['loudness_lufs']:.1f} LUFS",
    }
    listed = "; ".join(f"{name} {_text(value)}" for name, value in facts.items() if value)
    return "\n".join([*lines, *_wrapped(listed, width, "  ")])


def track_line(fields: Mapping[str, Any], width: int, names: Mapping[str, str] | None = None) -> str:
    """A track: its score, artist and title (its id where there are none), and because of which track it is here.

    `names` has artist and title by track_id, where they are no fields.
    """
    names = names or {}
    named = " – ".join(fields[part] for part in ("artist", "title") if fields.get(part))
    track = named or names.get(fields["track_id"]) or fields["track_id"]
    line = f"{fields['score']:6.3f}  "
    room = width - len(line)
    if reason := fields.get("because"):
        reason = f"  because of {names.get(reason) or reason}"
        # The reason takes what the track leaves, at least half.
        reason = shortened(reason, max(room - cell_len(track), room // 2))
    return line + shortened(track, room - cell_len(reason or "")) + (reason or "")


def table(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    """One record as lines of name and value; several as a table, in parts below each other where it is too wide."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) == 1:
        named = max(map(cell_len, names))
        lines = [
            line
            for name in names
            for line in _wrapped(_text(rows[0][name]) or "–", width, " " * (named + 2), _padded(name, named + 2))
        ]
        return "\n".join(lines)
    cells = {name: [shortened(_text(row.get(name)), width * 2 // 5) for row in rows] for name in names}
    numeric = {name for name in names if all(isinstance(row.get(name), int | float | None) for row in rows)}
    widths = {name: max(map(cell_len, (name, *cells[name]))) for name in names}
    first, rest = names[0], names[1:]
    parts: list[list[str]] = [[first]]
    for name in rest:
        if sum(widths[one] + 2 for one in parts[-1]) + widths[name] > width:
            parts.append([first])
        parts[-1].append(name)
    lines = []
    for part in parts:
        for row in (
            {name: name for name in part},
            *({name: cells[name][at] for name in part} for at in range(len(rows))),
        ):
            padded = (_padded(row[name], widths[name], right=name in numeric) for name in part)
            lines.append("  ".join(padded).rstrip())
        lines.append("")
    return "\n".join(lines[:-1])


def shortened(text: str, width: int) -> str:
    """The text in at most `width` cells: folders or words are left out of its middle, of a long word its letters."""
    if cell_len(text) <= width:
        return text
    mark = "/" if "/" in text else " "
    first, *rest = text.split(mark)
    for start in range(1, len(rest)):
        short = mark.join((first, "…", *rest[start:]))
        if cell_len(short) <= width:
            return short
    kept = width - 1
    while cell_len(short := f"{text[: kept // 3]}…{text[kept // 3 - kept :]}") > width and kept > 1:
        kept -= 1
    return short


def _wrapped(text: str, width: int, indent: str, start: str | None = None) -> list[str]:
    words = " ".join(shortened(word, width - len(indent)) for word in text.split())
    start = indent if start is None else start
    return textwrap.wrap(
        words, width, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _padded(text: str, width: int, *, right: bool = False) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
        case list() | tuple():
            return ", ".join(_text(item) for item in value[:3])
        case dict():
            return " ".join(_text(item) for item in value.values())
        case _:
            return " ".join(str(value).encode("utf-8", "backslashreplace").decode().split())
