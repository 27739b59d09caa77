"""The ways to learn genres, by name."""

from __future__ import annotations

from ...errors import UsageError
from ...models.encoders.transformers import PREFIX
from .examples import Method
from .head_methods import CLASSICAL, classical_method, mlp, probe
from .network_methods import NetworkOptions, cnn, fine_tuned
from .zero_shot import ZeroShotMethod

METHODS = ("probe", "mlp", *CLASSICAL, "cnn", "fine-tuned")
"""what `--model` takes; all but the classical ones and the CNN also with an encoder's name: probe:NAME"""


def method_named(name: str, options: NetworkOptions | None = None) -> Method:
    """The method behind a name; UsageError for an unknown one. `options` are those of networks trained here."""
    kind, _, encoder = name.partition(":")
    source = f"{PREFIX}{encoder}" if encoder and not encoder.startswith("musicnn-") else encoder or None
    if kind == "probe":
        return probe(source)
    if kind == "mlp":
        return mlp(source)
    if name in CLASSICAL:
        return classical_method(name)
    if kind == "zero-shot" and encoder:
        return ZeroShotMethod(encoder)
    if name == "cnn":
        return cnn(options or NetworkOptions())
    if kind == "fine-tuned":
        return fine_tuned(source or "musicnn-msd", options or NetworkOptions())
    raise UsageError(f"--model {name}: not one of {', '.join(METHODS)}, probe:NAME or zero-shot:NAME")
