"""One run in a process of its own, for notebooks: a sweep of one group.

The process outlives the kernel; any kernel finds it again through its folders.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import subprocess
import time
from pathlib import Path
from typing import Literal, NamedTuple, final

from isa_toolkit.distillation import Experiment, Run
from isa_toolkit.errors import IsaError
from isa_toolkit.files import read_json
from isa_toolkit.sweeps.plan import Plan, plan
from isa_toolkit.sweeps.states import HOLDER, GroupState, group_state, run_state
from isa_toolkit.sweeps.sweep import Sweep, sweeps_in, write_jobs, write_plan
from isa_toolkit.sweeps.worker import (
    DIVERGED,
    KILL,
    LOCKED,
    STOP,
    USAGE,
    experiment_from,
    read_result,
    settle,
    start_worker,
)

__all__ = ["Job", "JobFailedError", "JobProgress", "JobStatus", "runs_in"]

_POLL_S = 0.05
_RESUME = "Resume goes on from the last checkpoint."
_FIXES = {
    USAGE: "Correct the setting that it names and start again.",
    DIVERGED: "Lower learning_rate or raise ridge; the last good checkpoint is kept.",
    LOCKED: "Attach to the run instead of starting it.",
}


class JobFailedError(IsaError, RuntimeError):
    """The process of a run ended early; the message says why and what to do."""


class JobStatus(NamedTuple):
    """What is known of a job.

    Attributes:
        state: ``"new"``, ``"starting"``, ``"running"``, ``"stopping"``, ``"stopped"``,
            ``"done"``, ``"failed"`` or ``"diverged"``.
        pid: Number of the process that works on it; None if there is none or it is not
            known yet.
        reason: Why it failed or diverged; else empty.
    """

    state: Literal[
        "new",
        "starting",
        "running",
        "stopping",
        "stopped",
        "done",
        "failed",
        "diverged",
    ]
    pid: int | None
    reason: str

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the run."""
        return self.state in ("starting", "running", "stopping")


class JobProgress(NamedTuple):
    """How far a job is.

    Attributes:
        step: Number of steps taken.
        steps: Number of steps of the whole run; 0 if not known yet.
        fraction: Fraction of the steps that are taken, from 0 to 1.
        steps_per_s: Steps per second of the last chunk; 0 if not known yet.
        eta_s: Number of seconds left at that speed, without validations; NaN if unknown.
    """

    step: int
    steps: int
    fraction: float
    steps_per_s: float
    eta_s: float


@final
class Job:
    """One experiment in a process of its own.

    Args:
        experiment: Experiment to run; the process must be able to load its data by name.
        out: Path of the folder of run folders.
        checkpoint_s: Number of seconds between checkpoints.

    Raises:
        InvalidTypeError: The data are arrays in this process.
        InvalidValueError: The experiment does not fit its data.

    Attributes:
        path: Path of the run folder, known before anything runs.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        out: str | Path = "runs",
        checkpoint_s: float = 60.0,
    ) -> None:
        planned = plan(experiment, out=out)
        self._set(planned.out / planned.runs[0].name, planned, checkpoint_s)

    def _set(self, path: Path, planned: Plan | None, checkpoint_s: float) -> None:
        self.path = path
        self._plan = planned
        self._process: subprocess.Popen[bytes] | None = None
        self._checkpoint_s = checkpoint_s
        self._sweep = path.parent / "sweeps" / path.name
        self._group = self._sweep / "groups" / path.name

    @classmethod
    def attach(cls, path: str | Path) -> Job:
        """Return the job of a run folder, running or not.

        Args:
            path: Path of the run folder.

        Raises:
            FileNotFoundError: There is no run.
        """
        job = cls.__new__(cls)
        job._set(Path(path).absolute(), None, 60.0)
        if not (job.path / "experiment.json").is_file() and not job._group.is_dir():
            raise FileNotFoundError(
                f"There is no run at {job.path} (no experiment.json). Choose a run folder, "
                "such as runs/<dataset>-ipc<k>-<method>-<hash>."
            )
        return job

    def __repr__(self) -> str:
        return f"Job({self.path.name!r}, {self.status.state})"

    # --- what it does ----------------------------------------------------------------

    def start(self) -> Job:
        """Start the run, or resume it; nothing happens if it runs or is done.

        Returns:
            The job itself.

        Raises:
            ValueError: The folder does not say where the data of its run are.
            OSError: The folder of the sweep cannot be written.
        """
        status = self.status
        if status.is_alive or status.state == "done":
            return self
        try:
            if self._plan is not None or not (self._sweep / "plan.json").is_file():
                write_plan(self._plan or self._stored_plan())
            write_jobs(Sweep.open(self._sweep), {"checkpoint_s": self._checkpoint_s})
            for name in (STOP, KILL):
                (self._sweep / name).unlink(missing_ok=True)
            self._process = start_worker(self._group, tied=False)
        except OSError as error:
            reason = error.strerror or str(error)
            raise type(error)(
                f"The folder {self._sweep} cannot be written: {reason}. Free some space "
                "or choose another out."
            ) from error
        return self

    def stop(self) -> None:
        """Stop the run with a checkpoint; call it again to end the process at once.

        What came after the last checkpoint is lost then.
        """
        if not self.status.is_alive:
            return
        if not self._worker.is_alive:  # another process runs it
            with contextlib.suppress(FileNotFoundError):
                (self.path / STOP).touch()
        elif (self._sweep / STOP).exists():
            (self._sweep / KILL).touch()
        else:
            (self._sweep / STOP).touch()

    def wait(self, timeout_s: float | None = None) -> JobStatus:
        """Return the status when the process has ended.

        Args:
            timeout_s: Largest number of seconds to wait; None for any number.

        Raises:
            TimeoutError: It runs longer.
        """
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while (status := self.status).is_alive:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"The run {self.path.name} still runs after {timeout_s:g} s "
                    f"(process {status.pid})."
                )
            time.sleep(_POLL_S)
        return status

    def raise_if_failed(self) -> None:
        """Raise if the run failed or diverged.

        Raises:
            JobFailedError: The message has the reason and the fix.
        """
        status = self.status
        if status.state in ("failed", "diverged"):
            raise JobFailedError(self.explain(status))

    # --- how it is -------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """The run, to be read.

        Raises:
            FileNotFoundError: It has not begun.
        """
        return Run.open(self.path)

    @property
    def status(self) -> JobStatus:
        """What is known of the run now."""
        run, worker = run_state(self.path), self._worker
        if run.state == "done":
            return JobStatus("done", None, "")
        if worker.is_alive or run.state == "running":
            folder = self._sweep if worker.is_alive else self.path
            if (folder / STOP).exists():
                return JobStatus("stopping", self._pid, "")
            state = "running" if run.state == "running" else "starting"
            return JobStatus(state, self._pid, "")
        if run.state != "diverged" and worker.state == "failed":
            return JobStatus("failed", None, worker.reason)
        return JobStatus(run.state, None, run.reason)

    @property
    def progress(self) -> JobProgress:
        """How far the run is."""
        run = run_state(self.path)
        steps = int((read_json(self.path / "experiment.json") or {}).get("steps", 0))
        speed = run.steps_per_s
        return JobProgress(
            step=run.step,
            steps=steps,
            fraction=run.step / steps if steps else 0.0,
            steps_per_s=speed,
            # The first step compiles and says nothing about the speed.
            eta_s=(steps - run.step) / speed
            if speed > 0 and run.step > 1
            else math.nan,
        )

    def explain(self, status: JobStatus) -> str:
        """Return why a run ended and what to do, on one line.

        Args:
            status: Status of the run.
        """
        result = read_result(self._group)
        code = DIVERGED if status.state == "diverged" else result.code if result else 0
        fix = _FIXES.get(code, _RESUME)
        return (
            f"The run {self.path.name} {status.state} at step {self.progress.step}: "
            f"{status.reason} {fix}"
        )

    # --- pieces ----------------------------------------------------------------------

    @property
    def _worker(self) -> GroupState:
        code = None if self._process is None else self._process.poll()
        if code is not None:
            settle(self._group, code)
        return group_state(self._group)

    @property
    def _pid(self) -> int | None:
        for folder in (self._group, self.path):
            holder = read_json(folder / HOLDER)
            if holder is not None:
                return int(holder["pid"])
        return None

    def _stored_plan(self) -> Plan:
        """Return the plan of a run that another process has made."""
        stored = read_json(self.path / "experiment.json")
        if stored is None:
            raise ValueError(
                f"The run folder {self.path} does not say what its run is. Start it "
                "with Job(experiment, out=...)."
            )
        planned = plan(experiment_from(stored), out=self.path.parent)
        if planned.runs[0].name != self.path.name:
            raise ValueError(
                f"The data of {self.path.name} must be found by name alone, got data "
                f"that make it {planned.runs[0].name}. Start it with "
                "Job(experiment, out=...), where the experiment says source, root or limit."
            )
        return dataclasses.replace(planned, name=self.path.name)


def runs_in(folder: str | Path) -> list[Job]:
    """Return the jobs of all runs in a folder, by name.

    Args:
        folder: Path of the folder of run folders, which may be missing.
    """
    there = Path(folder)
    names = {path.parent.name for path in there.glob("*/experiment.json")}
    names |= {
        sweep.name for sweep in sweeps_in(there) if list(sweep.groups) == [sweep.name]
    }
    return [Job.attach(there / name) for name in sorted(names)]
