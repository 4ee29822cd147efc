"""What the flags for several devices and processes refuse, in one sentence each."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import isa_toolkit.distillation
from isa_toolkit.cli import FAILED, OK, USAGE, main
from isa_toolkit.distillation import distributed as processes

pytestmark = pytest.mark.slow

TINY = [
    *("--steps", "6", "--batch-size", "32", "--width", "4", "--depth", "2"),
    *("--validation-steps", "3", "--validation-networks", "1", "--pool-size", "2"),
]
THREE = "--coordinator here:1 --processes 2 --process-id"


def run(capsys, *argv):
    code = main([str(one) for one in argv])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            "--coordinator here:1",
            "--coordinator, --processes, --process-id must be given together, got only "
            "--coordinator.",
        ),
        (
            "--processes 2 --process-id 1",
            "--coordinator, --processes, --process-id must be given together, got only "
            "--processes, --process-id.",
        ),
        (
            "--coordinator here --processes 2 --process-id 0",
            "--coordinator must be host:port of process 0, got 'here'.",
        ),
        (f"{THREE} 2", "--process-id must be below --processes (2), got 2."),
        (f"{THREE} -1", "--process-id must be at least 0, got -1."),
        (
            f"--distributed {THREE} 0",
            "--distributed must be used without --coordinator, --processes and "
            "--process-id, got --coordinator, --processes, --process-id. It finds them "
            "automatically.",
        ),
        ("--devices 0", "--devices must be at least 1, got 0."),
        ("--devices 99", "--devices must be at most "),
    ],
)
def test_a_bad_combination_gets_one_sentence(
    flags: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["distill", "--steps", "2", "--out", str(tmp_path), *flags.split()]
    assert main(words) == USAGE
    printed, errors = capsys.readouterr()
    assert errors.startswith(f"isa-toolkit: {sentence}")
    assert (printed, errors.count("\n")) == ("", 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "joined"),
    [
        (f"{THREE} 1", ("here:1", 2, 1)),
        ("--distributed", (None, None, None)),
        ("", None),
    ],
)
def test_a_process_joins_the_others_before_anything_else(
    flags: str,
    joined: tuple[object, ...] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(processes, "join", lambda *words: asked.append(words))
    # It stops at the next thing that is checked.
    words = ["distill", "--steps", "0", "--out", str(tmp_path), *flags.split()]
    assert main(words) == USAGE
    assert asked == ([] if joined is None else [joined])


def test_another_process_than_the_first_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        isa_toolkit.distillation, "distill_grid", lambda *_, **__: [None]
    )
    monkeypatch.setattr(processes, "is_writer", lambda: False)
    assert main(["distill", "--steps", "2", "--out", str(tmp_path)]) == OK
    assert capsys.readouterr().out == ""


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


def test_a_killed_process_ends_the_other_with_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = "--width 2 --depth 1 --batch-size 8 --steps 1000000 --log-every 100"
    words += " --selection last --checkpoint-s 0.2 --no-progress --json"
    words += f" --coordinator 127.0.0.1:{port} --processes 2"
    command = [sys.executable, "-m", "isa_toolkit", "distill", *words.split()]
    command += ["--out", str(tmp_path)]
    children = [
        subprocess.Popen(
            [*command, "--process-id", str(me)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in (0, 1)
    ]
    first, second = children
    try:
        ends = time.monotonic() + 240
        while not [*tmp_path.glob("*/checkpoints/[0-9]*")]:
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < ends
            time.sleep(0.1)
        second.send_signal(signal.SIGKILL)
        printed, errors = first.communicate(timeout=90)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    # Gloo's own line is not mixed up with the result, which there is none of.
    assert (first.returncode, printed) == (FAILED, ""), errors
    assert "isa-toolkit: Another process of this run is gone (" in errors
    (status,) = tmp_path.glob("*/status.json")
    reported = json.loads(status.read_text())
    assert reported["status"] == "failed"
    assert "Start all of them again" in reported["reason"]
