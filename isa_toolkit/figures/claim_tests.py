"""The paper's claims, each tested by a paired difference that is above or below 0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isa_toolkit.annotations import typed
from isa_toolkit.figures.published_results import AGREES, DIFFERS, NOISE, NOT_RUN
from isa_toolkit.figures.results_table import format_interval

if TYPE_CHECKING:
    import pandas as pd


def published_claims() -> pd.DataFrame:
    """Return the claims of the paper, one per row.

    Columns: ``claim`` (its statement), ``item`` (whose numbers test it), ``setting`` that
    is claimed to differ from ``against``, ``quantity``, ``sign`` (1 if the quantity is
    claimed to be larger, -1 if smaller), ``predictor`` (missing for any) and ``x``
    (missing for the first position after 0, or the only one).
    """
    import pandas as pd

    return pd.read_csv(Path(__file__).with_name("paper_claims.csv"))


@typed
def check_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return every claim with our paired difference, its interval and a verdict.

    ``tables`` are rows of ``results_table`` by the name of the item. One row per claim, and
    per number of images per class where an item has several: ``claim``, ``item``,
    ``dataset``, ``images_per_class``, ``expected`` ("above 0" or "below 0"), ``value``,
    ``low``, ``high``, ``n`` and ``verdict`` ("agrees" or "differs" where the interval
    excludes 0, "inside the noise" where it does not or one seed gives none, "not run"
    without a number).
    """
    import pandas as pd

    claims = published_claims()
    claims["expected"] = np.where(claims.sign > 0, "above 0", "below 0")
    measured = ["dataset", "images_per_class", "value", "low", "high", "n"]
    filled = [table.assign(item=item) for item, table in tables.items() if len(table)]
    if filled:
        numbers = pd.concat(filled)
        found = claims.merge(
            numbers[numbers.seed.isna()],
            on=["item", "setting", "quantity", "against"],
            suffixes=("", "_of_ours"),
        )
        is_any = found.predictor.isna()
        found = found[is_any | (found.predictor == found.predictor_of_ours)]
        # Of a curve, the first step after the initial images, which all settings share.
        ours = found.x_of_ours
        first = ours.where(ours > 0).groupby(found.claim).transform("min")
        is_at = (ours - found.x.fillna(first)).abs() < 1e-9
        found = found[is_at | (found.x.isna() & ours.isna())]
        is_above, is_below = found.low > 0, found.high < 0
        agrees = np.where(found.sign > 0, is_above, is_below)
        verdict = np.where(agrees, AGREES, DIFFERS)
        found = found.assign(verdict=np.where(is_above | is_below, verdict, NOISE))
        claims = claims.merge(
            found[["claim", *measured, "verdict"]], "left", on="claim"
        )
    columns = [
        "claim", "item", "dataset", "images_per_class", "expected", "value", "low",
        "high", "n", "verdict",
    ]  # fmt: skip
    table = claims.reindex(columns=columns)
    verdict = table.verdict.astype(object).where(table.verdict.notna(), NOT_RUN)
    return table.assign(verdict=verdict)


def as_text(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the tested claims of ``check_claims`` for a notebook, a row for each.

    The index is the claim; columns are ``images per class``, ``difference [95 % interval]``
    and ``verdict``.
    """
    import pandas as pd

    rows = {}
    tested = claims[claims.verdict != NOT_RUN]
    for one in tested.itertuples():
        mean, interval = format_interval(one.value, one.low, one.high, signed=True)
        difference = f"{mean} [{interval.replace(' to ', ', ')}]" if interval else mean
        rows[one.Index] = [
            one.claim,
            str(one.images_per_class),
            difference,
            one.verdict,
        ]
    heads = ["claim", "images per class", "difference [95 % interval]", "verdict"]
    made = pd.DataFrame.from_dict(rows, orient="index", columns=heads)
    return made.set_index("claim")
