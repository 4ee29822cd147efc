"""What looks again and again, as long as there is something to see."""

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


class FolderWatcher:
    """The model of a panel that watches one thing of a folder and lists all of them.

    The panel has the controls ``found``, a list, and ``attach``, a button.

    Args:
        name: of the thread that looks.
        poll_s: seconds between two looks.

    Raises:
        ValueError: ``poll_s`` is not above 0.
    """

    panel: Panel

    def __init__(self, name: str, poll_s: float) -> None:
        self.poller = Poller(name, self.look, poll_s)
        # The state of what is watched when the folder was listed last.
        self._listed: str | None = None

    def found(self) -> list[tuple[str, str]]:
        """Return what is in the folder with its state, for a list."""
        raise NotImplementedError

    def look(self) -> bool:
        """Show what is watched as it is; return whether it goes on."""
        raise NotImplementedError

    def on_look(self, panel: Panel) -> None:
        """List the folder anew."""
        with panel.quietly():
            found: Any = panel.controls["found"]
            layout.offer(found, self.found())
        panel.controls["attach"].disabled = found.value is None  # pyright: ignore[reportAttributeAccessIssue]

    def list_again(self, state: str | None) -> None:
        """List the folder anew if the state of what is watched has changed.

        Args:
            state: of what is watched now; None to list in any case.
        """
        if state is None or state != self._listed:
            self._listed = state
            with contextlib.suppress(OSError):
                self.on_look(self.panel)

    def join(self, timeout_s: float | None = None) -> None:
        """Return when the panel shows the end of what is watched.

        Args:
            timeout_s: seconds to wait at most.

        Raises:
            TimeoutError: it still looks.
        """
        self.poller.join(timeout_s)
