"""What a run would cost, before anything is compiled: seconds and bytes.

Time is taken from runs of the same program that are there; else it is the floating-point
operations of a step over what the device does at best, times how far from that steps were
measured to be.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment, as_json
from isa_toolkit.distillation.memory import (
    MemoryEstimate,
    TracedStep,
    inner_jaxprs,
    memory_estimate,
    traced_step,
)
from isa_toolkit.files import read_json
from isa_toolkit.networks import build
from isa_toolkit.sweeps.command import from_description

__all__ = [
    "OVER_FLOOR",
    "OVER_FLOOR_OTHERS",
    "Pace",
    "estimated_pace",
    "flop_per_second",
    "measured_pace",
    "memory_of",
    "step_flop",
    "trace",
]

# How many times longer than its floating-point operations at the rate of a large product a
# step took on a CPU of two cores. FRePo: the smallest and largest of four settings of
# ``isa-toolkit bench --suite cpu``. Others: from the same least to what one small setting of
# each took (RFAD 7.3, RCIG 6.8, DM 24, whose augmentation is no product). Not measured on
# accelerators.
OVER_FLOOR = MappingProxyType({"frepo": (2.9, 5.5)})
OVER_FLOOR_OTHERS = (2.9, 24.0)


class Pace(NamedTuple):
    """How long steps take.

    low: seconds to start (mostly compiling) and seconds per step, the smaller guess.
    high: the same, the larger guess.
    basis: where that is from, in words.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    basis: str

    def seconds(self, steps: int) -> tuple[float, float]:
        """Return the (smaller, larger) guess for so many steps.

        Args:
            steps: to take.
        """
        if not steps:
            return 0.0, 0.0
        (low, each), (high, most) = self.low, self.high
        return low + steps * each, high + steps * most


def measured_pace(resolved: ResolvedExperiment, out: Path) -> Pace | None:
    """Return how fast runs of the same program were, on the same kind of device.

    A run that took n steps in T seconds, v steps a second in its last chunk, needed
    ``t = min(1/v, T/n)`` for each and ``T - n t`` to start.

    Args:
        resolved: an experiment of the program.
        out: folder of run folders.

    Returns:
        The least and the largest of what they tell, or None if there is none.
    """
    wanted, here = _program(resolved.settings, resolved.description), _device()
    found: list[tuple[float, float]] = []
    for path in sorted(out.glob("*/experiment.json")):
        described = read_json(path) or {}
        told = read_json(path.with_name("status.json")) or {}
        starts = (read_json(path.with_name("environment.json")) or {}).get("starts")
        step, speed = int(told.get("step", 0)), float(told.get("steps_per_s", 0))
        # The first step compiles and tells nothing of the speed.
        if step < 2 or not speed or not starts or starts[-1].get("device") != here:
            continue
        elapsed = float(told["elapsed_s"])
        if _described_program(described) == wanted:
            each = min(1 / speed, elapsed / step)
            found.append((max(elapsed - step * each, 0.0), each))
    if not found:
        return None
    begin, each = zip(*found, strict=True)
    runs = f"{len(found)} run{'s' * (len(found) > 1)}"
    return Pace(
        (min(begin), min(each)),
        (max(begin), max(each)),
        f"measured: {runs} in {out.name}/",
    )


def estimated_pace(step: TracedStep, method: str) -> Pace:
    """Return how fast steps should be, from what they compute. Nothing is compiled.

    ``flop / rate * f``, with f the two ends of ``OVER_FLOOR``; compiling, loading and
    validations are not in it.

    Args:
        step: of the experiment, traced.
        method: its name.
    """
    floor = step_flop(step.jaxpr) / flop_per_second()
    factors = OVER_FLOOR.get(method, OVER_FLOOR_OTHERS)
    low, high = (floor * factor for factor in factors)
    return Pace((0.0, low), (0.0, high), "estimated: operations of a step")


def step_flop(jaxpr: Any) -> float:
    """Return the floating-point operations of all products and convolutions.

    Bodies of loops count as often as they are taken, of branches the largest one; of a
    loop of unknown length one turn. (XLA's own count of a program takes every loop once,
    which is a fifth of a step of RFAD.)

    Args:
        jaxpr: of a step.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name, inner = equation.primitive.name, list(inner_jaxprs(equation))
        if inner:
            counted = [step_flop(one) for one in inner]
            turns = equation.params["length"] if name == "scan" else 1
            total += max(counted) if name == "cond" else turns * sum(counted)
        elif name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            size = math.prod(shape[axis] for axis in contracted)
            total += 2 * _count(equation.outvars[0]) * size
        elif name == "conv_general_dilated":
            kernel = equation.params["dimension_numbers"].rhs_spec[0]
            channels = equation.invars[1].aval.shape[kernel]
            total += (
                2 * _count(equation.outvars[0]) * _count(equation.invars[1]) / channels
            )
    return total


def trace(resolved: ResolvedExperiment) -> TracedStep | None:
    """Return the traced step of an experiment; None if its method makes data first.

    Args:
        resolved: the experiment.
    """
    data = resolved.train
    network = build(
        resolved.network, image_shape=data.image_shape, num_classes=data.num_classes
    )
    if resolved.settings.method.build(network).shards is not None:
        return None
    return traced_step(resolved)


def memory_of(
    resolved: ResolvedExperiment, step: TracedStep | None, *, side_by_side: bool
) -> MemoryEstimate | None:
    """Return the memory of a program; None where it cannot be told before it runs.

    Args:
        resolved: an experiment of it.
        step: traced.
        side_by_side: whether its runs are ``vmap``ped.
    """
    if step is None:
        return None
    return memory_estimate(resolved, side_by_side=side_by_side, step=step)


@functools.cache
def flop_per_second() -> float:
    """Return the rate of a large product of float32, the best of several; measured once."""
    size = 1024 if jax.default_backend() == "cpu" else 4096
    values = np.random.default_rng(0).normal(size=(size, size))
    matrix = jnp.asarray(values, jnp.float32)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def _count(variable: Any) -> int:
    return math.prod(variable.aval.shape)


def _device() -> str:
    device = jax.devices()[0]
    return f"{device.platform}: {device.device_kind}"


def _program(settings: Experiment, description: Mapping[str, Any]) -> str:
    """Return what decides how long a step takes, as text."""
    method: Any = settings.method.static()
    names = ("dataset", "images_per_class", "network", "batch_size")
    plain = {name: description[name] for name in names}
    plain["method"] = [method.name, dataclasses.asdict(method)]
    return json.dumps(as_json(plain), sort_keys=True)


def _described_program(description: dict[str, Any]) -> str | None:
    try:
        return _program(from_description(description), description)
    except (KeyError, TypeError, ValueError):
        return None  # of another version
