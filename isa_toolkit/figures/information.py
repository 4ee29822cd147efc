"""Information: the 80/20 cross-prediction test with its random control."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit.analysis import ranking
from isa_toolkit.analysis.cross_prediction import cross_prediction, ridge_weights
from isa_toolkit.analysis.intervals import mean_interval, paired_interval
from isa_toolkit.distillation import Run
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.features import FeatureNetwork, distilled_network
from isa_toolkit.figures import results_table
from isa_toolkit.figures.strip_plot import draw_intervals
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "BASE", "FRACTION", "TITLE", "caption", "compute", "draw", "scores",
    "train_and_read",
]  # fmt: skip

TITLE = "Information. Predicting easy samples from hard ones, and the reverse"
FRACTION = 0.2
BASE = Variant("frepo")
EASY, HARD = "mse_easy_20_from_hard_80", "mse_hard_20_from_easy_80"
RANDOM = "mse_random_20_from_80"
# Number of networks, and of stages of the distillation, whose rankings are compared.
_NETWORKS = 3
_STAGES = 3
_TRAINING_STEPS = 300
# Quantity -> name and colour of its part.
_PARTS = {
    EASY: ("easiest", "#E69F00"),
    RANDOM: ("random", "#999999"),
    HARD: ("hardest", "#009E73"),
}


def scores(
    network: FeatureNetwork, distilled: DistilledSet, real: np.ndarray, labels: Any
) -> np.ndarray:
    """Return FRePo's loss of every real image, [n]; large scores are hard.

    The loss is half the squared error, summed over classes, of the ridge regression on
    the distilled set in a network's features.

    Args:
        network: Network whose features are used.
        distilled: Distilled set that predicts.
        real: Features of the real images, [n, d].
        labels: Centred one-hot labels of the real images, [n, c].

    Source: docs/algorithms.md, sections 4.1 and 6.1.
    """
    weights = ridge_weights(network.features(distilled.images), distilled.labels)
    return 0.5 * np.square(real @ weights - labels).sum(1)


def compute(
    study: Study, images_per_class: int | None = None, *, fraction: float = FRACTION
) -> pd.DataFrame:
    """Return the errors of the 80/20 test with its random control, and rank stability.

    Features come from a network that is trained on each seed's FRePo set and never on a
    real image. The real training images are scored by ridge regression on the distilled
    set; then 80 % predict 20 % by ridge regression on the same features.

    Args:
        study: Study with the data and the runs.
        images_per_class: Number of distilled images of each class; None for
            ``study.default_size``.
        fraction: Fraction that is predicted from the rest. The names of the quantities
            contain 20 and 80 for every fraction.

    Returns:
        Rows of ``results_table``: ``mse_*`` (mean over samples and classes) and
        ``mse_*_half_sum`` (half the sum over classes), by seed, as means, and as paired
        differences to the random split (``against``); ``spearman_networks`` and
        ``spearman_training``, the rank correlation of the scores between networks and
        between stages of the distillation; ``jaccard_*``, the overlap of what would be
        dropped.

    Source: the paper, section B, "Information". It does not state data, network and
    normalisation, and has no random control.
    """
    size = (
        check_study(study).default_size
        if images_per_class is None
        else images_per_class
    )
    runs = study.runs([BASE], size)
    labels = study.dataset.targets("train")

    def measure(item: tuple[tuple[Variant, int], Run]) -> dict[str, float]:
        (_, seed), run = item
        network, real = train_and_read(study, run.distilled, seed)
        ranked = scores(network, run.distilled, real, labels)
        return {
            **_errors(real, labels, ranked, fraction),
            **_stability(study, run, seed, ranked, fraction),
        }

    found = study.map(measure, runs.items(), "information")

    def row(quantity: str, value: Any, **more: Any) -> dict[str, Any]:
        return results_table.row(
            dataset=study.dataset.name,
            images_per_class=size,
            setting=BASE.key,
            predictor="ridge",
            quantity=quantity,
            value=value,
            **more,
        )

    rows = [
        row(name, value, seed=seed)
        for (_, seed), values in zip(runs, found, strict=True)
        for name, value in values.items()
    ]
    for name in found[0] if found else []:
        column = [values[name] for values in found]
        rows.append(row(name, mean_interval(column), over="distilled sets"))
        control = name.replace(EASY, RANDOM).replace(HARD, RANDOM)
        if name != control:
            interval = paired_interval(column, [values[control] for values in found])
            rows.append(row(name, interval, against=RANDOM, over="paired seeds"))
    return results_table.as_table(rows)


def _errors(
    real: np.ndarray, labels: np.ndarray, ranked: np.ndarray, fraction: float
) -> dict[str, float]:
    """Return the errors of the test, in both normalisations."""
    test = cross_prediction(real, labels, ranked, fraction=fraction)
    return {
        EASY: test.easy_from_hard.mse_mean,
        HARD: test.hard_from_easy.mse_mean,
        RANDOM: float(test.random.mse_mean.mean()),
        f"{EASY}_half_sum": test.easy_from_hard.mse_half_sum,
        f"{HARD}_half_sum": test.hard_from_easy.mse_half_sum,
        f"{RANDOM}_half_sum": float(test.random.mse_half_sum.mean()),
    }


def _stability(
    study: Study, run: Run, seed: int, ranked: np.ndarray, fraction: float
) -> dict[str, float]:
    """Return how similarly networks, and stages of the distillation, rank the images."""
    labels = study.dataset.targets("train")

    def ranking_of(distilled: DistilledSet, network_seed: int) -> np.ndarray:
        network, real = train_and_read(study, distilled, network_seed)
        return scores(network, distilled, real, labels)

    by_network = [ranked] + [
        ranking_of(run.distilled, 1000 * (seed + 1) + index)
        for index in range(1, _NETWORKS)
    ]
    steps = list(run.snapshots)
    stages = [steps[round(at)] for at in np.linspace(0, len(steps) - 1, _STAGES)]
    by_step = [ranking_of(run.distilled_at(step), seed) for step in stages[:-1]]
    networks = ranking.rank_stability(np.stack(by_network), fraction=fraction)
    training = ranking.rank_stability(np.stack([*by_step, ranked]), fraction=fraction)
    return {
        "spearman_networks": networks.spearman,
        "spearman_training": training.spearman,
        "jaccard_networks": networks.jaccard,
        "jaccard_training": training.jaccard,
        "jaccard_by_chance": networks.jaccard_by_chance,
    }


def train_and_read(
    study: Study, distilled: DistilledSet, seed: int
) -> tuple[FeatureNetwork, np.ndarray]:
    """Return a network trained on a distilled set, and its features of the real images.

    Args:
        study: Study with the data and the scale.
        distilled: Distilled set to train on.
        seed: Seed of the network.

    Returns:
        The network, and features [n, d] of the training images.
    """
    settings = dataclasses.replace(
        study.budget.features,
        network=study.evaluation_settings().network,
        seed=seed,
        steps=_TRAINING_STEPS,
    )
    network = distilled_network(distilled, study.dataset, settings)
    return network, network.features(study.dataset.inputs("train"))


@house_style
def draw(table: pd.DataFrame, *, fraction: float = FRACTION) -> Figure:
    """Return the figure: errors of the three splits, and their difference to chance.

    Args:
        table: Table from ``compute``.
        fraction: Fraction that the table was computed with.
    """
    figure = new_figure(6.6, 1.9)
    left, right = figure.subplots(1, 2, sharey=True)
    for index, (quantity, (_, colour)) in enumerate(_PARTS.items()):
        mine = table[table.quantity == quantity]
        seeds = mine[mine.seed.notna()]
        left.plot(seeds.value, [index] * len(seeds), "o", color=colour, ms=3, alpha=0.5)
        means = mine[mine.seed.isna() & mine.against.isna()]
        draw_intervals(left, means, index, colour)
        draw_intervals(right, mine[mine.against.notna()], index, colour)
    right.axvline(0, color=_PARTS[RANDOM][1], lw=1.2)
    names = [
        f"{name} {100 * fraction:.0f} % from the rest" for name, _ in _PARTS.values()
    ]
    left.set_yticks(range(len(_PARTS)), names)
    left.set_ylim(len(_PARTS) - 0.5, -0.5)
    left.set_xlim(left=0)
    left.set_xlabel("squared error, mean over classes")
    right.set_xlabel("paired difference to the random split")
    return figure


def caption(table: pd.DataFrame, *, fraction: float = FRACTION) -> str:
    """Return the caption of the figure.

    Args:
        table: Table from ``compute``.
        fraction: Fraction that the table was computed with.
    """
    one = table[table.seed.isna()].iloc[0]
    size = results_table.format_images_per_class(one.images_per_class)
    mean = table[table.seed.isna() & table.against.isna()].set_index("quantity").value
    return (
        f"{one.dataset}, scored by FRePo sets of {size}, {one.n} seeds. One part of the "
        "real training images predicts the other by ridge regression on the features of a "
        "network trained on the distilled set. Dots: seeds; diamonds: means with 95 % "
        "intervals. The ranking of the images has a rank correlation of "
        f"{mean['spearman_networks']:.2f} with that of another network, and of "
        f"{mean['spearman_training']:.2f} with that at another stage of the distillation. "
        f"Of the easiest {100 * fraction:.0f} %, {100 * mean['jaccard_networks']:.0f} % and "
        f"{100 * mean['jaccard_training']:.0f} % are the same (by chance "
        f"{100 * mean['jaccard_by_chance']:.0f} %)."
    )
