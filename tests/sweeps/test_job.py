"""A job survives its kernel and a kill; its result is as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from long_run import long_run, wait_for
from stand_in_workers import BEGUN, HEARS_NOTHING, result, script, worker_pids
from tiny_run import result_bytes, tiny

from isa_toolkit.distillation.store import lock_folder
from isa_toolkit.sweeps import Job, JobFailedError, runs_in
from isa_toolkit.sweeps.sweep import write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def job(out: Path) -> Job:
    """Return a job that ``script`` knows."""
    return Job(tiny(), out=out)


def test_the_run_folder_is_known_before_the_start(tmp_path):
    made = job(tmp_path)
    assert made.path == tmp_path / tiny().resolve().name
    assert made.status == ("new", 0, 0, 0.0, "", None)
    assert math.isnan(made.status.eta_s)
    made.stop()
    made.raise_if_failed()
    assert made.wait().state == "new"
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run at .*Choose a run folder"):
        Job.attach(tmp_path)
    assert runs_in(tmp_path / "missing") == []


def test_a_finished_run_is_attached_to_and_not_started(whole):
    made = Job.attach(whole.path)
    assert made.start().status.state == "done"
    assert not (whole.path.parent / "sweeps").exists()
    assert made.status.fraction == 1.0
    made.raise_if_failed()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([result(2, "a is bad.")], "a is bad."),
        (["echo 'MemoryError: big'", "sleep 0.2", "exit 1"], "MemoryError: big"),
    ],
)
def test_a_worker_that_failed_has_a_reason_and_a_fix(
    lines, reason, tmp_path, monkeypatch
):
    made = job(tmp_path / "runs")
    script(tmp_path, monkeypatch, BEGUN, *lines)
    assert made.start().wait(20).state == "failed"
    with pytest.raises(JobFailedError) as caught:
        made.raise_if_failed()
    assert reason in str(caught.value)
    assert "Resume" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_a_process_of_its_own_that_any_kernel_finds_and_ends(
    tmp_path, monkeypatch
):
    made = job(tmp_path / "runs")
    script(tmp_path, monkeypatch, HEARS_NOTHING)
    made.start()
    folder = tmp_path / "runs/sweeps" / made.path.name
    [pid, *_] = wait_for(lambda: worker_pids(folder))
    assert os.getsid(pid) == pid != os.getsid(0)
    [other] = runs_in(tmp_path / "runs")
    assert other.status.state == made.status.state == "starting"
    made.start()
    assert other.start().status.state == "starting"
    log = folder / "groups" / made.path.name / "log.txt"
    assert log.read_text().count("--- started") == 1
    with pytest.raises(TimeoutError, match="still runs after"):
        other.wait(0.01)
    other.stop()
    assert made.status.state == "stopping"
    made.stop()
    assert (folder / "KILL").exists()
    os.kill(pid, signal.SIGKILL)  # a shell does not look at the file


def test_the_end_of_an_earlier_process_is_not_that_of_a_later_one(
    tmp_path, monkeypatch
):
    first = job(tmp_path / "runs")
    script(tmp_path, monkeypatch, "kill -9 $$")
    assert first.start().wait(20).state == "failed"
    assert "SIGKILL" in first.status.reason
    # Another kernel resumes the run before this one has looked at the end of its own.
    script(tmp_path, monkeypatch, HEARS_NOTHING)
    [second] = runs_in(tmp_path / "runs")
    assert second.start().status.state == "starting"
    [pid, *_] = wait_for(
        lambda: worker_pids(tmp_path / "runs/sweeps" / first.path.name)
    )
    try:
        assert first.status.state == second.status.state == "starting"
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: second.status.state == first.status.state == "failed")


def test_a_run_of_another_process_is_stopped_by_its_own_file(tmp_path, monkeypatch):
    made = job(tmp_path)
    made.path.mkdir()
    (made.path / "experiment.json").write_text('{"steps": 10}')
    with lock_folder(made.path, ValueError):
        assert made.status.state == "running"
        assert made.status.pid == os.getpid()
        made.stop()
        assert (made.path / "STOP").exists()
        assert made.status.state == "stopping"


@pytest.mark.parametrize(
    "pid", [-1, 0, 1, pytest.param(os.getpid(), id="own"), 2**22 + 1, "x"]
)
def test_no_signal_is_sent_to_a_number_that_a_file_holds(pid, tmp_path, monkeypatch):
    made = job(tmp_path)
    sweep = write(made._plan)
    group = sweep.plan.group_path(made.path.name)
    made.path.mkdir()
    (made.path / "experiment.json").write_text('{"steps": 10}')
    sent = []
    for name in ("kill", "killpg"):
        monkeypatch.setattr(os, name, lambda *arguments: sent.append(arguments))
    for is_locked in (False, True):
        for path in (made.path, group):
            stored = {"pid": pid, "state": "running", "host": "here", "since": "now"}
            for name in ("holder.json", "worker.json", "status.json"):
                (path / name).write_text(json.dumps(stored))
        with lock_folder(group, ValueError) if is_locked else contextlib.nullcontext():
            (group / "holder.json").write_text(json.dumps({"pid": pid}))
            for _ in range(2):
                Job.attach(made.path).stop()
            sweep.cancel(force=True)
            assert sweep.state in ("failed", "stopping")
    assert sent == []


# --- real processes ---------------------------------------------------------------------

_KERNEL = """
import os, sys
from long_run import long_run
from isa_toolkit.sweeps import Job
print(Job(long_run(), out=sys.argv[1]).start().path, flush=True)
os._exit(0)  # as a kernel that is killed
"""


def test_kernel_restart_kill_9_and_stop_cost_nothing(whole, tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    command = [sys.executable, "-c", _KERNEL, str(tmp_path)]
    kernel = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    path = Path(kernel.stdout.strip())
    assert path == tmp_path / whole.path.name
    # The kernel is gone, its worker is not.
    made = Job.attach(path)
    assert made.status.is_alive
    wait_for(lambda: made.status.step >= 500)
    assert made.status.state == "running"
    [other] = runs_in(tmp_path)
    assert other.status == made.status

    pid = made.status.pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: other.status.state == made.status.state == "failed")
    with pytest.raises(JobFailedError, match=r"killed.*Resume starts"):
        made.raise_if_failed()

    resumed = Job.attach(path).start()
    wait_for(lambda: resumed.status.state == "running")
    resumed.stop()
    assert resumed.wait(60).state == "stopped"
    assert other.status.step >= 500

    # By the experiment alone, as after `jupyter` itself was closed.
    last = Job(long_run(), out=tmp_path)
    assert last.status.state == "stopped"
    assert last.start().wait(60).state == "done"
    assert result_bytes(path) == result_bytes(whole.path)
