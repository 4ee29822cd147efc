"""The one table in which every figure states its numbers, and how they are written.

A row is one number: what was measured (``dataset``, ``images_per_class``, ``setting``,
``predictor``, ``quantity``), where on an axis (``x``, for curves), and for which ``seed``.
Rows without a seed are means over seeds, with the interval ``low`` to ``high`` over ``n``
values of what ``over`` names. ``against`` names the setting whose number was subtracted
seed by seed: such a row is a paired difference. What does not apply is missing.
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

# Column -> its type in pandas.
COLUMNS = {
    "dataset": "object", "images_per_class": "Int64", "setting": "object",
    "predictor": "object", "quantity": "object", "x": "float64", "seed": "Int64",
    "against": "object", "value": "float64", "low": "float64", "high": "float64",
    "n": "Int64", "over": "object",
}  # fmt: skip
# What rows of several seeds share, besides the setting.
_KEYS = ["dataset", "images_per_class", "predictor", "quantity", "x"]
# Columns that distinguish rows of a summary -> their heading.
_HEADINGS = {
    "images_per_class": "per class", "x": "at", "predictor": "predictor",
    "quantity": "quantity",
}  # fmt: skip
_LEVEL = 0.95


# --- rows and tables --------------------------------------------------------------------


def as_table(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with all ``COLUMNS``; ``n`` is 1 where it is missing."""
    import pandas as pd

    found = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    return found.reindex(columns=list(COLUMNS)).astype(COLUMNS).fillna({"n": 1})


def measured(
    cells: Iterable[tuple[Mapping[str, Any], Mapping[str, float]]], **shared: Any
) -> pd.DataFrame:
    """Return a table of pairs (columns of the rows, quantity -> value).

    Undefined values (NaN) get no row. All rows have the columns ``shared``.
    """
    return as_table(
        {**shared, **cell, "quantity": quantity, "value": value}
        for cell, values in cells
        for quantity, value in values.items()
        if not math.isnan(value)
    )


def concatenate(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several tables in one; an empty table if there are none."""
    import pandas as pd

    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else as_table([])


def means(by_seed: pd.DataFrame, over: str = "distilled sets") -> pd.DataFrame:
    """Return the mean over seeds of each number, with its interval over what it names."""
    return as_table(
        {**cell, **_columns(mean_interval(part.value.to_numpy())), "over": over}
        for cell, part in _cells(by_seed)
    )


def differences(
    by_seed: pd.DataFrame, against: str, over: str = "paired seeds"
) -> pd.DataFrame:
    """Return the mean paired difference of each other setting to ``against``.

    Seeds that only one of both has are left out. A baseline without ``x`` serves every x.
    """
    base = by_seed[by_seed.setting == against]
    keys = [key for key in [*_KEYS, "seed"] if key != "x" or base.x.notna().any()]
    others = by_seed[by_seed.setting != against]
    paired = others.merge(base[[*keys, "value"]], on=keys, suffixes=("", "_base"))
    rows = []
    for cell, part in _cells(paired):
        mine, theirs = part.value.to_numpy(), part.value_base.to_numpy()
        columns = _columns(paired_interval(mine, theirs))
        rows.append({**cell, **columns, "against": against, "over": over})
    return as_table(rows)


def with_means(by_seed: pd.DataFrame, against: str | None = None) -> pd.DataFrame:
    """Return the rows of each seed, their means and, if asked, paired differences."""
    paired = [] if against is None else [differences(by_seed, against)]
    return concatenate([by_seed, means(by_seed), *paired])


def _cells(table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the groups of rows that differ only in their seed, with what they share."""
    keys = [*_KEYS, "setting"]
    for values, part in table.groupby(keys, dropna=False, sort=False):
        yield dict(zip(keys, values, strict=True)), part


def _columns(interval: Interval) -> dict[str, Any]:
    return {
        "value": interval.mean, "low": interval.low, "high": interval.high,
        "n": interval.n,
    }  # fmt: skip


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
        >>> by_seed = as_table([{"setting": "frepo", "quantity": "q"}] * 2)
        >>> by_seed["seed"] = by_seed["value"] = [1, 3]
        >>> print(summary(with_means(by_seed)))
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
    """Return the interval of one mean, or of one mean paired difference.

    Args:
        table: Rows of this module.
        setting: Key of the setting.
        minus: Key of the setting that was subtracted; None for the mean itself.
        where: Column -> value that the row must have, such as ``predictor="ridge"``.

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
    """Return a mean and its interval as text, such as ("87.2", "86.5 to 88.0").

    Both have three significant digits of the largest number, or ``decimals``. A missing
    mean is a dash, a missing interval empty; ``signed`` numbers get a plus.
    """
    if math.isnan(value):
        return "–", ""
    if decimals is None:
        sizes = [abs(end) for end in (value, low, high) if end == end and end != 0]
        largest = max(sizes, default=1.0)
        decimals = max(0, min(6, 2 - math.floor(math.log10(largest))))
    # "z": what rounds to zero has no minus.
    form = f"{'+' if signed else ''}z.{decimals}f"
    interval = "" if math.isnan(low) else f"{low:{form}} to {high:{form}}"
    return f"{value:{form}}", interval


def format_images_per_class(count: SupportsInt) -> str:
    """Return "1 image per class" or "10 images per class"."""
    return f"{int(count)} image{'' if count == 1 else 's'} per class"


def describe(table: pd.DataFrame) -> str:
    """Return data set, size and number of seeds, for the caption of a table with means."""
    one = table[table.seed.isna()].iloc[0]
    size = format_images_per_class(one.images_per_class)
    return f"{one.dataset}, {size}, {one.n} seeds"


def _text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
