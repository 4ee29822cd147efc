"""The checker itself: own sentences come first, and nothing wrong slips through."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped
from shape_checks import after_the_call

from isa_toolkit.analysis import intervals


@jaxtyped(typechecker=after_the_call)
def careless(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    *,
    scale: float = 1.0,
) -> Float[np.ndarray, " n"]:
    return scale * x[: len(y)]


@jaxtyped(typechecker=after_the_call)
def careful(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    if x.ndim != 1:
        raise ValueError("x must have 1 axis, got 2.")
    return x[:-1] if len(x) == 3 else x


def test_matching_shapes_pass_and_an_int_is_a_float() -> None:
    assert careless(np.ones(3), np.ones(3), scale=2).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones(3), np.ones(2)),
        (np.ones((3, 1)), np.ones(3)),
        (np.ones(3, dtype=int), np.ones(3)),
    ],
)
def test_wrong_shapes_and_kinds_are_caught(x: np.ndarray, y: np.ndarray) -> None:
    with pytest.raises(TypeCheckError):
        careless(x, y)


def test_a_wrong_setting_is_caught() -> None:
    with pytest.raises(TypeCheckError):
        careless(np.ones(3), np.ones(3), scale=np.array(2.0))  # type: ignore[arg-type]


def test_a_wrong_result_is_caught() -> None:
    with pytest.raises(TypeCheckError, match="return value"):
        careful(np.ones(3))


def test_a_function_that_refuses_says_its_own_sentence() -> None:
    with pytest.raises(ValueError, match="x must have 1 axis"):
        careful(np.ones((2, 2)))


def test_the_package_is_checked() -> None:
    wrapped = intervals.paired_interval
    assert wrapped.__globals__["__name__"] == "jaxtyping._decorator"
