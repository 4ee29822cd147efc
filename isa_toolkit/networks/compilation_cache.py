"""Compiled programs are made once: a thread or process finds what another one compiled.

Compiling takes most of the time of a short run. JAX can store its programs in a folder;
this module chooses one, unless the user has, before the first program is built.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import jax

from isa_toolkit.environment import cache_folder
from isa_toolkit.files import private_folder

P = ParamSpec("P")
T = TypeVar("T")
# Linux lets a process map so many areas of memory. Each compiled program takes some, and
# XLA aborts the process where it gets no more.
_MAPS, _LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
# To compile the smallest programs of a run takes longer than to read them.
_LEAST_SECONDS = 0.0


def cache_once(function: Callable[P, T]) -> Callable[P, T]:
    """Return ``function`` with a cache that also holds for threads at the same time.

    ``functools.cache`` calls the function once for each thread that comes before the first
    result is there. Networks and jitted functions made twice are compiled twice. Before a
    new one is made, programs are released where there are very many.
    """

    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        release_programs()
        return function(*args, **kwargs)

    cached, lock = cache(make), threading.RLock()

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return cached(*args, **kwargs)  # pyright: ignore[reportArgumentType]

    return call


def release_programs() -> None:
    """Let go of JAX's compiled programs once they take half of the areas of memory.

    Those that are needed again are read from the compilation cache.
    """
    try:
        most = int(_LIMIT.read_text())
        used = _MAPS.read_bytes().count(b"\n")
    except OSError:  # not Linux
        return
    if 2 * used > most:
        jax.clear_caches()


@cache
def use_compilation_cache() -> Path | None:
    """Make JAX store compiled programs, and return the folder; None without effect.

    Further calls have no effect. ``JAX_COMPILATION_CACHE_DIR`` (or the setting of that name
    in JAX) stays as it is; ``JAX_ENABLE_COMPILATION_CACHE=false`` switches the cache off. A
    folder that cannot be written, or that other users can write, costs a warning and the
    time to compile. Only damaged programs are ever deleted (programs are small, some 100 kB
    each); the user may delete the folder at any time.
    """
    is_on = getattr(jax.config, "jax_enable_compilation_cache", True)
    if not is_on or getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return None
    try:
        folder = programs_folder()
        private_folder(folder.parent)
        private_folder(folder)
        _delete_damaged(folder)
    except OSError as error:
        warnings.warn(
            f"Compiled programs are not stored: {error}. Set ISA_CACHE_DIR to a folder "
            "that can be written, or JAX_ENABLE_COMPILATION_CACHE=false.",
            RuntimeWarning,
            stacklevel=3,
        )
        return None
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    compilation_cache.reset_cache()  # JAX looks once, at its first program
    return folder


def programs_folder() -> Path:
    """Return the folder of this machine's programs.

    It is named after JAX's version and the processor: a home folder may be shared by
    machines that do not run each other's programs.
    """
    from importlib.metadata import version

    digest = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return cache_folder() / "compiled" / f"jaxlib-{version('jaxlib')}-{digest}"


def _delete_damaged(folder: Path) -> None:
    """Delete programs that were not written to their end: JAX warns of one each time.

    Those that were there at an earlier look are not read again.
    """
    mark, now = folder / ".checked", time.time()
    since = mark.stat().st_mtime if mark.exists() else 0.0
    for path in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if path.stat().st_mtime >= since and not _is_whole(path.read_bytes()):
                path.unlink()
    mark.touch()
    os.utime(mark, (now, now))


def _is_whole(program: bytes) -> bool:
    """Return whether JAX can unpack a program; by zstd, if it has that, unless empty."""
    if program.startswith(b"\x28\xb5\x2f\xfd"):
        return True
    try:
        zlib.decompress(program)
    except zlib.error:
        return False
    return True


def _processor() -> str:
    """Return what a compiled program depends on: architecture and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    kinds = ("flags", "Features", "model name", "CPU part")
    found = {line for line in lines if line.startswith(kinds)}
    return f"{platform.machine()} {sorted(found)}"
