"""Diversity: recall of the real images by distilled sets, with companion measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isa_toolkit.analysis.diversity import prdc, recall
from isa_toolkit.analysis.kernels import kid, vendi_score
from isa_toolkit.distillation import Run
from isa_toolkit.figures import results_table
from isa_toolkit.figures.strip_plot import draw_strips
from isa_toolkit.figures.study import Study, check_study
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
# Feature space -> suffix of its quantities.
SPACES = {"features": "", "pixels": "_pixels"}
# The radii around real points cost the square of their number: a fixed random subset.
_MOST_RADII = 5000


def compute(
    study: Study, images_per_class: int | None = None, *, k: int = K
) -> pd.DataFrame:
    """Return recall and its companions of every setting and seed, in features and pixels.

    Args:
        study: Study with the data and the runs.
        images_per_class: Number of distilled images of each class; None for
            ``study.default_size``, since recall needs more than k distilled points.
        k: Number of the neighbour that a ball reaches to.

    Returns:
        Rows of ``results_table``. ``recall_k5`` (k = 5) is over all real training images,
        in features of a network trained on real images; ``recall_k5_pixels`` in network
        inputs. Precision, density and coverage compare with at most 5,000 real images.
        "random" is the real images that each seed starts from. Differences are to
        "frepo". Empty without runs, or with at most k distilled images.

    Source: the paper, equations 8 and 9; it does not state its feature space.
    """
    size = (
        check_study(study).default_size
        if images_per_class is None
        else images_per_class
    )
    runs = study.runs(VARIANTS, size)
    if not runs or size * study.dataset.num_classes <= K:
        return results_table.as_table([])
    sets = [(variant.key, seed, run, None) for (variant, seed), run in runs.items()]
    sets += [
        ("random", seed, run, 0)
        for (variant, seed), run in runs.items()
        if variant.key == "frepo"
    ]
    flat = study.dataset.inputs("train").reshape(len(study.dataset.train.labels), -1)
    real = {"features": study.real_features(), "pixels": flat}
    subset = np.arange(len(flat))
    if len(flat) > _MOST_RADII:
        draw = np.random.default_rng(0)
        subset = np.sort(draw.choice(len(flat), _MOST_RADII, replace=False))

    def measure(item: tuple[str, int, Run, int | None]) -> list[dict[str, Any]]:
        key, seed, run, step = item
        distilled = run.distilled if step is None else run.distilled_at(step)
        points = {
            "features": study.feature_network().features(distilled.images),
            "pixels": distilled.images.reshape(len(distilled.images), -1),
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
            for space, suffix in SPACES.items()
            for quantity, value in _measures(
                real[space], real[space][subset], points[space], k
            ).items()
        ]

    found = study.map(measure, sets, "diversity")
    table = results_table.as_table(row for rows in found for row in rows)
    return results_table.with_means(table, against="frepo")


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


def draw(
    table: pd.DataFrame,
    *,
    k: int = K,
    space: Literal["features", "pixels"] = "features",
) -> Figure:
    """Return the figure: recall by seed on the left, paired differences on the right.

    Args:
        table: Table from ``compute``.
        k: Number of neighbours that the table was computed with.
        space: Name of the feature space to draw.
    """
    return draw_strips(
        table[table.quantity == f"recall_k{k}{SPACES[space]}"],
        ["random", *(variant.key for variant in VARIANTS)],
        "frepo",
        predictor=None,
        unit=f"recall, k = {k}",
        difference="recall",
    )


def caption(
    table: pd.DataFrame,
    *,
    k: int = K,
    space: Literal["features", "pixels"] = "features",
) -> str:
    """Return the caption of the figure.

    Args:
        table: Table from ``compute``.
        k: Number of neighbours that the table was computed with.
        space: Name of the feature space that is drawn.
    """
    where = (
        "penultimate features of a network trained on real images"
        if space == "features"
        else "network inputs"
    )
    one = table[table.seed.isna()].iloc[0]
    size = results_table.format_images_per_class(one.images_per_class)
    return (
        f"{one.dataset}, {size}, {one.n} seeds. Fraction of the real training images in "
        "the balls around distilled ones, each of which reaches to the distilled "
        f"neighbour number {k} (equations 8 and 9), in {where}. Left: each seed and the "
        "mean with its 95 % interval over distilled sets. Right: paired difference to "
        "FRePo. Recall alone can be raised by an outlier; precision, density, coverage, "
        "Vendi score and kernel distance are in the CSV."
    )
