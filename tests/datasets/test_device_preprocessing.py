"""Preprocessing inside a program equals preprocessing outside of it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from isa_toolkit.datasets import preprocessing
from isa_toolkit.datasets.device_preprocessing import device_inputs, to_inputs


@pytest.mark.parametrize(
    ("shape", "whitening"),
    [
        ((30, 6, 4, 3), "standardise"),
        ((30, 6, 4, 3), "zca"),
        ((30, 6, 4, 1), "none"),
        # In four phases.
        ((3, 80, 66, 1), "zca"),
    ],
)
def test_bytes_become_the_inputs_that_numpy_makes(shape, whitening: str):
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, shape, np.uint8)
    fitted = preprocessing.fit(images, whitening)
    made = jax.jit(to_inputs)(images, device_inputs(fitted))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, fitted.apply(images), atol=3e-5)
