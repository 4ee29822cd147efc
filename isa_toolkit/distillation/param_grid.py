"""Experiments in numbers: every combination of settings, and which can share a program.

Runs share a program if they differ only in what is traced; how they are run is left to the
``grid``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from isa_toolkit import checks
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.methods.base import static_fields

__all__ = ["combinations", "programs", "refusal", "resolve_alike"]

# What may differ between runs of one program, besides what the method traces.
_FREE = ("seed", "steps")
_TRACED = "seed, steps and what the method traces (its rates, shares, segment)"


def programs(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """Return experiments in groups of which each can be one program.

    Args:
        experiments: any number.
    """
    groups: list[list[Experiment]] = []
    for one in experiments:
        alike = (group for group in groups if _difference(group[0], one) is None)
        group = next(alike, None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return groups


def resolve_alike(experiments: Sequence[Experiment]) -> list[ResolvedExperiment]:
    """Return experiments resolved, their data loaded once.

    Args:
        experiments: at least one.

    Raises:
        ValueError: two of them cannot share a program; the sentence names the field.
    """
    first, *others = experiments
    for other in others:
        difference = _difference(first, other)
        if difference is not None:
            raise refusal(*difference)
    resolved = first.resolve()
    return [resolved, *(other.resolve(reuse_data_from=resolved) for other in others)]


def combinations(
    experiments: Experiment | Sequence[Experiment],
    **lists: Iterable[Any] | None,
) -> list[Experiment]:
    """Return every experiment with every combination of the lists that are given.

    Args:
        experiments: one or several.
        lists: by name: settings of the method, or ``seeds``; None for each experiment's
            own. The last one varies fastest.

    Raises:
        ValueError: no experiment, an empty list, a setting that a method lacks or a value
            out of its range.
    """
    bases = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    if not bases or not all(isinstance(base, Experiment) for base in bases):
        raise checks.fail(
            "experiments", "be an Experiment or a list of some", experiments
        )
    given = {
        name: _as_list(name, values)
        for name, values in lists.items()
        if values is not None
    }
    combined = []
    for base in bases:
        known = {field.name for field in dataclasses.fields(base.method)}  # pyright: ignore[reportArgumentType]
        for name, values in given.items():
            if name != "seeds" and name not in known:
                raise checks.fail(
                    name, f"be left out for method {base.method.name!r}", values
                )
        for values in itertools.product(*given.values()):
            changes: dict[str, Any] = dict(zip(given, values, strict=True))
            seed = changes.pop("seeds", base.seed)
            method: Any = dataclasses.replace(base.method, **changes)  # pyright: ignore[reportArgumentType, reportCallIssue]
            combined.append(dataclasses.replace(base, seed=seed, method=method))
    return combined


def refusal(name: str, mine: Any, its: Any) -> ValueError:
    """Return why two experiments cannot share a program.

    Args:
        name: what differs.
        mine: its value in the one.
        its: its value in the other.
    """
    return checks.fail(
        name,
        f"be the same in all experiments of a grid: they may differ in {_TRACED}",
        checks.as_text(f"{_shown(mine)} and {_shown(its)}"),
        "Run them apart.",
    )


# --- pieces --------------------------------------------------------------------------


def _as_list(name: str, values: Any) -> list[Any]:
    what = "pairs (start, stop)" if name == "segment" else "numbers"
    try:
        listed = list(values)
        if name == "segment":
            listed = [tuple(pair) for pair in listed]
    except TypeError:
        raise checks.fail(name, f"be a list of {what}", values) from None
    if not listed:
        raise checks.fail(name, f"be a list of {what}, at least one", values)
    return listed


def _difference(one: Experiment, other: Experiment) -> tuple[str, Any, Any] | None:
    """Return the first field in which two experiments may not differ, but do."""
    pairs = [
        (field.name, getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(Experiment)
        if field.name not in (*_FREE, "method")
    ]
    pairs.append(("method", one.method.name, other.method.name))
    if one.method.name == other.method.name:
        mine, its = static_fields(one.method), static_fields(other.method)
        pairs += [(name, mine[name], its[name]) for name in mine]
    for pair in pairs:
        _, mine, its = pair
        if mine is not its and _as_plain(mine) != _as_plain(its):
            return pair
    return None


def _as_plain(value: Any) -> Any:
    if isinstance(value, Dataset):
        return value.name, value.fingerprint, value.preprocessing.describe()
    return value


def _shown(value: Any) -> str:
    if isinstance(value, Dataset):
        return f"{value.name} ({value.fingerprint[:8]})"
    return repr(value)
