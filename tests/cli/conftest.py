"""What every test of the command line stands on."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_last_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the last value that a doctest printed, which tyro would try to hash."""
    monkeypatch.delattr("builtins._", raising=False)
