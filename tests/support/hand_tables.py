"""Tables of every figure, written by hand: no study, no run, no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.dd_scores import SCORES
from isa_toolkit.figures import (
    dd_ranking,
    fig5,
    fig8,
    gallery,
    information,
    recall,
    regime,
    results_table,
    table6,
)
from isa_toolkit.figures.comparisons import FIG3C
from isa_toolkit.figures.results_table import as_table

ACCURACY = "accuracy_percent"


def _by_seed(cells: list[dict[str, Any]], seeds: int) -> pd.DataFrame:
    """Return a different number for each cell and seed."""
    draw = np.random.default_rng(0)
    reported = {"dataset": "toy", "images_per_class": 1}
    return as_table(
        {**reported, **cell, "seed": seed, "value": 50 + 20 * draw.random()}
        for cell in cells
        for seed in range(seeds)
    )


def with_means(by_seed: pd.DataFrame, against: str | None = None) -> pd.DataFrame:
    """Return rows, means and differences, whose two ends are not equally far."""
    table = results_table.with_means(by_seed, against)
    return table.assign(low=table.low - 0.25)


def _both(**cell: Any) -> list[dict[str, Any]]:
    return [
        {**cell, "predictor": predictor, "quantity": ACCURACY}
        for predictor in ("network", "ridge")
    ]


def fig3c_table(seeds: int = 3) -> pd.DataFrame:
    cells = [cell for key in FIG3C.keys for cell in _both(setting=key)]
    return with_means(_by_seed(cells, seeds), "frepo+drop_easy")


def fig5_table(seeds: int = 3) -> pd.DataFrame:
    cells = [
        cell
        for one, place in fig5.variants().items()
        for cell in _both(
            setting=one.key, x=None if one.key == "frepo" else place
        )
    ]  # fmt: skip
    return with_means(_by_seed(cells, seeds), "frepo")


def fig8_table(seeds: int = 3) -> pd.DataFrame:
    cells = [
        cell
        for one in fig8.VARIANTS
        for step in (0.0, 10.0, 20.0)
        for cell in _both(setting=one.key, x=step)
    ]
    return with_means(_by_seed(cells, seeds), "frepo")


def regime_table(seeds: int = 3) -> pd.DataFrame:
    steps = (0.0, 10.0, 40.0)
    cells = [
        cell
        for one in (regime.PLAIN, *regime.BRANCHES)
        for step in steps
        for cell in _both(setting=one.key, x=step)
    ]
    cells += [
        {"setting": "frepo", "predictor": predictor, "quantity": quantity, "x": step}
        for quantity, predictor in [
            (regime.REACHED, "network"),
            *((name, "ridge") for name in regime.HELD.values()),
        ]
        for step in steps
    ]
    return with_means(_by_seed(cells, seeds), "frepo")


def table6_table(seeds: int = 3) -> pd.DataFrame:
    cells = [
        cell
        for size in (1, 10)
        for key in ("random", *(one.key for one in table6.VARIANTS))
        for cell in _both(setting=key, images_per_class=size)
    ]
    return with_means(_by_seed(cells, seeds), "frepo")


def dd_ranking_table(seeds: int = 3) -> pd.DataFrame:
    cells = [
        {"setting": one.key, "quantity": f"{score}_percent", "images_per_class": size}
        for one in dd_ranking.VARIANTS
        for score in SCORES
        for size in (1, 10)
    ]
    return with_means(_by_seed(cells, seeds), "frepo")


def recall_table(seeds: int = 3) -> pd.DataFrame:
    cells = [
        {"setting": key, "quantity": quantity}
        for key in ("random", *(one.key for one in recall.VARIANTS))
        for quantity in ("recall_k5", "recall_k5_pixels")
    ]
    by_seed = _by_seed(cells, seeds)
    return with_means(by_seed.assign(value=by_seed.value / 100), "frepo")


def cost_table(seeds: int = 3) -> pd.DataFrame:
    cells = [
        {"setting": key, "quantity": quantity, "images_per_class": size}
        for size in (1, 10)
        for key in ("frepo", "isa")
        for quantity in ("milliseconds_per_step", "hours_500k_steps")
    ] + [
        {"setting": "isa", "quantity": "isa_over_frepo_ratio", "images_per_class": size}
        for size in (1, 10)
    ]
    return with_means(_by_seed(cells, seeds), "frepo")


def information_table(seeds: int = 3) -> pd.DataFrame:
    names = [
        information.EASY, information.RANDOM, information.HARD, "spearman_networks",
        "spearman_training", "jaccard_networks", "jaccard_training",
        "jaccard_by_chance", f"{information.EASY}_batch", f"{information.RANDOM}_batch",
        f"{information.HARD}_batch",
    ]  # fmt: skip
    cells = [
        {"setting": "frepo", "predictor": "ridge", "quantity": name} for name in names
    ]
    table = with_means(_by_seed(cells, seeds))
    reported = {
        "dataset": "toy", "images_per_class": 1, "setting": "frepo", "predictor": "ridge",
        "against": information.RANDOM,
    }  # fmt: skip
    paired = [
        {
            **reported,
            "quantity": name,
            "value": value,
            "low": low,
            "high": high,
            "n": seeds,
        }
        for name, value, low, high in (
            (information.EASY, -3.0, -4.0, -2.5),
            (information.HARD, 2.0, 1.0, 3.5),
        )
    ]
    return pd.concat([table, as_table(paired)], ignore_index=True)


def fig6_table(
    mode: str = "anchored", names: tuple[str, ...] = ("zero", "one", "two")
) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    rows = [
        {
            "dataset": "toy", "images_per_class": 2, "setting": key, "kind": kind,
            "label": label, "x": x, "y": y, "mode": mode, "space": "features",
            "trustworthiness": 0.9, "seed": 0, "class_index": at, "index": index,
            "hardness": draw.random() if kind == "real" else np.nan,
            "start_x": at if (kind, mode) == ("distilled", "anchored") else np.nan,
            "start_y": index if (kind, mode) == ("distilled", "anchored") else np.nan,
        }
        for key in ("frepo", "frepo+drop_hard", "isa")
        for kind, count in (("real", 4), ("distilled", 2))
        for at, label in reversed(list(enumerate(names)))
        for index, (x, y) in enumerate(draw.normal(size=(count, 2)))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def fig7_table(channels: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(2)
    rows: list[dict[str, Any]] = [
        {"kind": "image", "index": index, "label": label, "score": 0.1,
         "pixels": draw.random((8, 8, channels)).astype("float32")}
        for index, label in enumerate(("one", "two"))
    ]  # fmt: skip
    rows += [
        {"kind": "point", "x": x, "y": y, "kept": place > 1}
        for place, (x, y) in enumerate(draw.normal(size=(6, 2)))
    ]
    rows += [
        {"kind": kind, "index": index, "t": -index / 2, "x": index, "y": index / 4}
        for kind, count in (("end", 2), ("virtual", 3))
        for index in range(count)
    ]
    rows += [
        {"kind": "curve", "t": t, "loss": 1 + t * t} for t in np.linspace(-1, 0, 5)
    ]
    rows.append({"kind": "mean", "loss": 4 / 3, "sampled": 1.33, "t": -1.0})
    return pd.DataFrame(rows).assign(
        dataset="toy", images_per_class=1, start=-1.0, stop=0.0
    )


def distilled(
    classes: int = 3, per_class: int = 2, *, channels: int = 1, side: int = 4
) -> DistilledSet:
    """Return a set with every image different, class after class, not sorted."""
    count = classes * per_class
    draw = np.random.default_rng(3)
    of = draw.permutation(np.repeat(np.arange(classes), per_class))
    labels = np.eye(classes)[of] * 0.8 + draw.uniform(0, 0.1, (count, classes))
    pixels = draw.uniform(-0.2, 1.2, (count, side, side, channels))
    return DistilledSet(
        images=pixels, labels=labels, pixels=pixels,
        class_names=tuple(f"c{label}" for label in range(classes)),
    )  # fmt: skip


def gallery_table(**changes: Any) -> pd.DataFrame:
    return gallery.table_of(distilled(**changes), "toy")


TABLES = {
    "fig3c": fig3c_table,
    "fig5": fig5_table,
    "fig6": fig6_table,
    "fig7": fig7_table,
    "fig8": fig8_table,
    "table6": table6_table,
    "dd_ranking": dd_ranking_table,
    "recall": recall_table,
    "regime": regime_table,
    "information": information_table,
    "cost": cost_table,
    "gallery": gallery_table,
}
