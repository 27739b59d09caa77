"""Jobs: what keeps a library up to date, started here as the command that somebody would type, one at a time."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Annotated, Any, get_args, get_type_hints

from fastapi import APIRouter, File, Form, UploadFile
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from ...pipelines.interactions.live_events import DATABASE_VARIABLE
from ...pipelines.interactions.options import ImportOptions
from ...pipelines.library.jobs import Job, Jobs, State
from ...pipelines.library.store import Library
from ..errors import Problem, documented
from ..parameters import MANAGER, Id
from ..settings import ServeOptions

JobId = Annotated[int, PathParameter(ge=1, lt=2**31)]
LOG_LINES = 500
LOG_FORMATS: tuple[str, ...] = get_args(get_type_hints(ImportOptions)["format"])


class Kind(StrEnum):
    EMBED = "embed"
    """the folders that are embedded already, or another one"""
    DUPLICATES = "duplicates"
    MISSING = "missing"
    """tracks whose files are gone"""
    FORGET = "forget"
    """takes these out of the library"""
    TRAIN = "train"
    REPORT = "report"


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"kind": "train"}]})

    kind: Kind
    folder: Id | None = Field(
        default=None, description="embed: a folder of the service's machine; null: those that were embedded before"
    )


class JobProgress(BaseModel):
    what: str
    done: int
    total: int
    rest: str = Field(description="rate and time left, in words")


class JobSummary(BaseModel):
    job_id: int
    kind: str = Field(description="what it was started as; listens for an import")
    command: str
    state: State = Field(description="lost: it was killed, or the machine stopped")
    started_at: float = Field(description="seconds since 1970")
    ended_at: float | None
    progress: JobProgress | None = Field(description="the newest that it told")
    message: str | None = Field(description="the last line of its log")


class JobDetails(JobSummary):
    log: list[str] = Field(description=f"its last lines, at most {LOG_LINES}")
    answers: list[dict[str, Any]] = Field(description="what the command prints")


class AllJobs(BaseModel):
    jobs: list[JobSummary] = Field(description="the newest first")
    log_formats: list[str] = Field(description="of listening logs that can be imported")


def job_routes(options: ServeOptions) -> APIRouter:
    routes = APIRouter(tags=["jobs"], dependencies=[MANAGER])
    jobs, library = Jobs(options.library), str(options.library.absolute())
    environment = {} if options.database is None else {DATABASE_VARIABLE: options.database}

    def start(kind: str, words: Callable[[Path], Sequence[str]]) -> JobSummary:
        """A command in a new folder, which `words` may put files into; the folder goes where it does not start."""
        folder = jobs.prepare()
        try:
            job = jobs.start(folder, kind, [*words(folder), "--library", library], environment)
            if job is None:
                raise Problem(409, "jobs: another one is running; wait for its end, or cancel it")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return _summary(job)

    @routes.get("/v1/jobs", responses=documented(403))
    def list_jobs() -> AllJobs:
        """The newest jobs."""
        return AllJobs(jobs=[_summary(job) for job in jobs.all()], log_formats=list(LOG_FORMATS))

    @routes.post("/v1/jobs", status_code=202, responses=documented(400, 403, 409))
    def start_job(wanted: Wanted) -> JobSummary:
        """Starts a command on the library; it goes on when the service ends."""
        words = _words(options.library, wanted)
        return start(wanted.kind, lambda _: words)

    @routes.post("/v1/listens", status_code=202, responses=documented(400, 403, 409, 413))
    def import_listens(
        file: Annotated[list[UploadFile], File(description="a listening log: one file, or all of its files")],
        format: Annotated[str, Form(description=f"one of {', '.join(LOG_FORMATS)}")] = "csv",
        match: Annotated[bool, Form(description="find tracks by artist and title, too")] = False,
    ) -> JobSummary:
        """Imports a listening log. One of the same name as an earlier one replaces that."""
        if format not in LOG_FORMATS:
            raise Problem(422, f"format: {format!a}; there are {', '.join(LOG_FORMATS)}")

        def words(folder: Path) -> list[str]:
            given = [_kept(one, folder / "input") for one in file]
            if len(set(given)) < len(given):
                raise Problem(422, "file: two of the same name")
            path = given[0] if len(given) == 1 else folder / "input"
            source = f"{format}-{re.sub(r'[^a-z0-9]+', '-', given[0].stem.lower()).strip('-')[:60] or 'log'}"
            matched = ["--match", "artist,title"] if match else []
            return ["listens", str(path.absolute()), "--format", format, "--source", source, *matched]

        return start("listens", words)

    @routes.get("/v1/jobs/{job_id}", responses=documented(403, 404))
    def job(job_id: JobId) -> JobDetails:
        """One job with its log."""
        found = _known(jobs.get(job_id), job_id)
        return JobDetails(**vars(_summary(found)), log=list(found.log[-LOG_LINES:]), answers=jobs.answers(job_id))

    @routes.post("/v1/jobs/{job_id}/cancel", responses=documented(403, 404))
    def cancel(job_id: JobId) -> JobSummary:
        """Asks a job to stop; asked again, it is killed. What it has done so far is kept."""
        return _summary(_known(jobs.cancel(job_id), job_id))

    return routes


def _words(library: Path, wanted: Wanted) -> list[str]:
    if wanted.kind is not Kind.EMBED:
        if wanted.folder is not None:
            raise Problem(422, f"folder: {wanted.kind} takes none")
        return {
            Kind.DUPLICATES: ["duplicates"],
            Kind.MISSING: ["missing"],
            Kind.FORGET: ["missing", "--forget"],
            Kind.TRAIN: ["train", "--no-publish"],
            Kind.REPORT: ["report", "--out", str(library.absolute() / "report")],
        }[wanted.kind]
    if wanted.folder is not None:
        place = Path(wanted.folder).expanduser()
        if not place.is_absolute() or not place.exists():
            raise Problem(422, f"folder: {wanted.folder}: no such folder; name it as its full path on this machine")
        return ["embed", str(place)]
    if not Library.exists(library):
        raise Problem(422, "folder: the library is empty; name a folder of music")
    with Library.open(library) as opened:
        places = [str(place) for place in opened.places() if place.exists()]
    if not places:
        raise Problem(422, "folder: none that was embedded here is there any more; name one")
    return ["embed", *places]


def _kept(upload: UploadFile, folder: Path) -> Path:
    """The upload in the folder, under the last part of its name."""
    name = re.sub(r"[\x00-\x1f/\\]", "_", PurePath(upload.filename or "").name)[-100:].lstrip(".-") or "log"
    folder.mkdir(exist_ok=True)
    path = folder / name
    with path.open("wb") as out:
        shutil.copyfileobj(upload.file, out)
    return path


def _known(job: Job | None, job_id: int) -> Job:
    if job is None:
        raise Problem(404, f"{job_id}: no such job")
    return job


def _summary(job: Job) -> JobSummary:
    return JobSummary(
        job_id=job.number,
        kind=job.kind,
        command=" ".join(["crossfade", *job.words]),
        state=job.state,
        started_at=job.started_at,
        ended_at=job.ended_at,
        progress=None if job.progress is None else JobProgress(**vars(job.progress)),
        message=job.log[-1] if job.log else None,
    )
