"""Runs and a tiny study that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from whole_run import whole
from widget_study import tiny_study

from isa_toolkit.figures.study import Study

__all__ = ["study", "whole"]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Return a tiny study, whose runs and networks the tests share."""
    with pytest.MonkeyPatch.context() as patch:
        yield tiny_study(patch, tmp_path_factory.mktemp("study"))
