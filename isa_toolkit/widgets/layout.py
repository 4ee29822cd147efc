"""How panels look: aligned labels, rows that wrap, colours of the reader's theme.

Text takes Jupyter's CSS variables, so light and dark themes both read well; pictures lie
on a white card, for their ink is dark.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets

__all__ = [
    "BLANK", "bar", "button", "caption", "choice", "column", "error", "frame",
    "heading", "is_picture", "look", "note", "number", "offer", "on_card", "picture",
    "plain", "row", "side_by_side", "slider", "span", "switch", "table", "text", "whole",
]  # fmt: skip

_LABEL = "8.5em"
# Of a label with its control: below the least, controls go to the next line.
_LEAST, _CONTROL, _WIDE = "22em", "34em", "46em"
# A white PNG of one pixel: a picture that is not there yet.
BLANK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwAB"
    "AQEAsTj2FAAAAABJRU5ErkJggg=="
)


# --- controls ---------------------------------------------------------------------------


def slider(
    label: str,
    value: float,
    *,
    low: float,
    high: float,
    step: float,
    help: str,
    form: str = ".2f",
    is_slow: bool = False,
) -> ipywidgets.FloatSlider:
    """Return a slider for a real number.

    Args:
        label: before it; with the unit, if there is one.
        value: at first.
        low: left end.
        high: right end.
        step: between two values.
        help: shown where the pointer rests.
        form: of the number beside it.
        is_slow: tell a change only when the handle is let go.
    """
    return ipywidgets.FloatSlider(
        value=value, min=low, max=high, step=step, description=label, tooltip=help,
        readout_format=form, continuous_update=not is_slow, **look(),
    )  # fmt: skip


def whole(
    label: str, value: int, *, low: int, high: int, help: str, is_slow: bool = False
) -> ipywidgets.IntSlider:
    """Return a slider for a whole number.

    Args:
        label: before it.
        value: at first.
        low: left end.
        high: right end.
        help: shown where the pointer rests.
        is_slow: tell a change only when the handle is let go.
    """
    return ipywidgets.IntSlider(
        value=value, min=low, max=high, description=label, tooltip=help,
        continuous_update=not is_slow, **look(),
    )  # fmt: skip


def span(
    label: str, value: tuple[float, float], *, low: float, high: float, help: str
) -> ipywidgets.FloatRangeSlider:
    """Return a slider with two handles.

    Args:
        label: before it.
        value: of both at first.
        low: left end.
        high: right end.
        help: shown where the pointer rests.
    """
    return ipywidgets.FloatRangeSlider(
        value=value, min=low, max=high, step=0.05, description=label, tooltip=help,
        readout_format=".2f", **look(),
    )  # fmt: skip


def number(
    label: str, value: int, *, low: int, high: int, help: str
) -> ipywidgets.BoundedIntText:
    """Return a field for a whole number.

    Args:
        label: before it.
        value: at first.
        low: the least.
        high: the largest.
        help: shown where the pointer rests.
    """
    return ipywidgets.BoundedIntText(
        value=value, min=low, max=high, description=label, tooltip=help, **look()
    )


def choice(
    label: str,
    options: Sequence[Any],
    value: Any = None,
    *,
    help: str,
    is_wide: bool = False,
) -> ipywidgets.Dropdown:
    """Return a list to choose one of.

    Args:
        label: before it.
        options: values, or pairs (name, value).
        value: at first; None for the first, if there is one.
        help: shown where the pointer rests.
        is_wide: for long names, such as those of runs.
    """
    made = ipywidgets.Dropdown(
        options=options, description=label, tooltip=help,
        **look(_WIDE if is_wide else _CONTROL),
    )  # fmt: skip
    if value is not None:
        made.value = value
    return made


def offer(widget: Any, options: list[tuple[str, Any]]) -> None:
    """Let a list offer other options, and keep what was chosen if it is still there.

    Args:
        widget: the list.
        options: pairs (name, value).
    """
    before = widget.value
    if list(widget.options) == options:
        return
    widget.options = options
    values = [value for _, value in options]
    if before in values:
        widget.value = before
    elif values and isinstance(widget, ipywidgets.Dropdown):
        widget.value = values[0]


def switch(label: str, value: bool, *, help: str) -> ipywidgets.Checkbox:
    """Return a box to tick.

    Args:
        label: beside it.
        value: at first.
        help: shown where the pointer rests.
    """
    return ipywidgets.Checkbox(
        value=value, description=label, tooltip=help, indent=False,
        layout={"width": "auto", "margin": "2px 18px 2px 0"},
    )  # fmt: skip


def button(
    label: str, *, help: str, icon: str = "", style: str = ""
) -> ipywidgets.Button:
    """Return a button.

    Args:
        label: on it.
        help: shown where the pointer rests.
        icon: Font Awesome's name.
        style: "primary", "danger" or none.
    """
    return ipywidgets.Button(
        description=label, tooltip=help, icon=icon, button_style=style,
        layout={"width": "auto", "min_width": "6.5em", "margin": "2px 0"},
    )  # fmt: skip


def look(width: str = _CONTROL) -> dict[str, Any]:
    """Return style and layout of a control: labels of one width, as wide as there is room.

    Args:
        width: of label and control together where there is room, CSS.
    """
    return {
        "style": {"description_width": _LABEL},
        "layout": {
            "width": "auto", "flex": f"1 1 {_LEAST}", "min_width": "0",
            "max_width": width, "margin": "2px 0",
        },
    }  # fmt: skip


# --- what is shown ----------------------------------------------------------------------


def text() -> ipywidgets.HTML:
    """Return a place for a line of text or a table."""
    return ipywidgets.HTML(layout={"max_width": "100%", "margin": "0"})


def picture(width: str = "660px") -> ipywidgets.Image:
    """Return a place for a picture, on a white card of at most the panel's width.

    Args:
        width: of the picture where there is room, CSS.
    """
    return on_card(ipywidgets.Image(format="png"), width)


def on_card(widget: ipywidgets.DOMWidget, width: str) -> Any:
    """Lay a picture on a white card and return it.

    Args:
        widget: shows a picture.
        width: of the picture where there is room, CSS.
    """
    widget.layout = {
        "width": width, "max_width": "100%", "height": "auto", "margin": "0",
        "align_self": "flex-start",
    }  # fmt: skip
    widget.add_class("isa-card")
    return widget


def is_picture(widget: Any) -> bool:
    """Return whether a widget shows a picture.

    Args:
        widget: any.
    """
    return isinstance(getattr(widget, "value", None), bytes | memoryview)


def heading(title: str, about: str) -> ipywidgets.HTML:
    """Return the heading of a panel, which also carries the style of all of it.

    Args:
        title: of the panel.
        about: one sentence, or nothing.
    """
    told = f'<div class="isa-about">{html.escape(about)}</div>' if about else ""
    css = Path(__file__).with_name("panel.css").read_text("utf-8")
    return ipywidgets.HTML(
        f'<style>{css}</style><div class="isa-title">{html.escape(title)}</div>{told}',
        layout={"margin": "0 0 6px 0", "max_width": "100%"},
    )


def note(words: str) -> str:
    """Return a quiet line as HTML.

    Args:
        words: plain text.
    """
    return f'<div class="isa-note">{html.escape(words)}</div>' if words else ""


def caption(words: str) -> str:
    """Return what a figure shows, as HTML.

    Args:
        words: plain text.
    """
    return f'<div class="isa-caption">{html.escape(words)}</div>' if words else ""


def error(words: str) -> str:
    """Return a line that tells of an error as HTML.

    Args:
        words: plain text.
    """
    return f'<div class="isa-error" role="alert">{html.escape(words)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as HTML; the first column is of words, the others of numbers.

    Args:
        heads: of the columns.
        rows: cells; those that ``bar`` made are taken as they are, others escaped.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        '<div class="isa-scroll"><table class="isa">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


class _Markup(str):
    """HTML of our own making, not to be escaped."""


def bar(share: float) -> str:
    """Return a bar for a cell of a table.

    Args:
        share: of its full length, cut to [0, 1].
    """
    width = 5 * min(max(share, 0.0), 1.0)
    return _Markup(f'<span class="isa-bar" style="width:{width:.2f}em"></span>')


def _cell(cell: Any) -> str:
    if isinstance(cell, _Markup):
        return f'<td class="isa-left">{cell}</td>'
    return f"<td>{html.escape(str(cell))}</td>"


def plain(markup: str) -> str:
    """Return the words of HTML.

    Args:
        markup: from this module.
    """
    return html.unescape(re.sub(r"<[^>]*>", " ", markup)).strip()


# --- boxes ------------------------------------------------------------------------------


def row(widgets: Iterable[ipywidgets.Widget]) -> ipywidgets.Box:
    """Return widgets side by side; what does not fit goes to the next line.

    Labelled controls stand in columns of one width, rows with a button are packed.

    Args:
        widgets: from left to right.
    """
    them = list(widgets)
    how = {"display": "flex", "flex_flow": "row wrap", "grid_gap": "2px 6px"}
    if not any(isinstance(one, ipywidgets.Button) for one in them):
        columns = f"repeat(auto-fill, minmax(min(100%, {_LEAST}), 1fr))"
        how = {"display": "grid", "grid_template_columns": columns}
        how["grid_gap"] = "2px 18px"
    return ipywidgets.Box(them, layout={"align_items": "flex-start", **how})


def column(widgets: Iterable[ipywidgets.Widget]) -> ipywidgets.VBox:
    """Return widgets one below the other.

    Args:
        widgets: from top to bottom.
    """
    return ipywidgets.VBox(
        list(widgets), layout={"max_width": "100%", "grid_gap": "8px"}
    )


def side_by_side(widgets: Iterable[ipywidgets.Widget]) -> ipywidgets.Box:
    """Return pictures and tables side by side, or below each other where it is narrow.

    Args:
        widgets: from left to right.
    """
    return ipywidgets.Box(
        list(widgets),
        layout={
            "display": "flex", "flex_flow": "row wrap", "align_items": "flex-start",
            "grid_gap": "10px 18px", "max_width": "100%",
        },
    )  # fmt: skip


def frame(
    head: ipywidgets.Widget,
    rows: Sequence[ipywidgets.Widget],
    lines: Sequence[ipywidgets.Widget],
    lower: ipywidgets.Widget,
) -> ipywidgets.VBox:
    """Return the box of a whole panel.

    Args:
        head: heading.
        rows: of controls.
        lines: of text: what goes on, what went wrong.
        lower: pictures and tables.
    """
    made = ipywidgets.VBox([head, *rows, *lines, lower], layout={"grid_gap": "4px"})
    made.add_class("isa-panel")
    return made
