"""The tiny study, whose runs all tests of these figures share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_study import tiny_study, use_tiny_budget

from isa_toolkit.figures.study import Study


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_runs: Path) -> Study:
    """A study of next to nothing, whose runs are made once for all tests."""
    use_tiny_budget(monkeypatch)
    return tiny_study(tiny_runs)
