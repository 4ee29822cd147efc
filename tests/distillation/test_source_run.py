"""A branch goes on from the state of another run, whatever becomes of either."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import STEPS, metric_rows, stop_at, tiny

from isa_toolkit.distillation import (
    Experiment,
    Run,
    distill,
    distill_grid,
    trainer,
)
from isa_toolkit.methods import DM
from isa_toolkit.networks import NetworkSettings

pytestmark = pytest.mark.slow

START = 8


@pytest.fixture(scope="module")
def branch(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the tiny run, branched off itself; not to be changed."""
    experiment = tiny(start_from=whole, start_step=START)
    return distill(experiment, out=tmp_path_factory.mktemp("branch"))


def assert_goes_on_as(branch: Run, source: Run) -> None:
    start = branch.experiment["start_step"]
    assert list(branch.snapshots) == [step for step in (8, 16, 24) if step >= start]
    for step in branch.snapshots:
        ours, theirs = branch.distilled_at(step), source.distilled_at(step)
        assert ours.images.tobytes() == theirs.images.tobytes()
        assert ours.labels.tobytes() == theirs.labels.tobytes()


def test_a_branch_with_the_same_settings_goes_on_bit_for_bit(
    branch: Run, whole: Run
) -> None:
    assert whole.checkpoints == [8, 16, 24]
    assert_goes_on_as(branch, whole)
    rows = [json.loads(row) for row in metric_rows(whole.path)]
    later = [row for row in rows if row["step"] > START]
    assert [json.loads(row) for row in metric_rows(branch.path)] == later


def test_what_is_stored_names_the_source_by_its_hash(
    branch: Run, whole: Run, tmp_path: Path
) -> None:
    stored = branch.experiment
    assert stored["start_from"] == whole.experiment["hash"]
    assert stored["start_step"] == START
    assert str(whole.path) not in json.dumps(stored)
    moved = shutil.copytree(whole.path, tmp_path / "moved")
    hashes = [
        tiny(start_from=source, start_step=step).resolve().hash
        for source, step in ((moved, 8), (str(whole.path), 8), (moved, 16))
    ]
    assert hashes[0] == hashes[1] == stored["hash"] != hashes[2]
    assert whole.experiment["start_from"] is whole.experiment["start_step"] is None
    del stored["hash"]
    again = Experiment.from_description(stored, start_from=str(moved))
    assert again.resolve().hash == hashes[0]
    with pytest.raises(ValueError, match="start_from must be the path of the run"):
        Experiment.from_description(stored)


def test_a_branch_that_is_stopped_and_killed_resumes(
    branch: Run, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_CHUNK_S", 1e-9)
    experiment = tiny(start_from=whole.path, start_step=START)

    def die(progress: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):  # before it has a checkpoint of its own
        distill(experiment, out=tmp_path, callbacks=[die])
    stopped = distill(experiment, out=tmp_path, callbacks=[stop_at(11)])
    assert (stopped.status["status"], stopped.step) == ("stopped", 11)
    assert stopped.checkpoints == [11]
    again = distill(experiment, out=tmp_path)
    assert metric_rows(again.path) == metric_rows(branch.path)
    assert_goes_on_as(again, whole)


def test_branches_of_a_grid_share_a_program_and_equal_single_runs(
    whole: Run, tmp_path: Path
) -> None:
    # Three runs: a program that the tests of ``distill_grid`` compile, too.
    grid = [
        {"start_from": [whole.path], "start_step": [8, 16]},
        {"start_from": [whole.path], "start_step": [8], "drop_easy": [0.0]},
    ]
    runs = distill_grid(tiny(), grid, out=tmp_path, keep_checkpoints=None)
    for run in runs[:2]:
        assert_goes_on_as(run, whole)
    assert runs[0].checkpoints == [16, 24]
    assert runs[2].metrics.kept.dropna().tolist() == [32] * 4
    vmapped = distill_grid(tiny(), grid, out=tmp_path / "vmapped", vmap=True)
    for one, other in zip(vmapped, runs, strict=True):
        np.testing.assert_allclose(
            one.distilled_at(STEPS).images,
            other.distilled_at(STEPS).images,
            atol=1e-3,
        )


def test_a_longer_branch_starts_where_its_source_ended(
    whole: Run, tmp_path: Path
) -> None:
    experiment = tiny(start_from=whole, steps=STEPS + 1)
    assert experiment.resolve().first_step == STEPS
    one = distill(experiment, out=tmp_path)
    assert (one.step, one.checkpoints) == (STEPS + 1, [STEPS + 1])
    assert list(one.snapshots) == [STEPS, STEPS + 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"start_from": None},
            r"start_step must be left out without start_from, got 8\.",
        ),
        ({"start_from": "nowhere"}, "start_from must be a run or .* got 'nowhere'"),
        ({"start_step": 9}, r"start_step must be .* got 9\. There are: 8, 16, 24\."),
        ({"steps": 8}, r"start_step must be below steps = 8, got 8\."),
        ({"images_per_class": 2}, "images_per_class must be 1 to start .* got 2"),
        ({"network": NetworkSettings(width=5, depth=2)}, "width must be 4 to .* got 5"),
        ({"limit": 999}, "fingerprint of the data must be "),
        ({"whitening": "zca"}, "fingerprint of the preprocessing must be "),
    ],
)
def test_a_source_that_does_not_fit_is_one_sentence(
    changes: dict[str, Any], says: str, whole: Run
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        tiny(**{"start_from": whole, "start_step": START, **changes}).resolve()
    assert "\n" not in str(caught.value)


def test_another_method_or_pool_is_refused(whole: Run, tmp_path: Path) -> None:
    other = dataclasses.replace(
        tiny(start_from=whole), method=DM(), batch_size=8, steps=99
    )
    with pytest.raises(
        ValueError, match=r"method must be 'frepo' to start .* got 'dm'"
    ):
        other.resolve()
    with pytest.raises(
        TypeError, match="start_from must be text or a path or a Run, got 3"
    ):
        tiny(start_from=3)
    with pytest.raises(
        ValueError, match="static settings of that run, such as pool_size"
    ):
        distill(tiny(start_from=whole, start_step=8, pool_size=3), out=tmp_path)


def test_a_damaged_source_is_one_sentence(whole: Run, tmp_path: Path) -> None:
    moved = shutil.copytree(whole.path, tmp_path / "moved")
    (moved / "checkpoints" / "8" / "sums.json").write_text("{}")
    with pytest.raises(ValueError, match=r"step 8 in .* start_step: 16, 24\.$"):
        distill(tiny(start_from=moved, start_step=8), out=tmp_path)
    shutil.rmtree(moved / "checkpoints")
    with pytest.raises(ValueError, match="start_from must be a run with checkpoints"):
        tiny(start_from=moved).resolve()
    (moved / "experiment.json").write_text("{")
    with pytest.raises(ValueError, match=r"no experiment\.json that can be read"):
        tiny(start_from=moved).resolve()
