"""A grid of images, in which each pixel of each image is a square of the same size.

The grid is one picture, so that hundreds of images draw as fast as ten. Its size makes a
pixel of an image cover a whole number of the figure's dots, so nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from isa_toolkit.checks import check_number
from isa_toolkit.display import picture_grid
from isa_toolkit.figures.style import house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABEL_POINTS = 7
# Margin of the figure, and gap between the grid and its labels.
_MARGIN_IN, _LABEL_GAP_IN = 0.05, 0.05


class ImageRow(NamedTuple):
    """One row of a grid.

    images: Pixels in [0, 1], 1 or 3 channels, [m, h, w, ch], of the same size as in other
        rows; values outside are clipped.
    label: Text left of the row, of one or more lines.
    colour: Colour of the label.
    """

    images: Float[np.ndarray, "m h w ch"]
    label: str = ""
    colour: str = "black"


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


@house_style
def draw_grid(
    rows: Sequence[ImageRow],
    *,
    titles: Sequence[str] = (),
    image_in: float = 0.43,
) -> Figure:
    """Return a figure of rows of images, as large as grid and labels need.

    Titles stand above the columns, rotated if they are wider than an image. An image is
    about ``image_in`` inches wide and has at least one dot of the figure per pixel.
    """
    check_number("image_in", image_in, above=0)
    picture = image_sheet(rows)
    height, width = rows[0].images.shape[1:3]
    gap = _gap(height, width)
    figure = new_figure(1, 1)
    figure.set_layout_engine("none")
    dots = max(1, round(image_in * figure.dpi / width))
    down, across = (side * dots for side in picture.shape[:2])
    figure.set_size_inches(across / figure.dpi, down / figure.dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, interpolation="none", aspect="auto")
    axes.set_axis_off()

    space = _LABEL_GAP_IN * figure.dpi / dots
    for index, row in enumerate(rows):
        middle = index * (height + gap) + height / 2 - 0.5
        axes.text(
            -0.5 - space, middle, row.label, color=row.colour, fontsize=_LABEL_POINTS,
            ha="right", va="center",
        )  # fmt: skip
    heads = [
        axes.text(
            column * (width + gap) + width / 2 - 0.5, -0.5 - space, title,
            fontsize=_LABEL_POINTS, ha="center", va="bottom",
        )
        for column, title in enumerate(titles)
    ]  # fmt: skip
    if any(head.get_window_extent().width > (width + gap) * dots for head in heads):
        for head in heads:
            head.set_rotation(90)

    # The figure grows by what the texts need; each pixel keeps its whole number of dots.
    box = axes.get_tightbbox() or axes.bbox
    margin = round(_MARGIN_IN * figure.dpi)
    left = margin + round(max(0, -box.x0))
    top = margin + round(max(0, box.y1 - down))
    whole = (left + across + margin, margin + down + top)
    # A thousandth of a dot, so that rounding down does not lose one.
    figure.set_size_inches(*((side + 1e-3) / figure.dpi for side in whole))
    axes.set_position(
        (left / whole[0], margin / whole[1], across / whole[0], down / whole[1])
    )
    return figure


def _gap(height: int, width: int) -> int:
    """Return the number of pixels between images: 1, or a sixteenth of a large image."""
    return max(1, round(min(height, width) / 16))
