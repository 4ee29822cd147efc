"""Regime: what dropping and segments are worth, by the accuracy reached so far.

A plain FRePo run is branched at several of its steps: from the same images, labels,
optimizer and networks, on the same batches, each setting takes the same number of steps.
Its gain over the plain run is set against the accuracy of the distilled set at the branch.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit import checks
from isa_toolkit.analysis import ranking
from isa_toolkit.distillation import Run
from isa_toolkit.evaluation.features import FeatureSettings, distilled_network
from isa_toolkit.figures import information, results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, plot_means, zero_line
from isa_toolkit.figures.variants import Variant, setting

if TYPE_CHECKING:
    import pandas as pd

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
    check_study(study)
    tenth = max(1, study.budget.steps[images_per_class] // 10)
    plain = _runs(study, PLAIN, images_per_class, tenth)
    accuracies = [
        study.run_accuracies(
            [
                ({"setting": "frepo", "seed": seed, "x": start * tenth}, run, step)
                for seed, run in plain.items()
                for start in STARTS
                for step in [(start + shift) * tenth]
            ],
            images_per_class,
        )
        for shift in (0, _LENGTH)
    ]
    accuracies[0]["quantity"] = REACHED
    jobs = [
        (variant, start, seed, run)
        for variant in BRANCHES
        for start in STARTS
        for seed, run in _runs(
            study, variant, images_per_class, tenth, plain, start
        ).items()
    ]
    accuracies.append(
        study.run_accuracies(
            [
                ({"setting": one.key, "seed": seed, "x": start * tenth}, run, None)
                for one, start, seed, run in jobs
            ],
            images_per_class,
        )
    )
    shared = {"dataset": study.dataset.name, "images_per_class": images_per_class}
    jobs += [
        (PLAIN, start, seed, run) for start in STARTS for seed, run in plain.items()
    ]
    on_batches = results_table.measured(
        (
            (
                {"setting": one.key, "seed": seed, "x": start * tenth},
                {
                    "accuracy_percent": _on_batches(
                        run, (start + _LENGTH) * tenth, tenth
                    )
                },
            )
            for one, start, seed, run in jobs
        ),
        predictor="batches",
        **shared,
    )
    states = [(start, seed) for start in STARTS for seed in plain]
    held = results_table.measured(
        zip(
            ({"seed": seed, "x": start * tenth} for start, seed in states),
            study.map(
                lambda state: _held(study, plain[state[1]], state[0] * tenth),
                states,
                f"{study.dataset.name}: what the easiest and hardest hold",
            ),
            strict=True,
        ),
        setting="frepo",
        predictor="ridge",
        **shared,
    )
    by_seed = results_table.concatenate([*accuracies, on_batches, held])
    return results_table.with_means(by_seed, against="frepo")


def _runs(
    study: Study,
    variant: Variant,
    images_per_class: int,
    tenth: int,
    plain: dict[int, Run] | None = None,
    start: int = 0,
) -> dict[int, Run]:
    """Return seed -> the plain run, or its branch at ``start`` with a setting."""
    seeds = study.seed_range if plain is None else plain
    length = (STARTS[-1] if plain is None else start) + _LENGTH
    experiments = {
        seed: dataclasses.replace(
            study.experiment(variant, images_per_class, seed),
            steps=length * tenth,
            validation_every=tenth,
            log_every=max(1, tenth // 2),
            **_branch(plain, seed, start * tenth),
        )
        for seed in seeds
    }
    name = setting(variant.key).label
    found = study.finish(
        list(experiments.values()),
        f"{study.dataset.name}: {name}, from step {start * tenth}",
        keep_checkpoints=None if plain is None else 1,
    )
    return {
        seed: run
        for seed, run in zip(experiments, found, strict=True)
        if run is not None
    }


def _branch(plain: dict[int, Run] | None, seed: int, step: int) -> dict[str, Any]:
    """Return where an experiment starts; at step 0 a seed gives all the same state."""
    if plain is None or step == 0:
        return {}
    return {"start_from": plain[seed], "start_step": step}


def _on_batches(run: Run, end: int, tenth: int) -> float:
    """Return the accuracy on the real batches of the last tenth before ``end``, percent."""
    rows = run.metrics
    rows = rows[(rows.step > end - tenth) & (rows.step <= end)]
    return 100 * float(rows.target_accuracy.mean())


def _held(study: Study, run: Run, step: int) -> dict[str, float]:
    """Return the part of the correct predictions that either fifth holds, percent."""
    dataset, distilled = study.dataset, run.distilled_at(step)
    reader = distilled_network(
        distilled,
        dataset,
        FeatureSettings(network=study.budget.features.network, steps=_READER_STEPS),
    )
    order = np.random.default_rng(0).permutation(len(dataset.train.labels))
    chosen = np.sort(order[:_COUNTED])
    inputs = dataset.preprocessing.apply(dataset.train.images[chosen])
    labels = dataset.targets("train")[chosen]
    predicted = information.predictions(
        reader,
        distilled,
        reader.features(inputs),
        flips=information.trains_with_flips(dataset, distilled),
    )
    is_right = predicted.argmax(1) == labels.argmax(1)
    losses = 0.5 * np.square(predicted - labels).sum(1)
    return {
        name: 100
        * float(
            is_right[~ranking.kept(losses, **{f"drop_{end}": _FRACTION})].sum()
            / max(is_right.sum(), 1)
        )
        for end, name in HELD.items()
    }


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


@drawing({"ab": 2.9}, caption=caption)
def draw(panels: Panels, table: pd.DataFrame, *, predictor: str = "network") -> None:
    """Draw the paired gains of a predictor, and what either fifth holds.

    ``predictor`` is one of ``PREDICTORS``.
    """
    left, right = panels
    rows = table[table.seed.isna()]
    reached = rows[(rows.quantity == REACHED) & (rows.predictor == "network")]
    reached = reached.set_index("x").value
    gains = rows[
        (rows.quantity == "accuracy_percent")
        & (rows.predictor == predictor)
        & rows.against.notna()
    ]
    for variant in BRANCHES:
        look = setting(variant.key)
        line = gains[gains.setting == variant.key].sort_values("x")
        x = reached[line.x]
        plot_means(left, x, line, colour=look.colour, label=look.label)
    plain = setting("frepo")
    zero_line(left, plain.label, colour=plain.colour)
    left.set_ylabel("gain over plain FRePo, points")
    for end, name in HELD.items():
        look = setting(f"frepo+drop_{end}")
        line = rows[rows.quantity == name].sort_values("x")
        label = f"in the {name.split('_')[2]} fifth"
        plot_means(right, reached[line.x], line, colour=look.colour, label=label)
    right.axhline(100 * _FRACTION, color="black", lw=1, ls=":")
    right.set_ylabel("correct predictions, %")
    right.set_ylim(0, 100)
    right.legend(loc="upper right")
    for ax in panels:
        ax.set_xlabel("test accuracy at the branch, %")
    panels.legend(columns=2)
