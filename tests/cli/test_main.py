"""The command line: exit codes, one sentence per error, JSON on standard output."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from isa_toolkit.cli import COMMANDS, main
from isa_toolkit.cli.doctor import self_check

TINY = [
    *("--steps", "6", "--batch-size", "32", "--width", "4", "--depth", "2"),
    *("--validation-steps", "3", "--validation-networks", "1", "--pool-size", "2"),
]


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"isa-toolkit {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flag",
    [
        "method", "dataset", "root", "images-per-class", "steps", "batch-size",
        "width", "depth", "seed", "drop-easy", "drop-hard", "segment", "out",
    ],
)  # fmt: skip
def test_the_flags_a_person_would_guess_exist(capsys, flag):
    with pytest.raises(SystemExit):
        main(["distill", "--help"])
    assert f"--{flag} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["fly"], "'fly'"),
        (["distill", "--method", "magic"], "'frepo'"),
        (["distill", "--dataset", "nothing"], "'digits'"),
        (["distill", "--images-per-class", "0"], "images_per_class"),
        (["distill", "--images-per-class", "1000", "--steps", "1"], "images_per_class"),
        (["distill", "--drop-easy", "0.6", "--drop-hard", "0.4"], "drop_easy"),
        (["distill", "--steps", "-5"], "steps"),
        (["distill", "--width", "0"], "width"),
        (["distill", "--scale", "huge"], "'quick'"),
        (["distill", "--method", "mtt", "--batch-size", "32"], "batch_size"),
        (["distill", "--method", "mtt", "--candidates", "1"], "candidates"),
        (["distill", "--method", "dm", "--partner", "far"], "'same_class'"),
        (["distill", "--selection", "luck"], "'validation'"),
        (
            ["data", "--dataset", "mnist", "--root", "/nowhere/at/all"],
            "/nowhere/at/all",
        ),
        (["evaluate", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    capsys, tmp_path, monkeypatch, words, names
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("isa-toolkit: ")
    assert names in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


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
    judged = json.loads(out)
    assert len(judged["network"]) == 2
    assert judged["network_interval"]["kind"] == "networks, one distilled set"
    assert judged["settings"]["network"]["width"] == 4
    stored = Path(result["run"]) / "evaluation.json"
    assert json.loads(stored.read_text())["network"] == judged["network"]
    code, out, _ = run(capsys, "distill", *TINY, "--out", tmp_path)
    assert code == 0
    assert "done at step 6" in out
    code, _, err = run(capsys, "evaluate", result["run"], "--steps", 0)
    assert (code, err.startswith("isa-toolkit: evaluation steps must")) == (2, True)
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


def test_dm_is_distilled_and_judged_by_its_own_protocol(capsys, tmp_path):
    words = ["--steps", "2", "--batch-size", "4", "--width", "4", "--depth", "2"]
    method = ["--method", "dm", "--ops", "crop", "--selection", "last", *words]
    code, out, _ = run(
        capsys, "distill", *method, "--validation-every", 0, "--out", tmp_path, "--json"
    )
    assert code == 0
    folder = json.loads(out)["run"]
    judge = ["--protocol", "published", "--epochs", 2, "--networks", 1, "--json"]
    code, out, _ = run(capsys, "evaluate", folder, *judge)
    assert code == 0
    settings = json.loads(out)["settings"]
    assert settings["protocol"] == "dsa"
    assert settings["network"]["name"] == "convnet_in"
    assert settings["network"]["width"] == 4
    assert settings["fit"]["steps"] == 3


def test_the_next_command_is_one_that_works(capsys, tmp_path):
    draws, root = np.random.default_rng(0), tmp_path / "my own.npz"
    images = draws.integers(0, 256, (90, 8, 8, 1), dtype=np.uint8)
    np.savez(
        root,
        train_images=images[:60],
        train_labels=np.arange(60) % 3,
        test_images=images[60:],
        test_labels=np.arange(30) % 3,
    )
    words = ["distill", *TINY, "--dataset", "own", "--root", root, "--limit", 54]
    words += ["--selection", "last"]
    code, out, _ = run(capsys, *words, "--out", tmp_path)
    assert code == 0
    [line] = [one for one in out.splitlines() if one.startswith("next: isa-toolkit ")]
    code, out, _ = run(capsys, *shlex.split(line)[2:], "--networks", 1, "--steps", 2)
    assert code == 0
    assert out.startswith("own, 3 distilled images")


def test_a_negative_segment_is_read(capsys, tmp_path):
    code, out, _ = run(
        capsys, "distill", *TINY, "--segment", "-1", "0", "--out", tmp_path, "--json"
    )
    assert code == 0
    folder = json.loads(out)["run"]
    stored = json.loads((tmp_path / folder / "experiment.json").read_text())
    assert stored["method"]["segment"] == [-1, 0]


def test_data_describes_the_digits(capsys):
    code, out, _ = run(capsys, "data", "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["train"], result["test"]) == (1438, 359)
    assert sum(row["train"] for row in result["classes"].values()) == 1438


def test_doctor_passes_its_self_check(capsys):
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 0
    assert json.loads(out)["self_check"]["passed"] is True


def test_the_self_check_can_fail(monkeypatch):
    import isa_toolkit.losses

    def wrong(residual, difference, start, stop):
        return 0.5 * (residual**2).sum(-1)

    monkeypatch.setattr(isa_toolkit.losses, "segment_loss", wrong)
    assert self_check()["passed"] is False
