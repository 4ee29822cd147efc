"""SIGINT, SIGTERM and SIGHUP as requests to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class StopRequest:
    """Whether all work should stop: ``requested`` is True from the first signal on.

    Attributes:
        since: Time, in seconds of the epoch; a file ``STOP`` from before it does not count.
    """

    def __init__(self, since: float | None = None) -> None:
        self.requested = False
        self.since = time.time() if since is None else since
        self._holds, self._second = 0, ""

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let a second signal wait until the end of this block.

        Libraries that write in threads of their own crash where one is interrupted.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds and self._second:
                text, self._second = self._second, ""
                raise KeyboardInterrupt(text)

    def signal(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del frame
        if self.requested:
            text = f"second signal {signal.Signals(number).name}"
            if not self._holds:
                raise KeyboardInterrupt(text)
            self._second = text
        self.requested = True


@contextmanager
def catch_signals(since: float | None = None) -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request to stop, to be polled.

    A second signal raises ``KeyboardInterrupt`` wherever the program is, in a ``hold`` at
    its end. Within another ``catch_signals`` the request is that one's. Outside the main
    thread, where Python receives no signals, the request is never set. ``since`` is that
    of the request; None for now.
    """
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest(since)
        return
    outer = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    if isinstance(outer, StopRequest):
        yield outer
        return
    request = StopRequest(since)
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as with nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, request.signal) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def process_start() -> float:
    """Return when this process began, in seconds of the epoch; now if that is not known."""
    try:
        ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return time.time()
    began = int(ticks) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + began
