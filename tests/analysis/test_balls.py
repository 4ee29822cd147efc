"""Balls: which points they hold, beside a loop over all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from isa_toolkit.analysis import validation
from isa_toolkit.analysis.balls import in_distilled_balls, in_real_balls


def _radius(cloud: np.ndarray, index: int, k: int) -> float:
    others = np.delete(cloud, index, axis=0)
    return float(np.sort(np.linalg.norm(others - cloud[index], axis=1))[k - 1])


@pytest.mark.parametrize("budget", [2**28, 2000])
def test_balls_hold_what_a_loop_says(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(validation, "BLOCK_BYTES", budget)
    generator = np.random.default_rng(0)
    k = 3
    real = generator.normal(size=(40, 3))
    distilled = generator.normal(0.4, 0.8, size=(15, 3))
    recalled = [
        any(
            np.linalg.norm(point - distilled[j]) < _radius(distilled, j, k)
            for j in range(15)
        )
        for point in real
    ]
    hits = np.array(
        [
            [np.linalg.norm(real[i] - one) < _radius(real, i, k) for one in distilled]
            for i in range(40)
        ]
    )
    assert in_distilled_balls(real, distilled, k).tolist() == recalled
    balls = in_real_balls(real, distilled, k)
    assert balls.covered.tolist() == hits.any(axis=1).tolist()
    assert balls.counts.tolist() == hits.sum(axis=0).tolist()
    assert 0 < sum(recalled) < 40
    assert 0 < hits.any(axis=1).sum() < 40


def test_the_surface_is_outside_even_where_rounding_would_let_it_in() -> None:
    # 0.1 + 0.2 is not 0.3: points at equal distance come from equal numbers only.
    real = np.array([[0.3], [0.1], [-0.1], [7.0]])
    distilled = np.array([[0.1], [0.3]])
    assert in_distilled_balls(real, distilled, 1).tolist() == [True, True, False, False]
