"""``isa-toolkit data``: what a data set holds."""

from __future__ import annotations

import json

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
