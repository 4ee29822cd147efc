"""The run folder: one process at a time, metrics that survive a crash."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isa_toolkit.distillation.store import RunStore
from isa_toolkit.errors import InvalidValueError, RunLockedError, RunLostError
from isa_toolkit.files import read_json

ROWS = [{"step": step, "kind": "train", "loss": step / 3} for step in (4, 8, 12)]
NEXT = {"step": 16, "kind": "train", "loss": 0.5}


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


def delete_the_lock(path: Path) -> None:
    (path / ".lock").unlink()


def replace_the_lock(path: Path) -> None:
    (path / ".lock").unlink()
    (path / ".lock").touch()


def move_the_folder(path: Path) -> None:
    path.rename(path.with_name("moved"))


LOSSES = [delete_the_lock, replace_the_lock, shutil.rmtree, move_the_folder]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_lock_that_was_lost_is_noticed_and_another_can_have_it(
    lose: Callable[[Path], None], tmp_path: Path
) -> None:
    store = RunStore(tmp_path / "run")
    lock = store.lock()
    lock.__enter__()
    store.check_lock()
    lose(store.path)
    with RunStore(store.path).lock():
        with pytest.raises(RunLostError, match=r"^The folder .* was deleted or moved"):
            store.check_lock()
        with pytest.raises(RunLostError):
            lock.__exit__(None, None, None)
        # That of the second one.
        assert (store.path / "holder.json").exists()
    with RunStore(store.path).lock():
        pass


def test_what_a_kill_left_unfinished_is_deleted_at_the_next_start(
    store: RunStore,
) -> None:
    unfinished = [
        ".status.json.0123456789abcdef", ".metrics.jsonl.0123456789abcdef",
        "snapshots/.step-00000008.safetensors.0123456789abcdef",
        "checkpoints/8.orbax-checkpoint-tmp-12/state",
    ]  # fmt: skip
    others = [".notes", "mine.0123456789abcdef", "snapshots/step-00000008.safetensors"]
    for name in (*unfinished, *others):
        (store.path / name).parent.mkdir(parents=True, exist_ok=True)
        (store.path / name).touch()
    with store.lock():
        assert not any((store.path / name).exists() for name in unfinished)
        assert all((store.path / name).exists() for name in others)
    assert list((store.path / "checkpoints").iterdir()) == []


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
    store.cut_metrics(store.mark["bytes"])
    store.append_metrics([NEXT])
    assert store.metrics() == [*ROWS, NEXT]


def test_rows_after_the_checkpoint_are_cut(store: RunStore) -> None:
    store.cut_metrics(0)
    store.append_metrics(ROWS[:2])
    mark = store.mark
    store.append_metrics(ROWS[2:])
    later = RunStore(store.path)
    assert later.metrics_at(mark) == ROWS[:2]
    later.cut_metrics(mark["bytes"])
    assert later.mark == mark
    assert later.own_metrics() == later.metrics() == ROWS[:2]
    later.cut_metrics(0)
    assert later.metrics() == []


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "empty": lambda lines: [],
    "the first row gone": lambda lines: lines[1:],
    "the last row gone": lambda lines: lines[:-1],
    "the last row torn": lambda lines: [*lines[:-1], lines[-1][:9]],
    "a row twice": lambda lines: [lines[0], *lines],
    "all rows twice": lambda lines: [*lines, *lines],
    "no JSON in the middle": lambda lines: [lines[0], b"garbage\n", *lines[1:]],
    "a row without step": lambda lines: [lines[0], b'{"kind": "train"}\n', *lines[1:]],
    "a list": lambda lines: [lines[0], b"[1]\n", *lines[1:]],
    "text for a number": lambda lines: [
        lines[0], b'{"step": "x", "kind": "train"}\n', *lines[1:]
    ],
    "bytes that are no text": lambda lines: [b"\xff\xfe", *lines],
    "another number": lambda lines: [lines[0].replace(b"1.3", b"1.4"), *lines[1:]],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*damaged and left out")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_metrics_are_found(
    change: Callable[[list[bytes]], list[bytes]], store: RunStore
) -> None:
    store.append_metrics(ROWS)
    path = store.path / "metrics.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    # By the next start, unless all of the rows are there, and whatever follows them.
    expected = ROWS if change is CHANGES["all rows twice"] else None
    assert RunStore(store.path).metrics_at(store.mark) == expected
    # By the process that writes them.
    if change is not CHANGES["another number"]:  # of the same length: only in the end
        with pytest.raises(InvalidValueError, match="was changed while the run worked"):
            store.append_metrics([NEXT])
    if expected is None:
        with pytest.raises(InvalidValueError, match="resumes from the last checkpoint"):
            store.own_metrics()
    # Readers get the rows that are left, each once.
    rows = store.metrics()
    assert [row for row in rows if row in ROWS] == rows or len(rows) == len(ROWS)


def test_metrics_that_were_deleted_are_missed(store: RunStore) -> None:
    store.append_metrics(ROWS)
    (store.path / "metrics.jsonl").unlink()
    assert RunStore(store.path).metrics_at(store.mark) is None
    with pytest.raises(InvalidValueError, match="was changed while the run worked"):
        store.append_metrics([NEXT])


def test_readers_are_warned_of_damaged_lines(store: RunStore) -> None:
    store.append_metrics(ROWS)
    with (store.path / "metrics.jsonl").open("a") as file:
        file.write('garbage\n{"step": 4, "kind": "train"}\n{"step": 16, "kind": "tr')
    with pytest.warns(UserWarning, match=r"^2 lines of .*metrics\.jsonl are damaged"):
        assert store.metrics() == ROWS


def test_an_experiment_is_written_once_and_another_refused(store: RunStore) -> None:
    store.write_experiment({"seed": 1}, "a" * 64)
    store.write_experiment({"seed": 1}, "a" * 64)
    with pytest.raises(ValueError, match="experiment bbbbbbbb, got aaaaaaaa"):
        store.write_experiment({"seed": 2}, "b" * 64)
    assert read_json(store.path / "experiment.json") == {"hash": "a" * 64, "seed": 1}


DAMAGED = [
    b"", b"[]", b"3", b'"x"', b"null", b"{}", b'{"hash": ', b'{"hash": 3}', b"\xff\xfe",
    b'{"starts": 3, "step": "x"}', b'{"starts": [3]}', b"[" * 100_000,
    b'{"step": ' + b"1" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=lambda one: repr(one[:20]))
def test_files_that_were_damaged_are_written_anew(
    content: bytes, store: RunStore
) -> None:
    def write() -> None:
        store.write_experiment({"seed": 1}, "a" * 64)
        store.write_environment()
        store.mark_done(24)

    write()
    names = ("experiment.json", "environment.json", "status.json")
    for name in names:
        (store.path / name).write_bytes(content)
    with pytest.warns(UserWarning, match="it is written anew") as caught:
        write()
    assert [str(one.message).partition(" was ")[0] for one in caught] == [
        str(store.path / name) for name in names
    ]
    write()
    assert read_json(store.path / "experiment.json") == {"hash": "a" * 64, "seed": 1}
    assert len((read_json(store.path / "environment.json") or {})["starts"]) == 2
    assert store.read_status()["status"] == "done"


def test_an_edited_setting_is_put_back(store: RunStore) -> None:
    store.write_experiment({"seed": 1}, "a" * 64)
    edited = json.dumps({"hash": "a" * 64, "seed": 2})
    (store.path / "experiment.json").write_text(edited)
    with pytest.warns(UserWarning, match=r"experiment\.json was damaged or changed"):
        store.write_experiment({"seed": 1}, "a" * 64)
    assert read_json(store.path / "experiment.json") == {"hash": "a" * 64, "seed": 1}


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


def test_a_stop_request_from_before_a_time_is_cleared(store: RunStore) -> None:
    path = store.path / "STOP"
    path.touch()
    made = path.stat().st_mtime
    store.clear_stop(before=made)
    assert store.stop_requested
    store.clear_stop(before=made + 1)
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
    for name in ("abc", "", "²"):  # of another origin
        (path.parent / f"step-{name}.safetensors").touch()
    assert list(store.snapshots()) == [0, 8, 100]
