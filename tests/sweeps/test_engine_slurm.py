"""Job arrays, as far as they can be tried without a cluster: stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from long_run import wait_for
from stand_in_workers import BEGUN, DONE, result, script, states, three

from isa_toolkit.errors import InvalidTypeError, InvalidValueError
from isa_toolkit.sweeps import Sweep, engines
from isa_toolkit.sweeps.engines import SlurmEngine

pytestmark = pytest.mark.slow


class Slurm:
    """Stand-ins that note how they are called; ``sbatch`` keeps the script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.answer("sbatch", "cat > job.sh; echo '7;cluster'")
        for name in ("squeue", "scancel", "scontrol"):
            self.answer(name, "true")

    def answer(self, command: str, line: str) -> None:
        path = self.folder / command
        path.write_text(
            f'#!/bin/sh\ncd {self.folder}\necho "$*" >> {command}.txt\n{line}\n'
        )
        path.chmod(0o755)

    def calls(self, command: str) -> list[str]:
        path = self.folder / f"{command}.txt"
        return path.read_text().splitlines() if path.exists() else []

    def task(self, index: int, **variables: str) -> subprocess.Popen[bytes]:
        """Start a task of the array, as Slurm does."""
        known = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": str(70 + index)}
        return subprocess.Popen(
            ["bash", str(self.folder / "job.sh")],
            env={**os.environ, **known, **variables},
        )


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(engines, "_POLL_S", 0.0)
    return Slurm(tmp_path / "bin")


def launch(out: Path, **settings: Any) -> Sweep:
    return three(out).run("slurm", wait=False, **settings)


def test_without_slurm_the_message_has_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the command sbatch.*login node"):
        three(tmp_path).run("slurm")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error"),
    [({"slots": 0}, InvalidValueError), ({"requeues": "x"}, InvalidTypeError)],
)
def test_bad_options_are_refused(slurm, options, error):
    with pytest.raises(error, match=next(iter(options))):
        SlurmEngine(**options)


def test_slurm_gets_one_array_that_asks_for_the_options(slurm, tmp_path):
    made = launch(
        tmp_path / "runs", slots=2, time="12:00:00", gpus_per_node=2, exclusive=True
    )
    [flags] = slurm.calls("sbatch")
    assert flags.startswith("--parsable --array=0-2%2 ")
    for flag in (
        "--time=12:00:00", "--gpus-per-node=2", "--exclusive", "--job-name=isa-toolkit",
        "--output=/dev/null", "--requeue", "--signal=B:USR2@120",
    ):  # fmt: skip
        assert flag in flags.split()
    assert (made.state, states(made)) == ("queued", ["queued"] * 3)
    # Nothing that could be executed lies in the folder.
    kept = {path.name for path in made.path.rglob("*") if path.is_file()}
    assert kept <= {
        "plan.json",
        "launch.json",
        "job.json",
        "worker.json",
        ".lock",
        "holder.json",
    }


def test_what_sbatch_refuses_is_said(slurm, tmp_path):
    slurm.answer("sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    with pytest.raises(
        InvalidValueError, match=r"engine options: .* invalid partition"
    ):
        launch(tmp_path / "runs", partition="nowhere")


@pytest.mark.parametrize("name", ["runs", "100%j-%A'$(x)"])
def test_each_task_runs_the_worker_of_its_group(slurm, tmp_path, monkeypatch, name):
    script(tmp_path / "stand-in", monkeypatch, DONE)
    made = launch(tmp_path / name, setup="export GREETING=hello; echo $GREETING")
    for index in range(3):
        assert slurm.task(index).wait(60) == 0
    assert states(made) == ["done"] * 3
    log = made.plan.group_path(made.plan.runs[0].group) / "log.txt"
    assert log.read_text().splitlines()[-1] == "hello"
    assert not slurm.calls("scontrol")


SAVES = f"save() {{ echo saved >> $FOLDER/saved; {result(0, '')}; }}; trap save TERM"
STOPS = f"{SAVES}; {BEGUN}; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("number", "variables", "is_stopped", "requeued"),
    [
        (signal.SIGUSR2, {}, False, ["requeue 70"]),
        (signal.SIGUSR2, {"SLURM_RESTART_COUNT": "1"}, False, ["requeue 70"]),
        (signal.SIGUSR2, {"SLURM_RESTART_COUNT": "2"}, False, []),
        (signal.SIGUSR2, {}, True, []),
        (signal.SIGTERM, {}, False, []),
    ],
)
def test_a_task_at_its_time_limit_saves_and_is_queued_again(
    slurm, tmp_path, monkeypatch, number, variables, is_stopped, requeued
):
    script(tmp_path / "stand-in", monkeypatch, STOPS)
    made = launch(tmp_path / "runs", requeues=2)
    run = made.plan.runs[0]
    task = slurm.task(0, **variables)
    wait_for((tmp_path / "runs" / run.name / "experiment.json").exists)
    if is_stopped:
        (made.path / "STOP").touch()
    task.send_signal(number)
    assert task.wait(60) == 0
    assert (made.plan.group_path(run.group) / "saved").read_text() == "saved\n"
    assert slurm.calls("scontrol") == requeued
    assert (states(made)[0] == "queued") == bool(requeued)


def test_a_sweep_is_followed_until_slurm_has_forgotten_its_jobs(slurm):
    engine = SlurmEngine()
    assert not engine.poll()
    engine.start([Path("/a"), Path("/b")])
    slurm.answer("squeue", "echo '7_[0-1] PENDING'")
    assert engine.poll()
    slurm.answer(
        "squeue", "echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1"
    )
    assert engine.poll()
    engine.stop(force=False)
    assert not slurm.calls("scancel")
    engine.stop(force=True)
    assert slurm.calls("scancel") == ["7"]
    slurm.answer(
        "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
    )
    assert not engine.poll()


def test_jobs_that_have_ended_are_not_waited_for(slurm):
    engine = SlurmEngine()
    engine.start([Path("/a")])
    assert not engine.poll()
    assert slurm.calls("squeue") == ["--noheader --jobs 7"]
