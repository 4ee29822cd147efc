"""The scores of a run are those of its distilled set, and are stored in its folder."""

from __future__ import annotations

import numpy as np
import pytest
from hand_tables import dd_ranking_table

from isa_toolkit.evaluation import dd_scores
from isa_toolkit.evaluation.dd_scores import SCORES
from isa_toolkit.figures import dd_ranking
from isa_toolkit.figures.variants import setting

pytestmark = pytest.mark.slow


def test_each_panel_shows_the_means_of_a_score():
    table = dd_ranking_table()
    figure = dd_ranking.draw(table)
    means = table[table.seed.isna() & table.against.isna()]
    for ax, score in zip(figure.axes, SCORES, strict=True):
        assert ax.get_title() == score.upper()
        shown = {
            (line.get_color(), *line.get_ydata())
            for line in ax.lines
            if line.get_marker() == "D"
        }
        mine = means[means.quantity == f"{score}_percent"]
        assert shown == {
            (setting(one.key).colour, *mine[mine.setting == one.key].value)
            for one in dd_ranking.VARIANTS
        }


def test_scores_are_those_of_the_runs_and_are_stored(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "budget", tiny.budget._replace(steps={1: 4}))
    table = dd_ranking.compute(tiny)
    by_seed = table[table.seed.notna()].set_index(["setting", "seed", "quantity"])
    assert len(by_seed) == 2 * 2 * len(SCORES)
    baselines = tiny.baseline_accuracies(1).set_index(["setting", "predictor"])
    full = baselines.loc[("full", "network")].value / 100
    (variant, seed), run = next(iter(tiny.runs(dd_ranking.VARIANTS, 1).items()))
    scores = dd_scores.dd_ranking(
        run.distilled, tiny.dataset, tiny.evaluation_settings(), full_accuracy=full
    )
    for score in SCORES:
        stored = by_seed.loc[(variant.key, seed, f"{score}_percent")].value
        assert stored == pytest.approx(100 * np.mean(scores.values(score)))

    def refuse(*_, **__):
        raise AssertionError("a stored score was computed again")

    monkeypatch.setattr(dd_ranking, "dd_ranking", refuse)
    again = dd_ranking.compute(tiny)
    assert again.value.tolist() == table.value.tolist()
