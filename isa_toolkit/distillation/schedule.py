"""What a run starts from, what it records, and which step is its result."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from isa_toolkit.distillation import loop
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.evaluation.evaluation import run_evaluation, with_learned

Row = dict[str, Any]


def first_images(resolved: ResolvedExperiment) -> tuple[np.ndarray, np.ndarray]:
    """Return the real images that the distilled set starts from, and their classes.

    Network inputs [m, h, w, ch], class by class, and class indices [m]. They depend on data,
    seed and images per class only.

    Source: docs/algorithms.md, section 1.1, "Initial distilled set".
    """
    settings, train = resolved.settings, resolved.train
    labels = train.train.labels
    key = loop.run_keys(settings.seed).first_images
    order = np.asarray(_permutation(key, len(labels)))
    count = settings.images_per_class
    chosen = np.concatenate(
        [order[labels[order] == c][:count] for c in range(train.num_classes)]
    )
    return train.preprocessing.apply(train.train.images[chosen]), labels[chosen]


_permutation = jax.jit(jax.random.permutation, static_argnums=1)


def summarise(
    pending: list[dict[str, float]], settings: Experiment, step: int
) -> tuple[list[Row], list[dict[str, float]]]:
    """Return a row of means for each complete logging interval, and what is left.

    ``pending`` are the diagnostics of the last steps, up to ``step``; what is left belongs to
    the next row.
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
    learned: dict[str, float],
) -> dict[str, float]:
    """Return the accuracies of new networks trained on distilled images: means over them.

    ``learned`` are other learned numbers of the set, such as a step size.
    """
    assert resolved.validation is not None
    result = run_evaluation(
        images,
        labels,
        *resolved.validation,
        with_learned(resolved.evaluation, learned),
        num_classes=resolved.dataset.num_classes,
    )
    return {
        "accuracy": float(np.mean(result.network)),
        "ridge_accuracy": float(np.mean(result.ridge)),
    }


def early_validations(settings: Experiment) -> tuple[int, ...]:
    """Return the steps that are validated besides those at equal distances.

    Source: docs/algorithms.md, section 4.1; steps 10,000, 30,000 and 100,000 are multiples
    of the published distance.
    """
    return (1, 3000) if settings.selection == "released" else ()


def select_step(rows: list[Row], settings: Experiment) -> dict[str, Any]:
    """Return which step's images are the result: rule, step and, but for "last", accuracy."""
    rule = settings.selection
    if rule == "last":
        return {"rule": rule, "step": settings.steps}
    rows = [row for row in rows if row["kind"] == "validation"]
    # The earliest of equally good ones.
    best = max(rows, key=lambda row: (row["accuracy"], -row["step"]))
    return {"rule": rule, "step": best["step"], "accuracy": best["accuracy"]}
