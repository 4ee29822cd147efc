"""Device meshes: runs are divided over one axis, the real batch of each step over the other.

What is divided is the real batch of a step, by images, and in a grid the runs. Everything
else (the data set, the distilled set, the pool) is replicated over the devices of a run.
Results are global: XLA gathers scores, features and residuals, so ranks and partners are
those of the whole batch.
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

RUNS, DATA = "runs", "data"

Devices = int | tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class DeviceMesh:
    """A mesh of devices with the axes ``"runs"`` and ``"data"``.

    Equal meshes are one key of the compiled loops.
    """

    mesh: Mesh

    @property
    def run_axis_size(self) -> int:
        """Number of parts that the runs are divided into."""
        return self.mesh.shape[RUNS]

    @property
    def data_axis_size(self) -> int:
        """Number of parts that the real batch of a run is divided into."""
        return self.mesh.shape[DATA]

    @property
    def replicated(self) -> NamedSharding:
        """Sharding of an array that is whole on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def run_sharded(self) -> NamedSharding:
        """Sharding of an array whose leading axis is divided over the runs axis."""
        return NamedSharding(self.mesh, PartitionSpec(RUNS))

    def replicate(self, tree: PyTree) -> PyTree:
        """Return a tree, the same in all processes, that is whole on every device."""
        return _put(tree, self.replicated)

    def shard_runs(self, tree: PyTree) -> PyTree:
        """Return a tree [r, ...], the same in all processes, divided over the runs axis."""
        return _put(tree, self.run_sharded)

    def split_batch(self, batch: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """Return a batch, inside a compiled program, divided over the data axis."""
        # Inside shard_map the mesh is the one that the program sees there.
        inside = jax.sharding.get_abstract_mesh()
        mesh = inside if RUNS in inside.axis_names else self.mesh
        sharding = NamedSharding(mesh, PartitionSpec(DATA))  # pyright: ignore[reportArgumentType]
        return jax.lax.with_sharding_constraint(batch, sharding)


def make_mesh(devices: Devices) -> DeviceMesh | None:
    """Return the mesh that a user asks for, or None for one device.

    A number d of devices divide the real batch; with a pair (r, d) the runs of a grid are
    divided over r groups of d devices. None is one device, or with several processes all
    devices, over the real batch.
    """
    processes, available = jax.process_count(), jax.devices()
    if devices is None:
        devices = len(available) if processes > 1 else 1
    if isinstance(devices, Sequence) and len(devices) == 2:
        runs, data = (
            checks.check_integer(name, count)
            for name, count in zip(
                ("devices over runs", "devices over data"), devices, strict=True
            )
        )
    else:
        runs, data = 1, checks.check_integer("devices", devices)
    if runs * data > len(available):
        raise checks.fail(
            "devices",
            f"be at most {len(available)} in total, the number that JAX finds",
            devices,
            "isa-toolkit doctor lists them.",
        )
    if processes > 1 and runs * data != len(available):
        raise checks.fail(
            "devices",
            f"be all {len(available)} of the {processes} processes",
            devices,
            "Leave it out to use all.",
        )
    if runs * data == 1:
        return None
    mesh = jax.make_mesh(
        (runs, data),
        (RUNS, DATA),
        devices=available[: runs * data],
        axis_types=(AxisType.Auto, AxisType.Auto),
    )
    return DeviceMesh(mesh)


def check_devices(mesh: DeviceMesh | None, resolved: ResolvedExperiment) -> None:
    """Refuse a batch that cannot be divided over the data axis."""
    if mesh is None or mesh.data_axis_size == 1:
        return
    devices = mesh.data_axis_size
    if resolved.sampling == "none":
        raise checks.fail(
            "devices over data",
            f"be 1 for method {resolved.method.name!r}",
            devices,
            "This method uses no real images to divide; distill_grid divides runs with "
            "devices=(r, 1).",
        )
    size = resolved.batch_size
    if size % devices == 0:
        return
    name, unit = "batch_size", devices
    labels = resolved.train.train.labels
    largest = len(labels)
    if resolved.sampling == "per_class":
        # The user gives the number per class.
        classes = resolved.train.num_classes
        unit //= math.gcd(devices, classes)
        size //= classes
        largest = int(np.bincount(labels).min())
        name = "batch_size per class"
    below = size // unit * unit
    near = [n for n in (below, below + unit) if 0 < n <= largest]
    fix = f"Use {' or '.join(map(str, near))}" if near else "Use fewer devices"
    raise checks.fail(
        name, f"be a multiple of {unit} for {devices} devices", size, f"{fix}."
    )


def _put(tree: PyTree, sharding: NamedSharding) -> PyTree:
    def put(leaf: Any) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        # Each process provides the parts of its own devices; nothing is sent.
        host = np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    return jax.tree.map(put, tree)
