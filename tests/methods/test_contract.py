"""What every registered method must obey. A new method is tested by registering it."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import (
    Toy,
    as_double,
    assert_same_bytes,
    central_difference,
    double_network,
    double_precision,
    quick_jit,
    toy_convnet,
    toy_problem,
)

from isa_toolkit.methods import METHODS, Batch, Method, MethodSettings
from isa_toolkit.methods.base import traits_of

STEPS = 30

# Settings under which a registered method is another program, tested as one more method.
VARIANTS = {
    "frepo, single": {"augmentation": "single"},
    "frepo, mixup": {"augmentation": "mixup", "segment": (0.0, 0.0)},
}


class Case(NamedTuple):
    """One method on the toy problem, compiled.

    settings: as small as it goes.
    method: built for the toy ConvNet.
    toy: the problem.
    batch: target samples, drawn as the method wants them.
    state: before the first step.
    step: the compiled step.
    traces: how often the step was traced, one entry each time.
    """

    settings: MethodSettings
    method: Method
    toy: Toy
    batch: Batch
    state: Any
    step: Callable
    traces: list[int]

    def run(self, settings: MethodSettings, steps: int, seed: int = 0) -> list[Any]:
        """Return (state, info) after each of ``steps`` steps."""
        knobs, state, record = settings.knobs(steps=steps), self.state, []
        for step in range(steps):
            key = jax.random.fold_in(jax.random.key(seed), step)
            state, info = self.step(key, state, self.batch, knobs)
            record.append((state, info))
        return record


def small(name: str) -> MethodSettings:
    method = METHODS[name.partition(",")[0]]
    fields = {field.name for field in dataclasses.fields(method)}
    wanted: dict[str, Any] = {
        "pool_size": 3,
        "max_online_updates": 4,
        "most_online_steps": 2,
        "networks": 3,
        "inner_steps": 4,
        "tune": False,
        "student_steps": 3,
        "student_batch_size": 4,
        "target_epochs": 2,
        "max_start_epoch": 2,
        "student_learning_rate": 0.1,
        "rate_learning_rate": 1e-3,
        "candidates": 3,
        "expert_count": 2,
        "expert_epochs": 4,
        "expert_batch_size": 8,
    }
    chosen = {key: wanted[key] for key in fields & set(wanted)}
    settings = method(**chosen, **VARIANTS.get(name, {}))
    return settings.resolve(dataset="digits", images_per_class=2, num_classes=3)


def batch_of(settings: MethodSettings, toy: Toy) -> Batch:
    """Return the toy's target samples as the method draws them, with what it makes."""
    images, labels, _ = toy.batch
    classes = np.argmax(np.asarray(labels), axis=-1)
    drawing = traits_of(settings).drawing
    order = {
        "uniform": np.arange(len(classes)),
        "per_class": np.argsort(classes, kind="stable"),
        "none": np.arange(0),
    }[drawing]
    make, extra = settings.build(toy_convnet()).shards, ()
    if make is not None:
        shards = make(np.asarray(images), classes.astype(np.int32))
        extra = shards.gather(
            [shards.make(i, lambda: None) for i in range(len(shards.sizes))]
        )
    return Batch(images[order], labels[order], jax.tree.map(jnp.asarray, extra))


def changed(settings: MethodSettings) -> list[MethodSettings]:
    """Return the settings with each knob at another value.

    What a knob is, the method says: ``static`` puts every one at a fixed value.
    """
    numbers = [
        ("drop_easy", 0.4),
        ("drop_hard", 0.3),
        ("segment", (-1.0, 0.5)),
        ("segment", (0.0, 0.25)),
        ("ridge", 1e-3),
        ("learning_rate", 0.02),
        ("final_learning_rate", 0.5),
        ("online_learning_rate", 1e-3),
        ("momentum", 0.9),
        ("rate_learning_rate", 1e-2),
        ("transform_learning_rate", 1e-3),
        ("scale_learning_rate", 0.1),
        ("temperature_learning_rate", 0.1),
        ("inner_learning_rate", 1e-4),
        ("solve_learning_rate", 1e-4),
    ]
    if getattr(settings, "loss", None) == "cross_entropy":
        # Beyond the partner the cross-entropy is unbounded, and refused.
        numbers[2:4] = [("segment", (0.0, 0.0)), ("segment", (-0.5, -0.25))]
    fields = {field.name for field in dataclasses.fields(settings)}
    variants = []
    for name, value in numbers:
        # What has no meaning for a method is refused by its settings.
        with contextlib.suppress(ValueError):
            if name in fields:
                variants.append(dataclasses.replace(settings, **{name: value}))
    return variants


@pytest.fixture(scope="module", params=sorted([*METHODS, *VARIANTS]))
def case(request: pytest.FixtureRequest) -> Case:
    settings = small(request.param)
    method, toy, traces = settings.build(toy_convnet()), toy_problem(), []

    def step(*arguments: Any) -> Any:
        traces.append(1)
        return method.step(*arguments)

    state = quick_jit(method.init)(jax.random.key(3), toy.images, toy.labels)
    batch = batch_of(settings, toy)
    return Case(settings, method, toy, batch, state, quick_jit(step), traces)


def test_the_name_is_that_of_the_registry(case):
    assert METHODS[case.settings.name] is type(case.settings)


def test_a_knob_never_recompiles(case):
    variants = changed(case.settings)
    assert len(variants) >= 3
    first, info = case.run(case.settings, 1)[0]
    for settings in variants:
        # All that share a program say so: the queue of runs packs them by this.
        assert settings.static() == case.settings.static()
        state, _ = case.run(settings, 2)[0]
        assert jax.tree.structure(state) == jax.tree.structure(first)
    assert len(case.traces) == 1
    assert case.step._cache_size() == 1
    assert int(info.failure) == 0


def test_every_knob_does_something(case):
    plain = case.run(case.settings, 2)[-1][0]
    for settings in changed(case.settings):
        other = case.run(settings, 2)[-1][0]
        leaves = zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True)
        assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in leaves), str(
            settings
        )


def test_the_state_keeps_its_structure_shapes_and_kinds(case):
    def shapes(state):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)

    (state, info), *_ = case.run(case.settings, 1)
    assert shapes(state) == shapes(case.state)
    assert all(leaf.shape == () for leaf in jax.tree.leaves(info))
    images, labels = case.method.distilled(state)
    assert images.shape == case.toy.images.shape
    assert labels.shape == case.toy.labels.shape


def test_the_first_distilled_set_is_what_init_was_given(case):
    images, labels = case.method.distilled(case.state)
    np.testing.assert_array_equal(images, case.toy.images)
    np.testing.assert_array_equal(labels, case.toy.labels)


def test_the_same_key_gives_the_same_bytes_and_another_does_not(case):
    first, again, other = (case.run(case.settings, 3, seed)[-1] for seed in (5, 5, 6))
    assert_same_bytes(first, again)
    images = [
        np.asarray(case.method.distilled(state)[0]) for state, _ in (first, other)
    ]
    assert (images[0] != images[1]).any()


def test_the_loss_falls_on_the_toy_set(case):
    rate = {"dm": 0.3, "mtt": 3.0}.get(case.settings.name, 0.03)
    settings = dataclasses.replace(case.settings, learning_rate=rate)
    record = case.run(settings, STEPS)
    losses = [float(info.loss) for _, info in record]
    assert all(int(info.failure) == 0 for _, info in record)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_runs_batched_over_seeds_and_knobs_equal_single_ones(case):
    """Equal up to rounding: batched products add up in another order."""
    variants = [case.settings, *changed(case.settings)[:2]]
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(v.knobs(steps=2) for v in variants)
    )
    many = quick_jit(jax.vmap(case.method.step, in_axes=(0, 0, None, 0)))
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(variants)), case.state)
    for step in range(2):
        keys = jnp.stack(
            [jax.random.fold_in(jax.random.key(seed), step) for seed in range(3)]
        )
        states, _ = many(keys, states, case.batch, stacked)
    batched, _ = jax.vmap(case.method.distilled)(states)
    for seed, settings in enumerate(variants):
        state, _ = case.run(settings, 2, seed)[-1]
        alone, _ = case.method.distilled(state)
        moved = np.linalg.norm(alone - case.toy.images)
        assert moved > 0
        assert np.linalg.norm(batched[seed] - alone) < 1e-3 * moved


def test_gradients_are_finite_and_equal_central_differences(case):
    drawn = quick_jit(toy_convnet().init)(jax.random.key(2))
    with double_precision():
        method = case.settings.build(double_network(toy_convnet(), drawn))
        images, labels, batch = as_double((*case.toy[:2], case.batch))
        key, knobs = jax.random.key(1), as_double(case.settings.knobs(steps=2))
        start = quick_jit(method.init)(key, images, labels)

        def loss(distilled):
            state = start._replace(images=distilled[0], labels=distilled[1])
            return method.step(key, state, batch, knobs)[1].loss

        # One program for value and slope: it takes a while to compile.
        compiled = quick_jit(jax.value_and_grad(loss))
        _, gradient = compiled((images, labels))
        draw = np.random.default_rng(0)
        # Hard labels are not learned.
        learns = getattr(case.settings, "learn_labels", False)
        for part in (0, 1, 0, 1) if learns else (0, 0):
            direction = [jnp.zeros_like(images), jnp.zeros_like(labels)]
            direction[part] = jnp.asarray(draw.normal(size=gradient[part].shape))
            assert np.isfinite(gradient[part]).all()
            slope = float(jnp.vdot(gradient[part], direction[part]))
            numeric = central_difference(
                lambda point: compiled(point)[0],
                (images, labels),
                tuple(direction),
                1e-6,
            )
            assert slope == pytest.approx(numeric, rel=1e-4, abs=1e-6)
            assert slope != 0


def test_documented_fields_are_the_real_ones(case):
    state, info = case.run(case.settings, 1)[0]
    for value in (state, info, case.settings.knobs(steps=1), case.method):
        kind = type(value)
        # Python 3.13 strips the indentation itself.
        text = inspect.cleandoc(kind.__doc__)
        documented = re.findall(r"^(\w+): ", text, re.MULTILINE)
        assert documented == list(kind._fields), kind


def test_a_failure_can_be_named(case):
    assert case.method.quantities
    assert all(name == name.strip() for name in case.method.quantities)
    assert len(set(case.method.quantities)) == len(case.method.quantities)
