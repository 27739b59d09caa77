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
    genres = [(one["genre"], one["probability"]) for one in fields["genres"][:GENRES]]
    named = min(max(cell_len(name) for name, _ in genres), width // 3)
    full = min(BAR_CELLS, width - named - 11)
    lines = [f"{shortened(_text(fields['path']), width - len(length) - 2)}  {length}"]
    for name, probability in genres:
        bar = "█" * round(full * probability)
        lines.append(f"  {_padded(shortened(name, named), named)}  {_padded(bar, full)} {probability:4.0%}")
    facts = {}
    if fields["moods"]:
        lifts = zip(fields["moods"], fields["mood_lifts"], strict=True)
        facts["moods"] = ", ".join(f"{mood} {lift:.1f}" for mood, lift in lifts) + " times the average"
    if fields["tempo_bpm"]:
        sure, other = fields["tempo_confidence"], fields["tempo_alternative_bpm"]
        facts["tempo"] = f"{fields['tempo_bpm']:.0f} bpm, {sure:.0%} sure; else {other:.0f}"
    if fields["key"]:
        facts["key"] = f"{fields['key']}, {fields['key_confidence']:.0%} sure; else {fields['key_alternative']}"
    if fields["loudness_lufs"] is not None:
        facts["loudness"] = f"{fields['loudness_lufs']:.1f} LUFS"
        if fields["loudness_spread_lu"] is not None:
            facts["loudness"] += f", its parts {fields['loudness_spread_lu']:.1f} LU apart"
    gaps, occupancy, change_db = fields["texture"].values()
    facts["texture"] = f"{gaps:.0%} gaps, {occupancy:.0%} filled, moving by {change_db:.1f} dB"
    facts["heard"] = f"{fields['heard_seconds']:.0f} s of it"
    start = max(map(len, facts)) + 4
    for name, value in facts.items():
        lines += _wrapped(value, width, start, _padded(f"  {name}", start))
    return "\n".join(lines)


def track_line(fields: Mapping[str, Any], width: int, names: Mapping[str, str] | None = None) -> str:
    """A track: its score, artist and title (its id where there are none), and because of which track it is here.

    `names` has artist and title by track_id, where they are no fields.
    """
    names = names or {}
    named = " – ".join(fields[part] for part in ("artist", "title") if fields.get(part))
    track = _text(named or names.get(fields["track_id"]) or fields["track_id"])
    score = f"{fields['score']:6.3f}  "
    room = width - len(score)
    if not fields.get("because"):
        return score + shortened(track, room)
    link = "  because of "
    reason = _text(names.get(fields["because"]) or fields["because"])
    # The reason has what the track leaves of the line, but at least half.
    reason = shortened(reason, max(room - cell_len(track), room // 2) - len(link))
    return score + shortened(track, room - len(link) - cell_len(reason)) + link + reason


def duplicate_group(fields: Mapping[str, Any], width: int) -> str:
    """The files of one recording, the one to keep first: length, encoding and path, whole, so that it can be copied."""
    lines: list[str] = []
    for version in fields["versions"]:
        minutes, seconds = divmod(round(version["duration_seconds"]), 60)
        rate = f"{version['bitrate_kbps']} kbps" if version["bitrate_kbps"] else ""
        which = "gone" if version["format"] is None else "" if lines else "keep"
        encoding = _padded(shortened(version["format"] or "", 10), 10) + _padded(rate, 10, right=True)
        lines.append(f"{which:4}{minutes:4}:{seconds:02}  {encoding}  {_text(version['path'] or version['track_id'])}")
    return "\n".join([*lines, ""])


def missing_file(fields: Mapping[str, Any], width: int) -> str:
    """A track whose file is gone: where it was, whole, so that it can be copied."""
    return _text(fields["path"]) + ("  (listened to)" if fields["listened"] else "")


def failure(fields: Mapping[str, Any], width: int) -> str:
    """A file that could not be heard, and why: nothing left out, so that the path can be copied."""
    line = f"{fields['path']}: {fields['reason']}".encode("utf-8", "backslashreplace").decode()
    lines = textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    """One record as lines of name and value; several as a table.

    Where it is too wide, further columns follow below, beside the names (the first columns of text) once more.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) == 1:
        start = max(map(cell_len, columns)) + 2
        values = ((name, rows[0][name]) for name in columns)
        return "\n".join(
            line for name, value in values for line in _wrapped(_text(value) or "–", width, start, _padded(name, start))
        )
    cells = {name: [name, *(shortened(_text(row.get(name)), width * 2 // 5) for row in rows)] for name in columns}
    numeric = {
        name for name in columns if not any(isinstance(row.get(name), str | bool | list | tuple | dict) for row in rows)
    }
    widths = {name: max(map(cell_len, cells[name])) for name in columns}

    def fits(names: Sequence[str]) -> bool:
        return sum(widths[name] + 2 for name in names) - 2 <= width

    count = 1
    while count < len(columns) - 1 and columns[count] not in numeric:
        if not all(fits([*columns[: count + 1], other]) for other in columns[count + 1 :]):
            break
        count += 1
    parts = [columns[: count + 1]]
    for name in columns[count + 1 :]:
        if fits([*parts[-1], name]):
            parts[-1].append(name)
        else:
            parts.append([*columns[:count], name])
    drawn = []
    for part in parts:
        padded = ([_padded(cell, widths[name], right=name in numeric) for cell in cells[name]] for name in part)
        drawn.append("\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True)))
    return "\n\n".join(drawn)


def shortened(text: str, width: int) -> str:
    """The text in at most `width` cells: folders or words are left out of its middle, of a long word its letters."""
    if cell_len(text) <= width:
        return text
    if width < 3:
        return "…"
    for mark in "/ ":
        first, *rest = text.split(mark)
        for start in range(1, len(rest)):
            short = mark.join((first, "…", *rest[start:]))
            if cell_len(short) <= width:
                return short
    kept = width - 1
    while cell_len(short := f"{text[: kept // 3]}…{text[kept // 3 - kept :]}") > width and kept > 1:
        kept -= 1
    return short


def _wrapped(text: str, width: int, indent: int, start: str) -> list[str]:
    """Lines of whole words after `start`; a path is shortened to one line."""
    room = width - indent
    text = shortened(text, room) if text.startswith("/") else " ".join(shortened(word, room) for word in text.split())
    return textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
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
            # Of records in a list, such as tracks with scores, the values are enough.
            return ", ".join(
                " ".join(map(_text, item.values())) if isinstance(item, dict) else _text(item) for item in value[:3]
            )
        case dict():
            return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
        case _:
            return " ".join(str(value).encode("utf-8", "backslashreplace").decode().split())
