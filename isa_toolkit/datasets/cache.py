"""Files that save time: where they lie, and how they are written and trusted.

What is kept in them is decided by the callers.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["cache_folder", "kept_or_made"]

T = TypeVar("T")


def cache_folder() -> Path:
    """Return ``ISA_CACHE_DIR`` if it is set, or the user's cache folder."""
    chosen = os.environ.get("ISA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("isa_toolkit"))


def kept_or_made(
    path: Path,
    read: Callable[[Path], T],
    make: Callable[[], T],
    write: Callable[[T, Path], None],
) -> T:
    """Return what ``path`` holds, or make it anew and keep it there.

    Args:
        path: the cache file.
        read: raises ``ValueError`` if the file is damaged.
        make: used when there is no usable file.
        write: keeps what was made.

    Returns:
        The kept or made value. A damaged file, or a folder that cannot be written,
        gives a ``RuntimeWarning`` and the value all the same.
    """
    if path.is_file():
        try:
            return read(path)
        except ValueError:
            warnings.warn(
                f"The cache file {path} is damaged; it is fitted again.",
                RuntimeWarning,
                stacklevel=3,
            )
    made = make()
    try:
        write(made, path)
    except OSError as error:
        warnings.warn(
            f"The cache folder {path.parent} cannot be written ({error.strerror}); "
            "set ISA_CACHE_DIR to one that can.",
            RuntimeWarning,
            stacklevel=3,
        )
    return made
