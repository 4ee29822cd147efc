"""The paper's claims, each tested by a paired difference that is above or below 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from isa_toolkit.figures.published_results import AGREES, DIFFERS, NOISE, NOT_RUN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CLAIMS", "Claim", "check_claims"]


class Claim(NamedTuple):
    """One claim of the paper.

    text: Statement of the claim.
    item: Name of the item whose numbers test it.
    setting: Key of the setting that is claimed to differ.
    quantity: Name of the quantity.
    sign: 1 if the quantity is claimed to be larger, -1 if smaller.
    against: Key of the setting that it differs from.
    predictor: Name of the predictor; None for any.
    x: Position on the axis; None for the first one after 0, or the only one.
    """

    text: str
    item: str
    setting: str
    quantity: str
    sign: Literal[1, -1]
    against: str = "frepo"
    predictor: str | None = None
    x: float | None = None


CLAIMS = (
    Claim(
        "Dropping the easiest 20 % raises accuracy (section B, Figure 5)",
        "fig5", "frepo+drop_easy", "accuracy_percent", 1, predictor="network", x=0.2,
    ),
    Claim(
        "Dropping the hardest 20 % lowers accuracy (section B, Figure 5)",
        "fig5", "frepo+drop_hard", "accuracy_percent", -1, predictor="network", x=0.2,
    ),
    Claim(
        "Dropping easy samples: more overlap with the real images (Figure 6)",
        "fig6", "frepo+drop_easy", "overlap", 1,
    ),
    Claim(
        "Dropping hard samples: stars cluster, spread falls (Figure 6)",
        "fig6", "frepo+drop_hard", "spread", -1,
    ),
    Claim(
        "With ISA the stars are more evenly distributed (Figure 6)",
        "fig6", "isa", "evenness", 1,
    ),
    Claim(
        "Hard samples predict easy ones better than chance (section B, Information)",
        "information", "frepo", "mse_easy_20_from_hard_80", -1,
        against="mse_random_20_from_80",
    ),
    Claim(
        "Easy samples cannot replace hard ones (section B, Information)",
        "information", "frepo", "mse_hard_20_from_easy_80", 1,
        against="mse_random_20_from_80",
    ),
    Claim(
        "Dropping easy samples raises recall (section B, Diversity)",
        "recall", "frepo+drop_easy", "recall_k5", 1,
    ),
    Claim(
        "ISA is better than crucial samples without augmentation (Figure 3c)",
        "fig3c", "isa", "accuracy_percent", 1, against="frepo+drop_easy",
        predictor="network",
    ),
    Claim(
        "Crucial samples and ISA together raise accuracy (Table 6)",
        "table6", "isa", "accuracy_percent", 1, predictor="network",
    ),
    Claim(
        "Crucial samples and ISA improve DM (Table 8)",
        "table8", "dm+ours", "accuracy_percent", 1, against="dm", predictor="network",
    ),
    Claim(
        "Crucial samples and ISA improve MTT (Table 8)",
        "table8", "mtt+ours", "accuracy_percent", 1, against="mtt",
        predictor="network",
    ),
    Claim(
        "Crucial samples and ISA improve RFAD (Table 4)",
        "table4", "rfad+ours", "accuracy_percent", 1, against="rfad",
        predictor="network",
    ),
    Claim(
        "Crucial samples and ISA improve RCIG (Table 4)",
        "table4", "rcig+ours", "accuracy_percent", 1, against="rcig",
        predictor="network",
    ),
    Claim(
        "ISA converges no later: better at the first stored step (Figure 8)",
        "fig8", "isa", "accuracy_percent", 1, predictor="network",
    ),
)  # fmt: skip


def check_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return every claim with our paired difference, its interval and a verdict.

    Args:
        tables: Name of the item -> rows of ``results_table``.

    Returns:
        One row per claim, and per number of images per class where an item has several:
        ``claim``, ``item``, ``dataset``, ``images_per_class``, ``expected`` ("above 0" or
        "below 0"), ``value``, ``low``, ``high``, ``n`` and ``verdict`` ("agrees" or
        "differs" where the interval excludes 0, "inside the noise" where it does not or
        one seed gives none, "not run" without a number).
    """
    import pandas as pd

    measured = ["dataset", "images_per_class", "value", "low", "high", "n"]
    rows = []
    for claim in CLAIMS:
        row = {
            "claim": claim.text,
            "item": claim.item,
            "expected": "above 0" if claim.sign > 0 else "below 0",
            "verdict": NOT_RUN,
        }
        table = tables.get(claim.item)
        found = None if table is None or table.empty else _rows_of(claim, table)
        if found is None or found.empty:
            rows.append(row)
            continue
        for one in found[measured].to_dict("records"):
            verdict = _verdict(claim.sign, one["low"], one["high"])
            rows.append({**row, **one, "verdict": verdict})
    columns = [
        "claim", "item", "dataset", "images_per_class", "expected", "value", "low",
        "high", "n", "verdict",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _rows_of(claim: Claim, table: pd.DataFrame) -> pd.DataFrame:
    found = table[
        (table.setting == claim.setting)
        & (table.quantity == claim.quantity)
        & (table.against == claim.against)
        & table.seed.isna()
    ]
    if claim.predictor is not None:
        found = found[found.predictor == claim.predictor]
    if claim.x is not None:
        found = found[(found.x - claim.x).abs() < 1e-9]
    elif found.x.notna().any():
        # A curve: the first step after the initial images, which all settings share.
        later = found[found.x > 0]
        found = later[later.x == later.x.min()]
    return found


def _verdict(sign: int, low: float, high: float) -> str:
    if low != low or high != high or low <= 0 <= high:
        return NOISE
    return AGREES if (low > 0) == (sign > 0) else DIFFERS
