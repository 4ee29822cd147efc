"""DM and MTT through the same door as FRePo: stopped, resumed, evaluated, shared."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from tiny_run import stop_at

from isa_toolkit.distillation import Experiment, distill, trainer
from isa_toolkit.methods import DM, MTT
from isa_toolkit.networks import NetworkSettings

pytestmark = pytest.mark.slow

METHODS = {
    "dm": DM(ops=("crop",)),
    "mtt": MTT(
        candidates=2,
        student_steps=3,
        expert_count=2,
        max_start_epoch=2,
        expert_epochs=3,
        expert_batch_size=100,
        learning_rate=0.1,
        rate_learning_rate=1e-5,
        ops=(),
    ),
}


def experiment(name: str, **changes) -> Experiment:
    return Experiment(
        network=NetworkSettings(name="convnet_in", width=4, depth=2),
        steps=6,
        batch_size=8 if name == "dm" else None,
        **{
            "method": METHODS[name],
            "selection": "last",
            "validation_every": 3,
            **changes,
        },
    )


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_stopped_run_goes_on_to_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distill(experiment(name), out=tmp_path / "a")
    monkeypatch.setattr(trainer, "_CHUNK_S", 1e-9)
    for step in (2, 4):
        stopped = distill(
            experiment(name), out=tmp_path / "b", callbacks=[stop_at(step)]
        )
        assert stopped.status["status"] == "stopped"
    resumed = distill(experiment(name), out=tmp_path / "b")
    files = [one.path / "distilled.safetensors" for one in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = whole.metrics
    assert (rows[rows.kind == "train"].loss > 0).all()
    manifest = whole.distilled.manifest
    assert manifest["network"]["name"] == "convnet_in"
    if name == "mtt":
        assert manifest["learned"]["student_learning_rate"] > 0
        assert manifest["learned"] != whole.distilled_at(0).manifest["learned"]


def test_validation_is_the_published_one_and_experts_are_shared(tmp_path: Path) -> None:
    made = []
    for seed in (0, 1):
        finished = distill(
            experiment(
                "mtt",
                selection="validation",
                seed=seed,
                validation_networks=1,
                validation_steps=3,
            ),
            out=tmp_path,
        )
        assert finished.distilled.manifest["selection"]["rule"] == "validation"
        files = list((tmp_path / "shared").rglob("*.safetensors"))
        made.append([(path, path.stat().st_mtime_ns) for path in files])
    assert len(made[0]) == 1
    assert made[0] == made[1]


def test_experts_over_the_limit_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="prepared_limit_bytes"):
        distill(experiment("mtt"), out=tmp_path, prepared_limit_bytes=1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_evaluation_of_a_run_is_that_of_its_method(name: str) -> None:
    settings = experiment(name, validation_steps=40).resolve().evaluation
    assert settings.protocol == "dsa"
    assert settings.network == NetworkSettings(
        name="convnet_in", width=4, depth=2, norm="instance"
    )
    assert settings.fit is not None
    assert settings.fit.steps == 40


def test_every_choice_is_in_the_hash() -> None:
    base = experiment("mtt")
    other = dataclasses.replace(
        base, method=dataclasses.replace(METHODS["mtt"], expert_seed=1)
    )
    assert base.resolve().hash != other.resolve().hash
    assert base.resolve().description["batch_size"] is None


def test_a_signal_ends_the_making_of_experts_and_the_run_says_stopped(
    tmp_path: Path,
) -> None:
    # So many epochs that they would take minutes.
    long = dataclasses.replace(METHODS["mtt"], expert_epochs=5000)
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    began = time.monotonic()
    run = distill(experiment("mtt", method=long), out=tmp_path)
    timer.join()
    assert time.monotonic() - began < 60
    assert run.status["status"] == "stopped"
    assert run.step == 0
    assert not list(tmp_path.rglob("0000.safetensors"))
