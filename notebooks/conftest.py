"""What the notebook check does not compare: HTML, script, bars and the error stream."""

from __future__ import annotations

import re
from typing import Any

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave out outputs that differ by machine: text and pictures tell the result."""
    if hasattr(collector, "skip_compare"):
        # Notes of JAX's start-up go to stderr with times in them.
        collector.skip_compare += ("text/html", "stderr", "application/javascript")


def pytest_itemcollected(item: Any) -> None:
    """Leave out progress bars, which are not stored either."""
    if compare := getattr(item, "compare_outputs", None):
        item.compare_outputs = lambda made, stored, **how: compare(
            [one for one in made if not _is_bar(one)], stored, **how
        )


def _is_bar(output: Any) -> bool:
    text = output.get("data", {}).get("text/plain", "")
    return re.search(r"\d%\|", text) is not None
