"""The time of a step: ISA against plain FRePo, against the roofline, phase by phase.

What is timed is the compiled loop of ``distill``. Loops take turns in one process and
are compared round by round, since whatever else the machine does affects neighbours
alike.
"""

from __future__ import annotations

import functools
import importlib.util
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import PyTree

from isa_toolkit import checks
from isa_toolkit.analysis.intervals import Interval, mean_interval
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Experiment, loop
from isa_toolkit.distillation.sampling import train_data
from isa_toolkit.errors import DivergedError, IsaError
from isa_toolkit.methods import Batch, FRePo, method_of
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.networks import NetworkSettings, build
from isa_toolkit.networks.pool import take


class BenchSetting(NamedTuple):
    """The shapes of a run, which decide its speed.

    name: Name of the setting.
    image_shape: Height, width and channels of an image.
    images_per_class: Number of distilled images of each class.
    width: Number of channels of the first layer.
    batch_size: Number of real images per step.
    train: Number of real training images.
    test: Number of real test images, for evaluation.
    flips: Whether the distilled set is doubled with horizontal flips, as published.
    num_classes: Number of classes.
    """

    name: str
    image_shape: tuple[int, int, int]
    images_per_class: int
    width: int
    batch_size: int
    train: int
    test: int
    flips: bool = False
    num_classes: int = 10


SETTINGS = {
    one.name: one
    for one in (
        BenchSetting("tiny", (8, 8, 1), 1, 4, 32, 64, 32),
        BenchSetting("digits-1", (8, 8, 1), 1, 32, 256, 1438, 359),
        BenchSetting("digits-10", (8, 8, 1), 10, 32, 256, 1438, 359),
        BenchSetting("mnist-1", (28, 28, 1), 1, 32, 256, 10_000, 10_000),
        BenchSetting("mnist-10", (28, 28, 1), 10, 32, 256, 10_000, 10_000),
        BenchSetting("cifar-1", (32, 32, 3), 1, 64, 256, 10_000, 10_000, flips=True),
        BenchSetting("cifar-10", (32, 32, 3), 10, 64, 256, 10_000, 10_000, flips=True),
        BenchSetting(
            "cifar10-1", (32, 32, 3), 1, 128, 1024, 50_000, 10_000, flips=True
        ),
        BenchSetting(
            "cifar10-10", (32, 32, 3), 10, 128, 1024, 50_000, 10_000, flips=True
        ),
    )
}
_COMPARED = ("digits-1", "digits-10", "mnist-1", "mnist-10", "cifar-1", "cifar-10")
SUITES = {
    "cpu": _COMPARED[:4],
    "gpu": ("cifar10-1", "cifar10-10"),
    "smoke": ("tiny",),
    "comparison": _COMPARED,
}


def made_data(setting: BenchSetting) -> Dataset:
    """Return random images: times do not depend on what they show."""
    draws = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (count, *setting.image_shape)
        images = draws.integers(0, 256, shape, dtype=np.uint8)
        return images, np.arange(count, dtype=np.int32) % setting.num_classes

    return Dataset.from_arrays(
        *part(setting.train), *part(setting.test), name=f"noise-{setting.name}"
    )


def frepo(setting: BenchSetting) -> FRePo:
    """Return plain FRePo for a setting: it looks for no partner and drops nothing."""
    return FRePo(drop_easy=0, segment=(0, 0), partner="none", flips=setting.flips)


def isa(setting: BenchSetting, *, target_precision: Any = "default") -> FRePo:
    """Return FRePo with crucial samples and ISA for a setting."""
    return FRePo(flips=setting.flips, target_precision=target_precision)


def timed_loop(setting: BenchSetting, data: Dataset, method: FRePo) -> TimedLoop:
    """Return the loop of a method on the data of a setting."""
    return TimedLoop(
        Experiment(
            dataset=data,
            method=method,
            images_per_class=setting.images_per_class,
            network=NetworkSettings(width=setting.width),
            batch_size=setting.batch_size,
            selection="last",
        )
    )


class TimedLoop:
    """The compiled loop of an experiment; each ``run`` takes further steps from ``step``."""

    def __init__(self, experiment: Experiment) -> None:
        resolved = experiment.resolve()
        settings, data = resolved.settings, resolved.train
        self.settings = resolved.method
        self.network = build(
            resolved.network,
            image_shape=data.image_shape,
            num_classes=data.num_classes,
        )
        self.keys = loop.run_keys(settings.seed)
        self.traced = as_arrays(self.settings)
        self.batch_size, self.num_classes = resolved.batch_size, data.num_classes
        self.chunk = loop.chunk(self.network, batch_size=resolved.batch_size)
        self.data = train_data(resolved)
        state = loop.first_state(
            self.traced,
            self.network,
            self.keys.networks,
            *_first_images(data, settings.images_per_class),
        )
        # The loop takes a batch of runs, here one.
        self._one_run = jax.tree.map(lambda leaf: leaf[None], (self.traced, self.keys))
        self._states = jax.tree.map(lambda leaf: leaf[None], state)
        self._steps = settings.steps
        self.step = 0

    @property
    def state(self) -> Any:
        """State of the method."""
        return take(self._states, 0)

    def run(self, steps: int) -> None:
        """Take at most ``loop.MAX_CHUNK`` steps and wait for the last one.

        Raises:
            DivergedError: A step is not finite, so its time means nothing.
        """
        result = jax.block_until_ready(self.chunk(*self.arguments(steps)))
        self._states, done = result.state, int(result.done[0])
        self.step += done
        if done < steps:
            raise DivergedError(
                f"Step {self.step} of the benchmark is not finite. Lower the learning rate."
            )

    def arguments(self, steps: int) -> tuple[Any, ...]:
        """Return the arguments of the loop for its next steps."""
        numbers = [
            jnp.full((1,), n, jnp.int32) for n in (self.step, steps, self._steps)
        ]
        return (*self._one_run, self._states, self.data, *numbers)

    def lowered(self) -> Any:
        """Return the program of the loop, lowered but not compiled."""
        jitted: Any = self.chunk
        return jitted.lower(*self.arguments(1))

    def lowered_step(self) -> Any:
        """Return the program of one step, lowered but not compiled."""
        labels = jnp.zeros((self.batch_size, self.num_classes), jnp.float32)
        batch = Batch(self.data.images[: self.batch_size], labels)
        step = jax.jit(method_of(self.settings).step, static_argnums=1)
        return step.lower(self.traced, self.network, self.keys.steps, self.state, batch)


def _first_images(data: Dataset, count: int) -> tuple[PyTree, PyTree]:
    """Return the first real images of each class, with centred one-hot labels."""
    images = np.concatenate(
        [
            data.inputs("train")[data.train.labels == label][:count]
            for label in range(data.num_classes)
        ]
    )
    labels = np.repeat(np.eye(data.num_classes, dtype=np.float32), count, axis=0)
    return jnp.asarray(images), jnp.asarray(labels - 1 / data.num_classes)


# Timing: loops take turns, medians and spreads are reported, ratios are paired.


def take_turns(functions: Mapping[str, Callable[[], Any]], rounds: int) -> pd.DataFrame:
    """Return the times of functions that are called in turn and wait for their results.

    Every other round goes backwards, which removes a slow drift of the machine's speed.

    Returns:
        Columns ``name``, ``wall`` and ``cpu`` (of all threads) in seconds, ``round``.
    """
    rows = []
    names = list(functions)
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            wall, cpu = time.perf_counter(), time.process_time()
            functions[name]()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rows.append({"name": name, "wall": wall, "cpu": cpu, "round": index})
    return pd.DataFrame(rows)


def paired_ratio(
    turns: pd.DataFrame, over: str, under: str, kind: str = "wall"
) -> Interval:
    """Return the ratio of two functions' times, round by round, with its 95 % interval.

    The mean is over logarithms, so that the inverted ratio is its reciprocal. ``kind`` is
    ``"wall"`` or ``"cpu"``.
    """
    logs = np.log(turns.pivot(index="round", columns="name", values=kind))
    interval = mean_interval(np.asarray(logs[over] - logs[under]))
    mean, low, high = np.exp(interval[:3]).tolist()
    return interval._replace(
        mean=mean,
        low=low,
        high=high,
        half_width=(high - low) / 2,
        kind="rounds in one process",
    )


# Roofline: the least time of a step from what XLA counts and what the device can do.


class Rates(NamedTuple):
    """Measured peak rates of the device.

    flop_per_second: Rate of a large float32 matrix product at default precision.
    bytes_per_second: Rate of reads and writes of a copy that is too large for a cache.
    """

    flop_per_second: float
    bytes_per_second: float


class Floor(NamedTuple):
    """The least time of a step.

    flop: Operations that XLA counts in the step before it is compiled.
    bytes: Bytes that the compiled step reads and writes, as XLA counts them; what stays
        in a cache is counted, too.
    compute_seconds: ``flop`` over the device's rate.
    memory_seconds: ``bytes`` over the device's rate.
    seconds: The larger of the two; on a CPU the first one, since a small step's bytes stay
        in its caches and the second is no lower bound.
    """

    flop: float
    bytes: float
    compute_seconds: float
    memory_seconds: float
    seconds: float


def measured_rates() -> Rates:
    """Return the peak rates of the device: the best of several products and copies."""
    on_cpu = jax.default_backend() == "cpu"
    size, length = (1024, 2**24) if on_cpu else (8192, 2**28)
    draws = np.random.default_rng(0)
    matrix = jnp.asarray(draws.normal(size=(size, size)), jnp.float32)
    product = _best_seconds(jax.jit(jnp.matmul), matrix, matrix)
    copy = _best_seconds(jax.jit(lambda x: x + 1), jnp.zeros((length,), jnp.float32))
    return Rates(2 * size**3 / product, 2 * 4 * length / copy)


def _best_seconds(function: Callable[..., Any], *given: Any) -> float:
    def call() -> None:
        jax.block_until_ready(function(*given))

    call()  # compiles
    return take_turns({"": call}, 5).wall.min()


def floor(timed: TimedLoop, rates: Rates) -> Floor:
    """Return the least time of a step of a loop.

    Operations are counted before compilation: on a GPU XLA hands products to libraries,
    and no longer counts them there. Bytes are those of the compiled program, where
    arithmetic is fused. What XLA does not count makes the floor too low, never too high.
    """
    lowered = timed.lowered_step()
    flop = _counted(lowered, "flops")
    moved = _counted(lowered.compile(), "bytes accessed")
    compute, memory = flop / rates.flop_per_second, moved / rates.bytes_per_second
    on_cpu = jax.default_backend() == "cpu"
    least = compute if on_cpu else max(compute, memory)
    return Floor(flop, moved, compute, memory, least)


def _counted(program: Any, name: str) -> float:
    """Return one figure of XLA's cost analysis; 0 where it gives none."""
    cost = program.cost_analysis() or {}
    return float((cost[0] if isinstance(cost, list) else cost).get(name, 0))


# The benchmark of one setting.

_PUBLISHED_STEPS = 500_000  # of FRePo, on every data set


class BenchResult(NamedTuple):
    """Times of one setting, by loop: "frepo", "isa" and, if measured, "isa, bfloat16".

    setting: Name of the setting.
    milliseconds: Wall time per step: median, smallest and largest of the rounds.
    cpu_milliseconds: Processor time per step, over all threads.
    isa_over_frepo_ratio: Paired ratio of wall times.
    isa_over_frepo_cpu_ratio: Paired ratio of processor times.
    bfloat16_over_default_ratio: Paired ratio of wall times of ISA with real images read in
        bfloat16 and at the default precision; None if not measured.
    hours_500k_steps: Hours of the 500,000 published steps, from the median.
    compile_seconds: Seconds to compile the loop with ISA.
    program_mib: Memory that XLA reserves for that program: arguments and scratch.
    peak_mib: Peak memory of the device, or of this process on a CPU.
    floor: Least time of a step with ISA.
    over_floor: Ratio of the median and the least time.
    """

    setting: str
    milliseconds: dict[str, dict[str, float]]
    cpu_milliseconds: dict[str, dict[str, float]]
    isa_over_frepo_ratio: Interval
    isa_over_frepo_cpu_ratio: Interval
    bfloat16_over_default_ratio: Interval | None
    hours_500k_steps: dict[str, float]
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
    rounds: int = 7,
    bfloat16: bool = False,
    profile: str | Path | None = None,
) -> BenchResult:
    """Return the times of a step on a setting.

    Args:
        setting: Shapes of the run.
        rates: Peak rates of the device.
        steps: Number of steps per round, at most 512.
        rounds: Number of rounds; all loops take turns in each.
        bfloat16: Also time the step that reads the real images in bfloat16; on a CPU it
            is no faster.
        profile: Path of the folder for a trace of the step with ISA, which TensorBoard
            and Perfetto read; the phases are the step's named scopes. None for no trace.

    Raises:
        ValueError: A number is out of its range.
    """
    checks.check_integer("steps", steps)
    checks.check_integer("rounds", rounds, minimum=2)
    data = made_data(setting)
    loops = {
        "frepo": timed_loop(setting, data, frepo(setting)),
        "isa": timed_loop(setting, data, isa(setting)),
    }
    if bfloat16:
        loops["isa, bfloat16"] = timed_loop(
            setting, data, isa(setting, target_precision="bfloat16")
        )
    began = time.perf_counter()
    memory = loops["isa"].lowered().compile().memory_analysis()
    compile_seconds = time.perf_counter() - began
    # Anything with ``run(steps)`` can take part.
    functions = {name: functools.partial(one.run, steps) for name, one in loops.items()}
    for function in functions.values():
        function()  # compiles
    turns = take_turns(functions, rounds)
    if profile is not None:
        with jax.profiler.trace(str(profile)):
            functions["isa"]()

    def milliseconds(kind: str) -> dict[str, dict[str, float]]:
        table = turns.groupby("name")[kind].agg(["median", "min", "max"])
        rows: Any = 1000 * table / steps
        return rows.to_dict("index")

    wall = milliseconds("wall")
    least = floor(loops["isa"], rates)
    seconds = wall["isa"]["median"] / 1000
    program = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    program += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return BenchResult(
        setting=setting.name,
        milliseconds=wall,
        cpu_milliseconds=milliseconds("cpu"),
        isa_over_frepo_ratio=paired_ratio(turns, "isa", "frepo"),
        isa_over_frepo_cpu_ratio=paired_ratio(turns, "isa", "frepo", "cpu"),
        bfloat16_over_default_ratio=(
            paired_ratio(turns, "isa, bfloat16", "isa") if bfloat16 else None
        ),
        hours_500k_steps={
            name: one["median"] * _PUBLISHED_STEPS / 3.6e6 for name, one in wall.items()
        },
        compile_seconds=compile_seconds,
        program_mib=program / 2**20,
        peak_mib=_peak_mib(),
        floor=least,
        over_floor=seconds / least.seconds if least.seconds else 0.0,
    )


# The same step in another implementation.

_SECONDS, _MOST_STEPS = 1.0, 50  # of a round, where no number of steps is given


class StepComparison(NamedTuple):
    """Our step and another implementation's at one setting, by processor time.

    setting: Name of the setting.
    isa: Whether the step has crucial samples and ISA; otherwise it is plain FRePo.
    plain_over_ours_ratio: Paired ratio of processor times: above 1, ours is faster.
    interval: Ends of the 95 % interval of that ratio.
    plain_milliseconds: Processor time of their step, median of the rounds.
    ours_milliseconds: Processor time of our step, median of the rounds.
    ours_over_frepo_ratio: Paired ratio of our steps with and without ISA.
    ours_over_frepo_interval: Ends of its 95 % interval.
    rounds: Number of rounds.
    steps: Number of steps per round.
    """

    setting: str
    isa: bool
    plain_over_ours_ratio: float
    interval: tuple[float, float]
    plain_milliseconds: float
    ours_milliseconds: float
    ours_over_frepo_ratio: float
    ours_over_frepo_interval: tuple[float, float]
    rounds: int
    steps: int


def load_plain(path: str | Path) -> Callable[[str, bool], Any]:
    """Return ``Plain`` of a Python file, which is run.

    ``Plain(name, isa).run(steps)`` takes whole steps at a setting, with or without crucial
    samples and ISA, and waits for the last one.

    Raises:
        InvalidValueError: The file is no Python file with such a ``Plain``.
    """
    rule = "be the path of a Python file that defines Plain(name, isa) with run(steps)"
    # Registered, since dataclasses look for the module of a class.
    spec = importlib.util.spec_from_file_location("_isa_toolkit_plain", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise checks.fail("against", rule, str(path), "There is no such file.")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        fix = f"Running it raised {type(error).__name__}: {error}."
        raise checks.fail("against", rule, str(path), fix) from error
    plain = getattr(module, "Plain", None)
    if plain is None or not callable(getattr(plain, "run", None)):
        raise checks.fail("against", rule, str(path), "It defines no such class.")
    return plain


def compare_with(
    plain: Callable[[str, bool], Any],
    setting: BenchSetting,
    *,
    steps: int | None = None,
    rounds: int = 7,
) -> list[StepComparison]:
    """Return the comparisons at a setting without and with ISA, from the same rounds.

    Args:
        plain: The other implementation, as :func:`load_plain` returns it.
        setting: Shapes of the run.
        steps: Number of steps per round, at most 512; None for about a second of them.
        rounds: Number of rounds; the four steps take turns in each.

    Raises:
        IsaError: The other implementation fails at this setting.
        ValueError: A number is out of its range.
    """
    checks.check_integer("rounds", rounds, minimum=2)
    if steps is not None:
        checks.check_integer("steps", steps)
    data = made_data(setting)
    runs: dict[str, Callable[[int], Any]] = {
        "ours": timed_loop(setting, data, frepo(setting)).run,
        "ours, isa": timed_loop(setting, data, isa(setting)).run,
        "plain": _guarded(plain, setting.name, False),
        "plain, isa": _guarded(plain, setting.name, True),
    }
    for run in runs.values():
        run(1)  # compiles
    if steps is None:
        began = time.process_time()
        runs["ours"](2)
        each = (time.process_time() - began) / 2
        steps = max(1, min(_MOST_STEPS, round(_SECONDS / max(each, 1e-9))))
    functions = {name: functools.partial(run, steps) for name, run in runs.items()}
    turns = take_turns(functions, rounds)
    medians: Any = 1000 / steps * turns.groupby("name")["cpu"].median()
    own = paired_ratio(turns, "ours, isa", "ours", "cpu")
    results = []
    for with_isa in (False, True):
        end = ", isa" if with_isa else ""
        theirs, ours = f"plain{end}", f"ours{end}"
        ratio = paired_ratio(turns, theirs, ours, "cpu")
        results.append(
            StepComparison(
                setting=setting.name,
                isa=with_isa,
                plain_over_ours_ratio=ratio.mean,
                interval=(ratio.low, ratio.high),
                plain_milliseconds=float(medians[theirs]),
                ours_milliseconds=float(medians[ours]),
                ours_over_frepo_ratio=own.mean,
                ours_over_frepo_interval=(own.low, own.high),
                rounds=rounds,
                steps=steps,
            )
        )
    return results


def _guarded(
    plain: Callable[[str, bool], Any], name: str, with_isa: bool
) -> Callable[[int], Any]:
    """Return ``run`` of the other implementation; its errors name the setting."""

    def attempt(function: Callable[..., Any], *given: Any) -> Any:
        try:
            return function(*given)
        except Exception as error:
            raise IsaError(
                f"Plain({name!r}, {with_isa}) fails: {type(error).__name__}: {error}. "
                "Mend the file, or choose another setting with --setting."
            ) from error

    return functools.partial(attempt, attempt(plain, name, with_isa).run)


def _peak_mib() -> float:
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
