"""Workers as tasks of Ray: several GPUs, several machines, Kubernetes, clouds."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isa_toolkit import checks
from isa_toolkit.sweeps.worker import FAILED, settle, start_worker

__all__ = ["RayEngine"]


class WorkerDiedError(RuntimeError):
    """The process of a group died; Ray starts its task again."""


class RayEngine:
    """Run groups as tasks of Ray.

    Args:
        address: Address of a running cluster, such as ``"auto"`` or ``"10.0.0.1:6379"``.
            None: that of the variable ``RAY_ADDRESS``, or a new one on this machine.
        num_gpus: Number of GPUs of each group. None: 1 if the cluster has GPUs, else 0.
        num_cpus: Number of CPU cores of each group.
        max_retries: Number of times to start a group again whose process or machine died.
        slots: Number of groups that run at the same time on a new local cluster of CPUs.
            None: as many as its resources allow.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        InvalidValueError: A number is out of its range.
    """

    # Ray forks, which JAX forbids once it has started its threads.
    needs_own_process = True
    outlives_us = False

    def __init__(
        self,
        *,
        address: str | None = None,
        num_gpus: float | None = None,
        num_cpus: float = 1,
        max_retries: int = 3,
        slots: int | None = None,
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ModuleNotFoundError(
                "The engine 'ray' needs Ray, which is not installed. Install it with: "
                "pip install 'isa-toolkit[ray]'",
                name="ray",
            )
        if num_gpus is not None:
            checks.check_at_least("num_gpus", num_gpus, 0)
        checks.check_at_least("num_cpus", num_cpus, 0)
        checks.check_integer("max_retries", max_retries, minimum=0)
        if slots is not None:
            checks.check_integer("slots", slots)
        self.address, self.num_gpus, self.num_cpus = address, num_gpus, num_cpus
        self.max_retries, self.slots = max_retries, slots
        self._tasks: list[Any] = []

    def start(self, groups: Sequence[Path]) -> None:
        """Connect to Ray and submit groups.

        Args:
            groups: Paths of the folders of the groups, seen by every machine.

        Raises:
            ConnectionError: There is no cluster at the address.
            InvalidValueError: A new local cluster has too few GPUs.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        is_new = self.address is None and "RAY_ADDRESS" not in os.environ
        local: dict[str, Any] = {}
        if is_new:
            local["include_dashboard"] = False
            if self.slots is not None:
                local["num_cpus"] = max(1, round(self.slots * self.num_cpus))
        ray.init(address=self.address, log_to_driver=False, **local)
        gpus = ray.cluster_resources().get("GPU", 0)
        wanted = min(1, gpus) if self.num_gpus is None else self.num_gpus
        if is_new and wanted > gpus:
            raise checks.fail("num_gpus", f"be at most {gpus:g}", wanted)
        # A Ray process that ends after one task frees what the task has allocated.
        task = ray.remote(max_calls=1)(_run).options(
            num_cpus=self.num_cpus,
            num_gpus=wanted,
            max_retries=self.max_retries,
            retry_exceptions=[WorkerDiedError],
        )
        self._tasks = [task.remote(str(folder)) for folder in groups]

    def poll(self) -> bool:
        """Return whether a task runs or waits."""
        import ray

        if self._tasks:
            ended, self._tasks = ray.wait(
                self._tasks, num_returns=len(self._tasks), timeout=0.2
            )
            for task in ended:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.get(task)  # the folder of the group says how it ended
            if not self._tasks:
                ray.shutdown()
        return bool(self._tasks)

    def stop(self, *, force: bool) -> None:
        """End tasks; waiting ones see the file ``STOP`` as soon as they start.

        Args:
            force: End those that run at once.
        """
        import ray

        if force:
            for task in self._tasks:
                ray.cancel(task, force=True)


def _run(folder: str) -> int:
    """Run the worker of a group on the machine and the GPUs that Ray has chosen."""
    result = settle(Path(folder), start_worker(Path(folder)).wait())
    if result.code == FAILED:
        raise WorkerDiedError(result.reason)
    return result.code
