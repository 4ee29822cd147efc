"""What ``import isa_toolkit as isa`` offers: names, examples, short reprs, safe HTML."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import isa_toolkit as isa
from isa_toolkit.errors import IsaError

ROOT = Path(__file__).parents[1]
PACKAGES = [
    "analysis",
    "datasets",
    "distillation",
    "evaluation",
    "figures",
    "losses",
    "methods",
    "networks",
    "presets",
    "sweeps",
    "widgets",
]
NAMES = [name for name in isa.__all__ if name not in PACKAGES]
HOSTILE = ["<script>alert(1)</script>", "a & b", '"quoted"']


def test_dir_lists_every_name_and_every_name_is_there() -> None:
    assert set(isa.__all__) <= set(dir(isa))
    assert set(PACKAGES) <= set(isa.__all__)
    for name in PACKAGES:
        assert isinstance(getattr(isa, name), ModuleType)
    with pytest.raises(AttributeError, match="distil"):
        isa.distil  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules", list(itertools.permutations(["distillation", "evaluation", "sweeps"], 2))
)
def test_functions_stay_functions_in_every_order_of_imports(modules) -> None:
    code = "\n".join(
        [
            f"import isa_toolkit.{modules[0]}",
            "import isa_toolkit as isa",
            f"import isa_toolkit.{modules[1]}",
            "from types import FunctionType",
            "for _ in range(2):",
            "    for one in (isa.distill, isa.evaluate, isa.sweep):",
            "        assert type(one) is FunctionType, one",
        ]
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_runnable_example(name: str) -> None:
    documented = getattr(isa, name)
    if name == "IsaError":
        return
    assert ">>>" in (inspect.getdoc(documented) or ""), name


@pytest.mark.parametrize(
    ("call", "suggestion"),
    [
        (lambda: isa.Experiment(ipc=10), "images_per_class"),
        (lambda: isa.Experiment(epochs=10), "steps"),
        (lambda: isa.FRePo(lr=0.1), "learning_rate"),
        (lambda: isa.FRePo(drop_esy=0.1), "drop_easy"),
        (lambda: isa.NetworkSettings(widht=8), "width"),
        (lambda: isa.Experiment(method="frep"), "frepo"),
        (lambda: isa.load_dataset("cifar11"), "cifar10"),
    ],
)
def test_a_misspelt_name_suggests_the_right_one(call, suggestion) -> None:
    with pytest.raises(IsaError, match=suggestion):
        call()


def test_names_of_the_field_are_understood() -> None:
    assert isa.Experiment(method="FRePo").method == isa.FRePo()
    assert isa.Experiment("digits", method="dm").method == isa.DM()
    assert isa.load_dataset("Digits").name == "digits"


@pytest.fixture(scope="module")
def hostile() -> isa.Dataset:
    images = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3), np.uint8)
    return isa.Dataset.from_arrays(
        images, np.arange(30) % 3, class_names=HOSTILE, name="hostile"
    )


def test_reprs_are_short_and_html_is_escaped(hostile: isa.Dataset) -> None:
    distilled = isa.evaluation.random_real(hostile, 1)
    experiment = isa.Experiment(hostile)
    shown = [
        hostile,
        distilled,
        experiment,
        isa.Study(hostile),
        isa.FRePo(),
        isa.RFAD(),
        isa.RCIG(),
        isa.DM(),
        isa.NetworkSettings(),
    ]
    for one in shown:
        assert len(repr(one)) <= 300, type(one)
    for one in (hostile, distilled):
        html = one._repr_html_()
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        assert "<img" in html
    assert len(hostile) == 30 - len(hostile.test.labels)
