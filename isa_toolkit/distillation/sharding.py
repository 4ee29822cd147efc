"""Which devices a run lies on: rows of them for runs, columns for the target batch.

What is split is the target batch of a step, by rows of images, and in a grid the runs.
Everything else (the data set, the distilled set, the pool) lies whole on every device of
a row. The numbers are meant globally: XLA gathers scores, features and residuals, so
ranks and partners are those of the whole batch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from isa_toolkit import checks
from isa_toolkit.distillation.experiment import ResolvedExperiment

__all__ = ["DATA", "RUNS", "Devices", "Layout", "check_layout", "make_layout"]

RUNS, DATA = "runs", "data"

Devices = int | tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Devices in rows and columns; equal ones are one key of the compiled loops.

    Attributes:
        mesh: of the axes ``"runs"`` and ``"data"``.
    """

    mesh: Mesh

    @property
    def rows(self) -> int:
        """Parts that the runs of a grid are divided into."""
        return self.mesh.shape[RUNS]

    @property
    def columns(self) -> int:
        """Parts that the target batch of a run is divided into."""
        return self.mesh.shape[DATA]

    @property
    def here(self) -> int:
        """How many of the devices are this process's."""
        return len(self.mesh.local_devices)

    @property
    def whole(self) -> NamedSharding:
        """The sharding of what lies whole on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def by_run(self) -> NamedSharding:
        """The sharding of what has a leading axis over runs."""
        return NamedSharding(self.mesh, PartitionSpec(RUNS))

    def everywhere(self, tree: PyTree) -> PyTree:
        """Return a tree that lies whole on every device.

        Args:
            tree: arrays of this process, the same in all processes.
        """
        return _placed(tree, self.whole)

    def over_runs(self, tree: PyTree) -> PyTree:
        """Return a tree whose leading axis is spread over the rows.

        Args:
            tree: arrays of this process [r, ...], the same in all processes; the rows
                divide r.
        """
        return _placed(tree, self.by_run)

    def split(self, batch: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """Return a batch, its samples divided among the columns.

        Args:
            batch: inside a compiled program, [n, ...]; the columns divide n.
        """
        # Inside a program over rows the mesh is the one that it sees there.
        inside = jax.sharding.get_abstract_mesh()
        mesh = inside if RUNS in inside.axis_names else self.mesh
        sharding = NamedSharding(mesh, PartitionSpec(DATA))  # pyright: ignore[reportArgumentType]
        return jax.lax.with_sharding_constraint(batch, sharding)

    def owner(self, lane: int, lanes: int) -> int:
        """Return the process that holds a run of a grid.

        Args:
            lane: its place.
            lanes: of all.
        """
        row = lane // (lanes // self.rows)
        return self.mesh.devices[row, 0].process_index

    def row_of(self, tree: PyTree, lane: int, lanes: int) -> tuple[PyTree, int]:
        """Return what the first device of a run's row holds, and the run's place there.

        Args:
            tree: from ``over_runs``; the row is this process's.
            lane: place of the run.
            lanes: of all.
        """
        row, place = divmod(lane, lanes // self.rows)
        device = self.mesh.devices[row, 0]

        def there(leaf: Array) -> Array:
            shards = leaf.addressable_shards
            return next(shard.data for shard in shards if shard.device == device)

        return jax.tree.map(there, tree), place


def make_layout(devices: Devices) -> Layout | None:
    """Return the layout that a user asked for.

    Args:
        devices: d of them, which divide the target batch; a pair (r, d) for a grid: r rows
            of d each, which divide the runs; None for one device, or with several processes
            (``jax.distributed``) for all of theirs, over the target batch.

    Returns:
        The layout, or None for one device.

    Raises:
        ValueError: there are not so many; or several processes, and it is not all.
        TypeError: it is neither a number nor a pair.
    """
    processes, there = jax.process_count(), jax.devices()
    if devices is None:
        devices = len(there) if processes > 1 else 1
    if isinstance(devices, Sequence) and len(devices) == 2:
        rows, columns = (
            checks.check_integer(name, count)
            for name, count in zip(
                ("devices over runs", "devices over data"), devices, strict=True
            )
        )
    else:
        rows, columns = 1, checks.check_integer("devices", devices)
    if rows * columns > len(there):
        raise checks.fail(
            "devices",
            f"be at most {len(there)} in all, which is what JAX finds",
            devices,
            "isa-toolkit doctor lists them.",
        )
    if processes > 1 and rows * columns != len(there):
        raise checks.fail(
            "devices",
            f"be all {len(there)} of the {processes} processes",
            devices,
            "Leave it out to take all.",
        )
    if rows * columns == 1:
        return None
    mesh = jax.make_mesh(
        (rows, columns),
        (RUNS, DATA),
        devices=there[: rows * columns],
        axis_types=(AxisType.Auto, AxisType.Auto),
    )
    return Layout(mesh)


def check_layout(layout: Layout | None, resolved: ResolvedExperiment) -> None:
    """Refuse a target batch that cannot be divided among the columns.

    Args:
        layout: of the devices; None for one.
        resolved: the experiment.

    Raises:
        ValueError: the method draws no batch, or its size is no multiple.
    """
    if layout is None or layout.columns == 1:
        return
    columns = layout.columns
    if resolved.drawing == "none":
        raise checks.fail(
            "devices over data",
            f"be 1 for method {resolved.settings.method.name!r}",
            columns,
            "It draws no real images that could be divided; distill_grid spreads its "
            "runs with devices=(r, 1).",
        )
    size = resolved.batch_size
    if size % columns == 0:
        return
    name, unit = "batch_size", columns
    labels = resolved.train.train.labels
    most = len(labels)
    if resolved.drawing == "per_class":
        # Of each class, as the user counts.
        classes = resolved.train.num_classes
        unit //= math.gcd(columns, classes)
        size //= classes
        most = int(np.bincount(labels).min())
        name = "batch_size of each class"
    below = size // unit * unit
    near = [n for n in (below, below + unit) if 0 < n <= most]
    fix = f"Take {' or '.join(map(str, near))}" if near else "Take fewer devices"
    raise checks.fail(
        name, f"be a multiple of {unit} for {columns} devices", size, f"{fix}."
    )


def _placed(tree: PyTree, sharding: NamedSharding) -> PyTree:
    def put(leaf: Any) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            words = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        # Each process puts its own devices' parts there; nothing is sent.
        host = np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    return jax.tree.map(put, tree)
