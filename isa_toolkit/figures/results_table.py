"""The one table in which every figure states its numbers, and how they are written.

A row is one number: what was measured (``dataset``, ``images_per_class``, ``setting``,
``predictor``, ``quantity``), where on an axis (``x``, for curves), and for which ``seed``.
Rows without a seed are means over seeds, with the interval ``low`` to ``high`` over ``n``
values of what ``over`` names. ``against`` names the setting whose number was subtracted
seed by seed: such a row is a paired difference. What does not apply is missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, SupportsInt

import pandas as pd

from isa_toolkit import checks
from isa_toolkit.analysis.intervals import Interval, mean_interval, paired_interval
from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.display import Markdown
from isa_toolkit.evaluation import Evaluation
from isa_toolkit.figures.variants import label_of

# Column -> its type in pandas.
COLUMNS = {
    "dataset": "object", "images_per_class": "Int64", "setting": "object",
    "predictor": "object", "quantity": "object", "x": "float64", "seed": "Int64",
    "against": "object", "value": "float64", "low": "float64", "high": "float64",
    "n": "Int64", "over": "object",
}  # fmt: skip
# What rows of several seeds share, besides the setting.
_KEYS = ["dataset", "images_per_class", "predictor", "quantity", "x"]
# Quantity, without its number of neighbours and its space -> its name, if it has another.
_NAMES = {
    "accuracy_percent": "test accuracy",
    "vendi": "Vendi score",
    "kid": "kernel distance",
    "mse_easy_20_from_hard_80": "easiest from the rest",
    "mse_random_20_from_80": "random part from the rest",
    "mse_hard_20_from_easy_80": "hardest from the rest",
    "spearman_networks": "rank correlation between networks",
    "spearman_training": "rank correlation between stages",
    "jaccard_networks": "overlap of the easiest between networks",
    "jaccard_training": "overlap of the easiest between stages",
    "jaccard_by_chance": "overlap of the easiest by chance",
}
_LEVEL = 0.95


# --- rows and tables --------------------------------------------------------------------


@typed
def as_table(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with all ``COLUMNS``; ``n`` is 1 where it is missing."""
    found = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    return found.reindex(columns=list(COLUMNS)).astype(COLUMNS).fillna({"n": 1})


@typed
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


@typed
def accuracies(
    evaluated: Iterable[tuple[Mapping[str, Any], Evaluation]], **shared: Any
) -> pd.DataFrame:
    """Return a table of pairs (columns of the rows, evaluation), in percent.

    There is a row for each predictor: the mean over evaluation networks.
    """
    return measured(
        (
            (
                {**cell, "predictor": predictor, "over": f"{interval.n} networks"},
                {"accuracy_percent": 100 * interval.mean},
            )
            for cell, evaluation in evaluated
            for predictor in ("network", "ridge")
            for interval in [evaluation.interval(predictor)]
        ),
        **shared,
    )


@typed
def concatenate(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several tables in one; an empty table if there are none."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else as_table([])


@takes_table(COLUMNS)
def means(by_seed: pd.DataFrame, over: str = "distilled sets") -> pd.DataFrame:
    """Return the mean over seeds of each number, with its interval over what it names.

    Student's interval of a few seeds can leave the range of an accuracy or a recall: its
    ends are cut off at 0 and 100 % (or 1).
    """
    rows = []
    for cell, part in _cells(by_seed):
        columns = _columns(mean_interval(part.value.to_numpy()))
        largest = _largest(cell["quantity"])
        if largest is not None:
            columns["low"] = max(columns["low"], 0.0)
            columns["high"] = min(columns["high"], largest)
        rows.append({**cell, **columns, "over": over})
    return as_table(rows)


def _largest(quantity: Any) -> float | None:
    """Return the largest value of a fraction or a percentage of a whole, from 0."""
    name = str(quantity)
    if name.startswith(("accuracy", "correct_in")) and name.endswith("_percent"):
        return 100.0
    fractions = ("recall", "precision", "coverage", "jaccard")
    return 1.0 if name.startswith(fractions) else None


@takes_table(COLUMNS)
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


@takes_table(COLUMNS)
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


@takes_table(COLUMNS)
def summary(
    table: pd.DataFrame, *, decimals: int | None = None, **where: Any
) -> pd.DataFrame:
    """Return the means and paired differences of a table as text.

    Args:
        table: Rows of this module.
        decimals: Number of decimals, at least 0; None for one of percentages, and else for
            three significant digits of the largest mean, and two of the largest difference.
        where: Column -> value that rows must have, or list of values, such as
            ``predictor="network"``.

    Returns:
        Table with a row for each setting, position and size; for each quantity, if there is
        one setting. A column holds the means of a quantity and predictor, or their
        differences to a baseline, each with its 95 % interval and a star if the interval of
        a difference excludes 0. The name of the columns says so.

    Raises:
        ValueError: If a column is unknown, or ``decimals`` is below 0.

    Example:
        >>> by_seed = as_table([{"setting": "frepo", "quantity": "vendi"}] * 2)
        >>> by_seed["seed"] = by_seed["value"] = [1, 3]
        >>> print(summary(with_means(by_seed)))
        mean [95 % interval], n = 2           Vendi score
        FRePo                        2.00 [-10.71, 14.71]
    """
    if decimals is not None:
        checks.check_integer("decimals", decimals, minimum=0)
    found = _described(table, where, decimals)
    if not len(found):
        return pd.DataFrame()
    corner = f"mean [95 % interval], n = {_counts(found)}"
    bases = [base for base in found.base.unique() if base]
    is_difference = found.base != ""
    rows, columns = found.row, found.metric
    if len(bases) > 1:
        rows = rows.where(~is_difference, rows + " minus " + found.base)
    elif is_difference.all():
        corner = f"minus {bases[0]}: {corner}"
    else:
        minus = "minus " + found.base
        if columns.nunique() > 1:
            minus = columns.str.removesuffix(", %") + ", " + minus
        columns = columns.where(~is_difference, minus)
    has_star = is_difference & found.is_clear
    if has_star.any():
        corner += "; * excludes 0"
    cells: dict[str, dict[str, str]] = {}
    texts = found.text + has_star.map({True: " *", False: ""})
    for row, column, text in zip(rows, columns, texts, strict=True):
        cells.setdefault(column, {})[row] = text
    shown = pd.DataFrame(cells).reindex(rows.unique()).fillna("")
    return shown.rename_axis(columns=corner)


@takes_table(COLUMNS)
def findings(table: pd.DataFrame, **where: Any) -> Markdown:
    """Return what the paired differences of a table show, as text for a notebook.

    Args:
        table: Rows of this module.
        where: Column -> value that rows must have, or list of values.

    Returns:
        A line for each difference whose interval excludes 0, and one that lists the others.

    Raises:
        ValueError: If a column is unknown.

    Example:
        >>> by_seed = as_table([{"setting": "frepo", "quantity": "vendi"}] * 2)
        >>> by_seed["seed"] = by_seed["value"] = [1, 2]
        >>> other = by_seed.assign(setting="isa", value=[2, 4])
        >>> text = findings(with_means(concatenate([by_seed, other]), "frepo"))
        >>> "difference from FRePo" in text, "ISA +1.50 [-4.85, +7.85]" in text
        (True, True)
    """
    found = _described(table, where)
    found = found[found.base != ""]
    has_one_base, has_one_metric = (
        found.base.nunique() == 1,
        found.metric.nunique() <= 1,
    )
    lines, others = [], []
    for one in found.itertuples():
        metric = "" if has_one_metric else f", {one.metric.removesuffix(', %')}"
        if one.is_clear:
            way = "higher" if one.value > 0 else "lower"
            lines.append(f"* **{one.row}**{metric}: {one.text}, {way} than {one.base}.")
        else:
            minus = "" if has_one_base else f" minus {one.base}"
            others.append(f"{one.row}{minus}{metric} {one.text}")
    if others:
        base = f" from {found.base.iloc[0]}" if has_one_base else ""
        start = f"* No significant difference{base} (the interval includes 0)"
        lines.append(f"{start}: {'; '.join(others)}.")
    note = "not corrected for the number of comparisons"
    return Markdown(
        "\n".join([*lines, "", f"95 % intervals, n = {_counts(found)}, {note}."])
    )


def _described(
    table: pd.DataFrame, where: Mapping[str, Any], decimals: int | None = None
) -> pd.DataFrame:
    """Return means and differences with the texts that tell them apart.

    Columns ``row``, ``metric``, ``base`` (empty for means), ``text`` (the mean, or with a
    sign the difference, with its interval) and ``is_clear`` (whether that excludes 0).
    """
    overall = table[table.seed.isna()]
    found = _where(overall, where)
    varied = {name for name in found if found[name].nunique(dropna=False) > 1}
    is_quantity = "quantity" in varied and "setting" not in varied
    rows, metrics, digits = [], [], []
    for one in found.itertuples():
        name = quantity_name(one.quantity) if is_quantity else label_of(one.setting)
        parts = [name]
        if "images_per_class" in varied:
            parts.append(f"{one.images_per_class} per class")
        if "x" in varied and one.x == one.x:
            is_fraction = 0 < one.x < 1
            parts.append(f"{100 * one.x:.3g} %" if is_fraction else f"step {one.x:.0f}")
        rows.append(", ".join(parts))
        is_percent = str(one.quantity).endswith("_percent")
        metric = "mean" if is_quantity else quantity_name(one.quantity)
        if "predictor" in varied and isinstance(one.predictor, str):
            is_only = "quantity" not in varied
            metric = one.predictor if is_only else f"{metric} ({one.predictor})"
        metrics.append(metric + (", %" if is_percent else ""))
        alike = overall[overall.quantity == one.quantity]
        is_mean = alike.against.isna()
        gains = alike[["low", "high"]][~is_mean].to_numpy().ravel()
        needed = _digits(alike.value[is_mean]), _digits(gains, 2) if len(gains) else 0
        digits.append(1 if is_percent else max(needed))
    if is_quantity or decimals is not None:
        digits = [min(digits) if decimals is None else decimals] * len(digits)
    bases = [
        _NAMES.get(key, label_of(key)) if isinstance(key, str) else ""
        for key in found.against
    ]
    texts = [
        bracketed(one.value, one.low, one.high, decimals=count, signed=bool(base))
        for one, count, base in zip(found.itertuples(), digits, bases, strict=True)
    ]
    is_clear = (found.low > 0) | (found.high < 0)
    return found.assign(
        row=rows, metric=metrics, base=bases, text=texts, is_clear=is_clear
    )


def quantity_name(quantity: str) -> str:
    """Return the name of a quantity in tables and sentences."""
    plain, _, space = str(quantity).partition("_pixels")
    plain = re.sub(r"_k\d+$", "", plain) + space
    name = _NAMES.get(plain, plain.removesuffix("_percent").replace("_", " "))
    return f"{name} (pixels)" if "_pixels" in str(quantity) else name


def _counts(found: pd.DataFrame) -> str:
    return ", ".join(str(count) for count in sorted(found.n.unique()))


def _digits(values: Iterable[float], digits: int = 3) -> int:
    """Return the number of decimals that gives the largest number so many digits."""
    largest = max((abs(value) for value in values if value == value), default=0) or 1.0
    return max(0, min(6, digits - 1 - math.floor(math.log10(largest))))


@typed
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
    half_width = max(high - float(one.value), float(one.value) - low)
    return Interval(
        float(one.value), low, high, half_width, int(one.n), _LEVEL, str(one.over)
    )


def _where(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    for name, value in where.items():
        checks.check_one_of("column", name, COLUMNS)
        wanted = value if isinstance(value, list | tuple) else [value]
        table = table[table[name].isin(wanted)]
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
        decimals = _digits((value, low, high))
    # "z": what rounds to zero has no minus.
    form = f"{'+' if signed else ''}z.{decimals}f"
    interval = "" if math.isnan(low) else f"{low:{form}} to {high:{form}}"
    return f"{value:{form}}", interval


def bracketed(value: float, low: float, high: float, **how: Any) -> str:
    """Return "87.2 [86.5, 88.0]"; ``how`` are keywords of ``format_interval``."""
    mean, interval = format_interval(value, low, high, **how)
    return f"{mean} [{interval.replace(' to ', ', ')}]" if interval else mean


def format_images_per_class(count: SupportsInt) -> str:
    """Return "1 image per class" or "10 images per class"."""
    return f"{int(count)} image{'' if count == 1 else 's'} per class"


@takes_table(COLUMNS)
def describe(table: pd.DataFrame) -> str:
    """Return data set, size and number of seeds, for the caption of a table with means."""
    one = table[table.seed.isna()].iloc[0]
    size = format_images_per_class(one.images_per_class)
    return f"{one.dataset}, {size}, {one.n} seeds"
