"""Comparisons: of settings and of runs, each against its baseline, seed by seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn import points

from isa_toolkit.analysis.intervals import paired_interval
from isa_toolkit.distillation import Run
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.evaluation import Evaluation, EvaluationSettings
from isa_toolkit.figures.comparisons import (
    DEMO_TABLE,
    FIG3C,
    TABLE4,
    TABLE8,
    Comparison,
    compare,
)
from isa_toolkit.figures.results_table import as_table
from isa_toolkit.figures.variants import Variant
from isa_toolkit.methods import FRePo


def rows(keys, size, seeds=(0, 1)):
    """Return accuracies that differ by 1 from key to key, and by 10 from seed to seed."""
    return as_table(
        {
            "dataset": "toy",
            "images_per_class": size,
            "setting": key,
            "predictor": predictor,
            "quantity": "accuracy_percent",
            "seed": seed,
            "value": 50 + index + 10 * (seed or 0),
        }
        for index, key in enumerate(keys)
        for predictor in ("network", "ridge")
        for seed in seeds
    )


@pytest.fixture
def study(tiny, monkeypatch):
    """The tiny study with made-up accuracies."""
    monkeypatch.setattr(
        tiny, "accuracies",
        lambda variants, size: rows([one.key for one in variants], size),
    )  # fmt: skip
    monkeypatch.setattr(
        tiny, "initial_accuracies", lambda _, size: rows(["random"], size)
    )
    monkeypatch.setattr(
        tiny, "baseline_accuracies",
        lambda size: rows(["kmeans", "full"], size, seeds=[None]),
    )  # fmt: skip
    return tiny


@pytest.mark.parametrize("comparison", [FIG3C, TABLE4, TABLE8, DEMO_TABLE])
def test_each_setting_is_paired_with_its_baseline(comparison, study):
    table = comparison.compute(study)
    index = {key: at for at, key in enumerate(comparison.keys)}
    paired = table[table.against.notna() & (table.against != "random")]
    found = {(one.against, one.setting): one.value for one in paired.itertuples()}
    assert found == {
        (base, key): index[key] - index[base] for base, key in comparison.pairs
    }
    assert (table.against == "random").any() == comparison.with_random
    assert ("kmeans" in set(table.setting)) == comparison.with_baselines
    sizes = study.sizes if comparison.all_sizes else [1]
    assert list(table.images_per_class.unique()) == sizes
    left, right = comparison.draw(table).axes
    shown = table[
        (table.predictor == "network") & (table.images_per_class == 1)
        & table.seed.isna() & table.against.isna()
    ]  # fmt: skip
    values = {x for x, _ in points(left)}
    assert values >= {float(value) for value in shown.value}
    assert {x for x, _ in points(right)} >= set(map(float, found.values()))
    assert "toy, 1 image per class, 2 seeds" in comparison.caption(table)


def test_settings_of_the_user_stand_beside_the_built_in_ones(study):
    mine = Variant("half dropped", own=FRePo(drop_easy=0.5))
    comparison = Comparison(pairs=(("frepo", mine),), about="One of mine.")
    table = comparison.compute(study)
    assert set(table.setting) == {"frepo", "half dropped"}
    left, right = comparison.draw(table, size="text").axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["FRePo", "half dropped"]
    assert [text.get_text() for text in right.texts] == ["FRePo"]


def test_at_scale_paper_each_method_has_its_own_protocol(study, monkeypatch):
    monkeypatch.setattr(study, "budget", study.budget._replace(scale="paper"))
    assert study.evaluation_settings().protocol == "isa"
    assert study.evaluation_settings("dm").protocol == "published"
    compared = {
        comparison: comparison.compute(study).query("against == 'random'")
        for comparison in (TABLE4, TABLE8)
    }
    # Random images that another protocol evaluated are subtracted from none.
    assert set(compared[TABLE4].setting) == {"frepo", "isa"}
    assert set(compared[TABLE8].setting) == set(TABLE8.keys)


# --- runs of several settings

ACCURACIES = {0: [0.5, 0.6, 0.8], 0.2: [0.7, 0.7, 0.9]}


class FakeRun(Run):
    """A run whose networks and ridge predictor have known accuracies."""

    experiment: Any = None

    def __init__(self, drop_easy, seed, accuracy, **others):
        self.experiment = {
            "dataset": {"name": "toy"},
            "method": {"name": "frepo", "drop_easy": drop_easy, "segment": [0, 0.5]},
            "network": {"name": "convnet", "width": 8},
            "seed": seed,
            "hash": f"{drop_easy} {seed}",
            **others,
        }
        self.accuracy = accuracy

    def evaluate(self, dataset, **settings):
        assert (dataset, settings) == (None, {"networks": 2})
        both = np.full(2, self.accuracy)
        return Evaluation(both, both / 2, EvaluationSettings())


@pytest.fixture
def runs():
    return [
        FakeRun(drop_easy, seed, accuracy)
        for drop_easy, values in ACCURACIES.items()
        for seed, accuracy in enumerate(values)
    ]


@pytest.mark.parametrize("against", [None, {"drop_easy": 0.0}])
def test_means_and_paired_differences_are_those_of_the_seeds(runs, against):
    found = compare(runs, against=against, networks=2)
    assert found.settings == ["drop_easy=0", "drop_easy=0.2"]
    assert found.against == "drop_easy=0"
    rows = found.table[found.table.predictor == "network"].set_index("setting")
    mean = rows[rows.seed.isna() & rows.against.isna()].loc["drop_easy=0.2"]
    assert mean.value == pytest.approx(100 * np.mean(ACCURACIES[0.2]))
    difference = rows[rows.against.notna()].loc["drop_easy=0.2"]
    expected = paired_interval(
        100 * np.array(ACCURACIES[0.2]), 100 * np.array(ACCURACIES[0])
    )
    found_interval = [difference.value, difference.low, difference.high]
    assert found_interval == pytest.approx([expected.mean, expected.low, expected.high])
    left, right = found.plot().axes
    seeds = 100 * np.concatenate(list(ACCURACIES.values()))
    assert {round(x, 6) for x, _ in points(left)} >= set(np.round(seeds, 6))
    assert expected.mean in [pytest.approx(x) for x, _ in points(right)]
    assert "drop easy=0.2" in found._repr_html_()
    assert repr(found) == "RunComparison(2 settings, 3 seeds, against 'drop_easy=0')"
    assert "toy, 3 seeds" in found.caption
    apart = compare(runs[3:], runs[:3], networks=2)
    assert apart.against == found.against
    assert apart.table.equals(found.table)


def test_settings_of_other_methods_do_not_count(runs):
    other = FakeRun(0, 0, 0.9)
    other.experiment["method"] = {"name": "dm", "learning_rate": 1}
    found = compare([*runs[:1], other], against={"method": "dm"}, networks=2)
    assert found.settings == ["method=frepo", "method=dm"]


def test_settings_with_long_names_are_drawn(runs):
    found = compare(runs, networks=2)
    long = found.table.replace({name: name + " $" * 50 for name in found.settings})
    left, right = (
        found._replace(table=long, against=long.against.dropna().iloc[0]).plot().axes
    )
    assert len(left.get_yticklabels()) == 2
    assert points(left) == points(found.plot().axes[0])
    assert points(right) == points(found.plot().axes[1])


def test_html_is_escaped(runs):
    runs[0].experiment["selection"] = "<b>"
    assert "<b>" not in compare(runs[:2], networks=2)._repr_html_()


@pytest.mark.parametrize(
    ("runs_of", "against", "name"),
    [
        (lambda runs: [], None, "runs"),
        (lambda runs: [runs[0], runs[0]], None, "runs"),
        (lambda runs: runs, {"drop_easy": 0.3}, "against"),
        (lambda runs: runs, {"steps": 3}, "against"),
    ],
)
def test_bad_input_is_refused_before_anything_is_evaluated(
    runs, runs_of, against, name
):
    with pytest.raises(InvalidValueError, match=f"^{name} "):
        compare(runs_of(runs), against=against)


def test_what_is_subtracted_is_one_setting(runs):
    with pytest.raises(InvalidValueError, match=r"^others must be runs of one setting"):
        compare(runs[:1], runs[1:])
    with pytest.raises(
        InvalidValueError, match=r"^against must be left out with other"
    ):
        compare(runs[3:], runs[:3], against={"drop_easy": 0})
