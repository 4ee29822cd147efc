"""A thread that looks again and again, as long as there is something to see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import final

__all__ = ["Poller"]


@final
class Poller:
    """Calls a function until it says that nothing goes on any more.

    Args:
        name: of the thread.
        look: sets traits of widgets and nothing else; returns whether something goes on.
        poll_s: seconds between two looks.

    Attributes:
        thread: the last one, or None.

    Raises:
        ValueError: ``poll_s`` is not above 0.
    """

    def __init__(self, name: str, look: Callable[[], bool], poll_s: float) -> None:
        from isa_toolkit.checks import check_positive

        check_positive("poll_s", poll_s)
        self._name, self._look, self._poll_s = name, look, poll_s
        self.thread: threading.Thread | None = None

    def begin(self) -> None:
        """Look, if nobody does so already."""
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(
                target=self._run, name=self._name, daemon=True
            )
            self.thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Return when there is nothing more to see.

        Args:
            timeout_s: seconds to wait at most; None for any number.

        Raises:
            TimeoutError: it still looks.
        """
        if self.thread is not None:
            self.thread.join(timeout_s)
            if self.thread.is_alive():
                raise TimeoutError(
                    f"The {self._name} still looks after {timeout_s:g} s."
                )

    def _run(self) -> None:
        while self._look():
            time.sleep(self._poll_s)
