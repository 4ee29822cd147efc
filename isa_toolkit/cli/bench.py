"""``isa-toolkit bench``: the time of a step on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from isa_toolkit.cli.output import write_result

if TYPE_CHECKING:
    from isa_toolkit.benchmark import BenchResult, StepComparison


def bench(
    suite: Literal["cpu", "gpu", "comparison", "smoke"] | None = None,
    setting: str | None = None,
    steps: int | None = None,
    rounds: int = 7,
    bfloat16: bool | None = None,
    profile: str | None = None,
    against: str | None = None,
    json: bool = False,
) -> None:
    """Measure the time of a step: with and without ISA, and against the roofline.

    With --against, compare it with another implementation, with and without ISA, by
    processor time.

    Examples:
      isa-toolkit bench --suite cpu
      isa-toolkit bench --setting digits-10 --profile trace
      isa-toolkit bench --against plain_step.py

    Args:
        suite: Name of the suite; without it, the one for this device, or with --against
            the six settings from digits-1 to cifar-10.
        setting: Name of one setting, such as digits-10, in place of a suite.
        steps: Number of steps per round; without it 20, or with --against as many as take
            about a second.
        rounds: Number of rounds; the loops that are compared take turns in each.
        bfloat16: Also time the step that reads the real images in bfloat16; without this
            flag only on accelerators.
        profile: Path of the folder for a profiler trace of the step with ISA, whose phases
            are named scopes; TensorBoard and Perfetto read it.
        against: Path of a Python file that defines another implementation,
            Plain(name, isa) with run(steps), which takes whole steps at a setting such as
            digits-10. The file is run.
        json: Write JSON to standard output.
    """
    import jax
    import tqdm.auto

    from isa_toolkit import benchmark, checks

    if steps is not None:
        checks.check_integer("steps", steps)
    checks.check_integer("rounds", rounds, minimum=2)
    on_cpu = jax.default_backend() == "cpu"
    plain = None if against is None else benchmark.load_plain(against)
    if suite is None:
        suite = "comparison" if plain else "cpu" if on_cpu else "gpu"
    names = benchmark.SUITES[suite]
    if setting is not None:
        names = (checks.match_name("setting", setting, benchmark.SETTINGS),)
    # On terminals only; it goes to standard error.
    shown = tqdm.auto.tqdm(names, desc="settings", disable=None, leave=False)
    if plain is not None:
        found = [
            one
            for name in shown
            for one in benchmark.compare_with(
                plain, benchmark.SETTINGS[name], steps=steps, rounds=rounds
            )
        ]
        write_result(found, _comparison_lines(found), json=json)
        return
    rates = benchmark.measured_rates()
    device = jax.devices()[0].device_kind
    result: dict[str, Any] = {
        "device": device, "rates": rates._asdict(), "settings": {}
    }  # fmt: skip
    lines = [
        f"{device}: {rates.flop_per_second / 1e9:.0f} GFLOP/s in a product, "
        f"{rates.bytes_per_second / 2**30:.1f} GiB/s in a copy"
    ]
    for name in shown:
        found = benchmark.bench(
            benchmark.SETTINGS[name],
            rates,
            steps=steps or 20,
            rounds=rounds,
            bfloat16=not on_cpu if bfloat16 is None else bfloat16,
            profile=profile,
        )
        result["settings"][name] = found._asdict()
        lines += ["", *_lines(found)]
    write_result(result, lines, json=json)


def _comparison_lines(found: list[StepComparison]) -> list[str]:
    def ratio(mean: float, ends: tuple[float, float]) -> str:
        return f"{mean:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"

    rows = [
        ("setting", "", "plain ms", "ours ms", "plain / ours", "our ISA / our FRePo")
    ]
    rows += [
        (
            one.setting,
            "ISA" if one.isa else "FRePo",
            f"{one.plain_milliseconds:.1f}",
            f"{one.ours_milliseconds:.1f}",
            ratio(one.plain_over_ours_ratio, one.interval),
            ratio(one.ours_over_frepo_ratio, one.ours_over_frepo_interval)
            if one.isa
            else "",
        )
        for one in found
    ]
    return [
        "Processor time per step, medians; paired ratios with 95 % intervals",
        *(
            f"{a:<12}{b:<7}{c:>10}{d:>10}  {e:<20}  {f}".rstrip()
            for a, b, c, d, e, f in rows
        ),
    ]


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
