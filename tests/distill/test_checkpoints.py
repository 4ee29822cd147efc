"""A checkpoint gives back every byte, or says why not."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import pytest
from toy import assert_same_bytes

from isa_toolkit.distill.checkpoints import KEPT, Checkpoints

STATE = {
    "weights": jnp.asarray([[0.1, -3e-39], [1e38, -0.0]], jnp.float32),
    "age": jnp.asarray([3, 1 << 30], jnp.int32),
    "key": jnp.asarray([1, 2**32 - 1], jnp.uint32),
    "nested": (jnp.zeros(()), jnp.asarray(True)),
}
NOTES = {"experiment": "a" * 64, "pending": [{"loss": 0.1}], "elapsed_s": 1.5}


def test_what_is_saved_is_restored_to_the_bit(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(STATE, experiment="a" * 64) is None
        checkpoints.save(7, STATE, NOTES)
    with Checkpoints(tmp_path / "c") as checkpoints:
        stored = checkpoints.restore(STATE, experiment="a" * 64)
    assert stored is not None
    assert (stored.step, stored.notes) == (7, NOTES)
    assert_same_bytes(stored.state, STATE)


def test_the_last_few_are_kept_and_the_last_is_read(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in range(1, KEPT + 3):
            checkpoints.save(step, {"x": jnp.asarray(float(step))}, NOTES)
        assert checkpoints.steps == [3, 4, 5]
        stored = checkpoints.restore({"x": jnp.zeros(())}, experiment="a" * 64)
    assert stored is not None
    assert float(stored.state["x"]) == stored.step == 5


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, STATE, NOTES)
        with pytest.raises(ValueError, match="experiment bbbbbbbb, got aaaaaaaa"):
            checkpoints.restore(STATE, experiment="b" * 64)
