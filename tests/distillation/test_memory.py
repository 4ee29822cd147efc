"""The estimate of memory, against XLA's own figure and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from tiny_run import tiny

from isa_toolkit.distillation import loop
from isa_toolkit.distillation.memory import (
    MemoryEstimate,
    free_bytes,
    memory_estimate,
    peak_bytes,
)
from isa_toolkit.methods import method_of
from isa_toolkit.networks import build

RUNS = 3


def xla_bytes(side_by_side: bool) -> int:
    """Return what XLA plans for three tiny runs."""
    resolved = tiny().resolve()
    data, settings = resolved.train, resolved.settings
    network = build(
        resolved.network, image_shape=data.image_shape, num_classes=data.num_classes
    )
    method = method_of(settings.method)
    program = loop.grid_chunk(
        method,
        network,
        num_classes=data.num_classes,
        batch_size=resolved.batch_size,
        side_by_side=side_by_side,
    )

    def arguments():
        keys = loop.run_keys(0)
        labels = jnp.zeros((data.num_classes, data.num_classes))
        images = jnp.zeros((data.num_classes, *data.image_shape))
        traced = loop.traced(settings.method, steps=8)
        state = method.init(traced.settings, network, keys.networks, images, labels)
        numbers = jnp.zeros((), jnp.int32)
        return keys, state, traced, numbers

    keys, state, traced, numbers = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((RUNS, *leaf.shape), leaf.dtype),
        jax.eval_shape(arguments),
    )
    targets = loop.targets(data, drawing=resolved.drawing)
    plan = (
        program.lower(keys, state, targets, traced, numbers, numbers)
        .compile()
        .memory_analysis()
    )
    return (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        - plan.alias_size_in_bytes
        + plan.temp_size_in_bytes
    )


@pytest.mark.parametrize("side_by_side", [False, True])
def test_the_estimate_is_within_a_quarter_of_what_xla_plans(
    compiled: object, side_by_side: bool
) -> None:
    del compiled
    estimate = memory_estimate(tiny().resolve(), side_by_side=side_by_side)
    assert estimate.total(RUNS) == pytest.approx(xla_bytes(side_by_side), rel=0.25)


def test_turns_share_what_a_step_works_with() -> None:
    resolved = tiny().resolve()
    vmapped = memory_estimate(resolved, side_by_side=True)
    in_turns = memory_estimate(resolved, side_by_side=False)
    assert vmapped.total(1) == in_turns.total(1)
    assert vmapped.per_run > 2 * in_turns.per_run


def test_as_many_runs_as_fit() -> None:
    estimate = MemoryEstimate(shared=100, per_run=10)
    assert estimate.total(5) == 150
    assert [estimate.most_runs(limit) for limit in (0, 109, 119, 120, 159)] == [
        1, 1, 1, 2, 5,
    ]  # fmt: skip


def test_what_the_device_has_is_a_number_of_bytes() -> None:
    assert 2**20 < free_bytes() < 2**50


def peak(function, *shapes: tuple[int, ...]) -> int:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return peak_bytes(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_peaks_by_hand() -> None:
    square = (100, 100)
    one = 4 * 100 * 100
    # The first product is there until the second is made of it.
    assert peak(lambda a: (a @ a) @ a, square) == 2 * one
    # Arithmetic is fused into the sum; only its result is stored.
    assert peak(lambda a: jnp.sum(jnp.exp(a) * 2 + 1), square) == 4
    # Into a product it is not.
    assert peak(lambda a: (jnp.exp(a) * 2) @ a, square) == 2 * one
    # In place of what is no longer needed.
    assert peak(lambda a: jnp.exp(a @ a), square) == one
    # Both products wait for the sum.
    assert peak(lambda a: jnp.sum((a @ a) * (a @ a)), square) == 2 * one + 4


def test_functions_are_walked_into_and_branches_are_not_added_up() -> None:
    square = (100, 100)
    one = 4 * 100 * 100
    assert peak(jax.jit(lambda a: (a @ a) @ a), square) == 2 * one

    def branch(a):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ a @ a, lambda: a @ a)

    # What is chosen by, the larger branch, and the result of the choice.
    assert peak(branch, square) == 4 + 3 * one
