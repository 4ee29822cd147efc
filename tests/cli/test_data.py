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
