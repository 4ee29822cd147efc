"""Whole runs of RFAD and RCIG: from settings to a result, stopped and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import result_bytes, stop_at

from isa_toolkit.cli import main
from isa_toolkit.distillation import Experiment, distill
from isa_toolkit.methods import RCIG, RFAD, method_of
from isa_toolkit.networks import NetworkSettings

pytestmark = pytest.mark.slow

METHODS = {
    "rfad": RFAD(networks=2),
    # Nothing to learn in a map that is not there: an array without numbers.
    "rfad without a map": RFAD(networks=2, transform=False, loss="mse"),
    "rcig": RCIG(pool_size=2, inner_steps=2, max_online_updates=5),
}


def experiment(method: Any) -> Experiment:
    return Experiment(
        dataset="digits",
        method=method,
        network=NetworkSettings(name=method_of(method).network, width=2, depth=2),
        steps=6,
        batch_size=16,
        selection="last",
        validation_every=0,
        log_every=2,
    )


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    asked = experiment(METHODS[name])
    whole = distill(asked, out=tmp_path / "whole", progress=False)
    stopped = distill(
        asked,
        out=tmp_path / "stopped",
        callbacks=[stop_at(1)],
        progress=False,
    )
    assert stopped.status["status"] == "stopped"
    assert 0 < stopped.status["step"] < 6
    resumed = distill(asked, out=tmp_path / "stopped", progress=False)
    assert resumed.is_done
    assert result_bytes(resumed.path) == result_bytes(whole.path)
    network = whole.distilled.manifest["network"]
    assert network["name"] == method_of(METHODS[name]).network


@pytest.mark.parametrize("method", ["rfad", "rcig"])
def test_the_command_line_offers_the_settings_of_the_method(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["distill", "--method", method, "--steps", "2", "--width", "2"]
    words += ["--depth", "2", "--batch-size", "16", "--selection", "last"]
    words += ["--validation-every", "0", "--segment", "-0.5", "0", "--out"]
    words += [str(tmp_path), "--json"]
    assert main(words) == 0
    reported = json.loads(capsys.readouterr().out)
    assert reported["status"] == "done"
    written = json.loads((Path(reported["run"]) / "experiment.json").read_text("utf-8"))
    chosen = written.get("experiment", written)["method"]
    assert chosen["name"] == method
    assert chosen["segment"] == [-0.5, 0]
    assert chosen["learning_rate"] == 0.01
    # Refused before anything is compiled or written.
    words[words.index("-0.5") : words.index("-0.5") + 2] = ["0", "0.5"]
    assert main(words) != 0
    assert "unbounded below" in capsys.readouterr().err
