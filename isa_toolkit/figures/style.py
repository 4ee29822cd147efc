"""One look for all figures: fonts and sizes, and how figures are saved."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from isa_toolkit.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE = Path(__file__).with_name("house.mplstyle")
P = ParamSpec("P")
R = TypeVar("R")


def house_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to draw in the house style and then restore the user's."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl
        from matplotlib import style

        with mpl.rc_context(), style.context(_STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that opens no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def plot_means(
    ax: Axes, x: pd.Series, line: pd.DataFrame, *, colour: str, label: str
) -> None:
    """Draw means with their intervals (``value``, ``low``, ``high``) as a line at x."""
    ax.errorbar(
        x,
        line.value,
        yerr=[line.value - line.low, line.high - line.value],
        color=colour,
        marker="o",
        ms=4,
        lw=1.5,
        capsize=2.5,
        label=label,
    )


@house_style
def png(figure: Figure, dpi: float | None = None) -> bytes:
    """Return a figure as the bytes of a PNG file, for ``IPython.display.Image``."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@house_style
def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and PDF to a path without suffix, each atomically."""
    for suffix, metadata in ((".png", None), (".pdf", {"CreationDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        write_atomically(path.with_suffix(suffix), buffer.getvalue())
