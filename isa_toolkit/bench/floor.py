"""The floor: how fast a step could be, from what it counts and what the device can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit.bench.steps import TimedLoop
from isa_toolkit.methods import Batch, method_of

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

    flop: counted by XLA in the step, before it is compiled.
    bytes: read and written by the compiled step, counted by XLA; what stays in a cache is
        counted, too.
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
        The floor. FLOP are those of the program before it is compiled: on a GPU XLA hands
        products to libraries, and no longer counts them there. Bytes are those of the
        compiled one, where arithmetic is fused; what XLA does not count makes the floor
        too low, never too high.
    """
    method = method_of(timed.settings)
    count = timed.batch_size
    batch = Batch(
        timed.targets.images[:count],
        jnp.zeros((count, timed.num_classes), jnp.float32),
    )
    lowered = jax.jit(method.step, static_argnums=1).lower(
        timed.traced.settings, timed.network, timed.keys.steps, timed.state, batch
    )
    flop = _counted(lowered, "flops")
    moved = _counted(lowered.compile(), "bytes accessed")
    compute = flop / rates.flop_per_second
    memory = moved / rates.bytes_per_second
    on_cpu = jax.default_backend() == "cpu"
    return Floor(
        flop, moved, compute, memory, compute if on_cpu else max(compute, memory)
    )


def _counted(program: Any, what: str) -> float:
    """Return one figure of XLA's cost analysis; 0 where it gives none."""
    found: Any = program.cost_analysis() or {}
    cost: dict[str, Any] = found[0] if isinstance(found, list) else found
    return float(cost.get(what, 0))


def _best(function: Callable[..., Any], *given: Any, repeats: int = 5) -> float:
    jax.block_until_ready(function(*given))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*given))
        seconds.append(time.perf_counter() - began)
    return min(seconds)
