"""What users set with environment variables: where things are kept, and limits of files.

- ``ISA_CACHE_DIR``: folder of decoded images, whitenings, feature networks and compiled
  programs; by default the user's cache folder.
- ``JAX_ENABLE_COMPILATION_CACHE``: ``false`` keeps no compiled programs.
- ``ISA_MAX_PIXELS``: number of pixels of the largest image that is decoded or made, by
  default 67,108,864 (8,192 x 8,192). A larger value raises Pillow's own limit too.
- ``ISA_MAX_MEMORY``: bytes that one archive or array may unpack to, and that runs count
  on; by default what this machine has free.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from isa_toolkit.checks import as_text, fail
from isa_toolkit.files import private_folder, write_atomically


def largest_image() -> int:
    """Return ``ISA_MAX_PIXELS``, the number of pixels of the largest image allowed."""
    return _number("ISA_MAX_PIXELS") or 2**26


def available_bytes() -> int:
    """Return ``ISA_MAX_MEMORY``, or the free memory: elsewhere than on Linux, half."""
    chosen = _number("ISA_MAX_MEMORY")
    if chosen:
        return chosen
    facts = Path("/proc/meminfo")
    if facts.exists():
        lines = dict(line.split(":", 1) for line in facts.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _number(name: str) -> int:
    """Return the value of an environment variable, 0 if it is not set."""
    text = os.environ.get(name, "")
    if text and not (text.isdecimal() and int(text)):
        raise fail(name, "be a whole number above 0", text)
    return int(text or 0)


def check_fits(what: str, size: int, fix: str = "") -> None:
    """Refuse to make something of ``size`` bytes that is larger than the free memory."""
    free = available_bytes()
    if size > free:
        rule = f"fit in memory ({free / 2**30:.1f} GiB are free)"
        fix = f"{fix} ISA_MAX_MEMORY sets another limit, in bytes.".lstrip()
        raise fail(what, rule, as_text(f"{size / 2**30:.1f} GiB"), fix)


def cache_folder() -> Path:
    """Return ``ISA_CACHE_DIR`` if it is set, or the user's cache folder.

    It is made with mode 700; one that cannot be made is reported by those who write there.

    Raises:
        PermissionError: Another user can write there, and so decide what is read.
    """
    folder = Path(os.environ.get("ISA_CACHE_DIR") or _usual_cache_folder())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return folder
    return private_folder(folder, ", or set ISA_CACHE_DIR to another folder.")


def _usual_cache_folder() -> str:
    import platformdirs

    try:
        return platformdirs.user_cache_dir("isa_toolkit")
    except RuntimeError:  # no HOME, and no entry for this user: a folder that cannot be
        return f"{os.devnull}/isa_toolkit"


def kept_or_made(
    path: Path, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file, or make them and keep them there.

    A damaged file, or a folder that cannot be written, gives a ``RuntimeWarning`` and the
    arrays all the same.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save

    if path.is_file():
        try:
            return load_file(path)
        except (OSError, SafetensorError):
            warnings.warn(
                f"The cache file {path} is damaged; it is fitted again.",
                RuntimeWarning,
                stacklevel=3,
            )
    made = make()
    try:
        write_atomically(path, save(made))
    except OSError as error:
        warnings.warn(
            f"The cache folder {path.parent} cannot be written ({error.strerror}); "
            "set ISA_CACHE_DIR to one that can.",
            RuntimeWarning,
            stacklevel=3,
        )
    return made
