"""The smallest study: three digits, narrow networks, four steps.

Its runs are shared by all tests of a session; what a test wants changed it patches.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.evaluation.features import FeatureSettings
from isa_toolkit.figures import cost, information, study
from isa_toolkit.figures.study import Budget, Study
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

STEPS = 4
TINY = Budget(
    "quick", {1: STEPS, 10: STEPS, 50: STEPS}, 4, 32, 3e-3, 2, 1,
    FitSettings(steps=2, warmup_steps=0),
    FeatureSettings(network=NetworkSettings(width=4, norm="none"), steps=20), 20,
)  # fmt: skip


@cache
def three_digits() -> Dataset:
    """Return 40 training and 20 test images of each of the first three digits."""
    digits = load_dataset("digits")

    def some(split: str, count: int) -> tuple[Any, Any]:
        chosen_split = getattr(digits, split)
        images, labels = chosen_split.images, chosen_split.labels
        places = [np.flatnonzero(labels == label)[:count] for label in range(3)]
        chosen = np.concatenate(places)
        return images[chosen], labels[chosen]

    return Dataset.from_arrays(
        *some("train", 40), *some("test", 20),
        class_names=["zero", "one", "two"], name="three_digits",
    )  # fmt: skip


def use_tiny_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every scale spend next to nothing until the test ends."""
    monkeypatch.setattr(study, "BUDGETS", dict.fromkeys(study.BUDGETS, TINY))
    monkeypatch.setattr(information, "_TRAINING_STEPS", 3)
    monkeypatch.setattr(cost, "_STEPS", 2)
    monkeypatch.setattr(cost, "_REPEATS", 2)


def tiny_study(folder: Path, **changes: Any) -> Study:
    return Study(
        **{
            "dataset": three_digits(),
            "scale": TINY,
            "folder": folder,
            "workers": 1,
            "progress": False,
            **changes,
        }
    )
