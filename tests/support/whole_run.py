"""Fixture: a run that was never interrupted."""

from __future__ import annotations

import pytest
from long_run import long_run

from isa_toolkit.distillation import Run, distill

__all__ = ["whole"]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the longer tiny run, never interrupted; not to be changed."""
    return distill(long_run(), out=tmp_path_factory.mktemp("whole"))
