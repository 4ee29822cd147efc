"""Runs, a tiny study and compiled programs that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_run import compiled, whole
from widget_study import tiny_study

from isa_toolkit.figures.study import Study

__all__ = ["compiled", "study", "whole"]


@pytest.fixture(scope="session")
def study(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Return a tiny study, whose runs and networks the tests share."""
    del compiled
    with pytest.MonkeyPatch.context() as patch:
        yield tiny_study(patch, tmp_path_factory.mktemp("study"))
