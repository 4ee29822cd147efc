"""How much memory a program of many runs needs, before it is compiled.

The buffers of one step are followed through its jaxpr: what is made when, and when it is
last read. Elementwise arithmetic is taken to be fused into what reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from isa_toolkit.datasets.memory_map import available_bytes
from isa_toolkit.distillation import loop
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.methods import Batch, method_of
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.networks import build

__all__ = [
    "MemoryEstimate",
    "TracedStep",
    "free_bytes",
    "inner_jaxprs",
    "memory_estimate",
    "peak_bytes",
    "traced_step",
]

# What XLA holds at once over what the order of the jaxpr needs: it schedules for speed and
# copies into other layouts. Measured on the CPU with FRePo, RFAD, RCIG and DM:
# 1.6 to 2.2.
_SLACK = 1.83

# Primitives whose result is a buffer of its own, ...
_ROOTS = {
    "argmax", "argmin", "cholesky", "concatenate", "cond", "conv_general_dilated",
    "cumlogsumexp", "cummax", "cumsum", "dot_general", "dynamic_update_slice", "eigh",
    "gather", "lu", "qr", "random_bits", "reduce_and", "reduce_max", "reduce_min",
    "reduce_or", "reduce_sum", "reduce_window", "reduce_window_max",
    "reduce_window_sum", "scan", "scatter", "scatter-add", "select_and_gather_add",
    "select_and_scatter_add", "sort", "threefry2x32", "top_k", "triangular_solve",
    "while",
}  # fmt: skip
# ... and among them those that read elementwise arithmetic without storing it first.
_READS_FUSED = {
    "argmax", "argmin", "concatenate", "dynamic_update_slice", "reduce_and",
    "reduce_max", "reduce_min", "reduce_or", "reduce_sum",
}  # fmt: skip
_LOOPS = {"cond", "scan", "while"}


class MemoryEstimate(NamedTuple):
    """Bytes that a program takes on its device.

    shared: real images, and what else is there once however many runs there are.
    per_run: what each run adds.
    """

    shared: int
    per_run: int

    def total(self, runs: int) -> int:
        """Return the bytes of so many runs.

        Args:
            runs: number.
        """
        return self.shared + runs * self.per_run

    def most_runs(self, limit_bytes: int) -> int:
        """Return how many runs fit; 1 if not even that does.

        Args:
            limit_bytes: what there is.
        """
        return max(1, (limit_bytes - self.shared) // self.per_run)


class TracedStep(NamedTuple):
    """One step of a method as JAX sees it, nothing computed.

    jaxpr: its equations.
    state: shapes of the state of a run.
    batch: shapes of what it looks at.
    info: shapes of its diagnostics.
    """

    jaxpr: Any
    state: PyTree
    batch: Batch
    info: PyTree


def traced_step(resolved: ResolvedExperiment, *, extra: PyTree = ()) -> TracedStep:
    """Return the step of an experiment, traced and neither compiled nor run.

    Args:
        resolved: the experiment.
        extra: what the method makes first, or its shapes.
    """
    settings, data = resolved.settings, resolved.train
    network = build(
        resolved.network, image_shape=data.image_shape, num_classes=data.num_classes
    )
    method = method_of(settings.method)
    drawn = 0 if resolved.drawing == "none" else resolved.batch_size

    def floats(size: int, shape: tuple[int, ...]) -> Any:
        return jax.ShapeDtypeStruct((size, *shape), jnp.float32)

    key, numbers, extra = jax.eval_shape(
        lambda: (jax.random.key(0), as_arrays(settings.method), extra)
    )
    count = settings.images_per_class * data.num_classes
    state = jax.eval_shape(
        lambda settings, *rest: method.init(settings, network, *rest),
        numbers,
        key,
        floats(count, data.image_shape),
        floats(count, (data.num_classes,)),
    )
    batch = Batch(
        floats(drawn, data.image_shape), floats(drawn, (data.num_classes,)), extra
    )
    made, (_, info) = jax.make_jaxpr(
        lambda settings, *rest: method.step(settings, network, *rest), return_shape=True
    )(numbers, key, state, batch)
    return TracedStep(made.jaxpr, state, batch, info)


def memory_estimate(
    resolved: ResolvedExperiment,
    *,
    side_by_side: bool,
    extra: PyTree = (),
    step: TracedStep | None = None,
    image_bytes: int | None = None,
) -> MemoryEstimate:
    """Return what the program of many runs of an experiment needs.

    With s the bytes of a run's state and record and w those that a step works with, a run
    takes ``2 s + k w`` side by side; one after the other it takes s, and ``s + k w`` are
    there once. The factor k = 1.83 is measured on the CPU, where the estimate is within a
    quarter of XLA's own figure; on accelerators it is untested.

    Args:
        resolved: the experiment.
        side_by_side: see ``loop.grid_chunk``.
        extra: what the method makes first, or its shapes.
        step: of the experiment, if it is traced already.
        image_bytes: of the real images on the device; None for float32.

    Returns:
        The estimate; nothing is compiled or computed for it.
    """
    data = resolved.train
    step = step or traced_step(resolved, extra=extra)
    state, batch = step.state, step.batch
    working = peak_bytes(step.jaxpr) + _bytes((batch.images, batch.labels))
    if image_bytes is None:
        image_bytes = 4 * data.train.images.nbytes
    labels = 4 * len(data.train.labels)
    draws = resolved.drawing != "none"
    shared = (image_bytes + labels if draws else 0) + _bytes(batch.extra)
    held = _bytes(state) + loop.RECORD_LENGTH * _bytes(step.info)
    busy = _bytes(state) + int(_SLACK * working)
    if side_by_side:
        return MemoryEstimate(shared, held + busy)
    return MemoryEstimate(shared + busy, held)


def free_bytes(devices: int = 1) -> int:
    """Return the memory that each device has free: of a CPU, the machine's.

    Args:
        devices: how many of this process are in use; CPU devices share the machine's.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return available_bytes() // devices


# --- what is there at once --------------------------------------------------------------


class _Value:
    """What one equation makes."""

    def __init__(self, aval: Any) -> None:
        self.size = _size(aval)


class _Equation(NamedTuple):
    """One equation, calls inlined.

    name: of the primitive.
    reads: what it reads of what others made.
    makes: its results.
    inside: most bytes at once within its body, if it is a loop or a branch.
    """

    name: str
    reads: list[_Value]
    makes: list[_Value]
    inside: int


def peak_bytes(jaxpr: Any) -> int:
    """Return the most bytes that intermediate results take at once.

    Results are made in the order of the equations and freed after they are last read. An
    elementwise result is no buffer of its own unless something reads it that is neither
    elementwise nor a reduction; what it is made from stays until then.

    Args:
        jaxpr: a ``jax.extend.core.Jaxpr``; its arguments are not counted.

    Returns:
        Bytes.
    """
    equations: list[_Equation] = []
    results = _inline(jaxpr, {}, equations)
    stored = set(results)
    for name, reads, makes, _ in equations:
        if name in _ROOTS:
            stored.update(makes)
            if name not in _READS_FUSED:
                stored.update(reads)
    # The buffers behind each value, and the last equation that needs each buffer.
    behind: dict[_Value, set[_Value]] = {}
    last = dict.fromkeys(results, len(equations))
    for place, (_, reads, makes, inside) in enumerate(equations):
        needed = set[_Value]()
        for value in reads:
            needed |= {value} if value in stored else behind[value]
        behind.update(dict.fromkeys(makes, needed))
        if inside or not stored.isdisjoint(makes):
            for value in needed:
                last[value] = max(place, last.get(value, 0))
    dying: dict[int, list[_Value]] = {}
    for value, place in last.items():
        dying.setdefault(place, []).append(value)
    now = most = 0
    for place, (name, _, makes, inside) in enumerate(equations):
        freed = sum(value.size for value in dying.get(place, ()))
        made = sum(value.size for value in makes if value in stored and value in last)
        # Arithmetic and updates happen in place.
        in_place = name not in _ROOTS or name == "dynamic_update_slice"
        most = max(most, now + inside + made - (freed if in_place else 0))
        now += made - freed
    return most


def _inline(
    jaxpr: Any, known: dict[Any, _Value], equations: list[_Equation]
) -> list[_Value]:
    """Append the equations, those of called functions in their place.

    Args:
        jaxpr: what is walked through.
        known: values of its variables; arguments of the whole are missing.
        equations: appended to.

    Returns:
        The values that it returns.
    """
    for equation in jaxpr.eqns:
        name, inner = equation.primitive.name, list(inner_jaxprs(equation))
        if inner and name not in _LOOPS:
            [called, *_] = inner
            given = equation.invars[-len(called.invars) :] if called.invars else []
            passed = {
                variable: _look_up(known, argument)
                for variable, argument in zip(called.invars, given, strict=True)
            }
            passed = {key: value for key, value in passed.items() if value is not None}
            # Results that are arguments of the whole have no value.
            _inline(called, passed, equations)
            for variable, result in zip(equation.outvars, called.outvars, strict=True):
                value = _look_up(passed, result)
                if value is not None:
                    known[variable] = value
            continue
        makes = [_Value(variable.aval) for variable in equation.outvars]
        reads = [_look_up(known, variable) for variable in equation.invars]
        known.update(zip(equation.outvars, makes, strict=True))
        inside = max((peak_bytes(body) for body in inner), default=0)
        reads = [value for value in reads if value is not None]
        equations.append(_Equation(name, reads, makes, inside))
    found = [_look_up(known, variable) for variable in jaxpr.outvars]
    return [value for value in found if value is not None]


def _look_up(known: dict[Any, _Value], variable: Any) -> _Value | None:
    # Literals have no hash in some versions; arguments have no value.
    return None if hasattr(variable, "val") else known.get(variable)


def inner_jaxprs(equation: Any) -> Iterator[Any]:
    """Yield the jaxprs that an equation calls.

    Args:
        equation: of a jaxpr.
    """
    for parameter in equation.params.values():
        for part in parameter if isinstance(parameter, tuple | list) else (parameter,):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield inner


def _bytes(tree: PyTree) -> int:
    return sum(_size(leaf) for leaf in jax.tree.leaves(tree))


def _size(array: Any) -> int:
    # Keys have a dtype of their own, two words wide.
    width = getattr(array.dtype, "itemsize", 8)
    return math.prod(array.shape) * width
