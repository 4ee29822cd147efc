"""Neighbours: what a float64 loop over pairs says, from float32 products in blocks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from isa_toolkit.analysis import knn, validation
from isa_toolkit.analysis.knn import (
    frame_of,
    neighbour_distances,
    place,
    screen,
    squared_distances,
    within,
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


def test_squared_distances_agree_with_scipy_and_are_never_negative() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(20, 6)), generator.normal(size=(30, 6))
    found = squared_distances(first, second)
    np.testing.assert_allclose(found, cdist(first, second) ** 2, rtol=1e-10)
    assert (squared_distances(first, first) >= 0).all()


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("k", [1, 5])
def test_the_kth_neighbour_is_that_of_a_loop(name: str, k: int) -> None:
    cloud = _cloud(name)
    distances = _loop(cloud)
    np.fill_diagonal(distances, np.inf)
    expected = np.sort(distances, axis=1)[:, k - 1]
    assert neighbour_distances(cloud, k) == pytest.approx(expected, rel=1e-13, abs=0)


def test_neighbours_by_hand() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_distances(line, 1).tolist() == [1, 1, 2, 4]
    assert neighbour_distances(line, 2).tolist() == [3, 2, 3, 6]
    assert neighbour_distances(line, 3).tolist() == [7, 6, 4, 7]


@pytest.mark.parametrize("name", CLOUDS)
def test_the_screen_is_off_by_less_than_its_margin(name: str) -> None:
    cloud = _cloud(name)
    frame = frame_of(cloud)
    placed = place(cloud, frame)
    error = np.abs(screen(placed, placed) - (_loop(cloud) * frame.scale) ** 2)
    margin = knn._margin(placed, placed)
    assert (error <= margin / 2).all()
    # The frame is as tight as a power of two can be.
    assert 0.5 <= np.abs(placed.scaled).max() <= 1


def test_the_screen_alone_would_be_wrong() -> None:
    # What the float64 step is for: here float32 tells no neighbour from another.
    cloud = _cloud("clumps")
    frame = frame_of(cloud)
    tile = screen(place(cloud, frame), place(cloud, frame))
    np.fill_diagonal(tile, np.inf)
    rough = np.sqrt(np.maximum(np.sort(tile, axis=1)[:, 4], 0)) / frame.scale
    assert (np.abs(rough / neighbour_distances(cloud) - 1) > 0.5).any()


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_a_point_on_the_surface_is_not_within(name: str, side: str) -> None:
    cloud = _cloud(name)
    frame = frame_of(cloud)
    placed = place(cloud, frame)
    tile = screen(placed, placed)
    pairs = np.arange(len(cloud) ** 2)
    exact = knn._differences(placed, placed, pairs).reshape(tile.shape)
    np.testing.assert_allclose(np.sqrt(exact) / frame.scale, _loop(cloud), rtol=1e-13)
    # Each limit is the squared distance of some pair, touched by that pair at least.
    limits = np.sort(exact, axis=1)[:, 3]
    limits = limits[:, None] if side == "rows" else limits[None, :]
    found = within(placed, placed, tile, limits)
    assert np.array_equal(found, exact < limits)
    assert np.array_equal(exact, exact.T)


def test_limits_far_from_all_points_are_kept_apart_too() -> None:
    cloud = _cloud("plain")
    placed = place(cloud, frame_of(cloud))
    tile = screen(placed, placed)
    assert not within(placed, placed, tile, np.zeros((1, 60))).any()
    assert within(placed, placed, tile, np.full((60, 1), 1e9)).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = [_cloud(name) for name in ("float32", "copies", "ties")]
    whole = [neighbour_distances(cloud, 3) for cloud in clouds]
    for size in (1, 3000, 20000):
        monkeypatch.setattr(validation, "BLOCK_BYTES", size)
        monkeypatch.setattr(knn, "DIFFERENCE_BYTES", size)
        for cloud, expected in zip(clouds, whole, strict=True):
            # The centre is summed in other pieces, which may only touch the screen.
            assert np.array_equal(neighbour_distances(cloud, 3), expected)


@pytest.mark.parametrize("copies", [False, True])
def test_memory_is_a_copy_and_a_block(
    monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    block, differences = 2**20, 2**18
    monkeypatch.setattr(validation, "BLOCK_BYTES", block)
    monkeypatch.setattr(knn, "DIFFERENCE_BYTES", differences)
    cloud = np.random.default_rng(1).normal(size=(1200, 6)).astype(np.float32)
    if copies:  # The worst case: float32 decides no pair at all.
        cloud[:] = cloud[0]
    tracemalloc.start()
    try:
        neighbour_distances(cloud)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    per_point = 4 * (6 + 1) + 8 + 8
    assert peak < block + differences + per_point * len(cloud) + 2**16
    # The distances of all pairs would be more.
    assert peak < 4 * len(cloud) ** 2 / 2


def test_the_largest_sets_stay_under_two_gibibytes() -> None:
    real, distilled, features = 60_000, 5_000, 2_048
    copies = 4 * (real + distilled) * (features + 1)
    blocks = list(validation.row_blocks(real, knn.PAIR_BYTES * real))
    widest = max(rows.stop - rows.start for rows in blocks)
    work = widest * real * knn.PAIR_BYTES + knn.DIFFERENCE_BYTES
    assert copies + work < 2 * 2**30
    # Blocks of a single row would pass as well, and take for ever.
    assert widest > 100


def test_a_neighbour_that_cannot_be_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"points must hold at least k \+ 1 = 6 points"
    ):
        neighbour_distances(np.ones((5, 2)))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        neighbour_distances(np.ones((5, 2)), 0)
    with pytest.raises(TypeError, match=r"k must be a whole number, got 2\.5"):
        neighbour_distances(np.ones((5, 2)), 2.5)  # type: ignore[arg-type]
