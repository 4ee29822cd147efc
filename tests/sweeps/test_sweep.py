"""A sweep survives the deaths of its processes, stops on request, and repeats nothing."""

from __future__ import annotations

import contextlib
import json
import operator
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from long_run import long_run, wait_for
from stand_in_workers import (
    DIVERGED,
    DONE,
    HEARS_NOTHING,
    WAITS,
    Background,
    is_gone,
    last_checkpoint,
    reasons,
    result,
    script,
    stand_ins,
    states,
    three,
    worker_pids,
)
from tiny_run import files_of, metric_rows, result_bytes

from isa_toolkit.errors import RunLockedError
from isa_toolkit.files import write_json
from isa_toolkit.sweeps import Plan, Sweep, plan, sweep, sweeps_in
from isa_toolkit.sweeps.sweep import write
from isa_toolkit.sweeps.worker import run_group

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


# --- scripts in the place of workers ----------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"engine": "dask"}, ValueError, "engine must be one of"),
        ({"slots": 0}, ValueError, "slots must be at least 1"),
        ({"checkpoint_s": 0}, ValueError, "checkpoint_s must be above 0"),
        ({"speed": 3}, TypeError, "LocalEngine has no setting 'speed'"),
        ({"engine": "ray", "num_cpus": -1}, ValueError, "num_cpus must be"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    tmp_path, settings, error, says
):
    with pytest.raises(error, match=says):
        three(tmp_path).run(**settings)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no sweep at .*no plan\.json"):
        Sweep(tmp_path)
    assert sweeps_in(tmp_path / "missing") == []


def test_a_plan_that_was_never_launched_is_new(tmp_path):
    made = three(tmp_path)
    write(made)
    [found] = sweeps_in(tmp_path)
    assert (found.path, found.runs) == (made.path, [])
    assert (found.state, states(found)) == ("new", ["new"] * 3)
    assert repr(found) == f"Sweep({str(found.path)!r}, new)"
    found.cancel()
    assert not (found.path / "STOP").exists()


DAMAGED = [
    b"", b"[]", b"3", b"null", b"{}", b"{", b"\xff\xfe", b"[" * 100_000,
    b'{"runs": 3}', b'{"runs": [{}]}', b'{"engine": 3, "options": [], "settings": 1}',
    b'{"code": "x", "reason": 3}', b'{"state": "queued"}', b'{"state": ["starting"]}',
    b'{"state": "starting", "time": "x"}', b'{"state": "running"}',
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=lambda one: repr(one[:20]))
@pytest.mark.parametrize(
    "name", ["plan.json", "launch.json", "worker.json", "job.json"]
)
def test_damaged_files_of_a_sweep_are_read_as_missing(
    name, content, tmp_path, monkeypatch
):
    made = write(three(tmp_path))
    write_json(made.path / "launch.json", {"engine": "local", "options": {"slots": 3}})
    for folder in (made.path, *map(made.plan.group_path, made.plan.groups)):
        if (folder / name).exists() or name == "worker.json":
            (folder / name).write_bytes(content)
    with (
        contextlib.nullcontext()
        if name != "plan.json"
        else pytest.raises(FileNotFoundError, match=r"no plan\.json that can be read")
    ):
        Sweep(made.path)
    assert len(sweeps_in(tmp_path)) == (name != "plan.json")
    states = {one.state for one in made.plan.statuses()}
    assert states <= {"new", "failed", "starting"}
    if name == "plan.json":
        return
    assert made.state in ("new", "failed", "running")
    assert len(made.status()) == 3
    if name == "job.json":
        with pytest.raises(FileNotFoundError, match=r"no job\.json"):
            run_group(made.plan.group_path(next(iter(made.plan.groups))))
    launched = []
    monkeypatch.setattr(Plan, "run", lambda *_, **options: launched.append(options))
    made.resume()
    assert launched[0].keys() >= {"wait", "progress"}


def test_it_shows_itself_and_everything_in_its_folder_is_json(tmp_path, monkeypatch):
    done = stand_ins(tmp_path, monkeypatch, DONE)(slots=3)
    table = done.status()
    assert list(table.run) == [run.name for run in three(tmp_path).runs]
    assert (list(table.seed), list(table.state)) == ([0, 1, 2], ["done"] * 3)
    assert (table.seconds == 0).all()
    assert "three: done" in done._repr_html_()
    assert [run.path.name for run in done.runs] == list(table.run)
    for path in done.path.rglob("*.*"):
        if path.is_file() and path.name not in (".lock", "log.txt"):
            json.loads(path.read_text())


def test_resume_keeps_the_options_of_the_last_launch(tmp_path, monkeypatch):
    failed = stand_ins(tmp_path, monkeypatch, "exit 1")(slots=3, retries=0)
    assert failed.state == "failed"
    script(tmp_path, monkeypatch, DONE)
    assert failed.resume(progress=False, retries=2).state == "done"
    stored = json.loads((failed.path / "launch.json").read_text())
    assert stored["options"] == {"slots": 3, "retries": 2}


def test_a_diverged_run_stops_no_other_and_is_not_started_again(tmp_path, monkeypatch):
    start = stand_ins(
        tmp_path, monkeypatch,
        f"[ $SEED = 1 ] && {{ {DIVERGED}; {result(3, 'NaN at 3.')}; }}; {DONE}",
    )  # fmt: skip
    ended = start(retries=3)
    assert (ended.state, states(ended)) == ("done", ["done", "diverged", "done"])
    assert reasons(ended)[1] == "NaN at 3."
    script(tmp_path, monkeypatch, "touch $FOLDER/started")
    assert start().state == "done"
    assert not list(ended.path.rglob("started"))


def test_cancel_stops_all_and_leaves_no_process(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, WAITS)
    running = Background(lambda: start(slots=2))
    path = three(tmp_path / "runs").path
    pids = wait_for(lambda: len(worker_pids(path)) == 2 and worker_pids(path))
    made = Sweep(path)
    assert made.state == "running"
    assert sorted(states(made)) == ["queued", "starting", "starting"]
    with pytest.raises(
        RunLockedError, match=r"is run by process \d+ on .* sweep cancel"
    ):
        start()
    with pytest.raises(TimeoutError, match="still runs"):
        made.wait(0.01)
    made.cancel()
    running.join(20)
    assert all(map(is_gone, pids))
    assert made.state != "running"


def test_two_signals_stop_and_then_kill(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, HEARS_NOTHING)
    path = three(tmp_path / "runs").path
    pids: list[int] = []

    def interrupt():
        pids.extend(wait_for(lambda: worker_pids(path)))
        os.kill(os.getpid(), signal.SIGINT)
        wait_for((path / "STOP").exists)
        assert not is_gone(pids[0])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        start()
    assert pids
    wait_for(lambda: all(map(is_gone, pids)))


def test_an_error_of_the_driver_stops_its_workers(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, WAITS)

    def fail(*arguments):
        raise OSError("No space left on device")

    path = three(tmp_path / "runs").path
    monkeypatch.setattr(sys.modules["isa_toolkit.sweeps.sweep"], "_follow", fail)
    with pytest.raises(OSError, match="No space"):
        start()
    wait_for(lambda: not worker_pids(path))
    assert not (path / "holder.json").exists()


def test_a_driver_of_its_own_that_does_not_start_is_an_error(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, "exit 1")
    with pytest.raises(ChildProcessError, match=r"failed: .*driver\.log"):
        start(wait=False)


# --- real processes ---------------------------------------------------------------------


def test_a_killed_worker_is_resumed_to_the_byte_and_nothing_is_repeated(
    whole, tmp_path, monkeypatch
):
    made = plan(long_run(), {"seed": range(2)}, out=tmp_path, name="two")
    running = Background(lambda: made.run(slots=2, checkpoint_s=0.01, progress=False))
    path = tmp_path / made.runs[0].name
    assert path.name == whole.path.name
    snapshot = path / "snapshots/step-00000500.safetensors"
    wait_for(lambda: snapshot.exists() and (path / "checkpoints/500").is_dir())
    written = snapshot.stat().st_mtime_ns
    os.kill(worker_pids(made.path, path.name)[0], signal.SIGKILL)
    assert last_checkpoint(path) >= 500
    ended = running.join()
    assert states(ended) == ["done", "done"]
    # Steps up to the checkpoint were not taken again: what was written there stands.
    assert snapshot.stat().st_mtime_ns == written
    assert metric_rows(path) == metric_rows(whole.path)
    assert result_bytes(path) == result_bytes(whole.path)

    script(tmp_path / "bin", monkeypatch, "touch $FOLDER/started")
    before = [files_of(run.path) for run in ended.runs]
    again = sweep(
        long_run(), {"seed": range(2)}, out=tmp_path, name="two", progress=False
    )
    assert states(again) == ["done", "done"]
    assert [files_of(run.path) for run in again.runs] == before
    assert not list(again.path.rglob("started"))


_DRIVER = """
import sys
from long_run import endless
from isa_toolkit.sweeps import sweep
sweep(endless(), {"seed": range(2)}, out=sys.argv[1], name="two", slots=2, progress=False)
"""


def test_a_killed_driver_leaves_checkpoints_and_no_orphans(whole, tmp_path):
    del whole
    home = f"{ROOT}:{ROOT / 'tests' / 'support'}"
    command = [sys.executable, "-c", _DRIVER, str(tmp_path)]
    path = tmp_path / "sweeps/two"

    def has_steps(status):
        return status.state == "running" and status.step > 10

    def start():
        driver = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": home})
        made = wait_for((path / "plan.json").exists) and Sweep(path)
        wait_for(lambda: all(map(has_steps, made.plan.statuses())))
        return driver, made

    driver, made = start()
    pids = worker_pids(path)
    driver.kill()
    driver.wait()
    wait_for(lambda: all(map(is_gone, pids)))
    assert (made.state, states(made)) == ("stopped", ["stopped"] * 2)
    steps = [status.step for status in made.plan.statuses()]
    assert min(steps) > 10

    driver, made = start()
    assert all(
        map(operator.ge, [status.step for status in made.plan.statuses()], steps)
    )
    pids = worker_pids(path)
    made.cancel()
    assert driver.wait(60) == 0
    assert all(map(is_gone, pids))
    assert states(made) == ["stopped"] * 2
