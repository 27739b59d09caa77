"""How much memory the steps of a training will need, said before they start.

A step's peak is linear in the log's listens, users and tracks, but for samples. The coefficients are the widths of what
is held at once; some were compared with measured peaks, and are a quarter above them (docs/scale.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import DataError
from ...models.machine import available_bytes
from ..library.progress import Message

_BASE = 250_000_000
"""the program itself, with its libraries"""
_WORTH_A_LINE = 1_000_000_000


@dataclass(frozen=True)
class LogSize:
    listens: int
    users: int
    tracks: int
    """in the library"""
    factors: int

    def of_users(self, share: float) -> LogSize:
        """With a sample of the users."""
        return replace(self, users=int(share * self.users), listens=int(share * self.listens))


def bytes_needed(step: str, size: LogSize) -> int:
    """The peak of a step, roughly."""
    vectors = 4 * size.factors * (size.users + size.tracks)
    per_listen, of_vectors, per_track = _COEFFICIENTS[step]
    sample = 0 if step == "artefacts" else min(_PER_SAMPLED_LISTEN * size.listens, _MOST_OF_SAMPLE)
    if step == "ranking":
        sample += min(_PER_USER_RANKED * size.users, _MOST_RANKED)
    return _BASE + sample + per_listen * size.listens + of_vectors * vectors + per_track * size.tracks


_COEFFICIENTS = {"hybrid": (61, 3, 2_000), "ranking": (110, 5, 12_000), "artefacts": (60, 3, 12_000)}
"""step -> (bytes of a listen, copies of the factors, bytes of a track)"""
_PER_SAMPLED_LISTEN, _MOST_OF_SAMPLE = 110, 500_000_000
"""bytes of a listen, and of the sample, on which the hybrid's options are chosen"""
_PER_USER_RANKED, _MOST_RANKED = 200_000, 800_000_000
"""bytes of a user, and of all users, in the ranker's training"""


def check_memory(step: str, size: LogSize, message: Message, *, available: int | None = None) -> None:
    """Says what the step will need, where that is more than a small library does; DataError where there is less."""
    needed, available = bytes_needed(step, size), available_bytes() if available is None else available
    there = "" if available is None else f" of {available / 1e9:.1f} GB that are free"
    if needed > _WORTH_A_LINE:
        message(f"{step}: about {needed / 1e9:.1f} GB of memory{there}")
    if available is not None and needed > available:
        shares = (percent / 100 for percent in range(95, 0, -1))
        share = next((share for share in shares if bytes_needed(step, size.of_users(share)) < 0.9 * available), None)
        sample = "" if share is None else f"fewer users (--users-sample {share}) or "
        raise DataError(
            f"{step}: needs about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB are free; train on "
            f"{sample}fewer tracks (--min-track-listens), or end other programs"
        )
