"""A sweep survives its children's deaths, its scheduler's, and ends when asked."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from long_run import long_run, wait_for
from stand_in_groups import (
    DONE,
    Background,
    is_gone,
    last_checkpoint,
    stand_ins,
    states,
    three,
)
from tiny_run import files_of, metric_rows, result_bytes

from isa_toolkit.distillation import Run
from isa_toolkit.sweeps import (
    LaunchSettings,
    Slurm,
    Sweep,
    SweepLockedError,
    bars,
    launch,
    plan,
    process,
)
from isa_toolkit.sweeps.children import local_slots

# --- settings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": "ray"}, "backend must be one of 'local', 'slurm'"),
        ({"slots": 0}, "slots must be at least 1, got 0"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"checkpoint_s": 0}, "checkpoint_s must be above 0"),
        ({"gpus": [0], "backend": "slurm"}, r"gpus must be left out .* Slurm\(gpus="),
        ({"speed": 3}, "setting must be one of .*'backend'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, settings, says):
    with pytest.raises(ValueError, match=says):
        launch(three(tmp_path), **settings)
    assert not list(tmp_path.iterdir())


def test_settings_are_kept_for_the_next_launch(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, DONE)
    sweep = start(slots=3, gpus=[0, "a"], retries=4, slurm=Slurm(setup=["module a"]))
    told = LaunchSettings.of(sweep)
    assert (told.slots, told.gpus, told.retries) == (3, (0, "a"), 4)
    assert told.slurm == Slurm(setup=("module a",))
    launch(sweep, retries=0, progress=False)
    assert LaunchSettings.of(sweep).retries == 0
    assert LaunchSettings.of(sweep).slots == 3


def test_slots_are_gpus_or_pairs_of_cores(monkeypatch):
    monkeypatch.setattr("isa_toolkit.sweeps.children.cores", lambda: 5)
    assert local_slots(None, None) == [{}, {}]
    assert local_slots(3, None) == [{}] * 3
    assert local_slots(None, [0, 2]) == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "2"},
    ]
    named = [one["CUDA_VISIBLE_DEVICES"] for one in local_slots(3, ["a", "b"])]
    assert named == ["a", "b", "a"]
    assert [one["JAX_PLATFORMS"] for one in local_slots(None, [])] == ["cpu", "cpu"]
    monkeypatch.setattr("isa_toolkit.sweeps.children.cores", lambda: 1)
    assert local_slots(None, None) == [{}]


def test_progress_is_told_by_bars_and_lines(tmp_path, monkeypatch, capsys):
    said: list[str] = []
    monkeypatch.setattr(bars, "_EVERY_S", 0.0)
    stand_ins(tmp_path, monkeypatch, f"sleep 0.2; {DONE}")(
        progress=True, tell=said.append
    )
    shown = capsys.readouterr().err
    names = [run.name for run in three(tmp_path).runs]
    assert all(name in shown for name in ("three", *names))
    assert "3/3" in shown
    assert said == [f"{n}: {what}" for n in names for what in ("started", "done")]


def test_a_scheduler_that_does_not_start_is_told(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, "exit 1")
    with pytest.raises(ChildProcessError, match=r"did not start: see .*scheduler\.log"):
        start(wait=False)


# --- real processes ---------------------------------------------------------------------


class Killed(NamedTuple):
    """A sweep of two runs, of which the first one's process was killed."""

    sweep: Sweep
    first: Run
    snapshot_ns: int
    checkpoint: int
    said: list[str]


@pytest.fixture(scope="module")
def killed(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Run a sweep whose first process gets a kill -9 halfway; not to be changed."""
    out = tmp_path_factory.mktemp("killed")
    made = plan(long_run(), seeds=range(2), out=out, name="two")
    said: list[str] = []
    launched = Background(
        lambda: launch(
            made, slots=2, checkpoint_s=0.01, progress=False, tell=said.append
        )
    )
    path = out / made.runs[0].name
    assert path.name == whole.path.name
    snapshot = path / "snapshots/step-00000500.safetensors"
    wait_for(lambda: snapshot.exists() and (path / "checkpoints/500").is_dir())
    written = snapshot.stat().st_mtime_ns
    pid = Sweep.open(made.path).children[made.runs[0].group]
    os.kill(pid, signal.SIGKILL)
    saved = last_checkpoint(path)
    sweep = launched.join()
    return Killed(sweep, Run.open(path), written, saved, said)


@pytest.mark.slow
def test_a_killed_workers_run_is_picked_up_from_its_checkpoint(
    killed: Killed, whole: Run
) -> None:
    assert states(killed.sweep) == ["done", "done"]
    assert killed.sweep.state == "done"
    first, second = map(killed.sweep.group_status, killed.sweep.groups)
    assert (first["attempts"], second["attempts"]) == (2, 1)
    [reason] = first["reasons"]
    assert "ended by SIGKILL. Checkpoint: step" in reason
    assert int(reason.split("step ")[1].rstrip(".")) >= 500
    assert any("It is started again." in line for line in killed.said)
    # Steps up to the checkpoint were not taken again: what was written there stands.
    snapshot = killed.first.snapshots[500]
    assert snapshot.stat().st_mtime_ns == killed.snapshot_ns
    assert killed.checkpoint >= 500
    # Each step once, and the result as if nothing had happened.
    assert metric_rows(killed.first.path) == metric_rows(whole.path)
    assert result_bytes(killed.first.path) == result_bytes(whole.path)


@pytest.mark.slow
def test_a_second_launch_starts_no_process(
    killed: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "spawn", None)  # to start one would fail
    before = [files_of(run.path) for run in killed.sweep.runs]
    made = plan(long_run(), seeds=range(2), out=killed.sweep.out, name="two")
    assert [run.state for run in made.runs] == ["done", "done"]
    assert made.seconds == (0.0, 0.0)
    assert "2 done, 0 to run." in made.summary
    assert states(launch(made, progress=False)) == ["done", "done"]
    assert [files_of(run.path) for run in killed.sweep.runs] == before


@pytest.mark.slow
def test_a_checkpoint_that_was_left_is_seen_by_the_next_plan(
    killed: Killed, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(killed.first.path, tmp_path / killed.first.path.name))
    (copy / "distilled.safetensors").unlink()
    made = plan(long_run(), out=tmp_path)
    assert (made.runs[0].state, made.runs[0].step) == ("resumable", 2500)
    shutil.rmtree(copy / "checkpoints/2500")
    assert plan(long_run(), out=tmp_path).table().steps_left[0] < 2500


@pytest.mark.slow
def test_a_killed_scheduler_loses_nothing_and_cancel_leaves_no_process(
    whole: Run, tmp_path: Path
) -> None:
    del whole
    endless = long_run(steps=10_000_000, validation_every=0, selection="last")
    made = plan(endless, seeds=range(2), out=tmp_path, name="endless")
    sweep = launch(made, slots=2, wait=False)
    wait_for(lambda: len(sweep.children) == 2)
    scheduler, children = sweep.scheduler, dict(sweep.children)
    assert scheduler is not None
    os.kill(scheduler, signal.SIGKILL)
    wait_for(lambda: sweep.state == "unattended")
    assert states(sweep) == ["running", "running"]

    said: list[str] = []
    launched = Background(
        lambda: launch(made, slots=2, progress=False, tell=said.append)
    )
    wait_for(lambda: len(said) == 2)
    assert all(line.endswith("taken over") for line in said)
    assert sweep.state == "running"
    assert sweep.children == children
    with pytest.raises(SweepLockedError, match=f"process {os.getpid()} on"):
        launch(made)
    # They take steps, and have not been started again.
    wait_for(lambda: all(row["step"] > 0 for row in sweep.rows()))

    sweep.cancel()
    launched.join()
    assert all(map(is_gone, children.values()))
    assert sweep.children == {}
    assert (sweep.state, states(sweep)) == ("stopped", ["stopped", "stopped"])
    assert all(row["step"] > 0 for row in sweep.rows())
    assert [sweep.group_status(g)["attempts"] for g in sweep.groups] == [1, 1]
    again = plan(endless, seeds=range(2), out=tmp_path)
    assert [run.state for run in again.runs] == ["resumable", "resumable"]
