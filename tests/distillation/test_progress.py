"""Progress without a terminal: lines of text, flushed, and what validations say."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import pytest
from tiny_run import STEPS, tiny

from isa_toolkit.distillation import Run, distill, schedule
from isa_toolkit.distillation.progress import ProgressDisplay

COMPILED = "/jax/core/compile/backend_compile_duration"


def test_lines_have_the_step_the_loss_and_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressDisplay("run", steps=9, done=2, is_shown=True) as display:
        display.update(1, loss="0.5")
        display.announce("validation")
        display.log("accuracy 12 %")
        display.update(6, loss="0.25")
    written = capsys.readouterr()
    assert written.out == ""
    lines = written.err.splitlines()
    assert written.err.endswith("\n")
    assert "\r" not in written.err
    assert all(one != other for one, other in itertools.pairwise(lines))
    assert [line.split(" of 9, ")[0] for line in (lines[0], lines[1], lines[-1])] == [
        "run: step 2", "run: step 3", "run: step 9",
    ]  # fmt: skip
    assert "accuracy 12 %" in lines
    assert "loss=0.25" in lines[-1]
    assert "left" in lines[-1]


def test_what_is_not_shown_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay("run", steps=1, is_shown=False) as display:
        display.announce("validation")
        display.log("accuracy")
        display.update(1, loss="0.5")
    assert capsys.readouterr() == ("", "")


def test_each_validation_is_reported_and_none_comes_before_the_first_step(
    whole: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validate, calls = schedule.validate, []

    def counted(*arguments):
        calls.append(capsys.readouterr().err)
        return validate(*arguments)

    monkeypatch.setattr(schedule, "validate", counted)
    distill(tiny(), out=tmp_path)
    assert len(calls) == STEPS // 8 == (whole.metrics.kind == "validation").sum()
    assert f"step 1 of {STEPS}" in calls[0]
    assert all(call.splitlines()[-1].endswith("validation") for call in calls)
    assert "step 24: validation accuracy" in capsys.readouterr().err
    calls.clear()
    distill(tiny(selection="last", steps=2), out=tmp_path)
    assert calls == []


def test_a_run_of_another_seed_and_length_compiles_nothing(
    whole: Run, tmp_path: Path
) -> None:
    del whole
    compiled = []

    def listen(name: str, duration: float, **details: object) -> None:
        del duration
        if name == COMPILED:
            compiled.append(details)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        distill(tiny(seed=5, steps=11, drop_easy=0.4), out=tmp_path, progress=False)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
