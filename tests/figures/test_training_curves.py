"""The course of runs: what is drawn is what they recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_run import tiny

from isa_toolkit.distillation import Run
from isa_toolkit.distillation.store import hash_of
from isa_toolkit.figures import training_curves


def recorded(path: Path, shift: float = 0.0, **method) -> Run:
    """Return a run folder with these metrics."""
    rows = [
        {"step": 0, "kind": "validation", "accuracy": 0.1, "ridge_accuracy": 0.2},
        {"step": 4, "kind": "train", "loss": 2 + shift, "target_accuracy": 0.3},
        {"step": 8, "kind": "train", "loss": 1 + shift, "target_accuracy": 0.4},
        {"step": 8, "kind": "validation", "accuracy": 0.5, "ridge_accuracy": 0.6},
    ]
    path.mkdir()
    settings = tiny().resolve().description
    settings = {**settings, "method": {"name": "frepo", **method}}
    stored = {**settings, "hash": hash_of(settings)}
    (path / "experiment.json").write_text(json.dumps(stored))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (path / "metrics.jsonl").write_text(lines)
    return Run.open(path)


def test_lines_are_the_numbers_of_the_run(tmp_path):
    table = training_curves.compute({"one": recorded(tmp_path / "one")})
    left, right = training_curves.draw(table).axes
    assert list(left.lines[0].get_ydata()) == [2, 1]
    drawn = {line.get_label(): list(line.get_ydata()) for line in right.lines}
    assert drawn == {
        "real batch, ridge predictor": pytest.approx([30, 40]),
        "validation images, network": pytest.approx([10, 50]),
        "validation images, ridge predictor": pytest.approx([20, 60]),
    }


def test_several_runs_have_a_colour_each_and_are_named_once(tmp_path):
    table = training_curves.compute(
        {"one": recorded(tmp_path / "one"), "two": recorded(tmp_path / "two", 1.0)}
    )
    figure = training_curves.draw(table)
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert len(set(colours)) == 2
    assert {line.get_color() for line in figure.axes[1].lines} == set(colours)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]
    assert training_curves.caption(table).startswith("2 runs. ")


def test_losses_over_other_samples_have_axes_of_their_own(tmp_path):
    runs = {
        f"{drop} {seed}": recorded(
            tmp_path / f"{drop}{seed}", drop_easy=drop, pool=seed
        )
        for drop in (0, 0.2)
        for seed in (0, 1)
    }
    table = training_curves.compute(runs)
    *losses, accuracies = training_curves.draw(table).axes
    assert [ax.get_title() for ax in losses] == ["drop_easy=0", "drop_easy=0.2"]
    long = table.assign(objective="drop_easy=0, segment=(0, 0.5)")
    left = training_curves.draw(long).axes[0]
    assert left.get_title() == "drop_easy=0,\nsegment=(0, 0.5)"
    assert [len(ax.lines) for ax in losses] == [2, 2]
    assert len(accuracies.lines) == 4 * 3
    assert "cannot be compared" in training_curves.caption(table)
    alike = training_curves.compute({name: runs[name] for name in ("0 0", "0 1")})
    assert len(training_curves.draw(alike).axes) == 2
    assert "cannot be compared" not in training_curves.caption(alike)


def test_a_run_without_metrics_yet_draws_empty_axes(tmp_path):
    run = recorded(tmp_path / "one")
    (run.path / "metrics.jsonl").unlink()
    table = training_curves.compute({"one": run})
    assert len(table) == 0
    assert not any(ax.lines for ax in training_curves.draw(table).axes)


def test_a_browser_is_sent_what_is_drawn(tmp_path):
    runs = {
        str(drop): recorded(tmp_path / str(drop), drop_easy=drop) for drop in (0, 1)
    }
    table = training_curves.compute(runs)
    sent = training_curves.for_browser(table)
    figure = training_curves.draw(table)
    for panel, ax in zip(sent["panels"], figure.axes, strict=True):
        assert (panel["title"], panel["label"]) == (
            ax.get_title(), ax.get_ylabel() or panel["label"],
        )  # fmt: skip
        assert panel["log"] == (ax.get_yscale() == "log")
        drawn = [(line.get_color(), line.get_xydata().tolist()) for line in ax.lines]
        assert [(one["colour"], one["points"]) for one in panel["lines"]] == drawn
    [legend] = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert [name for name, _ in sent["legend"]] == named
    assert training_curves.for_browser(table.iloc[:0]) == {}


def test_a_browser_is_sent_finite_numbers_and_not_too_many(tmp_path):
    table = training_curves.compute({"one": recorded(tmp_path / "one")})
    row = table[table.quantity == "loss"].iloc[[0]]
    many = pd.concat([row.assign(step=step, value=1.0 + step) for step in range(3000)])
    many.iloc[7, many.columns.get_loc("value")] = np.nan
    [line] = training_curves.for_browser(many)["panels"][0]["lines"]
    steps, values = zip(*line["points"], strict=True)
    assert len(steps) == 1000
    assert (steps[0], steps[-1]) == (0, 2999)
    assert np.isfinite(values).all()
