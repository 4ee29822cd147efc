"""``isa-toolkit distill``: one run from the command line.

The flags of a method are the fields of its settings, so ``--method`` is read first.
"""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import tyro

from isa_toolkit import presets
from isa_toolkit.checks import as_text, check_integer, check_one_of, fail
from isa_toolkit.cli.common import DatasetOptions, parse, say, write_result

__all__ = ["DistillOptions", "run"]


@dataclasses.dataclass
class DistillOptions:
    """Options of the command, but for those of the method.

    Attributes:
        method: which method; its own options are listed below.
        data: which data.
        images_per_class: learned images of each class.
        scale: quick (minutes on two cores), small or paper: fills in steps, batch size
            and width where they are left out.
        steps: outer steps.
        batch_size: real images per step (of each class for DM, none for MTT).
        network: architecture to distil with; the method's published one if left out.
        width: channels of its first layer.
        depth: its layers; the published number for the resolution if left out.
        norm: its normalisation; the published one if left out.
        seed: of everything that is drawn.
        protocol: which step's images are the result: validation (the best on held-out
            training images), last, or released (the best on TEST images).
        validation_fraction: share of the training images held out.
        validation_every: steps between validations; a fifth of the run if left out.
        validation_networks: fresh networks per validation.
        validation_steps: their training steps.
        log_every: steps per row of metrics.
        out: folder for run folders.
        resume: go on with the run if its folder exists.
        checkpoint_s: seconds between checkpoints.
        progress: show a progress bar; on terminals only if left out.
        shards_limit_bytes: most that what a method makes first (MTT's experts) may take.
        placement: where the real images lie: device (preprocessed), device_bytes
            (preprocessed batch by batch) or host (streamed); by size if left out.
        devices: how many share each step's real images, which they divide; one if left
            out, or all there are with several processes.
        distributed: be one of several processes that find each other, as under Slurm.
        coordinator: be one of several processes; host:port of process 0.
        processes: how many there are.
        process_id: which of them this is, from 0.
        json: write JSON to standard output.
    """

    method: str = "frepo"
    data: tyro.conf.OmitArgPrefixes[DatasetOptions] = dataclasses.field(
        default_factory=lambda: DatasetOptions(dataset="digits")
    )
    images_per_class: int = 1
    scale: str = "quick"
    steps: int | None = None
    batch_size: int | None = None
    network: str | None = None
    width: int | None = None
    depth: int | None = None
    norm: str | None = None
    seed: int = 0
    protocol: str = "validation"
    validation_fraction: float = 0.1
    validation_every: int | None = None
    validation_networks: int = 2
    validation_steps: int | None = None
    log_every: int | None = None
    out: str = "runs"
    resume: bool = True
    checkpoint_s: float = 60.0
    progress: bool | None = None
    shards_limit_bytes: int = 32 * 2**30
    placement: str | None = None
    devices: int | None = None
    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None
    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    from isa_toolkit.distill import Experiment, distill, processes
    from isa_toolkit.methods import METHODS
    from isa_toolkit.methods.base import traits_of
    from isa_toolkit.networks import NetworkSettings

    name = check_one_of("--method", _method_in(words), METHODS)
    method = METHODS[name]
    plain = _unchecked(method)
    combined = dataclasses.make_dataclass(
        "Options",
        [("settings", tyro.conf.OmitArgPrefixes[plain], plain())],
        bases=(DistillOptions,),
    )
    combined.__doc__ = DistillOptions.__doc__
    options: Any = parse(
        combined,
        "distill",
        words,
        "Distil a data set. Run the same command again to go on after a stop.",
    )
    if _wants_others(options):
        processes.join(options.coordinator, options.processes, options.process_id)
    scale = presets.scale(options.scale, name)
    traits = traits_of(method)
    batch_size = options.batch_size
    if batch_size is None and traits.drawing != "none":
        batch_size = scale.batch_size
    known = {field.name for field in dataclasses.fields(Experiment)}
    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(DistillOptions)
        if field.name in known and field.name not in ("method", "network")
    }
    experiment = Experiment(
        **{
            **vars(options.data),
            **given,
            "steps": options.steps if options.steps is not None else scale.steps,
            "batch_size": batch_size,
            "method": method(**vars(options.settings)),
            "network": NetworkSettings(
                name=options.network or traits.network,
                width=options.width if options.width is not None else scale.width,
                depth=options.depth,
                norm=options.norm,
            ),
        }
    )
    finished = distill(
        experiment,
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
        chosen = f"images of step {selection['step']} (protocol {selection['protocol']}"
        accuracy = selection.get("accuracy")
        lines.append(
            f"{chosen})"
            if accuracy is None
            else f"{chosen}, accuracy {100 * accuracy:.1f} %)"
        )
        lines.append(f"next: isa-toolkit evaluate {finished.path}")
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


def _unchecked(method: type) -> type:
    """Return a dataclass with a method's fields and help, but not its checks.

    The option parser would wrap the sentence of a failed check in a box of its own.
    """
    kinds = get_type_hints(method)
    plain = dataclasses.make_dataclass(
        method.__name__,
        [
            (field.name, kinds[field.name], dataclasses.field(default=field.default))
            for field in dataclasses.fields(method)
        ],
        frozen=True,
    )
    plain.__doc__ = method.__doc__
    return plain


def _method_in(words: list[str]) -> str:
    """Return the value of ``--method``, which decides what other flags there are."""
    for place, word in enumerate(words):
        if word == "--method" and place + 1 < len(words):
            return words[place + 1]
        if word.startswith("--method="):
            return word.partition("=")[2]
    return DistillOptions.method
