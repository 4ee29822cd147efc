"""What the documents print runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from isa_toolkit.datasets import load_dataset
from isa_toolkit.evaluation import evaluation, random_real, train

PAGE = Path(__file__).parents[1] / "docs" / "using_distilled_sets.md"


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_snippets_on_distilled_sets_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_dataset("digits")
    distilled = random_real(digits, 6)
    monkeypatch.chdir(tmp_path)
    distilled.export("digits.npz", kind="npz")
    distilled.export("digits-png", kind="png")
    # A minute of training is not what is tested.
    monkeypatch.setattr(evaluation, "run_evaluation", one_guess)
    known: dict[str, object] = {}
    ran = [code for code in snippets() if "import torch" not in code]
    assert len(ran) == 3
    for code in ran:
        exec(compile(code, str(PAGE), "exec"), known)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "(60, 8, 8, 1) (60, 10) ['0' '0' '0']"
    assert out[1] == "0.5"
    assert 0 < float(out[2]) < 1
    np.testing.assert_array_equal(known["folder"].labels, distilled.labels)


def one_guess(*arguments: object, **rest: object) -> object:
    del arguments, rest
    return train.TestResult(np.array([0.5]), np.array([0.5]), {})
