"""Explaining one track: how it is placed between its sound and its listeners, and what stands near it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..versions.model_version import ModelVersion


def explain(trained: ModelVersion, track_id: str, k: int = 5) -> dict[str, Any]:
    """For the command line: n, w, what the prior knows, the nearest by sound and by taste, and why in words."""
    row = trained.row(track_id)
    hybrid = trained.hybrid
    listeners = int(hybrid.listeners[row])
    weight = float(hybrid.weights[row])
    by_artist = int((hybrid.artists[row] @ hybrid.prior.artists.T).nnz)
    # A warm track is one of its artist's training tracks itself, and does not speak for itself.
    by_artist -= int(by_artist > 0 and listeners > 0)
    heard = bool(np.any(trained.index.vectors(np.array([row]))[0, trained.index.factors :]))
    options = hybrid.choices.prior
    says = []
    if heard and options.sound != "none":
        says.append("its sound")
    if by_artist and options.shrinkage is not None:
        says.append(f"{by_artist} other track{'s' if by_artist > 1 else ''} of its artist")
    return {
        "track_id": track_id,
        "listeners": listeners,
        "tau": hybrid.choices.crossfade.tau,
        "weight": round(weight, 4),
        "gain": round(float(hybrid.choices.crossfade.gains(hybrid.listeners[row : row + 1])[0]), 4),
        "artist_tracks": by_artist,
        "heard": heard,
        "nearest_by_sound": [vars(found) for found in trained.similar(track_id, k, blend=0)] if heard else [],
        "nearest_by_taste": [vars(found) for found in trained.similar(track_id, k, blend=1)],
        "why": _why(listeners, weight, says),
    }


def _why(listeners: int, weight: float, says: list[str]) -> str:
    by_content = " and ".join(says)
    if not listeners:
        if not by_content:
            return "nobody has listened to it, and neither its sound nor its artist is known: it cannot be placed"
        return f"nobody has listened to it: it is placed by {by_content}"
    people = f"{listeners} listener{'s' if listeners > 1 else ''}"
    if not by_content:
        return f"{people} place it, held back by {1 - weight:.0%}: neither its sound nor its artist says more"
    return f"{people} place it by {weight:.0%}, {by_content} by {1 - weight:.0%}"
