"""Names of runs for people: the settings in which they differ."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping, Sequence
from typing import Any

# What of a description is not a setting, or follows from the number of steps.
_HIDDEN = ("hash", "name", "log_every", "validation_every")
_HEAD = ("dataset", "images_per_class", "method")


def differing_settings(
    descriptions: Sequence[Mapping[str, Any]],
    *,
    alike: Collection[str] = ("method",),
    hidden: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return, for each run, its settings in which runs that are alike differ.

    Args:
        descriptions: Contents of ``experiment.json`` of each run.
        alike: Names of the settings that runs have in common if their other settings are
            to be compared; these themselves are compared among all runs.
        hidden: Names of settings to leave out.

    Returns:
        Values by name of the setting, without the name of the part ("method", "network")
        that it belongs to.
    """
    flat = [_flat(one) for one in descriptions]
    groups = collections.defaultdict(list)
    for one in flat:
        groups[tuple(one.get(name) for name in alike)].append(one)

    def differs(name: str, runs: list[dict[str, Any]]) -> bool:
        return any(one.get(name) != runs[0].get(name) for one in runs)

    shown = {
        key: {
            name
            for name in dict.fromkeys(name for one in runs for name in one)
            if name not in hidden and differs(name, flat if name in alike else runs)
        }
        for key, runs in groups.items()
    }
    return [
        {name: value for name, value in one.items() if name in shown[key]}
        for one in flat
        for key in [tuple(one.get(name) for name in alike)]
    ]


def settings_text(values: Mapping[str, Any]) -> str:
    """Return "drop_easy=0.2, steps=400"."""
    return ", ".join(f"{name}={_as_text(value)}" for name, value in values.items())


def run_names(descriptions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each run, such as "frepo: drop_easy=0.2, seed=1".

    It holds the method and whatever differs between the runs; runs of one name have their
    hashes in it too.
    """
    names = []
    differing = differing_settings(descriptions, alike=_HEAD)
    for one, values in zip(descriptions, differing, strict=True):
        head = [str(values["dataset"])] if "dataset" in values else []
        if "images_per_class" in values:
            head.append(f"{values['images_per_class']} per class,")
        head.append(one["method"]["name"])
        rest = {name: values[name] for name in values if name not in (*_HEAD, "seed")}
        rest |= {name: values[name] for name in values if name == "seed"}
        names.append(" ".join(head) + (f": {settings_text(rest)}" if rest else ""))
    counts = collections.Counter(names)
    return [
        name if counts[name] == 1 else f"{name} ({one.get('hash', '')[:8]})"
        for name, one in zip(names, descriptions, strict=True)
    ]


def _flat(one: Mapping[str, Any]) -> dict[str, Any]:
    parts = {**one, **one["method"], **one["network"]}
    parts |= {name: one[name]["name"] for name in ("dataset", "method", "network")}
    if one.get("start_from"):
        parts["start_from"] = str(one["start_from"])[:8]
    return {name: value for name, value in parts.items() if name not in _HIDDEN}


def _as_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"({', '.join(map(str, value))})" if isinstance(value, list) else str(value)
