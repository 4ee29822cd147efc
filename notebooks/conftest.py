"""What the notebook check does not compare: HTML, script and the error stream."""

from __future__ import annotations

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave out outputs that differ by machine: text and pictures tell the result."""
    if hasattr(collector, "skip_compare"):
        # Progress bars and JAX's start-up notes go to stderr with times in them.
        collector.skip_compare += ("text/html", "stderr", "application/javascript")
