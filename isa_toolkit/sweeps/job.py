"""One run in a process of its own, for notebooks: a sweep of one group.

The process outlives the kernel; any kernel finds it again through its folders.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import final

from isa_toolkit.annotations import typed
from isa_toolkit.distillation import Experiment, Run
from isa_toolkit.errors import InvalidValueError, IsaError
from isa_toolkit.sweeps.plan import plan
from isa_toolkit.sweeps.states import KILL, STOP, RunStatus, run_status, worker_state
from isa_toolkit.sweeps.sweep import Plan, Sweep, sweeps_in, wait_while, write
from isa_toolkit.sweeps.worker import Worker


class JobFailedError(IsaError, RuntimeError):
    """The process of a run ended early; the message says why and what to do."""


@typed
@final
class Job:
    """One experiment in a process of its own.

    Args:
        experiment: Experiment to run; the process must be able to load its data by name.
        out: Path of the folder of run folders.

    Attributes:
        path: Path of the run folder, known before anything runs.
    """

    def __init__(self, experiment: Experiment, *, out: str | Path = "runs") -> None:
        self._set(plan(experiment, out=out))

    def _set(self, planned: Plan) -> None:
        self._plan, self.path = planned, planned.out / planned.name
        self._group = planned.group_path(planned.name)
        self._worker: Worker | None = None

    @classmethod
    def attach(cls, path: str | Path) -> Job:
        """Return the job of a run folder, or raise ``FileNotFoundError``."""
        path, job = Path(path).absolute(), cls.__new__(cls)
        job._set(Plan(path.name, path.parent, runs=()))
        if not (path / "experiment.json").is_file() and not job._group.is_dir():
            raise FileNotFoundError(
                f"There is no run at {path} (no experiment.json). Choose a run folder, "
                "such as runs/<dataset>-ipc<k>-<method>-<hash>."
            )
        return job

    def __repr__(self) -> str:
        return f"Job({self.path.name!r}, {self.status.state})"

    def start(self) -> Job:
        """Start the run, or resume it; nothing happens if it runs or is done."""
        status = self.status
        if not status.is_alive and status.state != "done":
            write(self._plan if self._plan.runs else self._stored_plan())
            self._worker = Worker(self._group, tied=False)
        return self

    def stop(self) -> None:
        """Stop the run with a checkpoint; call it again to end the process at once."""
        sweep = self._plan.path
        if worker_state(self._group)[0] in ("starting", "running"):
            (sweep / (KILL if (sweep / STOP).exists() else STOP)).touch()
        elif self.status.is_alive:  # another process runs it
            with contextlib.suppress(FileNotFoundError):
                (self.path / STOP).touch()

    def wait(self, timeout_s: float | None = None) -> RunStatus:
        """Return the status when the process has ended, or raise ``TimeoutError``."""
        name = f"The run {self.path.name}"
        wait_while(lambda: self.status.is_alive, name, timeout_s)
        return self.status

    def raise_if_failed(self) -> None:
        """Raise ``JobFailedError`` with the reason and the fix if the run failed."""
        state, step, *_ = status = self.status
        if state in ("failed", "diverged"):
            text = f"The run {self.path.name} {state} at step {step}: {status.reason}"
            if state == "failed":
                text += " Resume starts it from its last checkpoint."
            raise JobFailedError(text)

    @property
    def run(self) -> Run:
        """The run, to be read; ``FileNotFoundError`` if it has not begun."""
        return Run.open(self.path)

    @property
    def status(self) -> RunStatus:
        """What is known of the run now."""
        if self._worker is not None:
            self._worker.poll()
        return run_status(self.path, self._group)

    def _stored_plan(self) -> Plan:
        """Return the plan of a run that another process has made."""
        with contextlib.suppress(FileNotFoundError):
            return Sweep(self._plan.path).plan
        stored = Experiment.from_description(self.run.experiment)
        planned = plan(stored, out=self.path.parent)
        if planned.name != self.path.name:
            raise InvalidValueError(
                f"The data of {self.path.name} must be found by name alone, got data "
                f"that make it {planned.name}. Start it with Job(experiment, out=...), "
                "where the experiment says source, root or limit."
            )
        return planned


@typed
def runs_in(folder: str | Path) -> list[Job]:
    """Return the jobs of all runs in a folder, by name; the folder may be missing."""
    names = {path.parent.name for path in Path(folder).glob("*/experiment.json")}
    alone = [one for one in sweeps_in(folder) if list(one.plan.groups) == [one.name]]
    names |= {one.name for one in alone}
    return [Job.attach(Path(folder) / name) for name in sorted(names)]
