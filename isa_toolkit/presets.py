"""Published settings of each method and data set, and the scales of an experiment.

All numbers stand in ``presets.toml``.
"""

from __future__ import annotations

import copy
import functools
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import Any, Literal

from isa_toolkit.annotations import typed
from isa_toolkit.checks import check_integer, check_one_of, match_name

ScaleName = Literal["quick", "small", "paper"]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of an experiment is run; everything else stays as published.

    Attributes:
        steps: Number of outer steps.
        width: Number of channels of the first layer.
        batch_size: Number of real images in one step, of each class for DM.
        learning_rate: Learning rate of FRePo's distilled images and labels.
        networks: Number of evaluation networks trained on each distilled set.
        fit: Arguments of ``FitSettings`` that say how the evaluation networks are
            trained; None for the published ones.
        settings: Settings of another method than FRePo, by name.
    """

    steps: int
    width: int
    batch_size: int
    learning_rate: float
    networks: int
    fit: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@typed
def preset(method: str, dataset: str, images_per_class: int) -> dict[str, Any]:
    """Return the published settings of a method for a data set.

    Where no source lists the row, a warning says which row is used: the nearest number of
    images per class (by ratio; the smaller of two equally near ones) of the same data set,
    or of CIFAR-10 for an unlisted data set. An unlisted data set goes without horizontal
    flips, since a flipped image may belong to another class. Rows of our own, such as those
    of the digits, serve any number of images per class.

    Args:
        method: Name of the method, such as ``"frepo"``.
        dataset: Name of the data set, such as ``"cifar10"``.
        images_per_class: Number of distilled images of each class, at least 1.

    Returns:
        The settings by name, among them ``source``. What no source gives is left out.

    Raises:
        TypeError: If ``images_per_class`` is not a whole number.
        ValueError: If it is below 1, or the method is unknown.

    Warns:
        UserWarning: If the row is not published.

    Example:
        >>> from isa_toolkit.presets import preset
        >>> row = preset("frepo", "cifar10", 10)
        >>> row["steps"], row["flips"], row["isa"]["drop_easy"]
        (500000, True, 0.2)

    Source: docs/algorithms.md, section 4; the released code that ``source`` names.
    """
    count = check_integer("images_per_class", images_per_class)
    name, of_all, datasets = _method(method)
    used = dataset if dataset in datasets else "cifar10"
    of_dataset, rows = _split(datasets[used])
    near = _nearest(count, map(int, rows))
    row = {**of_all, **of_dataset, **rows[str(near)]}
    # The digits have no published row, so a missing one needs no warning.
    if used == dataset and (near == count or row["source"].startswith("ours")):
        return row
    row["source"] = "ours; no published row"
    if used != dataset and "flips" in row:
        row["flips"] = False
    title = "FRePo" if name == "frepo" else name.upper()
    warnings.warn(
        f"no published settings of {title} for {dataset!r} at {count} images per class; "
        f"using those of {used!r} at {near}.",
        UserWarning,
        stacklevel=2,
    )
    return row


@typed
def published_rows(method: str) -> dict[str, tuple[int, ...]]:
    """Return the numbers of images per class of the rows that ``preset`` knows, by data set."""
    _, _, datasets = _method(method)
    return {name: tuple(map(int, _split(one)[1])) for name, one in datasets.items()}


@typed
def published_whitening(
    method: str, dataset: str, images_per_class: int
) -> dict[str, Any]:
    """Return ``whitening`` and ``std`` of the nearest published row, as far as it has them.

    Without them a method is published with the preprocessing of the data set.
    """
    _, of_all, datasets = _method(method)
    of_dataset, rows = _split(datasets.get(dataset, {}))
    row = {**of_all, **of_dataset}
    if rows:
        row |= rows[str(_nearest(images_per_class, map(int, rows)))]
    return {name: row[name] for name in ("whitening", "std") if name in row}


@typed
def scale(
    name: str, method: str = "frepo", dataset: str = "", images_per_class: int = 1
) -> Scale:
    """Return how much of an experiment a scale runs.

    Args:
        name: Name of the scale: ``"quick"``, ``"small"`` or ``"paper"``.
        method: Name of the method; one without values of its own takes FRePo's.
        dataset: Name of the data set: at scale ``"paper"`` the number of steps is that of
            its published row, if there is one.
        images_per_class: Number of distilled images of each class.

    Raises:
        ValueError: If the scale is unknown.

    Example:
        >>> from isa_toolkit.presets import scale
        >>> scale("quick").steps, scale("paper", method="mtt").steps
        (1000, 5000)
        >>> scale("paper", method="rcig", dataset="cifar10", images_per_class=1).steps
        15000
    """
    chosen = _scale(name)
    steps = chosen["steps"]
    chosen["steps"] = steps[str(_nearest(images_per_class, map(int, steps)))]
    own = chosen["methods"].get(method, {})
    if name == "paper" and images_per_class in published_rows(method).get(dataset, ()):
        row = preset(method, dataset, images_per_class)
        if "steps" in row and not row["source"].startswith("ours"):
            own["steps"] = row["steps"]
    shared = {one.name for one in fields(Scale)} - {"learning_rate"}
    chosen |= {key: own.pop(key) for key in shared & own.keys()}
    known = {key: chosen[key] for key in (*shared, "learning_rate") if key in chosen}
    return Scale(**known, settings=own)


@typed
def study_budget(name: str, dataset: str = "") -> dict[str, Any]:
    """Return the fields of ``isa_toolkit.figures.study.Budget`` at a scale.

    At scale ``"paper"`` the numbers of images per class are those that FRePo is published
    with on the data set, if it is.
    """
    budget = {"fit": None, **_scale(name)}
    del budget["methods"]
    steps = {int(count): number for count, number in budget["steps"].items()}
    sizes = published_rows("frepo").get(dataset, ()) if name == "paper" else ()
    budget["steps"] = dict.fromkeys(sizes, max(steps.values())) if sizes else steps
    return budget


def _scale(name: str) -> dict[str, Any]:
    """Return the values of a scale."""
    scales = table("scales")
    return scales[check_one_of("scale", name, scales)]


@typed
def evaluation_steps(num_distilled: int, protocol: str = "isa") -> int:
    """Return how many updates the final evaluation trains.

    Between two sizes of the published table the nearest one by ratio decides (the smaller
    of two equally near ones): 30 distilled images train as 10 do and 40 as 100 do. This
    rule is ours; the released code knows only the sizes in the table.

    Args:
        num_distilled: Number of distilled images of all classes, without flipped copies.
        protocol: Name of the protocol, ``"isa"`` or ``"frepo"``. They differ at 200, 1,000
            and 2,000 images.

    Source: docs/algorithms.md, section 7.1; evaluation scripts of FRePo and ISA.
    """
    tables = table("evaluation_steps")
    listed = tables[check_one_of("protocol", protocol, tables)]
    count = check_integer("num_distilled", num_distilled)
    return listed[str(_nearest(count, map(int, listed)))]


@typed
def evaluation_batch_size(num_distilled: int) -> int:
    """Return the batch size of the final evaluation of n images, ``min(n, 500)``."""
    return min(check_integer("num_distilled", num_distilled), 500)


@typed
def table(name: str) -> dict[str, Any]:
    """Return a copy of one table of ``presets.toml``."""
    return copy.deepcopy(_load()[check_one_of("name", name, _load())])


@functools.cache
def _load() -> dict[str, Any]:
    text = resources.files("isa_toolkit").joinpath("presets.toml").read_text("utf-8")
    return tomllib.loads(text)


def _method(method: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return a method's key, the values of all its rows, and its data sets."""
    tables = table("methods")
    name = match_name("method", method, tables)
    return name, *_split(tables[name])


def _split(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values and the sub-tables of a table."""
    values = {name: one for name, one in table.items() if not isinstance(one, dict)}
    tables = {name: one for name, one in table.items() if isinstance(one, dict)}
    return values, tables


def _nearest(count: int, listed: Iterable[int]) -> int:
    """Return the listed size nearest to ``count`` by ratio, the smaller on a tie."""
    # Exact comparison of ratios: logarithms would break ties by rounding.
    sizes = sorted(listed)
    below = max((size for size in sizes if size <= count), default=sizes[0])
    above = min((size for size in sizes if size >= count), default=sizes[-1])
    return below if count * count <= below * above else above
