"""A poller calls its function until it returns False, in one thread at a time."""

from __future__ import annotations

import pytest

from isa_toolkit.widgets.polling import Poller


def test_it_polls_until_the_function_returns_false_and_can_start_again():
    answers = [True, True, False, False]
    poller = Poller("poller", lambda: answers.pop(0), 0.01)
    poller.join()
    poller.start()
    poller.join(5)
    assert answers == [False]
    poller.start()
    poller.join(5)
    assert answers == []


def test_one_thread_polls_at_a_time_and_joining_has_a_limit():
    is_running = [True]
    poller = Poller("poller", lambda: is_running[0], 0.01)
    poller.start()
    thread = poller.thread
    poller.start()
    assert poller.thread is thread
    with pytest.raises(TimeoutError, match="poller"):
        poller.join(0.05)
    is_running[0] = False
    poller.join(5)
    with pytest.raises(ValueError, match="poll_s"):
        Poller("poller", lambda: False, 0)
