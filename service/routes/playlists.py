"""Playlists: made, changed, deleted, and taken away as files."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ...errors import DataError
from ...pipelines.library.folder_layout import within_place
from ...pipelines.library.playlist_files import ListedFile, jspf, m3u, playlist_mark, put_among_music
from ...pipelines.library.playlists import ListedTrack, Playlist
from ...pipelines.library.scan import readable
from ...pipelines.library.store import Library
from ..errors import Problem, check_tracks, documented
from ..parameters import MANAGER, Id, WholeNumber
from ..response_schemas import FoundTrack
from ..subsonic import SubsonicPlayer

MOST_TRACKS = 10_000
PlaylistId = Annotated[int, PathParameter(ge=1, lt=2**31)]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00-\x1f]+$")
]
TrackIds = Annotated[list[Id], Field(max_length=MOST_TRACKS)]


_M3U8 = "application/vnd.apple.mpegurl"


class PlaylistSummary(BaseModel):
    playlist_id: int
    name: str
    tracks: int = Field(description="how many")
    changed_at: int = Field(description="seconds since 1970")


class AllPlaylists(BaseModel):
    playlists: list[PlaylistSummary] = Field(description="the one that was changed last comes first")


class PlaylistTrack(FoundTrack):
    in_library: bool = Field(description="false: the library does not have it any more")
    duration_seconds: float | None


class FullPlaylist(BaseModel):
    playlist_id: int
    name: str
    revision: int = Field(description="to be sent with a change")
    changed_at: int = Field(description="seconds since 1970")
    tracks: list[PlaylistTrack]


class TracksForPlaylist(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"name": "Rainy days", "track_ids": ["folk/nocturne.mp3"]}]},
    )

    name: Name
    track_ids: TrackIds = []


class ChangedPlaylist(BaseModel):
    """What is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    revision: WholeNumber = Field(
        description="of the playlist that this is a change of; 409 where it is another one by now"
    )
    name: Name | None = None
    track_ids: TrackIds | None = None


class SentPlaylist(BaseModel):
    file: str | None = Field(description="the folder's name and the file's; null: it was put into a connected player")
    tracks: int
    left_out: int = Field(description="tracks whose file is not there, or which the connected player does not have")


class FileFormat(StrEnum):
    M3U8 = "m3u8"
    JSPF = "jspf"


def playlist_routes(folder: Path, player: SubsonicPlayer | None) -> APIRouter:
    routes = APIRouter(tags=["playlists"])

    @routes.get("/v1/playlists", responses=documented())
    def playlists() -> AllPlaylists:
        """All playlists of the library."""
        with Library.open(folder) as library:
            return AllPlaylists(playlists=[_summary(one) for one in library.playlists()])

    @routes.post(
        "/v1/playlists",
        responses={201: {"model": PlaylistSummary, "description": "A new one"}, **documented(400, 404)},
    )
    def add(wanted: TracksForPlaylist, response: Response) -> PlaylistSummary:
        """Puts tracks behind those of the playlist of this name, which is made where there is none.

        A track that is there already is left out.
        """
        with Library.open(folder) as library, library.transaction():
            check_tracks(library, wanted.track_ids)
            if library.playlist_named(wanted.name) is None:
                response.status_code = 201
            changed = library.add_to_playlist(wanted.name, wanted.track_ids)
            _check_length(changed)
            return _summary(changed)

    @routes.get("/v1/playlists/{playlist_id}", responses=documented(404))
    def playlist(playlist_id: PlaylistId) -> FullPlaylist:
        """One playlist with its tracks."""
        with Library.open(folder) as library:
            return _full(library, _known(library, playlist_id))

    @routes.put("/v1/playlists/{playlist_id}", responses=documented(400, 404, 409))
    def change(playlist_id: PlaylistId, wanted: ChangedPlaylist) -> FullPlaylist:
        """Another name, other tracks, or another order."""
        with Library.open(folder) as library, library.transaction():
            before = _known(library, playlist_id)
            if wanted.revision != before.revision:
                raise Problem(409, f"{before.name}: was changed meanwhile; read it again")
            name = wanted.name or before.name
            other = library.playlist_named(name)
            if other is not None and other.playlist_id != playlist_id:
                raise Problem(409, f"{name}: there is a playlist of this name already")
            track_ids = before.track_ids if wanted.track_ids is None else tuple(wanted.track_ids)
            check_tracks(library, set(track_ids) - set(before.track_ids))
            return _full(library, library.change_playlist(replace(before, name=name, track_ids=track_ids)))

    @routes.delete("/v1/playlists/{playlist_id}", status_code=204, responses=documented(404))
    def delete(playlist_id: PlaylistId) -> None:
        """Deletes the playlist; its tracks stay."""
        with Library.open(folder) as library:
            if not library.remove_playlist(playlist_id):
                raise _unknown(playlist_id)

    @routes.get(
        "/v1/playlists/{playlist_id}/file",
        response_class=Response,
        responses={
            200: {
                "description": "The playlist's file; its paths begin at the embedded folders",
                "content": {_M3U8: {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}},
            },
            **documented(404),
        },
    )
    def file(playlist_id: PlaylistId, format: Annotated[FileFormat, Query()] = FileFormat.M3U8) -> Response:
        """The playlist for other players. It belongs into the folder that was embedded: paths begin there."""
        with Library.open(folder) as library:
            known = _known(library, playlist_id)
            tracks = _files(library, known)
        content = m3u(tracks) if format is FileFormat.M3U8 else jspf(known.name, tracks)
        name = f'attachment; filename="playlist-{playlist_id}.{format}"'
        return Response(content, media_type=_MEDIA_TYPES[format], headers={"Content-Disposition": name})

    @routes.post("/v1/playlists/{playlist_id}/send", dependencies=[MANAGER], responses=documented(403, 404, 409))
    def send(playlist_id: PlaylistId) -> SentPlaylist:
        """Puts it into the connected player; without one, an M3U8 file among the music, where Navidrome, Jellyfin and
        other players find it by themselves.

        The file lies in the embedded folder that has most of its tracks. Sent again, it replaces what was sent before.
        """
        with Library.open(folder) as library:
            known = _known(library, playlist_id)
            listed = library.listed_tracks(known.track_ids)
            places = [place for place in library.places() if place.is_dir()]
        if player is not None:
            try:
                count = player.put_playlist(known.name, playlist_mark(playlist_id), listed)
            except DataError as error:
                raise Problem(409, str(error)) from None
            return SentPlaylist(file=None, tracks=count, left_out=len(listed) - count)
        files = [_file(one, one.path) for one in listed if one.path is not None and one.path.exists()]
        if not files or not places:
            raise Problem(409, f"{known.name}: none of its tracks lies in a folder that was embedded here")
        place = max(places, key=lambda place: sum(one.path.is_relative_to(place) for one in files))
        try:
            written = put_among_music(place, known.name, playlist_id, files)
        except DataError as error:
            raise Problem(409, str(error)) from None
        except OSError as error:
            raise Problem(409, f"{place.name}: cannot be written to ({error.strerror})") from None
        return SentPlaylist(
            file=readable(f"{place.name}/{written.name}"), tracks=len(files), left_out=len(listed) - len(files)
        )

    return routes


_MEDIA_TYPES = {FileFormat.M3U8: _M3U8, FileFormat.JSPF: "application/json"}


def _summary(playlist: Playlist) -> PlaylistSummary:
    return PlaylistSummary(
        playlist_id=playlist.playlist_id,
        name=playlist.name,
        tracks=len(playlist.track_ids),
        changed_at=playlist.changed_at,
    )


def _full(library: Library, playlist: Playlist) -> FullPlaylist:
    tracks = [
        PlaylistTrack(
            track_id=one.track_id,
            title=one.title,
            artists=list(one.artists),
            has_audio=one.path is not None,
            in_library=one.in_library,
            duration_seconds=one.duration_seconds,
        )
        for one in library.listed_tracks(playlist.track_ids)
    ]
    return FullPlaylist(
        playlist_id=playlist.playlist_id,
        name=playlist.name,
        revision=playlist.revision,
        changed_at=playlist.changed_at,
        tracks=tracks,
    )


def _files(library: Library, playlist: Playlist) -> list[ListedFile]:
    """Their paths begin at the embedded folders: the others are this machine's own business."""
    places = library.places()
    listed = library.listed_tracks(playlist.track_ids)
    return [_file(one, within_place(one.path, places)) for one in listed if one.path is not None]


def _file(track: ListedTrack, path: Path) -> ListedFile:
    return ListedFile(path, track.title or track.track_id, ", ".join(track.artists) or None, track.duration_seconds)


def _known(library: Library, playlist_id: int) -> Playlist:
    found = library.playlist(playlist_id)
    if found is None:
        raise _unknown(playlist_id)
    return found


def _unknown(playlist_id: int) -> Problem:
    return Problem(404, f"{playlist_id}: no such playlist")


def _check_length(playlist: Playlist) -> None:
    if len(playlist.track_ids) > MOST_TRACKS:
        raise Problem(422, f"{playlist.name}: would have more than {MOST_TRACKS:,} tracks")
