"""How long evaluation and analysis take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from isa_toolkit.bench.settings import BenchSetting, made_data
from isa_toolkit.evaluation import EvaluationSettings
from isa_toolkit.evaluation.evaluation import run_evaluation
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

__all__ = ["analysis_times", "evaluation_times"]


def evaluation_times(
    setting: BenchSetting, *, networks: int = 2, steps: int = 100
) -> dict[str, float]:
    """Return the seconds of an evaluation: with compiling, and of another set after it.

    Args:
        setting: the shapes.
        networks: trained on the set.
        steps: of their training.

    Returns:
        ``first`` and ``again``; the second compiles nothing.
    """
    data = made_data(setting)
    count = setting.images_per_class * setting.num_classes
    settings = EvaluationSettings(
        network=NetworkSettings(width=setting.width, norm="none"),
        networks=networks,
        fit=FitSettings(steps=steps, warmup_steps=10),
    ).resolve(image_shape=setting.image_shape, num_distilled=count)
    labels = np.eye(setting.num_classes, dtype=np.float32)[
        np.arange(count) % setting.num_classes
    ]

    def once(place: int) -> Any:
        chosen = data.inputs("train")[place * count : (place + 1) * count]
        result = run_evaluation(
            chosen,
            labels - 1 / setting.num_classes,
            data.inputs("test"),
            data.test.labels,
            settings,
            num_classes=setting.num_classes,
        )
        return np.asarray(result.network)

    return {"first": _seconds(lambda: once(0)), "again": _seconds(lambda: once(1))}


def analysis_times(
    *, points: int = 20_000, distilled: int = 100, map_points: int = 1000
) -> dict[str, float]:
    """Return the seconds of recall at k = 5 and of a t-SNE map, on made features.

    Args:
        points: real points of the recall.
        distilled: distilled ones.
        map_points: real points of the map.
    """
    from isa_toolkit.analysis.diversity import recall
    from isa_toolkit.analysis.manifold import anchored_map

    draws = np.random.default_rng(0)
    real = draws.normal(size=(points, 128))
    few = draws.normal(size=(distilled, 128))
    return {
        "recall": _seconds(lambda: recall(real, few, 5)),
        "map": _seconds(lambda: anchored_map(real[:map_points], {"distilled": few})),
    }


def _seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
