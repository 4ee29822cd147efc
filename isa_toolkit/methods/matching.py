"""What the matching methods share: the checks of their crucial samples and segments."""

from __future__ import annotations

from typing import Any

from isa_toolkit import checks

__all__ = ["check_crucial"]


def check_crucial(settings: Any, prefix: str = "") -> None:
    """Refuse shares and segments that have no meaning; make the segment a tuple.

    Args:
        settings: a frozen dataclass with ``drop_easy``, ``drop_hard`` and ``segment``.
        prefix: of these names, such as ``"expert_"``.

    Raises:
        TypeError: a value is no number.
        ValueError: a value is out of its range.
    """
    easy, hard, segment = (f"{prefix}{name}" for name in _NAMES)
    shares = [getattr(settings, easy), getattr(settings, hard)]
    checks.check_fraction(easy, shares[0])
    checks.check_fraction(hard, shares[1])
    if sum(shares) >= 1:
        raise checks.fail(
            f"{easy} + {hard}",
            "be below 1",
            sum(shares),
            "Something must be left to learn from.",
        )
    pair = getattr(settings, segment)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise checks.fail(segment, "be a pair (start, stop)", pair)
    ends = tuple(checks.check_number(segment, end) for end in pair)
    object.__setattr__(settings, segment, ends)


_NAMES = ("drop_easy", "drop_hard", "segment")
