"""``isa-toolkit distill``: one run from the command line."""

from __future__ import annotations

import contextlib
from typing import Literal

import tyro

from isa_toolkit.checks import as_text, check_integer, fail
from isa_toolkit.cli.output import command_line, log, stdout_to_stderr, write_result
from isa_toolkit.cli.parsing import ExperimentFlags


def distill(
    experiment: tyro.conf.OmitArgPrefixes[ExperimentFlags],
    out: str = "runs",
    resume: bool = True,
    checkpoint_s: float = 60.0,
    keep_checkpoints: int | Literal["all"] = 3,
    progress: bool | None = None,
    prepared_limit_bytes: int = 32 * 2**30,
    placement: Literal["device", "device_bytes", "host"] | None = None,
    devices: int | None = None,
    distributed: bool = False,
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    json: bool = False,
) -> None:
    """Distil a data set.

    Run the same command again to continue a run that was stopped.

    Examples:
      isa-toolkit distill --dataset digits --ipc 1 --drop-easy 0.2 --segment 0 0.5
      isa-toolkit distill --method dm --dataset cifar10 --ipc 10 --scale small
      isa-toolkit distill --start-from runs/NAME --start-step 400 --drop-easy 0
      isa-toolkit distill --method mtt --help    (lists the options of MTT)

    Args:
        experiment: Experiment to run.
        out: Path of the folder of run folders.
        resume: Continue the run if its folder exists.
        checkpoint_s: Number of seconds between checkpoints.
        keep_checkpoints: Number of checkpoints to keep, the last ones, or all; other runs
            can start from them.
        progress: Show progress: a bar on terminals, a line every few seconds elsewhere.
        prepared_limit_bytes: Maximum size in bytes of precomputed data (MTT's expert
            trajectories).
        placement: Memory of the real images: device (preprocessed), device_bytes
            (preprocessed batch by batch) or host (streamed); without it, chosen by size.
        devices: Number of devices to split each batch over; without it, 1, or all of
            them with several processes.
        distributed: Run as part of a multi-process job and find its other processes
            automatically, for example under Slurm.
        coordinator: Address host:port of process 0 of a multi-process job.
        processes: Number of processes of the job.
        process_id: Index of this process, from 0.
        json: Write JSON to standard output.
    """
    from isa_toolkit.distillation import distill_grid
    from isa_toolkit.distillation import distributed as peers
    from isa_toolkit.distillation.experiment import DATA_FIELDS
    from isa_toolkit.distillation.signals import catch_signals, process_start

    joins = _joins_others(distributed, coordinator, processes, process_id)
    with stdout_to_stderr() if joins else contextlib.nullcontext():
        if joins:
            peers.join(coordinator, processes, process_id)
        # A file STOP may come while the libraries are imported.
        with catch_signals(since=process_start()):
            [run] = distill_grid(
                experiment.build(),
                out=out,
                resume=resume,
                checkpoint_s=checkpoint_s,
                keep_checkpoints=None
                if keep_checkpoints == "all"
                else keep_checkpoints,
                progress=progress,
                prepared_limit_bytes=prepared_limit_bytes,
                placement=placement,
                devices=devices,
            )
    if not peers.is_writer():
        return
    status = run.status
    result = {"run": str(run.path), **status}
    lines = [
        f"{status['status']} at step {status['step']} of {status['steps']}: {run.path}"
    ]
    if not run.is_done:
        log("Run the same command again to continue.")
        write_result(result, lines, json=json, kept=run.path)
        return
    selection = run.distilled.manifest["selection"]
    result["selection"] = selection
    result["distilled"] = str(run.path / "distilled.safetensors")
    chosen = f"images of step {selection['step']} ({selection['rule']}"
    accuracy = selection.get("accuracy")
    chosen += ")" if accuracy is None else f" accuracy {100 * accuracy:.1f} %)"
    data = {name: experiment.experiment[name] for name in DATA_FIELDS}
    lines += [
        chosen,
        f"next: {command_line('evaluate', run.path, **data)}",
        f"      {command_line('export', run.path)}",
    ]
    write_result(result, lines, json=json, kept=run.path)


def _joins_others(
    distributed: bool,
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
) -> bool:
    """Return whether this is one of several processes.

    Raises:
        ValueError: The flags contradict each other, or a number is out of its range.
    """
    flags = {
        "--coordinator": coordinator,
        "--processes": processes,
        "--process-id": process_id,
    }
    given = [flag for flag, value in flags.items() if value is not None]
    if not given:
        return distributed
    if distributed:
        raise fail(
            "--distributed",
            "be used without --coordinator, --processes and --process-id",
            as_text(", ".join(given)),
            "It finds them automatically.",
        )
    if len(given) < len(flags):
        raise fail(
            ", ".join(flags), "be given together", as_text(f"only {', '.join(given)}")
        )
    host, _, port = str(coordinator).rpartition(":")
    if not host or not port.isdigit():
        raise fail("--coordinator", "be host:port of process 0", coordinator)
    count = check_integer("--processes", processes)
    index = check_integer("--process-id", process_id, minimum=0)
    if index >= count:
        raise fail("--process-id", f"be below --processes ({count})", process_id)
    return True
