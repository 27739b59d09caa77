"""Explaining one track: how it is placed between its sound and its listeners, and what stands near it."""

from __future__ import annotations

from typing import Any

from ..versions.model_version import ModelVersion


def explain(trained: ModelVersion, track_id: str, k: int = 5) -> dict[str, Any]:
    """For the command line: n, w, what the prior is made from, the nearest by sound and by taste, and why in words."""
    row, hybrid = trained.row(track_id), trained.hybrid
    listeners, weight, crossfade = int(hybrid.listeners[row]), float(hybrid.weights[row]), hybrid.options.crossfade
    artist_tracks = int((hybrid.artists[row] @ hybrid.prior.artists.T).nnz)
    # A warm track is one of its artist's training tracks itself.
    artist_tracks -= int(artist_tracks > 0 and listeners > 0)
    has_sound = bool(trained.index.vectors[row, trained.index.factors :].any())
    prior = []
    if has_sound and hybrid.options.prior.sound != "none":
        prior.append("its sound")
    if artist_tracks and hybrid.options.prior.shrinkage is not None:
        prior.append(f"{artist_tracks} other track{'s' if artist_tracks > 1 else ''} of its artist")

    def nearest(blend: float) -> list[dict[str, Any]]:
        ids, scores = trained.similar(track_id, k, blend=blend)
        return [
            {"track_id": trained.track_ids[row], "score": round(score, 6)}
            for row, score in zip(ids, scores.tolist(), strict=True)
        ]

    return {
        "track_id": track_id,
        "listeners": listeners,
        "tau": crossfade.tau,
        "weight": round(weight, 4),
        "gain": round(float(crossfade.gains(hybrid.listeners[row])), 4),
        "artist_tracks": artist_tracks,
        "heard": has_sound,
        "nearest_by_sound": nearest(0) if has_sound else [],
        "nearest_by_taste": nearest(1),
        "why": _why(listeners, weight, " and ".join(prior)),
    }


def _why(listeners: int, weight: float, prior: str) -> str:
    if not listeners and not prior:
        return "nobody has listened to it, and neither its sound nor its artist is known: it cannot be placed"
    if not listeners:
        return f"nobody has listened to it: it is placed by {prior}"
    people = f"{listeners} listener{'s' if listeners > 1 else ''}"
    if not prior:
        return f"{people} place it, held back by {1 - weight:.0%}: neither its sound nor its artist says more"
    return f"{people} place it by {weight:.0%}, {prior} by {1 - weight:.0%}"
