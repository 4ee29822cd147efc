"""Controls, text and boxes of the panels, with one look.

Text uses Jupyter's CSS variables, so light and dark themes are both readable; images lie
on a white card, because figures have dark ink.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets

__all__ = [
    "BLANK", "bar", "button", "caption", "checkbox", "column", "control", "dropdown",
    "error", "flow", "frame", "heading", "image", "int_field", "int_slider", "is_image",
    "note", "on_card", "plain_text", "range_slider", "row", "set_options", "slider",
    "style", "table", "text",
]  # fmt: skip

# Widths of a label, and of a label with its control: at least, at most, for long names.
_LABEL, _LEAST, _CONTROL, WIDE = "8.5em", "22em", "34em", "46em"
# A white PNG of one pixel: an image that is not there yet.
BLANK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwAB"
    "AQEAsTj2FAAAAABJRU5ErkJggg=="
)


# --- controls ---------------------------------------------------------------------------


def style(width: str = _CONTROL) -> dict[str, Any]:
    """Return style and layout of a control: labels of one width, as wide as there is room.

    Args:
        width: Largest width of label and control together, in CSS.
    """
    return {
        "style": {"description_width": _LABEL},
        "layout": {
            "width": "auto", "flex": f"1 1 {_LEAST}", "min_width": "0",
            "max_width": width, "margin": "2px 0",
        },
    }  # fmt: skip


def control(
    kind: type[Any], label: str, value: Any = None, *, help: str,
    width: str = _CONTROL, **traits: Any,
) -> Any:  # fmt: skip
    """Return a labelled control.

    Args:
        kind: Class of the widget.
        label: Text before the control, with the unit if there is one.
        value: Initial value; None for the widget's own.
        help: Tooltip.
        width: Largest width of label and control together, in CSS.
        **traits: Further traits of the widget, such as ``min``, ``max`` and ``options``.
    """
    if value is not None:
        traits["value"] = value
    return kind(description=label, tooltip=help, **style(width), **traits)


slider = partial(control, ipywidgets.FloatSlider, readout_format=".2f")
int_slider = partial(control, ipywidgets.IntSlider)
range_slider = partial(
    control, ipywidgets.FloatRangeSlider, readout_format=".2f", step=0.05
)
int_field = partial(control, ipywidgets.BoundedIntText)


def dropdown(
    label: str, options: Sequence[Any], value: Any = None, *, help: str,
    width: str = _CONTROL,
) -> ipywidgets.Dropdown:  # fmt: skip
    """Return a list to choose one option of.

    Args:
        label: Text before the list.
        options: Values, or pairs (name, value).
        value: Initial value; None for the first option, if there is one.
        help: Tooltip.
        width: Largest width of label and list together, in CSS.
    """
    return control(
        ipywidgets.Dropdown, label, value, help=help, width=width, options=options
    )


def checkbox(label: str, value: bool, *, help: str) -> ipywidgets.Checkbox:
    """Return a check box.

    Args:
        label: Text after the box.
        value: Whether it is checked at first.
        help: Tooltip.
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
        label: Text on the button.
        help: Tooltip.
        icon: Name of a Font Awesome icon, or nothing.
        style: One of "primary", "danger" or nothing.
    """
    return ipywidgets.Button(
        description=label, tooltip=help, icon=icon, button_style=style,
        layout={"width": "auto", "min_width": "6.5em", "margin": "2px 0"},
    )  # fmt: skip


def set_options(widget: Any, options: list[tuple[str, Any]]) -> None:
    """Replace the options of a list, and keep the value if it is still among them.

    Args:
        widget: The list.
        options: Pairs (name, value).
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


# --- outputs ----------------------------------------------------------------------------


def text() -> ipywidgets.HTML:
    """Return an output for a line of text or a table."""
    return ipywidgets.HTML(layout={"max_width": "100%", "margin": "0"})


def image(width: str = "660px") -> ipywidgets.Image:
    """Return an output for a PNG, on a white card at most as wide as the panel.

    Args:
        width: Width of the image where there is room, in CSS.
    """
    return on_card(ipywidgets.Image(format="png"), width)


def on_card(widget: ipywidgets.DOMWidget, width: str) -> Any:
    """Put an image widget on a white card and return it.

    Args:
        widget: Widget that shows an image.
        width: Width of the image where there is room, in CSS.
    """
    widget.layout = {
        "width": width, "max_width": "100%", "height": "auto", "margin": "0",
        "align_self": "flex-start",
    }  # fmt: skip
    widget.add_class("isa-card")
    return widget


def is_image(widget: Any) -> bool:
    """Return whether a widget shows an image.

    Args:
        widget: Any widget.
    """
    return isinstance(getattr(widget, "value", None), bytes | memoryview)


def heading(title: str, about: str) -> ipywidgets.HTML:
    """Return the heading of a panel, which also carries the panel's CSS.

    Args:
        title: Title of the panel.
        about: One sentence about it, or nothing.
    """
    sub = f'<div class="isa-about">{html.escape(about)}</div>' if about else ""
    css = Path(__file__).with_name("panel.css").read_text("utf-8")
    return ipywidgets.HTML(
        f'<style>{css}</style><div class="isa-title">{html.escape(title)}</div>{sub}',
        layout={"margin": "0 0 6px 0", "max_width": "100%"},
    )


def _block(kind: str, text: str) -> str:
    return f'<div class="isa-{kind}">{html.escape(text)}</div>' if text else ""


note = partial(_block, "note")
caption = partial(_block, "caption")


def error(text: str) -> str:
    """Return an error message as HTML.

    Args:
        text: Plain text.
    """
    return f'<div class="isa-error" role="alert">{html.escape(text)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as HTML; the first column holds text, the others numbers.

    Args:
        heads: Heads of the columns.
        rows: Cells row by row; cells from ``bar`` are inserted as they are, others escaped.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        '<div class="isa-scroll"><table class="isa">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


class _Markup(str):
    """HTML that this module made, not to be escaped."""


def bar(fraction: float) -> str:
    """Return a horizontal bar for a cell of a table.

    Args:
        fraction: Length as a fraction of the full length, clipped to [0, 1].
    """
    width = 5 * min(max(fraction, 0.0), 1.0)
    return _Markup(f'<span class="isa-bar" style="width:{width:.2f}em"></span>')


def _cell(cell: Any) -> str:
    if isinstance(cell, _Markup):
        return f'<td class="isa-left">{cell}</td>'
    return f"<td>{html.escape(str(cell))}</td>"


def plain_text(markup: str) -> str:
    """Return the text of HTML that this module made.

    Args:
        markup: The HTML.
    """
    return html.unescape(re.sub(r"<[^>]*>", " ", markup)).strip()


# --- boxes ------------------------------------------------------------------------------


def row(widgets: Iterable[ipywidgets.Widget]) -> ipywidgets.Box:
    """Return widgets in a row; what does not fit goes to the next line.

    Labelled controls form columns of one width; rows with a button are packed.

    Args:
        widgets: Widgets from left to right.
    """
    children = list(widgets)
    how = {"display": "flex", "flex_flow": "row wrap", "grid_gap": "2px 6px"}
    if not any(isinstance(one, ipywidgets.Button) for one in children):
        columns = f"repeat(auto-fill, minmax(min(100%, {_LEAST}), 1fr))"
        how = {"display": "grid", "grid_template_columns": columns}
        how["grid_gap"] = "2px 18px"
    return ipywidgets.Box(children, layout={"align_items": "flex-start", **how})


def column(widgets: Iterable[ipywidgets.Widget]) -> ipywidgets.VBox:
    """Return widgets in a column.

    Args:
        widgets: Widgets from top to bottom.
    """
    return ipywidgets.VBox(
        list(widgets), layout={"max_width": "100%", "grid_gap": "8px"}
    )


def flow(widgets: Iterable[ipywidgets.Widget]) -> ipywidgets.Box:
    """Return images and tables in a row, or in a column where the panel is narrow.

    Args:
        widgets: Widgets from left to right.
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
    messages: Sequence[ipywidgets.Widget],
    outputs: ipywidgets.Widget,
) -> ipywidgets.VBox:
    """Return the box of a whole panel.

    Args:
        head: Heading.
        rows: Rows of controls.
        messages: Status line and error line.
        outputs: Images and tables.
    """
    made = ipywidgets.VBox(
        [head, *rows, *messages, outputs], layout={"grid_gap": "4px"}
    )
    made.add_class("isa-panel")
    return made
