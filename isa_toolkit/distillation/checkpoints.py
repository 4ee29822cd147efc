"""Checkpoints of a run, by Orbax: atomic, with check sums, the last or all are kept.

The only module that knows Orbax.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit.checks import as_text, fail
from isa_toolkit.distillation import distributed
from isa_toolkit.distillation.store import MARK, delete, is_number
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.files import NUMBER, fits, read_json, write_json

# Orbax detects a file that is missing or cut off, but no flipped bit.
_SUMS = "sums.json"
_NOTES = {
    "experiment": str, "step": int, "pending": [dict], "elapsed_s": NUMBER, "metrics": MARK
}  # fmt: skip
# How TensorStore, which writes the arrays, names the error of the system.
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")


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

    def __exit__(self, kind: object, *details: object) -> None:
        if "_manager" in vars(self):
            # After an error, such as a full disk, closing fails again and says less.
            with contextlib.suppress(Exception) if kind else contextlib.nullcontext():
                self._manager.close()

    @functools.cached_property
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
        """Write a checkpoint with JSON-able notes; it is complete when this returns.

        Whatever prevents that is an ``OSError``; the checkpoints before it are kept.
        """
        if step in self.steps:
            return
        # NumPy arrays: Orbax ties arrays of JAX to their devices.
        arrays = jax.tree.map(np.asarray, _leaves(state))
        from orbax.checkpoint import args

        state_and_notes = args.Composite(
            state=args.StandardSave(arrays),
            notes=args.JsonSave({**notes, "step": step}),
        )
        usual = sys.unraisablehook
        sys.unraisablehook = functools.partial(_report, usual)
        try:
            manager = self._manager
            manager.save(step, args=state_and_notes)
            manager.wait_until_finished()
            sys.unraisablehook = usual
        except Exception as error:  # noqa: BLE001 - of several types, and its text is long
            for path in self._folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                delete(path)
            raise _system_error(error) from None
        folder = self._folder / str(step)
        write_json(folder / _SUMS, _sums(folder))

    def restore(
        self,
        like: Any,
        *,
        experiment: str,
        fault: Callable[[dict[str, Any]], str] = lambda notes: "",
    ) -> Checkpoint | None:
        """Return the last checkpoint that can be used, or None if there is none.

        Newer ones are moved away with a warning; the run repeats their steps. They are
        damaged, or ``fault`` returns a reason for their notes. The state is to have the
        structure, shapes and types of ``like``, and the checkpoint the hash of the
        experiment.
        """
        faults: dict[str, list[int]] = {}
        for step in reversed(self.steps):
            reason = "damaged files"
            try:
                stored = self._read(step, like, experiment)
                reason = fault(stored.notes)
            except InvalidValueError:
                raise
            except Exception:  # noqa: BLE001 - Orbax raises all kinds
                stored = None
            if stored is not None and not reason:
                if faults:
                    self._move_away(faults, step)
                return stored
            faults.setdefault(reason, []).append(step)
        if faults:
            raise fail(
                f"The checkpoints in {self._folder}",
                "be undamaged",
                as_text(_listed(faults)),
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
        if not fits(notes, _NOTES) or notes["step"] != step:
            raise OSError("notes of another step, or of another version of the toolkit")
        if notes["experiment"] != experiment:
            raise InvalidValueError(
                f"The checkpoint in {self._folder} must belong to experiment "
                f"{experiment[:8]}, got {notes['experiment'][:8]}. {fix}"
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

    def _move_away(self, faults: dict[str, list[int]], good: int) -> None:
        """Move checkpoints out of the folder: Orbax writes no step twice."""
        for step in itertools.chain(*faults.values()):
            target = self._folder.with_name(f"damaged-checkpoint-{step}")
            delete(target)
            (self._folder / str(step)).rename(target)
        self._manager.reload()
        warnings.warn(
            f"Checkpoints in {self._folder} were moved away ({_listed(faults)}); the run "
            f"resumes from step {good}.",
            stacklevel=3,
        )


def stored_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in order; it may be missing."""
    names = [path.name for path in folder.glob("*") if path.is_dir()]
    steps = sorted(int(name) for name in names if is_number(name))
    return [step for step in steps if str(step) in names]


def _report(usual: Callable[[Any], object], unraisable: Any) -> None:
    """Report an error that nothing can catch, but for late answers of TensorStore.

    After a failed write its threads find that Orbax has closed its event loop; a traceback
    for each array would follow the sentence about the disk, so this hook stays then.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        usual(unraisable)


def _system_error(error: Exception) -> OSError:
    """Return the ``OSError`` behind an error of Orbax or TensorStore."""
    if isinstance(error, OSError) and error.errno:
        return error
    found = _SYSTEM_ERROR.search(str(error))
    if found:
        return OSError(int(found[1]), os.strerror(int(found[1])))
    first = str(error).partition("\n")[0]
    return OSError(f"{type(error).__name__}: {first[:200]}")


def _sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of every file below a folder except the sums."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _SUMS:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[path.relative_to(folder).as_posix()] = digest
    return sums


def _listed(faults: dict[str, list[int]]) -> str:
    return "; ".join(
        f"{fault} at step{'s' * (len(steps) > 1)} {', '.join(map(str, sorted(steps)))}"
        for fault, steps in faults.items()
    )


def _leaves(state: Any) -> dict[str, Any]:
    """Return the leaves under stable names: no class of this package is stored."""
    leaves = jax.tree.leaves(state)
    return {f"{index:04d}": jnp.asarray(leaf) for index, leaf in enumerate(leaves)}
