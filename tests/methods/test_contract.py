"""What every registered method must obey. A new method is tested by registering it."""

from __future__ import annotations

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
    Bound,
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

from isa_toolkit.methods import METHODS, Batch, Method
from isa_toolkit.methods.base import as_arrays, static_fields

pytestmark = pytest.mark.slow

STEPS = 30

# Settings under which a registered method is another program, tested as one more method.
VARIANTS = {
    "frepo, single": {"augmentation": "single"},
    "frepo, mixup": {"augmentation": "mixup", "segment": (0.0, 0.0)},
}

# Values that make a method small enough for a test; a method takes those that it has.
SMALL = {
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


class Case(NamedTuple):
    """One method on the toy problem, compiled.

    settings: As small as it goes.
    method: Entry of the registry.
    toy: The problem.
    batch: Target samples, drawn as the method wants them.
    init: The compiled init: settings -> state.
    step: The compiled step.
    traces: How often the step was traced, one entry each time.
    """

    settings: Any
    method: Method
    toy: Toy
    batch: Batch
    init: Callable
    step: Callable
    traces: list[int]

    def run(self, settings: Any, steps: int, seed: int = 0) -> list[Any]:
        """Return (state, info) after each of ``steps`` steps."""
        settings, record = as_arrays(settings), []
        state = self.init(settings)
        for step in range(steps):
            key = jax.random.fold_in(jax.random.key(seed), step)
            batch = self.batch._replace(progress=jnp.float32(step / max(steps, 2)))
            state, info = self.step(settings, key, state, batch)
            record.append((state, info))
        return record


def small(name: str) -> Any:
    kind = METHODS[name.partition(",")[0]].settings
    fields = {field.name for field in dataclasses.fields(kind)}
    chosen = {key: SMALL[key] for key in fields & set(SMALL)}
    settings = kind(**chosen, **VARIANTS.get(name, {}))
    return settings.resolve(dataset="digits", images_per_class=2, num_classes=3)


def batch_of(settings: Any, method: Method, toy: Toy, folder: Any) -> Batch:
    """Return the toy's target samples as the method draws them, with what it prepares."""
    images, labels, *_ = toy.batch
    classes = np.argmax(np.asarray(labels), axis=-1)
    order = {
        "epochs": np.arange(len(classes)),
        "per_class": np.argsort(classes, kind="stable"),
        "none": np.arange(0),
    }[method.sampling]
    extra = ()
    if method.prepare is not None:
        extra = method.prepare(
            settings,
            toy_convnet(),
            np.asarray(images),
            classes.astype(np.int32),
            folder,
        )
    return Batch(images[order], labels[order], jax.tree.map(jnp.asarray, extra))


def changed(settings: Any) -> dict[str, Any]:
    """Return, for each traced field, the settings with another value of it.

    A value that the settings refuse is followed by the next candidate.
    """
    variants = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in static_fields(settings):
            continue
        candidates = [0.0, 0.9 * value, value + 0.4] if np.isscalar(value) else []
        if field.name == "segment":
            candidates = [(-1.0, -0.25), (-0.75, 0.0), (-0.5, -0.25)]
        if field.name == "select_from_accuracy":
            candidates = [1.0]  # what the toy problem does not reach
        for other in candidates[::-1]:
            try:
                variant = dataclasses.replace(settings, **{field.name: other})
            except ValueError:
                continue
            if variant != settings:
                variants[field.name] = variant
                break
    return variants


@pytest.fixture(scope="module", params=sorted([*METHODS, *VARIANTS]))
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    settings, toy, traces = small(request.param), toy_problem(), []
    bound = Bound(settings, toy_convnet())

    def step(*arguments: Any) -> Any:
        traces.append(1)
        return bound.step(*arguments)

    @quick_jit
    def init(settings: Any) -> Any:
        return bound.method.init(
            settings, bound.network, jax.random.key(3), toy.images, toy.labels
        )

    folder = tmp_path_factory.mktemp("prepared")
    batch = batch_of(settings, bound.method, toy, folder)
    return Case(settings, bound.method, toy, batch, init, quick_jit(step), traces)


def test_the_name_is_that_of_the_registry(case):
    assert METHODS[case.settings.name] is case.method
    assert case.method.settings is type(case.settings)


def test_a_traced_field_never_recompiles(case):
    variants = changed(case.settings)
    traced = {field.name for field in dataclasses.fields(case.settings)}
    traced -= set(static_fields(case.settings))
    # A variant that allows no segment has no other value of it.
    assert traced - set(variants) <= {"segment"}
    assert {"drop_easy", "drop_hard", "learning_rate"} <= set(variants)
    first, info = case.run(case.settings, 1)[0]
    for settings in variants.values():
        # All that share a program say so: the queue of runs packs them by this.
        assert jax.tree.structure(settings) == jax.tree.structure(case.settings)
        state, _ = case.run(settings, 2)[0]
        assert jax.tree.structure(state) == jax.tree.structure(first)
    assert len(case.traces) == 1
    assert case.step._cache_size() == 1
    assert case.init._cache_size() == 1
    assert int(info.failure) == 0


def test_every_traced_field_does_something(case):
    plain = case.run(case.settings, 2)[-1][0]
    for name, settings in changed(case.settings).items():
        other = case.run(settings, 2)[-1][0]
        leaves = zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True)
        assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in leaves), name


def test_all_samples_are_kept_until_the_selection_sets_in(case):
    def run(**changes):
        return case.run(dataclasses.replace(case.settings, **changes), 4)

    plain, selected = run(drop_easy=0.0, drop_hard=0.0), run()
    assert_same_bytes(run(select_from=1.0), plain)
    late = run(select_from=0.5)
    assert_same_bytes(late[:2], plain[:2])
    everything, fewer = float(plain[0][1].kept), float(selected[0][1].kept)
    assert [float(info.kept) for _, info in late] == [everything] * 2 + [fewer] * 2
    assert everything > fewer
    if hasattr(case.settings, "select_from_accuracy"):
        bound = float(selected[0][1].target_accuracy)
        first, above = (
            run(select_from_accuracy=level)[0][1].kept
            for level in (bound, min(bound + 0.01, 1.0))
        )
        assert (float(first), float(above)) == (fewer, everything)
    assert len(case.traces) == 1


def test_the_state_keeps_its_structure_shapes_and_types(case):
    def shapes(state):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)

    (state, info), *_ = case.run(case.settings, 1)
    assert shapes(state) == shapes(case.init(as_arrays(case.settings)))
    assert all(leaf.shape == () for leaf in jax.tree.leaves(info))
    images, labels = case.method.distilled(state)
    assert images.shape == case.toy.images.shape
    assert labels.shape == case.toy.labels.shape


def test_the_first_distilled_set_is_what_init_was_given(case):
    images, labels = case.method.distilled(case.init(as_arrays(case.settings)))
    np.testing.assert_array_equal(images, case.toy.images)
    # A method may scale its labels.
    scale = np.max(labels) / np.max(case.toy.labels)
    np.testing.assert_allclose(labels, scale * case.toy.labels, rtol=1e-6)


def test_no_two_leaves_of_the_state_have_one_buffer(case):
    """Else it cannot be donated."""
    leaves = jax.tree.leaves(case.init(as_arrays(case.settings)))
    pointers = {leaf.unsafe_buffer_pointer() for leaf in leaves}
    assert len(pointers) == len(leaves)


def test_the_same_key_gives_the_same_bytes_and_another_does_not(case):
    first, again, other = (case.run(case.settings, 3, seed)[-1] for seed in (5, 5, 6))
    assert_same_bytes(first, again)
    images = [
        np.asarray(case.method.distilled(state)[0]) for state, _ in (first, other)
    ]
    assert (images[0] != images[1]).any()


def test_the_loss_falls_on_the_toy_set(case):
    """At one of some learning rates: how large a step should be is the method's."""
    ratios = []
    for rate in (0.03, 0.3, 3.0):
        settings = dataclasses.replace(case.settings, learning_rate=rate)
        record = case.run(settings, STEPS)
        losses = [float(info.loss) for _, info in record]
        if all(int(info.failure) == 0 for _, info in record):
            ratios.append(np.mean(losses[-5:]) - 0.8 * np.mean(losses[:5]))
    assert min(ratios) < 0


def test_runs_batched_over_seeds_and_settings_equal_single_ones(case):
    """Equal up to rounding: batched products add up in another order."""
    variants = [case.settings, *list(changed(case.settings).values())[:2]]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(as_arrays, variants))
    bound = Bound(case.settings, toy_convnet())
    many = quick_jit(jax.vmap(bound.step, in_axes=(0, 0, 0, None)))
    states = [case.init(as_arrays(settings)) for settings in variants]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    for step in range(2):
        keys = jnp.stack(
            [jax.random.fold_in(jax.random.key(seed), step) for seed in range(3)]
        )
        batch = case.batch._replace(progress=jnp.float32(step / 2))
        states, _ = many(stacked, keys, states, batch)
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
        network = double_network(toy_convnet(), drawn)
        images, labels, batch = as_double((*case.toy[:2], case.batch))
        key, settings = jax.random.key(1), as_double(as_arrays(case.settings))
        start = quick_jit(lambda *given: case.method.init(settings, network, *given))(
            key, images, labels
        )
        labels = start.labels

        def loss(distilled):
            state = start._replace(images=distilled[0], labels=distilled[1])
            return case.method.step(settings, network, key, state, batch)[1].loss

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
    for value in (state, info):
        kind = type(value)
        # Python 3.13 strips the indentation itself.
        text = inspect.cleandoc(kind.__doc__)
        documented = re.findall(r"^(\w+): ", text, re.MULTILINE)
        assert documented == list(kind._fields), kind
    for kind in (type(case.settings), Method):
        text = inspect.cleandoc(kind.__doc__)
        listed = text.partition("Attributes:\n")[2].partition("\n\n")[0]
        documented = re.findall(r"^ {4}(\w+): ", listed, re.MULTILINE)
        fields = [field.name for field in dataclasses.fields(kind)]
        assert sorted(documented) == sorted(fields), kind


def test_a_failure_can_be_named(case):
    quantities = case.method.quantities
    assert quantities
    assert len(set(quantities)) == len(quantities)
    assert set(case.method.remedies) <= set(quantities)
    values = dataclasses.asdict(case.settings)
    assert all(text.format(**values) for text in case.method.remedies.values())


def test_settings_suggest_the_keyword_that_was_meant(case):
    with pytest.raises(TypeError, match="learning_rate"):
        type(case.settings)(lr=0.1)
