"""DD-Ranking's scores: their equations, and which sets they compare."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from isa_toolkit.datasets import load_dataset
from isa_toolkit.evaluation import (
    DDRanking,
    Evaluation,
    EvaluationSettings,
    dd_ranking,
    dd_scores,
    random_real,
)
from isa_toolkit.networks import NetworkSettings


def ranking(**changes) -> DDRanking:
    accuracies = {
        "full": 0.9,
        "hard": 0.5,
        "distilled": 0.6,
        "random": 0.3,
        "distilled_plain": 0.5,
        "random_plain": 0.4,
        **changes,
    }
    arrays = {name: np.array([value, value]) for name, value in accuracies.items()}
    return DDRanking(**arrays, weight=0.5, settings=EvaluationSettings())


def test_the_scores_are_those_written_out():
    scores = ranking()
    assert scores.interval("hlr").mean == pytest.approx(0.4)
    assert scores.interval("ior").mean == pytest.approx(0.3)
    unit = math.e - 1 / math.e
    assert scores.values("lrs")[0] == pytest.approx(
        (math.exp(-0.05) - 1 / math.e) / unit
    )
    assert scores.values("ars")[0] == pytest.approx((math.exp(0.2) - 1 / math.e) / unit)
    best = ranking(full=0.0, hard=1.0, distilled=1.0, random=0.0)
    assert best.values("lrs")[0] == pytest.approx(1)
    worst = ranking(full=1.0, hard=0.0, distilled=0.0, random=1.0)
    assert worst.values("lrs")[0] == pytest.approx(0)
    assert repr(scores).startswith("HLR 40.0 ± 0.0, IOR 30.0 ± 0.0, LRS")
    stored = json.loads(json.dumps(scores.to_dict()))
    assert stored["ior"]["n"] == 2
    assert stored["accuracies"]["full"] == [0.9, 0.9]
    with pytest.raises(ValueError, match="score must be one of 'ars', 'hlr'"):
        scores.values("elo")


@pytest.mark.parametrize("ops", [("crop",), ()])
def test_it_compares_labels_augmentations_and_random_images(ops, monkeypatch):
    digits = load_dataset("digits", limit=100)
    soft = random_real(digits, 1, seed=9)
    soft.labels[0, 1] += 0.01
    seen = []

    def pretend(distilled, dataset, settings):
        del dataset
        seen.append((distilled, settings))
        return Evaluation(np.array([len(seen) / 100]), np.zeros(1), settings)

    monkeypatch.setattr(dd_scores, "evaluate", pretend)
    scores = dd_ranking(
        soft,
        digits,
        networks=2,
        seed=4,
        ops=ops,
        network=NetworkSettings(width=2, depth=1, norm="none"),
        full_accuracy=0.95,
    )
    assert len(seen) == (10 if ops else 6)
    assert {one.seed for _, one in seen} == {4, 5}
    own = [one for one in seen if one[0] is soft]
    assert [one.ops for _, one in own] == ([ops] * 2 + [()] * 2 if ops else [()] * 2)
    hard = seen[-1][0]
    np.testing.assert_array_equal(hard.images, soft.images)
    np.testing.assert_allclose(hard.labels, np.eye(10) - 0.1, atol=1e-6)
    drawn = [one for one, _ in seen if one.manifest.get("seed") in (4, 5)]
    assert len(drawn) == (4 if ops else 2)
    assert not np.array_equal(drawn[0].images, drawn[1].images)
    assert scores.full.tolist() == [0.95, 0.95]
    with pytest.raises(ValueError, match="weight must be at least 0 and at most 1"):
        dd_ranking(soft, digits, weight=2)
