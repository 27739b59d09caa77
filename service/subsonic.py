"""A music player that speaks Subsonic's API, as Navidrome, Gonic, Airsonic and others do: playlists are put there.

See https://www.subsonic.org/pages/api.jsp. Such a player has ids of its own for its songs, and tells no path that could
be relied on: a track is the song of its title by one of its artists, of several the one whose length is nearest. A
playlist that was put there carries a mark in its comment, by which it is found and replaced the next time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from hashlib import md5
from typing import Any

import httpx

from ..errors import DataError
from ..pipelines.library.playlists import ListedTrack
from .settings import PLAYER_VARIABLES, PlayerAccount

_VERSION = "1.13.0"
"""of the API: the first with salted tokens"""
_TIMEOUT_SECONDS = 15.0
_SONGS_AT_ONCE = 100
"""ids stand in an address, which has to stay short"""
_FOUND = 50

Parameters = list[tuple[str, str]]


class SubsonicPlayer:
    def __init__(self, account: PlayerAccount) -> None:
        self._account = account

    def put_playlist(self, name: str, mark: str, tracks: Sequence[ListedTrack]) -> int:
        """Puts the tracks there in place of what has this mark; returns how many of them the player has.

        DataError where it has none of them, has a playlist of this name without the mark, or does not answer.
        """
        address = self._account.url.rstrip("/") + "/rest/"
        # A player is in the house: an environment's proxy does not lead there.
        with httpx.Client(base_url=address, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            songs = [song for one in tracks if (song := self._song_of(client, one)) is not None]
            if not songs:
                raise DataError(f"{name}: the player has none of its tracks")
            known = self._ask(client, "getPlaylists", []).get("playlists", {}).get("playlist", [])
            before = next((one["id"] for one in known if one.get("comment") == mark), None)
            if before is None and any(one["name"] == name for one in known):
                raise DataError(f"{name}: the player has a playlist of this name already; rename one of the two")
            target = [("name", name)] if before is None else [("playlistId", before)]
            made = self._ask(client, "createPlaylist", [*target, *_each("songId", songs[:_SONGS_AT_ONCE])])
            # Older versions of the API do not answer with what was made.
            number = before or made.get("playlist", {}).get("id") or self._newest(client, name)
            self._ask(client, "updatePlaylist", [("playlistId", number), ("name", name), ("comment", mark)])
            for start in range(_SONGS_AT_ONCE, len(songs), _SONGS_AT_ONCE):
                more = _each("songIdToAdd", songs[start : start + _SONGS_AT_ONCE])
                self._ask(client, "updatePlaylist", [("playlistId", number), *more])
        return len(songs)

    def _newest(self, client: httpx.Client, name: str) -> str:
        known = self._ask(client, "getPlaylists", [])["playlists"]["playlist"]
        return str(next(one["id"] for one in known if one["name"] == name))

    def _song_of(self, client: httpx.Client, track: ListedTrack) -> str | None:
        title = track.title or (track.path.stem if track.path else track.track_id)
        asked = [("query", title), ("songCount", str(_FOUND)), ("artistCount", "0"), ("albumCount", "0")]
        found = self._ask(client, "search3", asked).get("searchResult3", {}).get("song", [])
        artists = [artist.casefold() for artist in track.artists]
        same = [
            song
            for song in found
            if song["title"].casefold() == title.casefold()
            and (not artists or any(artist in song.get("artist", "").casefold() for artist in artists))
        ]
        length = track.duration_seconds or 0.0
        nearest = min(same, key=lambda song: abs(song.get("duration", 0) - length), default=None)
        return None if nearest is None else str(nearest["id"])

    def _ask(self, client: httpx.Client, method: str, parameters: Parameters) -> dict[str, Any]:
        salt = secrets.token_hex(8)
        token = md5((self._account.password + salt).encode(), usedforsecurity=False).hexdigest()
        who = [("u", self._account.user), ("t", token), ("s", salt), ("v", _VERSION), ("c", "crossfade"), ("f", "json")]
        try:
            answer = client.get(method, params=httpx.QueryParams([*who, *parameters]))
            content: dict[str, Any] = answer.json()["subsonic-response"]
            if content["status"] != "ok":
                raise DataError(f"the player at {self._account.url} says: {content['error']['message']}")
        # The address that failed holds the token: it is not echoed.
        except httpx.HTTPError as error:
            raise DataError(f"the player at {self._account.url} does not answer ({type(error).__name__})") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"the player at {self._account.url} does not speak Subsonic's API; check {PLAYER_VARIABLES[0]}"
            ) from None
        return content


def _each(name: str, values: Iterable[str]) -> Parameters:
    return [(name, value) for value in values]
