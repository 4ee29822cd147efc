"""Argument checks from annotations: what a function takes is said once, in its signature.

``typed`` refuses arguments of another type before a function runs, ``check_settings`` the
fields of settings; bounds and rules between arguments stay with each function.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

from isa_toolkit import checks
from isa_toolkit.checks import as_text, fail, wrong_type
from isa_toolkit.errors import InvalidTypeError, InvalidValueError

_Typed = TypeVar("_Typed", bound=Callable[..., Any])

# Class -> how one is made.
_MADE_BY = {
    "Dataset": "load_dataset(name) or Dataset.from_arrays(images, labels)",
    "DistilledSet": "DistilledSet.from_pixels(images, labels, "
    "preprocessing=dataset.preprocessing, class_names=dataset.class_names)",
    "Experiment": "Experiment(dataset, method='frepo', steps=400)",
    "NetworkSettings": "NetworkSettings(name='convnet')",
    "Study": "Study('digits')",
    "Run": "Run(path) or distill(experiment)",
    "Plan": "plan(experiment)",
    "Preprocessing": "load_dataset(name).preprocessing",
    "Evaluation": "evaluate(distilled, dataset)",
    "DataFrame": "the compute function of the figure",
}
_PLAIN_TYPES: dict[Any, tuple[str, Callable[[str, Any], Any]]] = {
    bool: ("True or False", checks.check_boolean),
    int: (
        "a whole number",
        lambda name, value: checks.check_integer(
            name, value, minimum=-checks.LARGEST_COUNT, maximum=2**63 - 1
        ),
    ),
    float: ("a number", checks.check_number),
}


def typed(called: _Typed) -> _Typed:
    """Make a function check its arguments against its annotations before it runs.

    Numbers of NumPy and JAX become plain ones, iterables lists or tuples where these are
    asked for; arrays of JAX have the axes of their annotation, of equal length where they
    have one name. Unknown keywords suggest a known one. What is wrong raises
    ``InvalidTypeError`` or ``InvalidValueError`` with the name and what is expected.

    Args:
        called: Function or method, or a class whose ``__init__`` is checked.
    """
    if isinstance(called, type):
        setattr(called, "__init__", _typed(called.__init__, called.__name__))  # noqa: B010
        return typing.cast(_Typed, called)
    return typing.cast(_Typed, _typed(called, called.__name__))


def takes_table(columns: Collection[str]) -> Callable[[_Typed], _Typed]:
    """Decorate a function as ``typed`` does, and check the columns of its first argument.

    Args:
        columns: Names of the columns that the table must have.
    """

    def decorate(function: Any) -> Any:
        name = next(iter(inspect.signature(function).parameters))

        @functools.wraps(function)
        def checked(table: Any, *args: Any, **kwargs: Any) -> Any:
            if missing := [column for column in columns if column not in table]:
                raise fail(
                    name,
                    "be a table of the compute function of this figure, which has the "
                    f"columns {', '.join(columns)}",
                    as_text(
                        f"one without {', '.join(missing)}"
                        if len(table.columns)
                        else "an empty one: there is no such run"
                    ),
                )
            return function(table, *args, **kwargs)

        return typed(checked)

    return decorate


class _ByName(type):
    """Class that is imported later: its instances are known by the name of their class."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return cls.__name__ in {one.__name__ for one in type(instance).__mro__}

    def __getattr__(cls, name: str) -> type:
        if not name[0].isupper():  # not a module's class
            raise AttributeError(name)
        return _ByName(name, (), {})


class _Later(dict[str, Any]):
    """Names that are imported for type checkers only."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        super().__init__()
        self._scope = scope

    def __missing__(self, name: str) -> type:
        if name in self._scope or hasattr(builtins, name):
            raise KeyError(name)
        return _ByName(name, (), {})


def _typed(function: Callable[..., Any], title: str) -> Callable[..., Any]:
    signature = inspect.signature(function)
    kinds = {name: one.kind for name, one in signature.parameters.items()}
    known = [name for name in kinds if name not in ("self", "cls")]
    takes_all = inspect.Parameter.VAR_KEYWORD in kinds.values()

    @functools.cache
    def hints() -> dict[str, Any]:
        scope = vars(sys.modules[function.__module__])
        return {
            # Annotations of this package, as text.
            name: eval(one.annotation, scope, _Later(scope))
            for name, one in signature.parameters.items()
            if isinstance(one.annotation, str) and "VAR" not in one.kind.name
        }

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for keyword in kwargs:
            if keyword not in known and not takes_all:
                raise checks.unknown(f"{title}() has no argument", keyword, known)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidTypeError(f"{title}(): {error}.") from None
        sizes: dict[str, tuple[str, int]] = {}
        for name, hint in hints().items():
            if name in bound.arguments:
                value = check_type(name, bound.arguments[name], hint)
                bound.arguments[name] = value
                for one in _alternatives(hint):
                    _check_sizes(name, value, one, sizes)
        return function(*bound.args, **bound.kwargs)

    return checked


def check_type(name: str, value: Any, hint: Any) -> Any:
    """Return ``value`` if it has the type of an annotation, numbers as plain ones.

    Args:
        name: Name of the argument.
        value: Value of the argument.
        hint: Its annotation, evaluated.

    Raises:
        TypeError: It has another type.
        ValueError: It is none of the choices, or a number that is not finite.
    """
    accepted = [one for one in _alternatives(hint) if one is not types.NoneType]
    if value is None and types.NoneType in _alternatives(hint):
        return None
    if len(accepted) == 1 and accepted[0] in _PLAIN_TYPES:
        return _PLAIN_TYPES[accepted[0]][1](name, value)
    if len(accepted) == 1 and typing.get_origin(accepted[0]) is typing.Literal:
        return checks.check_one_of(name, value, typing.get_args(accepted[0]))
    broken = None
    for one in accepted:
        try:
            return _as_type(name, value, one)
        except InvalidValueError as error:  # the right type
            broken = error
        except InvalidTypeError:
            continue
    if broken is not None:
        raise broken
    wanted = " or ".join(dict.fromkeys(map(_noun, accepted)))
    made = [_MADE_BY[kind] for one in accepted if (kind := _title(one)) in _MADE_BY]
    raise wrong_type(name, wanted, value, f"Make one with {made[0]}." if made else "")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is Union
    return typing.get_args(hint) if is_union else (hint,)


def _title(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))


def _noun(hint: Any) -> str:
    """Return what an annotation asks for, for errors."""
    if hint in _PLAIN_TYPES:
        return _PLAIN_TYPES[hint][0]
    if hasattr(hint, "dim_str"):
        what = "a key of JAX" if "prng_key" in hint.dtypes else "an array of numbers"
        return f"{what} [{', '.join(hint.dim_str.split())}]"
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin in (tuple, Sequence, Iterable):
        return f"a list (each {_noun(parts[0])})" if parts else "a list"
    if origin is Mapping and parts and _title(parts[1]) in _MADE_BY:
        return f"a dict (each value {_noun(parts[1])})"
    nouns = {str: "text", Path: "a path", Callable: "a function", Mapping: "a dict"}
    article = "an" if _title(origin)[0] in "AEIO" else "a"
    return nouns.get(origin, f"{article} {_title(origin)}")


def _as_type(name: str, value: Any, hint: Any) -> Any:
    """Return ``value`` as one alternative of an annotation."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint in _PLAIN_TYPES:
        return _PLAIN_TYPES[hint][1](name, value)
    if origin is typing.Literal:
        return checks.check_one_of(name, value, parts)
    if hasattr(hint, "dim_str"):
        return _as_array(name, value, hint)
    if origin in (tuple, Sequence, Iterable):
        return _as_items(name, value, hint)
    if hint in (Any, object):
        return value
    if isinstance(origin, type) and not isinstance(
        value, os.PathLike if origin is Path else origin
    ):
        raise wrong_type(name, _noun(hint), value)
    if origin is Mapping and parts and _title(parts[1]) in _MADE_BY:
        for one in value.values():
            check_type(f"each value of {name}", one, parts[1])
    if isinstance(value, str) and "\0" in value:
        raise fail(name, "hold no zero byte", value)
    return value


def _as_items(name: str, value: Any, hint: Any) -> Any:
    """Return a tuple or list whose items have the types of an annotation."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    is_one = isinstance(value, str | bytes | Mapping)
    if is_one or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise wrong_type(name, _noun(hint), value)
    each = f"each of {name}"
    if origin is tuple and parts and parts[-1] is not ...:
        found = tuple(value)
        if len(found) != len(parts):
            raise fail(name, f"hold {len(parts)} values", value)
        pairs = zip(found, parts, strict=True)
        return tuple(check_type(each, one, part) for one, part in pairs)
    found = [check_type(each, one, parts[0]) for one in value] if parts else value
    return tuple(found) if origin is tuple else found


def _as_array(name: str, value: Any, hint: Any) -> Any:
    """Return an array of numbers with the axes of a jaxtyping annotation.

    Arrays of NumPy have checks of their own where they are used, with a fix.
    """
    import numpy as np

    array = value if hasattr(value, "aval") else checks.as_array(name, value)
    if issubclass(hint.array_type, np.ndarray):
        return value
    is_key = str(array.dtype).startswith("key<")
    is_number = is_key or (array.dtype.kind in "biufV" and not array.dtype.names)
    axes = hint.dim_str.split()
    if (
        not is_number
        or is_key != ("prng_key" in hint.dtypes)
        or array.ndim != len(axes)
    ):
        raise wrong_type(name, _noun(hint), value)
    return array if axes else value


def _check_sizes(
    name: str, value: Any, hint: Any, sizes: dict[str, tuple[str, int]]
) -> None:
    """Refuse arrays whose axes of one name have several lengths."""
    axes = getattr(hint, "dim_str", "").split()
    is_numpy = "ndarray" in str(getattr(hint, "array_type", ""))
    if is_numpy or not hasattr(value, "shape") or len(value.shape) != len(axes):
        return
    for axis, size in zip(axes, value.shape, strict=True):
        first, wanted = sizes.setdefault(axis, (name, size))
        if size != wanted:
            rule = f"have {axis} = {wanted}, as {first}"
            raise fail(name, rule, as_text(f"shape {value.shape}"))


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def check_settings(
    settings: Any,
    *,
    fractions: Collection[str] = (),
    positive: Collection[str] = (),
    from_zero: Collection[str] = (),
) -> None:
    """Refuse values that do not have the type of their field, or are out of range.

    An integer is at least 1 (0 for those in ``from_zero`` and for seeds) and a number at
    least 0 (in [0, 1) for ``fractions``, above 0 for ``positive``). NumPy's integers become
    plain.
    """
    for name, hint in field_types(type(settings)).items():
        value = getattr(settings, name)
        kinds = [one for one in _alternatives(hint) if one is not types.NoneType]
        if kinds == [int] and value is not None:
            if name.endswith("seed"):
                value = checks.check_seed(name, value)
            else:
                minimum = 0 if name in from_zero else 1
                value = checks.check_integer(name, value, minimum=minimum)
        elif kinds == [float] and value is not None:
            bounds = {"at_least": 0}
            if name in fractions:
                bounds["below"] = 1
            elif name in positive:
                bounds = {"above": 0}
            checks.check_number(name, value, **bounds)
        else:
            value = check_type(name, value, hint)
        object.__setattr__(settings, name, value)
