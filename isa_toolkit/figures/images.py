"""A grid of images, in which each pixel of each image is a square of the same size.

The grid is one picture, so that hundreds of images draw as fast as ten. Its size makes a
pixel of an image cover a whole number of the figure's dots, so nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from isa_toolkit.checks import as_text, check_positive, fail
from isa_toolkit.figures.style import house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ImageRow", "draw_grid", "image_sheet"]

_WHITE = 255
_LABEL_POINTS = 7
# Margin of the figure, and gap between the grid and its labels.
_MARGIN_IN, _LABEL_GAP_IN = 0.05, 0.05


class ImageRow(NamedTuple):
    """One row of a grid.

    images: Pixels in [0, 1], 1 or 3 channels, [m, h, w, ch]; values outside are clipped.
    label: Text left of the row, of one or more lines.
    colour: Colour of the label.
    """

    images: Float[np.ndarray, "m h w ch"]
    label: str = ""
    colour: str = "black"


def image_sheet(
    rows: Sequence[ImageRow], *, dark_ink: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the rows as one RGB picture, with white lines between images.

    Args:
        rows: Rows of images, all of one height and width. Shorter rows end in white;
            grey and colour images may be mixed.
        dark_ink: Whether grey images are drawn as ink on white paper (1 is black).

    Returns:
        The picture; a pixel of an image is one of its pixels.

    Raises:
        ValueError: If there is no image, if images have several sizes or a wrong number
            of axes or channels, or if a pixel is not finite.
    """
    sizes = {_check(row.images).shape[1:3] for row in rows}
    if not rows or not sum(len(row.images) for row in rows):
        raise fail("rows", "hold an image", as_text("none"))
    if len(sizes) > 1:
        found = " and ".join(f"{h}x{w}" for h, w in sorted(sizes))
        raise fail("rows", "hold images of one size", as_text(found))
    [(height, width)] = sizes
    gap = _gap(height, width)
    columns = max(len(row.images) for row in rows)
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    picture = np.full(shape, _WHITE, np.uint8)
    for index, row in enumerate(rows):
        top = index * (height + gap)
        values = np.clip(row.images, 0, 1)
        if values.shape[-1] == 1:
            values = np.repeat(1 - values if dark_ink else values, 3, axis=-1)
        for column, image in enumerate(values):
            left = column * (width + gap)
            picture[top : top + height, left : left + width] = np.rint(255 * image)
    return picture


@house_style
def draw_grid(
    rows: Sequence[ImageRow],
    *,
    titles: Sequence[str] = (),
    dark_ink: bool = True,
    image_in: float = 0.43,
) -> Figure:
    """Return a figure of rows of images.

    Args:
        rows: Rows from top to bottom, as for :func:`image_sheet`.
        titles: Titles of the columns; rotated if they are wider than an image.
        dark_ink: Whether grey images are drawn as ink on white paper.
        image_in: Approximate width of an image in inches; an image has at least one dot
            of the figure per pixel.

    Returns:
        The figure, as large as grid and labels need.

    Raises:
        ValueError: If the rows make no grid, there are more titles than columns, or
            ``image_in`` is not above 0.
    """
    check_positive("image_in", image_in)
    picture = image_sheet(rows, dark_ink=dark_ink)
    columns = max(len(row.images) for row in rows)
    if len(titles) > columns:
        raise fail("titles", f"be at most {columns} in number", len(titles))
    height, width = rows[0].images.shape[1:3]
    gap = _gap(height, width)
    figure = new_figure(1, 1)
    figure.set_layout_engine("none")
    dots = max(1, round(image_in * figure.dpi / width))
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
    labels = list(axes.texts)
    heads = [
        axes.text(
            column * (width + gap) + width / 2 - 0.5, -0.5 - space, title,
            fontsize=_LABEL_POINTS, ha="center", va="bottom",
        )
        for column, title in enumerate(titles)
    ]  # fmt: skip
    if heads and _extent(heads)[0] > (width + gap) * dots:
        for head in heads:
            head.set_rotation(90)
    _fit(figure, axes, picture.shape[:2], dots, _extent(labels)[0], _extent(heads)[1])
    return figure


def _fit(
    figure: Figure,
    axes: Axes,
    shape: tuple[int, ...],
    dots: int,
    left: float,
    top: float,
) -> None:
    """Size the figure so that each pixel of the picture is ``dots`` by ``dots``.

    Args:
        figure: Figure to size.
        axes: Axes that the picture fills.
        shape: Shape of the picture.
        dots: Number of the figure's dots per pixel of the picture.
        left: Width of the labels in dots; 0 without labels.
        top: Height of the titles in dots; 0 without titles.
    """
    margin = round(_MARGIN_IN * figure.dpi)
    space = round(_LABEL_GAP_IN * figure.dpi)
    before = margin + (round(left) + space if left else 0)
    above = margin + (round(top) + space if top else 0)
    height, width = shape[0] * dots, shape[1] * dots
    whole = (before + width + margin, above + height + margin)
    # A thousandth of a dot, so that rounding down does not lose one.
    across, down = ((side + 1e-3) / figure.dpi for side in whole)
    figure.set_size_inches(across, down)
    axes.set_position(
        (
            before / whole[0],
            margin / whole[1],
            width / whole[0],
            height / whole[1],
        )
    )


def _gap(height: int, width: int) -> int:
    """Return the number of pixels between images: 1, or a sixteenth of a large image."""
    return max(1, round(min(height, width) / 16))


def _extent(texts: Sequence[Any]) -> tuple[float, float]:
    """Return the largest width and height of texts in dots; 0 for none or empty ones."""
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    if not boxes:
        return 0.0, 0.0
    return max(box.width for box in boxes), max(box.height for box in boxes)


def _check(images: np.ndarray) -> np.ndarray:
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise fail("images", "be [m, h, w, channels] with 1 or 3", images.shape)
    if not np.isfinite(images).all():
        raise fail("images", "hold finite pixels", as_text("NaN or infinity"))
    return images
