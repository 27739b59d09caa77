"""API keys: listed by name, made and shown once, revoked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..errors import Problem, documented
from ..middleware.api_keys import ApiKeyStore
from ..parameters import MANAGER

KeyName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern="^[^\\x00-\\x1f/]+$")]


class KeySummary(BaseModel):
    name: str
    manages: bool = Field(description="whether it may start jobs, delete listeners, make and revoke keys")


class AllKeys(BaseModel):
    keys: list[KeySummary]


class WantedKey(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: KeyName
    manages: bool = False


class NewKey(KeySummary):
    key: str = Field(description="shown this once")


def key_routes(folder: Path) -> APIRouter:
    routes = APIRouter(tags=["keys"], dependencies=[MANAGER])
    store = ApiKeyStore(folder)

    @routes.get("/v1/keys", responses=documented(403))
    def keys() -> AllKeys:
        """Their names; the keys themselves are not kept."""
        managers = store.managers()
        return AllKeys(keys=[KeySummary(name=name, manages=name in managers) for name in store.hashes()])

    @routes.post("/v1/keys", status_code=201, responses=documented(400, 403))
    def make(wanted: WantedKey) -> NewKey:
        """Makes a key."""
        folder.mkdir(parents=True, exist_ok=True)
        return NewKey(**vars(wanted), key=store.add(wanted.name, manages=wanted.manages))

    @routes.delete("/v1/keys/{name}", status_code=204, responses=documented(403, 404))
    def revoke(name: KeyName) -> None:
        """From now on it opens nothing any more."""
        if name not in store.hashes():
            raise Problem(404, f"{name}: no key of this name")
        store.revoke(name)

    return routes
