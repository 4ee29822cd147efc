"""A sweep as it lies on the disk: any process can read it, and ask it to stop.

``<out>/sweeps/<name>/``: ``plan.json`` (which runs in which groups), ``launch.json`` (how they
are run), ``status.json`` (of the scheduler), ``groups/<group>/`` with ``job.json``,
``status.json`` and ``log.txt``. How far a run is stands in its own folder. A file ``STOP``
asks all to end with a checkpoint, ``KILL`` ends them at once.
"""

from __future__ import annotations

import math
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit.distillation import Run, RunLockedError
from isa_toolkit.distillation.store import is_held
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps import process
from isa_toolkit.sweeps.plans import Plan
from isa_toolkit.sweeps.states import FINAL, run_state

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sweep", "SweepLockedError", "sweeps_in"]

PLAN, LAUNCH, STATUS, STOP, KILL = (
    "plan.json", "launch.json", "status.json", "STOP", "KILL",
)  # fmt: skip
_POLL_S = 0.1
# A child that has not said anything yet is one if it is younger than this.
_YOUNG_S = 120.0


class SweepLockedError(RunLockedError):
    """Another scheduler is working on the sweep."""


class Sweep:
    """One sweep.

    Args:
        path: of its folder.

    Raises:
        FileNotFoundError: there is no sweep there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        stored = read_json(self.path / PLAN)
        if stored is None:
            raise FileNotFoundError(
                f"There is no sweep at {self.path} (no {PLAN}). Choose a folder such as "
                "runs/sweeps/<name>."
            )
        self._plan = stored

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, {self.state})"

    @classmethod
    def open(cls, path: str | Path) -> Sweep:
        """Return the sweep in a folder.

        Args:
            path: of its folder.

        Raises:
            FileNotFoundError: there is no sweep there.
        """
        return cls(path)

    # --- what is in it ---------------------------------------------------------------

    @property
    def name(self) -> str:
        """Return the name of the sweep."""
        return self.path.name

    @property
    def out(self) -> Path:
        """Return the folder of its run folders."""
        return self.path.parents[1]

    @property
    def runs(self) -> list[Run]:
        """Return the runs that have begun, in the order of the plan."""
        paths = [self.out / run["name"] for run in self._plan["runs"]]
        return [Run.open(one) for one in paths if (one / "experiment.json").is_file()]

    @property
    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return the planned runs of each group, by its name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for run in self._plan["runs"]:
            found.setdefault(run["group"], []).append(run)
        return found

    def group_path(self, group: str) -> Path:
        """Return the folder of a group.

        Args:
            group: its name.
        """
        return self.path / "groups" / group

    def group_status(self, group: str) -> dict[str, Any]:
        """Return the last that was said of a group; empty if nothing was.

        Keys: state (queued, running, done, diverged, stopped, failed), attempts, reasons
        (of all attempts that failed), pid, host, job, slot.

        Args:
            group: its name.
        """
        return read_json(self.group_path(group) / STATUS) or {}

    # --- how it goes -----------------------------------------------------------------

    @property
    def scheduler(self) -> int | None:
        """Return the process that works on the sweep, or None."""
        holder = read_json(self.path / "holder.json")
        if holder is None:
            return None
        pid = int(holder["pid"])
        is_here = holder.get("host") == socket.gethostname()
        if is_here and not process.is_running(pid):
            return None
        # Also of another machine: its name may be that of a container that is gone.
        return pid if is_held(self.path) else None

    @property
    def children(self) -> dict[str, int]:
        """Return the processes on this machine that run a group, by its name."""
        found = {}
        for group in self.groups:
            pid = child_pid(self.group_path(group))
            if pid is not None:
                found[group] = pid
        return found

    @property
    def is_at_work(self) -> bool:
        """Whether a scheduler or a run is there, on whatever machine."""
        return self.scheduler is not None or bool(self.children) or self._runs_elsewhere

    @property
    def _runs_elsewhere(self) -> bool:
        """Whether a run works that may have no scheduler, such as a job of a cluster."""
        # Of a sweep that was never launched it is somebody's own run.
        return (self.path / STATUS).is_file() and any(
            run_state(self.out / run["name"]).state == "running"
            for run in self._plan["runs"]
        )

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether somebody has asked it to stop."""
        return (self.path / STOP).exists()

    @property
    def state(self) -> str:
        """Return the state of the whole.

        "planned", "running", "stopping", "done" (every run is done or diverged), "stopped",
        "failed" (some runs have failed for good), "unattended" (its scheduler is gone, its
        processes go on) or "killed" (both are gone).
        """
        if self.scheduler is not None:
            return "stopping" if self.is_asked_to_stop else "running"
        if self.is_at_work:
            return "stopping" if self.is_asked_to_stop else "unattended"
        states = [run_state(self.out / run["name"]) for run in self._plan["runs"]]
        if all(one.state in FINAL for one in states):
            return "done"
        told = (read_json(self.path / STATUS) or {}).get("state")
        return {None: "planned", "running": "killed"}.get(told, str(told))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what is known of each run now, JSON-able, in the order of the plan.

        Keys: run, group, state (planned, queued, running, done, diverged, stopped, failed,
        killed), differs, seed, step, steps, steps_per_s (None if not known), eta_s (at
        that speed; None), attempts (of its group), reason.
        """
        children, scheduled = self.children, self.scheduler is not None
        for group, runs in self.groups.items():
            told = self.group_status(group)
            state = told.get("state", "planned")
            if state in ("running", "queued") and not scheduled:
                state = "running" if group in children else self._end(group)
            for run in runs:
                found = run_state(self.out / run["name"])
                mine = found.state if found.state in (*FINAL, "running") else state
                if mine == "done" and found.state != "done":
                    mine = "stopped"  # its files were changed afterwards
                steps = int(run["description"]["steps"])
                speed = found.steps_per_s if mine == "running" else 0.0
                reason = found.reason if mine == "diverged" else ""
                if mine in ("failed", "queued"):
                    reason = next(iter(told.get("reasons", [])[-1:]), "")
                yield {
                    "run": run["name"],
                    "group": group,
                    "state": mine,
                    "differs": run["differs"],
                    "seed": int(run["description"]["seed"]),
                    "step": found.step,
                    "steps": steps,
                    "steps_per_s": speed or None,
                    "eta_s": (steps - found.step) / speed if speed else None,
                    "attempts": int(told.get("attempts", 0)),
                    "reason": reason,
                }

    def _end(self, group: str) -> str:
        """Return how a group ended of which no scheduler has said so."""
        result = read_json(self.group_path(group) / "result.json") or {}
        is_asked = result.get("code") == 0 or self.is_asked_to_stop
        return "stopped" if is_asked else "killed"

    def table(self) -> pd.DataFrame:
        """Return one row per run, see ``rows``; unknown numbers are NaN."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows()))
        speeds = ["steps_per_s", "eta_s"]
        return frame.astype(dict.fromkeys(speeds, float))

    def as_json(self) -> dict[str, Any]:
        """Return the state of the whole and of each run, JSON-able."""
        return {
            "sweep": str(self.path),
            "state": self.state,
            "scheduler": self.scheduler,
            "runs": list(self.rows()),
        }

    # --- what is asked of it ---------------------------------------------------------

    def cancel(self) -> None:
        """Ask all runs to end with a checkpoint, and start no more; again: kill them.

        Without a scheduler the processes on this machine are signalled directly; those
        elsewhere, also jobs that still wait, see the file ``STOP``. Nothing happens if
        nothing runs or waits.

        Raises:
            OSError: the folder cannot be written.
        """
        waits = self.state not in ("done", "stopped") and any(
            "job" in self.group_status(group) for group in self.groups
        )
        if not (self.is_at_work or waits):
            return
        again = self.is_asked_to_stop
        (self.path / (KILL if again else STOP)).touch()
        if self.scheduler is None:
            number = signal.SIGKILL if again else signal.SIGTERM
            for pid in self.children.values():
                process.send(pid, number)
            write_json(self.path / STATUS, {"state": "stopped"})

    def wait(self, timeout_s: float | None = None) -> str:
        """Return the state when nothing works on the sweep any more.

        Args:
            timeout_s: seconds to wait at most; None for any number.

        Raises:
            TimeoutError: it goes on.
        """
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self.is_at_work:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"The sweep {self.name} goes on after {timeout_s:g} s."
                )
            time.sleep(_POLL_S)
        return self.state


def write_plan(plan: Plan) -> None:
    """Write a plan into its folder, which must be held.

    What an earlier launch has left there stays: groups have names of their own.

    Args:
        plan: what to run.

    Raises:
        OSError: the folder cannot be written.
    """
    names = ("name", "hash", "group", "where", "differs", "description")
    runs = [{name: getattr(run, name) for name in names} for run in plan.runs]
    write_json(plan.path / PLAN, {"name": plan.name, "runs": runs})


def child_pid(folder: Path) -> int | None:
    """Return the process on this machine that runs a group, or None.

    Args:
        folder: of the group.
    """
    here = socket.gethostname()
    # It holds the folder itself, once Python has started ...
    holder = read_json(folder / "holder.json") or {}
    if holder.get("host") == here and process.is_running(int(holder["pid"])):
        return int(holder["pid"]) if is_held(folder) else None
    # ... until then its number is known from whoever has started it.
    told = read_json(folder / STATUS) or {}
    if told.get("state") != "running" or told.get("host") != here:
        return None
    pid, age_s = told.get("pid"), time.time() - float(told.get("begun_s", 0))
    is_new = age_s < _YOUNG_S and not (folder / "result.json").exists()
    return int(pid) if pid and is_new and process.is_running(int(pid)) else None


def sweeps_in(out: str | Path) -> list[Sweep]:
    """Return all sweeps of a folder of run folders, by name.

    Args:
        out: the folder; it may be missing.
    """
    found = sorted((Path(out) / "sweeps").glob(f"*/{PLAN}"))
    return [Sweep.open(path.parent) for path in found]


def refusal(path: Path) -> Callable[[str], SweepLockedError]:
    """Return what makes the error for a sweep that is worked on, from who does so.

    Args:
        path: of the sweep.
    """

    def refuse(holder: str) -> SweepLockedError:
        return SweepLockedError(
            f"The sweep {path.name} is run by {holder}. Wait for it, or end it with: "
            f"isa-toolkit sweep --cancel {path}"
        )

    return refuse
