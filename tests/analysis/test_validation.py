"""Points, labels, scores: what is accepted, and errors that name the argument."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isa_toolkit.analysis.validation import (
    as_labels,
    as_pair,
    as_points,
    as_scores,
    check_neighbours,
)
from isa_toolkit.errors import InvalidValueError


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "uint8", "int64"])
def test_points_stay_as_they_are(kind: str) -> None:
    array = np.ones((3, 2), dtype=kind)
    assert as_points("points", array, minimum=3) is array


def test_rows_of_numbers_are_points() -> None:
    assert as_points("points", [[1, 2.5], [3, 4]]).tolist() == [[1, 2.5], [3, 4]]


@pytest.mark.parametrize(
    "given",
    [
        np.ones((0, 4)),
        np.ones((4, 0)),
        [[1.0, 2.0], [3.0]],
        [["a", "b"]],
        np.ones((2, 2), complex),
        [[1.0, math.nan]],
        [[math.inf, 1.0]],
    ],
)
def test_what_is_no_set_of_points_is_refused_in_one_line(given: object) -> None:
    with pytest.raises(InvalidValueError, match="points must be numbers: ") as caught:
        as_points("points", given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(), (2,), (2, 4, 4, 3)])
def test_points_have_two_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="points must"):
        as_points("points", np.ones(shape))


def test_a_least_number_of_points() -> None:
    with pytest.raises(ValueError, match=r"points .* minimum of 3"):
        as_points("points", np.ones((2, 5)), minimum=3)


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


def test_unsigned_labels_count_too() -> None:
    labels = as_labels("labels", np.array([0, 2], np.uint64), 2, "x")
    assert np.bincount(labels).tolist() == [1, 0, 1]


def test_scores_become_float64_of_their_own() -> None:
    given = np.array([2, 1], np.float32)
    found = as_scores("scores", given)
    assert found.dtype == np.float64
    assert found.tolist() == [2, 1]
    assert not np.shares_memory(as_scores("scores", found), found)


@pytest.mark.parametrize("scores", [[1], 1, ["a", "b"], [1, -np.inf], np.eye(2)])
def test_what_is_no_row_of_scores_is_refused(scores: object) -> None:
    with pytest.raises(ValueError, match="s must "):
        as_scores("s", scores)


@pytest.mark.parametrize(
    ("count", "k", "sentence"),
    [
        (
            5,
            5,
            r"real must have at least k \+ 1 = 6 points for k = 5 .*got 5\. Lower k",
        ),
        (5, 5, r"Lower k to 4 at most, or give more points\."),
        (1, 1, r"got 1\. Give more points\."),
    ],
)
def test_too_few_points_for_a_neighbour_are_refused(
    count: int, k: int, sentence: str
) -> None:
    check_neighbours("real", k + 1, k)
    with pytest.raises(ValueError, match=sentence):
        check_neighbours("real", count, k)
