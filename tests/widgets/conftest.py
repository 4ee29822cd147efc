"""Runs, a tiny study and compiled programs that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_programs import kept_programs
from long_run import long_run
from widget_study import tiny_study

from isa_toolkit.distillation import Run, distill
from isa_toolkit.figures.study import Study


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


@pytest.fixture(scope="session")
def study(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Return a tiny study, whose runs and networks the tests share."""
    del compiled
    with pytest.MonkeyPatch.context() as patch:
        yield tiny_study(patch, tmp_path_factory.mktemp("study"))
