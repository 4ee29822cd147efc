"""Compiled programs in a folder, for tests to share between processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax


@contextmanager
def kept_programs(folder: Path) -> Iterator[Path]:
    """Keep compiled programs in a folder, where child processes find them."""
    from jax.experimental.compilation_cache import compilation_cache

    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    known = dict(os.environ)
    for name, value in wanted.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    compilation_cache.reset_cache()
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)
        os.environ.pop(name.upper())
        if name.upper() in known:
            os.environ[name.upper()] = known[name.upper()]
    compilation_cache.reset_cache()
