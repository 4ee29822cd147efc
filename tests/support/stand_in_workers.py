"""Sweeps whose workers are shell scripts of no time."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import tiny

from isa_toolkit.sweeps import Plan, Sweep, plan

# What a script can do: $FOLDER is the folder of the group, $RUN that of its first run.
BEGUN = "mkdir -p $RUN; echo '{\"steps\": 10}' > $RUN/experiment.json"
DONE = f"{BEGUN}; touch $RUN/distilled.safetensors"


def status(status: str, step: int, **more: Any) -> str:
    """Return the line that writes how far the run is."""
    values = {
        "status": status,
        "step": step,
        "steps": 10,
        "steps_per_s": 2,
        "elapsed_s": 1,
    }
    return f"echo '{json.dumps({**values, **more})}' > $RUN/status.json"


DIVERGED = f"{BEGUN}; {status('failed', 3, diverged=True, reason='NaN at 3.')}"
# Stops with a checkpoint, as far as a shell can.
WAITS = "while [ ! -e $FOLDER/../../STOP ]; do sleep 0.05; done"
HEARS_NOTHING = "trap '' TERM INT; while :; do sleep 0.05; done"


def result(code: int, reason: str) -> str:
    """Return the line that leaves a result and ends."""
    said = f'{{"code": {code}, "reason": "{reason}"}}'
    return f"echo '{said}' > $FOLDER/worker.json; exit {code}"


@functools.cache
def _three() -> Plan:
    return plan(tiny(), {"seed": range(3)}, out="nowhere", name="three")


def three(out: Path) -> Plan:
    """Return a plan of three runs, each a group of its own."""
    return dataclasses.replace(_three(), out=out)


def script(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let a shell script take the place of Python; ``$SEED`` is the seed of ``three``."""
    cases = "\n".join(
        f"  {run.name}) SEED={index};;" for index, run in enumerate(_three().runs)
    )
    folder.mkdir(exist_ok=True)
    path = folder / "child"
    head = [
        "#!/bin/sh", "FOLDER=$5", "NAME=$(basename $FOLDER)",
        "RUN=$FOLDER/../../../../$NAME", "case $NAME in", cases, "esac",
    ]  # fmt: skip
    path.write_text("\n".join([*head, *lines]) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(path))


def stand_ins(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str
) -> Callable[..., Sweep]:
    """Let a shell script run the groups of ``three``; return what launches it."""
    script(folder, monkeypatch, *lines)

    def start(**settings: Any) -> Sweep:
        chosen = {"slots": 1, "progress": False, **settings}
        return three(folder / "runs").run(**chosen)

    return start


class Background:
    """A launch in a thread, which gets no signals; ``join`` raises its error."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self.value: Any = None
        self._thread = threading.Thread(target=self._run, args=(start,), daemon=True)
        self._thread.start()

    def _run(self, start: Callable[[], Any]) -> None:
        try:
            self.value = start()
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def join(self, timeout_s: float = 120.0) -> Any:
        """Return what the launch returned."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the launch goes on"
        if self.error is not None:
            raise self.error
        return self.value


def states(sweep: Sweep) -> list[str]:
    """Return the state of each run."""
    return [status.state for status in sweep.plan.statuses()]


def reasons(sweep: Sweep) -> list[str]:
    """Return the reason of each run."""
    return [status.reason for status in sweep.plan.statuses()]


def worker_pids(path: Path, group: str = "") -> list[int]:
    """Return the workers of a sweep, or of one group, found by their command lines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"sweep worker {path}/groups/{group}" in text:
            found.append(int(process.name))
    return found


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or one that waits to be reaped."""
    try:
        os.kill(pid, 0)
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def last_checkpoint(path: Path) -> int:
    """Return the step of the last whole checkpoint of a run that may be writing one."""
    there = (path / "checkpoints").iterdir()
    return max(int(one.name) for one in there if one.name.isdigit())
