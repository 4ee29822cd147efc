"""The demo on a tiny plan: numbers are made once, drawn, and written whole."""

from __future__ import annotations

import pandas as pd
import pytest

from isa_toolkit.figures import demo
from isa_toolkit.figures.demo import FREPO, ISA, RANDOM


def accuracies() -> pd.DataFrame:
    """Two seeds, two networks; ISA is .1 above FRePo in each, FRePo .2 above random."""
    rows = []
    for predictor in ("network", "ridge"):
        for seed, base in ((0, 0.4), (1, 0.6)):
            for place in (0, 1):
                cell = {
                    "images_per_class": 1, "seed": seed, "predictor": predictor,
                    "network": place,
                }  # fmt: skip
                for setting, step, more in (
                    (RANDOM, 0, 0.0), (FREPO, 0, 0.0), (ISA, 0, 0.0),
                    (FREPO, 4, 0.2), (ISA, 4, 0.3),
                ):  # fmt: skip
                    rows.append(
                        {
                            **cell,
                            "setting": setting,
                            "step": step,
                            "accuracy": base + more,
                        }
                    )
    return pd.DataFrame(rows)


def test_the_table_takes_the_last_step_and_pairs_the_seeds():
    table = demo.compute(demo.Study(accuracies(), {}, None)).set_index(
        ["setting", "predictor"]
    )
    isa = table.loc[ISA, "network"]
    assert isa.accuracy == pytest.approx(0.8)
    assert isa.over_frepo == pytest.approx(0.1)
    assert isa.over_frepo_half_width == pytest.approx(0, abs=1e-9)
    assert isa.over_random == pytest.approx(0.3)
    assert (isa.sets, isa.networks) == (2, 2)
    # 12.706 = Student's t with one degree of freedom; the sets lie .2 apart.
    assert isa.half_width_sets == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert pd.isna(table.loc[RANDOM, "network"].over_random)


def test_the_curve_draws_the_table():
    table = pd.concat(
        [accuracies(), accuracies().query("step == 4").assign(setting=demo.FULL)]
    )
    [ax] = demo.draw_curve(table).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn[FREPO] == pytest.approx([50, 70])
    assert drawn[ISA] == pytest.approx([50, 80])


@pytest.mark.slow
def test_study_and_page(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "WIDTH", 4)
    monkeypatch.setattr(
        demo, "WHOLE", demo.FitSettings(steps=2, batch_size=64, warmup_steps=0)
    )
    told = []
    plans = {1: demo.Plan(4, 2, True, 2)}
    study = demo.study(runs=tmp_path / "runs", seeds=2, tell=told.append, plans=plans)
    page = demo.write(study, tmp_path / "out")
    assert len(told) == 5
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "saturated" in text
    stored = pd.read_csv(tmp_path / "out" / "table.csv")
    pd.testing.assert_frame_equal(stored, demo.compute(study), check_dtype=False)
    again = demo.study(runs=tmp_path / "runs", seeds=2, plans=plans)
    pd.testing.assert_frame_equal(again.accuracies, study.accuracies)
