"""Compiled programs are made once: a thread or process finds what another one compiled.

Compiling takes most of the time of a short run. JAX can store its programs in a folder;
this module chooses one, unless the user has, before the first program is built.
"""

from __future__ import annotations

import hashlib
import platform
import threading
import warnings
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import jax

from isa_toolkit.environment import cache_folder

P = ParamSpec("P")
T = TypeVar("T")
# To compile the smallest programs of a run takes longer than to read them.
_LEAST_SECONDS = 0.0


def cache_once(function: Callable[P, T]) -> Callable[P, T]:
    """Return ``function`` with a cache that also holds for threads at the same time.

    ``functools.cache`` calls the function once for each thread that comes before the first
    result is there. Networks and jitted functions made twice are compiled twice.
    """
    cached, lock = cache(function), threading.RLock()

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return cached(*args, **kwargs)  # pyright: ignore[reportArgumentType]

    return call


@cache
def use_compilation_cache() -> Path | None:
    """Make JAX store compiled programs, and return the folder; None without effect.

    Further calls have no effect. ``JAX_COMPILATION_CACHE_DIR`` (or the setting of that name
    in JAX) stays as it is; ``JAX_ENABLE_COMPILATION_CACHE=false`` switches the cache off. A
    folder that cannot be written costs a warning and the time to compile. Nothing is ever
    deleted (programs are small, some 100 kB each); the user may delete the folder at any
    time.
    """
    is_on = getattr(jax.config, "jax_enable_compilation_cache", True)
    if not is_on or getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return None
    folder = programs_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
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


def _processor() -> str:
    """Return what a compiled program depends on: architecture and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    kinds = ("flags", "Features", "model name", "CPU part")
    found = {line for line in lines if line.startswith(kinds)}
    return f"{platform.machine()} {sorted(found)}"
