"""Laws of Infinite Semantic Augmentation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import central_difference, double_precision, quick_jit

from isa_toolkit.losses import crucial, isa, ridge

SEGMENTS = [(0.0, 0.0), (0.0, 0.5), (0.0, -1.0), (-1.0, 0.0), (0.7, 0.7), (2.0, -3.0)]
SEGMENTS += [(-0.3, -0.3), *np.random.default_rng(0).uniform(-2, 2, (5, 2)).tolist()]

segment_loss = quick_jit(isa.segment_loss)
nearest_partners = quick_jit(isa.nearest_partners)
random_partners = quick_jit(isa.random_partners)


def pairs(seed: int = 0, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(count, 4)), draw.normal(size=(count, 4))


@pytest.mark.parametrize("segment", SEGMENTS)
def test_isa_loss_equals_the_integral_it_claims(segment):
    start, stop = segment
    residual, difference = pairs()
    # Five nodes integrate polynomials up to degree nine exactly.
    nodes, weights = np.polynomial.legendre.leggauss(5)
    positions = start + (stop - start) * (nodes + 1) / 2
    points = residual + positions[:, None, None] * difference
    mean = np.tensordot(weights / 2, 0.5 * np.sum(points**2, axis=-1), axes=1)
    with double_precision():
        ours = segment_loss(jnp.asarray(residual), jnp.asarray(difference), *segment)
        np.testing.assert_allclose(ours, mean, rtol=1e-13)
    single = segment_loss(
        jnp.asarray(residual, jnp.float32),
        jnp.asarray(difference, jnp.float32),
        *(jnp.asarray(end, jnp.float32) for end in segment),
    )
    np.testing.assert_allclose(single, mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("position", [0.0, 0.4, -1.0, 1.5])
def test_a_segment_without_length_is_one_virtual_sample(position):
    with double_precision():
        residual, difference = (jnp.asarray(x) for x in pairs(1))
        segment = isa.segment_loss(residual, difference, position, position)
        virtual = isa.virtual_loss(residual, difference, position)
        np.testing.assert_allclose(segment, virtual, rtol=1e-12)


def test_the_empty_segment_is_the_plain_loss_to_the_bit():
    residual, difference = (jnp.asarray(x, jnp.float32) for x in pairs(2))
    losses = isa.segment_loss(residual, difference, 0.0, 0.0)
    np.testing.assert_array_equal(losses, crucial.scores(residual))


def test_the_direction_of_a_segment_does_not_matter():
    residual, difference = (jnp.asarray(x, jnp.float32) for x in pairs(3))
    there = isa.segment_loss(residual, difference, -1.0, 0.25)
    back = isa.segment_loss(residual, difference, 0.25, -1.0)
    np.testing.assert_array_equal(there, back)


def test_the_way_to_the_partner_treats_both_ends_alike():
    # (A^2 + A B + B^2)/3 with the two residuals A and B.
    with double_precision():
        one, other = (jnp.asarray(x) for x in pairs(4))
        there = isa.segment_loss(one, one - other, -1.0, 0.0)
        back = isa.segment_loss(other, other - one, -1.0, 0.0)
        np.testing.assert_allclose(there, back, rtol=1e-12)
        expected = jnp.sum(one**2 + one * other + other**2, axis=-1) / 6
        np.testing.assert_allclose(there, expected, rtol=1e-12)


def test_each_sample_can_have_its_own_position():
    residual, difference = (jnp.asarray(x, jnp.float32) for x in pairs(5, count=3))
    positions = jnp.asarray([0.0, -1.0, 0.5])
    together = isa.virtual_loss(residual, difference, positions)
    alone = [
        isa.virtual_loss(residual, difference, t)[i] for i, t in enumerate(positions)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_sampled_positions_average_to_the_segment():
    residual, difference = (jnp.asarray(x, jnp.float32) for x in pairs(6))
    positions = np.linspace(-1, 0.5, 4001)
    sampled = jax.vmap(lambda t: isa.virtual_loss(residual, difference, t))(
        jnp.asarray(positions, jnp.float32)
    )
    exact = isa.segment_loss(residual, difference, -1.0, 0.5)
    np.testing.assert_allclose(np.mean(sampled, axis=0), exact, rtol=1e-3)


def test_the_loss_is_that_of_explicit_virtual_samples():
    """B = A_i - A_j, because the readout is linear in the features."""
    draw = np.random.default_rng(7)
    with double_precision():
        distilled, targets = draw.normal(size=(5, 12)), draw.normal(size=(9, 12))
        distilled_labels, labels = draw.normal(size=(5, 3)), draw.normal(size=(9, 3))
        weights = quick_jit(ridge.readout)(
            jnp.asarray(distilled), jnp.asarray(distilled_labels), 1e-2
        ).weights
        residual = ridge.predict(jnp.asarray(targets), weights) - labels
        partner = np.asarray(nearest_partners(jnp.asarray(targets), jnp.ones(9)))
        for position in (-1.0, -0.4, 0.3, 1.2):
            features = targets + position * (targets - targets[partner])
            mixed = labels + position * (labels - labels[partner])
            explicit = ridge.predict(jnp.asarray(features), weights) - mixed
            np.testing.assert_allclose(
                isa.virtual_loss(residual, residual - residual[partner], position),
                crucial.scores(explicit),
                rtol=1e-10,
            )


def test_gradient_equals_central_differences_in_both_ends_and_arguments():
    def loss(point):
        return jnp.sum(jnp.sin(isa.segment_loss(*point)))

    with double_precision():
        point = (
            *(jnp.asarray(x) for x in pairs(8, 3)),
            jnp.array(-0.3),
            jnp.array(0.9),
        )
        gradient = quick_jit(jax.grad(loss))(point)
        value = quick_jit(loss)
        draw = np.random.default_rng(9)
        for _ in range(3):
            direction = jax.tree.map(lambda x: draw.normal(size=x.shape), point)
            slope = sum(
                float(jnp.vdot(g, d)) for g, d in zip(gradient, direction, strict=True)
            )
            numeric = central_difference(value, point, direction)
            assert slope == pytest.approx(numeric, rel=1e-6, abs=1e-8)


def nearest_by_loop(features: np.ndarray, weights: np.ndarray) -> list[int]:
    chosen = []
    for i, row in enumerate(features):
        best, place = -np.inf, i
        for j, other in enumerate(features):
            if i == j or not weights[j]:
                continue
            cosine = row @ other / np.linalg.norm(row) / np.linalg.norm(other)
            if cosine > best:
                best, place = cosine, j
        chosen.append(place)
    return chosen


@pytest.mark.parametrize("share", [1.0, 0.6, 0.2])
def test_nearest_partners_equal_a_plain_loop(share):
    draw = np.random.default_rng(10)
    features = draw.normal(size=(40, 6)) * draw.uniform(0.1, 10, size=(40, 1))
    weights = (draw.uniform(size=40) < share).astype(np.float32)
    partners = nearest_partners(
        jnp.asarray(features, jnp.float32), jnp.asarray(weights)
    )
    assert np.asarray(partners).tolist() == nearest_by_loop(features, weights)
    assert weights[partners].all()
    assert (np.asarray(partners) != np.arange(40)).all()


def test_an_exact_duplicate_is_a_partner_and_the_sample_itself_is_not():
    features = jnp.asarray([[1.0, 2.0], [5.0, 0.1], [1.0, 2.0], [0.2, 9.0]])
    partners = np.asarray(nearest_partners(features, jnp.ones(4)))
    assert partners[0] == 2
    assert partners[2] == 0


@pytest.mark.parametrize("rows", [16, 7])
def test_partners_found_block_by_block_are_the_same(monkeypatch, rows):
    """Also of duplicates, of dropped samples and within classes."""
    draw = np.random.default_rng(12)
    features = draw.normal(size=(48, 6)).astype(np.float32)
    features[20], features[33], features[47] = features[3], features[3], features[46]
    weights = jnp.asarray(draw.uniform(size=48) < 0.8, jnp.float32)
    groups = jnp.asarray(draw.integers(0, 5, 48)).at[5].set(7)  # one of its own

    def found():
        search = quick_jit(lambda: [
            isa.nearest_partners(jnp.asarray(features), weights, group)
            for group in (None, groups)
        ])  # fmt: skip
        return [np.asarray(one) for one in search()]

    whole = found()
    monkeypatch.setattr(isa, "_LARGEST_SEARCH", 47)
    monkeypatch.setattr(isa, "_ROWS", rows)
    np.testing.assert_array_equal(found(), whole)
    assert whole[1][5] == 5


def test_partners_do_not_depend_on_the_default_precision():
    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(isa.nearest_partners)(jnp.ones((4, 3)), jnp.ones(4))
    [product] = [one for one in traced.eqns if one.primitive.name == "dot_general"]
    assert product.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2


def test_coarse_products_cannot_tell_near_neighbours_apart():
    # The second and the third lie closer together than eight bits can tell.
    features = jnp.asarray([[1.0, 0.0], [1.0, 0.105], [1.0, 0.1], [0.5, 1.0]])
    found = {
        precision: int(
            isa.nearest_partners(features, jnp.ones(4), precision=precision)[0]
        )
        for precision in ("float32", "bfloat16")
    }
    assert found == {"float32": 2, "bfloat16": 1}


def test_similarity_is_the_angle_not_the_distance():
    features = jnp.asarray([[1.0, 0.0], [100.0, 1.0], [0.9, 0.5]])
    assert int(nearest_partners(features, jnp.ones(3))[0]) == 1


def test_features_of_no_length_have_finite_partners():
    features = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    partners = np.asarray(nearest_partners(features, jnp.ones(3)))
    assert ((partners >= 0) & (partners < 3) & (partners != np.arange(3))).all()


@pytest.mark.parametrize("kind", ["nearest", "random"])
def test_the_only_kept_sample_is_its_own_partner(kind):
    features = jnp.asarray(np.random.default_rng(11).normal(size=(6, 3)), jnp.float32)
    weights = jnp.zeros(6).at[4].set(1)
    if kind == "nearest":
        partners = nearest_partners(features, weights)
    else:
        partners = random_partners(jax.random.key(0), weights)
    assert int(partners[4]) == 4


@pytest.fixture(scope="module")
def draws():
    """Return 3,000 random pairings of 12 samples, 5 of them dropped."""
    weights = jnp.ones(12).at[jnp.asarray([0, 3, 4, 9, 11])].set(0)
    keys = jax.random.split(jax.random.key(0), 3000)
    pairing = quick_jit(jax.vmap(isa.random_partners, in_axes=(0, None)))
    return np.asarray(pairing(keys, weights)), np.flatnonzero(weights)


def test_random_partners_are_kept_other_samples_each_once(draws):
    partners, kept = draws
    assert (partners[:, kept] != kept).all()
    assert (np.sort(partners[:, kept], axis=1) == kept).all()
    rest = np.setdiff1d(np.arange(12), kept)
    assert (partners[:, rest] == rest).all()


def test_random_partners_are_uniform_over_the_others(draws):
    partners, kept = draws
    # 3,000 draws over 6 others: 500 each, with a standard deviation of 20.
    for place in kept:
        counts = np.bincount(partners[:, place], minlength=12)[
            np.setdiff1d(kept, place)
        ]
        assert np.abs(counts - 500).max() < 5 * np.sqrt(3000 * (1 / 6) * (5 / 6))


def test_random_partners_differ_by_key_and_repeat_with_it():
    weights = jnp.ones(30)
    first, again, other = (
        np.asarray(random_partners(jax.random.key(seed), weights)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_random_permutations_are_uniform_and_leave_the_dropped_in_place():
    weights = jnp.ones(7).at[jnp.asarray([0, 3, 4])].set(0)
    keys = jax.random.split(jax.random.key(0), 4800)
    mapped = quick_jit(jax.vmap(isa.random_permutation, in_axes=(0, None)))
    drawn = np.asarray(mapped(keys, weights))
    kept = np.asarray([1, 2, 5, 6])
    assert (drawn[:, [0, 3, 4]] == [0, 3, 4]).all()
    permutations, counts = np.unique(drawn[:, kept], axis=0, return_counts=True)
    assert (np.sort(permutations, axis=1) == kept).all()
    # All 24 (the identity, too), 200 times each with a standard deviation of 14.
    assert len(permutations) == 24
    assert np.abs(counts - 200).max() < 5 * 14
