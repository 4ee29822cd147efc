"""The checks of crucial samples and segments that every method's settings share."""

from __future__ import annotations

from typing import Any

from isa_toolkit import checks

__all__ = ["as_segment", "check_crucial", "check_shares"]


def check_crucial(settings: Any, prefix: str = "") -> None:
    """Refuse shares and segments that have no meaning; make the segment a tuple.

    Args:
        settings: a frozen dataclass with ``drop_easy``, ``drop_hard`` and ``segment``.
        prefix: of these names, such as ``"expert_"``.

    Raises:
        TypeError: a value is no number.
        ValueError: a value is out of its range.
    """
    easy, hard = (
        getattr(settings, f"{prefix}{name}") for name in ("drop_easy", "drop_hard")
    )
    check_shares(easy, hard, prefix)
    name = f"{prefix}segment"
    object.__setattr__(settings, name, as_segment(name, getattr(settings, name)))


def check_shares(drop_easy: float, drop_hard: float, prefix: str = "") -> None:
    """Refuse shares that are none, or that leave nothing.

    Args:
        drop_easy: in [0, 1).
        drop_hard: in [0, 1).
        prefix: of their names.

    Raises:
        TypeError: a share is no number.
        ValueError: a share, or their sum, is not in [0, 1).
    """
    easy, hard = f"{prefix}drop_easy", f"{prefix}drop_hard"
    checks.check_fraction(easy, drop_easy)
    checks.check_fraction(hard, drop_hard)
    if drop_easy + drop_hard >= 1:
        raise checks.fail(
            f"{easy} + {hard}",
            "be below 1",
            drop_easy + drop_hard,
            "Something must be left to learn from.",
        )


def as_segment(name: str, value: Any) -> tuple[float, float]:
    """Return a segment as two floats.

    Args:
        name: of the setting.
        value: a pair (start, stop).

    Raises:
        TypeError: an end is no number.
        ValueError: it is no pair, or an end is not finite.
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise checks.fail(name, "be a pair (start, stop)", value)
    start, stop = (checks.check_number(name, end) for end in value)
    return start, stop
