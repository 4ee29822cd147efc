"""Laws of the selection of crucial samples."""

from __future__ import annotations

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import quick_jit

from isa_toolkit.losses import crucial

SHARES = ["0", ".05", ".1", ".125", ".2", ".25", ".3", ".333", ".4", ".5", ".6", ".7"]
SHARES += [".8", ".9", ".95", ".999"]


@pytest.fixture(scope="module")
def kept():
    """Return the compiled weights for many pairs of shares at once."""
    select = jax.vmap(
        lambda values, easy, hard: crucial.select(
            values, drop_easy=easy, drop_hard=hard
        ),
        in_axes=(None, 0, 0),
    )
    compiled = quick_jit(select)

    def run(values, easy, hard):
        shares = (jnp.asarray(x, jnp.float32) for x in (easy, hard))
        return np.asarray(compiled(jnp.asarray(values, jnp.float32), *shares))

    return run


def dropped(share: str, count: int) -> int:
    """Return n - floor((1 - p) n) in exact arithmetic."""
    return count - math.floor((1 - Fraction(share)) * count)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 50, 100, 819, 1000, 1024, 4096])
def test_counts_are_exact(kept, count):
    values = np.random.default_rng(count).normal(size=count)
    shares = [float(share) for share in SHARES]
    nothing = [0.0] * len(shares)
    expected = [max(count - dropped(share, count), 1) for share in SHARES]
    assert kept(values, shares, nothing).sum(axis=1).tolist() == expected
    assert kept(values, nothing, shares).sum(axis=1).tolist() == expected


@pytest.mark.parametrize("count", [10_000, 50_001])
def test_counts_are_exact_for_large_batches(kept, count):
    # 50,001 * .001 = 50.001: one more than 50 goes, though the excess is tiny.
    shares = [".001", ".01", ".1", ".2", ".3", ".7"]
    values = np.arange(count)
    weights = kept(values, [float(share) for share in shares], [0.0] * len(shares))
    expected = [count - dropped(share, count) for share in shares]
    assert weights.sum(axis=1).tolist() == expected


def test_every_decimal_share_of_a_published_batch_is_exact(kept):
    shares = [f"{i / 1000:.3f}" for i in range(1000)]
    weights = kept(np.arange(1024), [float(s) for s in shares], [0.0] * 1000)
    expected = [max(1024 - dropped(s, 1024), 1) for s in shares]
    assert weights.sum(axis=1).tolist() == expected


def test_the_easy_end_is_small_and_the_hard_end_large(kept):
    values = np.random.default_rng(0).permutation(20)
    easy, hard, both = kept(values, [0.2, 0.0, 0.2], [0.0, 0.3, 0.3])
    np.testing.assert_array_equal(easy, values >= 4)
    np.testing.assert_array_equal(hard, values < 14)
    np.testing.assert_array_equal(both, easy * hard)


def test_at_least_one_sample_stays(kept):
    for count in (1, 2, 3, 10):
        weights = kept(
            np.arange(count), [0.999, 0.0, 0.5, 0.6], [0.0, 0.999, 0.49, 0.39]
        )
        assert (weights.sum(axis=1) >= 1).all()


def test_nothing_dropped_keeps_all(kept):
    np.testing.assert_array_equal(kept(np.arange(9), [0.0], [0.0]), np.ones((1, 9)))


def test_ties_go_by_position(kept):
    values = np.asarray([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    ranks = crucial.ranks(jnp.asarray(values))
    np.testing.assert_array_equal(ranks, [3, 0, 4, 1, 5, 2])
    assert kept(values, [1 / 3], [0.0])[0].tolist() == [1, 0, 1, 0, 1, 1]
    assert kept(np.ones(4), [0.5], [0.25])[0].tolist() == [0, 0, 1, 0]


def test_ranks_invert_the_sorting_order():
    values = np.random.default_rng(1).normal(size=40)
    ranks = np.asarray(crucial.ranks(jnp.asarray(values)))
    np.testing.assert_array_equal(np.sort(values)[ranks], values)


def test_permuted_samples_have_permuted_weights(kept):
    draw = np.random.default_rng(2)
    values, order = draw.normal(size=31), draw.permutation(31)
    shares = ([0.2, 0.1], [0.3, 0.0])
    np.testing.assert_array_equal(
        kept(values[order], *shares), kept(values, *shares)[:, order]
    )


def test_scores_are_half_the_squared_norm():
    residual = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    expected = [0.5 * float(row @ row) for row in residual]
    np.testing.assert_allclose(crucial.scores(jnp.asarray(residual)), expected, 1e-6)


def test_no_gradient_passes_through_the_mask():
    def loss(residual, free):
        scores = crucial.scores(residual)
        mask = crucial.select(scores if free else fixed, drop_easy=0.3, drop_hard=0.1)
        return crucial.weighted_mean(scores, mask)

    residual = jnp.asarray(np.random.default_rng(4).normal(size=(10, 3)))
    fixed = crucial.scores(residual)
    slope = quick_jit(jax.grad(loss), static_argnums=1)
    gradient = slope(residual, True)
    np.testing.assert_array_equal(gradient, slope(residual, False))
    weights = crucial.select(fixed, drop_easy=0.3, drop_hard=0.1)
    np.testing.assert_allclose(
        gradient, residual * weights[:, None] / jnp.sum(weights), rtol=1e-5
    )
    mask_gradient = quick_jit(
        jax.grad(
            lambda values: jnp.sum(crucial.select(values, drop_easy=0.3, drop_hard=0.1))
        )
    )(fixed)
    assert not np.any(mask_gradient)


def test_the_mean_is_that_of_the_kept_ones():
    draw = np.random.default_rng(5)
    values, weights = draw.normal(size=12), draw.integers(0, 2, size=12)
    mean = crucial.weighted_mean(jnp.asarray(values), jnp.asarray(weights, jnp.float32))
    assert float(mean) == pytest.approx(values[weights > 0].mean(), abs=1e-6)


@pytest.mark.parametrize("size", [1e15, 1e25])
def test_huge_dropped_rows_leave_no_trace(size):
    # The score of 1e25 is infinite in float32; infinity times no weight is not 0.
    def loss(residual):
        scores = crucial.scores(residual)
        weights = crucial.select(scores, drop_easy=0.0, drop_hard=0.25)
        return crucial.weighted_mean(scores, weights)

    calm = jnp.asarray([[1.0, 2.0], [0.5, 0.0], [-1.0, 1.0], [3.0, 3.0]])
    wild = calm.at[3].set(size)
    both = quick_jit(jax.value_and_grad(loss))
    value, gradient = both(wild)
    expected, slope = both(calm)
    # Compiled into one program, the mask may become a choice; alone it is a product.
    weights = jnp.asarray([1.0, 1.0, 1.0, 0.0])
    alone = crucial.weighted_mean(crucial.scores(wild), weights)
    assert float(alone) == pytest.approx(float(value))
    assert float(value) == float(expected)
    np.testing.assert_array_equal(gradient, slope)


def test_dropping_easy_samples_never_lowers_the_loss():
    values = jnp.asarray(np.random.default_rng(6).exponential(size=30))
    means = [
        float(
            crucial.weighted_mean(
                values, crucial.select(values, drop_easy=share, drop_hard=0.0)
            )
        )
        for share in (0.0, 0.1, 0.4, 0.8)
    ]
    assert means == sorted(means)
    assert means[0] < means[-1]
