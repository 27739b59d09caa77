"""What Crossfade raises.

    CrossfadeError
    ├── AudioError       a file that cannot be heard; `reason` is what `failures` prints
    ├── DataError        a log, table, manifest or label file that cannot be used; names file and column
    ├── LibraryError     a library or model folder that cannot be opened, or does not match
    ├── ResourceError    memory, disk or a worker process gave out; no file is to blame
    ├── UsageError       an argument that makes no sense; exit status 2
    └── MissingExtra     an optional dependency that is not installed; names the pip command that cures it

Every message is one line of the form `WHAT: WHY`, with the cure where there is one.
"""

import errno
import os
from importlib import import_module
from typing import Any


class CrossfadeError(Exception):
    """Base of all that Crossfade raises on purpose; `str(error)` is one line for a person."""


class AudioError(CrossfadeError):
    """A file that cannot be heard, for a short reason such as `silent` or `not audio`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: str | os.PathLike[str] | None = None
        """set by the recording that could not be heard"""

    def __str__(self) -> str:
        if self.path is None:
            return self.reason
        return f"{os.fsencode(self.path).decode('utf-8', 'backslashreplace')}: {self.reason}"


class DataError(CrossfadeError):
    """A table or text file that cannot be used; the message names the file and, where there is one, the column."""


class LibraryError(CrossfadeError):
    """A library or model folder that is missing, newer than this program, or does not match."""


class ResourceError(CrossfadeError):
    """The machine gave out, not the input: no memory, a full or failing disk, a process that cannot start."""


class UsageError(CrossfadeError):
    """An argument that makes no sense."""


class MissingExtra(CrossfadeError):
    """An optional dependency that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}: needs packages that are not installed; pip install 'crossfade[{extra}]'")
        self.extra = extra


def optional_module(name: str, what: str, extra: str = "train") -> Any:
    """A module that only an extra installs; MissingExtra, naming `what` needs it, where it is not there."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra(what, extra) from error


MACHINE_FAULTS = frozenset(
    (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENODEV)
)
"""what an OSError says of the disk or the machine, whichever file it came with"""
