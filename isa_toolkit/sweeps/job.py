"""One run in a process of its own, for notebooks: a sweep of one group.

The process outlives the kernel; any kernel finds it again through its folders.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import time
from pathlib import Path
from typing import NamedTuple, final

from isa_toolkit.distillation import Experiment, Run
from isa_toolkit.errors import IsaError
from isa_toolkit.files import read_json
from isa_toolkit.sweeps.plan import Plan, plan
from isa_toolkit.sweeps.states import HOLDER, RESULT, GroupState, group_state, run_state
from isa_toolkit.sweeps.sweep import Sweep, sweeps_in, write
from isa_toolkit.sweeps.worker import (
    KILL,
    LOCKED,
    STOP,
    USAGE,
    settle,
    start_worker,
)

__all__ = ["Job", "JobFailedError", "JobStatus", "runs_in"]

_POLL_S = 0.05
_FIXES = {
    USAGE: "Correct the setting that it names and start again.",
    LOCKED: "Attach to the run instead of starting it.",
}


class JobFailedError(IsaError, RuntimeError):
    """The process of a run ended early; the message says why and what to do."""


class JobStatus(NamedTuple):
    """What is known of a job.

    Attributes:
        state: new, starting, running, stopping, stopped, done, failed or diverged.
        step: Number of steps taken.
        steps: Number of steps of the whole run; 0 if not known yet.
        steps_per_s: Steps per second of the last chunk; 0 if not known yet.
        pid: Number of the process that works on it; None if it is not known.
        reason: Why it failed or diverged; else empty.
    """

    state: str
    step: int
    steps: int
    steps_per_s: float
    pid: int | None
    reason: str

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the run."""
        return self.state in ("starting", "running", "stopping")

    @property
    def fraction(self) -> float:
        """Fraction of the steps that are taken, from 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    @property
    def eta_s(self) -> float:
        """Number of seconds left at the present speed; NaN if unknown."""
        # The first step compiles and says nothing about the speed.
        is_known = self.steps_per_s > 0 and self.step > 1
        return (self.steps - self.step) / self.steps_per_s if is_known else math.nan


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

    def _set(
        self, path: Path, planned: Plan | None = None, checkpoint_s: float = 60.0
    ) -> None:
        self.path, self._plan, self._checkpoint_s = path, planned, checkpoint_s
        self._sweep = path.parent / "sweeps" / path.name
        self._group = self._sweep / "groups" / path.name
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def attach(cls, path: str | Path) -> Job:
        """Return the job of a run folder, running or not.

        Raises:
            FileNotFoundError: There is no run.
        """
        job = cls.__new__(cls)
        job._set(Path(path).absolute())
        if not (job.path / "experiment.json").is_file() and not job._group.is_dir():
            raise FileNotFoundError(
                f"There is no run at {job.path} (no experiment.json). Choose a run folder, "
                "such as runs/<dataset>-ipc<k>-<method>-<hash>."
            )
        return job

    def __repr__(self) -> str:
        return f"Job({self.path.name!r}, {self.status.state})"

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
            write(self._planned(), {"checkpoint_s": self._checkpoint_s})
            self._process = start_worker(self._group, tied=False)
        except OSError as error:
            raise type(error)(
                f"The folder {self._sweep} cannot be written: {error.strerror or error}. "
                "Free some space or choose another out."
            ) from error
        return self

    def stop(self) -> None:
        """Stop the run with a checkpoint; call it again to end the process at once.

        What came after the last checkpoint is lost then.
        """
        if self._worker.is_alive:
            name = KILL if (self._sweep / STOP).exists() else STOP
            (self._sweep / name).touch()
        elif self.status.is_alive:  # another process runs it
            with contextlib.suppress(FileNotFoundError):
                (self.path / STOP).touch()

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
                    f"The run {self.path.name} still runs after {timeout_s:g} s."
                )
            time.sleep(_POLL_S)
        return status

    def raise_if_failed(self) -> None:
        """Raise ``JobFailedError`` with the reason and the fix if the run failed."""
        status = self.status
        if status.state not in ("failed", "diverged"):
            return
        result = read_json(self._group / RESULT) or {"code": 0}
        fix = _FIXES.get(result["code"], "")
        if status.state == "failed":
            fix = fix or "Resume starts it from its last checkpoint."
        raise JobFailedError(
            f"The run {self.path.name} {status.state} at step {status.step}: "
            f"{status.reason} {fix}".strip()
        )

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
        state, reason, pid = str(run.state), run.reason, None
        if state != "done" and (worker.is_alive or state == "running"):
            folder, holder = self.path, self.path
            if worker.is_alive:
                folder, holder = self._sweep, self._group
            state = "running" if state == "running" else "starting"
            state = "stopping" if (folder / STOP).exists() else state
            pid = (read_json(holder / HOLDER) or {}).get("pid")
        elif state not in ("done", "diverged") and worker.state == "failed":
            state, reason = "failed", worker.reason
        steps = int((read_json(self.path / "experiment.json") or {}).get("steps", 0))
        return JobStatus(state, run.step, steps, run.steps_per_s, pid, reason)

    @property
    def _worker(self) -> GroupState:
        code = None if self._process is None else self._process.poll()
        if code is not None:
            settle(self._group, code)
        return group_state(self._group)

    def _planned(self) -> Plan:
        """Return the plan of the run, also of one that another process has made."""
        if self._plan is not None:
            return self._plan
        with contextlib.suppress(FileNotFoundError):
            return Sweep.open(self._sweep).plan
        stored = read_json(self.path / "experiment.json") or {}
        planned = plan(Experiment.from_description(stored), out=self.path.parent)
        if planned.name != self.path.name:
            raise ValueError(
                f"The data of {self.path.name} must be found by name alone, got data "
                f"that make it {planned.name}. Start it with Job(experiment, out=...), "
                "where the experiment says source, root or limit."
            )
        return planned


def runs_in(folder: str | Path) -> list[Job]:
    """Return the jobs of all runs in a folder, by name; the folder may be missing."""
    there = Path(folder)
    names = {path.parent.name for path in there.glob("*/experiment.json")}
    names |= {
        one.name for one in sweeps_in(there) if list(one.plan.groups) == [one.name]
    }
    return [Job.attach(there / name) for name in sorted(names)]
