"""RCIG: its step against NumPy, its pool, running mean and rates, its settings."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from toy import dense_network, quick_jit, toy_problem

from isa_toolkit.methods import METHODS, RCIG, implicit_gradient, rcig
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.methods.implicit_gradient import Descent

SMALL = {"pool_size": 2, "inner_steps": 2, "tune": False, "drop_easy": 0.0}


@quick_jit
def init(settings):
    toy = toy_problem()
    given = (jax.random.key(0), toy.images, toy.labels)
    return METHODS["rcig"].init(settings, dense_network(), *given)


@quick_jit
def step(settings, *given):
    return METHODS["rcig"].step(settings, dense_network(), *given)


def resolve(settings: RCIG) -> RCIG:
    return settings.resolve(dataset="mine", images_per_class=2, num_classes=3)


def run(settings: RCIG, steps: int = 1) -> list:
    """Return the method, and states and diagnostics step by step."""
    settings = as_arrays(resolve(settings))
    state = init(settings)
    record = [(state, None)]
    for number in range(steps):
        key = jax.random.fold_in(jax.random.key(1), number)
        state, info = step(settings, key, state, toy_problem().batch)
        record.append((state, info))
    return [METHODS["rcig"], record]


def run_of(**settings) -> list:
    return run(RCIG(**{**SMALL, "segment": (0.0, 0.0), **settings}))


LIVELY = RCIG(
    **SMALL,
    average_decay=0.8,
    learning_rate=0.05,
    max_online_updates=6,
    most_online_steps=4,
)


@pytest.mark.parametrize(("loss", "flips"), [("cross_entropy", False), ("mse", True)])
def test_without_a_tangent_the_loss_is_that_of_an_absolute_ridge(loss, flips):
    _, record = run_of(loss=loss, flips=flips, inner_learning_rate=0.0)
    start, (_, info) = record[0][0], record[1]
    toy, network = toy_problem(), dense_network()
    params = jax.tree.map(lambda leaf: leaf[int(info.member)], start.pool.params)
    state = jax.tree.map(lambda leaf: leaf[int(info.member)], start.pool.state)
    images, labels = np.asarray(toy.images), np.asarray(toy.labels, np.float64)
    if flips:
        images = np.concatenate([images, images[:, :, ::-1]])
        labels = np.concatenate([labels, labels])
    distilled, target = (
        np.asarray(network.apply(params, state, x).features, np.float64)
        for x in (images, toy.batch.images)
    )
    # Per distilled image before mirroring, not relative to the kernel.
    lam = 5e-4 * len(toy.images)
    kernel = distilled @ distilled.T + lam * np.eye(len(images))
    prediction = target @ distilled.T @ np.linalg.solve(kernel, labels)
    wanted = np.asarray(toy.batch.labels)
    if loss == "mse":
        expected = 0.5 * np.square(prediction - wanted).sum(1).mean()
    else:
        log_chance = special.log_softmax(prediction, axis=1)
        expected = -log_chance[np.arange(24), wanted.argmax(1)].mean()
    assert float(info.target_loss) == pytest.approx(expected, rel=1e-3)
    # Centred one-hot labels have margin 1, which counts up to 1/(2C).
    assert float(info.label_loss) == pytest.approx(-1 / 6)
    assert float(info.loss) == pytest.approx(expected - 1 / 6, rel=1e-3)


def test_the_first_step_moves_each_number_by_its_rate():
    _, record = run_of(loss="cross_entropy", flips=False, inner_learning_rate=1e-3)
    (before, _), (after, info) = record
    for name, rate in (("images", 3e-3), ("labels", 3e-3), ("log_temperature", 3e-2)):
        moved = np.abs(getattr(after, name) - getattr(before, name))
        assert np.median(moved) == pytest.approx(rate / 0.9, rel=1e-2), name
    assert 0 < float(info.implicit_ratio) <= 1.0001
    assert int(info.failure) == 0


@pytest.mark.parametrize("flips", [False, True])
def test_the_implicit_gradient_is_minus_that_of_the_slope(flips):
    """``- d/dpsi <v, dL/domega>`` of the inner objective of the mirrored set."""
    toy, network = toy_problem(), dense_network(2)
    params, state = network.init(jax.random.key(1))
    base = implicit_gradient.Base(
        network, params, state, implicit_gradient.head_index(network)
    )
    draw = np.random.default_rng(0)
    omega, along = (
        tuple(
            jnp.asarray(0.1 * draw.normal(size=leaf.shape), jnp.float32)
            for leaf in implicit_gradient.zero_tangent(base)
        )
        for _ in range(2)
    )
    settings = RCIG(**SMALL, flips=flips)
    learned = (toy.images, toy.labels, jnp.zeros(()))

    def slope(images, labels):
        if flips:
            images = jnp.concatenate([images, images[:, :, ::-1]])
            labels = jnp.concatenate([labels, labels])
        problem = implicit_gradient.inner_problem(base, images, labels, 0.3)
        loss = functools.partial(implicit_gradient.objective, problem)
        return jax.jvp(loss, (omega,), (along,))[1]

    def run():
        got = rcig._implicit(
            settings, base, learned, omega, along, jnp.asarray(0.3), jax.random.key(0)
        )
        return got, jax.grad(slope, argnums=(0, 1))(toy.images, toy.labels)

    got, expected = quick_jit(run)()
    for one, other in zip(got, expected, strict=False):
        np.testing.assert_allclose(one, -other, rtol=1e-3, atol=1e-5)
    # The inner problem knows no temperature.
    assert float(got[2]) == 0


def test_the_result_is_the_corrected_running_mean():
    method, record = run(LIVELY, steps=4)
    states = [state for state, _ in record[1:]]
    weights = 0.2 * 0.8 ** np.arange(3, -1, -1)
    for place in (0, 1):
        values = [np.asarray((state.images, state.labels)[place]) for state in states]
        mean = sum(w * v for w, v in zip(weights, values, strict=True)) / weights.sum()
        got = method.distilled(states[-1])[place]
        np.testing.assert_allclose(got, mean, rtol=1e-4, atol=1e-5)
    # After one step it is that step's images.
    first = method.distilled(states[0])[0]
    np.testing.assert_allclose(first, states[0].images, rtol=1e-5, atol=1e-6)


def test_the_member_that_was_used_takes_some_steps_and_the_old_one_is_replaced():
    _, record = run(LIVELY, steps=12)
    seen, replaced = set(), 0
    for (before, _), (after, info) in itertools.pairwise(record):
        member = int(info.member)
        older = int(after.pool.age[member]) - int(before.pool.age[member])
        if int(after.pool.age[member]) == 0:
            replaced += 1
            # Fresh moments, too.
            assert int(after.pool.optimizer.count[member]) == 0
        else:
            assert 1 <= older <= 4
            assert int(after.pool.age[member]) < 6
            seen.add(older)
        other = 1 - member
        assert int(after.pool.age[other]) == int(before.pool.age[other])
    assert replaced > 0
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("step", "worse", "monotone", "losses", "factor", "left"),
    [
        (48, 20, 40, [2.0, 1.0], 1.0, (20, 41)),
        (49, 14, 0, [1.0, 2.0], 0.9, (0, 0)),
        (49, 14, 0, [2.0, 1.0], 1.0, (0, 0)),
        (49, 0, 34, [2.0, 1.0], 1.05, (0, 0)),
        (49, 0, 34, [1.0, 1.0], 1.0, (0, 0)),
    ],
)
def test_every_fifty_steps_the_inner_rate_may_move(
    step, worse, monotone, losses, factor, left
):
    """29 % of the runs worse: times .9; 70 % of them monotone: times 1.05."""
    settings = RCIG(**{**SMALL, "tune": True})
    state = init(as_arrays(resolve(settings)))
    rates = rcig.Rates(
        jnp.asarray(1.0), jnp.asarray(2.0), jnp.asarray(worse), jnp.asarray(monotone)
    )
    state = state._replace(step=jnp.asarray(step), rates=rates)
    following = rcig._adapted(
        settings, state, Descent((), jnp.asarray(losses)), rates.inner, rates.solve
    )
    assert float(following.inner) == pytest.approx(factor)
    assert float(following.solve) == 2
    assert (int(following.worse), int(following.monotone)) == left
    fixed = dataclasses.replace(settings, tune=False)
    kept = rcig._adapted(
        fixed, state, Descent((), jnp.asarray(losses)), rates.inner, rates.solve
    )
    assert float(kept.inner) == 1


def test_rates_are_tuned_at_the_first_step_and_kept():
    _, record = run(RCIG(**{**SMALL, "tune": True}), steps=2)
    first, second = record[1][1], record[2][1]
    for name, start in (("inner_rate", 1e-5), ("solve_rate", 5e-5)):
        tuned = float(getattr(first, name))
        # So many factors 1.2 and one .84.
        count = np.log(tuned / 0.84 / start) / np.log(1.2)
        assert count > 5
        assert count == pytest.approx(round(count), abs=1e-3)
        assert float(getattr(second, name)) == tuned


@pytest.mark.parametrize("count", [0, 5, 9])
def test_all_rows_carry_a_gradient_unless_fewer_are_asked_for(count):
    images = jnp.arange(5.0).reshape(5, 1, 1, 1)
    options = {"count": count, "key": jax.random.key(0), "at_once": 2}
    slope = jax.grad(
        lambda x: jnp.sum(
            implicit_gradient.with_gradient(lambda y: y**2, x, (), **options)
        )
    )(images)
    np.testing.assert_allclose(slope, 2 * images)


@pytest.mark.parametrize("draws", [1, 2])
def test_a_subset_carries_the_gradient_and_all_the_values(draws):
    """Of several draws it is the mean of their gradients."""
    images, factor = 1 + jnp.arange(6.0).reshape(6, 1, 1, 1), jnp.asarray(3.0)

    def total(x, factor, key):
        values = implicit_gradient.with_gradient(
            lambda y, factor: (factor * y**2, -y), x, (factor,),
            count=2, key=key, draws=draws, at_once=4,
        )  # fmt: skip
        return jnp.sum(values[0]), values

    chosen = []
    for seed in range(3):
        slopes, values = jax.grad(total, argnums=(0, 1), has_aux=True)(
            images, factor, jax.random.key(seed)
        )
        np.testing.assert_allclose(values[0], 3 * images**2)
        np.testing.assert_allclose(values[1], -images)
        # How often each row was drawn.
        times = draws * np.asarray(slopes[0] / (6 * images)).ravel()
        assert times.sum() == pytest.approx(2 * draws)
        np.testing.assert_allclose(times, np.round(times), atol=1e-6)
        of_factor = (times * np.arange(1, 7) ** 2).sum() / draws
        assert float(slopes[1]) == pytest.approx(float(of_factor))
        chosen.append(tuple(np.round(times)))
    assert len(set(chosen)) > 1


def test_subsets_leave_the_loss_alone():
    settings = {"loss": "cross_entropy", "flips": False, "inner_learning_rate": 0.0}
    whole = run_of(**settings)[1][1]
    batches = {"inner_batch_size": 4, "online_batch_size": 3}
    part = run_of(**settings, distilled_subset=2, target_subset=5, **batches)[1][1]
    assert float(part[1].loss) == pytest.approx(float(whole[1].loss), rel=1e-5)
    moved = np.abs(part[0].images - toy_problem().images).reshape(6, -1).max(1)
    assert np.count_nonzero(moved > 1e-4) == 2
    assert np.abs(whole[0].images - toy_problem().images).reshape(6, -1).max(1).all()


# --- settings ---------------------------------------------------------------------------


def test_what_is_open_is_filled_in_by_row():
    def resolved(dataset, count, classes, **settings):
        return RCIG(**settings).resolve(
            dataset=dataset, images_per_class=count, num_classes=classes
        )

    photographs = resolved("imagenette", 1, 10)
    assert (photographs.ridge, photographs.flips) == (0.05, True)
    assert (photographs.distilled_subset, photographs.target_subset) == (0, 256)
    large = resolved("tiny_imagenet", 10, 200, target_subset=0)
    assert (large.flips, large.distilled_subset, large.target_subset) == (False, 500, 0)
    assert (large.inner_batch_size, large.online_batch_size) == (500, 256)
    hundred = resolved("cifar100", 50, 100)
    assert (hundred.subset_draws, hundred.inner_batch_size) == (2, 2000)
    digits = resolved("digits", 1, 10, learning_rate=0.5)
    assert (digits.learning_rate, digits.ridge, digits.flips) == (0.5, 5e-4, False)
    own = resolved("my_cells", 1, 4)
    assert (own.learning_rate, own.flips, own.target_subset) == (3e-3, False, 0)
    with pytest.warns(UserWarning, match="no published settings of RCIG for 'cifar10'"):
        assert resolved("cifar10", 7, 10).flips is True
    for settings in (photographs, large, digits, own):
        fields = dataclasses.asdict(settings)
        assert None not in fields.values()
        assert settings.segment == (0.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"segment": (0.0, 0.5)}, r"segment must lie in \[-1, 0\]"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0"),
        ({"inner_learning_rate": -1.0}, "inner_learning_rate must be at least 0"),
        ({"average_decay": 1.0}, "average_decay must be at least 0"),
        ({"inner_steps": 0}, "inner_steps must be at least 1"),
        ({"max_online_updates": 0}, "max_online_updates must be at least 1"),
        ({"target_subset": -1}, "target_subset must be at least 0"),
        ({"inner_batch_size": -1}, "inner_batch_size must be at least 0"),
        ({"subset_draws": 0}, "subset_draws must be at least 1"),
    ],
)
def test_bad_settings_are_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        RCIG(**settings)


@pytest.mark.parametrize("name", ["learn_labels", "label_margin", "tune", "flips"])
def test_a_word_is_no_truth_value(name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 'no'"):
        RCIG(**{name: "no"})
