"""Settings: what one process of the service does (its role), its address and limits, and where the others are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Self

from cyclopts import Parameter, Token

from ..errors import UsageError
from ..option_types import Flag
from ..pipelines.commands.options import LibraryFolder

MEBIBYTE = 2**20


class Role(StrEnum):
    ALL = "all"
    """everything in one process, and the web page"""
    RECOMMEND = "recommend"
    SIMILAR = "similar"
    """nearest tracks, uploads, the tracks themselves"""
    EVENTS = "events"
    """what listeners do, and their own data"""

    @property
    def port(self) -> int:
        return {Role.RECOMMEND: 8000, Role.SIMILAR: 8010, Role.EVENTS: 8020}.get(self, 8000)

    def has(self, role: Role) -> bool:
        """Whether a process of this role does what `role` does."""
        return self in (Role.ALL, role)


EVENTS_URL_VARIABLE = "CROSSFADE_EVENTS_URL"
"""environment: where the recommend role finds the events role"""
KEY_VARIABLE = "CROSSFADE_API_KEY"
"""environment: the key that the recommend role sends to the events role, which has the same one"""
PLAYER_VARIABLES = ("CROSSFADE_SUBSONIC_URL", "CROSSFADE_SUBSONIC_USER", "CROSSFADE_SUBSONIC_PASSWORD")
"""environment: a music player that speaks Subsonic's API, and as whom it is asked"""
ROLE_HEADER = "Crossfade-Role"
"""header of a request from one role to another: its clients were counted by the role that asks"""


def _shown(size: int) -> str:
    return f"{size / MEBIBYTE:g}"


def _mebibytes(kind: object, tokens: Sequence[Token]) -> int:
    return int(float(tokens[-1].value) * MEBIBYTE)


@dataclass(frozen=True)
class PlayerAccount:
    """A music player that playlists are put into."""

    url: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def of_environment(cls) -> Self | None:
        """None where it names no player; UsageError where it names one in part."""
        values = [os.environ.get(name, "") for name in PLAYER_VARIABLES]
        if not any(values):
            return None
        if not all(values) or not values[0].startswith(("http://", "https://")):
            raise UsageError(f"{PLAYER_VARIABLES[0]}: an http address; {', '.join(PLAYER_VARIABLES[1:])} belong to it")
        return cls(*values)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a process serves; the options of `crossfade serve` but for what is not parsed."""

    library: LibraryFolder
    role: Role = Role.ALL
    """of this process; apart, they find each other by CROSSFADE_EVENTS_URL"""
    host: str = "127.0.0.1"
    """address; others than this machine's need a key"""
    port: int | None = None
    """8000; 8010 for similar, 8020 for events"""
    workers: int = 1
    """processes that answer at the address; a core of its own for each"""
    database: str | None = None
    """URL of the event store (SQLite in the library), or postgresql://…"""
    require_key: Flag = False
    """ask for a key on this machine, too"""
    allowed_origins: Annotated[tuple[str, ...], Parameter(name="--allow-origin", show_default=False)] = ()
    """web origin that may call; may be repeated"""
    requests_per_second: Annotated[float, Parameter(name="--rate")] = 200.0
    """requests a second per client, with bursts of twice as many; 0 for no limit"""
    upload_bytes: Annotated[
        int, Parameter(name="--upload-limit", converter=_mebibytes, n_tokens=1, show_default=_shown)
    ] = 256 * MEBIBYTE
    """MiB of an upload"""
    uploads: int = 16
    """uploads at once, arriving and waiting; more get a 503"""
    uploads_bytes: Annotated[int | None, Parameter(name="--uploads-limit", converter=_mebibytes, n_tokens=1)] = None
    """MiB of these together (four of the largest)"""
    events_url: Annotated[str, Parameter(parse=False)] = f"http://127.0.0.1:{Role.EVENTS.port}"
    """of the events role, for a process that has not got it"""
    player: Annotated[PlayerAccount | None, Parameter(parse=False)] = None
    """that playlists are put into; None: a file among the music"""
    outgoing_key: Annotated[str | None, Parameter(parse=False)] = None
    """what the recommend role sends to the events role"""
    body_seconds: Annotated[float, Parameter(parse=False)] = 60.0
    """how long a client may take to send its body"""
    follow_seconds: Annotated[float, Parameter(parse=False)] = 0.5
    """how often to look for a new version"""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"workers: {self.workers}; it has to be at least 1")
        if self.uploads < 1 or self.max_uploads_bytes < self.upload_bytes:
            raise UsageError(
                f"uploads: {self.uploads} at once of {_shown(self.max_uploads_bytes)} MiB together; there has to be "
                f"room for one of {_shown(self.upload_bytes)} MiB"
            )

    @property
    def max_uploads_bytes(self) -> int:
        return 4 * self.upload_bytes if self.uploads_bytes is None else self.uploads_bytes

    @property
    def database_url(self) -> str:
        from ..pipelines.interactions.live_events import FILE_NAME

        return self.database or f"sqlite:///{self.library.absolute() / FILE_NAME}"

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK


LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
