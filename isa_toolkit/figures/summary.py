# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportReturnType=false, reportGeneralTypeIssues=false
# pyright: reportAssignmentType=false
# (pandas types its columns and groups too loosely to check.)
"""The means of any figure's numbers: as a short table to read, or one of them to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isa_toolkit import checks
from isa_toolkit.analysis.intervals import Interval
from isa_toolkit.figures.results_table import COLUMNS
from isa_toolkit.figures.variants import SETTINGS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["mean_of", "summary"]

# Columns that tell rows apart -> their heading; shown where there is more than one value.
_TELLING = {
    "images_per_class": "per class", "x": "at", "predictor": "predictor",
    "quantity": "quantity",
}  # fmt: skip
_LEVEL = 0.95


def summary(table: pd.DataFrame, *, decimals: int = 1, **where: Any) -> pd.DataFrame:
    """Return the means and paired differences of a table, one short row for each.

    Args:
        table: rows of :mod:`isa_toolkit.figures.results_table`.
        decimals: of the numbers, at least 0.
        where: column -> value that rows must have, such as ``predictor="network"``.

    Returns:
        Text; the index is the setting as legends write it. ``minus`` (what was subtracted,
        if that was done), whatever else tells the rows apart, ``mean``, ``95 %`` (its
        interval) and ``n``.

    Raises:
        ValueError: an unknown column, decimals below 0.

    Example:
        >>> from isa_toolkit.figures.results_table import as_table, row, with_means
        >>> rows = [row(setting="frepo", quantity="q", seed=s, value=s) for s in (1, 3)]
        >>> print(summary(with_means(as_table(rows))))
              mean           95 %  n
        FRePo  2.0  -10.7 to 14.7  2
    """
    import pandas as pd

    checks.check_integer("decimals", decimals, minimum=0)
    means = _where(table[table.seed.isna()], where)
    names = [name for name in _TELLING if means[name].nunique(dropna=False) > 1]
    rows = []
    for one in means.to_dict("records"):
        is_difference = not pd.isna(one["against"])
        form = f"{'+' if is_difference else ''}.{decimals}f"
        ends = (
            ""
            if pd.isna(one["low"])
            else f"{one['low']:{form}} to {one['high']:{form}}"
        )
        rows.append(
            {
                "setting": _label(one["setting"]),
                "minus": _label(one["against"]) if is_difference else "",
                **{_TELLING[name]: _text(one[name]) for name in names},
                "mean": f"{one['value']:{form}}",
                "95 %": ends,
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
        table: rows of :mod:`isa_toolkit.figures.results_table`.
        setting: key of the setting.
        minus: key of what was subtracted seed by seed; None: the mean itself.
        where: column -> value that the row must have.

    Returns:
        The interval, in the unit of the table.

    Raises:
        ValueError: an unknown column; no such row, or more than one.
    """
    means = table[table.seed.isna() & (table.setting == setting)]
    means = means[means.against.isna() if minus is None else means.against == minus]
    found = _where(means, where)
    if len(found) != 1:
        raise checks.fail(
            "setting, minus and the columns",
            "name one mean of the table",
            checks.as_text(f"{len(found)}"),
            "Name more columns, such as predictor or x, or look at summary(table).",
        )
    one = found.iloc[0]
    return Interval(
        mean=float(one.value),
        low=float(one.low),
        high=float(one.high),
        half_width=float(one.high - one.low) / 2,
        n=int(one.n),
        level=_LEVEL,
        kind=str(one.over),
    )


def _where(table: pd.DataFrame, where: dict[str, Any]) -> pd.DataFrame:
    for name, value in where.items():
        checks.check_one_of("column", name, COLUMNS)
        table = table[(table[name] == value).fillna(False).astype(bool)]
    return table


def _label(key: Any) -> str:
    known = SETTINGS.get(key)
    return known.label if known else str(key).replace("_", " ")


def _text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
