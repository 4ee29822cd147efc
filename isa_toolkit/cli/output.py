"""What commands write: results to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import Any


def log(line: str) -> None:
    """Write a line for people to standard error."""
    sys.stderr.write(line + "\n")


def command_line(command: str, *arguments: object, **flags: object) -> str:
    """Return a command as a user types it; flags that are None or empty are left out."""
    words = ["isa-toolkit", command, *map(str, arguments)]
    for name, value in flags.items():
        if value not in (None, ""):
            several = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, several)]
    return shlex.join(words)


def write_result(result: Any, lines: Iterable[str], *, json: bool) -> None:
    """Write a result to standard output.

    Args:
        result: The result for programs; NaN and infinity become null.
        lines: The same result for people.
        json: Whether to write ``result`` as JSON instead of ``lines``.
    """
    text = _as_json(result) if json else "\n".join(lines)
    # Not every terminal can show a "±".
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def _as_json(result: Any) -> str:
    return json.dumps(_finite(result), indent=2, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what libraries write to standard output to standard error.

    Gloo, which connects CPU processes, writes a line past Python's own streams.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
