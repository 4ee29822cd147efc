"""What the panels of runs and of sweeps share: they list a folder, and follow one item."""

from __future__ import annotations

import abc
import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ipywidgets

from isa_toolkit.checks import check_number
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.sweeps import Job, runs_in
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel


def begun_runs(folder: Path) -> list[Job]:
    """Return the runs of a folder that have begun."""
    return [job for job in runs_in(folder) if (job.path / "experiment.json").is_file()]


def run_options(jobs: Iterable[Job]) -> list[tuple[str, str]]:
    """Return runs with their states, as options of a list."""
    return [(f"{job.path.name} ({job.status.state})", job.path.name) for job in jobs]


def list_again(panel: Panel, control: Any, options: list[tuple[str, str]]) -> None:
    """Replace the options of a list, then draw what is chosen."""
    with panel.quietly():
        layout.set_options(control, options)
    panel.refresh()
    panel.check()


class FolderWatcher(abc.ABC):
    """Model of a panel that lists the items of a folder and polls one while it runs.

    Attributes:
        panel: The panel; it has the controls of ``controls``.
        kind: What an item is: "run" or "sweep".
        out: Path of the folder of run folders.
        item: The item that is followed, or None.
        thread: The thread that polled last, or None.
    """

    panel: Panel
    kind: str

    def __init__(self, out: Path, poll_s: float) -> None:
        self.out, self._poll_s = out, check_number("poll_s", poll_s, above=0)
        self.item: Any = None
        self.thread: threading.Thread | None = None
        # State of the followed item when the folder was listed last.
        self._listed = ""

    @abc.abstractmethod
    def found(self) -> list[tuple[str, str]]:
        """Return the items of the folder with their states, as options of a list."""

    @abc.abstractmethod
    def open(self, name: str) -> Any:
        """Return the item of a name."""

    @abc.abstractmethod
    def state(self) -> tuple[str, bool]:
        """Return the state of the followed item, and whether it is still running."""

    def controls(self) -> dict[str, ipywidgets.Widget]:
        """Return the list and its buttons."""
        return {
            "found": layout.dropdown(
                f"{self.kind.title()}s in folder", options=self.found(),
                width=layout.WIDE, help=f"{self.kind.title()}s in {self.out}",
            ),
            "attach": layout.button(
                "Attach", icon="link",
                help=f"Watch the chosen {self.kind}, going on or ended",
            ),
            "refresh_list": layout.refresh_button(),
        }  # fmt: skip

    def on_attach(self, panel: Panel) -> None:
        """Watch the chosen item."""
        name = panel.found.value
        if name is None:
            raise InvalidValueError(
                f"There is no {self.kind} in {self.out}. Start one first."
            )
        self.watch(self.open(name))

    def on_refresh_list(self, panel: Panel) -> None:
        """List the folder again."""
        with panel.quietly():
            layout.set_options(panel.found, self.found())
        panel.attach.disabled = panel.found.value is None

    def watch(self, item: Any) -> None:
        """Show an item, and poll it as long as it runs."""
        self.item = item
        self.on_refresh_list(self.panel)
        self.panel.refresh()
        self.panel.check()
        is_polled = self.thread is not None and self.thread.is_alive()
        if self.state()[1] and not is_polled:
            self.thread = threading.Thread(
                target=self._poll, name=f"isa {self.kind} watcher", daemon=True
            )
            self.thread.start()

    def _poll(self) -> None:
        item, is_running = None, True
        while is_running or item is not self.item:
            time.sleep(self._poll_s)
            item = self.item
            state, is_running = self.state()
            self.panel.refresh()
            if state != self._listed:
                self._listed = state
                with contextlib.suppress(OSError):
                    self.on_refresh_list(self.panel)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the panel shows the end of the followed item.

        Raises:
            TimeoutError: It has not ended after ``timeout_s`` seconds.
        """
        if self.thread is not None:
            self.thread.join(timeout_s)
            if self.thread.is_alive():
                raise TimeoutError(
                    f"The {self.kind} is still running after {timeout_s:g} s."
                )
