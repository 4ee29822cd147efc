"""Runs, a tiny study and compiled programs that the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from long_run import long_run
from widget_study import tiny_study

from isa_toolkit.distill import Run, distill
from isa_toolkit.figures.study import Study


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep compiled programs in a folder, where child processes find them."""
    from jax.experimental.compilation_cache import compilation_cache

    folder = tmp_path_factory.mktemp("compiled")
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    compilation_cache.reset_cache()
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)
        del os.environ[name.upper()]
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def whole(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the longer tiny run, never interrupted; not to be changed."""
    del compiled
    return distill(long_run(), out=tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def study(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Return a tiny study, whose runs and networks the tests share."""
    del compiled
    with pytest.MonkeyPatch.context() as patch:
        yield tiny_study(patch, tmp_path_factory.mktemp("study"))
