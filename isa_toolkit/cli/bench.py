"""``isa-toolkit bench``: the time of a step on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from isa_toolkit.cli.output import write_result

if TYPE_CHECKING:
    from isa_toolkit.benchmark import BenchResult


def bench(
    suite: Literal["cpu", "gpu", "smoke"] | None = None,
    setting: str | None = None,
    steps: int = 20,
    rounds: int = 7,
    bfloat16: bool | None = None,
    profile: str | None = None,
    json: bool = False,
) -> None:
    """Measure the time of a step: with and without ISA, and against the roofline.

    Examples:
      isa-toolkit bench --suite cpu
      isa-toolkit bench --setting digits-10 --profile trace

    Args:
        suite: Name of the suite; without it, the one for this device.
        setting: Name of one setting, such as digits-10, in place of a suite.
        steps: Number of steps per round.
        rounds: Number of rounds; the loops that are compared take turns in each.
        bfloat16: Also time the step that reads the real images in bfloat16; without this
            flag only on accelerators.
        profile: Path of the folder for a profiler trace of the step with ISA, whose phases
            are named scopes; TensorBoard and Perfetto read it.
        json: Write JSON to standard output.
    """
    import jax
    import tqdm.auto

    from isa_toolkit import benchmark, checks

    checks.check_integer("steps", steps)
    checks.check_integer("rounds", rounds, minimum=2)
    on_cpu = jax.default_backend() == "cpu"
    suite = suite or ("cpu" if on_cpu else "gpu")
    names = benchmark.SUITES[suite]
    if setting is not None:
        names = (checks.match_name("setting", setting, benchmark.SETTINGS),)
    rates = benchmark.measured_rates()
    device = jax.devices()[0].device_kind
    result: dict[str, Any] = {
        "device": device, "rates": rates._asdict(), "settings": {}
    }  # fmt: skip
    lines = [
        f"{device}: {rates.flop_per_second / 1e9:.0f} GFLOP/s in a product, "
        f"{rates.bytes_per_second / 2**30:.1f} GiB/s in a copy"
    ]
    # On terminals only; it goes to standard error.
    for name in tqdm.auto.tqdm(names, desc="settings", disable=None, leave=False):
        found = benchmark.bench(
            benchmark.SETTINGS[name],
            rates,
            steps=steps,
            rounds=rounds,
            bfloat16=not on_cpu if bfloat16 is None else bfloat16,
            profile=profile,
        )
        result["settings"][name] = found._asdict()
        lines += ["", *_lines(found)]
    write_result(result, lines, json=json)


def _lines(found: BenchResult) -> list[str]:
    lines = [f"{found.setting}, milliseconds per step: median (smallest to largest)"]
    for name, one in found.milliseconds.items():
        lines.append(
            f"  {name:<20}{one['median']:8.2f} ({one['min']:.2f} to {one['max']:.2f}), "
            f"of processor time {found.cpu_milliseconds[name]['median']:.2f}"
        )
    ratios = {
        "ISA over FRePo": found.isa_over_frepo_ratio,
        "ISA over FRePo, processor time": found.isa_over_frepo_cpu_ratio,
        "bfloat16 over the default": found.bfloat16_over_default_ratio,
    }
    lines += [
        f"  {name}: {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"
        for name, one in ratios.items()
        if one is not None
    ]
    hours = "; ".join(f"{k} {v:.2f}" for k, v in found.hours_500k_steps.items())
    floor = found.floor
    return [
        *lines,
        f"  hours for 500,000 steps: {hours}",
        f"  {found.over_floor:.1f} times the least time of {1000 * floor.seconds:.2f} ms: "
        f"{floor.flop / 1e9:.2f} GFLOP take {1000 * floor.compute_seconds:.2f} ms, "
        f"{floor.bytes / 2**20:.0f} MiB from memory {1000 * floor.memory_seconds:.2f} ms",
        f"  compiled in {found.compile_seconds:.1f} s; program {found.program_mib:.0f} MiB, "
        f"process {found.peak_mib:.0f} MiB at its peak",
    ]
