"""Runs in processes of their own that last two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tiny_run import tiny

from isa_toolkit.distillation import Experiment


def long_run(**changes: Any) -> Experiment:
    """Return about two seconds of steps, a thousand a second, with a validation in each."""
    settings = {"steps": 2500, "validation_every": 500, "log_every": 50}
    return tiny(**{**settings, **changes})


def endless(**changes: Any) -> Experiment:
    """Return a run that does not end by itself."""
    return long_run(steps=10_000_000, validation_every=0, selection="last", **changes)


def wait_for(condition: Callable[[], Any], timeout_s: float = 120.0) -> Any:
    """Return the value of a condition when it is true."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return value
