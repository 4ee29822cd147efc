"""A signal is a request, a second one an end, and the handlers are put back."""

from __future__ import annotations

import signal
import threading

import pytest

from isa_toolkit.distillation.signals import catch_signals

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in NUMBERS]
    with catch_signals() as request:
        assert not request.requested
        signal.raise_signal(number)
        assert request.requested
        with pytest.raises(KeyboardInterrupt, match="second signal SIGINT"):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(one) for one in NUMBERS] == before


def test_other_threads_leave_the_handlers_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look() -> None:
        with catch_signals() as request:
            seen.append((signal.getsignal(signal.SIGTERM), request.requested))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
