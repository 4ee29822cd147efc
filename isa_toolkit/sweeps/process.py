"""Child processes of the toolkit: started, signalled, and whether one is there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import isa_toolkit

__all__ = [
    "environment",
    "exists",
    "exit_code",
    "is_child",
    "is_running",
    "reap",
    "send",
    "spawn",
]

# Children of this process, so that they are reaped and their exit codes known, also by
# a job that attached to them.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


def spawn(
    words: list[str], log: Path, more: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Start ``python -m isa_toolkit`` apart from this process and its terminal.

    Args:
        words: after the program's name.
        log: what it prints is appended to this file.
        more: variables of its own environment.

    Returns:
        The number of the process. A signal to our own group does not reach it.

    Raises:
        OSError: the log cannot be written, or no process be started.
    """
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "isa_toolkit", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**environment(), **more},
            start_new_session=True,
        )
    _CHILDREN[child.pid] = child
    return child.pid


def is_child(pid: int | None) -> bool:
    """Whether this process started it."""
    return pid in _CHILDREN


def exit_code(pid: int) -> int | None:
    """Return how a child ended, negative for a signal; None while it runs."""
    return _CHILDREN[pid].poll()


def reap(pid: int) -> None:
    """Wait for the end of a process, if it is a child of this one."""
    if pid in _CHILDREN:
        _CHILDREN[pid].wait()


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has ended gets none."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def exists(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] != "Z"


def is_running(pid: int) -> bool:
    """Whether a process runs, a child of this one or not."""
    return exit_code(pid) is None if is_child(pid) else exists(pid)


def environment() -> dict[str, str]:
    """Return a child's environment: our code, no grab of the GPU, no window."""
    home = str(Path(isa_toolkit.__file__).parents[1])
    known = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{home}{os.pathsep}{known}" if known else home,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "MPLBACKEND": "agg",
        "PYTHONUNBUFFERED": "1",
    }
