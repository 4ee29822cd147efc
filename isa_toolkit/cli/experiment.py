"""Options that make an experiment, for the commands that run some.

The flags of a method are the fields of its settings, so ``--method`` is read first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import tyro

from isa_toolkit import presets
from isa_toolkit.checks import check_one_of
from isa_toolkit.cli.common import DatasetOptions, parse

if TYPE_CHECKING:
    from isa_toolkit.distillation import Experiment

__all__ = ["ExperimentOptions", "experiment_of", "parse_with_method"]

T = TypeVar("T", bound="ExperimentOptions")


@dataclasses.dataclass
class ExperimentOptions:
    """Options of an experiment, but for its seed and those of the method."""

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
    selection: str = "validation"
    validation_fraction: float = 0.1
    validation_every: int | None = None
    validation_networks: int = 2
    validation_steps: int | None = None
    log_every: int | None = None
    out: str = "runs"
    checkpoint_s: float = 60.0
    progress: bool | None = None
    shards_limit_bytes: int = 32 * 2**30
    json: bool = False


# What the commands say of these; their own options follow.
EXPERIMENT_HELP = """Options of the command, but for those of the method.

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
        selection: Rule that selects the step whose images are the result: validation (the
            best accuracy on held-out training images), last, or released (the best
            accuracy on TEST images).
        validation_fraction: share of the training images held out.
        validation_every: steps between validations; a fifth of the run if left out.
        validation_networks: fresh networks per validation.
        validation_steps: their training steps.
        log_every: steps per row of metrics.
        out: folder for run folders.
        checkpoint_s: seconds between checkpoints.
        progress: show a progress bar; on terminals only if left out.
        shards_limit_bytes: most that what a method makes first (MTT's experts) may take.
        json: write JSON to standard output.
"""


def parse_with_method(
    kind: type[T],
    command: str,
    words: list[str],
    about: str,
    *,
    lists: Sequence[str] = (),
) -> T:
    """Return the options of a command, with those of the method that they name.

    Args:
        kind: the dataclass of the command; its docstring adds to that of the experiment.
        command: name of the command.
        words: what the user wrote after it.
        about: one paragraph above the options.
        lists: settings of the method of which any number may be given.

    Returns:
        An instance of ``kind`` with the method's settings as ``settings``, unchecked; those of
        ``lists`` are tuples, empty where nothing was given.

    Raises:
        ValueError: an unknown method.
        SystemExit: after ``--help`` (0), or an unknown or malformed flag (2).
    """
    from isa_toolkit.methods import METHODS

    method = METHODS[check_one_of("--method", _method_in(words), METHODS)]
    plain = _unchecked(method.settings, lists)
    combined = dataclasses.make_dataclass(
        "Options",
        [("settings", tyro.conf.OmitArgPrefixes[plain], plain())],
        bases=(kind,),
    )
    _, _, own = (kind.__doc__ or "").partition("    Attributes:\n")
    combined.__doc__ = f"{EXPERIMENT_HELP}{own}"
    return parse(combined, command, words, about)


def experiment_of(
    options: Any, *, seed: int = 0, without: Sequence[str] = ()
) -> Experiment:
    """Return the experiment that options ask for.

    Args:
        options: from ``parse_with_method``.
        seed: of the run.
        without: settings of the method to leave at its defaults.

    Raises:
        ValueError: a value out of its range, an unknown name.
        TypeError: a value of the wrong kind.
    """
    import isa_toolkit.distillation as room
    from isa_toolkit.methods import METHODS
    from isa_toolkit.networks import NetworkSettings

    method = METHODS[options.method]
    scale = presets.scale(options.scale, options.method)
    batch_size = options.batch_size
    if batch_size is None and method.sampling != "none":
        batch_size = scale.batch_size
    chosen = {
        name: value
        for name, value in vars(options.settings).items()
        if name not in without
    }
    known = {field.name for field in dataclasses.fields(room.Experiment)}
    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(ExperimentOptions)
        if field.name in known and field.name not in ("method", "network")
    }
    return room.Experiment(
        **{
            **vars(options.data),
            **given,
            "seed": seed,
            "steps": options.steps if options.steps is not None else scale.steps,
            "batch_size": batch_size,
            "method": method.settings(**chosen),
            "network": NetworkSettings(
                name=options.network or method.network,
                width=options.width if options.width is not None else scale.width,
                depth=options.depth,
                norm=options.norm,
            ),
        }
    )


def _unchecked(method: type, lists: Sequence[str]) -> type:
    """Return a dataclass with a method's fields and help, but not its checks.

    The option parser would wrap the sentence of a failed check in a box of its own.
    """
    kinds = get_type_hints(method)
    fields: list[Any] = []
    for field in dataclasses.fields(method):
        kind, default = kinds[field.name], field.default
        if field.name in lists:
            each = tuple[float, float] if field.name == "segment" else float
            kind, default = tuple[each, ...], ()
        fields.append((field.name, kind, dataclasses.field(default=default)))
    plain = dataclasses.make_dataclass(method.__name__, fields, frozen=True)
    plain.__doc__ = method.__doc__
    return plain


def _method_in(words: list[str]) -> str:
    """Return the value of ``--method``, which decides what other flags there are."""
    for place, word in enumerate(words):
        if word == "--method" and place + 1 < len(words):
            return words[place + 1]
        if word.startswith("--method="):
            return word.partition("=")[2]
    return ExperimentOptions.method
