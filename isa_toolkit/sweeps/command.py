"""An experiment as the words of ``isa-toolkit distill``, for a child process.

The words name every setting, so the child's experiment has the hash of the parent's: the
run folder is known before the child starts.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

from isa_toolkit.distillation import Experiment
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.methods import METHODS
from isa_toolkit.networks import NetworkSettings

__all__ = ["check_loadable", "from_description", "where_of", "words"]

_PLAIN = (
    "images_per_class", "steps", "batch_size", "seed", "selection",
    "validation_fraction", "validation_every", "validation_networks",
    "validation_steps", "log_every",
)  # fmt: skip


def words(
    experiment: Experiment,
    resolved: ResolvedExperiment,
    *,
    out: Path,
    checkpoint_s: float = 60.0,
) -> list[str]:
    """Return the words after ``python -m isa_toolkit`` that run an experiment.

    Args:
        experiment: says where the data lie.
        resolved: the same experiment, with nothing left to a default.
        out: folder of run folders.
        checkpoint_s: seconds between checkpoints.

    Raises:
        TypeError: the data are arrays in this process, which no other can load.
    """
    check_loadable(experiment)
    settings = resolved.settings
    made = ["distill", "--method", settings.method.name]
    for name, value in where_of(experiment).items():
        made += _flag(name, value)
    for name in _PLAIN:
        made += _flag(name, getattr(settings, name))
    made += ["--network", resolved.network.name]
    for name in ("width", "depth", "norm"):
        made += _flag(name, getattr(resolved.network, name))
    made += _method_flags(settings.method)
    return [
        *made, "--out", str(out), "--checkpoint-s", str(checkpoint_s),
        "--progress", "False",
    ]  # fmt: skip


def check_loadable(experiment: Experiment) -> None:
    """Refuse an experiment whose data no other process can load.

    Args:
        experiment: as asked for.

    Raises:
        TypeError: its data are arrays in this process.
    """
    if not isinstance(experiment.dataset, str):
        raise TypeError(
            "dataset must be a name for a run in a process of its own, got a Dataset "
            f"({experiment.dataset.name!r}). Save the arrays as an .npz file and give "
            "its path as root, or call distill(experiment) in this process."
        )


def where_of(experiment: Experiment) -> dict[str, Any]:
    """Return where the data of an experiment lie, JSON-able.

    Args:
        experiment: as asked for, its data by name.

    Returns:
        ``dataset``, ``source``, ``root`` (absolute) and ``limit``, as ``Experiment`` and
        ``from_description`` take them.
    """
    root = None if experiment.root is None else str(Path(experiment.root).absolute())
    return {
        "dataset": experiment.dataset,
        "source": experiment.source,
        "root": root,
        "limit": experiment.limit,
    }


def _method_flags(method: Any) -> list[str]:
    kinds = get_type_hints(type(method))
    made = []
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if kinds[field.name] is bool:
            made.append(_dashed(field.name, "" if value else "no-"))
        else:
            made += _flag(field.name, value)
    return made


def _flag(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    parts = value if isinstance(value, tuple | list) else [value]
    return [_dashed(name), *map(str, parts)]


def _dashed(name: str, before: str = "") -> str:
    return f"--{before}{name.replace('_', '-')}"


def from_description(description: dict[str, Any], **where: Any) -> Experiment:
    """Return the experiment that a run folder's ``experiment.json`` describes.

    Args:
        description: as stored.
        where: ``source``, ``root`` and ``limit`` of the data, which are not stored; their
            name, if it is to be another than the stored one.

    Returns:
        The experiment, on the named data set.
    """
    method = dict(description["method"])
    settings = METHODS[method.pop("name")]
    return Experiment(
        method=settings(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in method.items()
            }
        ),
        network=NetworkSettings(**description["network"]),
        **{name: description[name] for name in _PLAIN},
        **{"dataset": description["dataset"]["name"], **where},
    )
