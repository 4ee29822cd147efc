"""Writing files whole or not at all, and reading them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

__all__ = ["read_json", "write_atomically", "write_json"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, then rename it.

    Args:
        path: the file; its folder is created if missing.
        content: all of it.

    Raises:
        OSError: the folder or file cannot be written; nothing is left behind, and what
            was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of our own rather than tempfile's, whose files only their owner may read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON, whole or not at all.

    Args:
        path: the file.
        value: JSON-able; not-a-number becomes an error rather than invalid JSON.

    Raises:
        OSError: the folder or file cannot be written.
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds, or None if it is missing or damaged.

    Args:
        path: the file.
    """
    try:
        return json.loads(path.read_text())
    except (
        FileNotFoundError,
        NotADirectoryError,
        json.JSONDecodeError,
        UnicodeDecodeError,
    ):
        return None
