"""How much of an experiment a scale runs, by method."""

from __future__ import annotations

from isa_toolkit.checks import check_one_of
from isa_toolkit.presets.matching import MATCHING_SCALES
from isa_toolkit.presets.meta import META_SCALES
from isa_toolkit.presets.published import SCALES, Scale

__all__ = ["scale"]


def scale(name: str, method: str = "frepo") -> Scale:
    """Return how much of an experiment a scale runs.

    Args:
        name: ``"quick"``, ``"small"`` or ``"paper"``.
        method: registered name of the method.

    Returns:
        The scale; a method with none of its own takes FRePo's.

    Raises:
        ValueError: an unknown scale.
    """
    check_one_of("scale", name, SCALES)
    return {**MATCHING_SCALES, **META_SCALES}.get(method, SCALES)[name]
