"""SIGINT and SIGTERM as requests to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopAsked", "StopRequest", "heed_signals"]


class StopAsked(Exception):
    """What ends the making of data when somebody asked to stop."""


class StopRequest:
    """Whether somebody asked to stop.

    Attributes:
        asked: True from the first signal on.
    """

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def heed_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request to stop.

    Outside the main thread, where Python hears no signals, nothing is ever asked.

    Yields:
        The request, to be looked at.

    Raises:
        KeyboardInterrupt: at a second signal, wherever the program then is.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if request.asked:
            raise KeyboardInterrupt(f"second signal {signal.Signals(number).name}")
        request.asked = True

    before = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
