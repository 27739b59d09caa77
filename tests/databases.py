"""Event stores for tests: SQLite in a folder, and a PostgreSQL of our own that nobody else reaches."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import need


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; Debian keeps them off the path."""
    folders = [Path(found).resolve().parent for found in [shutil.which("pg_ctl")] if found]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database of a cluster that lives as long as the block, reached by a Unix socket only."""
    programs = postgres_programs()
    need("postgres", programs is not None, "PostgreSQL is not installed (Debian: postgresql-15)")
    assert programs is not None
    # The server refuses to run as root.
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with tempfile.TemporaryDirectory(prefix="crossfade-pg-", dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, owner)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [programs / program, *arguments],
                check=True,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                user=owner if os.geteuid() == 0 else None,
            )

        data = str(folder / "data")
        run("initdb", "-D", data, "-U", "crossfade", "-A", "trust", "-E", "UTF8", "--locale=C")
        run("pg_ctl", "-D", data, "-w", "-o", f"-k {folder} -c listen_addresses=''", "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://crossfade@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
