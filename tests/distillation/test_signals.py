"""A signal is a request, a second one an end, and the handlers are put back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from isa_toolkit.distillation.signals import catch_signals

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catch_signals() as request:
            signal.raise_signal(signal.SIGHUP)
        assert not request.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_waits_for_the_end_of_a_write() -> None:
    done = []

    def write() -> None:
        with request.hold(), request.hold():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            done.append("written")

    with catch_signals() as request:
        with pytest.raises(KeyboardInterrupt, match="second signal SIGINT"):
            write()
        assert done == ["written"]
        with request.hold():  # it is raised once
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_is_inside_shares_the_request_and_its_time() -> None:
    with catch_signals(since=5.0) as outer:
        for _ in range(2):
            with catch_signals() as inner:
                assert inner is outer
        signal.raise_signal(signal.SIGTERM)
        assert inner.requested
    assert outer.since == 5.0
    with catch_signals() as request:
        assert not request.requested
        assert abs(request.since - time.time()) < 60


def test_the_start_of_a_process_is_known() -> None:
    program = (
        "from isa_toolkit.distillation.signals import process_start; import time;"
        "print(process_start(), time.time())"
    )
    before = time.time()
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    began, then = map(float, printed.split())
    # The system counts in hundredths of a second.
    assert before - 0.02 <= began < then


def test_other_threads_leave_the_handlers_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look() -> None:
        with catch_signals() as request:
            seen.append((signal.getsignal(signal.SIGTERM), request.requested))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
