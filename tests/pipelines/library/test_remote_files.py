"""Files at URLs: found, named and copied as those of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossfade.errors import UsageError
from crossfade.pipelines.library.remote_files import local_copy, remote_files, url_of
from crossfade.pipelines.library.scan import absolute, check_place, scan
from crossfade.pipelines.library.tracks import StoredFile


def test_a_path_of_a_url_gives_it_back() -> None:
    assert url_of(Path("s3://bucket/a b/c.mp3")) == "s3://bucket/a b/c.mp3"
    assert url_of(Path("file:///music/c.mp3")) == "file:///music/c.mp3"
    assert url_of(Path("/music/s3:/c.mp3")) is None
    assert url_of(Path("C.mp3")) is None
    assert absolute(Path("s3://bucket/x")) == Path("s3://bucket/x")


def test_tracks_of_a_url_are_named_by_their_place_below_it(source: Path) -> None:
    for name in ("b.mp3", "a/a.flac", "cover.jpg.txt", ".hidden/c.mp3"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(name.encode())
    place = Path(source.as_uri())
    found = list(scan([place], {}))
    assert [one.track_id for one in found] == ["a/a.flac", "b.mp3"]
    assert sorted(one.track_id for one in scan([source], {})) == ["a/a.flac", "b.mp3"]
    stored = StoredFile.of(found[0].path)
    assert stored.path == f"file://{source}/a/a.flac".encode()
    assert (stored.size, stored.mtime_ns // 10**9) == (8, (source / "a/a.flac").stat().st_mtime_ns // 10**9)
    with local_copy(found[0].path) as file:
        assert file.read_bytes() == b"a/a.flac"
        assert file.suffix == ".flac"
    assert not file.exists()
    assert [name for _, name in remote_files(f"file://{source}/b.mp3")] == ["b.mp3"]


def test_two_tracks_of_different_urls_never_share_an_id(source: Path) -> None:
    for folder in ("one", "two"):
        (source / folder).mkdir()
        (source / folder / "a.mp3").write_bytes(b"")
    places = [Path((source / folder).as_uri()) for folder in ("one", "two")]
    assert [one.track_id for one in scan(places, {})] == ["a.mp3", "two/a.mp3"]


def test_what_is_not_there_or_no_scheme_is_said(source: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        check_place(Path((source / "none").as_uri()))
    with pytest.raises(UsageError, match="nosuchscheme"):
        check_place(Path("nosuchscheme://x/y"))
