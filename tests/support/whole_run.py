"""Fixtures: a run that was never interrupted, and the programs that its like compile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_programs import kept_programs
from long_run import long_run

from isa_toolkit.distillation import Run, distill

__all__ = ["compiled", "whole"]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep compiled programs in a folder, where child processes find them."""
    with kept_programs(tmp_path_factory.mktemp("compiled")) as folder:
        yield folder


@pytest.fixture(scope="session")
def whole(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the longer tiny run, never interrupted; not to be changed."""
    del compiled
    return distill(long_run(), out=tmp_path_factory.mktemp("whole"))
