"""How fast it is: a step by its phases, ISA against plain FRePo, the loop, the floor."""

from isa_toolkit.bench.clock import Spread, paired_ratio, spread, take_turns
from isa_toolkit.bench.floor import Floor, Rates, floor, measured_rates
from isa_toolkit.bench.others import analysis_times, evaluation_times
from isa_toolkit.bench.phases import PythonLoop
from isa_toolkit.bench.report import LOOPS, BenchResult, bench
from isa_toolkit.bench.settings import SUITES, BenchSetting, bench_setting
from isa_toolkit.bench.steps import TimedLoop

__all__ = [
    "LOOPS",
    "SUITES",
    "BenchResult",
    "BenchSetting",
    "Floor",
    "PythonLoop",
    "Rates",
    "Spread",
    "TimedLoop",
    "analysis_times",
    "bench",
    "bench_setting",
    "evaluation_times",
    "floor",
    "measured_rates",
    "paired_ratio",
    "spread",
    "take_turns",
]
