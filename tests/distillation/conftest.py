"""Runs that the tests of this folder share."""

from __future__ import annotations

import pytest
from tiny_run import STOPPED_AT, stop_at, tiny

from isa_toolkit.distillation import Run, distill, trainer


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the tiny run, never interrupted; not to be changed."""
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
