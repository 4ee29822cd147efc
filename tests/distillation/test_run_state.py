"""What one run remembers between its chunks, and when it gives up."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny_run import tiny

from isa_toolkit.distillation.run_state import RunState, Steps, writing
from isa_toolkit.distillation.signals import StopRequest
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.errors import DivergedError


class Infos(NamedTuple):
    """Diagnostics of some steps."""

    loss: np.ndarray
    member: np.ndarray
    failure: np.ndarray


def steps(count: int, *, failure: int = 0, is_finite: bool = True) -> Steps:
    failures = np.zeros(count, np.int32)
    failures[-1] = failure
    losses = np.arange(count, dtype=np.float32)
    return Steps(count, Infos(losses, np.zeros(count), failures), is_finite)


def made(path: Path, **changes: Any) -> RunState:
    return RunState(tiny(**changes).resolve(), RunStore(path), (), StopRequest())


@pytest.fixture
def run(tmp_path: Path) -> RunState:
    return made(tmp_path)


@pytest.mark.parametrize(
    ("changes", "events", "due"),
    [
        ({"validation_every": 8}, [8, 8, 16, 20], [0, 8, 16, 20]),
        ({"validation_every": 0, "selection": "last"}, [20] * 4, []),
        (
            {"validation_every": 8, "selection": "released"},
            [1, 8, 16, 20],
            [0, 1, 8, 16, 20],
        ),
    ],
)
def test_the_loop_comes_back_at_each_validation_and_at_the_end(
    changes: Any, events: list[int], due: list[int], tmp_path: Path
) -> None:
    run, seen, validated = made(tmp_path, steps=20, **changes), [], []
    for run.step in range(21):
        if run.step in (0, 7, 8, 16):
            seen.append(run.step + run.steps_until_event)
        if run.is_validation:
            validated.append(run.step)
    assert (seen, validated) == (events, due)


def test_steps_are_counted_and_their_diagnostics_await_a_row(run: RunState) -> None:
    run.advance(steps(3), seconds=2.0, own_seconds=0.5)
    assert run.steps_per_s == 0  # the first chunk compiles
    run.advance(steps(2), seconds=1.0, own_seconds=0.5)
    assert (run.step, run.elapsed_s, run.unsaved_s) == (5, 1.0, 3.0)
    assert run.steps_per_s == 2
    assert run.steps_until_event == 3
    # The member of the pool is no quantity to average.
    assert run.pending == [{"loss": loss} for loss in (0.0, 1.0, 2.0, 0.0, 1.0)]


@pytest.mark.parametrize(
    ("result", "quantity"),
    [
        ({"failure": 1}, "target features"),
        ({"is_finite": False}, "the state after the update"),
    ],
)
def test_divergence_names_the_step_and_the_quantity(
    run: RunState, result: Any, quantity: str
) -> None:
    run.advance(steps(4), seconds=1, own_seconds=1)
    assert run.failure is None
    run.advance(steps(3, **result), seconds=1, own_seconds=1)
    assert isinstance(run.failure, DivergedError)
    sentence = rf"At step 6 .*{quantity} became not finite"
    assert re.match(sentence, str(run.failure))
    assert run.step == 4


def test_a_stop_is_requested_by_signal_or_file(run: RunState) -> None:
    assert not run.is_stop_requested
    (run.path / "STOP").touch()
    assert run.is_stop_requested
    run.store.clear_stop()
    run.request.requested = True
    assert run.is_stop_requested


def test_errors_of_the_disk_name_the_folder_and_keep_their_type(tmp_path: Path) -> None:
    sentence = f"{tmp_path.name} cannot be written"
    with pytest.raises(PermissionError, match=sentence), writing(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError, match="not a folder"), writing(file):
        file.mkdir()
