# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportReturnType=false, reportCallIssue=false
# (pandas types its columns and groups too loosely to check.)
"""The one form in which every figure and table states its numbers.

A row is one number: what was measured (``dataset``, ``images_per_class``, ``setting``,
``predictor``, ``quantity``), where (``x``, of a curve), by which ``seed`` or, where that is
missing, the mean over seeds with its interval ``low`` to ``high`` over ``n`` values of
``over``. ``against`` names the setting whose number was subtracted seed by seed, for paired
differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, SupportsInt

from isa_toolkit.analysis.intervals import Interval, mean_interval, paired_interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "as_table",
    "differences",
    "means",
    "per_class",
    "row",
    "with_means",
]

COLUMNS = (
    "dataset", "images_per_class", "setting", "predictor", "quantity", "x", "seed",
    "against", "value", "low", "high", "n", "over",
)  # fmt: skip
_KEYS = ("dataset", "images_per_class", "predictor", "quantity", "x")


def per_class(count: SupportsInt) -> str:
    """Return "1 image per class" or "10 images per class"."""
    return f"{int(count)} image{'' if count == 1 else 's'} per class"


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
    """Return one row.

    Args:
        setting: key of ``SETTINGS``.
        quantity: what was measured, with its unit.
        value: a number, or one with its interval.
        dataset: name.
        images_per_class: IPC.
        predictor: ``"network"``, ``"krr"`` or none.
        x: place on a curve.
        seed: of the distilled set.
        against: the setting that was subtracted.
        over: what the interval is over; the interval's own word if left out.

    Returns:
        Column -> value; what is missing is None.
    """
    given = {
        "dataset": dataset, "images_per_class": images_per_class, "setting": setting,
        "predictor": predictor, "quantity": quantity, "x": x, "seed": seed,
        "against": against,
    }  # fmt: skip
    if isinstance(value, Interval):
        return {
            **given,
            "value": value.mean,
            "low": value.low,
            "high": value.high,
            "n": value.n,
            "over": over or value.kind,
        }
    return {
        **given, "value": float(value), "low": math.nan, "high": math.nan, "n": 1,
        "over": over,
    }  # fmt: skip


def as_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns of this module, in their order."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    for column in ("images_per_class", "seed", "n"):
        table[column] = table[column].astype("Int64")
    for column in ("x", "value", "low", "high"):
        table[column] = table[column].astype("float64")
    for column in ("dataset", "setting", "predictor", "quantity", "against", "over"):
        table[column] = table[column].astype("object")
    return table


def means(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each number, with its interval.

    Args:
        by_seed: rows with a seed.

    Returns:
        One row per setting and whatever else tells rows apart.
    """
    rows = []
    for cell, part in _cells(by_seed, ("setting",)):
        interval = mean_interval(part.value.to_numpy())
        rows.append(row(**cell, value=interval, over="distilled sets"))
    return as_table(rows)


def differences(by_seed: pd.DataFrame, against: str) -> pd.DataFrame:
    """Return each setting's mean paired difference to one of them.

    Args:
        by_seed: rows with a seed.
        against: key of the setting to subtract, seed by seed.

    Returns:
        One row per other setting and cell in which both share a seed.
    """
    rows = []
    base = by_seed[by_seed.setting == against]
    others = by_seed[by_seed.setting != against]
    for cell, part in _cells(others, ("setting",)):
        mine = part.set_index("seed").value
        # A baseline without a place on the curve serves every place.
        theirs = _same(base, {**cell, "x": cell.get("x")}).set_index("seed").value
        seeds = mine.index.intersection(theirs.index)
        if len(seeds) == 0:
            continue
        interval = paired_interval(
            mine[seeds].to_numpy(float), theirs[seeds].to_numpy(float)
        )
        rows.append(row(**cell, value=interval, against=against, over="paired seeds"))
    return as_table(rows)


def with_means(by_seed: pd.DataFrame, against: str | None = None) -> pd.DataFrame:
    """Return the rows of each seed, their means, and the paired differences.

    Args:
        by_seed: rows with a seed.
        against: key of the setting to compare with; None for no differences.

    Returns:
        All in one table.
    """
    import pandas as pd

    parts = [by_seed, means(by_seed)]
    if against is not None:
        parts.append(differences(by_seed, against))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else as_table([])


def _cells(
    table: pd.DataFrame, more: tuple[str, ...]
) -> Iterable[tuple[dict[str, Any], pd.DataFrame]]:
    """Return the groups of rows that differ in their seed alone."""
    keys = [*_KEYS, *more]
    for values, part in table.groupby(keys, dropna=False, sort=False):
        cell = {
            key: None if _is_missing(value) else value
            for key, value in zip(keys, values, strict=True)
        }
        if cell["images_per_class"] is not None:
            cell["images_per_class"] = int(cell["images_per_class"])
        yield cell, part


def _same(table: pd.DataFrame, cell: Mapping[str, Any]) -> pd.DataFrame:
    chosen = table
    for key in _KEYS:
        value = cell.get(key)
        if key == "x" and chosen.x.isna().all():
            continue
        wanted = chosen[key].isna() if value is None else chosen[key] == value
        chosen = chosen[wanted.fillna(False).astype(bool)]
    return chosen


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or bool(pd.isna(value))
