"""One look for all figures: sizes, panels, how they are shown in notebooks and saved."""

from __future__ import annotations

import base64
import functools
import html
import inspect
import io
import re
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import (
    Any,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
)

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from isa_toolkit import checks
from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.figures.variants import Setting, looks_of
from isa_toolkit.files import write_atomically

Size: TypeAlias = Literal["column", "text", "page"] | tuple[float, float]
WIDTHS_IN = {"column": 3.25, "text": 5.5, "page": 6.75}
"""Width in inches of one column and of both columns of a two-column paper (ICML, CVPR), and
of the text of a one-column paper (NeurIPS, ICLR)."""

_STYLE = Path(__file__).with_name("house.mplstyle")
# Seeds are drawn one by one where they are fewer: intervals of so few are very wide.
_FEW = 5
# Number of letters of the longest text of a table that is drawn whole.
_LONGEST_TEXT = 60
P = ParamSpec("P")
R = TypeVar("R")


def house_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to draw in the house style and then restore the user's."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(), mpl.style.context(_STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return drawn


class _ShownFigure(Figure):
    """A figure that a notebook shows once, with its caption below it.

    It does not belong to pyplot, which therefore does not show it again.
    """

    make_caption: Callable[[], str] = staticmethod(lambda: "")

    @property
    def caption(self) -> str:
        """Text below the figure."""
        return self.make_caption()

    @house_style
    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Write the figure in the house style."""
        super().savefig(*args, **kwargs)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        width, height = (round(100 * side) for side in self.get_size_inches())
        caption = self.caption
        look = {"width": width, "height": height, "alt": caption or "Figure"}
        data = {"image/png": base64.b64encode(png(self)).decode()}
        display(data, raw=True, metadata={"image/png": look})
        if caption:
            style = "max-width:50rem;font-size:90%"
            text = f'<p style="{style}">{html.escape(caption)}</p>'
            display({"text/html": text}, raw=True)


@typed
def new_figure(width_in: float, height_in: float) -> _ShownFigure:
    """Return an empty figure that opens no window, and that a notebook shows as a picture."""
    return _ShownFigure(figsize=(width_in, height_in), layout="constrained")


# --- panels -----------------------------------------------------------------------------


class Panels(tuple[Any, ...]):
    """The axes of a drawing, in reading order.

    Attributes:
        figure: Figure that was made for them; None for axes of the user.
        stacked: Whether no two of them share their vertical axis on sight: they stand below
            each other, or wherever the user put them.
    """

    figure: _ShownFigure | None = None
    stacked: bool = True

    def legend(
        self,
        *sources: Axes,
        handles: Sequence[Any] | None = None,
        columns: int = 3,
        title: str | None = None,
    ) -> None:
        """Draw the legend of some axes, the first one for None, above all panels.

        In axes of the user it stands in the first panel.
        """
        if handles is None:
            found = (ax.get_legend_handles_labels()[0] for ax in sources or self[:1])
            handles = [handle for some in found for handle in some]
        if not handles:
            return
        if self.figure is None:
            self[0].legend(handles=handles, title=title)
            return
        # About 0.06 inches for a letter, and half an inch for the mark before it.
        widest = 0.5 + 0.06 * max(len(handle.get_label()) for handle in handles)
        fitting = max(1, int(self.figure.get_figwidth() / widest))
        self.figure.legend(
            handles=handles,
            loc="outside upper center",
            ncols=min(columns, fitting, len(handles)),
            title=title,
        )


_ARGUMENTS = """

``ax`` are axes to draw into, one for each panel; then nothing is returned, and figure,
style and panel letters are the user's. Without them the figure is new, and a notebook
shows it. ``size`` is its width, "column" (3.25 inches), "text" (5.5) or "page" (6.75), or
(width, height) in inches. Panels of a narrow figure stand below each other.
"""


def drawing(
    rows: Mapping[str, float] | Callable[..., Mapping[str, float]],
    *,
    caption: Callable[..., str] | None = None,
    columns: Collection[str] = (),
    size: Size = "page",
    least_in: float = 2.2,
) -> Callable[[Callable[..., None]], Callable[..., Any]]:
    """Decorate ``draw(panels, table, **how)`` to make its axes, or to take the user's.

    Args:
        rows: Rows of panels from top to bottom -> their height in inches: "ab" is two
            panels side by side, "aa" one of their width, "." an empty place. Or a
            function of the arguments of the drawing that returns it.
        caption: Function of the table that returns the caption shown in notebooks.
        columns: Names of the columns that the table must have.
        size: Size where none is given.
        least_in: Least width in inches of a panel; fewer stand side by side if need be.

    Returns:
        The decorator; ``size`` (width, height) of a call keeps the proportions of the rows.
    """

    def decorate(inner: Callable[..., None]) -> Callable[..., Any]:
        @house_style
        def draw_new(table: pd.DataFrame, size: Size, **how: Any) -> Figure:
            heights = rows(table, **how) if callable(rows) else rows
            figure, panels = _new_panels(heights, size, least_in)
            inner(panels, plain_texts(table), **how)
            if len(panels) > 1:
                for letter, ax in zip(string.ascii_lowercase, panels, strict=False):
                    ax.set_title(letter, loc="left", fontweight="bold")
            if caption is not None:
                figure.make_caption = functools.partial(caption, table, **how)
            return figure

        def draw(
            table: pd.DataFrame, *, ax: Any = None, size: Size = size, **how: Any
        ) -> Any:
            if ax is None:
                return draw_new(table, size, **how)
            heights = rows(table, **how) if callable(rows) else rows
            return inner(
                _panels_of(ax, len(_names(heights))), plain_texts(table), **how
            )

        mine = inspect.signature(draw).parameters
        functools.update_wrapper(draw, inner)
        draw.__doc__ = inspect.cleandoc(inner.__doc__ or "") + _ARGUMENTS
        own = list(inspect.signature(inner).parameters.values())[1:]
        added = [
            mine["ax"].replace(annotation=Any), mine["size"].replace(annotation=Size)
        ]  # fmt: skip
        parameters = [own[0], *added, *own[1:]]
        draw.__signature__ = inspect.Signature(parameters, return_annotation=Any)  # pyright: ignore
        return takes_table(columns)(draw)

    return decorate


def plain_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts are drawn as they are: short, and without mathematics."""

    def plain(cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        text = checks.printable(cell)
        if len(text) > _LONGEST_TEXT:
            text = f"{text[: _LONGEST_TEXT // 2]}...{text[-_LONGEST_TEXT // 4 :]}"
        return re.sub(r"(?<!\\)\$", r"\\$", text)

    texts = table.columns[[kind in ("object", "str") for kind in table.dtypes]]
    return table.assign(**{name: table[name].map(plain) for name in texts})


def _names(rows: Mapping[str, float]) -> list[str]:
    """Return the names of the panels in the order of the rows."""
    return list(dict.fromkeys("".join(rows).replace(".", "")))


def width_in(size: Size) -> float:
    """Return the width of a size in inches."""
    if isinstance(size, str):
        return WIDTHS_IN[checks.check_one_of("size", size, WIDTHS_IN)]
    return checks.check_number("size", size[0], above=0)


def _new_panels(
    rows: Mapping[str, float], size: Size, least_in: float
) -> tuple[_ShownFigure, Panels]:
    """Return a new figure and its panels, as many of a row side by side as have room."""
    width, names = width_in(size), _names(rows)
    most = max(len(_names({row: 0})) for row in rows)
    columns = max(
        count
        for count in range(1, most + 1)
        if most % count == 0 and (count == 1 or width / count >= least_in)
    )
    if columns < most:
        wrapped = {}
        for row, height in rows.items():
            parts = _names({row: 0})
            for at in range(0, len(parts), columns):
                line = parts[at : at + columns]
                wrapped["".join(line * (columns if len(parts) == 1 else 1))] = height
        rows = wrapped
    heights = list(rows.values())
    height = sum(heights) if isinstance(size, str) else size[1]
    figure = new_figure(width, height)
    made = figure.subplot_mosaic([list(row) for row in rows], height_ratios=heights)
    panels = Panels(made[name] for name in names)
    panels.figure = figure
    panels.stacked = columns == 1
    return figure, panels


def _panels_of(ax: Any, count: int) -> Panels:
    """Return axes of the user as panels."""
    found = list(np.asarray(ax, dtype=object).ravel())
    if len(found) != count or not all(isinstance(one, Axes) for one in found):
        kinds = ", ".join(type(one).__name__ for one in found)
        raise checks.fail(
            "ax",
            f"be {count} axes" if count > 1 else "be one axes",
            checks.as_text(f"{len(found)} ({kinds})"),
            f"Make them with plt.subplots(1, {count}).",
        )
    return Panels(found)


# --- marks ------------------------------------------------------------------------------


@takes_table(["value", "low", "high"])
def spread(rows: pd.DataFrame) -> list[pd.Series]:
    """Return how far intervals reach below and above their means."""
    return [rows.value - rows.low, rows.high - rows.value]


@takes_table(["seed", "against"])
def split(
    table: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the rows of single seeds, of means, and of paired differences."""
    is_seed, is_value = table.seed.notna(), table.against.isna()
    return table[is_seed], table[~is_seed & is_value], table[~is_seed & ~is_value]


@typed
def plot_means(ax: Axes, x: pd.Series, line: pd.DataFrame, look: Setting) -> None:
    """Draw means with their intervals (``value``, ``low``, ``high``) as a line at x."""
    if len(line):
        ax.errorbar(
            x, line.value, yerr=spread(line), color=look.colour, marker="o", ms=4, lw=1.5,
            capsize=2.5, label=look.label,
        )  # fmt: skip


@typed
def plot_seeds(ax: Axes, x: Any, seeds: pd.DataFrame, *, colour: str) -> None:
    """Draw the values of single seeds as dots at x, if there are fewer than five."""
    if 0 < seeds.seed.nunique() < _FEW:
        ax.plot(x, seeds.value, "o", color=colour, ms=2.5, alpha=0.45)


@typed
def zero_line(ax: Axes, look: Setting, *, axis: Literal["x", "y"] = "y") -> None:
    """Draw the line of no difference, with the name of what was subtracted at its end."""
    if axis == "y":
        ax.axhline(0, color=look.colour, lw=1.2)
        place, align, transform = (1.01, 0), "center", ax.get_yaxis_transform()
    else:
        ax.axvline(0, color=look.colour, lw=1.2)
        place, align, transform = (0, 1.01), "bottom", ax.get_xaxis_transform()
    ax.text(
        *place, look.label, color=look.colour, fontsize="small", transform=transform,
        va=align, ha="left",
    )  # fmt: skip


@typed
def strip_rows(count: int) -> dict[str, float]:
    """Return the rows of panels of ``plot_strips`` for a number of settings."""
    return {"ab": 0.55 + 0.36 * (count + 1)}


@typed
def plot_strips(
    panels: Panels,
    table: pd.DataFrame,
    keys: Sequence[str],
    against: str | Mapping[str, str],
    *,
    unit: str = "test accuracy, %",
    difference: str = "points",
    looks: Mapping[str, Setting] | None = None,
) -> None:
    """Draw two panels: values of each setting, and paired differences to a baseline.

    ``table`` holds rows of ``results_table`` of one quantity and predictor. ``keys`` are
    settings from top to bottom; missing ones are left out. ``against`` is the baseline of
    all, or of each key; ``looks`` are labels and colours by key, those of ``looks_of`` for
    None.
    """
    bases = dict.fromkeys(keys, against) if isinstance(against, str) else against
    looks = looks_of([*keys, *bases.values()]) if looks is None else looks
    keys = [key for key in keys if (table.setting == key).any()]
    left, right = panels
    seeds, means, differences = split(table)
    for index, key in enumerate(keys):
        colour, mine = looks[key].colour, seeds[seeds.setting == key]
        left.plot(mine.value, [index] * len(mine), "o", color=colour, ms=3, alpha=0.45)
        is_paired = differences.against == bases.get(key, "")
        for ax, rows in ((left, means), (right, differences[is_paired])):
            part = rows[rows.setting == key]
            ax.errorbar(
                part.value, [index] * len(part), xerr=spread(part),
                color=colour, marker="D", ms=5, lw=1.8, capsize=3,
            )  # fmt: skip
    without = Setting("without", "#555555")
    base = looks[against] if isinstance(against, str) else without
    zero_line(right, base, axis="x")
    for ax in panels:
        ax.set_yticks(range(len(keys)), [looks[key].label for key in keys])
        ax.set_ylim(len(keys) - 0.5, -0.5)
        ax.locator_params(axis="x", nbins=5)
    right.tick_params(labelleft=panels.stacked)
    left.set_xlabel(unit)
    right.set_xlabel(f"paired difference, {difference}")


@typed
def log_scale(axis: Axis) -> None:
    """Give the axis of a drawing a logarithmic scale, with ticks such as 0.2, 0.5 and 1.

    Over more than two decades they are 0.1, 1 and 10.
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # pyright: ignore
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())


# --- files ------------------------------------------------------------------------------


@house_style
@typed
def png(figure: Figure, dpi: float | None = None) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@house_style
@typed
def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and PDF to a path without suffix, each atomically."""
    for suffix, metadata in ((".png", None), (".pdf", {"CreationDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        write_atomically(path.with_suffix(suffix), buffer.getvalue())
