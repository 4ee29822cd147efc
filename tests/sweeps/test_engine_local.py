"""Groups wait for slots, each with its device, and are started again when they die."""

from __future__ import annotations

import joblib
import pytest
from stand_in_workers import DONE, reasons, result, stand_ins, states

from isa_toolkit.sweeps.engines import LocalEngine

COUNTED = "echo x >> $FOLDER/attempts"


def attempts(sweep) -> list[int]:
    return [
        len((sweep.plan.group_path(group) / "attempts").read_text().split())
        for group in sweep.plan.groups
    ]


def test_a_worker_that_dies_is_started_again_and_the_signal_is_the_reason(
    tmp_path, monkeypatch
):
    start = stand_ins(
        tmp_path, monkeypatch, COUNTED, f"[ $SEED = 0 ] && kill -9 $$; {DONE}"
    )
    ended = start(retries=2)
    assert (ended.state, states(ended)) == ("failed", ["failed", "done", "done"])
    assert attempts(ended) == [3, 1, 1]
    assert "SIGKILL" in reasons(ended)[0]


def test_bad_input_is_not_started_again(tmp_path, monkeypatch):
    bad = result(2, "The data are gone.")
    start = stand_ins(
        tmp_path, monkeypatch, COUNTED, f"[ $SEED = 0 ] && {{ {bad}; }}; {DONE}"
    )
    ended = start(retries=3)
    assert states(ended) == ["failed", "done", "done"]
    assert attempts(ended) == [1, 1, 1]
    assert reasons(ended)[0] == "The data are gone."


def test_a_crash_without_a_result_is_explained_by_the_log(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, "echo 'ImportError: no jax'; exit 1")
    ended = start(retries=0)
    assert states(ended) == ["failed"] * 3
    log = ended.plan.group_path(next(iter(ended.plan.groups))) / "log.txt"
    assert "ImportError: no jax" in log.read_text()
    assert "exit code 1" in reasons(ended)[0]


def test_no_more_run_than_there_are_slots_and_each_has_its_gpu(tmp_path, monkeypatch):
    start = stand_ins(
        tmp_path, monkeypatch,
        "mkdir $FOLDER/../at-$CUDA_VISIBLE_DEVICES || exit 2", "sleep 0.3",
        "rmdir $FOLDER/../at-$CUDA_VISIBLE_DEVICES",
        f"echo gpu $CUDA_VISIBLE_DEVICES; {DONE}",
    )  # fmt: skip
    ended = start(slots=None, gpus=[3, "MIG-7"])
    assert states(ended) == ["done"] * 3
    logs = [
        (ended.plan.group_path(group) / "log.txt").read_text().split()[-1]
        for group in ended.plan.groups
    ]
    assert logs[:2] == ["3", "MIG-7"]
    assert logs[2] in ("3", "MIG-7")


@pytest.mark.parametrize(
    ("cores", "slots", "gpus", "expected"),
    [
        (5, None, None, [None, None]),
        (1, None, None, [None]),
        (5, 3, None, [None] * 3),
        (5, None, [0, 2], ["0", "2"]),
        (5, 3, ["a", "b"], ["a", "b", "a"]),
    ],
)
def test_slots_are_gpus_or_pairs_of_cores(monkeypatch, cores, slots, gpus, expected):
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    made = LocalEngine(slots=slots, gpus=gpus).environments
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in made] == expected
