"""SIGINT and SIGTERM as requests to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether all work should stop: ``requested`` is True from the first signal on."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request to stop, to be polled.

    A second signal raises ``KeyboardInterrupt`` wherever the program is. Outside the main
    thread, where Python receives no signals, the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if request.requested:
            raise KeyboardInterrupt(f"second signal {signal.Signals(number).name}")
        request.requested = True

    before = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
