"""From scores to calibrated probabilities.

Temperature scaling (Guo et al. 2017, On Calibration of Modern Neural Networks) divides all logits by one number;
isotonic regression (Zadrozny & Elkan 2002) fits any rising curve, and needs many examples; Platt scaling
(Platt 1999) has a slope and a shift. All are fitted on what was not trained on.

Shapes: N tracks, C classes. Scores are logits: softmax (one label) or sigmoid (several) makes probabilities of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import optional_module
from ..arrays import Mask
from .classical import SKLEARN

Floats = NDArray[np.float64]
ISOTONIC_EXAMPLES = 1000
"""below this many examples isotonic regression overfits, and temperature scaling is used"""
UNREACHABLE = 1.01
"""an abstention threshold that no probability reaches"""


def probabilities(scores: NDArray[Any], *, multi_label: bool) -> Floats:
    """Softmax over classes, or a sigmoid for each class."""
    scores = np.asarray(scores, np.float64)
    if multi_label:
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)))
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities: a temperature, then isotonic regression where it was fitted.

    `knots_x`, `knots_y` [K]: the points of its curve. `abstain_below`: a top probability under which the
    answer is better withheld (`confident: false`).
    """

    temperature: float = 1.0
    abstain_below: float = 0.0
    multi_label: bool = False
    knots_x: Floats | None = None
    knots_y: Floats | None = None

    def __call__(self, scores: NDArray[Any]) -> Floats:
        """Scores [N, C] -> probabilities [N, C], rows of one label summing to 1."""
        result = probabilities(np.asarray(scores) / self.temperature, multi_label=self.multi_label)
        if self.knots_x is None or self.knots_y is None:
            return result
        result = np.interp(result, self.knots_x, self.knots_y)
        if self.multi_label:
            return result
        return np.asarray(result / np.maximum(result.sum(axis=-1, keepdims=True), 1e-12))


def _log_loss(scores: Floats, targets: Floats, temperature: float, *, multi_label: bool) -> float:
    claimed = probabilities(scores / temperature, multi_label=multi_label).clip(1e-12, 1 - 1e-12)
    if multi_label:
        return float(-(targets * np.log(claimed) + (1 - targets) * np.log1p(-claimed)).mean())
    return float(-(targets * np.log(claimed)).sum(axis=1).mean())


def fit_temperature(scores: NDArray[Any], targets: Mask, *, multi_label: bool = False) -> float:
    """The temperature with the least log loss on held-out scores, between 1/100 and 100.

    Targets are softened as in Platt 1999, with Jeffreys' prior: a few tracks that all came out right do not prove
    certainty.
    """
    scores = np.asarray(scores, np.float64)
    doubt = 0.5 / (len(scores) + 1)
    share = 0.5 if multi_label else 1 / targets.shape[1]
    softened = targets.astype(np.float64) * (1 - doubt) + doubt * share
    logs = np.linspace(np.log(0.01), np.log(100), 93)
    for _ in range(3):
        losses = [_log_loss(scores, softened, float(np.exp(t)), multi_label=multi_label) for t in logs]
        best, step = logs[int(np.argmin(losses))], logs[1] - logs[0]
        logs = np.linspace(best - step, best + step, 21)
    return float(np.exp(best))


def isotonic_knots(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Isotonic regression: the points of the rising curve nearest to y; equal x have one y, whatever their order.

    >>> x, y = isotonic_knots(np.array([1.0, 2, 3]), np.array([0.0, 2, 1]))
    >>> np.interp([1, 2, 3], x, y).tolist()
    [0.0, 1.5, 1.5]
    """
    fitted = optional_module("sklearn.isotonic", SKLEARN).IsotonicRegression().fit(x, y)
    return np.asarray(fitted.X_thresholds_, np.float64), np.asarray(fitted.y_thresholds_, np.float64)


def platt(logits: NDArray[Any], labels: Mask) -> tuple[float, float]:
    """Slope and shift of held-out logits [N] whose sigmoid has the least log loss; its mean is the share of labels."""
    logistic = optional_module("sklearn.linear_model", SKLEARN).LogisticRegression(solver="newton-cholesky", tol=1e-8)
    # The default penalty on the slope keeps it finite where the logits part a few labels without error.
    logistic.fit(np.asarray(logits, np.float64)[:, None], labels)
    return float(logistic.coef_[0, 0]), float(logistic.intercept_[0])


def fit_calibration(
    scores: NDArray[Any],
    targets: Mask,
    *,
    multi_label: bool = False,
    method: str | None = None,
    error_rate: float = 0.1,
) -> Calibration:
    """A calibration from held-out scores [N, C] and targets [N, C].

    `method`: "temperature", "isotonic", or None for isotonic from ISOTONIC_EXAMPLES on. `error_rate` is the share of
    wrong answers among those given that abstention aims at.
    """
    if not len(scores):
        # Too little data to hold any out: the scores stay as they are, and every answer is an abstention.
        return Calibration(abstain_below=UNREACHABLE, multi_label=multi_label)
    temperature = fit_temperature(scores, targets, multi_label=multi_label)
    plain = Calibration(temperature, multi_label=multi_label)
    if method == "isotonic" or (method is None and len(scores) >= ISOTONIC_EXAMPLES):
        x, y = isotonic_knots(plain(scores).ravel(), targets.astype(np.float64).ravel())
        # An exact 0 or 1 would claim certainty that a finite sample cannot give.
        floor = 1 / (targets.size + 2)
        plain = Calibration(temperature, 0.0, multi_label, x, y.clip(floor, 1 - floor))
    threshold = abstention_threshold(plain(scores), targets, error_rate)
    return Calibration(temperature, threshold, multi_label, plain.knots_x, plain.knots_y)


def abstention_threshold(claimed: Floats, targets: Mask, error_rate: float) -> float:
    """The least top probability at which the answers given are wrong at most this often; above 1 where none is."""
    top = claimed.max(axis=1)
    right = targets[np.arange(len(claimed)), claimed.argmax(axis=1)]
    order = np.argsort(-top, kind="stable")
    errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    # Equal probabilities stand or fall together: only the last of a run may be the threshold.
    last_of_run = np.append(top[order][:-1] != top[order][1:], True)
    possible = np.flatnonzero((errors <= error_rate) & last_of_run)
    return float(top[order][possible[-1]]) if len(possible) else UNREACHABLE
