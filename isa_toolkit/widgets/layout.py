"""Controls, text and boxes of the panels, with one look.

Text uses Jupyter's CSS variables, so light and dark themes are both readable. Figures have
dark ink on white; in a dark theme the browser inverts their lightness and keeps their hues.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import ipywidgets
import numpy as np
import traitlets
from markupsafe import Markup, escape
from PIL import Image

from isa_toolkit.display import picture_grid
from isa_toolkit.errors import InvalidValueError

# Widths of a label, and of a label with its control: at least, at most, for long names.
_LABEL, _LEAST, _CONTROL, WIDE = "8.5em", "22em", "34em", "46em"
# A white PNG of one pixel: an image that is not there yet.
BLANK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwAB"
    "AQEAsTj2FAAAAABJRU5ErkJggg=="
)
# In place of the value of an output: it stays, greyed, until there is a new one.
STALE = object()


# --- controls ---------------------------------------------------------------------------


def control(
    kind: type[Any], label: str, value: Any = None, *, help: str,
    width: str = _CONTROL, **traits: Any,
) -> Any:  # fmt: skip
    """Return a labelled control with a tooltip, as wide as there is room up to ``width``.

    ``value`` None is the widget's own; ``traits`` are such as ``min``, ``max``, ``options``.
    """
    if value is not None:
        traits["value"] = value
    return kind(
        description=label, tooltip=help, style={"description_width": _LABEL},
        layout={
            "width": "auto", "flex": f"1 1 {_LEAST}", "min_width": "0",
            "max_width": width, "margin": "2px 0",
        },
        **traits,
    )  # fmt: skip


slider = partial(control, ipywidgets.FloatSlider, readout_format=".2f")
int_slider = partial(control, ipywidgets.IntSlider)
range_slider = partial(
    control, ipywidgets.FloatRangeSlider, readout_format=".2f", step=0.05
)
int_field = partial(control, ipywidgets.BoundedIntText)
# The options of a list are values, or pairs (name, value).
dropdown = partial(control, ipywidgets.Dropdown)
several = partial(
    control, ipywidgets.SelectMultiple, help="Pick with Ctrl or Shift", rows=4
)


def checkbox(label: str, value: bool, *, help: str) -> ipywidgets.Checkbox:
    """Return a check box before its label."""
    return ipywidgets.Checkbox(
        value=value, description=label, tooltip=help, indent=False,
        layout={"width": "auto", "margin": "2px 18px 2px 0"},
    )  # fmt: skip


def button(label: str, help: str, **traits: Any) -> ipywidgets.Button:
    """Return a button; ``traits`` are such as ``icon``, the name of a Font Awesome icon."""
    return ipywidgets.Button(
        description=label, tooltip=help,
        layout={"width": "auto", "min_width": "6.5em", "margin": "2px 0"}, **traits,
    )  # fmt: skip


run_button = partial(button, icon="play", button_style="primary")
# Disabled until there is something to stop.
stop_button = partial(button, icon="stop", button_style="danger", disabled=True)
refresh_button = partial(
    button, "Refresh list", "Read the folder again", icon="refresh"
)


@final
class Chips(ipywidgets.HBox):
    """Toggle buttons after a label, of which any number is on.

    Attributes:
        value: Values of the buttons that are on, in the order of the options.
    """

    value = traitlets.Tuple()
    # Not for the browser: a box with a tooltip fails there (ipywidgets 8.1).
    tooltip = traitlets.Unicode()
    _is_writing = False

    def __init__(
        self, label: str, value: Sequence[Any], *, options: Sequence[tuple[str, Any]],
        help: str,
    ) -> None:  # fmt: skip
        self._buttons = {
            each: ipywidgets.ToggleButton(
                description=name, value=each in value, tooltip=help,
                layout={"width": "auto", "margin": "1px"},
            )
            for name, each in options
        }  # fmt: skip
        super().__init__(
            [
                ipywidgets.Label(label, layout={"width": _LABEL, "flex": "none"}),
                flow(self._buttons.values(), gap="0"),
            ],
            tooltip=help, layout={"max_width": "100%"},
        )  # fmt: skip
        self.add_class("isa-chips")
        self.value = tuple(value)
        for button in self._buttons.values():
            button.observe(self._read, "value")

    @traitlets.validate("value")
    def _in_order(self, proposal: Any) -> tuple[Any, ...]:
        if unknown := set(proposal["value"]) - set(self._buttons):
            raise InvalidValueError(
                f"value must be among {list(self._buttons)}, got {unknown.pop()!r}."
            )
        return tuple(each for each in self._buttons if each in proposal["value"])

    @traitlets.observe("value")
    def _write(self, change: Any) -> None:
        self._is_writing = True
        for each, button in self._buttons.items():
            button.value = each in change["new"]
        self._is_writing = False

    def _read(self, change: Any) -> None:
        del change
        if not self._is_writing:
            self.value = tuple(k for k, button in self._buttons.items() if button.value)


def set_options(widget: Any, options: list[tuple[str, Any]]) -> None:
    """Replace the options of a list, and keep what is chosen if it is still among them."""
    if list(widget.options) == options:
        return
    before, values = widget.value, [value for _, value in options]
    if isinstance(widget, ipywidgets.SelectMultiple):
        widget.value = ()
        widget.options = options
        widget.value = [value for value in before if value in values]
        return
    widget.options = options
    if values:
        widget.value = before if before in values else values[0]


# --- outputs ----------------------------------------------------------------------------


def text() -> ipywidgets.HTML:
    """Return an output for a line of text or a table."""
    return ipywidgets.HTML(layout={"max_width": "100%", "margin": "0"})


def image(width: str = "660px") -> ipywidgets.Image:
    """Return an output for a PNG, hidden until there is one.

    A figure is as wide as ``width``, and wider in a wide panel; ``width`` "auto" is for
    images of samples, which keep their pixels and, in a dark theme, their lightness.
    """
    is_figure = width != "auto"
    widget = ipywidgets.Image(
        value=BLANK, format="png",
        layout={
            "width": f"max({width}, 50%)" if is_figure else width, "max_width": "100%",
            "height": "auto", "margin": "0", "align_self": "flex-start", "display": "none",
        },
    )  # fmt: skip
    widget.add_class("isa-figure" if is_figure else "isa-samples")
    return widget


def is_image(widget: Any) -> bool:
    """Return whether a widget shows an image."""
    return isinstance(getattr(widget, "value", None), bytes | memoryview)


def is_picture(value: Any) -> bool:
    """Return whether a value of an output is a PNG, and not ``BLANK`` or empty."""
    return isinstance(value, bytes | memoryview) and bytes(value) not in (BLANK, b"")


def fewer_colours(png: bytes) -> bytes:
    """Return the PNG of a figure with 128 colours, which is a third of its size."""
    made = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


def progress_bar() -> ipywidgets.FloatProgress:
    """Return an output for a fraction of steps, see ``progress``."""
    return ipywidgets.FloatProgress(
        min=0, max=1, description="0 %", style={"description_width": _LABEL},
        layout={"width": "auto", "max_width": "660px", "margin": "2px 0"},
    )  # fmt: skip


def progress(fraction: float, state: str) -> dict[str, Any]:
    """Return what a progress bar shows of a run or a sweep in some state."""
    colours = {"done": "success", "failed": "danger", "diverged": "danger"}
    return {
        "value": fraction,
        "bar_style": colours.get(state, ""),
        "description": f"{100 * fraction:.0f} %",
    }


# --- text -------------------------------------------------------------------------------


def heading(title: str, about: str) -> ipywidgets.HTML:
    """Return the heading of a panel, which also carries the panel's CSS."""
    css = Path(__file__).with_name("panel.css").read_text("utf-8")
    return ipywidgets.HTML(
        f"<style>{css}</style>{_block('title', title)}{_block('about', about)}",
        layout={"margin": "0 0 6px 0", "max_width": "100%"},
    )


def _block(kind: str, text: str, attributes: str = "") -> str:
    return f'<div class="isa-{kind}"{attributes}>{escape(text)}</div>' if text else ""


note = partial(_block, "note")
caption = partial(_block, "caption")
error = partial(_block, "error", attributes=' role="alert"')


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as HTML; the first column holds text, the others numbers or bars."""
    head = " ".join(f"<th>{escape(name)}</th>" for name in heads)
    body = " ".join(f"<tr>{' '.join(map(_cell, row))}</tr>" for row in rows)
    return (
        '<div class="isa-scroll"><table class="isa">'
        f"<thead><tr>{head}</tr></thead> <tbody>{body}</tbody></table></div>"
    )


def bar(fraction: float) -> Markup:
    """Return a horizontal bar for a cell of a table, of this fraction of the full length."""
    width = 5 * min(max(fraction, 0.0), 1.0)
    return Markup('<span class="isa-bar" style="width:{:.2f}em"></span>').format(width)


def thumbnails(images: np.ndarray, *, side: int = 48) -> Markup:
    """Return images as a row of pictures for a cell of a table."""
    content = picture_grid([images], side=side)._repr_png_() or BLANK
    image = Markup('<img class="isa-samples" src="data:image/png;base64,{}">')
    return image.format(base64.b64encode(content).decode())


def legend(colours: Mapping[str, str]) -> str:
    """Return names with their colours as HTML."""
    dot = Markup('<span class="isa-dot" style="color:{}">\N{BLACK CIRCLE}</span> {}')
    return Markup('<div class="isa-legend">{}</div>').format(
        Markup(" &emsp;").join(
            dot.format(colour, name) for name, colour in colours.items()
        )
    )


def _cell(cell: Any) -> str:
    is_bar = isinstance(cell, Markup)
    return f"<td{' class=isa-left' if is_bar else ''}>{escape(cell)}</td>"


def still(title: str, parts: Iterable[str | bytes]) -> str:
    """Return HTML of what a panel shows, without the panel's CSS: on GitHub there is none."""
    made = [f"<p><b>{escape(title)}</b></p>"]
    for part in parts:
        if isinstance(part, str):
            made.append(part)
        elif is_picture(part):
            source = f"data:image/png;base64,{base64.b64encode(part).decode()}"
            made.append(
                f'<p><img alt="{escape(title)}" style="max-width:100%" src="{source}"></p>'
            )
    return "\n".join(filter(None, made))


def plain_text(markup: str) -> str:
    """Return the text of HTML that this module made."""
    return Markup(markup).striptags()


# --- boxes ------------------------------------------------------------------------------


def row(widgets: Iterable[ipywidgets.Widget]) -> ipywidgets.Box:
    """Return widgets in a row; what does not fit goes to the next line.

    Labelled controls form columns of one width; rows with a button are packed, and a control
    alone is as wide as it may be.
    """
    children = list(widgets)
    if len(children) == 1 or any(
        isinstance(one, ipywidgets.Button | Chips) for one in children
    ):
        return flow(children, gap="2px 6px")
    columns = f"repeat(auto-fill, minmax(min(100%, {_LEAST}), 1fr))"
    return ipywidgets.GridBox(
        children,
        layout={
            "grid_template_columns": columns, "grid_gap": "2px 18px",
            "align_items": "flex-start",
        },
    )  # fmt: skip


def column(
    widgets: Iterable[ipywidgets.Widget], width: str = "auto"
) -> ipywidgets.VBox:
    """Return widgets in a column."""
    return ipywidgets.VBox(
        list(widgets),
        layout={"max_width": "100%", "width": width, "grid_gap": "8px"},
    )


def grid(least: str) -> ipywidgets.GridBox:
    """Return an output for views of one width, at least ``least``, side by side."""
    return ipywidgets.GridBox(
        layout={
            "grid_template_columns": f"repeat(auto-fit, minmax(min(100%, {least}), 1fr))",
            "grid_gap": "8px", "max_width": "100%",
        },
    )  # fmt: skip


def flow(
    widgets: Iterable[ipywidgets.Widget], gap: str = "10px 18px"
) -> ipywidgets.HBox:
    """Return images and tables in a row, or in a column where the panel is narrow."""
    return ipywidgets.HBox(
        list(widgets),
        layout={
            "flex_flow": "row wrap", "align_items": "flex-start", "grid_gap": gap,
            "max_width": "100%",
        },
    )  # fmt: skip
