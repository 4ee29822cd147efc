"""Workers as processes of this machine, one for each slot."""

from __future__ import annotations

import collections
import functools
import itertools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from isa_toolkit import checks
from isa_toolkit.sweeps.worker import FAILED, settle, start_worker

__all__ = ["LocalEngine"]


class LocalEngine:
    """Run groups as processes of this machine.

    Args:
        slots: Number of groups that run at the same time. None: one for each GPU, or on a
            CPU one for every two cores. More slots than GPUs share the GPUs.
        gpus: Values of ``CUDA_VISIBLE_DEVICES`` of the slots; empty for the CPU; None for
            all GPUs that JAX sees.
        retries: Number of times to start a group again whose process died.

    Raises:
        InvalidValueError: A number is out of its range.
        InvalidTypeError: An argument has the wrong type.
    """

    needs_own_process = False
    outlives_us = False

    def __init__(
        self,
        *,
        slots: int | None = None,
        gpus: Sequence[int | str] | None = None,
        retries: int = 1,
    ) -> None:
        if slots is not None:
            checks.check_integer("slots", slots)
        self.retries = checks.check_integer("retries", retries, minimum=0)
        self._slots = slots
        self._gpus = None if gpus is None else [str(gpu) for gpu in gpus]
        self._queue: collections.deque[Path] = collections.deque()
        self._deaths: collections.Counter[Path] = collections.Counter()
        # The group and the process of each slot that is in use.
        self._running: dict[int, tuple[Path, subprocess.Popen[bytes]]] = {}

    def start(self, groups: Sequence[Path]) -> None:
        """Queue groups.

        Args:
            groups: Paths of the folders of the groups.
        """
        self._queue.extend(groups)

    def poll(self) -> bool:
        """Fill free slots; return whether a worker runs or waits.

        Raises:
            OSError: A log cannot be written, or no process can be started.
        """
        for slot, (folder, process) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[slot]
            is_dead = settle(folder, code).code == FAILED
            if is_dead and self._deaths[folder] < self.retries:
                self._deaths[folder] += 1
                self._queue.appendleft(folder)
        for slot, environment in enumerate(self.environments):
            if self._queue and slot not in self._running:
                folder = self._queue.popleft()
                process = start_worker(folder, environment=environment)
                self._running[slot] = folder, process
        return bool(self._running)

    def stop(self, *, force: bool) -> None:
        """Start no more workers; those that run see the file ``STOP``.

        Args:
            force: End them at once.
        """
        self._queue.clear()
        self.retries = 0
        if force:
            for _, process in self._running.values():
                process.kill()

    @functools.cached_property
    def environments(self) -> list[dict[str, str]]:
        """Environment variables of each slot."""
        gpus, cpu = self._gpus, {}
        if gpus is None:
            gpus = _visible_gpus()
        elif not gpus:
            cpu = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        if not gpus:
            return [cpu] * (self._slots or max(1, _cores() // 2))
        named = itertools.cycle(gpus)
        return [
            {"CUDA_VISIBLE_DEVICES": next(named)}
            for _ in range(self._slots or len(gpus))
        ]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    import jax

    if jax.default_backend() != "gpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    return [str(index) for index in range(jax.local_device_count())]
