"""What carries no gradient can be read coarsely, and says how coarse it was."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from isa_toolkit.networks import NETWORKS, NetworkSettings, base, build
from isa_toolkit.networks.precision import (
    PRECISIONS,
    frozen_features,
    products_of_rows,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def read() -> dict[str, np.ndarray]:
    """Features of the same images at every precision."""
    network = build(NetworkSettings(width=8), image_shape=(8, 8, 1), num_classes=3)
    images = jax.random.normal(jax.random.key(1), (20, *network.image_shape))

    @jax.jit
    def every(images):
        params, state = network.init(jax.random.key(0))
        return {
            one: frozen_features(network, params, state, images, one)
            for one in PRECISIONS
        }

    return {name: np.asarray(found) for name, found in every(images).items()}


def test_features_are_float32_whatever_they_were_read_with(read):
    assert {name: found.dtype.name for name, found in read.items()} == dict.fromkeys(
        PRECISIONS, "float32"
    )


def test_large_maps_are_read_in_pieces_that_change_nothing(monkeypatch):
    network = build(NetworkSettings(width=8), image_shape=(8, 8, 1), num_classes=3)
    images = jax.random.normal(jax.random.key(1), (20, *network.image_shape))

    def found():
        @jax.jit
        def every():
            given = (network, *network.init(jax.random.key(0)), images)
            return [frozen_features(*given, one) for one in PRECISIONS]

        return every()

    whole = found()
    # At width 8 and 8x8 pixels: six images at a time, and two that are left.
    monkeypatch.setattr(base, "_LARGEST_MAP", 6 * 8 * 8 * 8 + 1)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    assert base.images_at_once(network, params) == 6
    for one, other in zip(found(), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(base, "_LARGEST_MAP", 1)
    assert base.images_at_once(network, params) == 1


def test_published_batches_of_small_images_are_read_in_one_pass():
    for pixels, at_once in ((32, 4096), (64, 1024), (128, 256)):
        shape = (pixels, pixels, 3)
        network = build(NetworkSettings(), image_shape=shape, num_classes=10)
        params, _ = jax.eval_shape(network.init, jax.random.key(0))
        assert base.images_at_once(network, params) == at_once


def test_bfloat16_rounds_at_its_eighth_bit_and_the_cpu_reads_in_float32(read):
    np.testing.assert_array_equal(read["default"], read["float32"])
    apart = np.linalg.norm(read["bfloat16"] - read["float32"])
    # Half a unit in the last of eight bits is 2e-3 of each factor.
    assert 5e-4 < apart / np.linalg.norm(read["float32"]) < 1e-2


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_of_every_network_can_be_in_bfloat16(name):
    network = build(
        NetworkSettings(name=name, width=4), image_shape=(32, 32, 3), num_classes=3
    )
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    made: Any = jax.make_jaxpr(
        lambda *given: frozen_features(network, *given, "bfloat16")
    )(params, state, images)
    factors = {
        variable.aval.dtype.name
        for equation in walk(made.jaxpr)
        if equation.primitive.name in ("conv_general_dilated", "dot_general")
        for variable in equation.invars
    }
    assert factors == {"bfloat16"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_gradient_passes(precision):
    network = build(
        NetworkSettings(width=2, depth=1), image_shape=(4, 4, 1), num_classes=3
    )

    @jax.jit
    @jax.grad
    def slope(images):
        params, state = network.init(jax.random.key(0))
        return jnp.sum(frozen_features(network, params, state, images, precision))

    np.testing.assert_array_equal(slope(jnp.ones((2, 4, 4, 1))), 0)
    value = jax.grad(lambda rows: jnp.sum(products_of_rows(rows, rows, precision)))
    np.testing.assert_array_equal(value(jnp.ones((3, 2))), 0)


def walk(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from walk(inner)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_are_those_of_the_rounded_rows(precision):
    rows = jax.random.normal(jax.random.key(2), (6, 40))
    factors = rows.astype(jnp.bfloat16) if precision == "bfloat16" else rows
    expected = np.asarray(factors, np.float64) @ np.asarray(factors, np.float64).T
    found = products_of_rows(rows, rows, precision)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"precision must be one of .*'float16'"):
        products_of_rows(jnp.ones((2, 2)), jnp.ones((2, 2)), "float16")
    network = build(NetworkSettings(width=2), image_shape=(8, 8, 1), num_classes=3)
    with pytest.raises(ValueError, match=r"precision must be one of .*'tf32'"):
        frozen_features(network, {}, {}, jnp.ones((1, 8, 8, 1)), "tf32")
