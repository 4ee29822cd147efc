"""Workers as processes of this machine, one for each slot."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import joblib

from isa_toolkit import checks
from isa_toolkit.errors import FAILED
from isa_toolkit.sweeps.worker import settle, start_worker


@checks.suggest_keywords
@dataclasses.dataclass(kw_only=True)
class LocalEngine:
    """Run groups as processes of this machine; its options are in ``docs/sweeps.md``."""

    needs_own_process = False
    outlives_us = False

    slots: int | None = None
    gpus: Sequence[int | str] | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        if self.slots is not None:
            checks.check_integer("slots", self.slots)
        checks.check_integer("retries", self.retries, minimum=0)
        self._queue: collections.deque[Path] = collections.deque()
        self._deaths: collections.Counter[Path] = collections.Counter()
        # The group and the process of each slot that is in use.
        self._running: dict[int, tuple[Path, subprocess.Popen[bytes]]] = {}

    def start(self, groups: Sequence[Path]) -> None:
        """Queue groups, given by the paths of their folders."""
        self._queue.extend(groups)

    def poll(self) -> bool:
        """Fill free slots; return whether a worker runs."""
        for slot, (folder, process) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[slot]
            is_dead = settle(folder, code) == FAILED
            if is_dead and self._deaths[folder] < self.retries:
                self._deaths[folder] += 1
                self._queue.appendleft(folder)
        for slot, environment in enumerate(self.environments):
            if self._queue and slot not in self._running:
                folder = self._queue.popleft()
                process = start_worker(folder, environment=environment)
                self._running[slot] = folder, process
        return bool(self._running)

    def stop(self, force: bool) -> None:
        """Start no more workers; with ``force`` end those that run at once."""
        self._queue.clear()
        self.retries = 0
        if force:
            for _, process in self._running.values():
                process.kill()

    @functools.cached_property
    def environments(self) -> list[dict[str, str]]:
        """Environment variables of each slot."""
        gpus = _visible_gpus() if self.gpus is None else [str(gpu) for gpu in self.gpus]
        if gpus:
            named = itertools.islice(itertools.cycle(gpus), self.slots or len(gpus))
            return [{"CUDA_VISIBLE_DEVICES": name} for name in named]
        return [{}] * (self.slots or max(1, joblib.cpu_count() // 2))


def _visible_gpus() -> list[str]:
    import jax

    if jax.default_backend() != "gpu":
        return []
    indices = ",".join(map(str, range(jax.local_device_count())))
    return os.environ.get("CUDA_VISIBLE_DEVICES", indices).split(",")
