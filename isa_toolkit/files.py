"""Atomic writing of files, and reading of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name in the same folder, then rename it.

    The folder is created if it is missing. On an ``OSError`` an existing file stays as it
    was, and no temporary file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: only the owner may read its files.
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
    """Write a value of JSON types, indented, with ``write_atomically``.

    A number that is not finite raises ``ValueError``.
    """
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file, or None if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (
        FileNotFoundError,
        NotADirectoryError,
        json.JSONDecodeError,
        UnicodeDecodeError,
    ):
        return None
