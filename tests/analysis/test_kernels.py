"""Kernel scores: known answers, loops over all pairs, and the chance in them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isa_toolkit.analysis import kernels
from isa_toolkit.analysis.kernels import kid, vendi_score


def _loop_vendi(cloud: np.ndarray) -> float:
    count = len(cloud)
    gram = np.empty((count, count))
    for i, x in enumerate(cloud):
        for j, y in enumerate(cloud):
            gram[i, j] = x @ y / math.sqrt((x @ x) * (y @ y))
    # By singular values: of a positive semidefinite matrix they are the eigenvalues.
    values = np.linalg.svd(gram / count, compute_uv=False)
    return math.exp(-sum(one * math.log(one) for one in values if one > 0))


def _loop_kid(real: np.ndarray, distilled: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / len(x) + 1) ** 3

    def among(cloud: np.ndarray) -> float:
        pairs = [
            kernel(cloud[i], cloud[j])
            for i in range(len(cloud))
            for j in range(len(cloud))
            if i != j
        ]
        return sum(pairs) / len(pairs)

    cross = [kernel(x, y) for x in real for y in distilled]
    return among(real) + among(distilled) - 2 * sum(cross) / len(cross)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_one_point_many_times_counts_as_one(count: int) -> None:
    cloud = np.tile([[0.1, -2.0, 3.0]], (count, 1))
    assert vendi_score(cloud) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_points_without_similarity_count_each(count: int) -> None:
    cloud = np.diag(np.arange(1.0, count + 1))
    assert vendi_score(cloud) == pytest.approx(count)


def test_unequal_groups_count_by_their_entropy() -> None:
    cloud = np.repeat(np.eye(2), [3, 1], axis=0)
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert vendi_score(cloud) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9)])
def test_vendi_is_that_of_a_loop(shape: tuple[int, int]) -> None:
    cloud = np.random.default_rng(0).normal(0.4, 1, size=shape)
    expected = _loop_vendi(cloud)
    assert 1.5 < expected < len(cloud) - 0.5
    assert vendi_score(cloud) == pytest.approx(expected, rel=1e-10)


def test_order_and_lengths_do_not_matter() -> None:
    generator = np.random.default_rng(1)
    cloud = generator.normal(size=(12, 4))
    lengths = 10.0 ** generator.integers(-200, 150, size=(12, 1))
    assert vendi_score(cloud * lengths) == pytest.approx(vendi_score(cloud))
    assert vendi_score(generator.permutation(cloud)) == pytest.approx(
        vendi_score(cloud)
    )


def test_a_zero_vector_has_no_direction() -> None:
    cloud = np.eye(4)
    cloud[2] = 0
    with pytest.raises(ValueError, match=r"no zero vector, got one in row 2\. Leave"):
        vendi_score(cloud)


@pytest.mark.parametrize("kind", ["float64", "float32", "uint8"])
@pytest.mark.parametrize("rows", [2048, 5])
def test_kid_is_that_of_a_loop(
    monkeypatch: pytest.MonkeyPatch, kind: str, rows: int
) -> None:
    monkeypatch.setattr(kernels, "_ROWS", rows)
    generator = np.random.default_rng(3)
    real = generator.uniform(0, 5, size=(23, 6)).astype(kind)
    distilled = generator.uniform(1, 7, size=(9, 6)).astype(kind)
    expected = _loop_kid(real.astype(np.float64), distilled.astype(np.float64))
    assert kid(real, distilled) == pytest.approx(expected, rel=1e-12)


def test_kid_by_hand() -> None:
    # Kernels of 0, 1 and 2 on a line: (xy + 1)^3.
    assert kid(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == pytest.approx(
        1 + 27 - 2 * (1 + 1 + 8 + 27) / 4
    )


def test_kid_of_one_distribution_is_zero_on_average() -> None:
    generator = np.random.default_rng(4)
    values = np.array(
        [
            kid(generator.normal(size=(40, 8)), generator.normal(size=(25, 8)))
            for _ in range(300)
        ]
    )
    error = values.std(ddof=1) / math.sqrt(300)
    assert abs(values.mean()) < 3 * error
    assert (values < 0).mean() > 0.3
    # Pairs of a point with itself would add (1/40 + 1/25)(E k(x, x) - E k(x, y)) > 0.4.
    assert 3 * error < 0.1
    shifted = kid(generator.normal(size=(40, 8)), generator.normal(1, 1, size=(25, 8)))
    assert shifted > values.max()


def test_kid_refuses_what_it_cannot_measure() -> None:
    two = np.ones((2, 3))
    with pytest.raises(ValueError, match="distilled must have at least 2 points"):
        kid(two, two[:1])
    with pytest.raises(ValueError, match="real must have at least 2 points"):
        kid(two[:1], two)
    with pytest.raises(ValueError, match="distilled must have 3 features like real"):
        kid(two, two[:, :2])
    with pytest.raises(ValueError, match=r"distilled .*infinity"):
        kid(two, two * math.inf)
