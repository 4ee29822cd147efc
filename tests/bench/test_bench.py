"""The benchmark measures the program that runs use, and says what it measured."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from isa_toolkit import bench
from isa_toolkit.bench.clock import Turn
from isa_toolkit.bench.phases import PHASES
from isa_toolkit.bench.settings import experiment_of, made_data
from isa_toolkit.cli import bench as command
from isa_toolkit.methods import DM

TINY = bench.bench_setting("tiny")


@pytest.fixture(scope="module")
def loops():
    data = made_data(TINY)
    return {
        key: bench.TimedLoop(experiment_of(TINY, data, with_isa=key == "isa"))
        for key in ("frepo", "isa")
    }


def test_one_dispatch_at_a_time_takes_the_same_steps_as_the_program(loops):
    timed = loops["isa"]
    python = bench.PythonLoop(timed)
    before = np.array(timed.state.images)
    timed.run(3)
    python.run(3)
    assert timed.step == python.step == 3
    # float32 noise, which the ridge solve of ten near samples and Adam's division enlarge.
    moved = np.linalg.norm(timed.state.images - before)
    apart = np.linalg.norm(timed.state.images - np.asarray(python.state.images))
    assert apart < 0.05 * moved
    for fused, single in zip(
        jax.tree.leaves(timed.state), jax.tree.leaves(python.state), strict=True
    ):
        apart = np.linalg.norm(np.asarray(fused, float) - np.asarray(single, float))
        assert apart <= 0.03 * np.linalg.norm(np.asarray(fused, float)) + 1e-6


def test_every_phase_is_timed_when_it_is_watched_and_none_else(loops):
    python = bench.PythonLoop(loops["isa"])
    python.run(1)
    assert not python.seconds
    python.run(1, timed=True)
    assert set(python.seconds) == set(PHASES)
    assert min(python.seconds.values()) > 0


def test_phases_of_another_method_are_refused(loops):
    class Other:
        settings = DM()

    with pytest.raises(TypeError, match="method must be FRePo, got DM"):
        bench.PythonLoop(Other())  # pyright: ignore[reportArgumentType]


def test_the_floor_counts_at_least_the_convolutions_of_the_targets(loops):
    rates = bench.Rates(flop_per_second=1e9, bytes_per_second=1e9)
    found = bench.floor(loops["isa"], rates)
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
    turns = bench.take_turns(
        {"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3
    )
    assert "".join(called) == "abbaab"
    assert {name: len(of) for name, of in turns.items()} == {"a": 3, "b": 3}


def test_a_paired_ratio_is_the_reciprocal_of_the_ratio_turned_round():
    over = [Turn(2.0, 8.0), Turn(4.4, 8.0), Turn(5.7, 8.0)]
    under = [Turn(1.0, 2.0), Turn(2.0, 2.0), Turn(3.0, 2.0)]
    ratio, turned = bench.paired_ratio(over, under), bench.paired_ratio(under, over)
    assert ratio.mean == pytest.approx((2 * 2.2 * 1.9) ** (1 / 3))
    assert ratio.mean * turned.mean == pytest.approx(1)
    assert ratio.low * turned.high == pytest.approx(1)
    assert ratio.low < ratio.mean < ratio.high
    assert bench.paired_ratio(over, under, "cpu").mean == pytest.approx(4)


def test_medians_come_with_the_smallest_and_the_largest():
    assert bench.spread([3.0, 1.0, 2.0, 9.0]) == (2.5, 1.0, 9.0, 4)


def test_a_step_that_is_not_finite_is_not_timed():
    loop = bench.TimedLoop(experiment_of(TINY, made_data(TINY), with_isa=True))
    loop.state = loop.state._replace(images=loop.state.images * np.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        loop.run(2)


def test_the_command_measures_the_smoke_suite(capsys):
    words = ["--suite", "smoke", "--steps", "1", "--repeats", "2", "--bfloat16", "True"]
    assert command.run([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    tiny = result["settings"]["tiny"]
    loops = {"frepo", "isa", "isa, bfloat16", "isa, python loop"}
    assert set(tiny["milliseconds"]) == set(tiny["hours_500k_steps"]) == loops
    # Milliseconds a step times half a million steps.
    assert tiny["hours_500k_steps"]["isa"] == pytest.approx(
        tiny["milliseconds"]["isa"]["median"] * 500 / 3600
    )
    assert tiny["isa_over_frepo_ratio"]["n"] == 2
    assert tiny["bfloat16_over_default_ratio"]["n"] == 2
    assert tiny["over_floor"] > 0
    assert tiny["program_mib"] > 0
    assert result["analysis_seconds"]["recall"] > 0
    assert tiny["evaluation_seconds"]["again"] < tiny["evaluation_seconds"]["first"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "fast"], "suite must be one of"),
        (["--setting", "digits-3"], "setting must be one of"),
        (["--steps", "0"], "steps must be"),
        (["--repeats", "1"], "repeats must be"),
        (["--loop", "slow"], "loop must be one of"),
    ],
)
def test_bad_options_are_refused_before_anything_is_measured(words, said):
    with pytest.raises(ValueError, match=said):
        command.run(words)
