"""The matching losses against double loops, integrals and their limits."""

from __future__ import annotations

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import quick_jit

from isa_toolkit.losses import isa
from isa_toolkit.losses.matching import (
    class_mean_loss,
    nearest_mean_accuracy,
    trajectory_loss,
)
from isa_toolkit.losses.selection import Partner

C, K, D = 3, 10, 4


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    targets = draw.normal(size=(C, K, D)) + 2 * draw.normal(size=(C, 1, D))
    return targets.astype(np.float32), draw.normal(size=(C, D)).astype(np.float32)


def loss(targets, means, *, easy=0.0, hard=0.0, segment=(0.0, 0.0), partner="nearest"):
    compute = quick_jit(class_mean_loss, static_argnames="partner")
    return compute(
        jnp.asarray(targets),
        jnp.asarray(means),
        drop_easy=jnp.float32(easy),
        drop_hard=jnp.float32(hard),
        segment=tuple(map(jnp.float32, segment)),
        partner=partner,
        key=jax.random.key(1),
    )


def test_the_accuracy_is_that_of_the_nearest_mean(features):
    targets, means = features
    distances = np.linalg.norm(targets[:, :, None] - means, axis=-1)
    right = distances.argmin(axis=-1) == np.arange(C)[:, None]
    assert 0 < right.mean() < 1
    found = quick_jit(nearest_mean_accuracy)(*map(jnp.asarray, features))
    assert float(found) == pytest.approx(right.mean())


def by_hand(targets, means, easy, hard, segment, partner, draw=None) -> float:
    """The loss of class means as a double loop over classes and samples."""
    residual, kept = {}, []
    for c in range(C):
        for i in range(K):
            residual[c, i] = (targets[c, i] - means[c]).astype(float)
        order = sorted(range(K), key=lambda i: np.sum(residual[c, i] ** 2))
        kept += [(c, i) for i in order[easy : K - hard]]
    total = 0.0
    for c in range(C):
        own = [place for place in kept if place[0] == c]
        mean_a, mean_b = np.zeros(D), np.zeros(D)
        for place in own:
            z = targets[place]
            best, chosen = -np.inf, place
            if draw is not None:
                chosen = divmod(int(draw[place[0] * K + place[1]]), K)
            for other in kept if draw is None else ():
                if other == place or (partner == "same_class" and other[0] != c):
                    continue
                v = targets[other]
                cosine = z @ v / np.linalg.norm(z) / np.linalg.norm(v)
                if cosine > best:
                    best, chosen = cosine, other
            mean_a += residual[place] / len(own)
            mean_b += (residual[place] - residual[chosen]) / len(own)
        # The mean over t in [a, b], by Simpson's rule: exact for squares.
        a, b = segment
        values = [np.sum((mean_a + t * mean_b) ** 2) for t in (a, (a + b) / 2, b)]
        total += (values[0] + 4 * values[1] + values[2]) / 6
    return total


@pytest.mark.parametrize("partner", ["nearest", "same_class"])
@pytest.mark.parametrize(
    ("easy", "hard", "segment"),
    [(0, 0, (0, 0)), (2, 0, (0, 0.5)), (3, 1, (-1, 0)), (0, 2, (-0.3, 0.7))],
)
def test_the_loss_is_the_double_loop(features, partner, easy, hard, segment):
    targets, means = features
    seen = loss(
        targets, means, easy=easy / K, hard=hard / K, segment=segment, partner=partner
    )
    expected = by_hand(targets, means, easy, hard, segment, partner)
    assert float(seen.loss) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(seen.weights.sum(1), [K - easy - hard] * C)


def test_random_partners_are_kept_ones_of_any_class(features):
    targets, means = features
    seen = loss(
        targets, means, easy=2 / K, hard=1 / K, segment=(0, 0.5), partner="random"
    )
    draw = np.asarray(isa.random_partners(jax.random.key(1), seen.weights.reshape(-1)))
    is_kept = np.asarray(seen.weights).reshape(-1) > 0
    assert is_kept[draw[is_kept]].all()
    assert (draw // K != np.arange(C * K) // K)[is_kept].any()
    expected = by_hand(targets, means, 2, 1, (0, 0.5), "random", draw)
    assert float(seen.loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("partner", get_args(Partner))
def test_with_nothing_dropped_and_no_segment_it_is_the_distance_of_means(
    features, partner
):
    targets, means = features
    seen = loss(targets, means, partner=partner)
    expected = np.square(targets.mean(1) - means).sum()
    assert float(seen.loss) == pytest.approx(float(expected), rel=1e-5)


def test_the_trajectory_loss_averages_over_targets_along_the_last_epoch():
    student, first, before, target = np.random.default_rng(4).normal(size=(4, 50))
    arrays = [jnp.asarray(v, jnp.float32) for v in (student, first, before, target)]
    whole = np.sum((first - target) ** 2)
    plain = trajectory_loss(*arrays, (0.0, 0.0))
    assert float(plain) == pytest.approx(
        np.sum((student - target) ** 2) / whole, rel=1e-5
    )
    points = np.linspace(-1, 0.5, 2001)
    ends = [np.sum((student - target - t * (target - before)) ** 2) for t in points]
    expected = np.trapezoid(ends, points) / 1.5 / whole
    seen = trajectory_loss(*arrays, (-1.0, 0.5))
    assert float(seen) == pytest.approx(expected, rel=1e-5)


def test_standing_still_costs_one_and_arriving_nothing():
    first, before, target = map(
        jnp.asarray, np.random.default_rng(5).normal(size=(3, 9)).astype("float32")
    )
    still = trajectory_loss(first, first, before, target, (0.0, 0.0))
    assert float(still) == pytest.approx(1, rel=1e-6)
    assert float(trajectory_loss(target, first, before, target, (0.0, 0.0))) == 0
