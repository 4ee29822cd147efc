"""The experts of MTT: plain SGD, with crucial samples and segments by quadrature."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import load_file
from toy import CLASSES, dense_network, quick_jit, toy_problem

from isa_toolkit.methods import METHODS, MTT
from isa_toolkit.methods.expert_buffer import (
    ExpertSettings,
    expert_loss,
    flat_size,
    load_or_train_experts,
    train_experts,
    unravel_of,
)
from isa_toolkit.networks.base import NetworkOutput

pytestmark = pytest.mark.slow

N = 12


@pytest.fixture(scope="module")
def output() -> tuple[NetworkOutput, np.ndarray]:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(N, 5)).astype("float32")
    logits = features @ draw.normal(size=(5, CLASSES)).astype("float32")
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(N) % CLASSES]
    return NetworkOutput(jnp.asarray(logits), jnp.asarray(features), {}), labels


def loss(output: Any, partner: str, **changes: Any) -> float:
    seen, labels = output
    settings = ExpertSettings(learning_rate=0.1, partner=partner, **changes)
    centred = jnp.asarray(labels - 1 / CLASSES)
    return float(quick_jit(expert_loss)(settings, seen, centred, jax.random.key(0)))


def entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logits = logits.astype(float)
    return -np.sum(labels * (logits - np.log(np.exp(logits).sum(-1))[..., None]), -1)


@pytest.mark.parametrize("partner", ["none", "nearest", "random", "same_class"])
def test_with_nothing_dropped_and_no_segment_it_is_cross_entropy(output, partner):
    expected = entropy(np.asarray(output[0].logits), output[1]).mean()
    assert loss(output, partner) == pytest.approx(expected, rel=1e-5)


def test_the_easy_and_the_hard_ends_are_dropped(output):
    values = np.sort(entropy(np.asarray(output[0].logits), output[1]))
    seen = loss(output, "none", drop_easy=0.25, drop_hard=1 / 12)
    assert seen == pytest.approx(values[3:-1].mean(), rel=1e-5)


@pytest.mark.parametrize("partner", ["nearest", "same_class"])
def test_the_segment_is_the_integral_of_mixed_cross_entropy(output, partner):
    (logits, features, _), labels = output
    logits, features = np.asarray(logits, float), np.asarray(features, float)
    kept = np.argsort(entropy(logits, labels))[3:]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = []
    for i in kept:
        others = [
            j
            for j in kept
            if j != i and (partner == "nearest" or j % CLASSES == i % CLASSES)
        ]
        j = max(others, key=lambda other: unit[i] @ unit[other])
        t = np.linspace(-1, 0, 401)[:, None]
        mixed = entropy(
            logits[i] + t * (logits[i] - logits[j]),
            labels[i] + t * (labels[i] - labels[j]),
        )
        total.append(np.trapezoid(mixed, t[:, 0]))
    seen = loss(output, partner, drop_easy=0.25, segment=(-1.0, 0.0))
    # Three nodes against four hundred.
    assert seen == pytest.approx(np.mean(total), rel=2e-3)


def trained(seeds, *, epochs: int = 2, batch_size: int = 24, **more: Any) -> np.ndarray:
    batch = toy_problem().batch
    settings = ExpertSettings(learning_rate=0.1, batch_size=batch_size)
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return train_experts(
        settings,
        dense_network(),
        keys,
        batch.images,
        batch.labels,
        epochs=epochs,
        **more,
    )


def test_a_snapshot_is_the_one_before_less_the_gradient():
    toy, network = toy_problem(), dense_network()
    unravel, norms = unravel_of(network)
    labels = jax.nn.one_hot(jnp.argmax(toy.batch.labels, -1), CLASSES)
    snapshots = trained([3])[0]
    assert snapshots.shape == (3, flat_size(network))

    def cross_entropy(flat):
        seen = network.apply(unravel(flat), norms, toy.batch.images, train=True)
        return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(seen.logits), -1))

    slope = quick_jit(jax.grad(cross_entropy))
    for before, after in itertools.pairwise(snapshots):
        # A full batch: order does not matter.
        np.testing.assert_allclose(after, before - 0.1 * slope(before), atol=1e-5)


def test_experts_are_each_their_own_and_do_not_depend_on_company():
    both = trained([3, 4], batch_size=7)
    np.testing.assert_allclose(both[:1], trained([3], batch_size=7), atol=1e-6)
    assert np.abs(both[0] - both[1]).max() > 0.01


def test_training_can_be_ended_after_any_epoch():
    epochs = []

    def check_cancelled():
        epochs.append(1)
        if len(epochs) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained([3], epochs=5, check_cancelled=check_cancelled)
    assert len(epochs) == 2


# --- the buffer on the disk -------------------------------------------------------------


class Buffer:
    """A buffer of 12 experts in two parts; counts the epochs that are trained."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.epochs, self.fails_after = folder, 0, None

    def check_cancelled(self) -> None:
        self.epochs += 1
        if self.epochs == self.fails_after:
            raise InterruptedError

    def load(self, **changes: Any) -> np.ndarray:
        batch = toy_problem().batch
        settings = {"count": 12, "epochs": 2, "snapshots": 2, "seed": 3, **changes}
        return load_or_train_experts(
            ExpertSettings(learning_rate=0.1, batch_size=99),
            dense_network(),
            np.asarray(batch.images),
            np.argmax(np.asarray(batch.labels), -1).astype(np.int32),
            self.folder,
            check_cancelled=self.check_cancelled,
            **settings,
        )

    @property
    def parts(self) -> list[tuple[str, int]]:
        files = sorted(self.folder.rglob("*.safetensors"))
        return [(file.name, file.stat().st_mtime_ns) for file in files]


@pytest.fixture
def buffer(tmp_path: Path) -> Buffer:
    return Buffer(tmp_path)


def test_experts_are_trained_once_and_cut_to_what_is_needed(buffer):
    first = buffer.load()
    size = flat_size(dense_network())
    assert first.shape == (12, 2, size)
    assert [name for name, _ in buffer.parts] == [
        "0000.safetensors",
        "0001.safetensors",
    ]
    parts = buffer.parts
    np.testing.assert_array_equal(buffer.load(), first)
    assert buffer.parts == parts
    stored = sum(
        file["parameters"].nbytes
        for file in map(load_file, sorted(buffer.folder.rglob("*.safetensors")))
    )
    settings = MTT(expert_count=12, expert_epochs=2)
    assert stored == METHODS["mtt"].prepared_bytes(settings, dense_network())


def test_a_cancelled_training_keeps_whole_parts_and_resumes(buffer):
    # Once before the first part, twice within, once after; then within the second.
    buffer.fails_after = 6
    with pytest.raises(InterruptedError):
        buffer.load()
    parts = buffer.parts
    assert [name for name, _ in parts] == ["0000.safetensors"]
    buffer.fails_after = None
    whole = buffer.load()
    assert buffer.parts[0] == parts[0]
    np.testing.assert_array_equal(whole, Buffer(buffer.folder / "again").load())


def test_other_settings_are_another_buffer(buffer):
    first, other = buffer.load(count=1), buffer.load(count=1, seed=4)
    assert len({file.parent for file in buffer.folder.rglob("*.safetensors")}) == 2
    assert (first != other).any()


def test_a_damaged_part_is_made_again_with_a_warning(buffer):
    first = buffer.load(count=1)
    [path] = buffer.folder.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(RuntimeWarning, match="damaged"):
        np.testing.assert_array_equal(buffer.load(count=1), first)


def test_a_part_that_another_process_trains_is_waited_for(buffer):
    other = Buffer(buffer.folder / "other")
    theirs = other.load()
    [path, _] = sorted(other.folder.rglob("*.safetensors"))
    folder = buffer.folder / path.parent.name
    folder.mkdir()
    lock = FileLock(folder / ".0000.lock", thread_local=False)
    lock.acquire()

    def check_cancelled() -> None:
        if (folder / "0001.safetensors").exists() and lock.is_locked:
            shutil.copy(path, folder / "0000.safetensors")
            lock.release()

    buffer.check_cancelled = check_cancelled
    np.testing.assert_array_equal(buffer.load(), theirs)
    assert not lock.is_locked
