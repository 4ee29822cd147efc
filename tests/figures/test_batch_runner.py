"""Items on threads: results in order, progress, and cancellation."""

from __future__ import annotations

import threading

import pytest

from isa_toolkit.errors import CancelledError
from isa_toolkit.figures.batch_runner import parallel_map


def run(function, items, cancel=None, **changes):
    return parallel_map(
        function,
        items,
        "work",
        **{
            "workers": 4,
            "progress": False,
            "on_progress": None,
            "cancel": cancel or threading.Event(),
            **changes,
        },
    )


def test_results_keep_the_order_of_the_items():
    gates = [threading.Event() for _ in range(4)]

    def function(index):
        # The last ends first.
        if index < 3:
            assert gates[index + 1].wait(60)
        gates[index].set()
        return index * index

    reports = []
    assert run(function, range(4), on_progress=lambda *r: reports.append(r)) == [
        0, 1, 4, 9,
    ]  # fmt: skip
    assert reports == [("work", done, 4) for done in range(5)]


def test_cancelled_work_raises_and_can_be_started_again():
    cancel = threading.Event()

    def function(index):
        if index == 0:
            cancel.set()
        return index

    with pytest.raises(CancelledError, match="before the end of work"):
        run(function, range(3), cancel, workers=1)
    assert not cancel.is_set()
    assert run(lambda index: index, range(3), cancel) == [0, 1, 2]
