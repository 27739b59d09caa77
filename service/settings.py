"""Settings: what one process of the service does (its role), its address and limits, and where the others are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import UsageError
from ..pipelines.interactions.live_events import FILE_NAME


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
ROLE_HEADER = "Crossfade-Role"
"""header of a request from one role to another: its clients were counted by the role that asks"""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a process serves."""

    library: Path
    role: Role = Role.ALL
    host: str = "127.0.0.1"
    port: int | None = None
    """None means the role's own"""
    database: str | None = None
    """URL of the event store; None means `events.db` in the library"""
    events_url: str = f"http://127.0.0.1:{Role.EVENTS.port}"
    """of the events role, for a process that has not got it"""
    outgoing_key: str | None = None
    require_key: bool = False
    """also on loopback"""
    allowed_origins: tuple[str, ...] = ()
    """web origins that may call from a browser (CORS)"""
    requests_per_second: float = 200.0
    """per client, with bursts of twice as many; 0 for no limit"""
    upload_bytes: int = 256 * 1024 * 1024
    uploads: int = 16
    """at once, those that are still arriving and those that wait to be analyzed"""
    uploads_bytes: int | None = None
    """of all of these together; None means four of the largest"""
    body_seconds: float = 60.0
    """how long a client may take to send its body"""
    follow_seconds: float = 0.5
    """how often to look for a new version"""

    def __post_init__(self) -> None:
        if self.uploads < 1 or self.max_uploads_bytes < self.upload_bytes:
            raise UsageError(
                f"uploads: {self.uploads} at once of {self.max_uploads_bytes / 2**20:g} MiB together; there has to be "
                f"room for one of {self.upload_bytes / 2**20:g} MiB"
            )

    @property
    def max_uploads_bytes(self) -> int:
        return 4 * self.upload_bytes if self.uploads_bytes is None else self.uploads_bytes

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.library.absolute() / FILE_NAME}"

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK


LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
