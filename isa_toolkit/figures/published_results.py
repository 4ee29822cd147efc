"""The paper's numbers next to ours, and the verdicts of all comparisons."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AGREES", "DIFFERS", "NOISE", "NOT_RUN", "NO_INTERVAL", "OTHER_SETTING", "VERDICTS",
    "compare", "published_numbers",
]  # fmt: skip

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

    Returns:
        Columns item, dataset, images_per_class, method, predictor, quantity, value, std
        and note; missing where the paper does not state them.
    """
    import pandas as pd

    path = Path(__file__).with_name("paper_targets.csv")
    return pd.read_csv(path).astype({"images_per_class": "Int64"})


def compare(item: str, ours: pd.DataFrame, *, is_published_scale: bool) -> pd.DataFrame:
    """Return the paper's numbers of one item, each with ours and a verdict.

    Ours is the mean over seeds with its interval. It is compared with the paper's mean
    only at the published scale, on the same data set, at the same number of images per
    class. ``VERDICTS`` explains the verdicts.

    Args:
        item: Name of the item in the paper's numbers.
        ours: Rows of ``results_table``.
        is_published_scale: Whether ours was made with the published steps, width and
            batch size.

    Returns:
        Columns of ``published_numbers`` and ``our_dataset``, ``our_images_per_class``,
        ``ours``, ``low``, ``high``, ``n``, ``over``, ``difference`` (ours minus the
        paper's) and ``verdict``.
    """
    import pandas as pd

    paper = published_numbers()
    paper = paper[paper["item"] == item]
    means = ours[ours.seed.isna() & ours.against.isna()] if len(ours) else ours
    rows = [
        {**published, **_compare_one(published, means, is_published_scale)}
        for published in paper.to_dict("records")
    ]
    columns = [
        *paper.columns, "our_dataset", "our_images_per_class", "ours", "low", "high", "n",
        "over", "difference", "verdict",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _compare_one(
    published: dict[str, Any], means: pd.DataFrame, is_published_scale: bool
) -> dict[str, Any]:
    import pandas as pd

    found = _nearest(published, means)
    if found is None:
        return {"verdict": NOT_RUN}
    counts = found["images_per_class"], published["images_per_class"]
    is_same = (
        found["dataset"] == published["dataset"]
        and not any(pd.isna(count) for count in counts)
        and int(counts[0]) == int(counts[1])
    )
    verdict = OTHER_SETTING
    if is_same and is_published_scale and not published["quantity"].endswith(_DEVICE):
        verdict = NO_INTERVAL
        if not math.isnan(found["low"]):
            std = 0.0 if pd.isna(published["std"]) else published["std"]
            half = 2 * std / math.sqrt(PAPER_NETWORKS)
            gap = max(
                published["value"] - half - found["high"],
                found["low"] - published["value"] - half,
            )
            verdict = AGREES if gap <= 0 else DIFFERS
    return {
        "our_dataset": found["dataset"],
        "our_images_per_class": found["images_per_class"],
        "ours": found["value"],
        "low": found["low"],
        "high": found["high"],
        "n": found["n"],
        "over": found["over"],
        "difference": found["value"] - published["value"],
        "verdict": verdict,
    }


def _nearest(published: dict[str, Any], means: pd.DataFrame) -> dict[str, Any] | None:
    """Return our number of the same method and quantity, of the same data if possible."""
    import pandas as pd

    if len(means) == 0:
        return None
    same = means[
        (means.setting == published["method"])
        & (means.quantity == published["quantity"].removesuffix(_DEVICE))
    ]
    if isinstance(published["predictor"], str):
        same = same[same.predictor == published["predictor"]]
    count = published["images_per_class"]
    if not pd.isna(count):
        same = same[(same.images_per_class == count).fillna(False).astype(bool)]
    if len(same) == 0:
        return None
    exact = same[same.dataset == published["dataset"]]
    return (exact if len(exact) else same).iloc[0].to_dict()
