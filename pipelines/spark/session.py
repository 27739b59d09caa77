"""A Spark session, and what goes wrong in one said in one line.

Where the program runs under `spark-submit`, or where a session is there already (a notebook of Databricks), that one is
used as it is. Else one is started, on this machine unless `--master` or SPARK_MASTER names another; a Java virtual
machine is part of it, whose messages go into a file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CrossfadeError, DataError, LibraryError, ResourceError, UsageError, optional_module

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASTER_VARIABLE = "SPARK_MASTER"
LOCAL = "local[*,4]"
"""all cores, and up to four attempts at a task, as a cluster has them"""
LEAST_JAVA = 17
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # MLlib runs a task on each core, and each of them would have the library start as many threads.
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    # Tables are sent to the driver on purpose; docs/spark.md says what memory they take.
    "spark.driver.maxResultSize": "0",
    "spark.log.level": "ERROR",
    "spark.ui.showConsoleProgress": "false",
}
_LOCAL_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
"""nothing of a session of this machine can be reached from another"""
_GATEWAY = "PYSPARK_GATEWAY_PORT"
"""set by spark-submit, which started the virtual machine"""
_OURS = {error.__name__: error for error in (DataError, LibraryError, ResourceError, UsageError)}


def spark_session(master: str | None = None, log: Path | None = None) -> SparkSession:
    """The session there is, else a new one; `log` takes what the virtual machine writes.

    ResourceError where the master does not answer.
    """
    from pyspark import sql

    # What PySpark warns of are its conversions to pandas, which nothing here uses.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    there = sql.SparkSession.getActiveSession()
    if there is not None:
        return there
    settings: dict[str, bool | float | int | str | None] = {**_SETTINGS}
    if _GATEWAY not in os.environ:
        master = master or os.environ.get(MASTER_VARIABLE) or LOCAL
    if master is not None:
        settings["spark.master"] = master
        if master.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            settings |= _LOCAL_SETTINGS
            if "SPARK_DRIVER_MEMORY" not in os.environ:
                settings["spark.driver.memory"] = f"{_local_memory_gib()}g"
    with spark_errors(f"Spark at {master or 'spark-submit'}"), _stderr_into(log):
        return sql.SparkSession.builder.appName("crossfade").config(map=settings).getOrCreate()


def check_spark() -> None:
    """MissingExtra without PySpark; ResourceError where there is no Java to start, or too old a one."""
    sql = optional_module("pyspark.sql", "--engine spark", "spark")
    if _GATEWAY in os.environ or sql.SparkSession.getActiveSession() is not None:
        return
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    cure = f"install one (apt install openjdk-{LEAST_JAVA}-jre-headless) or set JAVA_HOME"
    try:
        if java is None:
            raise FileNotFoundError
        told = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        where = f"none at JAVA_HOME={home}" if home else "none on the PATH"
        raise ResourceError(f"--engine spark: needs Java {LEAST_JAVA} or newer, and there is {where}; {cure}") from None
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found and int(found[1]) < LEAST_JAVA:
        raise ResourceError(f"--engine spark: {java} is Java {found[1]}, and Spark 4 needs {LEAST_JAVA}; {cure}")


@contextmanager
def spark_errors(what: str) -> Iterator[None]:
    """Turns errors of Spark, of its virtual machine and of its workers into one line that begins with `what`."""
    try:
        yield
    except CrossfadeError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("pyspark", "py4j"):
            raise
        raise _explained(what, str(error)) from error


def _explained(what: str, text: str) -> CrossfadeError:
    # A worker's own error is the last of its traceback.
    if ours := re.search(rf"^crossfade\.errors\.({'|'.join(_OURS)}): (.+)$", text, re.MULTILINE):
        return _OURS[ours[1]](ours[2])
    if file := re.search(r"(?:FAILED_READ_FILE|CANNOT_READ_FILE_FOOTER)\S*\s.*?(?:file:|file )\s*(\S+?)\.?\s", text):
        return DataError(f"{_path(file[1])}: not a whole Parquet file; fetch or copy it again")
    for sign, cure in _CURES.items():
        if sign in text:
            return ResourceError(f"{what}: {cure}")
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return ResourceError(f"{what}: {raised[-1] if 'Python worker' in lines[0] and raised else lines[0]}")


_CURES = {
    "No space left on device": "no space left on a worker's disk; point spark.local.dir to a larger one",
    "OutOfMemoryError": "no memory left; give more to spark.executor.memory, here SPARK_DRIVER_MEMORY",
    "MEMORY_LIMIT": "no memory left; give more to spark.executor.memory, here SPARK_DRIVER_MEMORY",
    "Python worker exited unexpectedly": "a Python worker was killed again and again; is there enough memory for it?",
    "ModuleNotFoundError: No module named 'crossfade'": "the workers lack Crossfade; see docs/spark.md",
    "All masters are unresponsive": "the master does not answer; is the URL right?",
    "Could not parse Master URL": "no such master; spark://HOST:PORT, yarn, k8s://URL or local[*]",
    "Error while sending or receiving": "the Java virtual machine was killed; is there enough memory for it?",
    "JAVA_GATEWAY_EXITED": "the Java virtual machine ended at once; is there enough memory for it?",
}
"""part of a message -> what it means, and the cure"""


def _path(url: str) -> str:
    return re.sub(r"^file:/+", "/", url)


def _local_memory_gib() -> int:
    """A quarter of the machine's memory: the workers, and the trained model, need the rest."""
    return max(1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**32)


@contextmanager
def _stderr_into(log: Path | None) -> Iterator[None]:
    """What is started meanwhile has this file as its stderr."""
    if log is None or _GATEWAY in os.environ:
        yield
        return
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
