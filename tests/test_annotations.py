"""Types of arguments come from annotations: what passes is plain, the rest one sentence."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jaxtyping import Array, Float, Key

import isa_toolkit as isa
from isa_toolkit.annotations import typed
from isa_toolkit.errors import InvalidTypeError, InvalidValueError, IsaError

if TYPE_CHECKING:
    from fractions import Fraction


@typed
def sample(
    number: int = 1,
    rate: float | None = None,
    path: str | Path = "",
    names: tuple[str, ...] = (),
    pair: tuple[int, float] = (1, 0.5),
    calls: Sequence[Callable[..., Any]] = (),
    choice: Literal["a", "b"] = "a",
    many: bool | int = False,
    options: Mapping[str, Any] | None = None,
    points: Float[Array, "n d"] | None = None,
    weights: Float[Array, " n"] | None = None,
    key: Key[Array, ""] | None = None,
    data: isa.Dataset | None = None,
    later: Fraction | None = None,
    runs: Mapping[str, isa.Dataset] | None = None,
) -> dict[str, Any]:
    return dict(locals())


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("number", np.int64(3), 3),
        ("number", jnp.int32(3), 3),
        ("rate", np.float32(0.5), 0.5),
        ("rate", 2, 2.0),
        ("names", ["a", "b"], ("a", "b")),
        ("pair", [np.int8(2), 1], (2, 1.0)),
        ("many", True, True),
        ("many", np.int64(4), 4),
        ("path", Path("x"), Path("x")),
    ],
)
def test_what_passes_is_plain(name: str, value: object, plain: object) -> None:
    found = sample(**{name: value})[name]
    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("number", "x", "number must be a whole number, got 'x'."),
        ("number", 10**30, "number must be at most"),
        ("rate", [1], r"rate must be a number, got \[1\]"),
        ("rate", 10**309, "rate must be finite"),
        ("path", 3, "path must be text or a path, got 3"),
        ("path", "a\0", "path must hold no zero byte"),
        ("names", "ab", r"names must be a list \(each text\), got 'ab'"),
        ("pair", (1,), "pair must hold 2 values"),
        ("calls", [len, 1], "calls must be a list .each a function."),
        ("choice", "c", "choice must be one of 'a', 'b', got 'c'"),
        ("choice", np.zeros(2), "choice must be one of"),
        ("many", 1.5, "many must be True or False or a whole number"),
        ("options", 3, "options must be a dict, got 3"),
        ("points", [[1, 2], [3]], "points must be an array"),
        ("points", np.zeros(3), r"points must be an array of numbers \[n, d\]"),
        ("key", 3, "key must be a key of JAX"),
        (
            "data",
            "digits",
            r"data must be a Dataset, .* Make one with load_dataset\(name",
        ),
        ("later", 3, "later must be a Fraction, got 3"),
        ("runs", {"a": 3}, r"runs must be a dict .each value a Dataset."),
        ("ponits", 3, r"sample\(\) has no argument 'ponits'. Did you mean 'points'"),
    ],
)
def test_the_rest_is_one_sentence(name: str, value: object, sentence: str) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=sentence) as caught:
        sample(**{name: value})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_axes_of_one_name_have_one_length() -> None:
    points, key = jnp.zeros((3, 2)), jax.random.key(0)
    assert sample(points=points, weights=np.ones(3), key=key)["key"] is key
    with pytest.raises(ValueError, match=r"weights must have n = 3, as points, got"):
        sample(points=points, weights=jnp.ones(4))


def test_a_missing_argument_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidTypeError, match="missing a required argument"):
        isa.distill()  # pyright: ignore[reportCallIssue]


DRAWINGS = [
    getattr(module, name)
    for found in pkgutil.iter_modules(isa.figures.__path__, "isa_toolkit.figures.")
    for module in [importlib.import_module(found.name)]
    for name in ("draw", "caption")
    if hasattr(module, name)
]


@pytest.mark.parametrize(
    "wrong", [None, 3, "digits", [], {"a": 1}, pd.DataFrame(), pd.DataFrame({"a": [1]})]
)
def test_figures_and_captions_refuse_what_is_not_their_table(wrong: object) -> None:
    assert len(DRAWINGS) > 20
    for draw in DRAWINGS:
        with pytest.raises(IsaError, match="table must be") as caught:
            draw(wrong)
        assert "\n" not in str(caught.value)


PUBLIC = {
    f"{package}.{name}": getattr(module, name)
    for package in (
        "",
        "datasets",
        "evaluation",
        "losses",
        "networks",
        "presets",
        "sweeps",
    )
    for module in [getattr(isa, package) if package else isa]
    for name in getattr(module, "__all__", ["preset", "scale"])
    if inspect.isfunction(getattr(module, name, None))
    and getattr(module, name).__module__.startswith("isa_toolkit")
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_refuses_what_is_nothing(name: str) -> None:
    if name in ("networks.count_parameters", "sweeps.run_group"):
        pytest.skip("takes any tree, or ends with an exit code")
    needed = [
        one
        for one in inspect.signature(PUBLIC[name]).parameters.values()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    ]
    with pytest.raises(IsaError) as caught:
        PUBLIC[name](**{one.name: object() for one in needed})
    assert any(one.name.split("_")[-1] in str(caught.value) for one in needed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "fix"),
    [
        (lambda: isa.distill("digits"), r"Experiment\(dataset, method='frepo'"),
        (lambda: isa.plan("digits"), r"Experiment\(dataset, method='frepo'"),
        (
            lambda: isa.evaluate(np.zeros((3, 8, 8, 1)), [0]),
            r"DistilledSet\.from_pixels",
        ),
        (lambda: isa.Study(3), r"load_dataset\(name\)"),
        (
            lambda: isa.Experiment(network="convnet"),
            r"NetworkSettings\(name='convnet'\)",
        ),
        (lambda: isa.figures.summary({}), "compute function"),
        (lambda: isa.Experiment(seed=2**32), "seed must be at most 4294967295"),
        (lambda: isa.EvaluationSettings(seed=2**32), "seed must be at most"),
        (
            lambda: isa.Experiment(method=isa.FRePo(drop_easy=jnp.float32(7))),
            "drop_easy",
        ),
        (
            lambda: isa.Experiment(method=isa.FRePo(ridge=object())),
            "ridge must be a num",
        ),
    ],
)
def test_the_sentence_has_the_right_call(call: Callable[[], object], fix: str) -> None:
    with pytest.raises(IsaError, match=fix):
        call()


def test_numbers_of_jax_are_settings() -> None:
    made = isa.Experiment(method=isa.FRePo(drop_easy=jnp.float32(0.5)))
    assert type(made.method.drop_easy) is float  # pyright: ignore[reportAttributeAccessIssue]
    assert isa.Study("digits", seeds=np.int64(2)).seed_range == range(2)
