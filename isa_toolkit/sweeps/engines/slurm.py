"""Workers as one Slurm job array, submitted with submitit."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from isa_toolkit import checks
from isa_toolkit.distillation.store import is_locked
from isa_toolkit.errors import InvalidTypeError
from isa_toolkit.sweeps.engines.ray import require
from isa_toolkit.sweeps.worker import settle, start_worker

_CHECKPOINT_S = 60.0


class SlurmEngine:
    """Run groups as the tasks of one Slurm job array; options: ``docs/sweeps.md``.

    ``parameters`` are those of submitit's ``AutoExecutor.update_parameters``.
    """

    needs_own_process = False

    def __init__(
        self,
        *,
        cluster: Literal["slurm", "local", "debug"] = "slurm",
        slots: int | None = None,
        max_num_timeout: int = 20,
        **parameters: Any,
    ) -> None:
        require("submitit", "slurm")
        checks.check_one_of("cluster", cluster, ("slurm", "local", "debug"))
        checks.check_integer("max_num_timeout", max_num_timeout, minimum=0)
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise FileNotFoundError(
                "The engine 'slurm' needs the command sbatch, which is not on this "
                "machine. Launch on a login node of the cluster, or use engine='local'."
            )
        self.outlives_us = cluster != "debug"
        self._cluster, self._max_num_timeout = cluster, max_num_timeout
        self._parameters = {
            "name": "isa-toolkit", "slurm_array_parallelism": slots, **parameters
        }  # fmt: skip
        self._jobs: list[Any] = []
        self._executor(Path("submitit"))  # refuses parameters that submitit lacks

    def _executor(self, folder: Path) -> Any:
        submitit: Any = importlib.import_module("submitit")
        executor = submitit.AutoExecutor(
            folder, cluster=self._cluster, slurm_max_num_timeout=self._max_num_timeout
        )
        try:
            executor.update_parameters(**self._parameters)
        except NameError as error:
            text = " ".join(str(error).split())
            raise InvalidTypeError(f"engine options: submitit says: {text}") from error
        return executor

    def start(self, groups: Sequence[Path]) -> None:
        """Submit groups, given by paths that every node sees, as one job array."""
        if groups:
            executor = self._executor(groups[0].parents[1] / "submitit" / "%A")
            # submitit pickles these paths and the name of the class, nothing else.
            self._jobs = executor.map_array(GroupTask(), list(map(str, groups)))

    def poll(self) -> bool:
        """Return whether a job runs or waits."""
        if self._cluster == "debug":
            for job in self._jobs:
                job.wait()  # this runs it
        self._jobs = [job for job in self._jobs if not job.done()]
        return bool(self._jobs)

    def stop(self, force: bool) -> None:
        """Cancel jobs with ``force``; else waiting ones see ``STOP`` when they start."""
        for job in self._jobs if force else ():
            job.cancel(check=False)


class GroupTask:
    """What submitit calls: it starts the worker and, at the time limit, stops it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, folder: str) -> int:
        """Run the worker of a group; return its exit code."""
        self._process = start_worker(Path(folder))
        return settle(Path(folder), self._process.wait())

    def checkpoint(self, folder: str) -> Any:
        """Stop the worker with a checkpoint; return what submitit queues again."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            os.kill(self._process.pid, signal.SIGTERM)
            end = time.monotonic() + _CHECKPOINT_S
            # This is a signal handler, and the process is waited for where it interrupts.
            while is_locked(Path(folder)) and time.monotonic() < end:
                time.sleep(0.1)
        return DelayedSubmission(GroupTask(), folder)
