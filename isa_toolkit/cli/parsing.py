"""Commands are functions: their parameters are the flags, their docstrings the help.

The flags of a run are read from the dataclasses themselves: ``Experiment``,
``NetworkSettings`` and the settings of the method that ``--method`` names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    cast,
    get_args,
    get_type_hints,
)

import docstring_parser
import tyro
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from isa_toolkit.checks import match_name
from isa_toolkit.errors import InvalidValueError, IsaError

if TYPE_CHECKING:
    from isa_toolkit.datasets import Dataset
    from isa_toolkit.distillation import Experiment


# Flags that differ from the name of their field, or have a short form.
_FLAGS = {
    "images_per_class": tyro.conf.arg(aliases=("--ipc",)),
    "learning_rate": tyro.conf.arg(aliases=("--lr",)),
    "name": tyro.conf.arg(name="network"),
}

# What tyro calls the values of a flag.
_KINDS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "FLOAT FLOAT": "two numbers",
    "[INT [INT ...]]": "whole numbers",
    "[FLOAT [FLOAT ...]]": "numbers",
    "{[FLOAT [FLOAT ...]]}": "numbers",
    "[FLOAT FLOAT [FLOAT FLOAT ...]]": "pairs of numbers",
    "INT|{all}": "a whole number or all",
}

# Fields of ``Experiment`` that take several values in a sweep.
_GRID_FIELDS = ("seed", "start_from", "start_step")


@dataclasses.dataclass(frozen=True)
class DatasetFlags:
    """Flags of a data set: the arguments of ``load_dataset``.

    Attributes:
        dataset: Name of a known data set, or any name for the files under --root; without
            it, that of the distilled set, or digits.
        root: Path of the folder or file of a local data set.
        source: Where the data come from; without it, the other options decide.
        limit: Largest number of training images to load; without it, all.
        resolution: Side in pixels to crop the centre and resize to; without it, that of the
            known data set, or of the files.
        whitening: Preprocessing of the pixels; without it, the published one, or
            standardise for data of your own.
        mean: Channel means of pixels in [0, 1], one number per channel; without it, the
            published or the measured ones.
        std: Channel standard deviations of pixels in [0, 1], likewise.
    """

    dataset: str | None = None
    root: str | None = None
    source: Literal["digits", "local", "hub"] | None = None
    limit: int | None = None
    resolution: int | None = None
    whitening: Literal["standardise", "zca", "mtt_zca", "rfad_zca", "none"] | None = (
        None
    )
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def load(self, **defaults: Any) -> Dataset:
        """Return the data set; ``defaults`` are the values of flags that are not given."""
        from isa_toolkit.datasets import load_dataset

        fields = {
            name: value for name, value in vars(self).items() if value is not None
        }
        fields = {"dataset": "digits", **defaults, **fields}
        return load_dataset(fields.pop("dataset"), **fields)


@dataclasses.dataclass(frozen=True)
class ExperimentFlags:
    """Values of the flags of one experiment; nothing is checked before ``build``.

    Attributes:
        method: Name of the method.
        settings: Values of the method's settings.
        network: Values of ``NetworkSettings``.
        experiment: Values of the other fields of ``Experiment``.
    """

    method: str
    settings: Mapping[str, Any]
    network: Mapping[str, Any]
    experiment: Mapping[str, Any]

    def build(self) -> Experiment:
        """Return the experiment.

        Raises:
            ValueError: A value is out of its range, or a name is unknown.
            TypeError: A value has the wrong type.
        """
        from isa_toolkit.distillation import Experiment
        from isa_toolkit.networks import NetworkSettings

        return Experiment(
            **self.experiment,
            method=_settings_class(self.method)(**self.settings),
            network=NetworkSettings(**self.network),
        )


class GridFlags(ExperimentFlags):
    """Values of the flags of several experiments.

    The fields of ``_GRID_FIELDS`` and each setting of the method have a tuple of values.
    """

    def split(self) -> tuple[Experiment, dict[str, list[Any]]]:
        """Return the experiment of the first values, and the grid: name -> values.

        Raises:
            ValueError: A flag has no value, or the first experiment is not possible.
            TypeError: A value has the wrong type.
        """
        fields = {name: self.experiment[name] for name in _GRID_FIELDS}
        several = {**self.settings, **fields}
        for name, values in several.items():
            if not values:
                raise InvalidValueError(f"{name} must have at least one value.")
        first = ExperimentFlags(
            self.method,
            {name: values[0] for name, values in self.settings.items()},
            self.network,
            {**self.experiment, **{name: of[0] for name, of in fields.items()}},
        )
        grid = {name: list(of) for name, of in several.items() if len(of) > 1}
        return first.build(), grid


def run_command(
    command: Callable[..., int | None], prog: str, argv: Sequence[str]
) -> int:
    """Parse arguments, call a command with them and return its exit code.

    Args:
        command: Function whose parameters become flags; it returns an exit code or None.
        prog: Name of the program and the command.
        argv: Arguments after the command's name.

    Returns:
        Exit code of the command.

    Raises:
        IsaError: A flag is unknown, its value cannot be read, or the command raises; the
            sentence names flags.
        SystemExit: After ``--help``.
    """
    rule = _ExperimentRule(argv)
    registry = ConstructorRegistry()
    registry.struct_rule(rule)

    # tyro shows the lines of a description as they are in the source.
    described = inspect.cleandoc(command.__doc__ or "")
    inspect.unwrap(command).__doc__ = re.sub(r"\n {8}", " ", described)

    @functools.wraps(command)
    def call_later(**values: Any) -> Callable[[], int | None]:
        return functools.partial(command, **values)

    call, unknown = _parse(
        call_later,
        argv,
        prog=prog,
        description=described.partition("\n\nArgs:")[0],
        config=(tyro.conf.DisallowNone,),
        registry=registry,
    )
    names = {*inspect.signature(command).parameters, *rule.names}
    names |= {field.name for field in dataclasses.fields(DatasetFlags)}
    if unknown:
        reason = _why_unknown(unknown[0], rule.method, names)
        raise InvalidValueError(f"{reason} See {prog} --help.")
    try:
        return call() or 0
    except (IsaError, ValueError, TypeError, OSError) as error:
        if len(error.args) == 1:
            error.args = (_with_flags(str(error), names),)
        raise


def _parse(
    function: Callable[..., Any], argv: Sequence[str], **options: Any
) -> tuple[Any, list[str]]:
    """Return what a function returns for arguments, and the arguments it does not have."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(function, args=argv, return_unknown_args=True, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
    # tyro prints a box: a title, what is wrong, a rule, help.
    lines = [line.strip("│ ") for line in printed.getvalue().splitlines()[1:]]
    help_command = f" See {options['prog']} --help." if "prog" in options else ""
    raise InvalidValueError(f"{_why_unreadable(lines, argv)}.{help_command}")


def _why_unreadable(lines: Sequence[str], argv: Sequence[str]) -> str:
    """Return what tyro says of a value, in the form of ``checks.fail``, without a stop."""
    said = " ".join(itertools.takewhile(lambda line: line.strip("─╰╯"), lines))
    flags = re.findall(r"--[a-z][\w-]*", said)
    given = [word.partition("=") for word in argv]
    index = next((i for i, (name, *_) in enumerate(given) if name in flags), None)
    if index is None:
        return said.rstrip(".")
    flag, _, value = given[index]
    rest = itertools.takewhile(lambda word: word[:2] != "--", argv[index + 1 :])
    values = [value] if value else list(rest)
    if found := re.search(r"Expected (\d+) value", said):
        count = f"{found[1]} value{'s'[: found[1] != '1']}"
        return f"{flag} must have {count}, got {' '.join(values) or 'none'}"
    if found := re.search(r"Expected one of \((.*?),?\)", said):
        names = sorted(set(found[1].split(", ")) - {"'None'"})
        return f"{flag} must be one of {', '.join(names)}, got {values[0]!r}"
    # The usage of the flag, such as "--steps INT", is the first line of its help.
    usage = lines[lines.index("Argument helptext:") + 1].partition(",")[0]
    kind = usage.partition(" ")[2]
    got = " ".join(values if " " in kind else values[:1])
    return f"{flag} must be {_KINDS.get(kind, kind)}, got {got!r}"


class _ExperimentRule:
    """The rule by which tyro finds the flags of ``ExperimentFlags`` and ``GridFlags``.

    Args:
        argv: Arguments of the command. ``--method`` and ``--scale`` are read first: they
            decide which other flags there are, and their defaults; for the published
            number of steps so are the data set and ``--images-per-class``.

    Attributes:
        names: Names of the flags that were found.
        method: Name of the method; empty for a command that runs no experiment.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.names: set[str] = set()
        self.method = ""
        self._argv = argv

    def __call__(self, info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type not in (ExperimentFlags, GridFlags):
            return None
        from isa_toolkit.distillation import Experiment
        from isa_toolkit.methods import METHODS
        from isa_toolkit.networks import NetworkSettings
        from isa_toolkit.presets import ScaleName, published_rows, scale

        def read_first(
            method: str = "frepo",
            scale: str = "quick",
            dataset: str = "",
            images_per_class: Annotated[str, _FLAGS["images_per_class"]] = "1",
        ) -> tuple[str, str, str, int]:
            method = match_name("--method", method, METHODS)
            # What is no name or no number is refused later.
            with contextlib.suppress(InvalidValueError):
                dataset = match_name("--dataset", dataset, published_rows(method))
            count = int(images_per_class) if images_per_class.isdecimal() else 1
            scale = match_name("--scale", scale, get_args(ScaleName))
            return method, scale, dataset, count

        read, _ = _parse(read_first, self._argv, add_help=False)
        self.method, scale_name, dataset, count = read
        method = METHODS[self.method]
        size = scale(scale_name, self.method, dataset, count)
        defaults = {"steps": size.steps, "name": method.network, "width": size.width}
        if method.sampling != "none":
            defaults["batch_size"] = size.batch_size
        own = size.settings
        if self.method == "frepo":
            own = {"learning_rate": size.learning_rate}
        settings = _fields(method.settings, own)
        network = _fields(NetworkSettings, defaults)
        paths = {"dataset": str, "start_from": str | None}
        experiment = _fields(Experiment, defaults, types=paths)
        for replaced in ("method", "network"):
            del experiment[replaced]
        if info.type is GridFlags:
            settings = {name: _several(field) for name, field in settings.items()}
            for name in _GRID_FIELDS:
                experiment[name] = _several(experiment[name])

        def make(method: str, scale: str, **values: Any) -> ExperimentFlags:
            del method, scale  # read before
            parts = (
                {name: values[name] for name in part}
                for part in (settings, network, experiment)
            )
            return info.type(self.method, *parts)

        first = (
            StructFieldSpec(
                "method",
                _choices(METHODS),
                self.method,
                "Name of the method; its own options are the last ones of this list.",
            ),
            StructFieldSpec(
                "scale",
                _choices(get_args(ScaleName)),
                scale_name,
                "Size of the experiment: sets the defaults of steps, batch size, width and "
                "learning rate. 'quick' takes minutes on two cores, 'paper' is the "
                "published size.",
            ),
        )
        self.names = {"method", "scale", *experiment, *network, *settings}
        self.names ^= {"name", "network"}
        fields = (*experiment.values(), *network.values(), *settings.values())
        return StructConstructorSpec(make, (*first, *fields))


def _several(field: StructFieldSpec) -> StructFieldSpec:
    """Return a flag that takes any number of values."""
    hint, flag = get_args(field.type)
    several: Any = Annotated[tuple[hint, ...], flag]
    return dataclasses.replace(field, type=several, default=(field.default,))


def _settings_class(method: str) -> Any:
    from isa_toolkit.methods import METHODS

    return METHODS[method].settings


def _fields(
    kind: Any, defaults: Mapping[str, Any], types: Mapping[str, Any] | None = None
) -> dict[str, StructFieldSpec]:
    """Return the fields of a dataclass as flags, with the descriptions of its docstring.

    Args:
        kind: The dataclass.
        defaults: Values that replace defaults.
        types: Types that replace annotations.
    """
    hints = {**get_type_hints(kind), **(types or {})}
    texts = {
        one.arg_name: one.description
        for one in docstring_parser.parse(kind.__doc__ or "").params
    }
    return {
        field.name: StructFieldSpec(
            field.name,
            cast(Any, Annotated[hints[field.name], _FLAGS.get(field.name)]),
            defaults.get(field.name, field.default),
            (texts.get(field.name) or "").replace("``", "").replace("\n", " "),
        )
        for field in dataclasses.fields(kind)
    }


def _choices(names: Iterable[str]) -> Any:
    """Return the type of a name that is matched whatever its case."""
    return Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(names)}}}")]


def _why_unknown(flag: str, method: str, names: Collection[str]) -> str:
    """Return a sentence on an argument that the command does not have."""
    name = flag.partition("=")[0].lstrip("-").replace("-", "_")
    if method:
        from isa_toolkit.methods import METHODS

        others = [
            other
            for other in METHODS
            if name
            in {field.name for field in dataclasses.fields(_settings_class(other))}
        ]
        if others:
            return f"{method} has no {flag}, unlike {', '.join(others)}."
    close = difflib.get_close_matches(name, names, 1)
    hint = f" Did you mean {_as_flag(close[0])}?" if close else ""
    return f"{flag} is not an option.{hint}"


def _with_flags(sentence: str, names: set[str]) -> str:
    """Return "<name> must ..." with the flag's name in place of the argument's."""
    subject, must, rest = sentence.partition(" must ")
    words = re.findall(r"[\w-]+", subject)
    if not must or not names.issuperset(words):
        return sentence
    return re.sub(r"\w+", lambda word: _as_flag(word[0]), subject) + must + rest


def _as_flag(name: str) -> str:
    return "--" + name.replace("_", "-")
