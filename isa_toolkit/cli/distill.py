"""``isa-toolkit distill``: one run from the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex

from isa_toolkit.checks import as_text, check_integer, fail
from isa_toolkit.cli.common import own_output, say, write_result
from isa_toolkit.cli.experiment import (
    ExperimentOptions,
    experiment_of,
    parse_with_method,
)

__all__ = ["DistillOptions", "run"]


@dataclasses.dataclass
class DistillOptions(ExperimentOptions):
    """Options of the command, besides those of an experiment and its method.

    Attributes:
        seed: of everything that is drawn.
        resume: go on with the run if its folder exists.
        placement: where the real images lie: device (preprocessed), device_bytes
            (preprocessed batch by batch) or host (streamed); by size if left out.
        devices: how many share each step's real images, which they divide; one if left
            out, or all there are with several processes.
        distributed: be one of several processes that find each other, as under Slurm.
        coordinator: be one of several processes; host:port of process 0.
        processes: how many there are.
        process_id: which of them this is, from 0.
    """

    seed: int = 0
    resume: bool = True
    placement: str | None = None
    devices: int | None = None
    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    from isa_toolkit.distillation import distill
    from isa_toolkit.distillation import distributed as processes

    options = parse_with_method(
        DistillOptions,
        "distill",
        words,
        "Distil a data set. Run the same command again to go on after a stop.",
    )
    with contextlib.ExitStack() as held:
        if _wants_others(options):
            held.enter_context(own_output())
            processes.join(options.coordinator, options.processes, options.process_id)
        finished = distill(
            experiment_of(options, seed=options.seed),
            out=options.out,
            resume=options.resume,
            checkpoint_s=options.checkpoint_s,
            progress=options.progress,
            shards_limit_bytes=options.shards_limit_bytes,
            placement=options.placement,
            devices=options.devices,
        )
    if not processes.is_leader():
        return 0
    status = finished.status
    result = {"run": str(finished.path), **status}
    lines = [f"{status['status']} at step {status['step']} of {status['steps']}"]
    if finished.is_done:
        selection = finished.distilled.manifest["selection"]
        result["selection"] = selection
        result["distilled"] = str(finished.path / "distilled.safetensors")
        chosen = f"images of step {selection['step']} (selection {selection['rule']}"
        accuracy = selection.get("accuracy")
        lines.append(
            f"{chosen})"
            if accuracy is None
            else f"{chosen}, accuracy {100 * accuracy:.1f} %)"
        )
        words = ["isa-toolkit", "evaluate", str(finished.path)]
        for name in ("root", "source", "limit"):
            value = getattr(options.data, name)
            words += [] if value is None else [f"--{name}", str(value)]
        lines.append(f"next: {shlex.join(words)}")
    else:
        say("Run the same command again to go on.")
    write_result(result, [*lines, str(finished.path)], as_json=options.json)
    return 0


def _wants_others(options: DistillOptions) -> bool:
    """Return whether this is to be one of several processes.

    Args:
        options: of the command.

    Raises:
        ValueError: flags that say no whole thing together, or a number out of its range.
    """
    flags = {
        "--coordinator": options.coordinator,
        "--processes": options.processes,
        "--process-id": options.process_id,
    }
    given = [flag for flag, value in flags.items() if value is not None]
    if not given:
        return options.distributed
    if options.distributed:
        raise fail(
            "--distributed",
            "be given without --coordinator, --processes and --process-id",
            as_text(f"{', '.join(given)} beside it"),
            "It finds them by itself.",
        )
    if len(given) < len(flags):
        raise fail(
            ", ".join(flags), "be given together", as_text(f"only {', '.join(given)}")
        )
    host, _, port = str(options.coordinator).rpartition(":")
    if not host or not port.isdigit():
        raise fail("--coordinator", "be host:port of process 0", options.coordinator)
    count = check_integer("--processes", options.processes)
    check_integer("--process-id", options.process_id, minimum=0)
    if options.process_id not in range(count):
        raise fail(
            "--process-id", f"be below --processes ({count})", options.process_id
        )
    return True
