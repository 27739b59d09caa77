"""Crossfade hears a music library and learns its listeners.

    import crossfade

    crossfade.classify("song.mp3").genres[:3]
    crossfade.Library("L").similar("song.mp3", k=10)
    crossfade.recommender("als", factors=64).fit(interactions).recommend(users=["u1"], k=10)

What is named here is the public API (`docs/python_api.md`); everything else may change. Nothing heavy is imported
before it is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import AudioError, CrossfadeError, DataError, LibraryError, MissingExtra, UsageError
    from .pipelines.audio_analysis.hear import get_scene_embeddings, get_timestamp_embeddings, load_model
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
    "get_scene_embeddings",
    "get_timestamp_embeddings",
    "load_model",
    "recommender",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("crossfade")
    if name not in __all__:
        raise AttributeError(f"module 'crossfade' has no attribute {name!r}; it has {', '.join(__all__)}")
    home = ".errors" if name.endswith("Error") or name == "MissingExtra" else ".pipelines.python_api"
    if name in ("load_model", "get_scene_embeddings", "get_timestamp_embeddings"):
        home = ".pipelines.audio_analysis.hear"
    return getattr(import_module(home, __name__), name)


def __dir__() -> list[str]:
    return list(__all__)


class _FormerModules:
    """Asked last, of a module that nobody else found: a former one says where it went (`moved.txt`)."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if not name.startswith(f"{__name__}."):
            return
        from pathlib import Path

        lines = Path(__file__).resolve().with_name("moved.txt").read_text().splitlines()
        moved = {f"{__name__}.{former}": f"{__name__}.{new}" for former, new in map(str.split, lines)}
        # Of a former module that is a package now, what is asked for is a name in it.
        former = name if name in moved else name.rpartition(".")[0]
        if former in moved:
            public = f"what is public is {__name__} itself (docs/python_api.md)"
            # Without its `name`: Python would leave out the message of `from package import former`.
            raise ModuleNotFoundError(f"{former} is {moved[former]} now; {public}")


sys.meta_path.append(_FormerModules)
