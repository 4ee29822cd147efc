"""Evaluations of runs, kept in their folders: made once, read back afterwards."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np

from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Run
from isa_toolkit.evaluation import Evaluation, EvaluationSettings, evaluate
from isa_toolkit.files import write_json

__all__ = ["evaluated"]


def evaluated(
    run: Run,
    dataset: Dataset,
    judge: EvaluationSettings,
    *,
    step: int | None = None,
) -> Evaluation:
    """Return the evaluation of a run's result, or of a stored step, kept in its folder.

    Args:
        run: a finished run.
        dataset: whose test images are classified.
        judge: how.
        step: one of ``run.snapshots``; None for the result.

    Returns:
        The evaluation, read back if it was made with the same settings and data.
    """
    distilled = run.distilled if step is None else run.distilled_at(step)
    settings = judge.resolve(
        image_shape=dataset.image_shape, num_distilled=len(distilled.images)
    )
    told = json.dumps(
        {"settings": dataclasses.asdict(settings), "data": dataset.fingerprint},
        sort_keys=True,
    )
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    name = "result" if step is None else f"{step:08d}"
    path = run.path / "evaluations" / f"{name}-{digest}.json"
    if path.is_file():
        stored = json.loads(path.read_text())
        return Evaluation(
            np.array(stored["network"]), np.array(stored["ridge"]), settings
        )
    result = evaluate(distilled, dataset, judge)
    write_json(path, result.to_dict())
    return result
