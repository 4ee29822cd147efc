"""Grids of experiments: every combination of settings, and which can share a program."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isa_toolkit import checks
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment, as_json
from isa_toolkit.errors import InvalidTypeError
from isa_toolkit.methods.base import static_fields

Grid = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Iterable[Any]]]

# Fields that are not part of a program: traced values, the first state, and what happens
# between chunks.
_FREE = (
    "seed", "steps", "method", "validation_every", "validation_networks",
    "validation_steps", "log_every", "start_from", "start_step",
)  # fmt: skip


def expand_grid(
    experiments: Experiment | Sequence[Experiment], grid: Grid | None = None
) -> list[Experiment]:
    """Return every experiment with every combination of the values of a grid.

    Values by name, as in scikit-learn's ``ParameterGrid``: a name is a setting of the method,
    ``seed`` or another field of ``Experiment``. For each experiment all combinations in the
    order of ``ParameterGrid``: names are sorted, and the last one varies fastest.
    """
    bases = as_experiments(experiments)
    if not grid:
        return bases
    from sklearn.model_selection import ParameterGrid  # seconds, for a grid only

    try:
        combinations = list(ParameterGrid(grid))
    except (TypeError, ValueError) as error:
        raise InvalidTypeError(
            "grid must be a dict of lists such as {'drop_easy': [0, 0.1], 'seed': "
            f"range(3)}}, or a list of such dicts, got {grid!r}."
        ) from error
    return [_changed(base, changes) for base in bases for changes in combinations]


def as_experiments(
    experiments: Experiment | Sequence[Experiment],
) -> list[Experiment]:
    """Return one experiment, or several, as a list."""
    found = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    if not found or not all(isinstance(one, Experiment) for one in found):
        raise InvalidTypeError(
            "experiment must be an Experiment or a non-empty list of them, got "
            f"{type(experiments).__name__}."
        )
    return found


def group_by_program(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """Return experiments in groups that can share one compiled program each.

    They may differ in seed, steps, validation and the traced settings of the method.
    """
    groups: dict[str, list[Experiment]] = {}
    for one in experiments:
        groups.setdefault(program_key(one), []).append(one)
    return list(groups.values())


def program_key(experiment: Experiment) -> str:
    """Return what decides the compiled program of an experiment, as text."""
    method: Any = experiment.method
    plain = {
        field.name: _plain(getattr(experiment, field.name))
        for field in dataclasses.fields(experiment)
        if field.name not in _FREE
    }
    plain["method"] = [method.name, static_fields(method)]
    return json.dumps(as_json(plain), sort_keys=True, default=str)


def resolve_together(experiments: Sequence[Experiment]) -> list[ResolvedExperiment]:
    """Return the experiments of one program resolved; their data are loaded once."""
    first, *others = experiments
    resolved = first.resolve()
    return [resolved, *(other.resolve(reuse_data_from=resolved) for other in others)]


def _changed(base: Experiment, changes: Mapping[str, Any]) -> Experiment:
    method: Any = base.method
    own = {field.name for field in dataclasses.fields(Experiment)}
    known = {field.name for field in dataclasses.fields(method)}
    for name in changes:
        if name not in own | known:
            checks.check_one_of("each name of the grid", name, own | known)
    settings = {name: value for name, value in changes.items() if name in known}
    fields = {name: value for name, value in changes.items() if name not in known}
    if settings:
        fields["method"] = dataclasses.replace(method, **settings)
    return dataclasses.replace(base, **fields)


def _plain(value: Any) -> Any:
    if isinstance(value, Dataset):
        return [value.name, value.fingerprint, value.preprocessing.describe()]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # pyright: ignore[reportArgumentType]
