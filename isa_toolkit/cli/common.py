"""What the commands share: options read into dataclasses, results written out."""

from __future__ import annotations

import json
import sys
from typing import Any, TypeVar

__all__ = ["parse", "say", "write_result"]

T = TypeVar("T")


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
    text = json.dumps(result, indent=2, default=str) if as_json else "\n".join(lines)
    sys.stdout.write(text + "\n")
