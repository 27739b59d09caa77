"""Health: whether the process lives, whether it can answer, and the numbers for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from ..errors import Problem, documented
from ..events.store import EventStore
from ..metrics import CONTENT_TYPE, Metrics
from ..settings import Role, ServeOptions
from ..snapshot.follower import LibraryFollower


class Alive(BaseModel):
    status: str = Field(examples=["alive"])


class Ready(BaseModel):
    status: str = Field(examples=["ready"])
    role: Role
    version: str | None = Field(default=None, description="of the models; null where the library is not trained")
    ranker: str | None = Field(default=None, description="what the second stage is, or why there is none")
    tracks: int | None = None
    events: str | None = Field(default=None, description="the kind of event store")
    upload_bytes: int | None = Field(default=None, description="an upload may have; null where none is taken")
    notes: list[str] = Field(default=[], description="what is amiss although there are answers")


def health_routes(
    options: ServeOptions, follower: LibraryFollower | None, store: EventStore | None, metrics: Metrics
) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/health/live")
    def live() -> Alive:
        """The process answers."""
        return Alive(status="alive")

    @routes.get("/health/ready", responses=documented())
    def ready() -> Ready:
        """The role can do its work; else 503 and what is missing."""
        answer = Ready(status="ready", role=options.role)
        if options.role.has(Role.SIMILAR):
            answer.upload_bytes = options.upload_bytes
        if follower is not None:
            snapshot = follower.snapshot
            answer.version, answer.tracks = snapshot.version, int(snapshot.tracks.in_library.sum())
            answer.ranker = snapshot.model.metadata.get("ranker") if snapshot.model else None
            if follower.trouble:
                answer.notes.append(f"{follower.trouble}; answering with what was loaded before")
            if snapshot.version is None:
                answer.notes.append("library: not trained yet; run crossfade train")
        if store is not None:
            try:
                store.ping()
                answer.events = store.kind
            except SQLAlchemyError as error:
                raise Problem(503, f"events: the store does not answer ({type(error).__name__})") from None
        return answer

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def numbers() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return routes
