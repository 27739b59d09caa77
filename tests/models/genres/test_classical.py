"""Classical classifiers: what NumPy computes from the arrays is what scikit-learn computes."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.errors import LibraryError
from crossfade.models.genres import classical

sklearn = pytest.importorskip("sklearn")

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
    again = classical.SCORERS[scorer.kind].from_arrays(scorer.arrays())
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


def test_svm_equals_sklearn(rng):
    from sklearn.svm import SVC

    x, y = blobs(rng)
    ours = classical.fit_svm(x, y, c=2.0)(x)
    for column in range(3):
        theirs = SVC(C=2.0, gamma=1 / x.shape[1], class_weight="balanced").fit(x.astype(float), y[:, column])
        np.testing.assert_allclose(ours[:, column], theirs.decision_function(x), atol=1e-3)


def test_forest_equals_sklearn(rng):
    from sklearn.ensemble import RandomForestClassifier

    x, y = blobs(rng)
    theirs = RandomForestClassifier(30, random_state=3, class_weight="balanced").fit(x, y.argmax(axis=1))
    scores = classical.fit_forest(x, y, trees=30, seed=3)(x)
    expected = theirs.predict_proba(x).clip(classical.SMALLEST, 1 - classical.SMALLEST)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), expected, atol=1e-5)


def test_boosting_equals_sklearn(rng):
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = blobs(rng)
    theirs = GradientBoostingClassifier(
        n_estimators=15, learning_rate=0.15, max_features="sqrt", subsample=0.8, random_state=1
    )
    theirs.fit(x, y.argmax(axis=1))
    ours = classical.fit_boosting(x, y, rounds=15, seed=1)(x)
    difference = ours - theirs.decision_function(x)
    # A softmax does not see what is added to all classes alike.
    np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=1e-4)


def test_ridge_is_the_same_in_both_spaces(rng):
    x, y = blobs(rng, each=4, dimensions=30)
    wide = classical.fit_ridge(x, y)
    # Twice the same tracks, half the penalty: the other branch, the same answer.
    tall = classical.fit_ridge(np.tile(x, (4, 1)), np.tile(y, (4, 1)), penalty=4.0)
    np.testing.assert_allclose(wide(x), tall(x), atol=1e-3)


def test_a_missing_array_is_a_clear_error():
    with pytest.raises(LibraryError, match="bias"):
        classical.Linear.from_arrays({"weights": np.zeros((2, 2), np.float32)})
