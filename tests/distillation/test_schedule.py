"""Rows of metrics, and which step is the result."""

from __future__ import annotations

from tiny_run import tiny

from isa_toolkit.distillation import schedule


def test_rows_are_means_of_whole_intervals_and_the_rest_waits() -> None:
    settings = tiny(steps=10, log_every=4)
    pending = [{"loss": float(step)} for step in range(3, 10)]
    rows, rest = schedule.summarise(pending, settings, 9)
    # Steps 2 and 3 end the first interval (their mean is 3.5), 8 waits for the third.
    assert rows == [
        {"step": 4, "kind": "train", "loss": 3.5},
        {"step": 8, "kind": "train", "loss": 6.5},
    ]
    assert rest == [{"loss": 9.0}]
    rows, rest = schedule.summarise([*rest, {"loss": 10.0}], settings, 10)
    assert (rows, rest) == ([{"step": 10, "kind": "train", "loss": 9.5}], [])


def test_rows_do_not_depend_on_how_the_steps_came_in() -> None:
    settings = tiny(steps=20, log_every=3)
    infos = [{"loss": float(step * step)} for step in range(20)]
    at_once, _ = schedule.summarise(infos, settings, 20)
    one_by_one, pending = [], []
    for step, info in enumerate(infos, start=1):
        rows, pending = schedule.summarise([*pending, info], settings, step)
        one_by_one += rows
    assert one_by_one == at_once
    assert [row["step"] for row in at_once] == [3, 6, 9, 12, 15, 18, 20]
    assert not pending


def test_the_earliest_of_the_best_validations_is_the_result() -> None:
    rows = [
        {"kind": "train", "step": 4, "loss": 1.0},
        {"kind": "validation", "step": 4, "accuracy": 0.5},
        {"kind": "validation", "step": 8, "accuracy": 0.6},
        {"kind": "validation", "step": 16, "accuracy": 0.6},
    ]
    chosen = schedule.select_step(rows, tiny(selection="released"))
    assert chosen == {"rule": "released", "step": 8, "accuracy": 0.6}
    chosen = schedule.select_step(rows, tiny())
    assert chosen == {"rule": "validation", "step": 8, "accuracy": 0.6}
    last = schedule.select_step(rows, tiny(steps=20, selection="last"))
    assert last == {"rule": "last", "step": 20}
