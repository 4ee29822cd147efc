"""The one table in which every figure states its numbers, and how they are written.

A row is one number: what was measured (``dataset``, ``images_per_class``, ``setting``,
``predictor``, ``quantity``), where on an axis (``x``, for curves), and for which ``seed``.
Rows without a seed are means over seeds, with the interval ``low`` to ``high`` over ``n``
values of what ``over`` names. ``against`` names the setting whose number was subtracted
seed by seed: such a row is a paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsInt

from isa_toolkit import checks
from isa_toolkit.analysis.intervals import Interval, mean_interval, paired_interval
from isa_toolkit.figures.variants import label_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "as_table",
    "concatenate",
    "differences",
    "format_images_per_class",
    "format_interval",
    "mean_of",
    "means",
    "row",
    "summary",
    "with_means",
]

COLUMNS = (
    "dataset", "images_per_class", "setting", "predictor", "quantity", "x", "seed",
    "against", "value", "low", "high", "n", "over",
)  # fmt: skip
_KEYS = ("dataset", "images_per_class", "predictor", "quantity", "x")
# Columns that distinguish rows of a summary -> their heading.
_HEADINGS = {
    "images_per_class": "per class", "x": "at", "predictor": "predictor",
    "quantity": "quantity",
}  # fmt: skip
_LEVEL = 0.95


# --- rows and tables --------------------------------------------------------------------


def row(
    *,
    setting: str,
    quantity: str,
    value: float | Interval,
    dataset: str | None = None,
    images_per_class: int | None = None,
    predictor: str | None = None,
    x: float | None = None,
    seed: int | None = None,
    against: str | None = None,
    over: str | None = None,
) -> dict[str, Any]:
    """Return one row as a dictionary.

    Args:
        setting: Key of the setting in ``variants.SETTINGS``.
        quantity: Name of the measured quantity, with its unit.
        value: Number, or interval of its mean.
        dataset: Name of the data set.
        images_per_class: Number of distilled images of each class.
        predictor: Name of the predictor, ``"network"`` or ``"ridge"``.
        x: Position on the axis of a curve.
        seed: Seed of the distilled set; None for a mean.
        against: Key of the setting that was subtracted.
        over: Name of what the interval is over; by default the interval's own.

    Returns:
        Column -> value; None where nothing is given.
    """
    interval = (
        value
        if isinstance(value, Interval)
        else Interval(float(value), math.nan, math.nan, math.nan, 1, _LEVEL, "")
    )
    return {
        "dataset": dataset, "images_per_class": images_per_class, "setting": setting,
        "predictor": predictor, "quantity": quantity, "x": x, "seed": seed,
        "against": against, "value": interval.mean, "low": interval.low,
        "high": interval.high, "n": interval.n, "over": over or interval.kind or None,
    }  # fmt: skip


def as_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with all ``COLUMNS``, in their order and types."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    kinds = dict.fromkeys(COLUMNS, "object")
    kinds |= dict.fromkeys(("images_per_class", "seed", "n"), "Int64")
    kinds |= dict.fromkeys(("x", "value", "low", "high"), "float64")
    return table.astype(kinds)


def concatenate(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several tables in one; an empty table if there are none."""
    import pandas as pd

    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else as_table([])


def means(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each number, with its interval.

    Args:
        by_seed: Rows with a seed.

    Returns:
        One row per setting, and per value of whatever else distinguishes rows.
    """
    return as_table(
        row(**cell, value=mean_interval(part.value.to_numpy()), over="distilled sets")
        for cell, part in _cells(by_seed)
    )


def differences(by_seed: pd.DataFrame, against: str) -> pd.DataFrame:
    """Return the mean paired difference of each setting to one of them.

    Args:
        by_seed: Rows with a seed.
        against: Key of the setting to subtract, seed by seed.

    Returns:
        One row per other setting and cell in which both have a seed in common.
    """
    rows = []
    base = by_seed[by_seed.setting == against]
    for cell, part in _cells(by_seed[by_seed.setting != against]):
        mine = part.set_index("seed").value
        theirs = _same_cell(base, cell).set_index("seed").value
        seeds = mine.index.intersection(theirs.index)
        if len(seeds) == 0:
            continue
        interval = paired_interval(
            mine[seeds].to_numpy(float), theirs[seeds].to_numpy(float)
        )
        rows.append(row(**cell, value=interval, against=against, over="paired seeds"))
    return as_table(rows)


def with_means(by_seed: pd.DataFrame, against: str | None = None) -> pd.DataFrame:
    """Return the rows of each seed, their means and their paired differences.

    Args:
        by_seed: Rows with a seed.
        against: Key of the setting to subtract; None for no differences.

    Returns:
        All rows in one table.
    """
    paired = [] if against is None else [differences(by_seed, against)]
    return concatenate([by_seed, means(by_seed), *paired])


def _cells(table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the groups of rows that differ only in their seed, with what they share."""
    keys = [*_KEYS, "setting"]
    for values, part in table.groupby(keys, dropna=False, sort=False):
        cell = {
            key: None if _is_missing(value) else value
            for key, value in zip(keys, values, strict=True)
        }
        if cell["images_per_class"] is not None:
            cell["images_per_class"] = int(cell["images_per_class"])
        yield cell, part


def _same_cell(table: pd.DataFrame, cell: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of a cell; a baseline without ``x`` serves every ``x``."""
    for key in _KEYS:
        value = cell.get(key)
        if key == "x" and table.x.isna().all():
            continue
        matches = table[key].isna() if value is None else table[key] == value
        table = table[matches.fillna(False).astype(bool)]
    return table


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or bool(pd.isna(value))


# --- reading a table --------------------------------------------------------------------


def summary(table: pd.DataFrame, *, decimals: int = 1, **where: Any) -> pd.DataFrame:
    """Return the means and paired differences of a table as text, a short row for each.

    Args:
        table: Rows of this module.
        decimals: Number of decimals, at least 0.
        where: Column -> value that rows must have, such as ``predictor="network"``.

    Returns:
        Table whose index is the label of the setting. Its columns are ``minus`` (the
        subtracted setting, where there is one), whatever else distinguishes the rows,
        ``mean``, ``95 %`` (the interval) and ``n``.

    Raises:
        ValueError: If a column is unknown, or ``decimals`` is below 0.

    Example:
        >>> rows = [row(setting="frepo", quantity="q", seed=s, value=s) for s in (1, 3)]
        >>> print(summary(with_means(as_table(rows))))
              mean           95 %  n
        FRePo  2.0  -10.7 to 14.7  2
    """
    import pandas as pd

    checks.check_integer("decimals", decimals, minimum=0)
    found = _where(table[table.seed.isna()], where)
    names = [name for name in _HEADINGS if found[name].nunique(dropna=False) > 1]
    rows = []
    for one in found.to_dict("records"):
        is_difference = not pd.isna(one["against"])
        mean, interval = format_interval(
            one["value"], one["low"], one["high"],
            decimals=decimals, signed=is_difference,
        )  # fmt: skip
        rows.append(
            {
                "setting": label_of(one["setting"]),
                "minus": label_of(one["against"]) if is_difference else "",
                **{_HEADINGS[name]: _text(one[name]) for name in names},
                "mean": mean,
                "95 %": interval,
                "n": str(one["n"]),
            }
        )
    if not rows:
        return pd.DataFrame()
    made = pd.DataFrame(rows).set_index("setting").rename_axis(None)
    return made if made["minus"].any() else made.drop(columns="minus")


def mean_of(
    table: pd.DataFrame, setting: str, *, minus: str | None = None, **where: Any
) -> Interval:
    """Return one mean, or one mean paired difference, with its interval.

    Args:
        table: Rows of this module.
        setting: Key of the setting.
        minus: Key of the setting that was subtracted; None for the mean itself.
        where: Column -> value that the row must have, such as ``predictor="ridge"``.

    Returns:
        The interval, in the unit of the table.

    Raises:
        ValueError: If a column is unknown, or if no row or more than one fits.
    """
    found = table[table.seed.isna() & (table.setting == setting)]
    found = found[found.against.isna() if minus is None else found.against == minus]
    found = _where(found, where)
    if len(found) != 1:
        raise checks.fail(
            "setting, minus and the columns",
            "select one mean of the table",
            checks.as_text(f"{len(found)}"),
            "Give more columns, such as predictor or x, or look at summary(table).",
        )
    one = found.iloc[0]
    low, high = float(one.low), float(one.high)
    half_width = (high - low) / 2
    return Interval(
        float(one.value), low, high, half_width, int(one.n), _LEVEL, str(one.over)
    )


def _where(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    for name, value in where.items():
        checks.check_one_of("column", name, COLUMNS)
        table = table[(table[name] == value).fillna(False).astype(bool)]
    return table


# --- text -------------------------------------------------------------------------------


def format_interval(
    value: float,
    low: float,
    high: float,
    *,
    decimals: int | None = None,
    signed: bool = False,
) -> tuple[str, str]:
    """Return a mean and its interval as text, both with the same number of decimals.

    Args:
        value: Mean; a missing one becomes a dash.
        low: Lower end of the interval; missing if there is no interval.
        high: Upper end of the interval.
        decimals: Number of decimals; None for three significant digits of the largest.
        signed: Whether positive numbers get a plus.

    Returns:
        The mean and the interval; an empty interval if there is none.

    Example:
        >>> format_interval(87.234, 86.5, 88.0)
        ('87.2', '86.5 to 88.0')
    """
    if _is_missing(value):
        return "–", ""
    if decimals is None:
        sizes = [abs(end) for end in (value, low, high) if end == end and end != 0]
        largest = max(sizes, default=1.0)
        decimals = max(0, min(6, 2 - math.floor(math.log10(largest))))
    # "z": what rounds to zero has no minus.
    form = f"{'+' if signed else ''}z.{decimals}f"
    interval = "" if _is_missing(low) else f"{low:{form}} to {high:{form}}"
    return f"{value:{form}}", interval


def format_images_per_class(count: SupportsInt) -> str:
    """Return "1 image per class" or "10 images per class"."""
    return f"{int(count)} image{'' if count == 1 else 's'} per class"


def _text(value: Any) -> str:
    if _is_missing(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
