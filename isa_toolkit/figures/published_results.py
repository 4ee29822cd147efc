"""The paper's numbers next to ours, its claims, and the verdicts on both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.figures.results_table import bracketed

AGREES, DIFFERS, NOISE = "agrees", "differs", "inside the noise"
NO_INTERVAL, OTHER_SETTING, NOT_RUN = "no interval", "other setting", "not run"
# Verdict -> its style in the report, and what it means; the most informative first.
VERDICTS = {
    AGREES: (
        "good",
        "For a number: same data set, images per class and published scale, and the two "
        "intervals overlap (the paper's: mean ± 2 std / √5). For a claim: the interval of "
        "our paired difference lies on the claimed side of 0.",
    ),
    DIFFERS: (
        "bad",
        "The intervals do not overlap; or our interval lies on the other side of 0.",
    ),
    NOISE: (
        "open",
        "Our interval includes 0: no difference is shown, which is not the same as none.",
    ),
    NO_INTERVAL: ("open", "The same setting, but one seed gives no interval."),
    OTHER_SETTING: (
        "open",
        "Ours is another data set, a smaller scale or another device (digits instead of "
        "CIFAR-10, hundreds of steps instead of 500,000): shown next to the paper's "
        "number, not compared.",
    ),
    NOT_RUN: ("none", "There is no number of ours."),
}
# Suffix of quantities that depend on the device they were measured on.
_DEVICE = "_a100"
# A published "mean ± std" is over five networks; the interval of its mean is narrower.
PAPER_NETWORKS = 5


def published_numbers() -> pd.DataFrame:
    """Return the numbers of the appendix, one per row.

    Columns: item, dataset, images_per_class, method, predictor, quantity, value, std and
    note; missing where the paper does not state them.
    """
    path = Path(__file__).with_name("paper_targets.csv")
    return pd.read_csv(path).astype({"images_per_class": "Int64"})


@typed
def compare(item: str, ours: pd.DataFrame, *, is_published_scale: bool) -> pd.DataFrame:
    """Return the paper's numbers of one item, each with ours and a verdict.

    Ours is the mean over seeds with its interval, of the same data set if there is one. It
    is compared with the paper's mean only at the published scale (steps, width and batch
    size), on the same data set, at the same number of images per class.

    Columns of ``published_numbers`` and ``our_dataset``, ``our_images_per_class``, ``ours``,
    ``low``, ``high``, ``n``, ``over``, ``difference`` (ours minus the paper's) and
    ``verdict`` (see ``VERDICTS``).
    """
    paper = published_numbers().query("item == @item").reset_index(drop=True)
    means = ours[ours.seed.isna() & ours.against.isna()].rename(
        columns={
            "dataset": "our_dataset", "images_per_class": "our_images_per_class",
            "predictor": "our_predictor", "value": "ours",
        }
    )  # fmt: skip
    found = paper.assign(
        place=paper.index,
        setting=paper.method,
        quantity=paper.quantity.str.removesuffix(_DEVICE),
    ).merge(means, on=["setting", "quantity"])
    size, predictor = found.images_per_class, found.predictor
    is_same_size = (size == found.our_images_per_class).fillna(False)
    found = found[
        (size.isna() | is_same_size)
        & (predictor.isna() | (predictor == found.our_predictor))
    ]
    # Of the same data set if possible.
    is_other = found.our_dataset != found.dataset
    found = found.assign(is_other=is_other).sort_values("is_other", kind="stable")
    found = found.drop_duplicates("place").set_index("place")
    own = ["our_dataset", "our_images_per_class", "ours", "low", "high", "n", "over"]
    table = paper.join(found[own])
    half = 2 * table["std"].fillna(0) / math.sqrt(PAPER_NETWORKS)
    is_apart = (table.value - half > table.high) | (table.low > table.value + half)
    is_comparable = (
        (table.our_dataset == table.dataset)
        & (table.our_images_per_class == table.images_per_class).fillna(False)
        & ~table.quantity.str.endswith(_DEVICE)
        & is_published_scale
    )
    verdict = np.select(
        [table.ours.isna(), ~is_comparable.astype(bool), table.low.isna(), is_apart],
        [NOT_RUN, OTHER_SETTING, NO_INTERVAL, DIFFERS],
        AGREES,
    )
    return table.assign(difference=table.ours - table.value, verdict=verdict)


def published_claims() -> pd.DataFrame:
    """Return the claims of the paper, one per row.

    Columns: ``claim`` (its statement), ``item`` (whose numbers test it), ``setting`` that
    is claimed to differ from ``against``, ``quantity``, ``sign`` (1 if the quantity is
    claimed to be larger, -1 if smaller), ``predictor`` (missing for any) and ``x``
    (missing for the first position after 0, or the only one).
    """
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


@takes_table(["claim", "images_per_class", "value", "low", "high", "verdict"])
def claims_as_text(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the tested claims of ``check_claims`` for a notebook, a row for each.

    The index is the claim; columns are ``images per class``, ``difference [95 % interval]``
    and ``verdict``.
    """
    tested = claims[claims.verdict != NOT_RUN].set_index("claim")
    ends = tested[["value", "low", "high"]].itertuples(index=False)
    return pd.DataFrame(
        {
            "images per class": tested.images_per_class.astype(str),
            "difference [95 % interval]": [
                bracketed(*one, signed=True) for one in ends
            ],
            "verdict": tested.verdict,
        }
    )
