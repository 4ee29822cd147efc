"""What commands write: results to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from isa_toolkit.checks import printable


class _Stream:
    """A standard stream whose failure ends nothing.

    What its encoding lacks becomes "?". When it can take no more, the rest goes nowhere,
    and ``error`` says why, unless its reader has had enough.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        shown = text.encode(encoding, "replace").decode(encoding)
        self._try(self._stream.write, shown)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[..., Any], *arguments: str) -> None:
        try:
            action(*arguments)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.error = error
            # Or what is buffered would fail again when the interpreter ends.
            with contextlib.suppress(OSError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextlib.contextmanager
def standard_streams() -> Iterator[_Stream]:
    """Let standard output and error be closed, full, or of any encoding; yield the former."""
    for number, (name, mode) in enumerate(
        {"stdin": "r", "stdout": "w", "stderr": "w"}.items()
    ):
        try:
            os.fstat(number)
        except OSError:  # or the next file that is opened would get this number
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    before = sys.stdout, sys.stderr
    output = sys.stdout = _Stream(sys.stdout)
    sys.stderr = _Stream(sys.stderr)
    try:
        yield output
    finally:
        output.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def log(text: str) -> None:
    """Write lines for people to standard error."""
    sys.stderr.write("".join(f"{printable(line)}\n" for line in text.split("\n")))


def reason_of(error: OSError) -> str:
    """Return why the operating system refused."""
    return error.strerror or str(error)


def command_line(command: str, *arguments: object, **flags: object) -> str:
    """Return a command as a user types it; flags that are None or empty are left out."""
    words = ["isa-toolkit", command, *map(str, arguments)]
    for name, value in flags.items():
        if value not in (None, ""):
            several = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, several)]
    return shlex.join(words)


def write_result(
    result: Any, lines: Iterable[str], *, json: bool, kept: object = None
) -> None:
    """Write a result to standard output.

    Args:
        result: The result for programs; NaN and infinity become null.
        lines: The same result for people.
        json: Whether to write ``result`` as JSON instead of ``lines``.
        kept: Path where the result already is, so that it need not be shown; None if
            this is the only place.
    """
    text = _as_json(result) if json else "\n".join(map(printable, lines))
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    if kept is not None and (error := getattr(sys.stdout, "error", None)):
        log(
            "isa-toolkit: warning: standard output cannot be written: "
            f"{reason_of(error)}. The results are in {kept}."
        )
        vars(sys.stdout)["error"] = None


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
