# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Information: do hard samples tell what easy ones do? The 80/20 test with its control."""

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
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["BASE", "SHARE", "TITLE", "caption", "compute", "draw", "read", "scores"]

TITLE = "Information. Predicting easy samples from hard ones, and the reverse"
SHARE = 0.2
BASE = Variant("frepo")
EASY, HARD = "mse_easy_20_from_hard_80", "mse_hard_20_from_easy_80"
RANDOM = "mse_random_20_from_80"
# Networks, and stages of the distillation, whose rankings are compared.
_NETWORKS = 3
_STAGES = 3
_TRAINING_STEPS = 300
_COLOURS = {EASY: "#E69F00", RANDOM: "#999999", HARD: "#009E73"}
_NAMES = {EASY: "easiest", RANDOM: "random", HARD: "hardest"}


def scores(
    network: FeatureNetwork, distilled: DistilledSet, real: np.ndarray, labels: Any
) -> np.ndarray:
    """Return FRePo's loss of every real image: large is hard, [n].

    Half the squared error, summed over classes, of the ridge readout of the distilled
    set, in a network's features.

    Args:
        network: whose features.
        distilled: the set that predicts.
        real: features of the real images, [n, d].
        labels: their centred one-hot labels, [n, c].

    Source: algorithms 4.1 and 6.1.
    """
    weights = ridge_weights(network.features(distilled.images), distilled.labels)
    return 0.5 * np.square(real @ weights - labels).sum(1)


def compute(
    study: Study, images_per_class: int | None = None, *, share: float = SHARE
) -> pd.DataFrame:
    """Return the errors of the 80/20 test with its random control, and rank stability.

    Each seed's FRePo set is read with a network trained on that set, which no real image
    has touched. The real training images are scored by the readout of the distilled set;
    then 80 % predict 20 % by ridge regression on the same features.

    Args:
        study: the data and the runs.
        images_per_class: of the distilled sets; None for ``study.many``.
        share: that is predicted from the rest. The names of the quantities say 20 and
            80 whatever it is.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`: ``mse_*`` (mean over samples and
        classes) and ``mse_*_half_sum`` (half the sum over classes), by seed, means, and
        the paired difference to the random split (``against``); ``spearman_networks``
        and ``spearman_training``: how alike other networks, and other stages of the
        distillation, rank the same images; ``jaccard_*`` of what would be dropped.

    Source: the paper, section B, "Information"; data, network and normalisation are
    UNKNOWN, and it has no random control.
    """
    size = study.many if images_per_class is None else images_per_class
    runs = study.runs([BASE], size)

    def measure(item: tuple[tuple[Variant, int], Run]) -> dict[str, float]:
        (_, seed), run = item
        network, real = read(study, run.distilled, seed)
        ranked = scores(network, run.distilled, real, study.dataset.targets("train"))
        return {
            **_errors(study, real, ranked, share),
            **_stability(study, run, seed, ranked, share),
        }

    found = study.map(measure, runs.items(), "information")
    seeds = [seed for _, seed in runs]
    rows = [
        _row(study, size, name, value, seed=seed)
        for seed, values in zip(seeds, found, strict=True)
        for name, value in values.items()
    ]
    for name in found[0] if found else []:
        column = [values[name] for values in found]
        rows.append(
            _row(study, size, name, mean_interval(column), over="distilled sets")
        )
        random = name.replace(EASY, RANDOM).replace(HARD, RANDOM)
        if name != random:
            control = [values[random] for values in found]
            interval = paired_interval(column, control)
            rows.append(
                _row(study, size, name, interval, against=RANDOM, over="paired seeds")
            )
    return results_table.as_table(rows)


def _row(study: Study, size: int, quantity: str, value: Any, **more: Any) -> Any:
    return results_table.row(
        dataset=study.dataset.name,
        images_per_class=size,
        setting=BASE.key,
        predictor="krr",
        quantity=quantity,
        value=value,
        **more,
    )


def _errors(
    study: Study, real: np.ndarray, ranked: np.ndarray, share: float
) -> dict[str, float]:
    """Return the errors of the test, in both normalisations."""
    labels = study.dataset.targets("train")
    test = cross_prediction(real, labels, ranked, fraction=share)
    return {
        EASY: test.easy_from_hard.mse_mean,
        HARD: test.hard_from_easy.mse_mean,
        RANDOM: float(test.random.mse_mean.mean()),
        f"{EASY}_half_sum": test.easy_from_hard.mse_half_sum,
        f"{HARD}_half_sum": test.hard_from_easy.mse_half_sum,
        f"{RANDOM}_half_sum": float(test.random.mse_half_sum.mean()),
    }


def _stability(
    study: Study, run: Run, seed: int, ranked: np.ndarray, share: float
) -> dict[str, float]:
    """Return how alike networks, and stages of the distillation, rank the images."""
    labels = study.dataset.targets("train")

    def ranking_of(distilled: DistilledSet, network_seed: int) -> np.ndarray:
        network, real = read(study, distilled, network_seed)
        return scores(network, distilled, real, labels)

    by_network = [ranked] + [
        ranking_of(run.distilled, 1000 * (seed + 1) + place)
        for place in range(1, _NETWORKS)
    ]
    steps = list(run.snapshots)
    stages = [steps[round(at)] for at in np.linspace(0, len(steps) - 1, _STAGES)]
    by_step = [ranking_of(run.distilled_at(step), seed) for step in stages[:-1]]
    networks = ranking.rank_stability(np.stack(by_network), fraction=share)
    training = ranking.rank_stability(np.stack([*by_step, ranked]), fraction=share)
    return {
        "spearman_networks": networks.spearman,
        "spearman_training": training.spearman,
        "jaccard_networks": networks.jaccard,
        "jaccard_training": training.jaccard,
        "jaccard_by_chance": networks.jaccard_by_chance,
    }


def read(
    study: Study, distilled: DistilledSet, seed: int
) -> tuple[FeatureNetwork, np.ndarray]:
    """Return a network trained on a distilled set, and its features of the real images.

    Args:
        study: the data and the scale.
        distilled: what the network is trained on.
        seed: of the network.

    Returns:
        The network, and features [n, d] of the training images.
    """
    settings = dataclasses.replace(
        study.budget.features,
        network=study.judge().network,
        seed=seed,
        steps=_TRAINING_STEPS,
    )
    network = distilled_network(distilled, study.dataset, settings)
    return network, network.features(study.dataset.inputs("train"))


@house_style
def draw(table: pd.DataFrame, *, share: float = SHARE) -> Figure:
    """Return the figure: errors of the three splits, and their difference to chance.

    Args:
        table: from ``compute``.
        share: that it was computed with.

    Returns:
        The figure.
    """
    figure = new_figure(6.6, 1.9)
    left, right = figure.subplots(1, 2, sharey=True)
    for place, quantity in enumerate(_NAMES):
        mine = table[table.quantity == quantity]
        seeds = mine[mine.seed.notna()]
        colour = _COLOURS[quantity]
        left.plot(seeds.value, [place] * len(seeds), "o", color=colour, ms=3, alpha=0.5)
        for ax, part in (
            (left, mine[mine.seed.isna() & mine.against.isna()]),
            (right, mine[mine.against.notna()]),
        ):
            ax.errorbar(
                part.value,
                [place] * len(part),
                xerr=[part.value - part.low, part.high - part.value],
                color=colour, marker="D", ms=5, lw=1.8, capsize=3,
            )  # fmt: skip
    right.axvline(0, color=_COLOURS[RANDOM], lw=1.2)
    names = [f"{which} {100 * share:.0f} % from the rest" for which in _NAMES.values()]
    left.set_yticks(range(len(_NAMES)), names)
    left.set_ylim(len(_NAMES) - 0.5, -0.5)
    left.set_xlim(left=0)
    left.set_xlabel("squared error, mean over classes")
    right.set_xlabel("paired difference to the random split")
    return figure


def caption(table: pd.DataFrame, *, share: float = SHARE) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
        share: that it was computed with.
    """
    one = table[table.seed.isna()].iloc[0]
    told = table[table.seed.isna() & table.against.isna()].set_index("quantity").value
    return (
        f"{one.dataset}, scored by FRePo sets of "
        f"{results_table.per_class(one.images_per_class)}, {one.n} seeds. "
        "One part of the real training images predicts the other by ridge "
        "regression on the features of a network trained on the distilled set. Dots: "
        "seeds; diamonds: means with 95 % intervals. Another network ranks the images "
        f"alike to a rank correlation of {told['spearman_networks']:.2f}, another stage of "
        f"the distillation to {told['spearman_training']:.2f}; the easiest "
        f"{100 * share:.0f} % are shared "
        f"to {100 * told['jaccard_networks']:.0f} % and {100 * told['jaccard_training']:.0f} % "
        f"(by chance {100 * told['jaccard_by_chance']:.0f} %)."
    )
