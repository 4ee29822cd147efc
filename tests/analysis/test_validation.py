"""Points, labels, scores: what is refused, in which words; how large sets are cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isa_toolkit.analysis import validation
from isa_toolkit.analysis.validation import (
    as_labels,
    as_pair,
    as_points,
    as_scores,
    check_neighbours,
    count_classes,
    row_blocks,
)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "uint8", "int64"])
def test_points_stay_as_they_are(kind: str) -> None:
    array = np.ones((3, 2), dtype=kind)
    assert as_points("points", array, minimum=3) is array


def test_rows_of_numbers_are_points() -> None:
    assert as_points("points", [[1, 2.5], [3, 4]]).tolist() == [[1, 2.5], [3, 4]]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            [1.0, 2.0],
            r"^points must have 2 axes, one point per row, got shape \(2,\)\. Flatten",
        ),
        (np.ones((2, 4, 4, 3)), r"got shape \(2, 4, 4, 3\)\. Flatten each sample"),
        (
            np.ones((0, 4)),
            r"have at least one point with one feature, got shape \(0, 4\)",
        ),
        (
            np.ones((4, 0)),
            r"have at least one point with one feature, got shape \(4, 0\)",
        ),
        ([[1.0, 2.0], [3.0]], "be numbers in rows of equal length"),
        ([["a", "b"]], "points must be real numbers, got an array of <U1"),
        (np.ones((2, 2), bool), r"got an array of bool\. Convert them with values\.as"),
        (np.ones((2, 2), complex), "be real numbers, got an array of complex128"),
    ],
)
def test_what_is_no_set_of_points_is_refused(given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        as_points("points", given)


def test_a_least_number_of_points_is_asked_for() -> None:
    with pytest.raises(
        ValueError, match=r"^points must have at least 3 rows, got shape \(2, 5\)"
    ):
        as_points("points", np.ones((2, 5)), minimum=3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_point_that_is_not_finite_is_found_in_any_block(
    monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    monkeypatch.setattr(validation, "BLOCK_BYTES", 6)
    array = np.zeros((9, 3), np.float32)
    array[7, 1] = bad
    with pytest.raises(ValueError, match=f"^real must be finite, got {bad} in row 7"):
        as_points("real", array)


def test_two_sets_share_their_features() -> None:
    with pytest.raises(
        ValueError, match=r"^distilled must have 3 features like real, got 4\. Take"
    ):
        as_pair(np.ones((5, 3)), np.ones((2, 4)))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0.5, 1.0], r"one for each point, got float64 of shape \(2,\)\. Soft labels"),
        ([[1, 0], [0, 1]], r"got int64 of shape \(2, 2\)\. Soft labels"),
        (["a", "b"], r"labels must be whole numbers, .* got <U1 of shape \(2,\)"),
        ([0, 1, 2], r"labels must have one class for each of the 2 rows of x, got 3\."),
    ],
)
def test_labels_are_one_class_number_for_each_point(
    labels: list, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        as_labels("labels", labels, 2, "x")


def test_classes_reach_to_the_largest_label_unless_said_otherwise() -> None:
    first, second = (as_labels("labels", row, 2, "x") for row in ([0, 3], [5, 1]))
    assert count_classes(None, a=first, b=second) == 6
    assert count_classes(8, a=first, b=second) == 8
    with pytest.raises(ValueError, match="above the largest label, 5, got 5"):
        count_classes(5, a=first, b=second)


def test_classes_are_counted_from_zero_though_any_number_names_one() -> None:
    labels = as_labels("labels", [0, -1], 2, "x")
    assert labels.tolist() == [0, -1]
    with pytest.raises(ValueError, match=r"^labels must count classes from 0, got -1"):
        count_classes(None, others=np.array([3]), labels=labels)


def test_unsigned_labels_count_too() -> None:
    labels = as_labels("labels", np.array([0, 2], np.uint64), 2, "x")
    assert np.bincount(labels).tolist() == [1, 0, 1]


def test_scores_become_float64_of_their_own() -> None:
    given = np.array([2, 1], np.float32)
    found = as_scores("scores", given)
    assert found.dtype == np.float64
    assert found.tolist() == [2, 1]
    assert not np.shares_memory(as_scores("scores", found), found)


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([1], r"^s must have at least 2 samples, got shape \(1,\)"),
        (1, r"^s must have 1 axis, one score per sample, got shape \(\)"),
        (["a", "b"], r"^s must be numbers, got \['a', 'b'\]"),
        ([1, -np.inf], r"^s must be finite, got -inf\."),
    ],
)
def test_what_is_no_row_of_scores_is_refused(scores: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        as_scores("s", scores)


@pytest.mark.parametrize(
    ("count", "k", "sentence"),
    [
        (
            5,
            5,
            r"real must hold at least k \+ 1 = 6 points for k = 5 .*got 5\. Lower k",
        ),
        (5, 5, "Lower k to 4 at most, or give more points, or wait"),
        (1, 1, r"got 1\. Give more points, or wait"),
    ],
)
def test_too_few_points_for_a_neighbour_are_refused(
    count: int, k: int, sentence: str
) -> None:
    check_neighbours("real", k + 1, k)
    with pytest.raises(ValueError, match=sentence):
        check_neighbours("real", count, k, "wait")


@pytest.mark.parametrize(
    ("rows", "row_bytes", "budget", "sizes"),
    [
        (10, 4, 16, [4, 4, 2]),
        (10, 4, 19, [4, 4, 2]),
        (10, 4, 40, [10]),
        (3, 100, 16, [1, 1, 1]),
        (0, 4, 16, []),
    ],
)
def test_blocks_cover_all_rows_within_their_budget(
    rows: int, row_bytes: int, budget: int, sizes: list[int]
) -> None:
    blocks = list(row_blocks(rows, row_bytes, budget))
    assert [block.stop - block.start for block in blocks] == sizes
    covered = [row for block in blocks for row in range(block.start, block.stop)]
    assert covered == list(range(rows))
