"""Argument checks with errors of one form, "<name> must <rule>, got <value>".

Public functions check their arguments with these before anything is compiled or written.
A value of another type raises ``InvalidTypeError``, one that breaks the rule
``InvalidValueError``. Errors for unknown names list the known ones and suggest a similar
one; ``fix`` is a second sentence with the usual remedy.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

from isa_toolkit.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    import numpy as np

_Class = TypeVar("_Class", bound=type)

# float32 rounds fractions such as .3 up: .3 * 50 is 15.0000006. A number of samples that
# exceeds a whole number by less than this fraction of itself, the rounding of fraction and
# product (each at most 2^-24), is taken as that number.
ROUNDING = 3e-7

# Counts are int32 in compiled programs, numbers float32, seeds uint32: a larger seed would be
# the same as a smaller one.
LARGEST_COUNT, LARGEST_NUMBER, LARGEST_SEED = (
    2**31 - 1,
    3.4028234663852886e38,
    2**32 - 1,
)

# Common names from other projects -> the names here.
_ALIASES = {
    "ipc": "images_per_class",
    "lr": "learning_rate",
    "epochs": "steps",
    "iterations": "steps",
    "data": "dataset",
    "num_eval": "networks",
    "model": "network",
}


def fail(name: str, rule: str, value: Any, fix: str = "") -> InvalidValueError:
    """Return the ``InvalidValueError`` that says which rule ``value`` breaks.

    Args:
        name: Name of the argument, as the user wrote it.
        rule: Condition that must hold, to follow "must".
        value: Invalid value, shown with ``repr`` and cut after 80 characters; text from
            ``as_text`` is shown whole.
        fix: One sentence with the usual remedy, or nothing.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> from isa_toolkit.checks import fail
        >>> print(fail("steps", "be at least 1", 0, "Leave it out for 400."))
        steps must be at least 1, got 0. Leave it out for 400.
    """
    shown = str(value) if isinstance(value, _Verbatim) else _shown(value)
    sentence = f"{name} must {rule}, got {shown}."
    return InvalidValueError(f"{sentence} {fix}" if fix else sentence)


class _Verbatim(str):
    """Text that ``fail`` shows without quotation marks."""


def as_text(text: str) -> str:
    """Mark ``text`` as a description that ``fail`` shows without quotation marks."""
    return _Verbatim(text)


def printable(line: str) -> str:
    """Return a line with escapes in place of what a terminal would obey or cannot show."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in line
    )


def as_unicode(name: object) -> str:
    """Return a name as text in which bytes of a file name that are no UTF-8 are escapes."""
    return str(name).encode(errors="backslashreplace").decode()


def _shown(value: Any) -> str:
    """Return a value as one short line, whatever it is."""
    try:
        shown = " ".join(repr(value).split(None))
    except Exception:  # noqa: BLE001 - also a whole number of too many digits
        shown = f"a value of type {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def wrong_type(name: str, wanted: str, value: Any, fix: str = "") -> InvalidTypeError:
    """Return the error for a value of another type than ``wanted``, which is a noun."""
    sentence = f"{name} must be {wanted}, got {_shown(value)}."
    return InvalidTypeError(f"{sentence} {fix}" if fix else sentence)


def plain(value: Any) -> Any:
    """Return the number in an array without axes, of NumPy or JAX; all else as it is."""
    is_array = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_array and not isinstance(value, Real) else value


def as_array(name: str, value: Any) -> np.ndarray:
    """Return nested lists or an array as one array of any type; a ragged list is refused."""
    import numpy as np

    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise wrong_type(name, "an array", value) from None


def check_integer(
    name: str,
    value: Any,
    *,
    minimum: int = 1,
    maximum: int = LARGEST_COUNT,
    fix: str = "",
) -> int:
    """Return ``value`` as an ``int`` of at least ``minimum`` and at most ``maximum``."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise wrong_type(name, "a whole number", value)
    number = int(value)
    if number < minimum:
        raise fail(name, f"be at least {minimum}", number, fix)
    if number > maximum:
        raise fail(name, f"be at most {maximum}", number)
    return number


def check_seed(name: str, value: Any) -> int:
    """Return ``value`` as an ``int`` that is a key of JAX and of NumPy: below 2^32."""
    return check_integer(name, value, minimum=0, maximum=LARGEST_SEED)


def check_boolean(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False."""
    value = plain(value)
    if not isinstance(value, bool):
        raise wrong_type(name, "True or False", value)
    return value


def check_number(
    name: str,
    value: Any,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> float:
    """Return ``value`` as a finite ``float`` within the bounds."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong_type(name, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise fail(name, "be finite", value)
    if abs(number) > LARGEST_NUMBER:
        raise fail(name, "be finite in float32", value)
    if not (at_least <= number <= at_most and above < number < below):
        bounds = {
            "at least": at_least,
            "above": above,
            "at most": at_most,
            "below": below,
        }
        given = [f"{how} {end:g}" for how, end in bounds.items() if math.isfinite(end)]
        raise fail(name, f"be {' and '.join(given)}", number)
    return number


def check_one_of(name: str, value: Any, known: Iterable[str], *, fix: str = "") -> str:
    """Return ``value`` if it is one of the ``known`` names."""
    names = sorted(known)
    if not isinstance(value, str) or value not in names:
        similar = _similar(value, names) if isinstance(value, str) else None
        if similar and not fix:
            fix = f"Did you mean {similar!r}?"
        raise fail(name, f"be one of {', '.join(map(repr, names))}", value, fix)
    return str(value)


def match_name(name: str, value: Any, known: Iterable[str], *, fix: str = "") -> str:
    """Return the known name that equals ``value`` up to case, "-", "_" and spaces.

    Args:
        name: Name of the argument.
        value: Name as the user wrote it, such as ``"CIFAR-10"``.
        known: Registered names, such as ``"cifar10"``.
        fix: One sentence on the usual remedy, or nothing.

    Raises:
        ValueError: If there is none; the message suggests a similar name and lists all.
    """
    names = {_normalised(one): one for one in known}
    if isinstance(value, str) and _normalised(value) in names:
        return names[_normalised(value)]
    return check_one_of(name, value, names.values(), fix=fix)


def suggest_keywords(cls: _Class) -> _Class:
    """Make the error for an unknown keyword of a dataclass suggest a known one.

    Args:
        cls: A keyword-only dataclass; decorate it above ``@dataclass``.

    Returns:
        The same class. Its ``__init__`` raises ``InvalidTypeError`` for unknown keywords.
    """
    initialise: Callable[..., None] = cls.__init__
    known = [field.name for field in dataclasses.fields(cls) if field.init]

    @functools.wraps(initialise)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for keyword in kwargs:
            if keyword not in known:
                raise unknown(f"{cls.__name__} has no setting", keyword, known)
        initialise(self, *args, **kwargs)

    cls.__init__ = checked
    return cls


def unknown(sentence: str, keyword: str, known: Sequence[str]) -> InvalidTypeError:
    """Return the error for an unknown keyword; it suggests a known one."""
    similar = _similar(keyword, known)
    fix = f"Did you mean {similar!r}?" if similar else f"It has: {', '.join(known)}."
    return InvalidTypeError(f"{sentence} {keyword!r}. {fix}")


def short_repr(self: Any) -> str:
    """Return the class of a dataclass and those of its fields that differ from the default.

    Args:
        self: Instance of a dataclass; use the function as its ``__repr__``.
    """
    changed = [
        f"{field.name}={value!r}"
        for field in dataclasses.fields(self)
        if (value := getattr(self, field.name)) is not field.default
        and type(value) is not object
        and not (dataclasses.is_dataclass(value) and repr(value).endswith("()"))
        and repr(value) != repr(field.default)
    ]
    return f"{type(self).__name__}({', '.join(changed)})"


def _normalised(name: str) -> str:
    return name.lower().translate({ord(mark): None for mark in "-_ "})


def _similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar, or None."""
    known = list(known)
    alias = _ALIASES.get(name.lower())
    if alias in known:
        return alias
    normalised = {_normalised(one): one for one in known}
    close = difflib.get_close_matches(_normalised(name), normalised, 1)
    return normalised[close[0]] if close else None


def check_names(
    name: str, value: Iterable[str], known: Iterable[str]
) -> tuple[str, ...]:
    """Return several names as a tuple, if each is one of the ``known``."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise wrong_type(name, "a tuple of names", value)
    return tuple(check_one_of(f"each of {name}", one, known) for one in value)
