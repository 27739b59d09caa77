"""Classical classifiers: they learn, come back from arrays as they were, and bring no code."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.errors import LibraryError
from crossfade.models.genres import classical
from crossfade.models.genres.heads import SCORERS

pytest.importorskip("sklearn")
skops = pytest.importorskip("skops.io")

FITS = {
    "logistic": lambda x, y: classical.fit_logistic(x, y),
    "ridge": lambda x, y: classical.fit_ridge(x, y),
    "svm": lambda x, y: classical.fit_svm(x, y),
    "linear svm": lambda x, y: classical.fit_svm(x, y, c=0.1, width=None),
    "forest": lambda x, y: classical.fit_forest(x, y, trees=20),
    "boosting": lambda x, y: classical.fit_boosting(x, y, rounds=20),
    "neighbours": lambda x, y: classical.fit_neighbours(x, y, k=3),
}


def blobs(rng, classes=3, each=20, dimensions=6):
    centres = rng.normal(size=(classes, dimensions)) * 3
    number = np.repeat(np.arange(classes), each)
    features = (centres[number] + rng.normal(size=(len(number), dimensions))).astype(np.float32)
    return features, np.eye(classes, dtype=bool)[number]


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("classes", [2, 3])
def test_learns_blobs_and_comes_back_from_arrays(name, classes, rng):
    features, targets = blobs(rng, classes)
    scorer = FITS[name](features, targets)
    scores = scorer(features)
    assert scores.shape == targets.shape
    assert (scores.argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.9
    again = SCORERS[scorer.kind].from_arrays(scorer.arrays())
    np.testing.assert_array_equal(again(features), scores)


@pytest.mark.parametrize("name", FITS)
def test_several_labels(name, rng):
    features, targets = blobs(rng)
    targets = targets | np.roll(targets, 1, axis=1) & (features[:, :1] > 0)
    scores = FITS[name](features, targets)(features)
    assert ((scores > 0) == targets).mean() > 0.85


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize(("others", "constant"), [(3, [True]), (3, [False]), (3, [True, False]), (0, [True])])
def test_a_class_that_every_track_has_or_none(name, others, constant, rng):
    """There is nothing to tell apart: it scores high (low) whatever comes, and the other classes are learned."""
    features, targets = blobs(rng)
    targets = np.column_stack([targets[:, :others], np.tile(constant, (len(targets), 1))])
    scores = FITS[name](features, targets)(features)
    assert np.isfinite(scores).all()
    assert ((scores > 0) == targets).mean() > 0.95


def test_logistic_equals_sklearn(rng):
    from sklearn.linear_model import LogisticRegression

    x, y = blobs(rng)
    theirs = LogisticRegression(C=0.5, max_iter=2000, class_weight="balanced").fit(x.astype(float), y.argmax(axis=1))
    np.testing.assert_allclose(classical.fit_logistic(x, y, c=0.5)(x), theirs.decision_function(x), atol=1e-3)


def test_an_estimator_with_code_in_it_is_refused(rng):
    """A type that is not listed is named and never made: skops would run what such a type does when it is built."""
    from sklearn.preprocessing import FunctionTransformer

    ran = np.frombuffer(skops.dumps(FunctionTransformer(print)), np.uint8)
    with pytest.raises(LibraryError, match=r"holds .*print, which is no part of a classifier"):
        classical.EstimatorScorer.from_arrays({"skops": ran})
    with pytest.raises(LibraryError, match="cannot be read"):
        classical.EstimatorScorer.from_arrays({"skops": ran[:-9]})


def test_ridge_is_the_same_in_both_spaces(rng):
    x, y = blobs(rng, each=4, dimensions=30)
    wide = classical.fit_ridge(x, y)
    # Twice the same tracks, half the penalty: the other branch, the same answer.
    tall = classical.fit_ridge(np.tile(x, (4, 1)), np.tile(y, (4, 1)), penalty=4.0)
    np.testing.assert_allclose(wide(x), tall(x), atol=1e-3)


def test_a_missing_array_is_a_clear_error():
    with pytest.raises(LibraryError, match="bias"):
        classical.LinearScorer.from_arrays({"weights": np.zeros((2, 2), np.float32)})
