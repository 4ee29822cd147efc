"""Background polling of files for panels that follow a run or a sweep."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from isa_toolkit.widgets import layout

if TYPE_CHECKING:
    from isa_toolkit.widgets.panel import Panel

__all__ = ["FolderWatcher", "Poller"]


@final
class Poller:
    """Calls a function in a thread until it returns False.

    Args:
        name: Name of the thread.
        poll: Function that only sets traits of widgets and returns whether to call it again.
        poll_s: Time between two calls in seconds.

    Attributes:
        thread: The last thread, or None.

    Raises:
        ValueError: ``poll_s`` is not above 0.
    """

    def __init__(self, name: str, poll: Callable[[], bool], poll_s: float) -> None:
        from isa_toolkit.checks import check_positive

        check_positive("poll_s", poll_s)
        self._name, self._poll, self._poll_s = name, poll, poll_s
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(
                target=self._run, name=self._name, daemon=True
            )
            self.thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end of the thread.

        Args:
            timeout_s: Maximum time to wait in seconds; None for no limit.

        Raises:
            TimeoutError: It is still running.
        """
        if self.thread is not None:
            self.thread.join(timeout_s)
            if self.thread.is_alive():
                raise TimeoutError(
                    f"The {self._name} is still running after {timeout_s:g} s."
                )

    def _run(self) -> None:
        while self._poll():
            time.sleep(self._poll_s)


class FolderWatcher:
    """Model of a panel that lists the runs or sweeps of a folder and follows one of them.

    The panel has the controls ``found``, a list, and ``attach``, a button.

    Args:
        name: Name of the polling thread.
        poll_s: Time between two polls in seconds.

    Raises:
        ValueError: ``poll_s`` is not above 0.
    """

    panel: Panel

    def __init__(self, name: str, poll_s: float) -> None:
        self.poller = Poller(name, self.poll, poll_s)
        # State of the followed item when the folder was listed last.
        self._listed: str | None = None

    def found(self) -> list[tuple[str, str]]:
        """Return the items of the folder with their states, as options of a list."""
        raise NotImplementedError

    def poll(self) -> bool:
        """Show the present state of the followed item; return whether it is running."""
        raise NotImplementedError

    def on_refresh_list(self, panel: Panel) -> None:
        """List the folder again."""
        with panel.quietly():
            found: Any = panel.controls["found"]
            layout.set_options(found, self.found())
        panel.controls["attach"].disabled = found.value is None  # pyright: ignore[reportAttributeAccessIssue]

    def list_again(self, state: str | None) -> None:
        """List the folder again if the state of the followed item has changed.

        Args:
            state: Present state of the followed item; None to list in any case.
        """
        if state is None or state != self._listed:
            self._listed = state
            with contextlib.suppress(OSError):
                self.on_refresh_list(self.panel)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the panel shows the end of the followed item.

        Args:
            timeout_s: Maximum time to wait in seconds; None for no limit.

        Raises:
            TimeoutError: It has not ended by then.
        """
        self.poller.join(timeout_s)
