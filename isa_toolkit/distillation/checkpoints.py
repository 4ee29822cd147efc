"""Checkpoints of a run, by Orbax: atomic, checked by their sums, the last few kept.

The only file that knows Orbax, so that its next interface can replace this one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit.checks import as_text, fail
from isa_toolkit.distillation import distributed as processes
from isa_toolkit.files import write_json

__all__ = ["Checkpoint", "Checkpoints"]

KEPT = 3

# Of every file of a checkpoint, beside them.
_SUMS = "sums.json"


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
        # Orbax and its parts log each save at INFO and WARNING level, and what they
        # find damaged at ERROR; we say so ourselves.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        import orbax.checkpoint as ocp

        self._ocp = ocp
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # Of several processes the first one alone comes here: it must not wait for the
        # others, and gives and takes NumPy arrays, since Orbax refuses a process's own.
        self._are_several = processes.are_several()
        alone: Any = {}
        if self._are_several:
            alone["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix="isa"
            )
        self._manager = ocp.CheckpointManager(
            folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT,
                enable_async_checkpointing=False,
                create=not self._are_several,
                **alone,
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
                state=args.StandardSave(self._own(_plain(state))),
                notes=args.JsonSave(notes),
            ),
        )
        self._manager.wait_until_finished()
        write_json(self._folder / str(step) / _SUMS, _sums(self._folder / str(step)))

    def restore(self, like: Any, *, experiment: str) -> Checkpoint | None:
        """Return the last checkpoint that is whole, or None if there is none at all.

        Damaged ones that are newer are moved out of the way, with a warning: the run
        takes their steps again.

        Args:
            like: a state of the same structure, shapes and types.
            experiment: hash of the experiment that it must belong to.

        Raises:
            ValueError: the checkpoint is of another experiment, or all are damaged.
        """
        damaged: list[int] = []
        for step in reversed(self.steps):
            stored = self._read(step, like, experiment)
            if stored is not None:
                self._put_aside(damaged, step)
                return stored
            damaged.append(step)
        if damaged:
            raise fail(
                f"The checkpoints in {self._folder}",
                "be whole",
                as_text(f"damaged files at {_steps(damaged)}"),
                "Move the folder away to start the run again.",
            )
        return None

    def _read(self, step: int, like: Any, experiment: str) -> Checkpoint | None:
        """Return one checkpoint, or None if it is damaged."""
        notes = self._part(step, notes=self._ocp.args.JsonRestore())
        if notes is None:
            return None
        if notes.get("experiment") != experiment:
            raise ValueError(
                f"The checkpoint in {self._folder} must belong to experiment "
                f"{experiment[:8]}, got {str(notes.get('experiment'))[:8]}. Choose "
                "another --out, or move the folder away."
            )
        plain = _plain(like)
        template = self._own(plain)
        if not self._are_several:
            template = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(
                    leaf.shape, leaf.dtype, sharding=leaf.sharding
                ),
                plain,
            )
        stored = self._part(step, state=self._ocp.args.StandardRestore(template))
        if stored is None:
            return None
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

    def _own(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Return the leaves in the form that Orbax takes from a process."""
        return jax.tree.map(np.asarray, plain) if self._are_several else plain

    def _part(self, step: int, **part: Any) -> Any:
        """Return one part of a checkpoint, or None if it is damaged."""
        [name] = part
        folder = self._folder / str(step)
        try:
            # Before Orbax reads it: what it meets in a damaged file it also prints. A
            # checkpoint without sums is one whose writer died right after it.
            sums = folder / _SUMS
            if sums.exists() and json.loads(sums.read_text()) != _sums(folder):
                return None
            composite = self._ocp.args.Composite(**part)
            return self._manager.restore(step, args=composite)[name]
        except Exception:  # noqa: BLE001 - Orbax raises all kinds, Exception itself too
            return None

    def _put_aside(self, damaged: list[int], good: int) -> None:
        """Move damaged checkpoints out of the way: Orbax writes no step twice."""
        for step in damaged:
            names = (f"damaged-checkpoint-{step}-{n}" for n in itertools.count(1))
            free = (self._folder.with_name(name) for name in names)
            (self._folder / str(step)).rename(next(p for p in free if not p.exists()))
        if damaged:
            self._manager.reload()
            warnings.warn(
                f"The checkpoint of {_steps(damaged)} in {self._folder} is damaged and "
                f"was put aside; the run goes on from step {good}.",
                stacklevel=3,
            )


def _sums(folder: Path) -> dict[str, str]:
    """Return SHA-256 (hex) of every file below a folder but the sums themselves."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _SUMS:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[path.relative_to(folder).as_posix()] = digest
    return sums


def _steps(steps: list[int]) -> str:
    return f"step{'s' * (len(steps) > 1)} {', '.join(map(str, sorted(steps)))}"


def _plain(state: Any) -> dict[str, Any]:
    """Return the leaves under stable names: no class of ours goes into the file."""
    return {
        f"{place:04d}": jnp.asarray(leaf)
        for place, leaf in enumerate(jax.tree.leaves(state))
    }
