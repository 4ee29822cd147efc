"""A room that is named like its main function can be called, however it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from isa_toolkit.rooms import make_callable

ROOT = Path(__file__).parents[1]


def test_a_package_answers_like_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("room_of_a_test")
    monkeypatch.setitem(sys.modules, "room_of_a_test", module)
    make_callable("room_of_a_test", lambda *args, **kwargs: (args, kwargs))
    assert module(1, two=2) == ((1,), {"two": 2})  # pyright: ignore[reportCallIssue]
    assert isinstance(module, ModuleType)


def test_rooms_are_callable_in_every_order_of_imports() -> None:
    code = """
import isa_toolkit.distill.loop
import isa_toolkit
for room, argument in ((isa_toolkit.distill, "out"), (isa_toolkit.evaluate, None)):
    assert callable(room), room
from isa_toolkit import distill, evaluate
assert callable(distill) and callable(evaluate)
try:
    distill(None)
except AttributeError:
    print("called")
assert isa_toolkit.distill.Experiment is isa_toolkit.Experiment
assert isa_toolkit.distill.loop.RECORD_LENGTH > 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "called"
