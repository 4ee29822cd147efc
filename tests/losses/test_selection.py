"""The loss of predictions against explicit virtual samples, and its laws."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from toy import assert_same_bytes, double_precision, quick_jit

from isa_toolkit.losses import crucial, isa
from isa_toolkit.losses.ridge import predict, readout
from isa_toolkit.losses.selection import target_loss

COUNT, CLASSES = 20, 3


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = np.eye(CLASSES)[np.arange(COUNT) % CLASSES] - 1 / CLASSES
    return draw.normal(size=(COUNT, CLASSES)), labels, draw.normal(size=(COUNT, 7))


def terms_of(arrays, *, loss, easy=0.0, hard=0.0, segment=(0.0, 0.0), **changes):
    settings = {"partner": "nearest", "log_scale": 0.3, "key": jax.random.key(0)}
    return quick_jit(
        lambda arrays: target_loss(
            *arrays,
            loss=loss,
            drop_easy=easy,
            drop_hard=hard,
            segment=segment,
            **{**settings, **changes},
        )
    )(tuple(jnp.asarray(array, jnp.float32) for array in arrays))


def single(loss: str, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if loss == "mse":
        return 0.5 * np.square(prediction - labels).sum(-1)
    logits = special.log_softmax(np.exp(0.3) * prediction, axis=-1)
    return -np.sum((labels + 1 / CLASSES) * logits, -1)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("dropped", [(0.0, 0.0), (0.3, 0.0), (0.25, 0.25)])
def test_the_loss_is_that_of_virtual_samples_of_the_kept_targets(loss, dropped):
    prediction, labels, features = arrays = problem()
    easy, hard = dropped
    terms = terms_of(arrays, loss=loss, easy=easy, hard=hard, segment=(-1.0, 0.0))
    order = np.argsort(single(loss, prediction, labels))
    kept = order[round(easy * COUNT) : COUNT - round(hard * COUNT)]
    weights = np.zeros(COUNT)
    weights[kept] = 1
    np.testing.assert_array_equal(terms.weights, weights)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -2)
    places, shares = np.polynomial.legendre.leggauss(3)
    total = 0.0
    for i in kept:
        j = kept[np.argmax(similarity[i, kept])]
        for place, share in zip(places, shares, strict=True):
            t = 0.5 * place - 0.5
            virtual = [a[i] + t * (a[i] - a[j]) for a in (prediction, labels)]
            total += share / 2 * single(loss, *virtual)
    assert float(terms.loss) == pytest.approx(total / len(kept), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_nothing_dropped_and_no_segment_is_the_plain_mean(loss):
    arrays = problem()
    plain = single(loss, *arrays[:2]).mean()
    for partner in ("nearest", "random", "none"):
        terms = terms_of(arrays, loss=loss, partner=partner)
        assert float(terms.loss) == pytest.approx(plain, rel=1e-5)


# --- of ridge predictions, with their gradient ---------------------------------------


def ridge_problem(dtype: str = "float32") -> tuple[jax.Array, ...]:
    draw = np.random.default_rng(0)
    shapes = [(6, 10), (6, CLASSES), (20, 10), (20, CLASSES)]
    return tuple(jnp.asarray(draw.normal(size=shape), dtype) for shape in shapes)


class Terms(NamedTuple):
    loss: jax.Array
    weights: jax.Array
    prediction: jax.Array


def ridge_loss(f_s, y_s, f_t, y_t, *, ridge, mixes=True, **settings) -> Terms:
    """Return the loss of the targets' ridge predictions, of a network that is linear."""
    weights = readout(f_s, y_s, ridge).weights

    def mixed_prediction(chosen, t):
        return predict((1 - t) * f_t + t * f_t[chosen], weights)

    prediction = predict(f_t, weights)
    mixed = mixed_prediction if mixes else None
    terms = target_loss(prediction, y_t, f_t, mixed_prediction=mixed, **settings)
    return Terms(*terms, prediction)


def compiled(partner: str, augmentation: str = "segment"):
    def run(arrays, easy, hard, segment, ridge, key):
        return ridge_loss(
            *arrays,
            drop_easy=easy,
            drop_hard=hard,
            segment=segment,
            ridge=ridge,
            partner=partner,
            key=key,
            augmentation=augmentation,
        )

    def value_and_gradient(arrays, *others):
        (_, terms), gradient = jax.value_and_grad(
            lambda distilled: (
                (terms := run((*distilled, *arrays[2:]), *others)).loss,
                terms,
            ),
            has_aux=True,
        )(arrays[:2])
        return terms, gradient

    return quick_jit(value_and_gradient)


@pytest.fixture(scope="module")
def nearest():
    return compiled("nearest")


def numbers(easy=0.0, hard=0.0, segment=(0.0, 0.0), ridge=1e-2, seed=0):
    real = [jnp.asarray(x, jnp.float32) for x in (easy, hard, *segment, ridge)]
    return real[0], real[1], (real[2], real[3]), real[4], jax.random.key(seed)


def by_hand(arrays, *, easy, hard, segment, ridge):
    """Return the loss from explicit virtual samples, by quadrature, in NumPy."""
    f_s, y_s, f_t, y_t = (np.asarray(x, np.float64) for x in arrays)
    kernel = f_s @ f_s.T
    lam = ridge * np.trace(kernel) / len(kernel)
    dual = np.linalg.solve(kernel + lam * np.eye(len(kernel)), y_s)

    def predict(features):
        return features @ f_s.T @ dual

    scores = 0.5 * np.sum((predict(f_t) - y_t) ** 2, axis=1)
    order = np.argsort(scores)
    kept = order[round(easy * len(order)) : len(order) - round(hard * len(order))]
    unit = f_t / np.linalg.norm(f_t, axis=1, keepdims=True)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    places = segment[0] + (segment[1] - segment[0]) * (nodes + 1) / 2
    losses = []
    for i in kept:
        others = [j for j in kept if j != i]
        j = others[int(np.argmax(unit[others] @ unit[i]))]
        for place, weight in zip(places, weights / 2, strict=True):
            feature = f_t[i] + place * (f_t[i] - f_t[j])
            label = y_t[i] + place * (y_t[i] - y_t[j])
            losses.append(weight * 0.5 * np.sum((predict(feature) - label) ** 2))
    return sum(losses) / len(kept), kept


@pytest.mark.parametrize(
    ("easy", "hard", "segment"),
    [(0.0, 0.0, (0.0, 0.5)), (0.2, 0.0, (-1.0, 0.0)), (0.3, 0.1, (0.4, 0.4))],
)
def test_the_loss_equals_quadrature_over_explicit_virtual_samples(
    nearest, easy, hard, segment
):
    with double_precision():
        arrays = ridge_problem("float64")
        terms, _ = nearest(arrays, *numbers(easy, hard, segment))
        expected, kept = by_hand(
            arrays, easy=easy, hard=hard, segment=segment, ridge=1e-2
        )
        # Traced settings are float32 whatever the arrays are.
        np.testing.assert_allclose(terms.loss, expected, rtol=1e-6)
        np.testing.assert_array_equal(np.flatnonzero(terms.weights), np.sort(kept))


@pytest.mark.parametrize("partner", ["nearest", "random"])
def test_the_empty_segment_is_the_plain_loss_to_the_bit(partner, nearest):
    arrays = ridge_problem()
    run = nearest if partner == "nearest" else compiled(partner)
    assert_same_bytes(
        run(arrays, *numbers(easy=0.2)), compiled("none")(arrays, *numbers(easy=0.2))
    )


def test_the_order_of_the_targets_does_not_matter(nearest):
    f_s, y_s, f_t, y_t = ridge_problem()
    order = np.random.default_rng(1).permutation(len(f_t))
    values = numbers(0.2, 0.1, (-1.0, 0.0))
    terms, slope = nearest((f_s, y_s, f_t, y_t), *values)
    mixed, mixed_slope = nearest((f_s, y_s, f_t[order], y_t[order]), *values)
    np.testing.assert_allclose(mixed.loss, terms.loss, rtol=1e-5)
    np.testing.assert_array_equal(mixed.weights, terms.weights[order])
    np.testing.assert_allclose(mixed_slope[0], slope[0], rtol=1e-3, atol=1e-5)


def test_dropped_targets_have_no_say(nearest):
    f_s, y_s, f_t, y_t = ridge_problem()
    values = numbers(0.0, 0.25, (0.0, 0.5))
    terms, slope = nearest((f_s, y_s, f_t, y_t), *values)
    dropped = terms.weights == 0
    assert int(dropped.sum()) == 5
    # Harder still, so they stay dropped.
    labels = jnp.where(dropped[:, None], 1e25 * y_t, y_t)
    other, other_slope = nearest((f_s, y_s, f_t, labels), *values)
    np.testing.assert_array_equal(other.weights, terms.weights)
    np.testing.assert_array_equal(other.loss, terms.loss)
    assert_same_bytes(other_slope, slope)


def test_targets_need_no_gradient_of_partners_or_ranks(nearest):
    """The gradient is that of the loss with the chosen samples held fixed."""
    f_s, y_s, f_t, y_t = ridge_problem()
    values = numbers(0.2, 0.0, (0.0, 0.5))
    terms, slope = nearest((f_s, y_s, f_t, y_t), *values)
    kept = np.flatnonzero(terms.weights)
    partner = isa.nearest_partners(f_t[kept], jnp.ones(len(kept)))

    def fixed(distilled):
        kernel = distilled[0] @ distilled[0].T
        lam = 1e-2 * jnp.trace(kernel) / len(kernel)
        inverse = jnp.linalg.inv(kernel + lam * jnp.eye(len(kernel)))
        a = f_t[kept] @ distilled[0].T @ inverse @ distilled[1] - y_t[kept]
        b = a - a[partner]
        return jnp.mean(jnp.sum(a**2 + 0.5 * a * b + 0.25 / 3 * b**2, axis=1)) / 2

    expected = quick_jit(jax.grad(fixed))((f_s, y_s))
    for ours, theirs in zip(slope, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_random_partners_depend_on_the_key():
    arrays, run = ridge_problem(), compiled("random")
    losses = [
        float(run(arrays, *numbers(segment=(0.0, 0.5), seed=seed))[0].loss)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def losses_of(augmentation: str, segment=(0.0, 0.0), easy=0.2, count=4000):
    """Return the loss under each of many keys, and the terms under one."""
    arrays = ridge_problem()
    drop, hard, ends, ridge, key = numbers(easy, 0.0, segment)

    def loss(one):
        return ridge_loss(
            *arrays,
            drop_easy=drop,
            drop_hard=hard,
            segment=ends,
            ridge=ridge,
            partner="nearest",
            key=one,
            augmentation=augmentation,
        )

    keys = jax.random.split(key, count)
    many = quick_jit(jax.vmap(lambda one: loss(one).loss))(keys)
    return np.asarray(many), loss(key)


@pytest.mark.parametrize("segment", [(0.0, 0.5), (-1.0, 0.0), (0.5, -1.0)])
def test_single_points_average_to_the_segment(segment, nearest):
    drawn, _ = losses_of("single", segment)
    exact, _ = nearest(ridge_problem(), *numbers(0.2, 0.0, segment))
    error = drawn.std() / np.sqrt(len(drawn))
    assert error < 0.01 * float(exact.loss)
    assert abs(drawn.mean() - float(exact.loss)) < 4 * error


def test_single_points_are_drawn_for_each_sample():
    """Independent draws: the variance of the mean is that of one, divided by 16."""
    drawn, terms = losses_of("single", (0.0, 0.5))
    residual = np.asarray(terms.prediction - ridge_problem()[3])
    kept = np.flatnonzero(terms.weights)
    partner = kept[isa.nearest_partners(ridge_problem()[2][kept], jnp.ones(len(kept)))]
    difference = residual[kept] - residual[partner]
    places = np.linspace(0, 0.5, 1001)[:, None, None]
    each = 0.5 * np.sum((residual[kept] + places * difference) ** 2, axis=-1)
    expected = np.sqrt(each.var(axis=0).sum()) / len(kept)
    assert drawn.std() == pytest.approx(expected, rel=0.1)


def test_a_single_point_of_a_segment_without_length_is_that_point(nearest):
    values = numbers(0.2, 0.0, (0.4, 0.4))
    sampled, slope = compiled("nearest", augmentation="single")(
        ridge_problem(), *values
    )
    exact, exact_slope = nearest(ridge_problem(), *values)
    np.testing.assert_allclose(sampled.loss, exact.loss, rtol=1e-5)
    for ours, theirs in zip(slope, exact_slope, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_single_point_of_the_empty_segment_is_the_plain_loss_to_the_bit():
    values = numbers(easy=0.2)
    assert_same_bytes(
        compiled("nearest", augmentation="single")(ridge_problem(), *values),
        compiled("none")(ridge_problem(), *values),
    )


def test_mixup_of_linear_features_has_the_known_mean():
    """Over t in [0, 1] and all permutations: mean |A|^2 / 3 + |mean A|^2 / 6."""
    drawn, terms = losses_of("mixup")
    residual = np.asarray(terms.prediction - ridge_problem()[3])[
        np.asarray(terms.weights) > 0
    ]
    expected = np.mean(np.sum(residual**2, axis=1)) / 3
    expected += np.sum(residual.mean(axis=0) ** 2) / 6
    error = drawn.std() / np.sqrt(len(drawn))
    assert error < 0.01 * expected
    assert abs(drawn.mean() - expected) < 4 * error


def test_mixup_takes_one_fraction_for_the_whole_batch():
    """At t near 0 or 1 the batch is its own permutation: the largest loss is the plain."""
    drawn, terms = losses_of("mixup", easy=0.0)
    plain = float(jnp.mean(crucial.scores(terms.prediction - ridge_problem()[3])))
    assert drawn.max() <= plain * (1 + 1e-5)
    assert drawn.max() == pytest.approx(plain, rel=1e-2)


def test_mixup_selects_by_the_unmixed_targets(nearest):
    values = numbers(0.2, 0.1)
    mixed, _ = compiled("nearest", augmentation="mixup")(ridge_problem(), *values)
    plain, _ = nearest(ridge_problem(), *values)
    np.testing.assert_array_equal(mixed.weights, plain.weights)
    np.testing.assert_array_equal(mixed.prediction, plain.prediction)
    assert float(mixed.loss) != float(plain.loss)


def test_mixup_without_mixed_predictions_is_refused():
    with pytest.raises(ValueError, match="mixed_prediction"):
        ridge_loss(
            *ridge_problem(),
            drop_easy=0.0,
            drop_hard=0.0,
            segment=(0.0, 0.0),
            ridge=1e-2,
            partner="nearest",
            key=jax.random.key(0),
            augmentation="mixup",
            mixes=False,
        )
