"""The benchmark of one setting: everything in one process, as numbers and as lines."""

from __future__ import annotations

import functools
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from isa_toolkit import checks
from isa_toolkit.analysis.intervals import Interval
from isa_toolkit.bench.clock import Spread, paired_ratio, spread, take_turns
from isa_toolkit.bench.floor import Floor, Rates, floor
from isa_toolkit.bench.phases import PHASES, PythonLoop
from isa_toolkit.bench.settings import BenchSetting, experiment_of, made_data
from isa_toolkit.bench.steps import TimedLoop

__all__ = ["LOOPS", "BenchResult", "bench"]

LOOPS = ("fused", "python")
# FRePo's, on every data set.
_PUBLISHED_STEPS = 500_000
_COARSE = "isa, bfloat16"


class BenchResult(NamedTuple):
    """What a setting takes.

    setting: its name.
    milliseconds: "frepo", "isa", "isa, bfloat16" and "isa, python loop", what of them was
        measured -> per step on the clock.
    cpu_milliseconds: the same, of processor time over all threads.
    isa_over_frepo_ratio: of the fused loops, by the clock.
    isa_over_frepo_cpu_ratio: by processor time.
    python_over_fused_ratio: of the step with ISA; None if not measured.
    bfloat16_over_default_ratio: of the steps with ISA that read the real images in
        bfloat16 and at the device's default; None if not measured.
    hours_500k_steps: loop -> hours that the 500,000 published steps would take, by its
        median.
    phases: phase -> milliseconds per step, each waited for; empty if not measured.
    compile_seconds: of the fused loop with ISA, from lowered to ready.
    program_mib: what XLA sets aside for that program: arguments and scratch.
    peak_mib: of this process so far.
    floor: of a step with ISA.
    over_floor: its time over the floor's.
    """

    setting: str
    milliseconds: dict[str, Spread]
    cpu_milliseconds: dict[str, Spread]
    isa_over_frepo_ratio: Interval
    isa_over_frepo_cpu_ratio: Interval
    python_over_fused_ratio: Interval | None
    bfloat16_over_default_ratio: Interval | None
    hours_500k_steps: dict[str, float]
    phases: dict[str, float]
    compile_seconds: float
    program_mib: float
    peak_mib: float
    floor: Floor
    over_floor: float


def bench(
    setting: BenchSetting,
    rates: Rates,
    *,
    steps: int = 20,
    repeats: int = 7,
    loop: str = "python",
    bfloat16: bool = False,
) -> BenchResult:
    """Return how long a step takes on a setting.

    Args:
        setting: the shapes.
        rates: of the device.
        steps: in one round, at most 512.
        repeats: rounds; all loops take turns in each.
        loop: ``"python"``: the step with ISA is also taken one dispatch at a time, as
            research code does, in turns with the compiled loops; ``"fused"``: only those.
        bfloat16: time the step that reads the real images in bfloat16, too; on a CPU it
            is no faster.

    Returns:
        The figures.

    Raises:
        ValueError: a number below 1, an unknown loop.
    """
    checks.check_integer("steps", steps)
    checks.check_integer("repeats", repeats)
    checks.check_one_of("loop", loop, LOOPS)
    data = made_data(setting)
    loops = {
        key: TimedLoop(experiment_of(setting, data, with_isa=key == "isa"))
        for key in ("frepo", "isa")
    }
    if bfloat16:
        loops[_COARSE] = TimedLoop(
            experiment_of(setting, data, with_isa=True, target_precision="bfloat16")
        )
    began = time.perf_counter()
    program = loops["isa"].lowered().compile()
    compile_seconds = time.perf_counter() - began
    memory = program.memory_analysis()
    taken: dict[str, Callable[[], None]] = {
        key: functools.partial(one.run, steps) for key, one in loops.items()
    }
    for one in loops.values():
        one.run(steps)  # compiles
    python = None
    if loop != "fused":
        python = PythonLoop(loops["isa"])
        python.run(2)
        taken["isa, python loop"] = functools.partial(python.run, steps)
    turns = take_turns(taken, repeats)
    phases: dict[str, float] = {}
    if python is not None:
        python.run(1, timed=True)
        python.seconds.clear()
        python.run(steps, timed=True)
        phases = {name: 1000 * python.seconds[name] / steps for name in PHASES}
    least = floor(loops["isa"], rates)

    def per_step(kind: str) -> dict[str, Spread]:
        return {
            key: spread([1000 * getattr(turn, kind) / steps for turn in of])
            for key, of in turns.items()
        }

    walls = per_step("wall")
    return BenchResult(
        setting=setting.name,
        milliseconds=walls,
        cpu_milliseconds=per_step("cpu"),
        isa_over_frepo_ratio=paired_ratio(turns["isa"], turns["frepo"]),
        isa_over_frepo_cpu_ratio=paired_ratio(turns["isa"], turns["frepo"], "cpu"),
        python_over_fused_ratio=(
            None
            if python is None
            else paired_ratio(turns["isa, python loop"], turns["isa"])
        ),
        bfloat16_over_default_ratio=(
            paired_ratio(turns[_COARSE], turns["isa"]) if bfloat16 else None
        ),
        hours_500k_steps={
            key: one.median * _PUBLISHED_STEPS / 3.6e6 for key, one in walls.items()
        },
        phases=phases,
        compile_seconds=compile_seconds,
        program_mib=_program_mib(memory),
        peak_mib=_peak_mib(),
        floor=least,
        over_floor=walls["isa"].median / 1000 / least.seconds if least.seconds else 0.0,
    )


def _program_mib(memory: Any) -> float:
    kept = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return (kept + fresh) / 2**20


def _peak_mib() -> float:
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
