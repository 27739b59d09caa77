"""The library itself: what is in it, what failed and why, how much of it is listened to, and its report."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from ...pipelines.library.folder_layout import within_place
from ...pipelines.library.scan import readable
from ...pipelines.library.store import Library
from ...pipelines.library.tracks import StoredFile
from ..errors import Problem, documented, without_folders
from ..middleware.api_keys import MANAGES
from ..snapshot.overview import Cached, Coverage, Overview, coverage, log_state, overview

MOST_FAILURES = 500
_REPORT_HEADERS = {
    # The report's scripts run apart from this service: titles are in it, and it may call nothing.
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'unsafe-inline'; img-src data: blob:"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Counted(BaseModel):
    name: str
    tracks: int


class TempoBin(BaseModel):
    from_bpm: int
    tracks: int


class Failure(BaseModel):
    file: str = Field(description="as it lies in the embedded folder")
    reason: str


class LibraryOverview(BaseModel):
    exists: bool = Field(description="false: nothing was ever embedded or imported")
    tracks: int
    with_file: int
    analyzed: int
    encoder: str | None
    genres: list[Counted] = Field(description="by the likeliest genre of each track, most first")
    tempos: list[TempoBin] = Field(description="in bins of ten beats per minute")
    failures: int
    failed: list[Failure] = Field(description=f"the first {MOST_FAILURES} of them")
    folders: list[str] = Field(description="names of the folders that were embedded here")
    missing_folders: list[str] = Field(description="of these, those that are not there now")
    report_at: float | None = Field(description="when the report was written, seconds since 1970; null: there is none")
    finds_text: bool = Field(description="whether tracks can be found by a description of their sound")
    may_manage: bool = Field(description="whether who asks may start jobs, delete listeners and make keys")


class Source(BaseModel):
    name: str
    listens: int


class LibraryListens(BaseModel):
    listens: int
    users: int
    tracks: int = Field(description="in the log")
    tracks_in_library: int = Field(description="of these, those that the library has")
    first_day: str | None
    last_day: str | None
    sources: list[Source]


def library_routes(folder: Path) -> APIRouter:
    routes = APIRouter(tags=["library"])
    overviews, coverages = Cached[Overview](), Cached[Coverage]()
    report = folder / "report" / "report.html"

    @routes.get("/v1/library", responses=documented())
    def what_there_is(request: Request) -> LibraryOverview:
        """Its tracks, by genre and tempo, and the files that could not be heard."""
        may_manage = bool(request.scope.get(MANAGES))
        nothing = Overview(0, 0, 0, {}, {}, None, False)
        if not Library.exists(folder):
            return _answer(nothing, 0, {}, [], None, exists=False, may_manage=may_manage)
        with Library.open(folder) as library:
            found = overviews.of(library.change_counter(), lambda: overview(library))
            failures, failed = library.failure_count(), library.failures(MOST_FAILURES)
            places = library.places()
        report_at = report.stat().st_mtime if report.exists() else None
        return _answer(found, failures, failed, places, report_at, exists=True, may_manage=may_manage)

    @routes.get("/v1/library/listens", responses=documented())
    def listens() -> LibraryListens:
        """How much was listened to, and to how much of the library. The first time it reads the whole log."""
        if not Library.exists(folder):
            return _listens(Coverage(0, 0, 0, 0, None, None, {}))
        with Library.open(folder) as library:
            key = log_state(library), library.change_counter()
            return _listens(coverages.of(key, lambda: coverage(library)))

    @routes.get(
        "/v1/library/report",
        response_class=FileResponse,
        responses={
            200: {"description": "The report", "content": {"text/html": {"schema": {"type": "string"}}}},
            **documented(404),
        },
    )
    def the_report() -> FileResponse:
        """The page that `crossfade report` wrote as a job."""
        if not report.is_file():
            raise Problem(404, "report: there is none yet; the job report writes it")
        return FileResponse(report, media_type="text/html", headers=_REPORT_HEADERS)

    return routes


def _answer(
    found: Overview,
    failures: int,
    failed: dict[StoredFile, str],
    places: list[Path],
    report_at: float | None,
    *,
    exists: bool,
    may_manage: bool,
) -> LibraryOverview:
    return LibraryOverview(
        exists=exists,
        tracks=found.tracks,
        with_file=found.with_file,
        analyzed=found.analyzed,
        encoder=found.encoder,
        finds_text=found.finds_text,
        genres=[Counted(name=name, tracks=count) for name, count in found.genres.items()],
        tempos=[TempoBin(from_bpm=bpm, tracks=count) for bpm, count in found.tempos.items()],
        failures=failures,
        failed=[
            Failure(file=str(within_place(Path(readable(file.path)), places)), reason=without_folders(reason))
            for file, reason in failed.items()
        ],
        folders=[readable(os.fsencode(place.name)) for place in places],
        missing_folders=[readable(os.fsencode(place.name)) for place in places if not place.exists()],
        report_at=report_at,
        may_manage=may_manage,
    )


def _listens(found: Coverage) -> LibraryListens:
    sources = [Source(name=name, listens=count) for name, count in found.sources.items()]
    return LibraryListens(**vars(found) | {"sources": sources})
