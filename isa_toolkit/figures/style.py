"""One look for all figures: colours by method, sizes, and how they are saved."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "new_figure", "png", "save"]

# Okabe and Ito's palette, safe for colour-blind readers; one colour per setting.
COLOURS = {
    "Random real": "#999999",
    "k-means real": "#56B4E9",
    "FRePo": "#0072B2",
    "FRePo + crucial + ISA": "#D55E00",
    "Whole training set": "#000000",
}

_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "pdf.fonttype": 42,
    "svg.hashsalt": "isa",
}


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure in the house style, without any window.

    Args:
        width_in: width, inches.
        height_in: height, inches.

    Returns:
        The figure.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(_RC)
    return Figure(figsize=(width_in, height_in), layout="constrained")


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG, for ``IPython.display.Image`` and image widgets.

    Args:
        figure: what to show.

    Returns:
        The bytes of the file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and PDF, each whole or not at all.

    Args:
        figure: what to write.
        path: without suffix.
    """
    for suffix, metadata in ((".png", None), (".pdf", {"CreationDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        write_atomically(path.with_suffix(suffix), buffer.getvalue())
