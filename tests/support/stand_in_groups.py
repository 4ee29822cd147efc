"""Sweeps whose processes are shell scripts of no time."""

from __future__ import annotations

import dataclasses
import functools
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import tiny

from isa_toolkit.sweeps import Plan, Sweep, launch, plan

# What a script can say: $FOLDER is the group's, $RUN the folder of its first run.
DONE = (
    'mkdir -p $RUN; echo "{}" > $RUN/experiment.json; touch $RUN/distilled.safetensors'
)
DIVERGED = (
    'mkdir -p $RUN; echo "{}" > $RUN/experiment.json; '
    'echo \'{"status": "failed", "step": 3, "diverged": true, "reason": "NaN at 3."}\' '
    "> $RUN/status.json"
)


def result(code: int, reason: str) -> str:
    """Return the line that leaves a result and ends."""
    said = f'{{"code": {code}, "reason": "{reason}"}}'
    return f"echo '{said}' > $FOLDER/result.json; exit {code}"


@functools.cache
def _three() -> Plan:
    return plan(tiny(), seeds=range(3), out="nowhere", name="three")


def three(out: Path) -> Plan:
    """Return a plan of three runs, each a group of its own."""
    return dataclasses.replace(_three(), out=out)


def stand_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str
) -> Callable[..., Sweep]:
    """Let a shell script run the groups of ``three``; return what launches it.

    ``$SEED`` is the place of the group in the plan.
    """
    made = three(tmp_path / "runs")
    cases = "\n".join(
        f"  {run.name}) SEED={place};;" for place, run in enumerate(made.runs)
    )
    tmp_path.mkdir(exist_ok=True)
    script = tmp_path / "child"
    head = [
        "#!/bin/sh", "FOLDER=$5", "NAME=$(basename $FOLDER)",
        "RUN=$FOLDER/../../../../$NAME", "case $NAME in", cases, "esac",
    ]  # fmt: skip
    script.write_text("\n".join([*head, *lines]) + "\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))

    def start(**settings: Any) -> Sweep:
        return launch(made, **{"slots": 1, "progress": False, **settings})

    return start


class Background:
    """A launch in a thread, which hears no signals; a failure is raised by ``join``."""

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
    return [row["state"] for row in sweep.rows()]


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or one that waits to be reaped."""
    from isa_toolkit.sweeps import process

    return not process.exists(pid)


def last_checkpoint(path: Path) -> int:
    """Return the step of the last whole checkpoint of a run that may be writing one."""
    there = (path / "checkpoints").iterdir()
    return max(int(one.name) for one in there if one.name.isdigit())
