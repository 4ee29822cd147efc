"""Runs in child processes: real ones of two seconds, and stand-ins of no time."""

from __future__ import annotations

import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import tiny

from isa_toolkit.distillation import Experiment
from isa_toolkit.sweeps import Job


def long_run(**changes: Any) -> Experiment:
    """Return about two seconds of steps, a thousand a second, with a validation in each."""
    settings = {"steps": 2500, "validation_every": 500, "log_every": 50}
    return tiny(**{**settings, **changes})


def wait_for(condition: Callable[[], Any], timeout_s: float = 90.0) -> None:
    """Return when a condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> Job:
    """Let jobs start a shell script in the place of Python; ``$RUN`` is the run folder."""
    script = tmp_path / "child"
    script.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))
    made = Job(tiny(), out=tmp_path / "runs")
    monkeypatch.setenv("RUN", str(made.path))
    return made
