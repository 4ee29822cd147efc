"""Neighbours: results of a float64 loop over pairs, from rounded distances in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from isa_toolkit.analysis import knn
from isa_toolkit.analysis.knn import (
    closer,
    clouds,
    distance_blocks,
    rough_blocks,
    squared_radii,
)


def _cloud(name: str) -> np.ndarray:
    generator = np.random.default_rng(0)
    plain = generator.normal(size=(60, 7))
    return {
        "plain": plain,
        "float32": plain.astype(np.float32),
        # The screen alone is useless here: the clumps are far apart and tiny.
        "clumps": np.concatenate([plain * 1e-5 + 1e3, plain * 1e-5 - 1e3]),
        "outlier": np.concatenate([plain, [[1e7] * 7]]),
        "copies": np.concatenate([plain[:30], plain[:30], plain[:9], plain[:9]]),
        "one place": np.full((20, 3), 0.1),
        "ties": generator.integers(0, 3, size=(50, 4)),
        "uint8": generator.integers(0, 256, size=(40, 12)).astype(np.uint8),
        "line": generator.normal(size=(50, 1)),
        "huge": plain * 1e150,
        "minute": plain * 1e-150,
        "columns first": np.asfortranarray(plain),
        "wide": generator.normal(size=(12, 500)).astype(np.float32) + 50,
    }[name]


CLOUDS = [
    *("plain", "float32", "clumps", "outlier", "copies", "one place", "ties", "uint8"),
    *("line", "huge", "minute", "columns first", "wide"),
]


def _loop(array: np.ndarray) -> np.ndarray:
    """Return distances of all pairs, the largest coordinate taken out of each sum."""
    wide = array.astype(np.float64)
    result = np.zeros((len(wide), len(wide)))
    for row, point in enumerate(wide):
        apart = np.abs(wide - point)
        largest = apart.max(axis=1)
        apart /= np.where(largest > 0, largest, 1)[:, None]
        result[row] = largest * np.sqrt((apart**2).sum(axis=1))
    return result


def test_distance_blocks_agree_with_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(20, 6)), generator.normal(size=(30, 6))
    monkeypatch.setattr(knn, "BLOCK_MIB", 0.001)
    blocks = list(distance_blocks(first, second))
    assert len(blocks) > 1
    assert [part.start for part, _ in blocks[1:]] == [
        part.stop for part, _ in blocks[:-1]
    ]
    found = np.concatenate([block for _, block in blocks])
    np.testing.assert_allclose(found, cdist(first, second) ** 2, rtol=1e-10)
    own = np.concatenate([block for _, block in distance_blocks(first, first)])
    assert (own >= 0).all()
    assert (np.diag(own) == 0).all()


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("k", [1, 5])
def test_the_kth_neighbour_is_that_of_a_loop(name: str, k: int) -> None:
    points = _cloud(name)
    distances = _loop(points)
    np.fill_diagonal(distances, np.inf)
    expected = np.sort(distances, axis=1)[:, k - 1]
    [cloud] = clouds(points)
    found = np.sqrt(squared_radii(cloud, k)) / cloud.scale
    assert found == pytest.approx(expected, rel=1e-13, abs=0)


def test_neighbours_by_hand() -> None:
    [line] = clouds(np.array([[0.0], [1.0], [3.0], [7.0]]))
    found = [np.sqrt(squared_radii(line, k)) / line.scale for k in (1, 2, 3)]
    assert np.array(found).tolist() == [[1, 1, 2, 4], [3, 2, 3, 6], [7, 6, 4, 7]]


@pytest.mark.parametrize("name", CLOUDS)
def test_a_rough_distance_is_off_by_less_than_its_error(name: str) -> None:
    points = _cloud(name)
    [cloud] = clouds(points)
    [(_, block)] = rough_blocks(cloud, cloud)
    off = np.abs(block - (_loop(points) * cloud.scale) ** 2)
    error = cloud.error(points.shape[1])
    assert (off <= np.add.outer(error, error) / 2).all()
    # The scale is as tight as a power of two can be.
    assert 0.5 <= np.abs(cloud.centred).max() <= 1


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_a_point_on_the_surface_is_not_closer(name: str, side: str) -> None:
    points = _cloud(name)
    [cloud] = clouds(points)
    [(part, block)] = rough_blocks(cloud, cloud)
    rows, columns = np.divmod(np.arange(block.size), len(points))
    exact = knn._exact(cloud, cloud, rows, columns).reshape(block.shape)
    np.testing.assert_allclose(np.sqrt(exact) / cloud.scale, _loop(points), rtol=1e-13)
    # Each limit is the squared distance of some pair, which touches it.
    limits = np.sort(exact, axis=1)[:, 3]
    limits = limits[:, None] if side == "rows" else limits[None, :]
    assert np.array_equal(closer(cloud, cloud, part, block, limits), exact < limits)
    assert np.array_equal(exact, exact.T)


def test_limits_far_from_all_distances() -> None:
    [cloud] = clouds(_cloud("plain"))
    [(part, block)] = rough_blocks(cloud, cloud)
    assert not closer(cloud, cloud, part, block, np.zeros((1, 60))).any()
    assert closer(cloud, cloud, part, block, np.full((60, 1), 1e9)).all()
