"""Laws of the outer loss: plain at (0, 0), hard targets only, known reductions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import assert_same_bytes, double_precision, quick_jit

from isa_toolkit.losses import crucial, isa
from isa_toolkit.methods.outer import outer_loss

CLASSES = 3


def problem(dtype: str = "float32") -> tuple[jax.Array, ...]:
    draw = np.random.default_rng(0)
    shapes = [(6, 10), (6, CLASSES), (20, 10), (20, CLASSES)]
    return tuple(jnp.asarray(draw.normal(size=shape), dtype) for shape in shapes)


def linear_mix(features):
    """Return the mixed features of a network that is linear."""
    return lambda chosen, share: (1 - share) * features + share * features[chosen]


def compiled(partner: str, reduction: str = "half_sum", augmentation: str = "segment"):
    def run(arrays, easy, hard, segment, ridge, key):
        return outer_loss(
            *arrays,
            drop_easy=easy,
            drop_hard=hard,
            segment=segment,
            ridge=ridge,
            partner=partner,
            reduction=reduction,
            key=key,
            augmentation=augmentation,
            mixed_features=linear_mix(arrays[2]),
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
        arrays = problem("float64")
        terms, _ = nearest(arrays, *numbers(easy, hard, segment))
        expected, kept = by_hand(
            arrays, easy=easy, hard=hard, segment=segment, ridge=1e-2
        )
        # The knobs are float32 whatever the arrays are.
        np.testing.assert_allclose(terms.loss, expected, rtol=1e-6)
        np.testing.assert_array_equal(np.flatnonzero(terms.weights), np.sort(kept))


@pytest.mark.parametrize("partner", ["nearest", "random"])
def test_the_empty_segment_is_the_plain_loss_to_the_bit(partner, nearest):
    arrays = problem()
    run = nearest if partner == "nearest" else compiled(partner)
    assert_same_bytes(
        run(arrays, *numbers(easy=0.2)), compiled("none")(arrays, *numbers(easy=0.2))
    )


def test_the_released_reduction_is_two_over_c_times_the_half_sum(nearest):
    arrays, values = problem(), numbers(0.2, 0.0, (0.0, 0.5))
    half, slope = nearest(arrays, *values)
    released, released_slope = compiled("nearest", "released")(arrays, *values)
    factor = 2 / CLASSES
    np.testing.assert_allclose(released.loss, factor * half.loss, rtol=1e-6)
    np.testing.assert_allclose(
        released.target_loss, factor * half.target_loss, rtol=1e-6
    )
    for ours, plain in zip(released_slope, slope, strict=True):
        np.testing.assert_allclose(ours, factor * plain, rtol=1e-4, atol=3e-5)


def test_the_order_of_the_targets_does_not_matter(nearest):
    f_s, y_s, f_t, y_t = problem()
    order = np.random.default_rng(1).permutation(len(f_t))
    values = numbers(0.2, 0.1, (-1.0, 0.0))
    terms, slope = nearest((f_s, y_s, f_t, y_t), *values)
    mixed, mixed_slope = nearest((f_s, y_s, f_t[order], y_t[order]), *values)
    np.testing.assert_allclose(mixed.loss, terms.loss, rtol=1e-5)
    np.testing.assert_array_equal(mixed.weights, terms.weights[order])
    np.testing.assert_allclose(mixed_slope[0], slope[0], rtol=1e-3, atol=1e-5)


def test_dropped_targets_have_no_say(nearest):
    f_s, y_s, f_t, y_t = problem()
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
    f_s, y_s, f_t, y_t = problem()
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
    arrays, run = problem(), compiled("random")
    losses = [
        float(run(arrays, *numbers(segment=(0.0, 0.5), seed=seed))[0].loss)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def losses_of(augmentation: str, segment=(0.0, 0.0), easy=0.2, count=4000):
    """Return the loss under each of many keys, and the terms under one."""
    arrays = problem()
    drop, hard, ends, ridge, key = numbers(easy, 0.0, segment)

    def loss(one):
        return outer_loss(
            *arrays,
            drop_easy=drop,
            drop_hard=hard,
            segment=ends,
            ridge=ridge,
            partner="nearest",
            reduction="half_sum",
            key=one,
            augmentation=augmentation,
            mixed_features=linear_mix(arrays[2]),
        )

    keys = jax.random.split(key, count)
    many = quick_jit(jax.vmap(lambda one: loss(one).loss))(keys)
    return np.asarray(many), loss(key)


@pytest.mark.parametrize("segment", [(0.0, 0.5), (-1.0, 0.0), (0.5, -1.0)])
def test_single_points_average_to_the_segment(segment, nearest):
    drawn, _ = losses_of("single", segment)
    exact, _ = nearest(problem(), *numbers(0.2, 0.0, segment))
    error = drawn.std() / np.sqrt(len(drawn))
    assert error < 0.01 * float(exact.loss)
    assert abs(drawn.mean() - float(exact.loss)) < 4 * error


def test_single_points_are_drawn_for_each_sample():
    """Independent draws: the variance of the mean is that of one, divided by 16."""
    drawn, terms = losses_of("single", (0.0, 0.5))
    residual = np.asarray(terms.prediction - problem()[3])
    kept = np.flatnonzero(terms.weights)
    partner = kept[isa.nearest_partners(problem()[2][kept], jnp.ones(len(kept)))]
    difference = residual[kept] - residual[partner]
    places = np.linspace(0, 0.5, 1001)[:, None, None]
    each = 0.5 * np.sum((residual[kept] + places * difference) ** 2, axis=-1)
    expected = np.sqrt(each.var(axis=0).sum()) / len(kept)
    assert drawn.std() == pytest.approx(expected, rel=0.1)


def test_a_single_point_of_a_segment_without_length_is_that_point(nearest):
    values = numbers(0.2, 0.0, (0.4, 0.4))
    sampled, slope = compiled("nearest", augmentation="single")(problem(), *values)
    exact, exact_slope = nearest(problem(), *values)
    np.testing.assert_allclose(sampled.loss, exact.loss, rtol=1e-5)
    for ours, theirs in zip(slope, exact_slope, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_single_point_of_the_empty_segment_is_the_plain_loss_to_the_bit():
    values = numbers(easy=0.2)
    assert_same_bytes(
        compiled("nearest", augmentation="single")(problem(), *values),
        compiled("none")(problem(), *values),
    )


def test_mixup_of_linear_features_has_the_known_mean():
    """Over t in [0, 1] and all permutations: mean |A|^2 / 3 + |mean A|^2 / 6."""
    drawn, terms = losses_of("mixup")
    residual = np.asarray(terms.prediction - problem()[3])[
        np.asarray(terms.weights) > 0
    ]
    expected = np.mean(np.sum(residual**2, axis=1)) / 3
    expected += np.sum(residual.mean(axis=0) ** 2) / 6
    error = drawn.std() / np.sqrt(len(drawn))
    assert error < 0.01 * expected
    assert abs(drawn.mean() - expected) < 4 * error


def test_mixup_takes_one_share_for_the_whole_batch():
    """At t near 0 or 1 the batch is its own permutation: the largest loss is the plain."""
    drawn, terms = losses_of("mixup", easy=0.0)
    plain = float(jnp.mean(crucial.scores(terms.prediction - problem()[3])))
    assert drawn.max() <= plain * (1 + 1e-5)
    assert drawn.max() == pytest.approx(plain, rel=1e-2)


def test_mixup_selects_by_the_unmixed_targets(nearest):
    values = numbers(0.2, 0.1)
    mixed, _ = compiled("nearest", augmentation="mixup")(problem(), *values)
    plain, _ = nearest(problem(), *values)
    np.testing.assert_array_equal(mixed.weights, plain.weights)
    np.testing.assert_array_equal(mixed.prediction, plain.prediction)
    assert float(mixed.loss) != float(plain.loss)


def test_mixup_without_features_is_one_sentence():
    with pytest.raises(ValueError, match=r"mixed_features must be given .*, got None"):
        outer_loss(
            *problem(),
            drop_easy=0.0,
            drop_hard=0.0,
            segment=(0.0, 0.0),
            ridge=1e-2,
            partner="nearest",
            reduction="half_sum",
            key=jax.random.key(0),
            augmentation="mixup",
        )
