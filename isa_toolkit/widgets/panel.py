"""A panel: named controls, named outputs, and one function from the former to the latter.

The panel calls that function when a control changes and writes its result into the
outputs. Changes from a browser arrive one message at a time, faster than a figure is
drawn; they are coalesced, so that the last value is drawn and few before it. Changes from
Python are drawn at once. Each panel's own file says what it computes.

Where no widget is alive (GitHub, nbconvert), a panel is what it showed when its cell ran:
its pictures, tables and captions.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import ipywidgets

from isa_toolkit.checks import check_one_of
from isa_toolkit.errors import CancelledError, IsaError
from isa_toolkit.widgets import layout

Update = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Action = Callable[["Panel"], Any]

# Matplotlib's settings are global to the process, so one panel draws at a time.
_DRAWING = threading.RLock()
# Long enough to read the waiting messages, too short to be noticed.
_PAUSE_S = 0.02
_POLL_S = 0.05
_LONGEST = 400


@final
class Panel:
    """Controls, outputs, and the function that maps one to the other.

    Args:
        title: Heading of the panel.
        controls: Widgets by name; those with a value are observed, buttons are not.
        outputs: Widgets by name whose ``value`` the panel writes.
        update: Function from values of the controls to values of ``outputs``; it may leave
            some out, and ``layout.STALE`` greys an output that is no longer of these values.
        about: One sentence under the heading.
        groups: Names of the controls of each row; all in one row by default.
        actions: Function of the panel for each button in ``controls``, called on a click.
        arrange: Function that makes the lower part of the view from ``outputs``; by default
            a column.
        model: Object behind the panel, if there is one; its public attributes can be read
            from the panel.
        still: Function that draws a PNG of what is shown, or None if nothing is, for a panel
            whose picture is drawn by the browser.
        has_images: Whether the HTML of the outputs shows what ``still`` draws.

    Attributes:
        controls: Widgets by name.
        outputs: Widgets by name.
        view: Box that is displayed.
        last_error: Exception of the last refresh or action, or None.
        refreshes: Number of calls of ``update``.
    """

    def __init__(
        self,
        title: str,
        *,
        controls: Mapping[str, ipywidgets.Widget],
        outputs: Mapping[str, ipywidgets.Widget],
        update: Update,
        about: str = "",
        groups: Sequence[Sequence[str]] = (),
        actions: Mapping[str, Action] | None = None,
        arrange: Callable[[Mapping[str, ipywidgets.Widget]], ipywidgets.Widget]
        | None = None,
        model: Any = None,
        still: Callable[[], bytes | None] | None = None,
        has_images: bool = False,
    ) -> None:
        self.title, self.model = title, model
        self.controls: dict[str, Any] = dict(controls)
        self.outputs: dict[str, Any] = dict(outputs)
        self.last_error: BaseException | None = None
        self.refreshes = 0
        self._update, self._still, self._has_images = update, still, has_images
        self._pending: asyncio.TimerHandle | None = None
        self._took_s = 0.0
        self._paused = 0
        self._work: threading.Thread | None = None
        self._status = layout.text()
        self._error = layout.text()
        lower = arrange or (lambda outputs: layout.column(outputs.values()))
        rows = [[self.controls[name] for name in row] for row in groups or [controls]]
        self.view = ipywidgets.VBox(
            [
                layout.heading(title, about), *map(layout.row, rows), self._status,
                self._error, lower(self.outputs),
            ],
            layout={"grid_gap": "4px"},
        )  # fmt: skip
        self.view.add_class("isa-panel")
        for name in self.values:
            self.controls[name].observe(self.follow, "value")
        for name, action in (actions or {}).items():
            act = functools.partial(action, self)
            self.controls[name].on_click(lambda _, act=act: self.guard(act))

    # --- for notebooks --------------------------------------------------------

    def __repr__(self) -> str:
        return f"<panel {self.title!r}: {', '.join(self.controls)}>"

    def __getattr__(self, name: str) -> Any:
        """Return a control, an output, or an attribute of the model."""
        if not name.startswith("_"):
            for there in (self.controls, self.outputs):
                if name in there:
                    return there[name]
            if hasattr(self.model, name):
                return getattr(self.model, name)
        raise AttributeError(f"the panel has no {name!r}; it has {self!r}")

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, str]:
        """Return the live view, and what it shows now as a PNG and as HTML."""
        bundle: Any = self.view._repr_mimebundle_(**settings)
        drawn: Any = self._still() if self._still is not None else None
        shown: list[Any] = [] if drawn is None or self._has_images else [drawn]
        for widget in self.outputs.values():
            if layout.is_image(widget):
                shown.append(bytes(widget.value))
            elif isinstance(widget, ipywidgets.HTML):
                shown.append(widget.value)
        pictures: list[Any] = list(filter(layout.is_picture, [drawn, *shown]))
        if pictures:
            bundle["image/png"] = base64.b64encode(pictures[0]).decode()
        return {
            **bundle,
            "text/html": layout.still(
                self.title, [self._status.value, self._error.value, *shown]
            ),
            "text/plain": repr(self),
        }

    @property
    def values(self) -> dict[str, Any]:
        """The value of every control that has one."""
        return {
            name: widget.value
            for name, widget in self.controls.items()
            if widget.has_trait("value")
        }

    @property
    def message(self) -> str:
        """The status line under the controls, as plain text."""
        return layout.plain_text(self._status.value)

    @property
    def error(self) -> str:
        """The message of the last error; empty without one."""
        return layout.plain_text(self._error.value)

    @property
    def is_busy(self) -> bool:
        """Whether background work is running."""
        return self._work is not None and self._work.is_alive()

    def set(self, **values: Any) -> None:
        """Set several controls and draw once.

        Args:
            **values: Values by name of the control.

        Raises:
            ValueError: A control is unknown; the message lists all.
        """
        for name in values:
            check_one_of("control", name, self.values)
        with self.quietly():
            for name, value in values.items():
                self.controls[name].value = value
        self.refresh()

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Within this context changes of controls draw nothing."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def refresh(self) -> None:
        """Compute and draw for the values of the controls; an error becomes a message."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        began = time.monotonic()
        self.refreshes += 1
        self.guard(self._redraw)
        self._took_s = time.monotonic() - began

    def check(self) -> None:
        """Raise the last error, if the last refresh or action failed.

        A change that waits to be drawn is drawn first.
        """
        if self._pending is not None:
            self.refresh()
        if self.last_error is not None:
            raise self.last_error

    async def finished(self) -> None:
        """Wait for the end of the background work, and raise its error if it has failed.

        ``await panel.finished()`` in a cell leaves the kernel free for the panel: its
        controls work, and *Stop* ends the work. ``wait`` blocks them.

        Raises:
            Exception: The last refresh or action has failed; whatever it raised.
        """
        while self.is_busy:
            await asyncio.sleep(_POLL_S)
        self.check()

    async def show_run(self) -> None:
        """Display the panel, press *Run*, and wait as ``finished`` does.

        The panel can be used meanwhile; a stored notebook keeps what it shows at the end.
        """
        from IPython.display import display

        handle = display(self, display_id=True)
        self.run.click()
        await self.finished()
        if handle is not None:  # None outside of IPython
            handle.update(self)

    def wait(self, timeout_s: float | None = None) -> None:
        """Block until the end of the background work that a button started.

        In a notebook, ``await panel.finished()`` keeps *Stop* usable meanwhile.

        Args:
            timeout_s: Maximum time to wait in seconds; None for no limit.

        Raises:
            TimeoutError: The work has not ended by then.
        """
        work = self._work
        if work is None:
            return
        work.join(timeout_s)
        if work.is_alive():
            raise TimeoutError(
                f"{self.title!r} is still running after {timeout_s:g} s."
            )

    # --- for the files of the panels ------------------------------------------------

    def show_message(self, text: str) -> None:
        """Write the status line under the controls."""
        self._status.value = layout.note(text)

    def guard(self, function: Callable[[], Any]) -> bool:
        """Call a function; store and show the exception that it raises.

        Returns whether it succeeded; then the last error is cleared.
        """
        before = self.last_error
        try:
            function()
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - shown, stored, raised by ``check``
            self.last_error = error
            self._error.value = layout.error(sentence(error))
            return False
        # Background work that the function started may have failed by now.
        if self.last_error is before:
            self.last_error = None
            self._error.value = ""
        return True

    def start(
        self, function: Callable[[], Any], *, done: Callable[[], Any] | None = None
    ) -> None:
        """Call a function in a background thread, so that the kernel stays responsive.

        It may call ``show_message`` and change no other widget; if it succeeds, ``done`` is
        called afterwards, which by default clears the message and draws.
        """
        if self.is_busy:
            self.show_message("Still running. Wait, or press Stop.")
            return

        def work() -> None:
            self._enable(busy=True)
            try:
                # Two guards: the first success must not hide what the second raises.
                if self.guard(function):
                    self.guard(done or self._show_result)
            except CancelledError as stop:
                self.show_message(f"Stopped: {stop} Press Run to resume.")
            finally:
                self._enable(busy=False)

        self._work = threading.Thread(
            target=work, name=f"isa {self.title}", daemon=True
        )
        self._work.start()

    def _show_result(self) -> None:
        self.show_message("")
        self.refresh()
        self.check()

    def _enable(self, *, busy: bool) -> None:
        for name, widget in self.controls.items():
            if isinstance(widget, ipywidgets.Button):
                widget.disabled = busy != (name == "stop")

    def follow(self, change: Any) -> None:
        """Draw after a change of a trait: at once from Python, soon from a browser."""
        if self._paused:
            return
        if not _is_from_browser(change["owner"]):
            self.refresh()
        elif self._pending is None:
            # As long as the last redraw: half the time is left for messages.
            wait_s = max(_PAUSE_S, self._took_s)
            loop = asyncio.get_running_loop()
            self._pending = loop.call_later(wait_s, self.refresh)

    def _redraw(self) -> None:
        with _DRAWING:
            shown = self._update(self.values)
        self.write(shown)

    def write(self, shown: Mapping[str, Any]) -> None:
        """Write the value of each output by name, or several of its traits by name."""
        for name, value in shown.items():
            widget = self.outputs[name]
            if value is layout.STALE:
                widget.add_class("isa-stale")
                continue
            if isinstance(value, Mapping):
                with widget.hold_sync():  # one message, so that they agree
                    for trait, part in value.items():
                        setattr(widget, trait, part)
            else:
                widget.value = value
            widget.remove_class("isa-stale")
            if layout.is_image(widget):
                # An image that is not there yet takes no space.
                is_there = layout.is_picture(widget.value)
                widget.layout.display = None if is_there else "none"


def sentence(error: BaseException) -> str:
    """Return one line for an error: a sentence as it is, or after the name of its type."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    ours = isinstance(error, IsaError | ValueError | TypeError | OSError | RuntimeError)
    if text and ours and text.endswith((".", ")")):
        return text
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The disk is full ({error.strerror}). Free some space and try again."
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind


def _is_from_browser(widget: ipywidgets.Widget) -> bool:
    """Whether a change of this widget comes from a message of the browser.

    A widget has this lock only while it applies a message; Python code that sets a value
    in a cell runs in the same event loop, but expects the figure when the line is done.
    """
    return bool(getattr(widget, "_property_lock", None))
