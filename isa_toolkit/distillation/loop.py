"""The compiled loop: many steps of one or several runs in one call, without host transfers.

One program serves every number of steps up to ``MAX_CHUNK``: the number is traced, so
short, long and resumed chunks run the same code. That is what makes a resumed run equal to
an uninterrupted one bit for bit. The state is donated and stays on the device; the real
images of a step are drawn by index from arrays that are there.

All runs of a program differ only in traced values: settings, seed and number of steps. A
single run is a batch of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Int, Key, PyTree

from isa_toolkit.datasets.preprocessing import to_inputs
from isa_toolkit.distillation.sampling import TrainData, first_order, sample_batch
from isa_toolkit.distillation.sharding import RUNS, DeviceMesh
from isa_toolkit.methods import METHODS
from isa_toolkit.methods.base import Batch
from isa_toolkit.networks import Network
from isa_toolkit.networks.compilation_cache import cache_once
from isa_toolkit.networks.pool import put, take

# The longest chunk: number of steps whose diagnostics one call returns.
MAX_CHUNK = 512

Chunk = Callable[..., "ChunkResult"]


class RunKeys(NamedTuple):
    """The independent random keys of one run, all derived from its seed.

    first_images: Key that chooses the real images that the distilled set starts from.
    networks: Key of the first networks.
    order: Key of the order of the real images.
    steps: Root key; the key of a step is ``fold_in(steps, step)``.
    """

    first_images: Key[Array, ""]
    networks: Key[Array, ""]
    order: Key[Array, ""]
    steps: Key[Array, ""]


class ChunkResult(NamedTuple):
    """Result of one compiled call; every array has a leading axis over the runs, r.

    state: State of the method after the last step.
    infos: Diagnostics of each step, [r, MAX_CHUNK, ...]; the first ``done`` are valid.
    done: Number of steps taken; fewer than requested after a step that is not finite, [r].
    finite: Whether every number of the state is finite, [r].
    """

    state: PyTree
    infos: Any
    done: Int[Array, " r"]
    finite: Bool[Array, " r"]


def run_keys(seed: int) -> RunKeys:
    """Return the keys of a run.

    They depend on the seed only, so runs with different settings start from the same
    images and networks and see the same batches: comparisons are paired.
    """
    return _split(jax.random.key(seed))


# In one program: each operation outside of one is compiled on its own.
@jax.jit
def _split(key: Key[Array, ""]) -> RunKeys:
    return RunKeys(*jax.random.split(key, len(RunKeys._fields)))


def all_finite(state: PyTree) -> Bool[Array, ""]:
    """Return whether every floating-point number of a state is finite.

    A step checks its loss and gradient; the update can still overflow.
    """
    flags = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(state)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.asarray(flags))


@jax.jit(static_argnames="network")
def first_state(
    settings: Any,
    network: Network,
    key: Key[Array, ""],
    images: Array,
    labels: Array,
) -> PyTree:
    """Return the first state of a method: its ``init``, compiled."""
    return METHODS[settings.name].init(settings, network, key, images, labels)


def chunk(
    network: Network,
    *,
    batch_size: int,
    vmapped: bool = False,
    mesh: DeviceMesh | None = None,
    streamed: bool = False,
) -> Chunk:
    """Return the compiled loop: the same object for equal arguments.

    The result takes ``(settings, keys, state, data, start, count, total)`` and returns a
    ``ChunkResult``. All arguments except ``data`` (``TrainData``, shared) have a leading
    axis over the runs: ``start`` is the index of the next step, ``count`` the number of
    steps to take (at most ``MAX_CHUNK``; a run with 0 keeps its state) and ``total`` the
    number of steps of the whole run. ``state`` is donated. Static settings and the number
    of runs select a program; every other value is traced.

    Products of ``vmapped`` runs are one product, which adds up in another order than a
    single run. Otherwise the runs are computed one after the other inside the program, and
    each equals a single run bit for bit; on the CPU that is also the faster way, because
    ``vmap`` turns convolutions into grouped convolutions. ``streamed`` data hold the
    batches of some steps, one after the other.
    """
    return _chunk(network, batch_size, vmapped, mesh, streamed)


@cache_once
def _chunk(
    network: Network,
    batch_size: int,
    vmapped: bool,
    mesh: DeviceMesh | None,
    streamed: bool,
) -> Chunk:
    run = _steps_of_one_run(network, batch_size, mesh, streamed)
    if vmapped:
        runs: Chunk = jax.vmap(run, in_axes=(0, 0, 0, None, 0, 0, 0))
    else:
        runs = _one_after_the_other(run)
    if mesh is None:
        return jax.jit(runs, donate_argnums=2)
    # Under vmap alone the convolutions of all runs become one grouped convolution, which
    # XLA does not divide: each device would compute all runs.
    split, shared = PartitionSpec(RUNS), PartitionSpec()
    divided = jax.shard_map(
        runs,
        mesh=mesh.mesh,
        in_specs=(split, split, split, shared, split, split, split),
        out_specs=split,
        axis_names={RUNS},
        check_vma=False,
    )
    everywhere: Any = mesh.replicated
    outputs = ChunkResult(mesh.run_sharded, everywhere, everywhere, everywhere)
    return jax.jit(divided, donate_argnums=2, out_shardings=outputs)


def _one_after_the_other(run: Chunk) -> Chunk:
    def runs(
        settings: Any, keys: RunKeys, state: PyTree, data: TrainData, *numbers: Array
    ) -> ChunkResult:
        def arguments(index: Int[Array, ""] | int, state: PyTree) -> tuple[Any, ...]:
            one_run = take((settings, keys, state), index)
            return *one_run, data, *take(numbers, index)

        def body(index: Int[Array, ""], results: ChunkResult) -> ChunkResult:
            return put(results, index, run(*arguments(index, results.state)))

        size = numbers[0].shape[0]
        if size == 1:  # without a second loop, which takes longer to compile
            return jax.tree.map(lambda leaf: leaf[None], run(*arguments(0, state)))
        shapes = jax.eval_shape(run, *arguments(0, state))
        empty = jax.tree.map(
            lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype),
            shapes._replace(state=()),
        )
        # The state is carried, not scanned over, so that it is updated in place.
        return jax.lax.fori_loop(0, size, body, empty._replace(state=state))

    return runs


def _steps_of_one_run(
    network: Network, batch_size: int, mesh: DeviceMesh | None, streamed: bool
) -> Chunk:
    num_classes = network.num_classes
    off, on = -1 / num_classes, 1 - 1 / num_classes

    def run(
        settings: Any,
        keys: RunKeys,
        state: PyTree,
        data: TrainData,
        start: Int[Array, ""],
        count: Int[Array, ""],
        total: Int[Array, ""],
    ) -> ChunkResult:
        method = METHODS[settings.name]
        sampling = "streamed" if streamed else method.sampling

        def one_step(
            state: PyTree, order: Int[Array, " n"], step: Int[Array, ""]
        ) -> tuple[PyTree, Int[Array, " n"], Any]:
            indices, order = sample_batch(
                keys.order,
                step,
                order,
                data.labels,
                sampling=sampling,
                batch_size=batch_size,
                num_classes=num_classes,
                first_step=data.first_step,
            )
            labels = jax.nn.one_hot(data.labels[indices], num_classes)
            labels = labels * (on - off) + off
            images = data.images[indices]
            if images.dtype == jnp.uint8:
                images = to_inputs(images, data.preprocessing)
            if mesh is not None:
                images, labels = mesh.split_batch(images), mesh.split_batch(labels)
            progress = step.astype(jnp.float32) / total.astype(jnp.float32)
            batch = Batch(images, labels, data.extra, progress)
            key = jax.random.fold_in(keys.steps, step)
            state, info = method.step(settings, network, key, state, batch)
            return state, order, info

        size = data.labels.shape[0]
        order = first_order(keys.order, start, size, batch_size, sampling)
        _, _, info = jax.eval_shape(one_step, state, order, start)
        infos = jax.tree.map(
            lambda leaf: jnp.zeros((MAX_CHUNK, *leaf.shape), leaf.dtype), info
        )

        def is_running(carry: PyTree) -> Array:
            _, _, _, done, healthy = carry
            return (done < count) & healthy

        def body(carry: PyTree) -> PyTree:
            state, order, infos, done, _ = carry
            state, order, info = one_step(state, order, start + done)
            infos = put(infos, done, info)
            return state, order, infos, done + 1, info.failure == 0

        carry = (state, order, infos, jnp.zeros((), jnp.int32), jnp.asarray(True))
        state, _, infos, done, _ = jax.lax.while_loop(is_running, body, carry)
        return ChunkResult(state, infos, done, all_finite(state))

    return run
