"""Atomic writing of files, and reading of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

NUMBER = int | float
"""Schema of a number, see ``fits``."""


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
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        raise


def private_folder(path: Path, fix: str = "") -> Path:
    """Return a folder that only this user can write, made with mode 700 if it is missing.

    Raises:
        PermissionError: Another user can write there; ``fix`` is a second way out.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.stat()
    # What root writes, everybody has to trust.
    if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o022:
        raise PermissionError(
            f"Other users can write into {path}, so nothing in it is used. Make it yours "
            f"alone with: chmod go-w {path}{fix}"
        )
    return path


def write_json(path: Path, value: Any) -> None:
    """Write a value of JSON types, indented, with ``write_atomically``.

    A number that is not finite raises ``ValueError``.
    """
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_json(
    path: Path, schema: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if it is missing or damaged.

    A file is damaged, too, if its content does not fit the ``schema``.
    """
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else None
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return found if fits(found, schema) else None


def fits(value: Any, schema: Any) -> bool:
    """Return whether a value that was read from JSON has the form of a schema.

    The schema of an object is a dict with a schema for each name that it must have, that of
    a list is a list of one schema, and that of anything else is a type or a union of types.
    """
    if isinstance(schema, Mapping):
        return isinstance(value, dict) and all(
            name in value and fits(value[name], part) for name, part in schema.items()
        )
    if isinstance(schema, list):
        return isinstance(value, list) and all(fits(one, schema[0]) for one in value)
    # No larger integer becomes a float.
    is_huge = isinstance(value, int) and abs(value) >= 2**1023
    return isinstance(value, schema) and not is_huge
