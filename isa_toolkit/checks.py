"""Argument checks in one sentence form, "<name> must <rule>, got <value>".

Every public function checks its arguments with these before anything is compiled or
written. Unknown names list the known ones; a usual fix follows in a second sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

__all__ = [
    "check_at_least",
    "check_boolean",
    "check_fraction",
    "check_in_range",
    "check_integer",
    "check_number",
    "check_one_of",
    "check_positive",
    "fail",
]


def fail(name: str, rule: str, value: Any, fix: str = "") -> ValueError:
    """Return the ``ValueError`` that says which rule ``value`` breaks.

    Args:
        name: the argument's name, as the user wrote it.
        rule: what must hold, to follow "must".
        value: what was given; shown with ``repr``, cut after 80 characters; text that
            ``as_text`` made is shown whole.
        fix: one sentence on the usual remedy, or nothing.

    Returns:
        The error, to be raised by the caller.
    """
    if isinstance(value, _Verbatim):
        shown = str(value)
    else:
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
    sentence = f"{name} must {rule}, got {shown}."
    return ValueError(f"{sentence} {fix}" if fix else sentence)


class _Verbatim(str):
    """Text that ``fail`` shows without quotation marks."""


def as_text(text: str) -> str:
    """Mark ``text`` as a description that ``fail`` shows as it stands."""
    return _Verbatim(text)


def check_integer(name: str, value: Any, *, minimum: int = 1, fix: str = "") -> int:
    """Return ``value`` as an ``int`` of at least ``minimum``.

    Raises:
        TypeError: ``value`` is not a whole number.
        ValueError: it is below ``minimum``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}.")
    if value < minimum:
        raise fail(name, f"be at least {minimum}", int(value), fix)
    return int(value)


def check_boolean(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False.

    Raises:
        TypeError: it is not; words and numbers have no truth here.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return value


def check_number(name: str, value: Any, *, fix: str = "") -> float:
    """Return ``value`` as a finite ``float``.

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: it is NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not math.isfinite(value):
        raise fail(name, "be finite", float(value), fix)
    return float(value)


def check_positive(name: str, value: Any, *, fix: str = "") -> float:
    """Return ``value`` as a ``float`` above 0.

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: it is not finite or not above 0.
    """
    number = check_number(name, value, fix=fix)
    if number <= 0:
        raise fail(name, "be above 0", number, fix)
    return number


def check_at_least(name: str, value: Any, minimum: float, *, fix: str = "") -> float:
    """Return ``value`` as a ``float`` of at least ``minimum``.

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: it is not finite or below ``minimum``.
    """
    number = check_number(name, value, fix=fix)
    if number < minimum:
        raise fail(name, f"be at least {minimum:g}", number, fix)
    return number


def check_in_range(
    name: str, value: Any, low: float, high: float, *, fix: str = ""
) -> float:
    """Return ``value`` as a ``float`` in the closed interval ``[low, high]``.

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: it is not finite or outside the interval.
    """
    number = check_number(name, value, fix=fix)
    if not low <= number <= high:
        raise fail(name, f"lie in [{low:g}, {high:g}]", number, fix)
    return number


def check_fraction(name: str, value: Any, *, fix: str = "") -> float:
    """Return ``value`` as a ``float`` in ``[0, 1)``.

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: it is not finite or outside the interval.
    """
    number = check_number(name, value, fix=fix)
    if not 0 <= number < 1:
        raise fail(name, "lie in [0, 1)", number, fix)
    return number


def check_one_of(name: str, value: Any, known: Iterable[str], *, fix: str = "") -> str:
    """Return ``value`` if it is one of the ``known`` names.

    Raises:
        ValueError: it is not; the sentence lists the known names.
    """
    names = sorted(known)
    if value not in names:
        raise fail(name, f"be one of {', '.join(map(repr, names))}", value, fix)
    return str(value)


def check_names(
    name: str, value: Iterable[str], known: Iterable[str]
) -> tuple[str, ...]:
    """Return several names as a tuple, if each is one of the ``known``.

    Raises:
        TypeError: it is one name, not several.
        ValueError: one is unknown.
    """
    if isinstance(value, str):
        raise TypeError(f"{name} must be a tuple of names, got {value!r}.")
    return tuple(check_one_of(f"each of {name}", one, known) for one in value)
