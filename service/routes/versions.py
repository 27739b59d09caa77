"""Trained versions: what each was trained on, what was measured, and which one answers."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ...pipelines.library.store import Library
from ..errors import Problem, documented
from ..parameters import MANAGER, Id
from ..snapshot.follower import LibraryFollower


class TrainedVersion(BaseModel):
    name: str
    current: bool
    trained_at: float | None = Field(description="seconds since 1970")
    listens: int | None
    users: int | None
    tracks: int | None = Field(description="with listens")
    figures: dict[str, float] = Field(description="measured on the part of the log that was held back for it")
    ranker: str | None = Field(description="what the second stage is, or why there is none")


class AllVersions(BaseModel):
    versions: list[TrainedVersion] = Field(description="the newest first")
    in_use: str | None = Field(description="the one that answers now; null: sound alone")


class WantedVersion(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Id


def version_routes(follower: LibraryFollower) -> APIRouter:
    routes = APIRouter(tags=["versions"])
    folder = follower.folder

    def answer() -> AllVersions:
        in_use = follower.newest.version if follower.newest is not None else None
        if not Library.exists(folder):
            return AllVersions(versions=[], in_use=in_use)
        with Library.open(folder) as library:
            current = library.current_name
            known = [_version(path, path.name == current) for path in library.versions()]
        return AllVersions(versions=sorted(known, key=lambda one: one.name, reverse=True), in_use=in_use)

    @routes.get("/v1/versions", responses=documented())
    def versions() -> AllVersions:
        """All that are on disk."""
        return answer()

    @routes.put("/v1/versions/current", dependencies=[MANAGER], responses=documented(400, 403, 404))
    def use(wanted: WantedVersion) -> AllVersions:
        """Goes back to an earlier version, or forward again. The next training makes its own the current one."""
        with Library.open(folder) as library, library.rewriting():
            whole = library.versions()
            chosen = next((path for path in whole if path.name == wanted.name), None)
            if chosen is None:
                raise Problem(404, f"{wanted.name}: no such version")
            library.publish_version(chosen, keep=len(whole))
        follower.check()
        if follower.trouble:
            raise Problem(503, f"{wanted.name}: {follower.trouble}; answering with what was loaded before")
        return answer()

    return routes


def _version(path: Path, current: bool) -> TrainedVersion:
    try:
        facts: dict[str, Any] = json.loads((path / "training.json").read_text())
    except (OSError, ValueError):
        facts = {}
    figures = {str(name): float(value) for name, value in facts.get("figures", {}).items()}
    counts = {name: facts.get(name) for name in ("listens", "users", "tracks", "ranker")}
    return TrainedVersion(name=path.name, current=current, trained_at=_time(path.name), figures=figures, **counts)


def _time(name: str) -> float | None:
    """When it was begun: its name says so."""
    try:
        return datetime.strptime(name.partition("-")[0] + "+0000", "%Y%m%dT%H%M%S%fZ%z").timestamp()
    except ValueError:
        return None
