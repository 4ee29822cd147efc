"""``isa-toolkit evaluate``: numbers on the disk and on standard output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from isa_toolkit.cli import main
from isa_toolkit.distilled import DistilledSet

pytestmark = pytest.mark.slow

TINY = [
    *("--steps", "6", "--batch-size", "32", "--width", "4", "--depth", "2"),
    *("--validation-steps", "3", "--validation-networks", "1", "--pool-size", "2"),
]


def run(capsys, *argv):
    code = main([str(one) for one in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_distill_then_evaluate(capsys, tmp_path):
    code, out, _ = run(capsys, "distill", *TINY, "--out", tmp_path, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["status"] == "done"
    assert result["step"] == 6
    code, out, _ = run(
        capsys, "evaluate", result["run"], "--networks", 2, "--steps", 3, "--json"
    )
    assert code == 0
    evaluated = json.loads(out)
    assert len(evaluated["network"]) == 2
    assert evaluated["network_interval"]["kind"] == "networks, one distilled set"
    assert evaluated["settings"]["network"]["width"] == 4
    stored = Path(result["run"]) / "evaluation.json"
    assert json.loads(stored.read_text())["network"] == evaluated["network"]
    code, out, _ = run(capsys, "distill", *TINY, "--out", tmp_path)
    assert code == 0
    assert "done at step 6" in out
    code, _, err = run(capsys, "evaluate", result["run"], "--steps", 0)
    assert code == 2
    assert "steps must" in err
    # One network has no interval, which JSON has no NaN for; a folder that takes no file
    # costs no numbers.
    stored.unlink()
    stored.mkdir()
    one = ["--networks", 1, "--steps", 3]
    code, out, err = run(capsys, "evaluate", result["run"], *one, "--json")
    assert code == 0
    assert (
        json.loads(out, parse_constant=pytest.fail)["network_interval"]["low"] is None
    )
    assert "evaluation.json cannot be written" in err
    assert (
        "one network gives no interval"
        in run(capsys, "evaluate", result["run"], *one)[1]
    )


def test_dm_is_evaluated_by_its_own_protocol(capsys, tmp_path):
    words = ["--steps", "2", "--batch-size", "4", "--width", "4", "--depth", "2"]
    method = ["--method", "dm", "--ops", "crop", "--selection", "last", *words]
    code, out, _ = run(
        capsys, "distill", *method, "--validation-every", 0, "--out", tmp_path, "--json"
    )
    assert code == 0
    folder = json.loads(out)["run"]
    flags = ["--protocol", "published", "--epochs", 2, "--networks", 1, "--json"]
    ranking = ["--ops", "crop", "--ranking", "--full-accuracy", 0.9]
    code, out, _ = run(capsys, "evaluate", folder, *flags, *ranking)
    assert code == 0
    result = json.loads(out)
    scores, settings = result["ranking"], result["settings"]
    assert scores["hlr"]["mean"] == 0.9 - scores["accuracies"]["hard"][0]
    assert (settings["protocol"], settings["ops"]) == ("dsa", ["crop"])
    assert settings["network"]["name"] == "convnet_in"
    assert settings["network"]["width"] == 4
    assert settings["fit"]["steps"] == 3


def test_a_folder_of_runs_is_refused_with_the_runs_in_it(capsys, tmp_path):
    pixels = np.zeros((2, 3, 3, 1), np.float32)
    distilled = DistilledSet(
        images=pixels, labels=np.eye(2), pixels=pixels, class_names=("a", "b")
    )
    for name in ("one", "two"):
        distilled.save(tmp_path / name / "distilled.safetensors")
    code, out, err = run(capsys, "evaluate", tmp_path)
    assert (code, out) == (2, "")
    assert "one, two" in err
    assert f"isa-toolkit evaluate {tmp_path / 'one'}" in err
    # A set of unknown origin has no data set to be tested on.
    code, _, err = run(capsys, "evaluate", tmp_path / "one")
    assert code == 2
    assert "--dataset must be given" in err
