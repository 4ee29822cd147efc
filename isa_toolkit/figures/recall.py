# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Diversity: recall of the real images by distilled sets, and its companions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit.analysis.diversity import prdc, recall
from isa_toolkit.analysis.kernels import kid, vendi_score
from isa_toolkit.distillation import Run
from isa_toolkit.figures import results_table
from isa_toolkit.figures.strip_plot import draw_strips
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.variants import Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["SPACES", "TITLE", "VARIANTS", "caption", "compute", "draw"]

TITLE = "Diversity. Recall of real images"
VARIANTS = tuple(
    Variant(key) for key in ("frepo", "frepo+drop_easy", "frepo+drop_hard", "isa")
)
K = 5
# Space -> end of the names of its quantities.
SPACES = {"features": "", "pixels": "_pixels"}
# Radii around real points cost the square of their number: at most so many, drawn once.
_RADII = 5000


def compute(
    study: Study, images_per_class: int | None = None, *, k: int = K
) -> pd.DataFrame:
    """Return recall and its companions of every setting and seed, in features and pixels.

    Args:
        study: the data and the runs.
        images_per_class: of the distilled sets; None for ``study.many``: recall needs
            more than k distilled points.
        k: a ball reaches to its k-th neighbour.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`. ``recall_k5`` (k = 5) is over all real
        training images, in features of a network trained on real images;
        ``recall_k5_pixels`` in network inputs. Precision, density and coverage
        compare with at most 5,000 real images. "random" is the real images that each
        seed starts from. Differences are to "frepo". Empty without runs, or with no
        more than k distilled images.

    Source: the paper, equations 8 and 9; its feature space is UNKNOWN.
    """
    size = study.many if images_per_class is None else images_per_class
    runs = study.runs(VARIANTS, size)
    if not runs or size * study.dataset.num_classes <= K:
        return results_table.as_table([])
    sets = [(variant.key, seed, run, None) for (variant, seed), run in runs.items()]
    sets += [("random", seed, run, 0) for (variant, seed), run in runs.items()
             if variant.key == "frepo"]  # fmt: skip
    spaces = _spaces(study)

    def measure(item: tuple[str, int, Run, int | None]) -> list[dict[str, Any]]:
        key, seed, run, step = item
        distilled = run.distilled if step is None else run.distilled_at(step)
        points = {
            "": study.feature_network().features(distilled.images),
            "_pixels": distilled.images.reshape(len(distilled.images), -1),
        }
        return [
            results_table.row(
                dataset=study.dataset.name,
                images_per_class=size,
                setting=key,
                quantity=quantity + suffix,
                seed=seed,
                value=value,
            )
            for suffix, places in points.items()
            for quantity, value in _measures(*spaces[suffix], places, k).items()
        ]

    found = study.map(measure, sets, "diversity")
    table = results_table.as_table(row for rows in found for row in rows)
    return results_table.with_means(table, against="frepo")


def _spaces(study: Study) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return for each space all real points, and those that radii are drawn around."""
    flat = study.dataset.inputs("train").reshape(len(study.dataset.train.labels), -1)
    spaces = {"": study.real_features(), "_pixels": flat}
    count = len(flat)
    chosen = np.arange(count)
    if count > _RADII:
        chosen = np.sort(np.random.default_rng(0).choice(count, _RADII, replace=False))
    return {name: (points, points[chosen]) for name, points in spaces.items()}


def _measures(
    real: np.ndarray, some: np.ndarray, distilled: np.ndarray, k: int
) -> dict[str, float]:
    around = prdc(some, distilled, k)
    return {
        f"recall_k{k}": recall(real, distilled, k),
        f"precision_k{k}": around.precision,
        f"density_k{k}": around.density,
        f"coverage_k{k}": around.coverage,
        "vendi": vendi_score(distilled),
        "kid": kid(some, distilled),
    }


def draw(table: pd.DataFrame, *, k: int = K, space: str = "features") -> Figure:
    """Return the figure: recall by seed on the left, paired differences on the right.

    Args:
        table: from ``compute``.
        k: that it was computed with.
        space: "features" or "pixels".

    Returns:
        The figure; fractions.
    """
    keys = ["random", *(variant.key for variant in VARIANTS)]
    return draw_strips(
        table[table.quantity == f"recall_k{k}{SPACES[space]}"],
        keys,
        "frepo",
        predictor=None,
        unit=f"recall, k = {k}",
        difference="recall",
    )


def caption(table: pd.DataFrame, *, k: int = K, space: str = "features") -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
        k: that it was computed with.
        space: that is drawn.
    """
    where = (
        "penultimate features of a network trained on real images"
        if space == "features"
        else "network inputs"
    )
    one = table[table.seed.isna()].iloc[0]
    return (
        f"{one.dataset}, {results_table.per_class(one.images_per_class)}, {one.n} seeds. "
        "Share of the real training images that lie in the ball around a distilled one up "
        f"to its {_ordinal(k)} distilled neighbour (equations 8 and 9), in {where}. Left: each "
        "seed and the mean with its 95 % interval over distilled sets. Right: paired "
        "difference to FRePo. Recall alone can be raised by an outlier; precision, "
        "density, coverage, Vendi score and kernel distance are in the CSV beside it."
    )


def _ordinal(number: int) -> str:
    tens, ones = divmod(number % 100, 10)
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if tens == 1 else ends.get(ones, 'th')}"
