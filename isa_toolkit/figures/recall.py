"""Diversity: recall of the real images by distilled sets, with companion measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from isa_toolkit.analysis.diversity import prdc, recall
from isa_toolkit.analysis.kernels import kid, vendi_score
from isa_toolkit.annotations import takes_table
from isa_toolkit.distillation import Run
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, plot_strips, strip_rows
from isa_toolkit.figures.variants import Variant, looks_of

VARIANTS = tuple(
    Variant(key) for key in ("frepo", "frepo+drop_easy", "frepo+drop_hard", "isa")
)
K = 5
# Feature space -> suffix of its quantities.
SPACES: dict[Literal["features", "pixels"], str] = {"features": "", "pixels": "_pixels"}
# The radii around real points cost the square of their number: a fixed random subset.
_MOST_RADII = 5000


def compute(
    study: Study,
    images_per_class: int | None = None,
    *,
    k: int = K,
    variants: Sequence[Variant] = VARIANTS,
) -> pd.DataFrame:
    """Return recall and its companions of every setting and seed, in features and pixels.

    A ball reaches to the k-th neighbour; recall needs more than k distilled points, so
    the default size is ``study.default_size``.

    Returns:
        Rows of ``results_table``. ``recall_k5`` (k = 5) is over all real training images,
        in features of a network trained on real images; ``recall_k5_pixels`` in network
        inputs. Precision, density and coverage compare with at most 5,000 real images.
        "random" is the real images that each seed starts from. Differences are to
        the first of the ``variants``. Empty without runs, or with at most k distilled images.

    Source: the paper, equations 8 and 9; it does not state its feature space.
    """
    size = check_study(study).size(images_per_class)
    runs = study.runs(variants, size)
    if not runs or size * study.dataset.num_classes <= K:
        return results_table.as_table([])
    jobs = [
        ({"setting": variant.key, "seed": seed}, (run, None))
        for (variant, seed), run in runs.items()
    ]
    jobs += [
        ({"setting": "random", "seed": seed}, (run, 0))
        for (variant, seed), run in runs.items()
        if variant == variants[0]
    ]
    inputs = study.dataset.inputs("train")
    real = {
        "features": study.real_features(),
        "pixels": study.points(inputs, "pixels"),
    }
    subset = np.arange(len(inputs))
    if len(inputs) > _MOST_RADII:
        draw = np.random.default_rng(0)
        subset = np.sort(draw.choice(len(inputs), _MOST_RADII, replace=False))

    def measure(job: tuple[Run, int | None]) -> dict[str, float]:
        run, step = job
        distilled = run.distilled if step is None else run.distilled_at(step)
        found = {}
        for space, suffix in SPACES.items():
            points = study.points(distilled.images, space)
            some = real[space][subset]
            around = prdc(some, points, k)
            values = {
                f"recall_k{k}": recall(real[space], points, k),
                f"precision_k{k}": around.precision,
                f"density_k{k}": around.density,
                f"coverage_k{k}": around.coverage,
                "vendi": vendi_score(points),
                "kid": kid(some, points),
            }
            found |= {f"{name}{suffix}": value for name, value in values.items()}
        return found

    table = study.measure(measure, jobs, "diversity", images_per_class=size)
    return results_table.with_means(table, against=variants[0].key)


@takes_table(results_table.COLUMNS)
def caption(
    table: pd.DataFrame,
    *,
    k: int = K,
    space: Literal["features", "pixels"] = "features",
) -> str:
    """Return the caption of the figure that is drawn with the same arguments."""
    where = (
        "penultimate features of a network trained on real images"
        if space == "features"
        else "network inputs"
    )
    [base] = (look.label for look in looks_of([_against(table)]).values())
    return (
        f"{results_table.describe(table)}. Fraction of the real training images in "
        "the balls around distilled ones, each of which reaches to the distilled "
        f"neighbour number {k} (equations 8 and 9), in {where}. (a) Each seed and the "
        "mean with its 95 % interval over distilled sets. (b) Paired difference to "
        f"{base}. Recall alone can be raised by an outlier; precision, density, coverage, "
        "Vendi score and kernel distance are in the CSV."
    )


def _keys(table: pd.DataFrame) -> list[str]:
    """Return the settings from top to bottom: real images are the first."""
    keys = dict.fromkeys(table.setting)
    return sorted(keys, key=lambda key: key != "random")


def _against(table: pd.DataFrame) -> str:
    return next(iter(table.against.dropna()), "frepo")


@drawing(
    lambda table, **_: strip_rows(len(_keys(table))),
    caption=caption,
    columns=results_table.COLUMNS,
)
def draw(
    panels: Panels,
    table: pd.DataFrame,
    *,
    k: int = K,
    space: Literal["features", "pixels"] = "features",
) -> None:
    """Draw recall by seed, and paired differences."""
    plot_strips(
        panels,
        table[table.quantity == f"recall_k{k}{SPACES[space]}"],
        _keys(table),
        _against(table),
        unit=f"recall, k = {k}",
        difference="recall",
    )
