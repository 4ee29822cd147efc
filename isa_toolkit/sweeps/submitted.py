"""The groups of a sweep as jobs of a cluster, through submitit.

submitit pickles what it submits; here that is the path of a group's folder and the name of
a class, no data. Everything else is read from that folder. The executors ``local`` and
``debug`` run the same jobs on this machine, to try them.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isa_toolkit import checks
from isa_toolkit.files import read_json
from isa_toolkit.sweeps import process
from isa_toolkit.sweeps.children import Child
from isa_toolkit.sweeps.folder import child_pid
from isa_toolkit.sweeps.group import run_group

__all__ = ["CLUSTERS", "GroupTask", "Slurm", "SubmittedBackend"]

# Name of a backend -> of an executor of submitit.
CLUSTERS = {"slurm": "slurm", "submitit-local": "local", "submitit-debug": "debug"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slurm:
    """What a job asks the cluster for.

    Attributes:
        partition: of the cluster; None for its default.
        account: to be charged; None for the user's default.
        time_min: minutes that a job may take; one that is not done then is queued again by
            Slurm and goes on from its checkpoint.
        gpus: of each job; 0 for a CPU.
        cpus: cores of each job.
        mem_gb: memory of each job; None for the cluster's default.
        requeues: how often a job that ran out of time is queued again.
        setup: shell lines before the job, such as ``module load cuda``.

    Raises:
        ValueError: a number out of its range.
        TypeError: a value of the wrong kind.
    """

    partition: str | None = None
    account: str | None = None
    time_min: int = 24 * 60
    gpus: int = 1
    cpus: int = 4
    mem_gb: float | None = None
    requeues: int = 20
    setup: Sequence[str] = ()

    def __post_init__(self) -> None:
        checks.check_integer("time_min", self.time_min)
        checks.check_integer("gpus", self.gpus, minimum=0)
        checks.check_integer("cpus", self.cpus)
        checks.check_integer("requeues", self.requeues, minimum=0)
        if self.mem_gb is not None:
            checks.check_positive("mem_gb", self.mem_gb)
        object.__setattr__(self, "setup", tuple(self.setup))


class GroupTask:
    """What submitit calls, and how it goes on after a time-out: the same path again."""

    def __call__(self, path: str) -> int:
        """Run a group; return its exit code.

        Args:
            path: of its folder.
        """
        return run_group(path)

    def checkpoint(self, path: str) -> Any:
        """Return what submitit queues again; the runs have checkpoints of their own.

        Args:
            path: of the group's folder.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, path)


class SubmittedChild:
    """A job.

    Args:
        job: submitit's.
        folder: of its group.
    """

    def __init__(self, job: Any, folder: Path) -> None:
        self._job, self._folder = job, folder

    @property
    def is_alive(self) -> bool:
        """Whether it waits or runs."""
        # The first for a job on this machine whose starter is gone.
        return child_pid(self._folder) is not None or not self._job.done()

    @property
    def exit_code(self) -> int | None:
        """Not known: ``result.json`` of the group tells how it ended."""
        return None

    def ask(self) -> None:
        """Ask it to end with a checkpoint; cancel it if it has not begun."""
        pid = child_pid(self._folder)
        if pid is not None and pid != os.getpid():
            process.send(pid, signal.SIGTERM)
        elif read_json(self._folder / "holder.json") is None:
            self._job.cancel(check=False)
        # On another machine it sees the sweep's file STOP.

    def kill(self) -> None:
        """Cancel it."""
        self._job.cancel(check=False)
        pid = child_pid(self._folder)
        if pid is not None and pid != os.getpid():
            process.send(pid, signal.SIGKILL)


class SubmittedBackend:
    """Jobs of a cluster; they outlive this process.

    Args:
        name: one of ``CLUSTERS``.
        folder: where submitit keeps its files.
        slots: jobs submitted at a time.
        options: what each asks for.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        FileNotFoundError: the cluster's commands are not on this machine.
    """

    def __init__(self, name: str, folder: Path, *, slots: int, options: Slurm) -> None:
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"The backend {name!r} needs submitit, which is not installed. Install it "
                "with: pip install 'isa-toolkit[slurm]'",
                name="submitit",
            ) from error
        self.slots = slots
        self._cluster, self._folder = CLUSTERS[name], folder
        if name == "slurm":
            _check_slurm()
        settings: dict[str, Any] = (
            {"slurm_max_num_timeout": options.requeues} if name == "slurm" else {}
        )
        self._executor = submitit.AutoExecutor(
            folder / "%j", cluster=self._cluster, **settings
        )
        if name != "submitit-debug":
            self._executor.update_parameters(**_parameters(name, options))

    def start(self, folder: Path, slot: int) -> tuple[Child, dict[str, Any]]:
        """Submit a group.

        Args:
            folder: of the group.
            slot: not used: the cluster chooses.
        """
        del slot
        with _our_code():
            job = self._executor.submit(GroupTask(), str(folder))
        told = {"job": str(job.job_id), "host": socket.gethostname()}
        return SubmittedChild(job, folder), told

    def find(self, folder: Path, told: dict[str, Any]) -> Child | None:
        """Return the job of a group that another scheduler has submitted, or None.

        Args:
            folder: of the group.
            told: its status.
        """
        if told.get("state") != "running" or "job" not in told:
            return None
        if self._cluster == "debug":
            return None  # it was that scheduler itself
        import submitit

        kind = submitit.SlurmJob if self._cluster == "slurm" else submitit.LocalJob
        child = SubmittedChild(kind(self._folder / "%j", told["job"]), folder)
        return child if child.is_alive else None


def _parameters(name: str, options: Slurm) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": "isa-toolkit",
        "timeout_min": options.time_min,
        "gpus_per_node": options.gpus,
        "cpus_per_task": options.cpus,
        "mem_gb": options.mem_gb,
    }
    if name == "slurm":
        made |= {
            "slurm_partition": options.partition,
            "slurm_account": options.account,
            "slurm_setup": list(options.setup) or None,
        }
    return made


def _check_slurm() -> None:
    import shutil

    if shutil.which("sbatch") is None:
        raise FileNotFoundError(
            "The backend 'slurm' needs the command sbatch, which is not on this machine. "
            "Launch on a login node of the cluster, or use the backend 'local'."
        )


@contextmanager
def _our_code() -> Iterator[None]:
    """Let processes that start inside find this copy of the package."""
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = process.environment()["PYTHONPATH"]
    try:
        yield
    finally:
        if known is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = known
