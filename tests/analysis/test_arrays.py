"""Checked arrays and distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from isa_toolkit.analysis.arrays import (
    blocks,
    check_classes,
    check_points,
    check_scores,
    squared_distances,
)


def test_blocks_cover_all_rows_once(monkeypatch):
    monkeypatch.setattr("isa_toolkit.analysis.arrays._BLOCK", 30)
    rows = np.arange(25)
    for width in (1, 7, 30, 1000):
        parts = [rows[part] for part in blocks(25, width)]
        assert np.concatenate(parts).tolist() == rows.tolist()
        assert max(map(len, parts)) == min(max(1, 30 // width), 25)
    assert not list(blocks(0, 3))


def test_distances_agree_with_scipy_and_are_never_negative():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(20, 6)), generator.normal(size=(30, 6))
    found = squared_distances(first, second)
    np.testing.assert_allclose(found, cdist(first, second) ** 2, rtol=1e-10)
    assert (squared_distances(first, first) >= 0).all()


def test_floats_pass_uncopied_and_the_rest_becomes_float64():
    for kind in (np.float32, np.float64):
        points = np.ones((2, 3), dtype=kind)
        assert check_points("p", points) is points
    assert check_points("p", np.ones((2, 3), dtype=np.uint8)).dtype == np.float64
    assert check_points("p", np.ones((2, 3), dtype=np.float16)).dtype == np.float64
    assert check_points("p", [[1, 2]]).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: check_points("p", [[1], [1, 2]]),
            "p must be numbers in rows of equal",
        ),
        (
            lambda: check_points("p", [1, 2]),
            r"p must have 2 axes.*got shape \(2,\)\. Fl",
        ),
        (lambda: check_points("p", np.ones((2, 0))), r"got shape \(2, 0\)"),
        (
            lambda: check_points("p", [[1]], minimum=2),
            "p must have at least 2 rows, got",
        ),
        (lambda: check_points("p", np.ones((0, 1))), "p must have at least 1 row, got"),
        (lambda: check_points("p", [[1, -np.inf]]), r"p must be finite, got -inf\."),
        (
            lambda: check_classes("y", [1, 2], 3, "x"),
            "class for each of the 3 rows of x",
        ),
        (
            lambda: check_classes("y", ["a"], 1, "x"),
            "y must be whole numbers, got dtype",
        ),
        (lambda: check_scores("s", [1]), r"s must have at least 2 samples, got shape"),
        (lambda: check_scores("s", 1), r"s must have 1 axis, .* got shape \(\)"),
    ],
)
def test_what_is_no_such_array_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
