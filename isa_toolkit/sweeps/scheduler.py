"""The loop of a sweep: groups wait, get a slot, end, and are queued again if they died.

Everything it knows is in files, so it can be killed: what it has started goes on, and the
next one takes it over.
"""

from __future__ import annotations

import collections
import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from isa_toolkit.distillation.signals import StopRequest
from isa_toolkit.distillation.store import now
from isa_toolkit.files import write_json
from isa_toolkit.sweeps.children import LOG, Backend, Child
from isa_toolkit.sweeps.folder import KILL, STATUS, STOP, Sweep
from isa_toolkit.sweeps.group import JOB, LOCKED, RESULT, USAGE, read_result
from isa_toolkit.sweeps.outcome import last_lines
from isa_toolkit.sweeps.states import FINAL, RunState, run_state

if TYPE_CHECKING:
    from isa_toolkit.sweeps.launching import LaunchSettings

__all__ = ["Scheduler", "Shown"]

_POLL_S = 0.1


@runtime_checkable
class Shown(Protocol):
    """Who is told how it goes."""

    def say(self, line: str) -> None:
        """Tell what has happened to a group."""
        ...

    def look(self) -> None:
        """Look how far the runs are; called several times a second."""
        ...


class _Going(NamedTuple):
    """A group that runs: its process, its slot, where its log begins, who started it."""

    child: Child
    slot: int
    log_begin: int
    is_taken_over: bool = False


class Scheduler:
    """The loop over the groups of a sweep.

    Args:
        sweep: its folder is held.
        backend: starts processes.
        settings: of the launch.
        request: whether this process is asked to stop.
        shown: told how it goes.
    """

    def __init__(
        self,
        sweep: Sweep,
        backend: Backend,
        settings: LaunchSettings,
        request: StopRequest,
        shown: Shown,
    ) -> None:
        self.sweep, self.backend, self.settings = sweep, backend, settings
        self.request, self.shown = request, shown
        self.queue: collections.deque[str] = collections.deque()
        self.going: dict[str, _Going] = {}
        # Deaths in this launch, and why, in all.
        self.deaths: collections.Counter[str] = collections.Counter()
        self.told: dict[str, dict[str, Any]] = {}
        # 0: nobody has asked to stop, 1: asked, 2: killed.
        self.asked = 0

    def run(self) -> None:
        """Bring every group to its end, or all to a stop.

        Raises:
            OSError: the folder cannot be written, or no process be started; those that
                run are asked to end with a checkpoint.
        """
        try:
            self._write_state("running")
            for group in self.sweep.groups:
                self._enter(group)
            while self.queue or self.going:
                self._heed()
                self._fill()
                for group in list(self.going):
                    if not self.going[group].child.is_alive:
                        self._ended(group)
                self.shown.look()
                if self.going:
                    time.sleep(_POLL_S)
        except KeyboardInterrupt:
            while self.queue or self.going:  # more signals change nothing
                with contextlib.suppress(KeyboardInterrupt):
                    self._kill()
        except BaseException:
            (self.sweep.path / STOP).touch()
            for going in self.going.values():
                going.child.ask()
            raise
        self.shown.look()
        states = {told["state"] for told in self.told.values()}
        self._write_state(
            next((one for one in ("stopped", "failed") if one in states), "done")
        )

    # --- steps of the loop -----------------------------------------------------------

    def _enter(self, group: str) -> None:
        """Queue a group, take over its process, or leave it as it is."""
        folder = self.sweep.group_path(group)
        told = self.sweep.group_status(group)
        self.told[group] = {"attempts": 0, "reasons": [], **told}
        child = self.backend.find(folder, told)
        if child is not None:
            taken = {going.slot for going in self.going.values()}
            slot = int(told.get("slot", 0))
            if slot in taken or slot >= self.backend.slots:
                slot = -1 - len(taken)  # of no number: it takes nobody's place
            self.going[group] = _Going(child, slot, _size(folder / LOG), True)
            self.shown.say(f"{group}: goes on, taken over")
            return
        states = self._states(group)
        if all(one.state in FINAL for one in states):
            self._settle(group, states)
            return
        runs = [
            {name: run[name] for name in ("name", "hash", "where", "description")}
            for run in self.sweep.groups[group]
        ]
        job = {
            "runs": runs,
            "checkpoint_s": self.settings.checkpoint_s,
            "shards_limit_bytes": self.settings.shards_limit_bytes,
        }
        write_json(folder / JOB, job)
        self._tell(group, state="queued")
        self.queue.append(group)

    def _heed(self) -> None:
        """Do what was asked by a signal or a file."""
        if (self.sweep.path / KILL).exists():
            self._kill()
        elif not self.asked and (
            self.request.asked or (self.sweep.path / STOP).exists()
        ):
            self.asked = 1
            (self.sweep.path / STOP).touch()
            while self.queue:
                self._tell(self.queue.popleft(), state="stopped")
            for going in self.going.values():
                going.child.ask()
            if self.going:
                self.shown.say("stopping: checkpoints are written; once more kills")

    def _kill(self) -> None:
        """End all at once."""
        self.asked = 2
        (self.sweep.path / STOP).touch()
        while self.queue:
            self._tell(self.queue.popleft(), state="stopped")
        for group in list(self.going):
            self.going[group].child.kill()
            while self.going[group].child.is_alive:
                time.sleep(_POLL_S)
            self._ended(group)

    def _fill(self) -> None:
        """Start groups in free slots."""
        taken = {going.slot for going in self.going.values()}
        for slot in range(self.backend.slots):
            if slot in taken or not self.queue or len(self.going) >= self.backend.slots:
                continue
            group = self.queue.popleft()
            folder = self.sweep.group_path(group)
            (folder / RESULT).unlink(missing_ok=True)
            begin = _size(folder / LOG)
            child, found_by = self.backend.start(folder, slot)
            self.going[group] = _Going(child, slot, begin)
            self.told[group]["attempts"] += 1
            self._tell(
                group, state="running", slot=slot, begun_s=time.time(), **found_by
            )
            self.shown.say(f"{group}: started")

    def _ended(self, group: str) -> None:
        """Say how a group ended, or queue it again."""
        going = self.going.pop(group)
        folder, states = self.sweep.group_path(group), self._states(group)
        result = read_result(folder)
        if all(one.state in FINAL for one in states):
            self._settle(group, states)
            self.shown.say(f"{group}: {self.told[group]['state']}")
            return
        is_stopped = result is not None and result.code == 0
        if is_stopped and going.is_taken_over and not self.asked:
            self._tell(group, state="queued")  # it was asked before this launch
            self.queue.appendleft(group)
            return
        if self.asked or is_stopped:
            self._tell(group, state="stopped")
            self.shown.say(f"{group}: stopped, goes on when launched again")
            if self.settings.backend == "submitit-debug":
                self.request.asked = True  # it ran in this process and heard the signal
            return
        reason = result.reason if result else _death(folder, going)
        steps = [one.step for one in states if one.state not in FINAL]
        reason = (
            f"{reason} Checkpoint: step {' and '.join(map(str, sorted(set(steps))))}."
        )
        self.told[group]["reasons"].append(reason)
        self.deaths[group] += 1
        is_hopeless = result is not None and result.code in (USAGE, LOCKED)
        if is_hopeless or self.deaths[group] > self.settings.retries:
            self._tell(group, state="failed")
            self.shown.say(f"{group}: failed: {reason}")
        else:
            self._tell(group, state="queued")
            self.queue.appendleft(group)
            self.shown.say(f"{group}: {reason} It is started again.")

    # --- pieces ----------------------------------------------------------------------

    def _settle(self, group: str, states: list[RunState]) -> None:
        lost = any(one.state == "diverged" for one in states)
        self._tell(group, state="diverged" if lost else "done")

    def _states(self, group: str) -> list[RunState]:
        return [
            run_state(self.sweep.out / run["name"]) for run in self.sweep.groups[group]
        ]

    def _tell(self, group: str, **fields: Any) -> None:
        self.told[group] |= fields
        write_json(self.sweep.group_path(group) / STATUS, self.told[group])

    def _write_state(self, state: str) -> None:
        write_json(self.sweep.path / STATUS, {"state": state, "time": now()})


def _death(folder: Path, going: _Going) -> str:
    """Return why a process ended that said nothing in its result."""
    code = going.child.exit_code
    if code is not None and code < 0:
        return f"Its process was ended by {signal.Signals(-code).name}."
    lines = last_lines(folder / LOG, going.log_begin)
    said = f": {lines[-1]}" if lines else ""
    ended = "" if code is None else f" with exit code {code}"
    return f"Its process ended{ended}{said}."


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
