"""What the panels of runs and of sweeps share: they list a folder, or follow one item."""

from __future__ import annotations

import abc
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from isa_toolkit.checks import check_number
from isa_toolkit.distillation.run_names import run_names
from isa_toolkit.distillation.store import read_experiment
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.sweeps import Job, runs_in
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel


def run_texts(jobs: Iterable[Job]) -> dict[str, str]:
    """Return what tells runs apart, sorted, by the names of their folders."""
    stored = {job.path.name: read_experiment(job.path) for job in jobs}
    named = {name: one for name, one in stored.items() if one is not None}
    texts = dict(zip(named, run_names(list(named.values())), strict=True))
    found = {name: texts.get(name, name) for name in stored}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def run_options(jobs: Iterable[Job]) -> list[tuple[str, str]]:
    """Return runs with what tells them apart and their states, as options of a list."""
    listed = {job.path.name: job for job in jobs}
    texts = run_texts(listed.values())
    return [
        (f"{text} ({listed[name].status.state})", name) for name, text in texts.items()
    ]


class RunList:
    """Runs of a folder to pick from, filtered by words.

    Attributes:
        folder: Path of the folder of run folders.
        names: Text of each run of the list, by the name of its folder.
    """

    def __init__(self, folder: str | Path, is_listed: Callable[[Job], bool]) -> None:
        self.folder, self._is_listed = Path(folder).absolute(), is_listed
        self.names: dict[str, str] = {}
        self.read()

    def read(self) -> None:
        """Read the folder again; runs that have not begun are not listed."""
        begun = [
            job
            for job in runs_in(self.folder)
            if (job.path / "experiment.json").is_file() and self._is_listed(job)
        ]
        self.names = run_texts(begun)

    def controls(self, picked: int) -> dict[str, ipywidgets.Widget]:
        """Return a search field, the list with its first runs picked, and its button."""
        options = [(text, name) for name, text in self.names.items()]
        pick = layout.several(
            "Runs",
            list(self.names)[:picked],
            options=options,
            rows=6,
            width=layout.WIDE,
        )
        pick.layout.grid_column = "1 / -1"
        return {
            "search": layout.control(
                ipywidgets.Text, "Search", placeholder="drop_easy=0.2 seed=0",
                help="List the runs whose names have all of these words",
            ),
            "pick": pick,
            "refresh_list": layout.refresh_button(),
        }  # fmt: skip

    def picked(self, panel: Panel, values: Mapping[str, Any]) -> dict[str, Job]:
        """Return the picked runs by their texts, and list those that fit the search."""
        words = values["search"].split()
        with panel.quietly():
            layout.set_options(
                panel.controls["pick"],
                [
                    (text, name)
                    for name, text in self.names.items()
                    if name in values["pick"] or all(word in text for word in words)
                ],
            )
        names = panel.controls["pick"].value
        return {self.names[name]: Job.attach(self.folder / name) for name in names}

    def on_refresh_list(self, panel: Panel) -> None:
        """Read the folder again, then draw what is picked."""
        self.read()
        panel.refresh()
        panel.check()


class FolderWatcher(abc.ABC):
    """Model of a panel that lists the items of a folder and polls one while it runs.

    Attributes:
        panel: The panel, once ``make_panel`` has made it.
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

    @abc.abstractmethod
    def update(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the panel shows of the followed item."""

    def make_panel(
        self,
        title: str,
        about: str,
        *,
        settings: Mapping[str, ipywidgets.Widget],
        buttons: Mapping[str, ipywidgets.Button],
        outputs: Mapping[str, ipywidgets.Widget],
        still: Callable[[], bytes | None] | None = None,
    ) -> Panel:
        """Return the panel: settings, buttons, the list of the folder, and outputs.

        A click on the button "run" calls ``on_run``, and so on.
        """
        found = {
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
        clicked = [*buttons, "attach", "refresh_list"]
        self.panel = Panel(
            title,
            about=about,
            controls={**settings, **buttons, **found},
            outputs={
                "bar": layout.progress_bar(), "details": layout.text(), **outputs
            },
            update=self.update,
            groups=[list(row) for row in (settings, buttons, found) if row],
            actions={name: getattr(self, f"on_{name}") for name in clicked},
            model=self,
            still=still,
        )  # fmt: skip
        return self.panel

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
        if self.state()[1]:
            # A thread that polls already may have seen an end, and be about to end, too.
            self.thread = threading.Thread(
                target=self._poll, name=f"isa {self.kind} watcher", daemon=True
            )
            self.thread.start()

    def _poll(self) -> None:
        is_running = True
        while is_running and self.thread is threading.current_thread():
            time.sleep(self._poll_s)
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
