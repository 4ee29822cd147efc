"""What starts the workers of a sweep: processes of this machine, Ray, or Slurm.

An engine starts workers and nothing else. What is done, running or failed stands in the
folders of the runs; a file ``STOP`` in the folder of the sweep stops every worker. Engines
that ``needs_own_process`` run in a process that computes nothing; the workers of one that
``outlives_us`` still run when the process that started them ends.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib
import importlib.util
import itertools
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import joblib

from isa_toolkit import checks
from isa_toolkit.annotations import check_settings
from isa_toolkit.errors import FAILED, InvalidValueError
from isa_toolkit.sweeps.states import LOG, START_MARK, STOP, WORKER, worker_state
from isa_toolkit.sweeps.worker import Worker, worker_environment

# Slurm asks for a checkpoint so many seconds before the time limit.
_CHECKPOINT_S = 120
# Seconds between two questions to Slurm.
_POLL_S = 5.0


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
        check_settings(self, from_zero=["retries"])
        self._queue: collections.deque[Path] = collections.deque()
        self._deaths: collections.Counter[Path] = collections.Counter()
        # The worker of each slot that is in use.
        self._running: dict[int, Worker] = {}

    def start(self, groups: Sequence[Path]) -> None:
        """Queue groups, given by the paths of their folders."""
        self._queue.extend(groups)

    def poll(self) -> bool:
        """Fill free slots; return whether a worker runs."""
        for slot, worker in list(self._running.items()):
            code, folder = worker.poll(), worker.folder
            if code is None:
                continue
            del self._running[slot]
            if code == FAILED and self._deaths[folder] < self.retries:
                self._deaths[folder] += 1
                self._queue.appendleft(folder)
        for slot, environment in enumerate(self.environments):
            if self._queue and slot not in self._running:
                folder = self._queue.popleft()
                self._running[slot] = Worker(folder, environment=environment)
        return bool(self._running)

    def stop(self, force: bool) -> None:
        """Start no more workers; with ``force`` end those that run at once."""
        self._queue.clear()
        self.retries = 0
        if force:
            for worker in self._running.values():
                worker.process.kill()

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
        if importlib.util.find_spec("ray") is None:
            raise ModuleNotFoundError(
                "The engine 'ray' needs ray, which is not installed. Install it with: "
                "pip install 'isa-toolkit[ray]'",
                name="ray",
            )
        check_settings(self, from_zero=["max_retries"])
        self._ray: Any = None
        self._tasks: dict[Any, Path] = {}

    def start(self, groups: Sequence[Path]) -> None:
        """Connect to Ray and submit groups, given by paths that every machine sees."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # How a task has failed stands in the folder of its group.
        os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
        ray = self._ray = importlib.import_module("ray")
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
            retry_exceptions=[ChildProcessError],
        )  # fmt: skip
        self._tasks = {task.remote(str(folder)): folder for folder in groups}

    def poll(self) -> bool:
        """Return whether a task runs or waits."""
        tasks = list(self._tasks)
        _, left = self._ray.wait(tasks, num_returns=len(tasks), timeout=0.2)
        self._tasks = {task: self._tasks[task] for task in left}
        if not self._tasks:
            self._ray.shutdown()
        return bool(self._tasks)

    def stop(self, force: bool) -> None:
        """Cancel tasks that wait; with ``force`` end those that run at once, too."""
        for task, folder in self._tasks.items():
            if force or worker_state(folder)[0] not in ("starting", "running"):
                self._ray.cancel(task, force=force)


def _run(folder: str) -> int:
    """Run the worker of a group on the machine and the GPUs that Ray has chosen."""
    code = Worker(Path(folder)).wait()
    if code == FAILED:  # Ray starts the task again
        raise ChildProcessError(f"The process of {folder} died.")
    return code


# What a task of the job array runs. A worker that is stopped leaves a checkpoint.
_SLURM_SCRIPT = """#!/bin/bash
groups=({groups})
folder=${{groups[$SLURM_ARRAY_TASK_ID]}}
exec >> "$folder/{log}" 2>&1
echo "{mark} $(date -Is) on $(hostname)"
{setup}
{python} -m isa_toolkit sweep worker "$folder" &
worker=$!
trap 'kill -TERM $worker' TERM
trap 'at_limit=yes; kill -TERM $worker' USR2
while wait $worker; code=$?; kill -0 $worker 2> /dev/null; do :; done
if [ "$at_limit" ] && [ ! -e "$folder/../../{stop}" ] &&
   [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
  echo '{{"state": "queued", "outlives_us": true}}' > "$folder/{worker}"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""


class SlurmEngine:
    """Run groups as the tasks of one Slurm job array; its options are in ``docs/sweeps.md``.

    ``options`` are those of ``sbatch``. The script goes to Slurm alone: nothing that is
    stored in the folder of the sweep is executed.
    """

    needs_own_process = False
    outlives_us = True

    def __init__(
        self,
        *,
        slots: int | None = None,
        requeues: int = 20,
        setup: str = "",
        **options: Any,
    ) -> None:
        if slots is not None:
            checks.check_integer("slots", slots)
        checks.check_integer("requeues", requeues, minimum=0)
        if shutil.which("sbatch") is None:
            raise FileNotFoundError(
                "The engine 'slurm' needs the command sbatch, which is not on this "
                "machine. Launch on a login node of the cluster, or use engine='local'."
            )
        self._slots, self._requeues, self._setup = slots, requeues, setup
        self._options = {
            "job_name": "isa-toolkit", "output": os.devnull, "requeue": True,
            "signal": f"B:USR2@{_CHECKPOINT_S}", **options,
        }  # fmt: skip
        self._job, self._next_poll = "", 0.0

    def start(self, groups: Sequence[Path]) -> None:
        """Submit groups, given by paths that every node sees, as one job array."""
        script = _SLURM_SCRIPT.format(
            groups=shlex.join(map(str, groups)), log=LOG, mark=START_MARK, stop=STOP,
            worker=WORKER, setup=self._setup, python=shlex.quote(sys.executable),
            requeues=self._requeues,
        )  # fmt: skip
        at_most = "" if self._slots is None else f"%{self._slots}"
        flags = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in self._options.items()
        ]
        submitted = subprocess.run(
            ["sbatch", "--parsable", f"--array=0-{len(groups) - 1}{at_most}", *flags],
            input=script, capture_output=True, text=True, check=False,
            env=worker_environment(tied=False),
        )  # fmt: skip
        if submitted.returncode:
            text = " ".join(submitted.stderr.split())
            raise InvalidValueError(f"engine options: sbatch refuses: {text}")
        self._job = submitted.stdout.strip().partition(";")[0]

    def poll(self) -> bool:
        """Return whether a job runs or waits; Slurm is asked every few seconds."""
        if self._job and time.monotonic() > self._next_poll:
            self._next_poll = time.monotonic() + _POLL_S
            command = ["squeue", "--noheader", "--jobs", self._job]
            asked = subprocess.run(command, capture_output=True, text=True, check=False)
            # Slurm forgets jobs some minutes after their end.
            is_gone = asked.returncode and "Invalid job id" in asked.stderr
            if is_gone or not (asked.returncode or asked.stdout.strip()):
                self._job = ""
        return bool(self._job)

    def stop(self, force: bool) -> None:
        """Cancel jobs with ``force``; else waiting ones see ``STOP`` when they start."""
        if force and self._job:
            subprocess.run(["scancel", self._job], check=False)


Engine = LocalEngine | RayEngine | SlurmEngine
EngineName = Literal["local", "ray", "slurm"]
_ENGINES = {"local": LocalEngine, "ray": RayEngine, "slurm": SlurmEngine}


def make_engine(name: str, options: dict[str, Any]) -> Engine:
    """Return an engine with these options; nothing is started."""
    return _ENGINES[checks.match_name("engine", name, _ENGINES)](**options)
