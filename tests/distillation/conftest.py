"""Runs that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from tiny_run import STOPPED_AT, stop_at, tiny

from isa_toolkit.distillation import Run, distill, trainer


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep compiled programs in a folder, for child processes to find."""
    from jax.experimental.compilation_cache import compilation_cache

    folder = tmp_path_factory.mktemp("compiled")
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def whole(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the tiny run, never interrupted; not to be changed."""
    del compiled
    return distill(tiny(), out=tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def stopped(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the tiny run, stopped by a callback; to be copied, not changed."""
    del whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_CHUNK_S", 1e-9)
        return distill(
            tiny(),
            out=tmp_path_factory.mktemp("stopped"),
            callbacks=[stop_at(STOPPED_AT)],
        )
