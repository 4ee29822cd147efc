"""``isa-toolkit bench``: how long a step takes here, part by part."""

from __future__ import annotations

import dataclasses
from typing import Any

from isa_toolkit.cli.common import parse, write_result

__all__ = ["BenchOptions", "run"]


@dataclasses.dataclass
class BenchOptions:
    """Options of the command.

    Attributes:
        suite: cpu, gpu or smoke; by the device if left out.
        setting: one setting of a suite, such as digits-10, in place of a suite.
        loop: python: take the step also one dispatch for each part, as research code
            does, beside the compiled loops; fused: only those.
        steps: in one round.
        repeats: rounds; what is compared takes turns in each.
        bfloat16: time the step that reads the real images in bfloat16, too; on accelerators
            only if left out.
        others: measure evaluation and analysis, too.
        json: write JSON to standard output.
    """

    suite: str | None = None
    setting: str | None = None
    loop: str = "python"
    steps: int = 20
    repeats: int = 7
    bfloat16: bool | None = None
    others: bool = True
    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    options = parse(
        BenchOptions,
        "bench",
        words,
        "Measure how long a step takes here: by phase, with and without ISA, in one "
        "program and one dispatch at a time, and over the floor of this device.",
    )
    from isa_toolkit import bench, checks

    if options.suite is not None:
        checks.check_one_of("suite", options.suite, bench.SUITES)
    if options.setting is not None:
        bench.bench_setting(options.setting)
    checks.check_integer("steps", options.steps)
    checks.check_integer("repeats", options.repeats, minimum=2)
    checks.check_one_of("loop", options.loop, bench.LOOPS)
    import jax
    import tqdm.auto

    on_cpu = jax.default_backend() == "cpu"
    suite = options.suite or ("cpu" if on_cpu else "gpu")
    names = (options.setting,) if options.setting else bench.SUITES[suite]
    rates = bench.measured_rates()
    result: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "rates": rates._asdict(),
        "settings": {},
    }
    lines = [
        f"{result['device']}: {rates.flop_per_second / 1e9:.0f} GFLOP/s in a product, "
        f"{rates.bytes_per_second / 2**30:.1f} GiB/s in a copy"
    ]
    # On terminals only; it goes to standard error.
    for name in tqdm.auto.tqdm(names, desc="settings", disable=None, leave=False):
        setting = bench.bench_setting(name)
        found = bench.bench(
            setting,
            rates,
            steps=options.steps,
            repeats=options.repeats,
            loop=options.loop,
            bfloat16=not on_cpu if options.bfloat16 is None else options.bfloat16,
        )
        result["settings"][name] = _plain(found)
        lines += ["", *_lines(found)]
        if options.others:
            times = bench.evaluation_times(setting)
            result["settings"][name]["evaluation_seconds"] = times
            lines.append(
                f"  evaluation, 2 networks, 100 steps: {times['again']:.2f} s "
                f"({times['first']:.2f} s with compiling)"
            )
    if options.others:
        times = bench.analysis_times(
            **({"points": 500, "map_points": 200} if suite == "smoke" else {})
        )
        result["analysis_seconds"] = times
        lines += ["", *(f"{name}: {value:.2f} s" for name, value in times.items())]
    write_result(result, lines, as_json=options.json)
    return 0


def _lines(found: Any) -> list[str]:
    lines = [f"{found.setting}, milliseconds per step: median (smallest to largest)"]
    for name, one in found.milliseconds.items():
        cpu = found.cpu_milliseconds[name]
        lines.append(
            f"  {name:<20}{one.median:8.2f} ({one.low:.2f} to {one.high:.2f}), "
            f"of processor time {cpu.median:.2f}"
        )
    lines.append(f"  ISA over FRePo: {_interval(found.isa_over_frepo_ratio)}")
    lines.append(
        f"  ISA over FRePo, processor time: {_interval(found.isa_over_frepo_cpu_ratio)}"
    )
    if found.python_over_fused_ratio is not None:
        lines.append(
            "  one dispatch at a time over one program: "
            f"{_interval(found.python_over_fused_ratio)}"
        )
    if found.bfloat16_over_default_ratio is not None:
        lines.append(
            "  real images in bfloat16 over the default: "
            f"{_interval(found.bfloat16_over_default_ratio)}"
        )
    hours = "; ".join(
        f"{name} {value:.2f}" for name, value in found.hours_500k_steps.items()
    )
    lines.append(f"  hours for 500,000 steps: {hours}")
    lines += [f"    {name:<20}{value:6.2f}" for name, value in found.phases.items()]
    lines.append(
        f"  {found.over_floor:.1f} times the floor of {1000 * found.floor.seconds:.2f} ms: "
        f"{found.floor.flop / 1e9:.2f} GFLOP take "
        f"{1000 * found.floor.compute_seconds:.2f} ms, {found.floor.bytes / 2**20:.0f} MiB "
        f"from memory {1000 * found.floor.memory_seconds:.2f} ms"
    )
    lines.append(
        f"  compiled in {found.compile_seconds:.1f} s; program {found.program_mib:.0f} MiB, "
        f"process {found.peak_mib:.0f} MiB at its peak"
    )
    return lines


def _interval(one: Any) -> str:
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _plain(value: Any) -> Any:
    """Return named tuples as dictionaries, for JSON."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value
