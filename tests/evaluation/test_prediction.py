"""Predictions in pieces, and what counts as the predicted class."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from isa_toolkit.evaluation.prediction import accuracy_of, in_pieces, largest_class


def test_scores_that_are_not_finite_are_no_class():
    scores = jnp.array([[0.1, 0.3, 0.2], [jnp.nan] * 3, [0.0, jnp.inf, 0.0]])
    assert largest_class(scores).tolist() == [1, -1, -1]
    assert float(accuracy_of(scores, jnp.array([1, 0, 1]))) == pytest.approx(1 / 3)


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1203])
def test_pieces_together_are_the_whole(count):
    images = np.random.default_rng(0).normal(size=(count, 2, 2, 1)).astype("float32")
    sizes = []

    def function(piece):
        sizes.append(piece.shape[0])
        return {"sum": piece.sum((1, 2, 3)), "rows": piece[:, 0, :, 0] + 1}

    result = in_pieces(function, jnp.asarray(images))
    np.testing.assert_allclose(result["sum"], images.sum((1, 2, 3)), atol=1e-5)
    np.testing.assert_array_equal(result["rows"], images[:, 0, :, 0] + 1)
    assert max(sizes) <= 500
