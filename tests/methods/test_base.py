"""What methods share."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from isa_toolkit.methods.base import Batch, first_failure


@pytest.mark.parametrize("flags", [*itertools.product([True, False], repeat=3)])
def test_the_code_is_one_plus_the_place_of_the_first_failure(flags):
    code = first_failure(*(jnp.asarray(flag) for flag in flags))
    assert int(code) == (0 if all(flags) else 1 + flags.index(False))
    assert code.dtype == jnp.int32
    assert code.shape == ()


def test_a_batch_is_images_and_labels():
    batch = Batch(jnp.zeros((2, 4, 4, 1)), jnp.eye(2))
    assert np.shape(batch.images)[0] == np.shape(batch.labels)[0]
    assert Batch._fields == ("images", "labels", "extra")
    assert batch.extra == ()
