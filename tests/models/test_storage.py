"""Storage: a file is replaced whole or not at all, and a content has one hash."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

from crossfade.models.storage import content_hash, replacing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_several_may_replace_a_file_at_once(tmp_path: Path) -> None:
    """One of them is last, and what it wrote is whole."""
    file = tmp_path / "f"

    def write(number: int) -> None:
        with replacing(file) as part:
            part.write_text(f"{number}" * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    text = file.read_text()
    assert text == text[0] * 10_000
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    """A part that is still written to stays."""
    file = tmp_path / "a[b]"
    left, busy = tmp_path / "a[b].1-1.part", tmp_path / "a[b].2-2.part"
    for part in (left, busy):
        part.write_text("")
    days_ago = time.time() - 3 * 24 * 3600
    os.utime(left, (days_ago, days_ago))
    with replacing(file) as part:
        part.write_text("whole")
    assert sorted(tmp_path.iterdir()) == [file, busy]


def test_a_content_has_one_hash_however_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc" * 1000)
    assert content_hash(file) == content_hash(b"abc" * 1000) == content_hash([b"abc"] * 1000)
    assert content_hash(b"abc") == hashlib.blake2b(b"abc", digest_size=16).hexdigest()
    assert content_hash(file, "sha256") == hashlib.sha256(b"abc" * 1000).hexdigest()


@pytest.mark.parametrize(
    ("word", "homes"),
    [
        # The page's script is named by its hash in a header, in base64; a player's token is a hash that it prescribes.
        ("hashlib", {"models/storage.py", "service/routes/page.py", "service/subsonic.py"}),
        # The journal of written tags grows line by line.
        ("os.fsync", {"models/storage.py", "pipelines/genres/tag_writer.py"}),
        (".fetchall(", {"pipelines/library", "pipelines/interactions/live_events.py"}),
    ],
)
def test_hashes_durable_writes_and_sql_have_one_home(word: str, homes: set[str]) -> None:
    for layer in ("audio", "models", "pipelines", "service"):
        for file in (ROOT / layer).rglob("*.py"):
            path = file.relative_to(ROOT)
            if word in file.read_text():
                assert {path.as_posix(), path.parent.as_posix()} & homes, f"{path}: {word}"
