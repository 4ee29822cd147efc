"""A grid of images, in which each pixel of each image is a square of the same size.

The grid is one picture, so that hundreds of images draw as fast as ten. Its size makes a
pixel of an image cover a whole number of the figure's dots, so nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from isa_toolkit.checks import check_number
from isa_toolkit.display import picture_grid
from isa_toolkit.figures.style import Size, house_style, new_figure, width_in

_LABEL_POINTS, _SMALL_POINTS, _NARROW_IN = 7, 6, 4
# Margin of the figure, and gap between the grid and its labels.
_MARGIN_IN, _LABEL_GAP_IN = 0.05, 0.05


class ImageRow(NamedTuple):
    """One row of a grid.

    images: Pixels in [0, 1], 1 or 3 channels, [m, h, w, ch], of the same size as in other
        rows; values outside are clipped.
    label: Text left of the row, of one or more lines.
    colour: Colour of the label and the note.
    note: Text right of the row, of one or more lines.
    """

    images: Float[np.ndarray, "m h w ch"]
    label: str = ""
    colour: str = "black"
    note: str = ""


def image_sheet(rows: Sequence[ImageRow]) -> UInt8[np.ndarray, "height width 3"]:
    """Return the rows as one RGB picture, with white lines between images.

    A pixel of an image is one of its pixels. Shorter rows end in white; grey and colour
    images may be mixed. Grey images are drawn as ink on white paper: 1 is black.
    """
    height, width = rows[0].images.shape[1:3]
    coloured = [
        np.repeat(1 - row.images, 3, axis=-1)
        if row.images.shape[-1] == 1
        else row.images
        for row in rows
    ]
    return np.asarray(picture_grid(coloured, side=1, gap=_gap(height, width)))


def plot_grid(
    ax: Axes,
    rows: Sequence[ImageRow],
    *,
    titles: Sequence[str] = (),
    points: float = _LABEL_POINTS,
) -> tuple[list[Annotation], list[Annotation], list[Annotation]]:
    """Draw rows of images into axes; return their labels, the titles, and their notes."""
    picture = image_sheet(rows)
    height, width = rows[0].images.shape[1:3]
    gap = _gap(height, width)
    ax.imshow(picture, interpolation="none")
    ax.set_axis_off()
    offset = 72 * _LABEL_GAP_IN
    labels, notes = (
        [
            ax.annotate(
                text, (x, index * (height + gap) + height / 2 - 0.5), (shift, 0),
                textcoords="offset points", color=row.colour, fontsize=points,
                ha=align, va="center",
            )
            for index, row in enumerate(rows)
            if (text := row.label if align == "right" else row.note)
        ]
        for x, shift, align in (
            (-0.5, -offset, "right"), (picture.shape[1] - 0.5, offset, "left"),
        )
    )  # fmt: skip
    heads = [
        ax.annotate(
            title, (column * (width + gap) + width / 2 - 0.5, -0.5), (0, offset),
            textcoords="offset points", fontsize=points, ha="center", va="bottom",
        )
        for column, title in enumerate(titles)
    ]  # fmt: skip
    return labels, heads, notes


@house_style
def draw_grid(
    rows: Sequence[ImageRow],
    *,
    titles: Sequence[str] = (),
    image_in: float = 0.43,
    ax: Axes | None = None,
    size: Size | None = None,
    caption: Callable[[], str] = str,
) -> Any:
    """Return a figure of rows of images, as large as grid and labels need.

    Titles stand above the columns, rotated if they are wider than an image. An image is
    about ``image_in`` inches wide, or as wide as fits into the width of ``size``, and has
    at least one dot of the figure per pixel. With ``ax`` the images are drawn into axes of
    the user, and nothing is returned. A notebook shows what ``caption`` returns.
    """
    check_number("image_in", image_in, above=0)
    if ax is not None:
        plot_grid(ax, rows, titles=titles)
        return None
    figure: Any = new_figure(1, 1)
    figure.make_caption = caption
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    points = _LABEL_POINTS
    if size is not None and width_in(size) < _NARROW_IN:
        points = _SMALL_POINTS
    labels, heads, notes = plot_grid(axes, rows, titles=titles, points=points)
    axes.set_aspect("auto")
    down, across = axes.images[0].get_array().shape[:2]
    columns = max(len(row.images) for row in rows)

    # The figure grows by what the texts need; each pixel keeps its whole number of dots.
    margin, offset = (round(one * figure.dpi) for one in (_MARGIN_IN, _LABEL_GAP_IN))
    left, right = (
        margin
        + max((offset + round(one.get_window_extent().width) for one in of), default=0)
        for of in (labels, notes)
    )
    dots = round(image_in * figure.dpi / rows[0].images.shape[2])
    if size is not None:
        dots = int((width_in(size) * figure.dpi - left - right) / across)
    dots = max(1, dots)
    down, across = down * dots, across * dots
    if any(head.get_window_extent().width > across / columns for head in heads):
        for head in heads:
            head.set_rotation(90)
    heights = (offset + round(head.get_window_extent().height) for head in heads)
    top = margin + max(heights, default=0)
    whole = (left + across + right, margin + down + top)
    # A thousandth of a dot, so that rounding down does not lose one.
    figure.set_size_inches(*((side + 1e-3) / figure.dpi for side in whole))
    axes.set_position(
        (left / whole[0], margin / whole[1], across / whole[0], down / whole[1])
    )
    return figure


def _gap(height: int, width: int) -> int:
    """Return the number of pixels between images: 1, or a sixteenth of a large image."""
    return max(1, round(min(height, width) / 16))
