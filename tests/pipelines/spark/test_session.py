"""What is missing or broken is one line, before Spark starts where that can be."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from crossfade.errors import DataError, ResourceError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.schema import SourceLog, sink, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.spark.session import spark_errors

PysparkError = type("PysparkError", (Exception,), {"__module__": "pyspark.errors"})


@pytest.fixture
def folder(library: Library, tmp_path: Path) -> Path:
    """A library with a listen."""
    with writing(library, "one") as (part, _):
        sink(SourceLog(tmp_path, pl.LazyFrame({"user_id": ["a"], "track_id": ["t"]})), part)
    library.close()
    return library.folder


def train(folder: Path, *options: str) -> int:
    return main(["train", "--library", str(folder), "--no-publish", "--engine", "spark", *options])


def test_without_java_the_cure_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("JAVA_HOME", "PYSPARK_GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
    assert train(folder) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs Java 17 or newer" in line
    assert "JAVA_HOME" in line

    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    old.chmod(0o755)
    assert train(folder) == 1
    assert "is Java 8" in capsys.readouterr().err


def test_files_that_are_no_log_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / "listens" / "one.parquet").read_bytes()
    (folder / "listens" / "two.parquet").write_bytes(whole[:-20])
    assert train(folder) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "two.parquet: not a whole Parquet file" in line

    pl.DataFrame({"user_id": [1], "track_id": ["t"]}).write_parquet(folder / "listens" / "two.parquet")
    assert train(folder) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "two.parquet" in line
    assert "user_id" in line


def test_a_master_is_of_spark(folder: Path) -> None:
    assert main(["train", "--library", str(folder), "--master", "yarn"]) == 2


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("Job aborted\n  Traceback\ncrossfade.errors.DataError: a.csv: empty\n\n at java", DataError, "a.csv: empty"),
        (
            "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///a/b.parquet.  SQLSTATE",
            DataError,
            "/a/b",
        ),
        ("x\njava.io.IOException: No space left on device", ResourceError, "spark.local.dir"),
        ("java.lang.OutOfMemoryError: Java heap space", ResourceError, "SPARK_DRIVER_MEMORY"),
        (
            "thrown from the Python worker:\nTraceback\n  x\nKeyError: 'a'\n at java",
            ResourceError,
            "cleaning: KeyError: 'a'",
        ),
        ("Something new\nat org.apache.spark", ResourceError, "cleaning: Something new"),
    ],
)
def test_errors_of_spark_are_one_line(text: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught, spark_errors("cleaning"):
        raise PysparkError(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ZeroDivisionError), spark_errors("cleaning"):
        raise ZeroDivisionError
