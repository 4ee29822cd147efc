"""The loop compiles once, stays on the device, and does what its steps do."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny
from toy import CLASSES, assert_same_bytes, dense_network, toy_problem

from isa_toolkit.distillation import distill, loop
from isa_toolkit.distillation.sampling import TrainData
from isa_toolkit.methods import METHODS, FRePo
from isa_toolkit.methods.base import Batch, as_arrays
from isa_toolkit.networks import build
from isa_toolkit.networks.pool import take
from isa_toolkit.networks.training import batch_indices

pytestmark = pytest.mark.slow

SETTINGS = FRePo(pool_size=2, max_online_updates=5, label_scale=1.0, flips=False)
METHOD = METHODS["frepo"]
STEPS = 20


def one_run(tree: Any) -> Any:
    """Return the arrays of one run as a batch of one."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


class Ready:
    """One compiled loop on the toy problem."""

    def __init__(self) -> None:
        toy = toy_problem(targets=24)
        self.keys = loop.run_keys(0)
        self.network = dense_network()
        self.data = TrainData(
            toy.batch.images, jnp.argmax(toy.batch.labels, -1).astype(jnp.int32)
        )
        self.first = loop.first_state(
            as_arrays(SETTINGS),
            self.network,
            self.keys.networks,
            toy.images,
            toy.labels,
        )
        self.chunk: Any = loop.chunk(self.network, batch_size=10)

    def state(self) -> Any:
        """Return the first state, free to be donated."""
        return jax.tree.map(jnp.copy, self.first)

    def arguments(self, start: int, count: int, state: Any, **changes: Any) -> Any:
        settings = as_arrays(dataclasses.replace(SETTINGS, **changes))
        numbers = (jnp.full((1,), n, jnp.int32) for n in (start, count, STEPS))
        return (*one_run((settings, self.keys, state)), self.data, *numbers)

    def take(self, start: int, count: int, state: Any, **changes: Any) -> Any:
        """Return the result of a chunk, without the axis over runs."""
        result = self.chunk(*self.arguments(start, count, state, **changes))
        return take(result, 0)


@pytest.fixture(scope="module")
def ready() -> Ready:
    return Ready()


def test_two_chunks_equal_one(ready: Ready) -> None:
    whole = ready.take(0, 7, ready.state())
    first = ready.take(0, 3, ready.state())
    second = ready.take(3, 4, first.state)
    assert (int(whole.done), int(first.done), int(second.done)) == (7, 3, 4)
    assert_same_bytes(second.state, whole.state)
    np.testing.assert_array_equal(second.infos.loss[:4], whole.infos.loss[3:7])


def test_changing_traced_settings_never_compiles_again(ready: Ready) -> None:
    ready.take(0, 2, ready.state())
    before = ready.chunk._cache_size()
    base = ready.take(0, 2, ready.state())
    for name, value in {
        "drop_easy": 0.4,
        "drop_hard": 0.3,
        "segment": (-1.0, 0.0),
        "ridge": 1e-2,
        "learning_rate": 1e-2,
        "online_learning_rate": 1e-2,
    }.items():
        changed = ready.take(0, 2, ready.state(), **{name: value})
        # It has an effect, too.
        leaves = zip(
            jax.tree.leaves(changed.state), jax.tree.leaves(base.state), strict=True
        )
        assert any(not np.array_equal(one, other) for one, other in leaves), name
    assert ready.chunk._cache_size() == before == 1


def test_nothing_leaves_the_device_inside(ready: Ready) -> None:
    arguments = jax.block_until_ready(ready.arguments(0, 5, ready.state()))
    with jax.transfer_guard("disallow"):
        result = jax.block_until_ready(ready.chunk(*arguments))
    assert int(result.done[0]) == 5


def test_an_epoch_sees_each_batch_once(ready: Ready) -> None:
    seen: list[np.ndarray] = []
    order = ready.keys.order
    permutation = jnp.arange(24)
    for step in range(4):
        chosen, permutation = batch_indices(
            order, jnp.asarray(step), permutation, 10, "shuffled"
        )
        seen.append(np.asarray(chosen))
    for epoch in (seen[:2], seen[2:]):
        assert len(set(np.concatenate(epoch))) == 20
    assert set(seen[0]) != set(seen[2])


def test_the_loop_is_its_steps_one_by_one(ready: Ready) -> None:
    settings = as_arrays(SETTINGS)
    state, permutation = ready.state(), jnp.arange(24)
    step_once = jax.jit(METHOD.step, static_argnums=1)
    losses = []
    for step in range(3):
        chosen, permutation = batch_indices(
            ready.keys.order, jnp.asarray(step), permutation, 10, "shuffled"
        )
        labels = jax.nn.one_hot(ready.data.labels[chosen], CLASSES) - 1 / CLASSES
        key = jax.random.fold_in(ready.keys.steps, step)
        batch = Batch(ready.data.images[chosen], labels, (), jnp.float32(step / STEPS))
        state, info = step_once(settings, ready.network, key, state, batch)
        losses.append(float(info.loss))
    taken = ready.take(0, 3, ready.state())
    np.testing.assert_allclose(taken.infos.loss[:3], losses, rtol=1e-4)
    np.testing.assert_allclose(taken.state.images, state.images, atol=1e-5)


def test_it_stops_after_the_first_step_that_is_not_finite(ready: Ready) -> None:
    broken = ready.state()
    broken = broken._replace(images=broken.images.at[0].set(jnp.nan))
    result = ready.take(0, 5, broken)
    assert int(result.done) == 1
    quantity = METHOD.quantities[int(result.infos.failure[0]) - 1]
    assert quantity == "the distilled features"


def test_the_state_is_donated(ready: Ready) -> None:
    arguments = ready.arguments(0, 1, ready.state())
    ready.chunk(*arguments)
    assert arguments[2].images.is_deleted()


def test_keys_are_unlike_each_other_and_depend_on_the_seed() -> None:
    data = [
        tuple(np.asarray(jax.random.key_data(key)))
        for seed in (0, 1)
        for key in loop.run_keys(seed)
    ]
    assert len(set(data)) == len(data)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_all_finite_sees_one_bad_number(value: float) -> None:
    good = {"a": jnp.ones(3), "count": jnp.asarray(3)}
    assert bool(loop.all_finite(good))
    assert not bool(loop.all_finite({**good, "a": jnp.asarray([1.0, value])}))


def test_runs_that_differ_in_traced_settings_share_one_program(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    resolved = tiny().resolve()
    dataset = resolved.dataset
    network = build(
        resolved.settings.network,
        image_shape=dataset.image_shape,
        num_classes=dataset.num_classes,
    )

    def program() -> Any:
        return loop.chunk(network, batch_size=32)

    out = tmp_path_factory.mktemp("traced")
    distill(tiny(steps=4), out=out)
    # One for each size of training set that tests have run.
    before = program()._cache_size()
    assert before >= 1
    distill(
        tiny(drop_easy=0.1, segment=(0, 0.2), steps=4, seed=5, learning_rate=1e-3),
        out=out,
    )
    assert program()._cache_size() == before
