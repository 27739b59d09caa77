"""One Spark session for all tests of a process: starting one takes ten seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import need

from crossfade.errors import CrossfadeError
from crossfade.pipelines.spark.engine import SparkEngine
from crossfade.pipelines.spark.session import check_spark


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkEngine]:
    try:
        check_spark()
    except CrossfadeError as error:
        need("spark", False, str(error))
    os.environ.setdefault("SPARK_DRIVER_MEMORY", "1g")
    # On tables this small, compiling takes longer than running.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    folder: Path = tmp_path_factory.mktemp("spark")
    engine = SparkEngine("local[2,4]", folder)
    for name, value in {"shuffle.partitions": "2", "codegen.wholeStage": "false"}.items():
        engine.session.conf.set(f"spark.sql.{name}", value)
    yield engine
    engine.session.stop()
