"""Overlap, spread and evenness: cases by hand, naive loops, and what leaves them be."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from isa_toolkit.analysis.class_geometry import evenness, overlap, spread

MEASURES = [overlap, spread, evenness]


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return 60 real and 13 distilled points of three classes that run into another."""
    generator = np.random.default_rng(0)
    real_labels = generator.integers(3, size=60)
    labels = np.arange(13) % 3
    centres = 2 * generator.normal(size=(3, 5))
    real = centres[real_labels] + generator.normal(size=(60, 5))
    return real, real_labels, centres[labels] + generator.normal(size=(13, 5)), labels


def numbers(measure, *arrays) -> np.ndarray:
    """Return what a measure says of each class; the mean and the pure ones of overlap."""
    found = measure(*arrays)
    if measure is not overlap:
        return found
    names = arrays[-1]
    pure = [(found[names == name] == 1).mean() for name in np.unique(names)]
    return np.array([found.mean(), *pure])


@pytest.mark.parametrize("measure", MEASURES)
def test_the_order_of_points_does_not_matter(sets, measure):
    real, real_labels, distilled, labels = sets
    generator = np.random.default_rng(1)
    rows, places = generator.permutation(60), generator.permutation(13)
    np.testing.assert_allclose(
        numbers(
            measure, real[rows], real_labels[rows], distilled[places], labels[places]
        ),
        numbers(measure, *sets),
        rtol=1e-12,
    )


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_translation_rotation_and_scale_do_not_matter(sets, measure, scale):
    real, real_labels, distilled, labels = sets
    generator = np.random.default_rng(2)
    turn, _ = np.linalg.qr(generator.normal(size=(5, 5)))
    moved = [scale * (points @ turn + 1000) for points in (real, distilled)]
    np.testing.assert_allclose(
        numbers(measure, moved[0], real_labels, moved[1], labels),
        numbers(measure, *sets),
        rtol=1e-9,
    )


@pytest.mark.parametrize("distance", [1e3, 1e7, 1e9])
@pytest.mark.parametrize("which", [0, 2], ids=["real", "distilled"])
def test_one_point_far_away_changes_nothing_for_the_others(sets, which, distance):
    def fractions(away: float) -> np.ndarray:
        arrays = [np.concatenate([one, one[:1]]) for one in sets]
        arrays[which][-1] += away
        return overlap(*arrays)[:13]

    np.testing.assert_array_equal(fractions(distance), fractions(100))


@pytest.mark.parametrize("measure", MEASURES)
def test_blocks_of_rows_give_the_same(sets, measure, monkeypatch):
    whole = numbers(measure, *sets)
    monkeypatch.setattr("isa_toolkit.analysis.knn.BLOCK_MIB", 0.005)
    np.testing.assert_allclose(numbers(measure, *sets), whole, rtol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_whole_numbers_are_points_too(sets, measure):
    real, real_labels, distilled, labels = sets
    real, distilled = (np.abs(10 * part).astype(np.uint8) for part in (real, distilled))
    small = numbers(measure, real, real_labels.astype(np.int8), distilled, labels)
    wide = numbers(measure, real * 1.0, real_labels, distilled * 1.0, labels)
    np.testing.assert_array_equal(small, wide)


@pytest.mark.parametrize("k", [1, 2, 5, 60])
def test_overlap_agrees_with_a_naive_loop(sets, k):
    real, real_labels, distilled, labels = sets
    shares = []
    for index, point in enumerate(distilled):
        around = [
            (math.dist(point, other), name == labels[index])
            for other, name in zip(real, real_labels, strict=True)
        ]
        around += [
            (math.dist(point, other), False)
            for place, other in enumerate(distilled)
            if place != index
        ]
        nearest = sorted(around, key=lambda pair: pair[0])[:k]
        shares.append(sum(own for _, own in nearest) / k)
    assert overlap(*sets, k=k) == pytest.approx(shares)


def test_spread_agrees_with_a_naive_loop(sets):
    real, real_labels, distilled, labels = sets

    def mean_distance(points):
        return np.mean([math.dist(*pair) for pair in combinations(points, 2)])

    expected = [
        mean_distance(distilled[labels == name])
        / mean_distance(real[real_labels == name])
        for name in range(3)
    ]
    assert spread(*sets) == pytest.approx(expected)


def test_evenness_agrees_with_a_naive_loop(sets):
    real, real_labels, distilled, labels = sets
    expected = []
    for name in range(3):
        points = distilled[labels == name]
        counts = Counter(
            min(range(len(points)), key=lambda place: math.dist(row, points[place]))
            for row in real[real_labels == name]
        )
        total = sum(counts.values())
        entropy = -sum(c / total * math.log(c / total) for c in counts.values())
        expected.append(entropy / math.log(len(points)))
    assert evenness(*sets) == pytest.approx(expected)


def test_overlap_by_hand():
    # Class 0 at 0 .. 3, class 1 at 10 .. 13. Distilled: .4 among its class, 10.4 of
    # class 0 among the other, and a clump of class 1 at 30, 31, 32 away from the data.
    real = np.array([[0.0], [1], [2], [3], [10], [11], [12], [13]])
    real_labels = np.repeat([0, 1], 4)
    distilled = np.array([[0.4], [10.4], [30], [31], [32]])
    found = overlap(real, real_labels, distilled, np.array([0, 0, 1, 1, 1]), k=3)
    # The clump's own two come first, then the real one at 13.
    assert found == pytest.approx([1, 0, 1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("offset", [0.0, 0.1, 1 / 3, 7.7])
def test_neighbours_as_far_as_the_last_one_all_count(offset):
    # Twelve points of whole numbers on a circle, three of them of another class. An
    # offset makes their distances differ in the last digit.
    circle = [(x, y) for x in range(-5, 6) for y in range(-5, 6) if x * x + y * y == 25]
    real = np.array([*circle, (50, 50)]) / 10 + offset
    names = np.repeat([0, 1, 0], [9, 3, 1])
    centre = np.full((1, 2), offset)
    for order in (np.arange(13), np.arange(13)[::-1]):
        found = overlap(real[order], names[order], centre, np.array([0]), k=1)
        assert found.tolist() == pytest.approx([3 / 4])


def test_a_distilled_point_on_a_real_one_is_a_neighbour_of_it_and_not_of_itself():
    real = np.array([[0.0, 0], [1, 0], [9, 9]])
    found = overlap(real, np.array([0, 0, 1]), real[:1], np.array([0]), k=2)
    assert found.tolist() == [1]


def test_clustered_stars_overlap_less_spread_less_and_share_less_evenly():
    # What appendix B sees in figure 6, put there by construction.
    generator = np.random.default_rng(4)
    real = generator.normal(size=(300, 2))
    spread_out, clump = real[:8] * 1.0, 2 + 0.01 * real[:8]
    names, labels = np.zeros(300, dtype=int), np.zeros(8, dtype=int)
    for measure in (spread, evenness):
        [wide] = measure(real, names, spread_out, labels)
        assert wide > 0.8
        assert measure(real, names, clump, labels) < wide - 0.3
    wide, narrow = (
        (overlap(real, names, stars, labels) == 1).mean()
        for stars in (spread_out, clump)
    )
    assert wide > narrow


def test_spread_and_evenness_by_hand():
    # Real pairs of 0, 2, 4: mean 8 / 3. Distilled pair 0 and 3: nearest 0, 3, 3.
    real = np.array([[0.0], [2], [4], [100], [101]])
    real_labels = np.array([7, 7, 7, 9, 9])
    distilled = np.array([[0.0], [3], [100], [101]])
    labels = np.array([7, 7, 9, 9])
    assert spread(real, real_labels, distilled, labels) == pytest.approx(
        [3 / (8 / 3), 1]
    )
    found = evenness(real, real_labels, distilled, labels)
    entropy = -(math.log2(1 / 3) / 3 + 2 * math.log2(2 / 3) / 3)
    assert found == pytest.approx([entropy, 1])


@pytest.mark.parametrize("offset", [0.0, 0.1, 1 / 3, 7.7])
def test_a_real_point_between_two_is_shared(offset):
    # The middle of an odd number must be shared to make it even.
    real = np.linspace(0, 1, 11)[:, None] + offset
    ends = np.array([[0.0], [1.0]]) + offset
    found = evenness(real, np.zeros(11, int), ends, np.zeros(2, int))
    assert found == pytest.approx([1], abs=1e-6)


def test_evenness_is_0_where_one_point_gets_all():
    real = np.array([[0.0], [1], [2]])
    distilled = np.array([[1.0], [50], [60]])
    found = evenness(real, np.zeros(3, int), distilled, np.zeros(3, int))
    assert found.tolist() == [0]


def test_one_image_per_class_has_no_spread_and_nothing_to_share(sets):
    real, real_labels, distilled, labels = sets
    for measure in (spread, evenness):
        found = measure(real, real_labels, distilled[:3], labels[:3])
        assert np.isnan(found).all()
        found = measure(real, real_labels, distilled[:4], labels[:4])
        assert np.isnan(found).tolist() == [False, True, True]


@pytest.mark.parametrize("seed", range(8))
def test_real_points_that_coincide_are_no_unit_of_spread(seed):
    # Enough features for rounding to part, in some draws, what is one point.
    generator = np.random.default_rng(seed)
    one = generator.normal(size=(1, 333))
    real = np.concatenate([np.tile(one, (9, 1)), 10 * np.eye(333)])
    names = np.repeat([0, 1], [9, 333])
    found = spread(real, names, generator.normal(size=(2, 333)), np.zeros(2, int))
    assert np.isnan(found).tolist() == [True]


@pytest.mark.parametrize("measure", MEASURES)
def test_sets_that_do_not_fit_are_refused(sets, measure):
    real, real_labels, distilled, labels = sets
    with pytest.raises(ValueError, match="distilled must have 5 features"):
        measure(real, real_labels, distilled[:, :4], labels)
    with pytest.raises(ValueError, match="real_labels must have one class for each of"):
        measure(real, real_labels[:-1], distilled, labels)
    with pytest.raises(ValueError, match="distilled_labels"):
        measure(real, real_labels, distilled, np.eye(13))
    with pytest.raises(ValueError, match="distilled_labels must be whole numbers"):
        measure(real, real_labels, distilled, labels / 2)
    with pytest.raises(ValueError, match=r"distilled_labels .*got 9"):
        measure(real, real_labels, distilled, np.where(labels == 2, 9, labels))
    with pytest.raises(ValueError, match=r"distilled .*NaN"):
        measure(
            real, real_labels, np.where(labels[:, None] == 1, np.nan, distilled), labels
        )
    with pytest.raises(ValueError, match="real must be numbers"):
        measure([["a"]], real_labels, distilled, labels)


def test_k_is_a_number_of_real_points(sets):
    with pytest.raises(
        ValueError, match="k must be at most the 60 real points, got 61"
    ):
        overlap(*sets, k=61)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        overlap(*sets, k=0)
