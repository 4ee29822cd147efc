"""The cache folder and the memory of this machine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isa_toolkit.checks import as_text, fail

T = TypeVar("T")


def available_bytes() -> int:
    """Return the memory of this machine that is free: elsewhere than on Linux, half."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        lines = dict(line.split(":", 1) for line in facts.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def check_fits(what: str, size: int) -> None:
    """Refuse to make something of ``size`` bytes that is larger than the free memory."""
    free = available_bytes()
    if size > free:
        rule = f"fit in memory ({free / 2**30:.1f} GiB are free)"
        fix = "Pass limit to load fewer images."
        raise fail(what, rule, as_text(f"{size / 2**30:.1f} GiB"), fix)


def cache_folder() -> Path:
    """Return ``ISA_CACHE_DIR`` if it is set, or the user's cache folder."""
    chosen = os.environ.get("ISA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("isa_toolkit"))
    except RuntimeError:  # no HOME, and no entry for this user
        # Nothing can be written there, which those who write report.
        return Path(os.devnull) / "isa_toolkit"


def kept_or_made(
    path: Path,
    read: Callable[[Path], T],
    make: Callable[[], T],
    write: Callable[[T, Path], None],
) -> T:
    """Return what a cache file holds, or make it anew and keep it there.

    A damaged file, for which ``read`` raises ``ValueError``, or a folder that cannot be
    written gives a ``RuntimeWarning`` and the value all the same.
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
