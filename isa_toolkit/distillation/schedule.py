"""What a run records and what it makes of it: metrics, validations, the chosen step.

Pure but for the training of a validation; when each is due and where it is written is
left to ``run``.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from isa_toolkit.distillation import loop
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distillation.store import versions
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.evaluation import run_evaluation, with_learned

__all__ = [
    "choose",
    "distilled_set",
    "first_images",
    "is_validation",
    "next_event",
    "summarise",
    "validate",
]

Row = dict[str, Any]


def first_images(resolved: ResolvedExperiment) -> tuple[np.ndarray, np.ndarray]:
    """Return the real images that the distilled set starts from, and their classes.

    Args:
        resolved: the experiment.

    Returns:
        Network inputs [m, h, w, ch], class by class, and class numbers [m]. They
        depend on data, seed and images per class alone.

    Source: algorithms 1.1, "Synthetic init".
    """
    settings, train = resolved.settings, resolved.train
    labels = train.train.labels
    key = loop.run_keys(settings.seed).first_images
    order = np.asarray(jax.random.permutation(key, len(labels)))
    count = settings.images_per_class
    chosen = np.concatenate(
        [order[labels[order] == c][:count] for c in range(train.num_classes)]
    )
    return train.preprocessing.apply(train.train.images[chosen]), labels[chosen]


def next_event(settings: Experiment, step: int) -> int:
    """Return the next step at which the loop must come back.

    Args:
        settings: resolved.
        step: steps taken.
    """
    every, steps = settings.validation_every, settings.steps
    return min(steps, (step // every + 1) * every) if every else steps


def is_validation(settings: Experiment, step: int) -> bool:
    """Return whether a validation is due at a step.

    Args:
        settings: resolved.
        step: steps taken.
    """
    every = settings.validation_every
    if not every:
        return False
    return step % every == 0 or step == settings.steps


def summarise(
    pending: list[dict[str, float]], settings: Experiment, step: int
) -> tuple[list[Row], list[dict[str, float]]]:
    """Return a row of means for each logging interval that is complete.

    Args:
        pending: diagnostics of the last steps, in order.
        settings: resolved.
        step: steps taken.

    Returns:
        (rows, diagnostics that await a row of their own).
    """
    every = settings.log_every or 1
    rows = []
    step, now = step - len(pending), step
    while pending:
        end = min((step // every + 1) * every, settings.steps)
        if end > now:
            break
        part, pending = pending[: end - step], pending[end - step :]
        means = {
            name: float(np.mean([info[name] for info in part])) for name in part[0]
        }
        rows.append({"step": end, "kind": "train", **means})
        step = end
    return rows, pending


def validate(
    resolved: ResolvedExperiment,
    images: np.ndarray,
    labels: np.ndarray,
    learned: dict[str, float] | None = None,
) -> dict[str, float]:
    """Return the accuracies of fresh networks trained on distilled images.

    Args:
        resolved: the experiment; its evaluation settings validate.
        images: network inputs, [m, h, w, ch].
        labels: distilled labels, [m, c].
        learned: what belongs to them besides, such as a step size.

    Returns:
        ``accuracy`` and ``ridge_accuracy``, means over the networks.
    """
    assert resolved.validation is not None
    result = run_evaluation(
        images,
        labels,
        *resolved.validation,
        with_learned(resolved.evaluation, learned or {}),
        num_classes=resolved.dataset.num_classes,
    )
    return {
        "accuracy": float(np.mean(result.network)),
        "ridge_accuracy": float(np.mean(result.ridge)),
    }


def choose(rows: list[Row], settings: Experiment) -> dict[str, Any]:
    """Return which step's images are the result.

    Args:
        rows: all metrics of the run.
        settings: resolved.

    Returns:
        ``rule``, ``step`` and, unless the rule is ``"last"``, ``accuracy``.
    """
    rule = settings.selection
    if rule == "last":
        return {"rule": rule, "step": settings.steps}
    rows = [row for row in rows if row["kind"] == "validation"]
    # The earliest of equally good ones; step 0 is the real images.
    best = max(rows, key=lambda row: (row["accuracy"], -row["step"]))
    return {"rule": rule, "step": best["step"], "accuracy": best["accuracy"]}


def distilled_set(
    resolved: ResolvedExperiment,
    images: Any,
    labels: Any,
    chosen: dict[str, Any],
    learned: dict[str, float] | None = None,
) -> DistilledSet:
    """Return distilled images with their provenance.

    Args:
        resolved: the experiment.
        images: network inputs, [m, h, w, ch].
        labels: distilled labels, [m, c].
        chosen: which step they are of, and why.
        learned: what belongs to them besides, such as a step size.
    """
    description = resolved.description
    return DistilledSet.from_inputs(
        images,
        labels,
        preprocessing=resolved.dataset.preprocessing,
        class_names=resolved.dataset.class_names,
        manifest={
            "experiment": description,
            "hash": resolved.hash,
            "network": description["network"],
            "selection": chosen,
            **({"learned": learned} if learned else {}),
            "versions": versions(),
        },
    )
