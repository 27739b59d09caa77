"""Crossfade hears a music library and learns its listeners.

    import crossfade

    crossfade.classify("song.mp3").genres[:3]
    crossfade.Library("L").similar("song.mp3", k=10)
    crossfade.recommender("als", factors=64).fit(interactions).recommend(users=["u1"], k=10)

What is named here is the public API (`docs/python_api.md`); everything else may change. Nothing heavy is imported
before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import AudioError, CrossfadeError, DataError, LibraryError, MissingExtra, UsageError
    from .pipelines.python_api import (
        Classification,
        DemoListening,
        FrameRecommender,
        Genre,
        Library,
        classify,
        demo_listening,
        demo_music,
        evaluate,
        recommender,
    )

    __version__: str

__all__ = [
    "AudioError",
    "Classification",
    "CrossfadeError",
    "DataError",
    "DemoListening",
    "FrameRecommender",
    "Genre",
    "Library",
    "LibraryError",
    "MissingExtra",
    "UsageError",
    "__version__",
    "classify",
    "demo_listening",
    "demo_music",
    "evaluate",
    "recommender",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("crossfade")
    if name not in __all__:
        raise AttributeError(f"module 'crossfade' has no attribute {name!r}; it has {', '.join(__all__)}")
    home = ".errors" if name.endswith("Error") or name == "MissingExtra" else ".pipelines.python_api"
    return getattr(import_module(home, __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
