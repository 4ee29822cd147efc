"""Comparisons: each setting against its own baseline, and against random real images."""

from __future__ import annotations

import pytest
from drawn import points

from isa_toolkit.figures.comparisons import (
    DEMO_TABLE,
    FIG3C,
    TABLE4,
    TABLE8,
    Comparison,
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
