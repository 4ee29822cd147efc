"""Two processes on one machine make the runs of one; the first decides and writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from tiny_run import metric_rows

from isa_toolkit.distillation import Run, distributed

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"
# Of the largest number. Measured: 3e-7 for images, 7e-8 for labels.
RESULT = 5e-5


class Two(NamedTuple):
    """What two processes reported, and where their runs lie."""

    reported: list[dict[str, Any]]
    out: Path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    out = tmp_path_factory.mktemp("two")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parents[1]}",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-W", "error", str(SUPPORT / "two_processes.py")),
                *(str(me), str(port), str(out)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in (0, 1)
    ]
    try:
        ended = [child.communicate(timeout=900) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    for child, (_, errors) in zip(children, ended, strict=True):
        assert child.returncode == 0, errors
    files = [out / f"reported-{me}.json" for me in (0, 1)]
    return Two([json.loads(file.read_text()) for file in files], out)


def only_run(folder: Path) -> Run:
    [path] = folder.iterdir()
    return Run.open(path)


def assert_alike(one: Run, other: Run) -> None:
    """Assert the same rows of metrics and, within rounding, the same result."""
    mine, its = (
        [json.loads(row) for row in metric_rows(run.path)] for run in (one, other)
    )
    assert [(row["kind"], row["step"]) for row in mine] == [
        (row["kind"], row["step"]) for row in its
    ]
    assert [row.get("kept") for row in mine] == [row.get("kept") for row in its]
    for step, file in one.snapshots.items():
        assert file.name == other.snapshots[step].name
    for name in ("images", "labels"):
        ours, theirs = (getattr(run.distilled_at(24), name) for run in (one, other))
        assert np.abs(ours - theirs).max() <= RESULT * np.abs(theirs).max()


def test_two_processes_write_the_run_of_one(two: Two, whole: Run) -> None:
    expected = [[whole.path.name, "done", 24]]
    assert [reported["whole"] for reported in two.reported] == [expected, expected]
    run = only_run(two.out / "whole")
    assert_alike(run, whole)
    names = [sorted(path.name for path in one.path.iterdir()) for one in (run, whole)]
    assert names[0] == names[1]
    # One process wrote: the run started once.
    environment = json.loads((run.path / "environment.json").read_text())
    assert len(environment["starts"]) == 1


def test_a_run_that_another_process_computed_is_written_by_the_first(
    two: Two, whole: Run
) -> None:
    assert two.reported[0]["grid"] == two.reported[1]["grid"]
    assert [run[1:] for run in two.reported[0]["grid"]] == [
        ["done", 4], ["done", 4], ["done", 24],
    ]  # fmt: skip
    name = two.reported[0]["grid"][2][0]
    assert name == whole.path.name
    assert_alike(Run.open(two.out / "grid" / name), whole)


def test_the_first_process_stops_both_and_both_go_on(two: Two, whole: Run) -> None:
    for reported in two.reported:
        assert reported["stop"] == [[whole.path.name, "stopped", 11]]
        assert reported["again"] == reported["done"] == [[whole.path.name, "done", 24]]
    assert_alike(only_run(two.out / "again"), whole)


def test_a_signal_to_either_process_stops_both(two: Two) -> None:
    first, second = two.reported
    assert first["signal"] == second["signal"]
    [[_, status, step]] = first["signal"]
    # The others learn of it after the chunk, and all stop after the next one.
    assert (status, step) == ("stopped", 7)


def test_an_error_of_the_first_process_ends_both(two: Two) -> None:
    first, second = two.reported
    assert first["failed"] == ["ZeroDivisionError", "of process 0"]
    assert second["failed"] == [
        "PeerFailedError",
        "Process 0 failed; its own output says why.",
    ]
    assert only_run(two.out / "failed").status["status"] == "failed"


def test_what_another_process_cannot_load_ends_both(two: Two) -> None:
    first, second = two.reported
    assert first["lost"] == [
        "PeerFailedError",
        "Process 1 failed; its own output says why.",
    ]
    assert second["lost"] == ["FileNotFoundError", "no data here"]


def test_processes_must_be_asked_alike_and_for_all_devices(two: Two) -> None:
    for reported in two.reported:
        assert reported["unlike"][0] == reported["some"][0] == "InvalidValueError"
        assert "got other settings in process 1" in reported["unlike"][1]
        assert reported["some"][1].startswith(
            "devices must be all 2 of the 2 processes, got 1."
        )
    for name in ("unlike", "some"):
        assert not (two.out / name).exists()


# --- here, in one process ---------------------------------------------------------------


def test_one_process_writes_and_agrees_with_itself() -> None:
    assert distributed.is_writer()
    assert not distributed.is_distributed()
    distributed.check_same(["anything"])
    assert distributed.together(lambda: [1, 2.5], 2).tolist() == [[1, 2.5]]
    tree = {"a": np.ones(2)}
    assert distributed.broadcast(tree) is tree
    with pytest.raises(ZeroDivisionError):
        distributed.together(lambda: [1 / 0], 1)


LOST = "UNKNOWN: Gloo all-reduce failed: Connection reset by peer\nmore of it"


@pytest.mark.parametrize("kind", [jax.errors.JaxRuntimeError, ValueError])
@pytest.mark.parametrize(
    ("message", "several", "shown"),
    [
        (LOST, True, "Another process of this run is gone"),
        (LOST, False, "Gloo"),
        ("RESOURCE_EXHAUSTED: 9 GiB", True, "9 GiB"),
        ("the connection must be closed", True, "the connection must"),
    ],
)
def test_only_a_lost_process_is_reported_as_one(
    monkeypatch, kind, message, several, shown
):
    monkeypatch.setattr(distributed, "is_distributed", lambda: several)
    expected = distributed.PeerLostError if shown.startswith("Another") else kind
    with pytest.raises(expected, match=shown), distributed.detect_lost_peer():
        raise kind(message)
