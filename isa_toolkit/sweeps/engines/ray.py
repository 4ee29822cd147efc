"""Workers as tasks of Ray: several GPUs, several machines, Kubernetes, clouds."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isa_toolkit import checks
from isa_toolkit.errors import FAILED
from isa_toolkit.sweeps.worker import settle, start_worker


class WorkerDiedError(RuntimeError):
    """The process of a group died; Ray starts its task again."""


@checks.suggest_keywords
@dataclasses.dataclass(kw_only=True)
class RayEngine:
    """Run groups as tasks of Ray; its options are in ``docs/sweeps.md``."""

    # Ray forks, which JAX does not allow once it has started its threads.
    needs_own_process = True
    outlives_us = False

    address: str | None = None
    num_gpus: float | None = None
    num_cpus: float = 1
    max_retries: int = 3
    slots: int | None = None

    def __post_init__(self) -> None:
        require("ray", "ray")
        if self.num_gpus is not None:
            checks.check_at_least("num_gpus", self.num_gpus, 0)
        checks.check_at_least("num_cpus", self.num_cpus, 0)
        checks.check_integer("max_retries", self.max_retries, minimum=0)
        if self.slots is not None:
            checks.check_integer("slots", self.slots)
        self._tasks: list[Any] = []

    def start(self, groups: Sequence[Path]) -> None:
        """Connect to Ray and submit groups, given by paths that every machine sees."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # How a task has failed stands in the folder of its group.
        os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
        ray: Any = importlib.import_module("ray")
        is_new = self.address is None and "RAY_ADDRESS" not in os.environ
        local: dict[str, Any] = {"include_dashboard": False} if is_new else {}
        if is_new and self.slots is not None:
            local["num_cpus"] = max(1, round(self.slots * self.num_cpus))
        for is_last in (False, False, True):
            try:
                ray.init(address=self.address, log_to_driver=False, **local)
                break
            except Exception:  # Ray gives a busy machine 30 s to start it
                ray.shutdown()
                if is_last or not is_new:
                    raise
        gpus = ray.cluster_resources().get("GPU", 0)
        wanted = min(1, gpus) if self.num_gpus is None else self.num_gpus
        if is_new and wanted > gpus:
            raise checks.fail("num_gpus", f"be at most {gpus:g}", wanted)
        # A Ray process that ends after one task frees what the task has allocated.
        task = ray.remote(max_calls=1)(_run).options(
            num_cpus=self.num_cpus, num_gpus=wanted, max_retries=self.max_retries,
            retry_exceptions=[WorkerDiedError],
        )  # fmt: skip
        self._tasks = [task.remote(str(folder)) for folder in groups]

    def poll(self) -> bool:
        """Return whether a task runs or waits."""
        ray: Any = importlib.import_module("ray")
        _, self._tasks = ray.wait(
            self._tasks, num_returns=len(self._tasks), timeout=0.2
        )
        if not self._tasks:
            ray.shutdown()
        return bool(self._tasks)

    def stop(self, force: bool) -> None:
        """End tasks with ``force``; else waiting ones see ``STOP`` when they start."""
        ray: Any = importlib.import_module("ray")
        for task in self._tasks if force else ():
            ray.cancel(task, force=True)


def _run(folder: str) -> int:
    """Run the worker of a group on the machine and the GPUs that Ray has chosen."""
    code = settle(Path(folder), start_worker(Path(folder)).wait())
    if code == FAILED:
        raise WorkerDiedError(f"The process of {folder} died.")
    return code


def require(library: str, extra: str) -> None:
    """Raise ``ModuleNotFoundError`` with the fix if a library is not installed."""
    if importlib.util.find_spec(library) is None:
        raise ModuleNotFoundError(
            f"The engine {extra!r} needs {library}, which is not installed. Install it "
            f"with: pip install 'isa-toolkit[{extra}]'",
            name=library,
        )
