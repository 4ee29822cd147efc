"""One look for all figures: colours by method, sizes, and how they are saved."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from isa_toolkit.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "house_style", "new_figure", "png", "save"]

# Okabe and Ito's palette, safe for colour-blind readers; one colour per setting.
COLOURS = {
    "Random real": "#999999",
    "k-means real": "#56B4E9",
    "FRePo": "#0072B2",
    "FRePo + crucial + ISA": "#D55E00",
    "Whole training set": "#000000",
}

_STYLE = Path(__file__).with_name("house.mplstyle")
P = ParamSpec("P")
R = TypeVar("R")


def house_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the house style, whatever the reader's own settings are.

    Args:
        draw: makes or writes a figure.

    Returns:
        The same function; the reader's settings are as before when it returns.
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl
        from matplotlib import style

        with mpl.rc_context(), style.context(_STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure in the house style, without any window.

    Args:
        width_in: width, inches.
        height_in: height, inches.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


@house_style
def png(figure: Figure, dpi: float | None = None) -> bytes:
    """Return a figure as a PNG, for ``IPython.display.Image`` and image widgets.

    Args:
        figure: what to show.
        dpi: dots per inch; None for the house style's.

    Returns:
        The bytes of the file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@house_style
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
