"""``isa-toolkit data``: what a data set holds."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from isa_toolkit.cli import main


def test_data_describes_the_digits(capsys):
    assert main(["data", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["train"], result["test"]) == (1438, 359)
    assert sum(row["train"] for row in result["classes"].values()) == 1438
    assert main(["data"]) == 0
    assert "1438 training and 359 test images of 8x8x1" in capsys.readouterr().out


def test_channel_means_and_deviations_can_be_given(capsys):
    constants = ["--mean", "0.5", "--std", "0.25"]
    assert main(["data", *constants, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)["preprocessing"]
    assert (described["mean"], described["std"]) == ([0.5], [0.25])
    assert main(["data", "--std", "0.1", "0.2"]) == 2
    assert "--std must hold one number per channel (1)" in capsys.readouterr().err


def test_advice_on_sizes_can_be_followed_and_what_was_left_out_is_said(
    capsys, tmp_path
):
    for label in "ab":
        for number in range(4):
            path = tmp_path / "Train" / label / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            levels = np.arange((8 + number) * 9, dtype=np.uint8)
            Image.fromarray(levels.reshape(-1, 9)).save(path)
    (tmp_path / "Train" / "a" / "notes.txt").write_text("hello")
    (tmp_path / "test").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "test" / "0.png")
    mine = ["data", "--dataset", "mine", "--root", str(tmp_path)]
    assert main(mine) == 2
    assert "Pass resolution" in capsys.readouterr().err
    assert main([*mine, "--resolution", "6", "--whitening", "zca"]) == 0
    out = capsys.readouterr().out
    assert "6 training and 2 test images of 6x6x1, 2 classes" in out
    assert "ignored test: no class folders" in out
    assert "left out 1 files" in out
