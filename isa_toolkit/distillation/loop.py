"""The hot loop: many steps in one compiled call, no input or output.

One program serves every number of steps up to the length of its record: the loop's end is
traced, so chunks of any length, a last short one and a resumed one run the very same
code. That is what makes a resumed run equal to an uninterrupted one to the bit (two
scans of different static length may be compiled differently). The state is donated and
never leaves the device; target samples are index draws from arrays that live there. Many
runs that differ in what is traced are one program, too: ``grid_chunk``.

With a ``Layout`` the same steps lie on several devices: the target batch is split right
after it is gathered, and XLA divides what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from isa_toolkit.datasets.device_preprocessing import to_inputs
from isa_toolkit.distillation.sampling import Targets, draw, first_order, targets
from isa_toolkit.distillation.sharding import RUNS, Layout
from isa_toolkit.methods.base import Batch, Method, as_arrays
from isa_toolkit.networks import Network

__all__ = [
    "RECORD_LENGTH",
    "ChunkResult",
    "RunKeys",
    "Targets",
    "Traced",
    "all_finite",
    "chunk",
    "first_state",
    "grid_chunk",
    "lane",
    "lanes_finite",
    "run_keys",
    "targets",
    "traced",
]

# Steps whose diagnostics one call can return; the longest chunk.
RECORD_LENGTH = 512


class RunKeys(NamedTuple):
    """The independent keys of one run, all from its seed.

    first_images: which real images the distilled set starts from.
    networks: the first pool.
    order: the order of the target samples.
    steps: a step's key is ``fold_in(steps, step)``.
    """

    first_images: Key[Array, ""]
    networks: Key[Array, ""]
    order: Key[Array, ""]
    steps: Key[Array, ""]


class Traced(NamedTuple):
    """The traced numbers of one run.

    settings: Resolved settings of the method, each traced number a float32 array.
    steps: Number of steps of the run, [].
    """

    settings: Any
    steps: Float[Array, ""]


def traced(settings: Any, *, steps: int) -> Traced:
    """Return the traced numbers of a run.

    Args:
        settings: Resolved settings of the method.
        steps: Number of steps of the run.
    """
    return Traced(as_arrays(settings), jnp.asarray(steps, jnp.float32))


class ChunkResult(NamedTuple):
    """What one compiled call gives.

    state: of the method after the last step.
    infos: diagnostics of each step, leading axis ``RECORD_LENGTH``; the first ``done`` hold.
    done: steps taken; fewer than asked for if the last one was not finite, [].
    """

    state: PyTree
    infos: Any
    done: Int[Array, ""]


def run_keys(seed: int) -> RunKeys:
    """Return the keys of a run.

    They depend on the seed alone, so runs that differ in traced settings start from the same
    images and networks and see the same batches: comparisons are paired.

    Args:
        seed: of the run.

    Returns:
        The keys.
    """
    return RunKeys(*jax.random.split(jax.random.key(seed), len(RunKeys._fields)))


@jax.jit
def all_finite(state: PyTree) -> Bool[Array, ""]:
    """Return whether every floating-point number of a state is finite.

    A step looks at its loss and gradient; its updates can still overflow.

    Args:
        state: of a method.

    Returns:
        True if none is NaN or infinite, [].
    """
    flags = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(state)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.asarray(flags))


@cache
def lanes_finite(layout: Layout | None = None) -> Callable[[PyTree], Array]:
    """Return ``all_finite`` of runs along a leading axis, compiled.

    Args:
        layout: devices that the runs lie on; None for one.

    Returns:
        ``state -> flags`` [r], on every device.
    """
    placed: Any = {} if layout is None else {"out_shardings": layout.whole}
    return jax.jit(jax.vmap(all_finite), **placed)


@jax.jit
def lane(tree: PyTree, index: Int[Array, ""] | int) -> PyTree:
    """Return one run's part of a tree with a leading axis over runs.

    Args:
        tree: leaves [r, ...].
        index: which run; traced.

    Returns:
        Leaves [...].
    """
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree
    )


Chunk = Callable[..., ChunkResult]


@cache
def first_state(method: Method, network: Network) -> Callable[..., PyTree]:
    """Return the compiled ``init`` of a method: the same object for equal arguments.

    Args:
        method: The method.
        network: Network of the distillation.

    Returns:
        ``(settings, key, images, labels) -> state``, jitted: runs in one process compile
        it once.
    """

    def init(settings: Any, *rest: Array) -> PyTree:
        return method.init(settings, network, *rest)

    return jax.jit(init)


def chunk(
    method: Method,
    network: Network,
    *,
    num_classes: int,
    batch_size: int,
    layout: Layout | None = None,
    streamed: bool = False,
) -> Chunk:
    """Return the compiled loop of a method: the same object for equal arguments.

    The result takes ``(keys, state, targets, traced, start, count)``: ``start`` is the step
    that comes next, ``count`` (at most ``RECORD_LENGTH``) how many to take; both are traced,
    and ``state`` is donated. It stops after the first step whose ``info.failure`` is not 0.

    Args:
        method: The method.
        network: of the distillation.
        num_classes: c.
        batch_size: targets per step, at most the size of the training set; how they are
            drawn is the method's ``sampling``.
        layout: devices that divide the batch, on which all arguments lie; None for one.
        streamed: the targets are batch after batch, from step ``targets.first`` on.

    Returns:
        The jitted function.
    """
    return _chunk(method, network, num_classes, batch_size, layout, streamed)


@cache
def _chunk(
    method: Method,
    network: Network,
    num_classes: int,
    batch_size: int,
    layout: Layout | None,
    streamed: bool,
) -> Chunk:
    run = _loop(method, network, num_classes, batch_size, layout, streamed)
    placed: Any = {} if layout is None else {"out_shardings": layout.whole}
    return jax.jit(run, donate_argnames="state", **placed)


def grid_chunk(
    method: Method,
    network: Network,
    *,
    num_classes: int,
    batch_size: int,
    side_by_side: bool,
    layout: Layout | None = None,
) -> Chunk:
    """Return the compiled loop of many runs: the same object for equal arguments.

    The result is like that of ``chunk``, but keys, state, traced, start and count, and what
    it gives, have a leading axis over the runs; the targets are shared. A run whose count
    is 0 keeps its state. One program serves all runs of one number.

    Side by side, the runs are ``vmap``ped: products of all runs are one, and add up in
    another order than a single run's. One after the other inside the same program, each
    run is computed as if it were alone, to the bit; on the CPU it is the faster one, too,
    since there ``vmap`` turns convolutions into grouped ones.

    Args:
        method: The method.
        network: of the distillation.
        num_classes: c.
        batch_size: targets per step and run.
        side_by_side: which of the two.
        layout: devices whose rows divide the runs (a multiple of them) and whose columns
            divide each batch; None for one. A row takes its runs in the way that was
            asked for and never waits for another.

    Returns:
        The jitted function.
    """
    return _grid_chunk(method, network, num_classes, batch_size, side_by_side, layout)


@cache
def _grid_chunk(
    method: Method,
    network: Network,
    num_classes: int,
    batch_size: int,
    side_by_side: bool,
    layout: Layout | None,
) -> Chunk:
    run = _loop(method, network, num_classes, batch_size, layout)
    many = jax.vmap(run, in_axes=(0, 0, None, 0, 0, 0))
    many = many if side_by_side else _one_by_one(run)
    # No keyword: vmap knows places alone.
    if layout is None:
        return jax.jit(many, donate_argnums=1)
    # Rows by hand: vmap alone would turn the convolutions of all rows into one grouped
    # one, which XLA does not divide; each device would compute all runs.
    runs, shared = PartitionSpec(RUNS), PartitionSpec()
    rows = jax.shard_map(
        many,
        mesh=layout.mesh,
        in_specs=(runs, runs, shared, runs, runs, runs),
        out_specs=runs,
        axis_names={RUNS},
        check_vma=False,
    )
    whole: Any = layout.whole
    placed = ChunkResult(layout.by_run, whole, whole)
    return jax.jit(rows, donate_argnums=1, out_shardings=placed)


def _one_by_one(run: Chunk) -> Chunk:
    def many(
        keys: RunKeys,
        state: PyTree,
        targets: Targets,
        traced: Traced,
        start: Int[Array, " r"],
        count: Int[Array, " r"],
    ) -> ChunkResult:
        runs = start.shape[0]

        def one(index: Int[Array, ""] | int, state: PyTree) -> ChunkResult:
            mine = lane((keys, traced, start, count), index)
            return run(mine[0], lane(state, index), targets, *mine[1:])

        def body(index: Int[Array, ""], carry: ChunkResult) -> ChunkResult:
            return jax.tree.map(
                lambda all_runs, leaf: jax.lax.dynamic_update_index_in_dim(
                    all_runs, leaf, index, 0
                ),
                carry,
                one(index, carry.state),
            )

        shapes = jax.eval_shape(one, 0, state)
        infos, done = jax.tree.map(
            lambda leaf: jnp.zeros((runs, *leaf.shape), leaf.dtype),
            (shapes.infos, shapes.done),
        )
        # The state is carried, not scanned over, so that it stays where it is.
        return jax.lax.fori_loop(0, runs, body, ChunkResult(state, infos, done))

    return many


def _loop(
    method: Method,
    network: Network,
    num_classes: int,
    batch_size: int,
    layout: Layout | None,
    streamed: bool = False,
) -> Chunk:
    drawing = "streamed" if streamed else method.sampling
    off, on = -1 / num_classes, 1 - 1 / num_classes

    def step_once(
        keys: RunKeys,
        state: PyTree,
        order: Int[Array, " n"],
        targets: Targets,
        traced: Traced,
        step: Int[Array, ""],
    ) -> tuple[PyTree, Int[Array, " n"], Any]:
        chosen, order = draw(
            keys.order,
            step,
            order,
            targets.labels,
            drawing=drawing,
            batch_size=batch_size,
            num_classes=num_classes,
            first=targets.first,
        )
        labels = jax.nn.one_hot(targets.labels[chosen], num_classes) * (on - off) + off
        images = targets.images[chosen]
        if images.dtype == jnp.uint8:
            images = to_inputs(images, targets.numbers)
        if layout is not None:
            images, labels = layout.split(images), layout.split(labels)
        batch = Batch(images, labels, targets.extra, step / traced.steps)
        key = jax.random.fold_in(keys.steps, step)
        state, info = method.step(traced.settings, network, key, state, batch)
        return state, order, info

    def run(
        keys: RunKeys,
        state: PyTree,
        targets: Targets,
        traced: Traced,
        start: Int[Array, ""],
        count: Int[Array, ""],
    ) -> ChunkResult:
        size = targets.labels.shape[0]
        order = first_order(keys.order, start, size, batch_size, drawing)
        shapes = jax.eval_shape(step_once, keys, state, order, targets, traced, start)[
            2
        ]
        infos = jax.tree.map(
            lambda leaf: jnp.zeros((RECORD_LENGTH, *leaf.shape), leaf.dtype), shapes
        )

        def going(carry: PyTree) -> Array:
            _, _, _, done, healthy = carry
            return (done < count) & healthy

        def body(carry: PyTree) -> PyTree:
            state, order, infos, done, _ = carry
            state, order, info = step_once(
                keys, state, order, targets, traced, start + done
            )
            infos = jax.tree.map(
                lambda record, leaf: jax.lax.dynamic_update_index_in_dim(
                    record, leaf, done, 0
                ),
                infos,
                info,
            )
            return state, order, infos, done + 1, info.failure == 0

        carry = (state, order, infos, jnp.zeros((), jnp.int32), jnp.asarray(True))
        state, _, infos, done, _ = jax.lax.while_loop(going, body, carry)
        return ChunkResult(state, infos, done)

    return run
