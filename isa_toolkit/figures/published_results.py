# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportReturnType=false
"""The paper's numbers beside ours: what agrees, differs, or is another setting."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AGREES",
    "DIFFERS",
    "NOT_RUN",
    "NO_INTERVAL",
    "OTHER",
    "compare",
    "paper_numbers",
]

AGREES, DIFFERS = "agrees", "differs"
OTHER, NOT_RUN, NO_INTERVAL = "other setting", "not run", "no interval"
# Ends the name of a quantity that depends on the device it was measured on.
_DEVICE = "_a100"
# What a published "mean ± std" is over; the interval of its mean is narrower.
PAPER_NETWORKS = 5


def paper_numbers() -> pd.DataFrame:
    """Return the numbers of the appendix, one per row.

    Returns:
        Columns item, dataset, images_per_class, method, predictor, quantity, value, std
        and note; what the paper does not state is missing.
    """
    import pandas as pd

    path = Path(__file__).with_name("paper_targets.csv")
    return pd.read_csv(path).astype({"images_per_class": "Int64"})


def compare(item: str, ours: pd.DataFrame, *, is_published_scale: bool) -> pd.DataFrame:
    """Return the paper's numbers of one item, each with ours and a verdict.

    Ours is the mean over seeds with its interval. It is compared with the paper's mean
    only at the published scale, on the same data set, at the same number of images per
    class: *agrees* if the two intervals meet, else *differs*. The paper's interval is
    its mean ± 2 std / sqrt(5), for its ± is the standard deviation over five networks.
    *No interval* if ours is of one seed. A number of ours in another setting, or that
    depends on the device, is shown as *other setting*; *not run* if there is none.

    Args:
        item: first column of the paper's numbers.
        ours: rows of :mod:`isa_toolkit.figures.results_table`.
        is_published_scale: whether ours was made with the published steps, width and
            batch size.

    Returns:
        Columns of ``paper_numbers`` and ``our_dataset``, ``our_images_per_class``, ``ours``,
        ``low``, ``high``, ``n``, ``over``, ``difference`` (ours minus the paper's) and
        ``verdict``.
    """
    import pandas as pd

    paper = paper_numbers()
    paper = paper[paper["item"] == item]
    means = ours[ours.seed.isna() & ours.against.isna()] if len(ours) else ours
    rows = [
        {**target, **_beside(target, means, is_published_scale)}
        for target in paper.to_dict("records")
    ]
    columns = [
        *paper.columns, "our_dataset", "our_images_per_class", "ours", "low", "high", "n",
        "over", "difference", "verdict",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _beside(
    target: dict[str, Any], means: pd.DataFrame, is_published_scale: bool
) -> dict[str, Any]:
    found = _match(target, means)
    if found is None:
        return {"verdict": NOT_RUN}
    is_same = found["dataset"] == target["dataset"] and _equal(
        found["images_per_class"], target["images_per_class"]
    )
    verdict = OTHER
    if is_same and is_published_scale and not target["quantity"].endswith(_DEVICE):
        verdict = NO_INTERVAL
        if not math.isnan(found["low"]):
            verdict = AGREES if _meet(found, target) else DIFFERS
    return {
        "our_dataset": found["dataset"],
        "our_images_per_class": found["images_per_class"],
        "ours": found["value"],
        "low": found["low"],
        "high": found["high"],
        "n": found["n"],
        "over": found["over"],
        "difference": found["value"] - target["value"],
        "verdict": verdict,
    }


def _match(target: dict[str, Any], means: pd.DataFrame) -> dict[str, Any] | None:
    """Return our number of the same method, predictor and quantity, the nearest setting."""
    if len(means) == 0:
        return None
    same = means[
        (means.setting == target["method"])
        & (means.quantity == _ours_of(target["quantity"]))
    ]
    if isinstance(target["predictor"], str):
        same = same[same.predictor == target["predictor"]]
    count = target["images_per_class"]
    if not _is_missing(count):
        same = same[(same.images_per_class == count).fillna(False).astype(bool)]
    if len(same) == 0:
        return None
    exact = same[same.dataset == target["dataset"]]
    return (exact if len(exact) else same).iloc[0].to_dict()


def _ours_of(quantity: str) -> str:
    """Return our name of a quantity: theirs, without the device they measured on."""
    return quantity.removesuffix(_DEVICE)


def _meet(ours: dict[str, Any], target: dict[str, Any]) -> bool:
    std = target["std"]
    half = 0.0 if _is_missing(std) else 2 * std / math.sqrt(PAPER_NETWORKS)
    low, high = target["value"] - half, target["value"] + half
    return ours["low"] <= high and low <= ours["high"]


def _equal(ours: Any, theirs: Any) -> bool:
    return (
        not _is_missing(ours) and not _is_missing(theirs) and int(ours) == int(theirs)
    )


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or bool(pd.isna(value))
