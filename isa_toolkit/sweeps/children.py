"""The processes of a sweep on this machine: started in slots, asked, killed, found again."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax

from isa_toolkit import checks
from isa_toolkit.sweeps import process
from isa_toolkit.sweeps.folder import child_pid

__all__ = ["Backend", "Child", "LocalBackend", "local_slots"]

LOG = "log.txt"
_LEAVING_S = 5.0


@runtime_checkable
class Child(Protocol):
    """A process that runs a group, here or elsewhere."""

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        ...

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None if that is not known."""
        ...

    def ask(self) -> None:
        """Ask it to end with a checkpoint."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Where the processes of a sweep run.

    Attributes:
        slots: how many at a time.
    """

    slots: int

    def start(self, folder: Path, slot: int) -> tuple[Child, dict[str, Any]]:
        """Start a group; return its process and what finds it again."""
        ...

    def find(self, folder: Path, told: dict[str, Any]) -> Child | None:
        """Return the process of a group that another scheduler has started, or None."""
        ...


class LocalChild:
    """A process on this machine.

    Args:
        pid: its number.
        folder: of its group.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid, self._folder = pid, folder
        self._is_ours = process.is_child(pid)
        self._left_at: float | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        if self._is_ours:
            return process.exit_code(self._pid) is None
        # Of another scheduler: numbers come around, so its lock is its witness.
        if child_pid(self._folder) == self._pid:
            return True
        # After that it only has to leave Python.
        self._left_at = self._left_at or time.monotonic()
        is_leaving = time.monotonic() - self._left_at < _LEAVING_S
        return is_leaving and process.is_running(self._pid)

    @property
    def exit_code(self) -> int | None:
        """How it ended; None for the process of another scheduler."""
        return process.exit_code(self._pid) if self._is_ours else None

    def ask(self) -> None:
        """Ask it to end with a checkpoint."""
        process.send(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        if self.is_alive:
            process.send(self._pid, signal.SIGKILL)
            process.reap(self._pid)


class LocalBackend:
    """Child processes of this one, each in a slot; they outlive it.

    Args:
        environments: of each slot, what it adds to ours.
    """

    def __init__(self, environments: Sequence[dict[str, str]]) -> None:
        self._environments = list(environments)
        self.slots = len(self._environments)

    def start(self, folder: Path, slot: int) -> tuple[Child, dict[str, Any]]:
        """Start a group in a slot.

        Args:
            folder: of the group; what the process prints is appended to ``log.txt`` in it.
            slot: number of the slot.

        Raises:
            OSError: the log cannot be written, or no process be started.
        """
        words = ["sweep", "--group", str(folder)]
        pid = process.spawn(words, folder / LOG, self._environments[slot])
        return LocalChild(pid, folder), {"pid": pid, "host": socket.gethostname()}

    def find(self, folder: Path, told: dict[str, Any]) -> Child | None:
        """Return the process of a group that another scheduler has started, or None.

        Args:
            folder: of the group.
            told: its status.
        """
        del told
        pid = child_pid(folder)
        return None if pid is None else LocalChild(pid, folder)


def local_slots(
    slots: int | None, gpus: Sequence[int | str] | None
) -> list[dict[str, str]]:
    """Return what each slot adds to the environment of its processes.

    Args:
        slots: processes at a time. None: one on each GPU; on a CPU one for every two
            cores. More than there are GPUs share them in turns.
        gpus: numbers or names for ``CUDA_VISIBLE_DEVICES``; none of them for the CPU; None
            for those that JAX sees.

    Raises:
        ValueError: ``slots`` is below 1.
        TypeError: it is no whole number.
    """
    if slots is not None:
        checks.check_integer("slots", slots)
    if gpus is None:
        gpus = _visible_gpus()
        if not gpus:
            on_cpu = jax.default_backend() == "cpu"
            count = slots or (max(1, cores() // 2) if on_cpu else 1)
            return [{} for _ in range(count)]
    if not gpus:
        on_cpu = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        return [on_cpu for _ in range(slots or max(1, cores() // 2))]
    named = itertools.cycle([str(gpu) for gpu in gpus])
    return [{"CUDA_VISIBLE_DEVICES": next(named)} for _ in range(slots or len(gpus))]


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    if jax.default_backend() != "gpu":
        return []
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    return [str(place) for place in range(jax.local_device_count())]
