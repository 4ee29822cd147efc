"""What the commands share: options read into dataclasses, results written out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

__all__ = ["DatasetOptions", "own_output", "parse", "say", "write_result"]

T = TypeVar("T")


@dataclasses.dataclass
class DatasetOptions:
    """Which data: the arguments of ``load_dataset``.

    Attributes:
        dataset: a known name, or any name for files under --root; evaluate takes the one
            of the distillation if left out.
        root: folder or file of a local data set.
        source: digits, local or hub; chosen by the other options if left out.
        limit: most training images to load; to evaluate, as in the distillation.
    """

    dataset: str | None = None
    root: str | None = None
    source: str | None = None
    limit: int | None = None


def parse(kind: type[T], command: str, words: list[str], about: str) -> T:
    """Return the options of a command, from its dataclass.

    Args:
        kind: a dataclass; its fields become flags, its docstring their help.
        command: name of the command.
        words: what the user wrote after it.
        about: one paragraph above the options.

    Returns:
        An instance of ``kind``.

    Raises:
        SystemExit: after ``--help`` (0), or an unknown or malformed flag (2).
    """
    import tyro

    return tyro.cli(kind, args=words, prog=f"isa-toolkit {command}", description=about)


def say(text: str) -> None:
    """Write a line for people to standard error."""
    sys.stderr.write(text + "\n")


def write_result(result: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    """Write a result to standard output, for programs or for people.

    Args:
        result: JSON-able.
        lines: the same in words.
        as_json: which of the two.
    """
    text = "\n".join(lines)
    if as_json:
        text = json.dumps(_finite(result), indent=2, default=str, allow_nan=False)
    sys.stdout.write(text + "\n")


def _finite(value: Any) -> Any:
    """Return a result with null for NaN and infinity, which JSON has no words for."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def own_output() -> Iterator[None]:
    """Keep standard output for the result: what libraries write there goes to stderr.

    Gloo, which connects CPU processes, writes a line past Python's own streams.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
