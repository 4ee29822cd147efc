"""Argument checks: what passes comes back plain, the rest in one sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isa_toolkit.checks import (
    as_text,
    check_boolean,
    check_integer,
    check_names,
    check_number,
    check_one_of,
    fail,
)


def test_the_sentence_names_rule_value_and_fix() -> None:
    assert str(fail("width", "be even", 3)) == "width must be even, got 3."
    sentence = str(fail("name", "be known", "x", "Write it as y."))
    assert sentence == "name must be known, got 'x'. Write it as y."
    assert str(fail("a", "fit", as_text("2 and 3 rows"))).endswith("got 2 and 3 rows.")


def test_a_long_value_is_cut() -> None:
    sentence = str(fail("values", "be short", "x" * 200))
    assert sentence.endswith("x....")
    assert len(sentence) == len("values must be short, got ") + 80 + len(".")


@pytest.mark.parametrize("value", [1, 7, np.int32(7), np.uint8(1)])
def test_whole_numbers_come_back_as_int(value: int) -> None:
    result = check_integer("steps", value)
    assert type(result) is int
    assert result == value


@pytest.mark.parametrize("value", [True, 1.0, "1", None, np.float64(2)])
def test_other_kinds_are_no_whole_numbers(value: object) -> None:
    with pytest.raises(TypeError, match=r"^steps must be a whole number, got "):
        check_integer("steps", value)


def test_a_minimum_holds() -> None:
    assert check_integer("seed", 0, minimum=0) == 0
    with pytest.raises(ValueError, match=r"^steps must be at least 1, got 0\. More\.$"):
        check_integer("steps", 0, fix="More.")


@pytest.mark.parametrize("value", [2, 0.5, np.float32(0.5), np.int64(2)])
def test_numbers_come_back_as_float(value: float) -> None:
    result = check_number("ridge", value)
    assert type(result) is float
    assert result == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"^ridge must be finite, got -?(nan|inf)"):
        check_number("ridge", value, at_least=-1)


@pytest.mark.parametrize("value", [True, "0.5", None, 1j])
def test_other_kinds_are_no_numbers(value: object) -> None:
    with pytest.raises(TypeError, match=r"^ridge must be a number, got "):
        check_number("ridge", value)


@pytest.mark.parametrize(
    ("accepted", "refused", "bounds", "rule"),
    [
        (1e-300, 0, {"above": 0}, "above 0"),
        (2, 1.9, {"at_least": 2}, "at least 2"),
        (0, -0.1, {"at_least": 0, "at_most": 1}, "at least 0 and at most 1"),
        (1, 1.1, {"at_least": 0, "at_most": 1}, "at least 0 and at most 1"),
        (0, 1, {"at_least": 0, "below": 1}, "at least 0 and below 1"),
    ],
)
def test_the_ends_of_each_range(accepted, refused, bounds, rule) -> None:
    assert check_number("x", accepted, **bounds) == accepted
    with pytest.raises(ValueError, match=f"^x must be {rule}, got {refused:.1f}"):
        check_number("x", refused, **bounds)


def test_an_unknown_name_lists_the_known_ones_in_order() -> None:
    assert check_one_of("method", "dm", ["mtt", "dm"]) == "dm"
    with pytest.raises(ValueError, match=r"must be one of 'dm', 'mtt', got 'x'"):
        check_one_of("method", "x", ["mtt", "dm"])
    with pytest.raises(ValueError, match=r"got None\.$"):
        check_one_of("method", None, ["mtt", "dm"])


def test_only_true_and_false_are_booleans() -> None:
    assert check_boolean("flips", True) is True
    assert check_boolean("flips", False) is False
    for value in (0, 1, "no", None):
        with pytest.raises(TypeError, match="flips must be True or False, got"):
            check_boolean("flips", value)


def test_several_names_are_a_tuple_of_known_ones():
    assert check_names("ops", ["a", "b"], ("b", "a", "c")) == ("a", "b")
    assert check_names("ops", (), ("a",)) == ()
    with pytest.raises(TypeError, match=r"ops must be a tuple of names, got 'a'\."):
        check_names("ops", "a", ("a",))
    with pytest.raises(ValueError, match="each of ops must be one of 'a', got 'd'"):
        check_names("ops", ("a", "d"), ("a",))
