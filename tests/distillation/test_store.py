"""The run folder: one process at a time, metrics that survive a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from isa_toolkit.distillation.store import RunStore
from isa_toolkit.errors import RunLockedError
from isa_toolkit.files import read_json

ROWS = [{"step": step, "kind": "train", "loss": step / 3} for step in (4, 8, 12)]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def test_a_second_lock_is_refused_and_named(store: RunStore) -> None:
    with store.lock():
        other = RunStore(store.path)
        with (
            pytest.raises(RunLockedError, match=f"in use by process {os.getpid()} on"),
            other.lock(),
        ):
            pytest.fail("two hold the lock")
        # The refused one has not taken the holder's name away.
        assert read_json(store.path / "holder.json") is not None
    assert read_json(store.path / "holder.json") is None
    with RunStore(store.path).lock():
        pass


def test_the_lock_is_freed_after_an_error(store: RunStore) -> None:
    with pytest.raises(KeyError), store.lock():
        raise KeyError
    with store.lock():
        pass


def test_metrics_are_read_back(store: RunStore) -> None:
    assert store.metrics() == []
    store.append_metrics([])
    assert not (store.path / "metrics.jsonl").exists()
    store.append_metrics(ROWS[:1])
    store.append_metrics(ROWS[1:])
    assert store.metrics() == ROWS


@pytest.mark.parametrize("torn", ['{"step": 16, "lo', "{", "\0\0\0", '{"step": 16}x'])
def test_a_torn_last_line_is_dropped(torn: str, store: RunStore) -> None:
    store.append_metrics(ROWS)
    with (store.path / "metrics.jsonl").open("a") as file:
        file.write(torn)
    assert store.metrics() == ROWS
    store.cut_metrics(12)
    store.append_metrics([{"step": 16}])
    assert store.metrics() == [*ROWS, {"step": 16}]


def test_rows_after_the_checkpoint_are_cut(store: RunStore) -> None:
    store.cut_metrics(5)
    store.append_metrics(ROWS)
    for step in (11, 8):  # the row of the next step goes, that of its own stays
        store.cut_metrics(step)
        assert store.metrics() == ROWS[:2]
    store.cut_metrics(-1)
    assert store.metrics() == []


def test_an_experiment_is_written_once_and_another_refused(store: RunStore) -> None:
    store.write_experiment({"seed": 1}, "a" * 64)
    store.write_experiment({"seed": 1}, "a" * 64)
    with pytest.raises(ValueError, match="experiment bbbbbbbb, got aaaaaaaa"):
        store.write_experiment({"seed": 2}, "b" * 64)
    assert read_json(store.path / "experiment.json") == {"hash": "a" * 64, "seed": 1}


def test_damaged_json_reads_as_missing(store: RunStore) -> None:
    (store.path / "status.json").write_bytes(b"\xff{")
    assert read_json(store.path / "status.json") is None
    assert read_json(store.path / "nothing.json") is None


def test_the_status_has_a_heartbeat(store: RunStore) -> None:
    store.write_status(status="running", step=3)
    status = json.loads((store.path / "status.json").read_text())
    assert (status["status"], status["step"]) == ("running", 3)
    assert status["heartbeat"].endswith("+00:00")


def test_a_stop_request_is_seen_and_cleared(store: RunStore) -> None:
    store.clear_stop()
    assert not store.stop_requested
    (store.path / "STOP").touch()
    assert store.stop_requested
    store.clear_stop()
    assert not store.stop_requested


def test_every_start_is_kept(store: RunStore) -> None:
    store.write_environment()
    store.write_environment()
    kept = read_json(store.path / "environment.json")
    assert kept is not None
    assert len(kept["starts"]) == 2


def test_snapshots_are_found_in_order(store: RunStore) -> None:
    for step in (100, 8, 0):
        path = store.snapshot_path(step)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(store.snapshots()) == [0, 8, 100]
