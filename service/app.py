"""The application: the roles of one process behind the same checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from ..pipelines.library.store import Library
from .errors import install
from .events.client import EventSource, RemoteEvents
from .events.store import EventStore
from .metrics import Metrics
from .middleware.http_middleware import HTTPMiddleware
from .routes.events import event_routes
from .routes.health import health_routes
from .routes.jobs import job_routes
from .routes.keys import key_routes
from .routes.library import library_routes
from .routes.listeners import listener_routes
from .routes.listening import listening_routes
from .routes.map import map_routes
from .routes.page import page_routes
from .routes.playlists import playlist_routes
from .routes.profiles import profile_routes
from .routes.recommendations import recommendation_routes
from .routes.similar import similar_routes
from .routes.tracks import track_routes
from .routes.versions import version_routes
from .settings import Role, ServeOptions
from .snapshot.follower import LibraryFollower
from .snapshot.recommendations import RecommendationService
from .subsonic import SubsonicPlayer
from .upload_analyzer import UploadAnalyzer

DESCRIPTION = (
    "Recommendations, similar tracks and live events of a Crossfade library. Errors are problem+json; `notes` "
    "lists what an answer had to do without."
)


class Service:
    """The parts of one process, wired by its role."""

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self.metrics = Metrics()
        role = options.role
        self.follower = LibraryFollower(options.library, self.metrics, every_seconds=options.follow_seconds)
        self.upload_analyzer = UploadAnalyzer(self.metrics, options.library)
        self.event_store: EventStore | None = None
        self.event_source: EventSource | None = None
        if role.has(Role.EVENTS):
            within = options.library if options.database is None else None
            self.event_store = self.event_source = EventStore(options.database_url, library=within)
        elif role is Role.RECOMMEND:
            self.event_source = RemoteEvents(options)
        self.api = self._api()
        self.app: ASGIApp = self.api
        if options.allowed_origins:
            self.app = CORSMiddleware(
                self.app,
                allow_origins=list(options.allowed_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            )
        self.app = HTTPMiddleware(self.app, options, self.metrics)

    def _api(self) -> FastAPI:
        role = self.options.role
        api = FastAPI(
            title="Crossfade",
            version=version("crossfade"),
            description=DESCRIPTION,
            lifespan=self._lifespan,
            redirect_slashes=False,
            redoc_url=None,
        )
        install(api)
        if role.has(Role.RECOMMEND) and self.event_source is not None:
            service = RecommendationService(self.follower, self.event_source)
            api.include_router(recommendation_routes(service, self.metrics))
            api.include_router(profile_routes(service, self.follower))
        if role.has(Role.SIMILAR):
            api.include_router(similar_routes(self.follower, self.upload_analyzer))
            api.include_router(track_routes(self.follower, self.upload_analyzer))
            api.include_router(map_routes(self.follower))
            account = self.options.player
            api.include_router(
                playlist_routes(self.options.library, SubsonicPlayer(account) if account is not None else None)
            )
            api.include_router(listening_routes(self.follower))
        if self.event_store is not None:
            api.include_router(event_routes(self.event_store, self._has_track, self.metrics))
            api.include_router(listener_routes(self.event_store, self.options.library))
        follower = self.follower if role is not Role.EVENTS else None
        api.include_router(health_routes(self.options, follower, self.event_store, self.metrics))
        if role is Role.ALL:
            api.include_router(library_routes(self.options.library))
            api.include_router(version_routes(self.follower))
            api.include_router(job_routes(self.options))
            api.include_router(key_routes(self.options.library))
            api.include_router(page_routes())
        return api

    @asynccontextmanager
    async def _lifespan(self, api: FastAPI) -> AsyncIterator[None]:
        if self.options.role is not Role.EVENTS:
            self.follower.start()
        try:
            yield
        finally:
            self.follower.stop()
            self.upload_analyzer.close()
            if self.event_source is not None:
                self.event_source.close()

    def _has_track(self, track_id: str) -> bool:
        """Whether the library has the track; an event is accepted unchecked where the library can't be read now."""
        snapshot = self.follower.newest
        if snapshot is not None and track_id in snapshot.tracks:
            return True
        if not Library.exists(self.options.library):
            return True
        with Library.open(self.options.library) as library:
            return library.has_track(track_id)
