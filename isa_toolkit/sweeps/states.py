"""How far a run and the worker of a group are, read from their folders alone."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from isa_toolkit.distillation.checkpoints import stored_steps
from isa_toolkit.distillation.store import STATUS, is_locked
from isa_toolkit.errors import DIVERGED, OK
from isa_toolkit.files import NUMBER, fits, read_json

State = Literal[
    "new", "queued", "starting", "running", "stopping", "stopped", "done", "failed",
    "diverged",
]  # fmt: skip
# Starting a run in one of these states again changes nothing.
FINAL: tuple[State, ...] = ("done", "diverged")
ALIVE: tuple[State, ...] = ("starting", "running", "stopping")

STOP, KILL, LOG, WORKER = "STOP", "KILL", "log.txt", "worker.json"
# Schema of what a worker leaves when it has ended.
RESULT = {"code": int, "reason": str}
# The first line of each start of a process in its log begins with this.
START_MARK = "--- started"
# Python and JAX take some seconds to import before a worker can lock its folder.
_STARTUP_S = 60.0


class RunStatus(NamedTuple):
    """How far a run is.

    Attributes:
        state: One of ``State``.
        step: Number of steps taken; of a run that does not run, that of its last checkpoint.
        steps: Number of steps of the whole run; 0 if not known yet.
        steps_per_s: Steps per second of the last chunk; 0 if not known.
        reason: Why it failed or diverged; else empty.
        pid: Number of the process that works on it; None if it is not known.
    """

    state: State
    step: int = 0
    steps: int = 0
    steps_per_s: float = 0.0
    reason: str = ""
    pid: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the run."""
        return self.state in ALIVE

    @property
    def fraction(self) -> float:
        """Fraction of the steps that are taken, from 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    @property
    def eta_s(self) -> float:
        """Number of seconds left at the present speed; NaN if unknown."""
        left = self.steps - self.step
        return left / self.steps_per_s if self.steps_per_s else math.nan


def run_status(run: Path, group: Path | None = None) -> RunStatus:
    """Return how far a run is, from its folder and its group's; both may be missing."""
    experiment = read_json(run / "experiment.json", {"steps": int})
    status = read_json(run / "status.json", STATUS) or {}
    has_begun, reason = experiment is not None, str(status.get("reason", ""))
    first = (experiment or {}).get("start_step")
    saved = stored_steps(run / "checkpoints") or [
        first if isinstance(first, int) else 0
    ]
    found = RunStatus("new", saved[-1], (experiment or {}).get("steps", 0))
    worker, failure = worker_state(group) if group else ("new", "")
    if has_begun and (run / "distilled.safetensors").is_file():
        # Written after the last step, and before the status that says so.
        return found._replace(state="done", step=found.steps)
    if has_begun and is_locked(run):
        step, speed = status.get("step", 0), status.get("steps_per_s", 0.0)
        pid = (read_json(run / "holder.json", {"pid": int}) or {}).get("pid")
        found = RunStatus("running", step, found.steps, speed, pid=pid)
    elif status.get("diverged"):
        return found._replace(state="diverged", step=status["step"], reason=reason)
    elif worker in ("starting", "running"):
        found = found._replace(state="starting")
    elif worker in ("failed", "queued"):
        return found._replace(state=worker, reason=failure)
    elif has_begun:
        state = status.get("status")
        state = state if state in get_args(State) else "stopped"
        found = found._replace(state=state, reason=reason)
        if found.state in ("running", "done"):
            reason = "Its process ended without a result."
            return found._replace(state="failed", reason=reason)
    folders = [run, *([group.parents[1]] if group else [])]
    if found.is_alive and any((folder / STOP).exists() for folder in folders):
        return found._replace(state="stopping")
    return found


def worker_state(group: Path) -> tuple[str, str]:
    """Return how the worker of a group is, and why it failed; the folder may be missing.

    The state is new, queued, starting, running, ended or failed.
    """
    if is_locked(group):
        return "running", ""
    found, sweep = read_json(group / WORKER) or {}, group.parents[1]
    if fits(found, RESULT):
        state = "ended" if found["code"] in (OK, DIVERGED) else "failed"
        return state, found["reason"]
    state = found.get("state")
    if state == "queued":
        # Slurm keeps its queue without a process of ours.
        is_kept = found.get("outlives_us") or is_locked(sweep)
        state = "queued" if is_kept and not (sweep / STOP).exists() else "new"
    began = found["time"] if fits(found, {"time": NUMBER}) else 0.0
    is_late = state == "starting" and time.time() - began > _STARTUP_S
    if state != "running" and not is_late:
        return state if state in ("queued", "starting") else "new", ""
    how = last_line(group / LOG) or "it was killed, perhaps because the memory was full"
    return "failed", f"Its process ended without a result: {how}."


def last_line(log: Path) -> str:
    """Return the last line that a process has printed into its log; empty if none.

    Warnings are no reason to end, and are left out.
    """
    if not log.is_file():
        return ""
    text = log.read_text("utf-8", errors="replace").rpartition(START_MARK)[2]
    lines = [
        line
        for line in text.splitlines()[1:]
        if line.strip() and not line.startswith("isa-toolkit: warning")
    ]
    return lines[-1] if lines else ""
