"""A run on the disk, opened and read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_run import STEPS, tiny

from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Run, distill, run, schedule
from isa_toolkit.distillation.store import hash_of

pytestmark = pytest.mark.slow


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run at .*\(no experiment\.json\)"):
        Run.open(tmp_path)


def test_an_opened_run_tells_what_was_asked_and_done(whole: Run) -> None:
    again = Run.open(whole.path)
    assert again.experiment == {
        "hash": tiny().resolve().hash,
        **tiny().resolve().description,
    }
    assert again.is_done
    assert again.step == STEPS
    assert repr(again) == f"Run({str(whole.path)!r}, done, step {STEPS} of {STEPS})"
    pd.testing.assert_frame_equal(again.metrics, whole.metrics)


def test_validation_chooses_the_earliest_of_the_best(whole: Run) -> None:
    rows = whole.metrics
    rows = rows[rows.kind == "validation"]
    best = int(rows[rows.accuracy == rows.accuracy.max()].step.min())
    chosen = whole.distilled.manifest["selection"]
    assert chosen["rule"] == "validation"
    assert chosen["step"] == best
    assert chosen["accuracy"] == rows.accuracy.max()
    np.testing.assert_array_equal(
        whole.distilled.images, whole.distilled_at(best).images
    )


def test_a_later_better_validation_is_chosen(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del whole
    accuracies = iter((0.2, 0.9, 0.9))

    def validate(*_: object) -> dict[str, float]:
        return {"accuracy": next(accuracies), "ridge_accuracy": 0.5}

    monkeypatch.setattr(schedule, "validate", validate)
    again = distill(tiny(), out=tmp_path)
    assert again.distilled.manifest["selection"]["step"] == 16
    np.testing.assert_array_equal(again.distilled.images, again.distilled_at(16).images)


def test_a_step_without_snapshot_lists_those_with(whole: Run) -> None:
    with pytest.raises(ValueError, match="step must be one of 0, 8, 16, 24, got 5"):
        whole.distilled_at(5)


def test_a_run_that_is_not_done_has_no_result(stopped: Run) -> None:
    assert not stopped.is_done
    with pytest.raises(FileNotFoundError, match="There is no distilled set"):
        _ = stopped.distilled


def test_released_judges_by_test_images_and_last_by_none(
    whole: Run, tmp_path: Path
) -> None:
    del whole
    released = distill(tiny(selection="released", steps=8), out=tmp_path)
    assert released.distilled.manifest["selection"]["rule"] == "released"
    rows = released.metrics
    accuracies = rows[rows.kind == "validation"].accuracy
    # A whole number of the 360 test images.
    tests = len(tiny().load().test.labels)
    np.testing.assert_allclose(
        accuracies * tests, np.round(accuracies * tests), atol=1e-3
    )
    last = distill(tiny(selection="last", steps=8), out=tmp_path)
    assert set(last.metrics.kind) == {"train"}
    assert last.distilled.manifest["selection"] == {"rule": "last", "step": 8}
    np.testing.assert_array_equal(last.distilled.images, last.distilled_at(8).images)


# --- in a notebook --------------------------------------------------------------------


def test_a_run_shows_its_status_its_curves_and_its_images(
    whole: Run, stopped: Run, tmp_path: Path
) -> None:
    assert len(repr(whole)) <= 300
    shown = whole._repr_html_()
    assert "done, step 24 of 24" in shown
    assert shown.count("<img") >= 2
    # A stopped run has curves, but no result.
    assert stopped._repr_html_().count("<img") == 1
    path = tmp_path / "<script>"
    shutil.copytree(stopped.path, path)
    assert "<script>" not in Run.open(path)._repr_html_()


def test_plot_draws_the_metrics(whole: Run) -> None:
    figure = whole.plot()
    losses = whole.metrics.loss.dropna()
    [line] = figure.axes[0].lines
    np.testing.assert_array_equal(np.asarray(line.get_ydata()), losses)


def test_a_run_is_evaluated_on_its_own_data(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def keep(distilled: object, dataset: Dataset, **settings: object) -> None:
        del distilled
        seen.append(f"{dataset.fingerprint} {settings}")
        raise InterruptedError

    monkeypatch.setattr(run, "evaluate", keep)
    digits = tiny().load()
    for call in (
        lambda: whole.evaluate(networks=2),
        lambda: Run.open(whole.path).evaluate(networks=2),
        lambda: whole.evaluate(digits, networks=2),
    ):
        with pytest.raises(InterruptedError):
            call()
    assert seen == [f"{digits.fingerprint} {{'networks': 2}}"] * 3
    path = Path(shutil.copytree(whole.path, tmp_path / "other"))
    experiment = json.loads((path / "experiment.json").read_text())
    for changes in ({"name": "mine"}, {"fingerprint": "f" * 64}):
        dataset = {**experiment["dataset"], **changes}
        other = {**experiment, "dataset": dataset}
        del other["hash"]
        other["hash"] = hash_of(other)
        (path / "experiment.json").write_text(json.dumps(other))
        with pytest.raises(ValueError, match="dataset"):
            Run.open(path).evaluate()
