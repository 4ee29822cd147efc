"""DD-Ranking: what the images of distilled sets are worth, by scores of the field."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from isa_toolkit.annotations import takes_table
from isa_toolkit.distillation import Run
from isa_toolkit.evaluation.dd_scores import SCORES, dd_ranking
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study, evaluation_path
from isa_toolkit.figures.style import Panels, drawing, split, spread
from isa_toolkit.figures.variants import Variant, looks_of
from isa_toolkit.files import NUMBER, read_json, write_json

VARIANTS = (Variant("frepo"), Variant("isa"))


def compute(study: Study, *, variants: Sequence[Variant] = VARIANTS) -> pd.DataFrame:
    """Return DD-Ranking's scores of each distilled set, with means and differences.

    Rows of ``results_table``, in percent; the quantity is ``hlr_percent``, ``ior_percent``,
    ``lrs_percent`` or ``ars_percent``, the mean over evaluation networks. Differences are to
    the first of the ``variants``.

    Source: docs/algorithms.md, section 7.7.
    """
    parts = []
    for size in check_study(study).sizes:
        baselines = study.baseline_accuracies(size)
        full = baselines.query("setting == 'full' and predictor == 'network'").value
        score = functools.partial(_scores, study, float(full.iloc[0]) / 100)
        jobs = [
            ({"setting": one.key, "seed": seed}, run)
            for (one, seed), run in study.runs(variants, size).items()
        ]
        name = f"{study.dataset.name}, {size} per class: DD-Ranking"
        by_seed = study.measure(score, jobs, name, images_per_class=size)
        parts.append(results_table.with_means(by_seed, against=variants[0].key))
    return results_table.concatenate(parts)


def _scores(study: Study, full_accuracy: float, run: Run) -> dict[str, float]:
    """Return the scores of a run's result in percent, stored in its folder."""
    settings = study.evaluation_settings(run.experiment["method"]["name"])
    resolved = settings.resolve_for(run.distilled, study.dataset)
    path = evaluation_path(run, "dd-ranking", resolved, study.dataset)
    stored = read_json(path, {score: [NUMBER] for score in SCORES})
    if stored is None:
        ranked = dd_ranking(
            run.distilled, study.dataset, settings, full_accuracy=full_accuracy
        )
        stored = {score: ranked.values(score).tolist() for score in SCORES}
        write_json(path, stored)
    return {f"{score}_percent": 100 * float(np.mean(stored[score])) for score in SCORES}


@takes_table(results_table.COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    return (
        f"{results_table.describe(table)}. DD-Ranking's scores: hard-label recovery (HLR, "
        "the gap to training on all images; smaller is better), improvement over random "
        "images (IOR), label-robust score (LRS) and augmentation-robust score (ARS). Dots: "
        "distilled sets; diamonds: means with 95 % intervals."
    )


@drawing({"abcd": 2.4}, caption=caption, columns=results_table.COLUMNS, least_in=1.5)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw each score by setting and size, every seed and the mean."""
    rows = table[table.against.isna()]
    sizes = sorted(rows.images_per_class.unique())
    looks = looks_of(rows.setting)
    for ax, score in zip(panels, SCORES, strict=True):
        for index, (key, look) in enumerate(looks.items()):
            part = rows[(rows.setting == key) & (rows.quantity == f"{score}_percent")]
            shift = 0.24 * (index - (len(looks) - 1) / 2)
            seeds, means, _ = split(part)
            at = seeds.images_per_class.map(sizes.index) + shift
            ax.plot(at, seeds.value, "o", color=look.colour, ms=3, alpha=0.45)
            ax.errorbar(
                means.images_per_class.map(sizes.index) + shift, means.value,
                yerr=spread(means), color=look.colour, marker="D", ms=5, lw=0,
                elinewidth=1.8, capsize=3, label=look.label,
            )  # fmt: skip
        ax.set_title(score.upper())
        ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        ax.set_xlim(-0.5, len(sizes) - 0.5)
        ax.set_xlabel("images per class")
    panels[0].set_ylabel("score, %")
    panels.legend()
