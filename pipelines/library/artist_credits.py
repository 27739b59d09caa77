"""Credits: all artists of a track, those included that only its title or a joint artist name gives.

    feat. X, (ft. X & Y), [featuring X]      guests
    (with X), (duet with X)                  guests, where they are artists of the catalogue: "Dance (With Me)" has none
    - X Remix, (X & Y Remix)                 remixers, where they are artists of the catalogue: a "Radio Edit" has none
    A feat. X, A x B, A; B, A & B, A, B      as an artist: the name as it is, then the parts that are credited

A name with "&", "and" or "," in it may be one band. It is taken apart only where the catalogue knows a part of two
words or more, or all parts: so "Simon & Garfunkel" and "Earth, Wind & Fire" stay whole although somebody is called
Fire. Names are compared without case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...models.catalogue import COLLECTIVE_ARTISTS

Names = tuple[str, ...]

_GUESTS = re.compile(r"(?i)[\(\[\s](?:feat|ft|featuring)\b\.?\s+([^()\[\]]+?)(?=\s+-\s|\s*[\(\[\)\]]|\s+/\s|$)")
_WITH = re.compile(r"(?i)[\(\[](?:duet\s+)?with\s+([^()\[\]]+?)(?=\s+(?:feat|ft|featuring)\b|[\)\]])")
_REMIX = re.compile(r"(?i)(?:\s[-–—]\s|[\(\[])([^()\[\]–—]+?)(?:['’]s)?\s+(?:remix|mix|edit|rework|bootleg|flip)\b")
_JOINT = re.compile(r"(?i)\s+(?:feat|ft|featuring|vs|x|×)\b\.?\s+|\s*;\s*|\s+/\s+")
_LIST = re.compile(r"(?i)(\s*,\s*(?:and\s+|&\s*)?|\s+(?:&|and|\+|x|×|vs\.?)\s+)")


class Credits:
    """Reads credits with the artist names of one catalogue at hand."""

    def __init__(self, artists: Iterable[Sequence[str]], titles: Iterable[str | None] = ()) -> None:
        """All tracks' artists and titles: whoever is the only guest of some track is an artist, too."""
        self._known: dict[str, str] = {}
        for names in artists:
            self._learn(names)
        for title in titles:
            for guests in _GUESTS.findall(title or ""):
                if not _LIST.search(guests):
                    self._learn((guests.strip(),))

    def of(self, artists: Sequence[str], title: str | None) -> Names:
        """All artists of a track, the given ones first.

        >>> credits = Credits([["Sia"], ["Fetty Wap"], ["Simon & Garfunkel"], ["Fire"]])
        >>> credits.of(["David Guetta"], "Bang My Head (feat. Sia & Fetty Wap) - Fire Remix")
        ('David Guetta', 'Sia', 'Fetty Wap', 'Fire')
        >>> credits.of(["Earth, Wind & Fire"], "September")
        ('Earth, Wind & Fire',)
        """
        found = list(artists)
        for name in artists:
            found += self._parts_of(name)
        if title and not title.isalnum():
            for guests in _GUESTS.findall(f" {title}"):
                found += self._listed(guests, unknown=True)
            for pattern in (_WITH, _REMIX):
                for names in pattern.findall(title):
                    found += self._listed(names, unknown=False)
        seen: dict[str, str] = {}
        for name in found:
            seen.setdefault(name.casefold(), name)
        return tuple(seen.values())

    def _learn(self, names: Iterable[str]) -> None:
        for name in names:
            if name.strip().casefold() not in COLLECTIVE_ARTISTS:
                self._known.setdefault(name.casefold(), name)

    def _parts_of(self, name: str) -> list[str]:
        """Who else is credited by a joint name; nobody where it is a band's."""
        sure = [part.strip() for part in _JOINT.split(name)]
        found: list[str] = []
        if len(sure) > 1:
            for part in sure:
                found += self._listed(part, unknown=True)
            return found
        if not _LIST.search(name):
            return []
        parts = _LIST.split(name)[::2]
        known = [part for part in self._listed(name, unknown=False) if part.casefold() != name.casefold()]
        whole = all(part.casefold() in self._known for part in parts)
        return known if whole else [part for part in known if " " in part]

    def _listed(self, text: str, *, unknown: bool) -> list[str]:
        """The names in "X, Y & Z", the longest known ones first; other parts too with `unknown`."""
        pieces = _LIST.split(text.strip())
        found: list[str] = []
        start = 0
        while start < len(pieces):
            for stop in range(len(pieces), start, -2):
                known = self._known.get("".join(pieces[start:stop]).casefold())
                if known is not None:
                    found.append(known)
                    start = stop + 1
                    break
            else:
                if unknown and pieces[start].strip():
                    found.append(pieces[start].strip())
                start += 2
        return found
