"""The benchmark measures the program that runs use, and reports what it measured."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from isa_toolkit import benchmark
from isa_toolkit.cli import main
from isa_toolkit.errors import DivergedError

pytestmark = pytest.mark.slow

TINY = benchmark.SETTINGS["tiny"]


@pytest.fixture(scope="module")
def loop():
    return benchmark.timed_loop(TINY, benchmark.made_data(TINY), benchmark.isa(TINY))


def test_the_floor_counts_at_least_the_convolutions_of_the_targets(loop):
    rates = benchmark.Rates(flop_per_second=1e9, bytes_per_second=1e9)
    found = benchmark.floor(loop, rates)
    pixels, width = 8 * 8, TINY.width
    # Three blocks: the image side halves, the width doubles.
    channels = ((1, width), (width, 2 * width), (2 * width, 4 * width))
    least = sum(
        2 * 9 * a * b * (pixels // 4**depth) for depth, (a, b) in enumerate(channels)
    )
    assert found.flop > TINY.batch_size * least
    assert found.compute_seconds == found.flop / 1e9
    assert found.memory_seconds == found.bytes / 1e9
    # On a CPU bytes stay in caches: they are no lower bound.
    assert found.seconds == found.compute_seconds


def test_functions_take_turns_and_every_other_round_goes_backwards():
    called: list[str] = []
    turns = benchmark.take_turns(
        {"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3
    )
    assert "".join(called) == "abbaab"
    assert list(turns.name) == ["a", "b", "b", "a", "a", "b"]
    assert list(turns["round"]) == [0, 0, 1, 1, 2, 2]


def test_a_paired_ratio_is_the_reciprocal_of_the_inverted_ratio():
    times = {"a": ([2.0, 4.4, 5.7], 8.0), "b": ([1.0, 2.0, 3.0], 2.0)}
    turns = pd.DataFrame(
        {"name": name, "wall": wall, "cpu": cpu, "round": index}
        for name, (walls, cpu) in times.items()
        for index, wall in enumerate(walls)
    )
    ratio = benchmark.paired_ratio(turns, "a", "b")
    inverted = benchmark.paired_ratio(turns, "b", "a")
    assert ratio.mean == pytest.approx((2 * 2.2 * 1.9) ** (1 / 3))
    assert ratio.mean * inverted.mean == pytest.approx(1)
    assert ratio.low * inverted.high == pytest.approx(1)
    assert ratio.low < ratio.mean < ratio.high
    assert benchmark.paired_ratio(turns, "a", "b", "cpu").mean == pytest.approx(4)


def test_the_command_measures_the_smoke_suite(capsys, tmp_path):
    argv = ["--suite", "smoke", "--steps", "1", "--rounds", "2", "--bfloat16", "--json"]
    assert main(["bench", *argv, "--profile", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    tiny = result["settings"]["tiny"]
    loops = {"frepo", "isa", "isa, bfloat16"}
    assert set(tiny["milliseconds"]) == set(tiny["hours_500k_steps"]) == loops
    # Milliseconds a step times half a million steps.
    assert tiny["hours_500k_steps"]["isa"] == pytest.approx(
        tiny["milliseconds"]["isa"]["median"] * 500 / 3600
    )
    assert tiny["isa_over_frepo_ratio"]["n"] == 2
    assert tiny["bfloat16_over_default_ratio"]["n"] == 2
    assert tiny["over_floor"] > 0
    assert tiny["program_mib"] > 0
    assert list(tmp_path.rglob("*.xplane.pb"))


PLAIN = """
import json, pathlib
log = pathlib.Path(__file__).with_suffix(".log")

class Plain:
    def __init__(self, name, isa):
        if isa and name == "digits-1":
            raise ValueError("no ISA here")
        self.name, self.isa = name, isa

    def run(self, steps):
        with log.open("a") as file:
            print(json.dumps([self.name, self.isa, steps]), file=file)
"""


def test_another_implementation_takes_turns_with_the_step(capsys, tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(PLAIN)
    argv = [
        "--against",
        str(path),
        "--setting",
        "tiny",
        "--steps",
        "2",
        "--rounds",
        "3",
    ]
    assert main(["bench", *argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["setting"], one["isa"]) for one in found] == [
        ("tiny", False),
        ("tiny", True),
    ]
    for one in found:
        low, high = one["interval"]
        # Theirs does nothing.
        assert low <= one["plain_over_ours_ratio"] <= high
        assert one["plain_milliseconds"] < one["ours_milliseconds"]
        assert (one["rounds"], one["steps"]) == (3, 2)
    calls = [
        json.loads(line)
        for line in path.with_suffix(".log").read_text().split("\n")[:-1]
    ]
    for with_isa in (False, True):
        # One step that compiles, then the rounds.
        of_one = [steps for _, other, steps in calls if other == with_isa]
        assert of_one == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "argv", "code", "message"),
    [
        (None, [], 2, "There is no such file."),
        ("x = 1", [], 2, "It defines no such class."),
        ("1 / 0", [], 2, "raised ZeroDivisionError"),
        (PLAIN, ["--setting", "digits-1"], 1, "Plain('digits-1', True) fails"),
    ],
)
def test_another_implementation_that_fails_is_named(
    capsys, tmp_path, text, argv, code, message
):
    path = tmp_path / "plain.py"
    if text is not None:
        path.write_text(text)
    assert main(["bench", "--against", str(path), *argv]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["--setting", "digits-3"], "--setting must be one of"),
        (["--steps", "0"], "--steps must be"),
        (["--rounds", "1"], "--rounds must be"),
    ],
)
def test_bad_options_are_refused_before_anything_is_measured(capsys, argv, name):
    assert main(["bench", *argv]) == 2
    assert name in capsys.readouterr().err


def test_a_step_that_is_not_finite_is_not_timed(loop):
    states = loop._states
    loop._states = states._replace(images=states.images * np.nan)
    with pytest.raises(DivergedError, match="not finite"):
        loop.run(2)
