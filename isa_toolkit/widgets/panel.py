"""A panel: named controls, what they show, and one function from the former to the latter.

The panel calls that function when a control changes and writes what it returns into the
widgets that show it. Changes from a browser arrive one message at a time, faster than a
figure draws; they are coalesced, so that the last value is drawn and few before it.
Changes from Python are drawn at once. What each panel computes is left to its file.
"""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import ipywidgets

from isa_toolkit.widgets import layout

__all__ = ["Panel", "sentence"]

Update = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Action = Callable[["Panel"], Any]

# Matplotlib's settings are one for the process, so one panel draws at a time.
_DRAWING = threading.RLock()
# Long enough for the messages that wait to be read, too short to be seen.
_PAUSE_S = 0.02
_LONGEST = 400


@final
class Panel:
    """Controls, what they show, and how the one becomes the other.

    Args:
        title: heading.
        controls: name -> widget; those with a value are observed, buttons are not.
        shows: name -> widget whose ``value`` is written.
        update: values of the controls -> values of ``shows``; may leave some out.
        about: one sentence under the heading.
        groups: names of controls, row by row; all in one row if left out.
        actions: name of a button in ``controls`` -> what a click does to the panel.
        arrange: makes the lower part of the view from ``shows``; None: one below the other.
        model: the object behind the panel, if there is one; its public attributes can be
            read from the panel, too.

    Attributes:
        controls: by name.
        shows: by name.
        view: the box that is displayed.
        last_error: what the last refresh or action raised, or None.
        refreshes: how often ``update`` was called.
    """

    def __init__(
        self,
        title: str,
        *,
        controls: Mapping[str, ipywidgets.Widget],
        shows: Mapping[str, ipywidgets.Widget],
        update: Update,
        about: str = "",
        groups: Sequence[Sequence[str]] = (),
        actions: Mapping[str, Action] | None = None,
        arrange: Callable[[Mapping[str, ipywidgets.Widget]], ipywidgets.Widget]
        | None = None,
        model: Any = None,
    ) -> None:
        self.title, self.model = title, model
        self.controls, self.shows = dict(controls), dict(shows)
        self.last_error: BaseException | None = None
        self.refreshes = 0
        self._update = update
        self._pending: asyncio.TimerHandle | None = None
        self._took_s = 0.0
        self._held = 0
        self._work: threading.Thread | None = None
        self._status = layout.text()
        self._error = layout.text()
        lower = arrange(self.shows) if arrange else layout.column(self.shows.values())
        rows = [[self.controls[name] for name in row] for row in groups]
        self.view = layout.frame(
            layout.heading(title, about),
            [layout.row(row) for row in rows or [list(self.controls.values())]],
            [self._status, self._error],
            lower,
        )
        for widget in self.controls.values():
            if isinstance(widget, ipywidgets.Button):
                continue
            if widget.has_trait("value"):
                widget.observe(self.follow, "value")
        for name, action in (actions or {}).items():
            self._connect(name, action)

    # --- what a notebook asks --------------------------------------------------------

    def __repr__(self) -> str:
        return f"<panel {self.title!r}: {', '.join(self.controls)}>"

    def __getattr__(self, name: str) -> Any:
        """Return a control, what is shown, or an attribute of the model."""
        if not name.startswith("_"):
            for there in (self.controls, self.shows):
                if name in there:
                    return there[name]
            if hasattr(self.model, name):
                return getattr(self.model, name)
        raise AttributeError(f"the panel has no {name!r}; it has {self!r}")

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, str]:
        bundle: Any = self.view._repr_mimebundle_(**settings)
        return {**bundle, "text/plain": repr(self)}

    @property
    def values(self) -> dict[str, Any]:
        """Return the value of every control that has one."""
        return {
            name: widget.value  # pyright: ignore[reportAttributeAccessIssue]
            for name, widget in self.controls.items()
            if not isinstance(widget, ipywidgets.Button) and widget.has_trait("value")
        }

    @property
    def message(self) -> str:
        """Return the line of text under the controls, without markup."""
        return layout.plain(self._status.value)

    @property
    def error(self) -> str:
        """Return the line that tells of the last error; empty without one."""
        return layout.plain(self._error.value)

    @property
    def is_busy(self) -> bool:
        """Whether work that ``start`` began goes on."""
        return self._work is not None and self._work.is_alive()

    def set(self, **values: Any) -> None:
        """Turn several controls and draw once.

        Args:
            values: name of a control -> its value.

        Raises:
            ValueError: an unknown control; the sentence lists them.
        """
        from isa_toolkit.checks import check_one_of

        for name in values:
            check_one_of("control", name, self.values)
        with self.quietly():
            for name, value in values.items():
                self.controls[name].value = value  # pyright: ignore[reportAttributeAccessIssue]
        self.refresh()

    def quietly(self) -> _Quietly:
        """Return a context in which changed controls draw nothing."""
        return _Quietly(self)

    def refresh(self) -> None:
        """Compute and draw what the controls ask for; an error becomes a line of the view."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        began = time.monotonic()
        self.refreshes += 1
        self.guard(self._redraw)
        self._took_s = time.monotonic() - began

    def check(self) -> None:
        """Raise the last error, if the last refresh or action failed.

        A change that still waits to be drawn is drawn first.
        """
        if self._pending is not None:
            self.refresh()
        if self.last_error is not None:
            raise self.last_error

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when the work that a button began has ended.

        Args:
            timeout_s: seconds to wait at most; None for any number.

        Raises:
            TimeoutError: it goes on.
        """
        work = self._work
        if work is None:
            return
        work.join(timeout_s)
        if work.is_alive():
            raise TimeoutError(f"{self.title!r} still works after {timeout_s:g} s.")

    # --- what a panel's own file asks ------------------------------------------------

    def say(self, text: str) -> None:
        """Write the line of text under the controls.

        Args:
            text: plain; empty for nothing.
        """
        self._status.value = layout.note(text)

    def guard(self, function: Callable[[], Any]) -> bool:
        """Call a function; keep and show what it raises.

        Args:
            function: without arguments.

        Returns:
            Whether it came through; then the last error is forgotten.
        """
        before = self.last_error
        try:
            function()
        except Exception as error:  # noqa: BLE001 - shown, kept, raised by ``check``
            self.fail(error)
            return False
        # What the function has begun in the background may have failed by now.
        if self.last_error is before:
            self.last_error = None
            self._error.value = ""
        return True

    def fail(self, error: BaseException) -> None:
        """Keep an error and show its sentence.

        Args:
            error: what was raised.
        """
        self.last_error = error
        self._error.value = layout.error(sentence(error))

    def start(self, function: Callable[[], Any], *, done: Callable[[], Any]) -> None:
        """Call a function in the background, so that the kernel stays free.

        Args:
            function: takes long; touches no widget but through ``say``.
            done: called after it, if it came through.
        """
        if self.is_busy:
            self.say("Still at work. Wait, or press Stop.")
            return

        def work() -> None:
            self._enable(busy=True)
            try:
                # Two guards: the first success must not hide what the second raises.
                if self.guard(function):
                    self.guard(done)
            except KeyboardInterrupt as stop:
                self.say(f"Stopped: {stop}. Press Run to go on.")
            finally:
                self._enable(busy=False)

        self._work = threading.Thread(
            target=work, name=f"isa {self.title}", daemon=True
        )
        self._work.start()

    def _enable(self, *, busy: bool) -> None:
        for name, widget in self.controls.items():
            if isinstance(widget, ipywidgets.Button):
                widget.disabled = busy != (name == "stop")

    def follow(self, change: Any) -> None:
        """Draw what a change asks for: at once from Python, soon from a browser.

        Args:
            change: of a trait, as ``observe`` tells it.
        """
        if self._held:
            return
        loop = _loop() if _is_from_browser(change["owner"]) else None
        if loop is None:
            self.refresh()
        elif self._pending is None:
            # As long as the last one took: half the time is left for messages.
            wait_s = max(_PAUSE_S, self._took_s)
            self._pending = loop.call_later(wait_s, self.refresh)

    # --- pieces ----------------------------------------------------------------------

    def _connect(self, name: str, action: Action) -> None:
        button = self.controls[name]
        assert isinstance(button, ipywidgets.Button)
        button.on_click(lambda _: self.guard(lambda: action(self)))

    def _redraw(self) -> None:
        with _DRAWING:
            shown = self._update(self.values)
        self.write(shown)

    def write(self, shown: Mapping[str, Any]) -> None:
        """Write into the widgets that show things.

        Args:
            shown: name -> value of the widget, or several traits of it by name.
        """
        for name, value in shown.items():
            widget: Any = self.shows[name]
            if isinstance(value, Mapping):
                with widget.hold_sync():  # one message, in which they agree
                    for trait, part in value.items():
                        setattr(widget, trait, part)
            else:
                widget.value = value
            if layout.is_picture(widget):
                # A picture that is not there yet takes no room.
                is_there = bytes(widget.value) != layout.BLANK
                widget.layout.display = None if is_there else "none"


class _Quietly:
    """While it is entered, changes of controls draw nothing."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    def __enter__(self) -> None:
        self._panel._held += 1

    def __exit__(self, *_: object) -> None:
        self._panel._held -= 1


def sentence(error: BaseException) -> str:
    """Return one readable line for an error, to be escaped by whoever shows it.

    Args:
        error: what was raised.

    Returns:
        The toolkit's own sentences as they are; others after the name of their kind.
    """
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    ours = isinstance(error, ValueError | TypeError | OSError | RuntimeError)
    if text and ours and text.endswith((".", ")")):
        return text
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The disk is full ({error.strerror}). Free some space and try again."
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_from_browser(widget: ipywidgets.Widget) -> bool:
    """Whether a change of this widget is being taken over from a message.

    A widget holds this lock just while it applies one; Python code that sets a value in a
    cell runs in the same loop, but expects the figure when the line is done.
    """
    return bool(getattr(widget, "_property_lock", None))
