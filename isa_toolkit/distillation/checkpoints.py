"""Checkpoints of a run, by Orbax: atomic, with check sums, the last or all are kept.

The only module that knows Orbax.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit.checks import as_text, fail
from isa_toolkit.distillation import distributed
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.files import read_json, write_json

# Orbax detects a file that is missing or cut off, but no flipped bit.
_SUMS = "sums.json"


class Checkpoint(NamedTuple):
    """What is read back: steps taken, the state, JSON that was stored beside it."""

    step: int
    state: Any
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; with several processes only process 0 has them.

    Args:
        folder: Path of their folder.
        keep: Number of checkpoints to keep when one is written, the last ones; None for
            all.
        read_only: Whether nothing is to be written: they are those of another run.
    """

    def __init__(
        self, folder: Path, *, keep: int | None = None, read_only: bool = False
    ) -> None:
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._keep, self._read_only = folder, keep, read_only

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *details: object) -> None:
        if "_manager" in vars(self):
            self._manager.close()

    @cached_property
    def _manager(self) -> Any:
        """Orbax's manager; to import it takes half a second, so not before it is used."""
        # Orbax logs each save at INFO and WARNING level and damage at ERROR level; the
        # messages of this module replace them.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        import orbax.checkpoint as ocp

        options: dict[str, Any] = {
            "max_to_keep": self._keep,
            "read_only": self._read_only,
            "enable_async_checkpointing": False,
        }
        if distributed.is_distributed():
            # Process 0 saves alone; it must not wait for the others.
            options["create"] = False
            options["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix="isa"
            )
        return ocp.CheckpointManager(
            self._folder, options=ocp.CheckpointManagerOptions(**options)
        )

    @property
    def steps(self) -> list[int]:
        """Steps of the stored checkpoints, in order."""
        return stored_steps(self._folder)

    def save(self, step: int, state: Any, notes: dict[str, Any]) -> None:
        """Write a checkpoint with JSON-able notes; it is complete when this returns."""
        if step in self.steps:
            return
        # NumPy arrays: Orbax ties arrays of JAX to their devices.
        arrays = jax.tree.map(np.asarray, _leaves(state))
        manager = self._manager
        from orbax.checkpoint import args

        state_and_notes = args.Composite(
            state=args.StandardSave(arrays), notes=args.JsonSave(notes)
        )
        manager.save(step, args=state_and_notes)
        manager.wait_until_finished()
        folder = self._folder / str(step)
        write_json(folder / _SUMS, _sums(folder))

    def restore(self, like: Any, *, experiment: str) -> Checkpoint | None:
        """Return the last checkpoint that is not damaged, or None if there is none.

        Damaged newer ones are moved away with a warning; the run repeats their steps. The
        state is to have the structure, shapes and types of ``like``, and the checkpoint the
        hash of the experiment.
        """
        damaged: list[int] = []
        for step in reversed(self.steps):
            try:
                stored = self._read(step, like, experiment)
            except InvalidValueError:
                raise
            except Exception:  # noqa: BLE001 - Orbax raises all kinds
                damaged.append(step)
                continue
            if damaged:
                self._move_away(damaged, step)
            return stored
        if damaged:
            raise fail(
                f"The checkpoints in {self._folder}",
                "be undamaged",
                as_text(f"damaged files at {_steps(damaged)}"),
                "Move the folder away to start the run again.",
            )
        return None

    def read(self, step: int, like: Any, *, experiment: str) -> Any:
        """Return the state of one checkpoint of another run, to start from it.

        The state is to have the structure, shapes and types of ``like``; ``experiment`` is
        the hash of the other run.
        """
        fix = "Use the static settings of that run, such as pool_size."
        try:
            return self._read(step, like, experiment, fix).state
        except InvalidValueError:
            raise
        except Exception as error:  # Orbax raises all kinds
            others = ", ".join(str(one) for one in self.steps if one != step)
            raise fail(
                f"The checkpoint of step {step} in {self._folder}",
                "be undamaged",
                as_text("damaged files"),
                f"Choose another start_step: {others or 'there is none'}.",
            ) from error

    def _read(
        self,
        step: int,
        like: Any,
        experiment: str,
        fix: str = "Choose another --out, or move the folder away.",
    ) -> Checkpoint:
        """Return one checkpoint; any other error than InvalidValueError means damage."""
        folder = self._folder / str(step)
        # A checkpoint without sums is one whose writer died right after it.
        sums = read_json(folder / _SUMS) if (folder / _SUMS).exists() else _sums(folder)
        if sums != _sums(folder):
            raise OSError("wrong check sums")
        restore = self._manager.restore
        from orbax.checkpoint import args

        notes = restore(step, args=args.Composite(notes=args.JsonRestore()))
        notes = notes["notes"]
        if notes.get("experiment") != experiment:
            raise InvalidValueError(
                f"The checkpoint in {self._folder} must belong to experiment "
                f"{experiment[:8]}, got {str(notes.get('experiment'))[:8]}. {fix}"
            )
        wanted = _leaves(like)
        template = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), wanted)
        wanted_state = args.Composite(state=args.StandardRestore(template))
        stored = restore(step, args=wanted_state)["state"]
        leaves = [np.asarray(stored[name]) for name in wanted]
        for leaf, expected in zip(leaves, wanted.values(), strict=True):
            if leaf.shape != expected.shape or leaf.dtype != expected.dtype:
                raise InvalidValueError(
                    f"The checkpoint in {self._folder} must have arrays of shape "
                    f"{expected.shape}, got {leaf.shape}. {fix}"
                )
        state = jax.tree.unflatten(
            jax.tree.structure(like), [jnp.asarray(leaf) for leaf in leaves]
        )
        return Checkpoint(step, state, notes)

    def _move_away(self, damaged: list[int], good: int) -> None:
        """Move damaged checkpoints beside the folder: Orbax writes no step twice."""
        for step in damaged:
            target = self._folder.with_name(f"damaged-checkpoint-{step}")
            shutil.rmtree(target, ignore_errors=True)
            (self._folder / str(step)).rename(target)
        self._manager.reload()
        warnings.warn(
            f"The checkpoint of {_steps(damaged)} in {self._folder} is damaged and was "
            f"moved away; the run resumes from step {good}.",
            stacklevel=3,
        )


def stored_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in order; it may be missing."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def _sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of every file below a folder except the sums."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _SUMS:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[path.relative_to(folder).as_posix()] = digest
    return sums


def _steps(steps: list[int]) -> str:
    return f"step{'s' * (len(steps) > 1)} {', '.join(map(str, sorted(steps)))}"


def _leaves(state: Any) -> dict[str, Any]:
    """Return the leaves under stable names: no class of this package is stored."""
    leaves = jax.tree.leaves(state)
    return {f"{index:04d}": jnp.asarray(leaf) for index, leaf in enumerate(leaves)}
