"""A thread looks as long as there is something to see."""

from __future__ import annotations

import pytest

from isa_toolkit.widgets.polling import Poller


def test_it_looks_until_nothing_goes_on_and_can_begin_again():
    left = [True, True, False, False]
    poller = Poller("looker", lambda: left.pop(0), 0.01)
    poller.join()
    poller.begin()
    poller.join(5)
    assert left == [False]
    poller.begin()
    poller.join(5)
    assert left == []


def test_one_looks_at_a_time_and_waiting_has_an_end():
    goes_on = [True]
    poller = Poller("looker", lambda: goes_on[0], 0.01)
    poller.begin()
    thread = poller.thread
    poller.begin()
    assert poller.thread is thread
    with pytest.raises(TimeoutError, match=r"The looker still looks after 0\.05 s"):
        poller.join(0.05)
    goes_on[0] = False
    poller.join(5)
    with pytest.raises(ValueError, match="poll_s must be above 0"):
        Poller("looker", lambda: False, 0)
