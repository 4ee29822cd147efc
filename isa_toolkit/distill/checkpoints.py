"""Checkpoints of a run, by Orbax: atomic, the last few kept.

The only file that knows Orbax, so that its next interface can replace this one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Checkpoint", "Checkpoints"]

KEPT = 3


class Checkpoint(NamedTuple):
    """What is read back.

    step: steps taken.
    state: of the method.
    notes: JSON that was stored beside it.
    """

    step: int
    state: Any
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: absolute path.
    """

    def __init__(self, folder: Path) -> None:
        # Orbax and its parts log each save at INFO and WARNING level.
        logging.getLogger("absl").setLevel(logging.ERROR)
        import orbax.checkpoint as ocp

        self._ocp = ocp
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT, enable_async_checkpointing=False
            ),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """Steps of the stored checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, notes: dict[str, Any]) -> None:
        """Write a checkpoint; it is complete when this returns.

        Args:
            step: steps taken.
            state: of the method.
            notes: JSON-able, stored beside it.
        """
        if step in self.steps:
            return
        args = self._ocp.args
        self._manager.save(
            step,
            args=args.Composite(
                state=args.StandardSave(_plain(state)), notes=args.JsonSave(notes)
            ),
        )
        self._manager.wait_until_finished()

    def restore(self, like: Any, *, experiment: str) -> Checkpoint | None:
        """Return the last checkpoint, or None if there is none.

        Args:
            like: a state of the same structure, shapes and types.
            experiment: hash of the experiment that it must belong to.

        Raises:
            ValueError: the checkpoint is of another experiment, or cannot be read.
        """
        steps = self.steps
        if not steps:
            return None
        args = self._ocp.args
        step = steps[-1]
        notes = self._manager.restore(
            step, args=args.Composite(notes=args.JsonRestore())
        )["notes"]
        if notes.get("experiment") != experiment:
            raise ValueError(
                f"The checkpoint in {self._folder} must belong to experiment "
                f"{experiment[:8]}, got {str(notes.get('experiment'))[:8]}. Choose "
                "another --out, or move the folder away."
            )
        plain = _plain(like)
        template = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=leaf.sharding
            ),
            plain,
        )
        stored = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(template))
        )["state"]
        # By way of NumPy: Orbax ties arrays to a device, which would compile anew.
        leaves = [jnp.asarray(np.asarray(leaf)) for leaf in jax.tree.leaves(stored)]
        for leaf, expected in zip(leaves, jax.tree.leaves(plain), strict=True):
            if leaf.shape != expected.shape or leaf.dtype != expected.dtype:
                raise ValueError(
                    f"The checkpoint in {self._folder} must hold arrays of shape "
                    f"{expected.shape}, got {leaf.shape}. Move the folder away to "
                    "start again."
                )
        return Checkpoint(
            step, jax.tree.unflatten(jax.tree.structure(like), leaves), notes
        )


def _plain(state: Any) -> dict[str, Any]:
    """Return the leaves under stable names: no class of ours goes into the file."""
    return {
        f"{place:04d}": jnp.asarray(leaf)
        for place, leaf in enumerate(jax.tree.leaves(state))
    }


def as_host(tree: Any) -> Any:
    """Return the tree as NumPy arrays."""
    return jax.tree.map(np.asarray, tree)
