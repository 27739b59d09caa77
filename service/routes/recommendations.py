"""The recommend role: what to listen to next."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from ..errors import documented
from ..metrics import Metrics
from ..parameters import MAX_K, Id, K, QueryOrBodyRoute, UserId, WholeNumber
from ..response_schemas import PersonalTracks, Recommendations, personal
from ..snapshot.recommendations import RecommendationService, RecommendedTracks


class Session(BaseModel):
    """What somebody has just listened to."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"track_ids": ["folk/nocturne.mp3"], "k": 10}]}
    )

    track_ids: Annotated[list[Id], Field(min_length=1, max_length=200)]
    k: Annotated[WholeNumber, Field(ge=1, le=MAX_K)] = 10


def recommendation_routes(service: RecommendationService, metrics: Metrics) -> APIRouter:
    routes = APIRouter(route_class=QueryOrBodyRoute, tags=["recommendations"])
    problems = documented()

    def noted(answer: RecommendedTracks, response: Response) -> RecommendedTracks:
        if answer.notes:
            metrics.incomplete.inc()
            response.headers["Crossfade-Incomplete"] = ", ".join(note.part for note in answer.notes)
        return answer

    def original(answer: RecommendedTracks, response: Response) -> Recommendations:
        noted(answer, response)
        track_ids = [answer.snapshot.tracks.track_ids[row] for row in answer.rows]
        return Recommendations(recs=track_ids, notes=[note.text for note in answer.notes])

    @routes.post("/recommendations", responses=problems)
    def recommendations(response: Response, user_id: UserId, k: K = 10) -> Recommendations:
        """From the newest events and from the training in turns: [online0, offline0, online1, …].

        Somebody unknown gets what is popular. Parameters may also come as a JSON body.
        """
        return original(service.blended(user_id, k), response)

    @routes.post("/recommendations_offline", responses=problems)
    def recommendations_offline(response: Response, user_id: UserId, k: K = 10) -> Recommendations:
        """From what the models were trained on."""
        return original(service.offline(user_id, k), response)

    @routes.post("/recommendations_online", responses=problems)
    def recommendations_online(response: Response, user_id: UserId, k: K = 10) -> Recommendations:
        """From the newest events; the offline list where there are none."""
        return original(service.online(user_id, k), response)

    @routes.get("/v1/recommendations", responses=problems)
    def live_recommendations(
        response: Response, user_id: UserId, k: K = 10, allow_seen: bool = False
    ) -> PersonalTracks:
        """History and new events together, ranked now, each with the listened track that adds most to its score."""
        return personal(noted(service.live(user_id, k, allow_seen=allow_seen), response))

    @routes.post("/v1/sessions", responses=documented(400, 404))
    def session_recommendations(session: Session) -> PersonalTracks:
        """What goes on from these tracks, for somebody who need not be known."""
        return personal(service.session(session.track_ids, session.k))

    return routes
