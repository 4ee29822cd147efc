"""The floor: how fast a step could be, from what it counts and what the device can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit.bench.steps import TimedLoop
from isa_toolkit.methods.base import Batch

__all__ = ["Floor", "Rates", "floor", "measured_rates"]


class Rates(NamedTuple):
    """What the device does at best, measured.

    flop_per_second: of a large float32 matrix product at default precision.
    bytes_per_second: read and written by a copy that is too large for a cache.
    """

    flop_per_second: float
    bytes_per_second: float


class Floor(NamedTuple):
    """The least time of a step.

    flop: counted by XLA in the compiled step.
    bytes: read and written, counted by XLA; what stays in a cache is counted, too.
    compute_seconds: flop over the device's rate.
    memory_seconds: bytes over the device's rate.
    seconds: the larger of the two; on a CPU the first alone, since a small step's bytes
        stay in its caches and the second is no lower bound.
    """

    flop: float
    bytes: float
    compute_seconds: float
    memory_seconds: float
    seconds: float


def measured_rates() -> Rates:
    """Return the device's rates: the best of several products and copies."""
    on_cpu = jax.default_backend() == "cpu"
    size, length = (1024, 2**24) if on_cpu else (8192, 2**28)
    draws = np.random.default_rng(0)
    matrix = jnp.asarray(draws.normal(size=(size, size)), jnp.float32)
    long = jnp.zeros((length,), jnp.float32)
    product = _best(jax.jit(jnp.matmul), matrix, matrix)
    copy = _best(jax.jit(lambda values: values + 1), long)
    return Rates(2 * size**3 / product, 2 * 4 * length / copy)


def floor(timed: TimedLoop, rates: Rates) -> Floor:
    """Return the least time of a step of a loop.

    Args:
        timed: the loop.
        rates: of the device.

    Returns:
        The floor. Products that XLA hands to a library of its own are counted where it
        says so; what it does not count makes the floor too low, never too high.
    """
    method = timed.settings.static().build(timed.network)
    count = timed.batch_size
    batch = Batch(
        timed.targets.images[:count],
        jnp.zeros((count, timed.num_classes), jnp.float32),
    )
    compiled = (
        jax.jit(method.step)
        .lower(timed.keys.steps, timed.state, batch, timed.knobs)
        .compile()
    )
    found: Any = compiled.cost_analysis() or {}
    cost: dict[str, Any] = found[0] if isinstance(found, list) else found
    flop, moved = float(cost.get("flops", 0)), float(cost.get("bytes accessed", 0))
    compute = flop / rates.flop_per_second
    memory = moved / rates.bytes_per_second
    on_cpu = jax.default_backend() == "cpu"
    return Floor(
        flop, moved, compute, memory, compute if on_cpu else max(compute, memory)
    )


def _best(function: Callable[..., Any], *given: Any, repeats: int = 5) -> float:
    jax.block_until_ready(function(*given))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*given))
        seconds.append(time.perf_counter() - began)
    return min(seconds)
