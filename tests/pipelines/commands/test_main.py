"""The command line itself: help, wrong usage in one line, old spellings, and what a terminal of 80 columns shows."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.cells import cell_len
from sounds import music_like

from crossfade.pipelines.commands import terminal_layout
from crossfade.pipelines.commands.console import Console
from crossfade.pipelines.commands.main import COMMANDS, FAMILIES, application, main

WIDTH = 80
ALL = [
    [module, name] if module in FAMILIES else [name]
    for modules in COMMANDS.values()
    for module, names in modules.items()
    for name in names.split()
]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_each_command_has_help_with_an_example_that_parses(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    (example,) = re.findall(r"^Example: crossfade (.+)$", text, re.MULTILINE)
    assert example.startswith(" ".join(words))
    application().parse_args(shlex.split(example), print_error=False, exit_on_error=False)


def test_help_is_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    titles = [text.index(f"─ {title} ─") for title in COMMANDS]
    assert titles == sorted(titles)
    assert "--install-completion" in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "crossfade: COMMAND: say which command; crossfade --help lists them"),
        (["genres"], "crossfade: genres: say which command; crossfade --help lists them"),
        (["simlar"], 'crossfade: Unknown command "simlar". Did you mean "similar"?'),
        (["genres", "trian"], 'crossfade: genres: Unknown command "trian". Did you mean "train"?'),
        (["similar", "a"], "crossfade: similar: --library requires an argument"),
        (
            ["similar", "a", "b", "--library", "L"],
            "crossfade: similar: takes one TRACK, not also b; a name with spaces",
        ),
        (["export", "a", "--library", "L", "--out", "o"], "crossfade: export: takes options only, not also a"),
        (["similar", "a", "--library", "L", "--per-artits", "1"], "Did you mean --per-artist?"),
        (["similar", "a", "--library", "L", "-k", "0"], 'crossfade: similar: Invalid value "0" for -k. Must be >= 1'),
        (["train", "--to", "soon"], "crossfade: --to soon: not a day such as 2024-03-31"),
        (["evaluate", "--library", "L", "-k", "5,x"], "5,x: has to be whole numbers"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and text in err


@pytest.mark.parametrize(
    ("words", "now"),
    [
        ("classify song.mp3 --model M", "--genre-model"),
        ("tag song.mp3 --model=M", "--genre-model"),
        ("report --library L --out R --genres M", "--genre-model"),
        ("genres evaluate M", "--genre-model"),
        ("genres evaluate M labels.csv", "--genre-model"),
        ("evaluate --split user --library L", "--split user is now called --protocol within-user;"),
        ("evaluate --library L --split=time", "--split time is now called --protocol temporal;"),
        ("evaluate --library L --split random", "--split random is now called --protocol random;"),
        ("evaluate --library L --trials warm", "--trials is now called --scenarios;"),
    ],
)
def test_old_spellings_work_and_name_the_new_one(
    words: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 1
    renamed, error = capsys.readouterr().err.splitlines()
    assert now in renamed
    assert re.match(r"crossfade: (M: not a genre model|L: no library)", error)


def test_an_option_given_twice_has_its_last_value() -> None:
    words = ["similar", "a", "--library", "L", "-k", "1", "-k", "2"]
    _, bound, _ = application().parse_args(words, print_error=False, exit_on_error=False)
    assert bound.arguments["k"] == 2


def test_the_last_day_is_included_by_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("implicit")
    assert main(["train", "--show-config", "--from", "2024-02-01", "--to", "2024-02-28"]) == 0
    out, err = capsys.readouterr()
    assert 'since = "2024-02-01"\nuntil = "2024-02-29"' in out
    assert "includes that day" in err


# -- for eyes --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(words) == 0
    text = terminal.getvalue()
    assert all(cell_len(line) <= WIDTH for line in text.splitlines())
    return text


def test_a_file_is_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "An Artist whose Name is Long" / "The Album that would not End (Deluxe Edition)"
    folder.mkdir(parents=True)
    file = folder / "01 夜に駆ける.flac"
    soundfile.write(file, music_like(4, 16_000, np.random.default_rng(0), bpm=90), 16_000)
    first, *lines = shown(monkeypatch, "classify", str(file)).splitlines()
    genres, facts = lines[: terminal_layout.GENRES], "\n".join(lines[terminal_layout.GENRES :])
    assert re.fullmatch(r"/.*…/.*01 夜に駆ける\.flac  0:04(, not confident)?", first)
    assert all(re.search(r"\d %$|\d%$", line) for line in genres)
    assert re.search(r"^  tempo     (45|90|180) bpm, \d+% sure; else \d+$", facts, re.MULTILINE)
    assert re.search(r"^  key       C major, \d+% sure; else [A-G]#? m\w+or$", facts, re.MULTILINE)
    assert re.search(r"^  loudness  -\d+\.\d LUFS$", facts, re.MULTILINE)
    assert re.search(r"^  texture   \d+% gaps, \d+% filled, moving by \d+\.\d dB$", facts, re.MULTILINE)
    assert facts.endswith("  heard     4 s of it")


RECORDS: dict[str, list[dict[str, Any]]] = {
    "one": [{"path": "/music/" + "a long folder/" * 9 + "song.mp3", "why": "so many words " * 12, "nothing": None}],
    "many": [
        {
            "slice": name,
            "model": "two-tower",
            "users": 1234,
            **dict.fromkeys(map("recall@{}".format, range(9)), "0.123 ±0.004"),
        }
        for name in ("warm", "cold track of a new artist (within-user) and more words")
    ],
    "no numbers": [{"path": "/music/" + "x" * 99 + ".mp3", "reason": "cannot be decoded: " + "words " * 30}] * 2,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_table_is_no_wider_than_the_terminal_and_breaks_no_word(kind: str) -> None:
    rows = RECORDS[kind]
    text = terminal_layout.table(rows, WIDTH)
    assert all(cell_len(line) <= WIDTH for line in text.splitlines())
    words = {word for row in rows for value in row.items() for part in value for word in str(part).split()}
    for word in text.replace("…", " … ").split():
        assert word in words or word in ("…", "–") or "…" in text, word
    if kind == "many":
        # Every part repeats the columns that name the line.
        assert len(re.findall(r"^slice +model", text, re.MULTILINE)) == text.count("\n\n") + 1 > 1


def test_a_track_is_one_line_with_its_reason() -> None:
    names = {"t1": "An Artist – A Title", "t2": "Somebody – Something"}
    fields = {"user_id": "u", "track_id": "t1", "score": 0.5, "because": "t2"}
    assert (
        terminal_layout.track_line(fields, WIDTH, names)
        == " 0.500  An Artist – A Title  because of Somebody – Something"
    )
    assert terminal_layout.track_line(fields | {"because": None}, WIDTH, {}) == " 0.500  t1"
    long = {"track_id": "t", "score": -0.25, "artist": "名前 " * 20, "title": "word " * 30, "because": "another " * 20}
    line = terminal_layout.track_line(long, WIDTH)
    assert cell_len(line) <= WIDTH and "because of" in line and "\n" not in line


def test_a_terminal_without_these_letters_shows_others() -> None:
    class Ascii(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    terminal = Ascii(io.BytesIO(), encoding="ascii")
    console = Console(as_json=False, out=terminal)
    console.record(terminal_layout.track_line, track_id="b\udcff", score=0.5, artist="é", title="…")
    console.record(path="b\udcff")
    console.close()
    terminal.seek(0)
    assert terminal.read() == " 0.500  ? ? ?\npath  b\\udcff\n"


@pytest.mark.parametrize("width", range(4, 60, 7))
def test_texts_are_shortened_in_their_middle(width: int) -> None:
    for text in ("/a/folder of music/another/song.mp3", "many words of a title", "Ω" * 70, "名" * 50, "short"):
        short = terminal_layout.shortened(text, width)
        assert cell_len(short) <= width
        assert short == text or ("…" in short and cell_len(text) > width)


def test_what_is_piped_has_no_view() -> None:
    out = io.StringIO()
    console = Console(as_json=False, out=out)
    console.record(terminal_layout.track_line, track_id="a", score=0.5, artist="é")
    console.close()
    assert out.getvalue() == '{"track_id": "a", "score": 0.5, "artist": "é"}\n'


@pytest.mark.parametrize("terminal", [False, True])
def test_messages_stand_above_a_bar(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal, raising=False)
    console = Console(as_json=True, out=io.StringIO(), err=screen)
    with console.bar("tuning") as progress:
        progress(1, 2, "tuning als")
        console.message("als: [0.5] of it is " + "long " * 40)
    console.message("after")
    lines = screen.getvalue().splitlines()
    assert any(line.endswith("als: [0.5] of it is " + "long " * 40) for line in lines) and lines[-1].endswith("after")
    assert ("tuning als" in screen.getvalue()) == terminal


def test_failures_are_told_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A path and its reason are wrapped, never shortened: a path is what one copies."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    music = tmp_path / "A Folder of Some Length" / "Another Folder, Which Is Longer" / "And One More - In the End"
    music.mkdir(parents=True)
    for name in ("01 - one.mp3", "02 - two.mp3"):
        (music / name).write_text("no music " * 50)
    library = str(tmp_path / "L")
    assert main(["embed", str(music), "--library", library, "--workers", "1"]) == 0
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    assert main(["failures", "--library", library]) == 0
    text = " ".join(terminal.getvalue().split())
    for name in ("01 - one.mp3", "02 - two.mp3"):
        assert f"{music / name}: cannot be decoded" in text
    assert "…" not in text
    assert all(line.startswith(("/", "  ")) for line in terminal.getvalue().splitlines())
    wide = terminal_layout.failure({"path": "/" + "x" * 100, "reason": "too short to be heard"}, 40)
    assert wide.split("\n") == [f"/{'x' * 100}:", "  too short to be heard"]


def test_no_failures_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "music").mkdir()
    assert main(["embed", str(tmp_path / "music"), "--library", str(tmp_path / "L")]) == 0
    capsys.readouterr()
    assert main(["failures", "--library", str(tmp_path / "L")]) == 0
    assert capsys.readouterr() == ("", "no failures\n")


def test_train_without_a_library_names_the_command_that_makes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("implicit")
    folder = tmp_path / "L"
    assert main(["train", "--library", str(folder)]) == 1
    told = f"crossfade: {folder}: no library here; `crossfade listens LOG --library {folder}` makes one\n"
    assert capsys.readouterr() == ("", told)
    assert not folder.exists()
