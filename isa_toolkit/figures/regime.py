"""Regime: what dropping and segments are worth, by the accuracy reached so far.

A plain FRePo run is branched at several of its steps: from the same images, labels,
optimizer and networks, on the same batches, each setting takes the same number of steps.
Its gain over the plain run is set against the accuracy of the distilled set at the branch.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from isa_toolkit import checks
from isa_toolkit.analysis import ranking
from isa_toolkit.annotations import takes_table
from isa_toolkit.distillation import Run
from isa_toolkit.evaluation.features import FeatureSettings, distilled_network
from isa_toolkit.figures import information, results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, plot_means, split, zero_line
from isa_toolkit.figures.variants import Variant, setting

# A constant learning rate: a branch is not at another point of a schedule.
_CONSTANT = (("final_learning_rate", 1.0),)
PLAIN = Variant("frepo", _CONSTANT)
BRANCHES = tuple(
    Variant(key, _CONSTANT)
    for key in ("frepo+drop_easy", "frepo+drop_hard", "frepo+isa", "frepo+toward")
)
STARTS = (0, 1, 2, 4, 10)
"""Steps of the plain run that are branched, in tenths of a study's run."""
PREDICTORS = ("network", "ridge", "batches")
_LENGTH = 2  # of a branch, in tenths
_FRACTION = 0.2
REACHED = "accuracy_at_branch_percent"
HELD = {
    "easy": "correct_in_easiest_20_percent",
    "hard": "correct_in_hardest_20_percent",
}
# Real images whose predictions are counted, and steps of the network that reads them.
_COUNTED = 5000
_READER_STEPS = 300


def compute(study: Study, images_per_class: int = 1) -> pd.DataFrame:
    """Return what each setting gains from each branch on, with means and differences.

    Rows of ``results_table``; ``x`` is the step of the branch. ``accuracy_percent`` is the
    test accuracy at the end of a branch, with the predictor "batches" that of the real
    batches in its second half; "frepo" is the plain run at the same step, against which the
    differences are. ``accuracy_at_branch_percent`` is the test accuracy of the plain run at
    the branch, and ``correct_in_easiest_20_percent`` (and hardest) the part of all
    correctly predicted training images that is in the fifth with the smallest (largest)
    loss.

    Source: ours; docs/algorithms.md, section 6.4.
    """
    tenth = max(1, check_study(study).budget.steps[images_per_class] // 10)
    name = study.dataset.name

    def cell(variant: Variant, start: int, seed: int) -> dict[str, Any]:
        return {"setting": variant.key, "seed": seed, "x": start * tenth}

    plain = _runs(study, PLAIN, images_per_class, tenth)
    unbranched = [
        (PLAIN, start, seed, run) for seed, run in plain.items() for start in STARTS
    ]
    branched = [
        (variant, start, seed, run)
        for variant in BRANCHES
        for start in STARTS
        for seed, run in _runs(
            study, variant, images_per_class, tenth, plain, start
        ).items()
    ]
    at_branch = [
        (cell(variant, start, seed), run, start * tenth)
        for variant, start, seed, run in unbranched
    ]
    ends = [
        (cell(variant, start, seed), run, (start + _LENGTH) * tenth)
        for variant, start, seed, run in unbranched + branched
    ]
    accuracies = study.run_accuracies(
        [
            (columns, run, end if columns["setting"] == PLAIN.key else None)
            for columns, run, end in ends
        ],
        images_per_class,
    )
    reached = study.run_accuracies(at_branch, images_per_class)
    on_batches = study.measure(
        lambda job: _on_batches(*job, tenth),
        [(columns, (run, end)) for columns, run, end in ends],
        f"{name}: accuracies on batches",
        images_per_class=images_per_class,
        predictor="batches",
    )
    held = study.measure(
        lambda job: _held(study, *job),
        [(columns, (run, step)) for columns, run, step in at_branch],
        f"{name}: what the easiest and hardest hold",
        images_per_class=images_per_class,
        predictor="ridge",
    )
    by_seed = [reached.assign(quantity=REACHED), accuracies, on_batches, held]
    return results_table.with_means(results_table.concatenate(by_seed), "frepo")


def _runs(
    study: Study,
    variant: Variant,
    images_per_class: int,
    tenth: int,
    plain: dict[int, Run] | None = None,
    start: int = 0,
) -> dict[int, Run]:
    """Return seed -> the plain run, or its branch at ``start`` with a setting."""
    length = (STARTS[-1] if plain is None else start) + _LENGTH
    experiments = {}
    for seed in study.seed_range if plain is None else plain:
        branch: dict[str, Any] = {}
        if plain and start:  # at step 0 a seed gives all settings the same state
            branch = {"start_from": plain[seed], "start_step": start * tenth}
        experiments[seed] = dataclasses.replace(
            study.experiment(variant, images_per_class, seed),
            steps=length * tenth,
            validation_every=tenth,
            log_every=max(1, tenth // 2),
            **branch,
        )
    found = study.finish(
        list(experiments.values()),
        f"{study.dataset.name}: {setting(variant.key).label}, from step {start * tenth}",
        keep_checkpoints=None if plain is None else 1,
    )
    pairs = zip(experiments, found, strict=True)
    return {seed: run for seed, run in pairs if run is not None}


def _on_batches(run: Run, end: int, tenth: int) -> dict[str, float]:
    """Return the accuracy on the real batches of the last tenth before ``end``, percent."""
    rows = run.metrics
    rows = rows[(rows.step > end - tenth) & (rows.step <= end)]
    return {"accuracy_percent": 100 * float(rows.target_accuracy.mean())}


def _held(study: Study, run: Run, step: int) -> dict[str, float]:
    """Return the part of the correct predictions that either fifth holds, percent."""
    dataset, distilled = study.dataset, run.distilled_at(step)
    settings = FeatureSettings(study.budget.features.network, steps=_READER_STEPS)
    reader = distilled_network(distilled, dataset, settings)
    order = np.random.default_rng(0).permutation(len(dataset.train.labels))
    chosen = np.sort(order[:_COUNTED])
    inputs = dataset.preprocessing.apply(dataset.train.images[chosen])
    labels = dataset.targets("train")[chosen]
    flips = information.trains_with_flips(dataset, distilled)
    real = reader.features(inputs)
    predicted = information.predictions(reader, distilled, real, flips=flips)
    is_right = predicted.argmax(1) == labels.argmax(1)
    losses = 0.5 * np.square(predicted - labels).sum(1)
    held = {}
    for end, name in HELD.items():
        dropped = ~ranking.kept(losses, **{f"drop_{end}": _FRACTION})
        held[name] = 100 * float(is_right[dropped].sum() / max(is_right.sum(), 1))
    return held


@takes_table(results_table.COLUMNS)
def caption(table: pd.DataFrame, *, predictor: str = "network") -> str:
    """Return the caption of the figure that is drawn with the same arguments."""
    checks.check_one_of("predictor", predictor, PREDICTORS)
    steps = sorted(table.x.dropna().unique())
    listed = ", ".join(f"{step:.0f}" for step in steps)
    length = _LENGTH * (steps[1] - steps[0]) if len(steps) > 1 else 0
    kind = "accuracy on real batches" if predictor == "batches" else "test accuracy"
    return (
        f"{results_table.describe(table)}. (a) A plain FRePo run was branched at steps "
        f"{listed}, and each setting took {length:.0f} steps from there, on the same "
        f"batches and networks; its {kind} minus that of the plain run, seed by seed, "
        "with 95 % intervals, against the accuracy at the branch. (b) Where the correctly "
        "predicted training images are; dotted, a fifth of them."
    )


@drawing({"ab": 2.9}, caption=caption, columns=results_table.COLUMNS)
def draw(panels: Panels, table: pd.DataFrame, *, predictor: str = "network") -> None:
    """Draw the paired gains of a predictor, and what either fifth holds.

    ``predictor`` is one of ``PREDICTORS``.
    """
    left, right = panels
    _, means, differences = split(table)
    reached = means[(means.quantity == REACHED) & (means.predictor == "network")]
    reached = reached.set_index("x").value
    gains = differences[
        (differences.quantity == "accuracy_percent")
        & (differences.predictor == predictor)
    ]
    for variant in BRANCHES:
        line = gains[gains.setting == variant.key].sort_values("x")
        plot_means(left, reached[line.x], line, setting(variant.key))
    zero_line(left, setting("frepo"))
    left.set_ylabel("gain over plain FRePo, points")
    for end, name in HELD.items():
        label = f"in the {name.split('_')[2]} fifth"
        line = means[means.quantity == name].sort_values("x")
        look = setting(f"frepo+drop_{end}")._replace(label=label)
        plot_means(right, reached[line.x], line, look)
    right.axhline(100 * _FRACTION, color="black", lw=1, ls=":")
    right.set_ylabel("correct predictions, %")
    right.set_ylim(0, 100)
    right.legend(loc="upper right")
    for ax in panels:
        ax.set_xlabel("test accuracy at the branch, %")
        ax.locator_params(axis="x", integer=True)
    panels.legend(columns=2)
