"""Cross-prediction: parts that predict each other by construction; ridge weights."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from isa_toolkit.analysis.cross_prediction import (
    CrossPrediction,
    cross_prediction,
    ridge_weights,
)
from isa_toolkit.losses import ridge as jax_ridge


def naive(features, labels, support, rest, ridge) -> tuple[float, float, float]:
    """Return the errors of scikit-learn's ridge regression without intercept."""
    alpha = ridge * np.square(features[support]).sum() / len(support)
    model = Ridge(alpha=alpha, fit_intercept=False)
    guess = model.fit(features[support], labels[support]).predict(features[rest])
    squared = np.square(guess - labels[rest])
    hits = guess.argmax(axis=1) == labels[rest].argmax(axis=1)
    return squared.mean(), 0.5 * squared.sum(axis=1).mean(), hits.mean()


def one_hot(names: np.ndarray, classes: int) -> np.ndarray:
    """Return centred one-hot labels."""
    return np.eye(classes)[names] - 1 / classes


@pytest.fixture(scope="module")
def nested() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return samples of which the hard ones span what the easy ones do, and more.

    Labels follow linearly from eight features. The easy third lives on the first two
    of them; the others use all eight and carry noise.
    """
    generator = np.random.default_rng(0)
    features = generator.normal(size=(300, 8))
    features[:100, 2:] = 0
    labels = features @ generator.normal(size=(8, 3))
    labels[100:] += 0.3 * generator.normal(size=(200, 3))
    scores = np.where(np.arange(300) < 100, 0.0, 1.0) + generator.random(300) / 2
    return features, labels, scores


def test_parts_that_hold_each_other_by_construction_order_the_errors(nested):
    found = cross_prediction(*nested, fraction=0.3, seeds=4)
    chance = found.random.mse_half_sum
    assert found.easy_from_hard.mse_half_sum < chance.min() / 3
    # From the easy third alone, six of the eight features are unknown.
    features, labels, scores = nested
    only_easy = cross_prediction(features, labels, scores, fraction=2 / 3, seeds=4)
    assert only_easy.support == 100
    assert (
        only_easy.hard_from_easy.mse_half_sum > 3 * only_easy.random.mse_half_sum.max()
    )
    assert only_easy.hard_from_easy.accuracy < only_easy.random.accuracy.min()
    assert found.easy_from_hard.accuracy > found.random.accuracy.max()


def test_without_a_difference_all_three_are_alike():
    generator = np.random.default_rng(1)
    features = generator.normal(size=(4000, 5))
    labels = features @ generator.normal(size=(5, 2)) + generator.normal(size=(4000, 2))
    found = cross_prediction(features, labels, generator.random(4000))
    for one in (found.easy_from_hard, found.hard_from_easy):
        assert one.mse_mean == pytest.approx(1, abs=0.12)
    assert found.random.mse_mean == pytest.approx(np.ones(5), abs=0.12)


def test_the_order_of_the_samples_does_not_matter(nested):
    rows = np.random.default_rng(2).permutation(300)
    shuffled = cross_prediction(*(part[rows] for part in nested))
    agree(shuffled, cross_prediction(*nested))


def test_a_rotation_of_the_features_does_not_matter(nested):
    features, labels, scores = nested
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))
    agree(cross_prediction(features @ turn, labels, scores), cross_prediction(*nested))


def test_the_scale_of_the_features_does_not_matter(nested):
    features, labels, scores = nested
    scaled = cross_prediction(1e4 * features, labels, scores, ridge=0.1)
    agree(scaled, cross_prediction(features, labels, scores, ridge=0.1))


def test_a_seed_repeats_and_another_draws_other_parts(nested):
    one, two = (cross_prediction(*nested, seeds=3, seed=1) for _ in range(2))
    assert one.random.mse_mean.tolist() == two.random.mse_mean.tolist()
    other = cross_prediction(*nested, seeds=3, seed=2)
    assert not set(other.random.mse_mean) & set(one.random.mse_mean)
    assert other.easy_from_hard == one.easy_from_hard
    assert len(set(one.random.mse_mean)) == 3


def test_parts_are_the_ones_that_were_asked_for(nested):
    features, labels, scores = nested
    ranked = np.argsort(scores)
    found = cross_prediction(features, labels, scores, fraction=0.1, ridge=1e-3)
    assert (found.support, found.predicted) == (270, 30)
    expected = naive(features, labels, ranked[30:], ranked[:30], 1e-3)
    assert found.easy_from_hard == pytest.approx(expected)
    expected = naive(features, labels, ranked[:270], ranked[270:], 1e-3)
    assert found.hard_from_easy == pytest.approx(expected)


def test_errors_agree_with_scikit_learn():
    generator = np.random.default_rng(4)
    features = generator.normal(size=(80, 6)).astype(np.float32)
    labels = one_hot(generator.integers(4, size=80), 4)
    found = cross_prediction(
        features, labels, np.arange(80.0), fraction=3 / 8, ridge=0.05
    )
    wide, rows = features.astype(np.float64), np.arange(80)
    expected = naive(wide, labels, rows[30:], rows[:30], 0.05)
    assert found.easy_from_hard == pytest.approx(expected)
    expected = naive(wide, labels, rows[:50], rows[50:], 0.05)
    assert found.hard_from_easy == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (12, 12)])
def test_primal_equals_dual_equals_scikit_learn_equals_jax(shape):
    generator = np.random.default_rng(5)
    features, labels = (
        generator.normal(size=shape),
        generator.normal(size=(shape[0], 3)),
    )
    found = ridge_weights(features, labels, ridge=0.01)
    alpha = 0.01 * np.trace(features @ features.T) / len(features)
    linear = Ridge(alpha=alpha, fit_intercept=False).fit(features, labels)
    np.testing.assert_allclose(found, linear.coef_.T, rtol=1e-8, atol=1e-12)
    kernel = KernelRidge(alpha=alpha, kernel="linear").fit(features, labels)
    asked = generator.normal(size=(5, shape[1]))
    np.testing.assert_allclose(asked @ found, kernel.predict(asked), rtol=1e-8)
    single = [jnp.asarray(part, jnp.float32) for part in (features, labels)]
    theirs = np.asarray(jax_ridge.readout(*single, 0.01).weights)
    np.testing.assert_allclose(found, theirs, rtol=1e-3, atol=1e-4)


def test_a_tiny_ridge_fits_the_support():
    generator = np.random.default_rng(6)
    features, labels = generator.normal(size=(10, 30)), generator.normal(size=(10, 2))
    weights = ridge_weights(features, labels, ridge=1e-12)
    np.testing.assert_allclose(features @ weights, labels, atol=1e-9)


def test_weights_and_errors_by_hand():
    # F = (1, 2), tr / n = 5 / 2; ridge .4 gives lam = 1 and W = F Y / (5 + 1).
    features, labels = np.array([[1.0], [2], [3]]), np.array([[6.0, 0], [0, 6], [3, 5]])
    weights = ridge_weights(features[:2], labels[:2], ridge=0.4)
    np.testing.assert_allclose(weights, [[1, 2]])
    found = cross_prediction(
        features, labels, np.arange(3.0), fraction=1 / 3, ridge=0.4
    )
    # Predicted (3, 6) for (3, 5).
    assert found.hard_from_easy == pytest.approx((1 / 2, 1 / 2, 1))


def test_half_the_sum_is_the_mean_times_half_the_classes(nested):
    found = cross_prediction(*nested)
    for one in (found.easy_from_hard, found.hard_from_easy, found.random):
        np.testing.assert_allclose(one.mse_half_sum, 3 / 2 * np.array(one.mse_mean))


def test_blocks_of_rows_give_the_same(nested, monkeypatch):
    features, labels, scores = nested
    whole = ridge_weights(features, labels)
    test = cross_prediction(features, labels, scores, seeds=1)
    monkeypatch.setattr("isa_toolkit.analysis.cross_prediction._ROWS", 37)
    np.testing.assert_allclose(ridge_weights(features, labels), whole)
    agree(cross_prediction(features, labels, scores, seeds=1), test)


def test_class_numbers_are_centred_one_hot_rows(nested):
    features, _, scores = nested
    names = np.random.default_rng(9).integers(3, size=300)
    agree(
        cross_prediction(features, names + 4, scores),
        cross_prediction(features, one_hot(names, 3), scores),
    )
    weights = ridge_weights(features, names)
    np.testing.assert_array_equal(weights, ridge_weights(features, one_hot(names, 3)))


@pytest.mark.parametrize("kind", ["uint8", "float16"])
def test_features_of_any_width_give_what_float64_gives(kind):
    features = np.random.default_rng(4).integers(0, 99, size=(30, 5))
    labels = np.eye(3)[np.arange(30) % 3]
    whole = ridge_weights(features.astype(float), labels)
    assert (ridge_weights(features.astype(kind), labels.astype(kind)) == whole).all()


def test_inputs_stay_as_they_are(nested):
    copies = [part.copy() for part in nested]
    cross_prediction(*nested)
    for part, copy in zip(nested, copies, strict=True):
        np.testing.assert_array_equal(part, copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fraction": 0}, "fraction must lie between 0 and 1"),
        ({"fraction": 1.0}, "fraction must lie between 0 and 1"),
        ({"fraction": 20}, "fraction must lie between 0 and 1"),
        ({"ridge": 0}, r"ridge must be above 0, got 0\.0"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"scores": np.full(10, np.nan)}, "scores .* NaN"),
        ({"scores": np.arange(9.0)}, "scores must have one score for each of 10"),
        (
            {"labels": np.zeros((9, 2))},
            "labels must have 10 rows, as features has, got",
        ),
        ({"labels": np.arange(10.0)}, "labels must be whole numbers"),
        ({"labels": np.full((10, 2), np.inf)}, "labels .* infinity"),
        ({"labels": np.zeros((10, 1))}, "labels must have at least 2 classes"),
        ({"features": np.full((10, 3), np.nan)}, "features .* NaN"),
        (
            {"features": np.zeros((10, 3))},
            "features must not all be 0, got 0 everywhere",
        ),
        (
            {"features": np.zeros((10, 2, 2))},
            r"features must have 2 axes.*Flatten each",
        ),
    ],
)
def test_what_is_no_test_is_refused(change, sentence):
    given = {
        "features": np.random.default_rng(7).normal(size=(10, 3)),
        "labels": one_hot(np.arange(10) % 2, 2),
        "scores": np.arange(10.0),
        **change,
    }
    with pytest.raises(ValueError, match=sentence):
        cross_prediction(**given)


def test_one_sample_cannot_be_split():
    with pytest.raises(ValueError, match=r"scores .* minimum of 2"):
        cross_prediction(np.ones((1, 2)), np.ones((1, 2)), np.ones(1))
    # Two can, whatever the fraction.
    for fraction in (1e-3, 0.999):
        found = cross_prediction(
            np.eye(2), np.eye(2), np.arange(2.0), fraction=fraction
        )
        assert (found.support, found.predicted) == (1, 1)


def test_a_ridge_that_cannot_be_solved_with_is_refused():
    # All rows alike: the second pivot is 4 - 4 = 0, and the ridge below rounding.
    features = np.ones((4, 2))
    with pytest.raises(ValueError, match="ridge must make the system"):
        ridge_weights(features, np.eye(4), ridge=1e-30)


def agree(one: CrossPrediction, two: CrossPrediction) -> None:
    """Assert that two results are the same up to rounding."""
    assert one.easy_from_hard == pytest.approx(two.easy_from_hard, rel=1e-6)
    assert one.hard_from_easy == pytest.approx(two.hard_from_easy, rel=1e-6)
    for mine, other in zip(one.random, two.random, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
