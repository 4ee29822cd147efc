"""The quadrature is exact where it says so."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from isa_toolkit.losses.quadrature import segment_mean


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("ends", [(-1.0, 0.0), (0.25, 2.0), (1.0, -0.5)])
def test_polynomials_up_to_the_degree_are_exact_and_the_next_is_not(nodes, ends):
    a, b = ends
    for degree in range(2 * nodes + 1):
        value = float(segment_mean(lambda t, p=degree: t**p, a, b, nodes=nodes))
        exact = (b ** (degree + 1) - a ** (degree + 1)) / ((degree + 1) * (b - a))
        if degree < 2 * nodes:
            assert value == pytest.approx(exact, rel=1e-5, abs=1e-6)
        else:
            assert abs(value - exact) > 1e-4


def test_a_segment_of_no_length_gives_the_value_there():
    assert float(segment_mean(jnp.exp, 0.3, 0.3)) == pytest.approx(np.exp(0.3))


def test_a_smooth_function_is_close_to_its_mean():
    exact, _ = integrate.quad(np.exp, -1, 0)
    assert float(segment_mean(jnp.exp, -1.0, 0.0)) == pytest.approx(exact, rel=2e-6)


def test_the_ends_can_be_traced():
    run = jax.jit(lambda a, b: segment_mean(jnp.square, a, b))
    assert float(run(-1.0, 0.0)) == pytest.approx(1 / 3)
    assert float(run(0.0, 3.0)) == pytest.approx(3.0)
    assert run._cache_size() == 1
