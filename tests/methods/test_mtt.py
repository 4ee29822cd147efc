"""MTT's own laws: the unrolled student, its memory, its meta-gradient."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import (
    CLASSES,
    Bound,
    as_double,
    central_difference,
    dense_network,
    double_precision,
    quick_jit,
    toy_problem,
)

from isa_toolkit.methods import METHODS, MTT, Batch
from isa_toolkit.methods.base import as_arrays, static_fields
from isa_toolkit.methods.expert_buffer import flat_size, unravel_of
from isa_toolkit.methods.mtt import skip_unused, unroll
from isa_toolkit.networks import NetworkSettings, build
from isa_toolkit.networks.base import Network, NetworkOutput

pytestmark = pytest.mark.slow

PLAIN = MTT(
    candidates=1,
    drop_easy=0,
    segment=(0, 0),
    ops=(),
    student_steps=2,
    target_epochs=2,
    max_start_epoch=1,
    student_batch_size=6,
    student_learning_rate=0.1,
    learning_rate=0.5,
    rate_learning_rate=1e-3,
)


def trajectory(experts: int = 1, snapshots: int = 3) -> jax.Array:
    draw = np.random.default_rng(0)
    size = (experts, snapshots, flat_size(dense_network()))
    return jnp.asarray(0.2 * draw.normal(size=size).cumsum(1), jnp.float32)


def student(images, rate, first, *, steps=2):
    """The plain student, written out."""
    network, toy = dense_network(), toy_problem()
    unravel, norms = unravel_of(network)
    classes = jnp.argmax(toy.labels, -1)

    def entropy(theta):
        logits = network.apply(unravel(theta), norms, images, train=True).logits
        scores = jax.nn.log_softmax(logits)
        return -jnp.mean(scores[jnp.arange(len(classes)), classes])

    theta = first
    for _ in range(steps):
        theta = theta - rate * jax.grad(entropy)(theta)
    return theta


def take(settings: MTT, count: int = 1, extra: Any = None):
    toy = toy_problem()
    bound = Bound(settings, dense_network())
    state = bound.init(jax.random.key(0), toy.images, toy.labels)
    batch = Batch(
        toy.images[:0], toy.labels[:0], trajectory() if extra is None else extra
    )
    step, record = quick_jit(bound.step), []
    for number in range(count):
        key = jax.random.fold_in(jax.random.key(1), number)
        state, info = step(as_arrays(settings), key, state, batch)
        record.append((state, info))
    return toy, record


def test_two_steps_are_momentum_on_the_distance_to_the_expert():
    toy, record = take(PLAIN, 2)
    first, _, target = trajectory()[0]

    def loss(images, rate):
        end = student(images, rate, first)
        return jnp.sum((end - target) ** 2) / jnp.sum((first - target) ** 2)

    value_and_slopes = quick_jit(jax.value_and_grad(loss, argnums=(0, 1)))
    images, rate, velocity, speed = toy.images, 0.1, 0.0, 0.0
    for state, info in record:
        value, (slope, rate_slope) = value_and_slopes(images, rate)
        assert float(info.loss) == pytest.approx(float(value), rel=1e-4)
        velocity, speed = 0.5 * velocity + slope, 0.5 * speed + rate_slope
        images = images - 0.5 * velocity
        rate = rate * np.exp(-1e-3 * speed / rate)
        np.testing.assert_allclose(state.images, images, atol=1e-4)
        assert float(state.rate) == pytest.approx(float(rate), rel=1e-5)
        np.testing.assert_array_equal(state.labels, toy.labels)


def test_the_meta_gradient_equals_finite_differences():
    with double_precision():
        toy = as_double(toy_problem())
        first, _, target = as_double(trajectory())[0]

        def loss(point):
            images, rate = point
            end = unroll(
                dense_network(), first, images, toy.labels, rate, jax.random.key(0),
                steps=2, batch_size=6, ops=("color", "crop"),
            )  # fmt: skip
            return jnp.sum((end - target) ** 2)

        compiled = quick_jit(jax.value_and_grad(loss))
        point = (toy.images, jnp.asarray(0.1, "float64"))
        _, (slope, rate_slope) = compiled(point)
        draw = np.random.default_rng(0)
        direction = jnp.asarray(draw.normal(size=slope.shape))
        for along, expected in (
            ((direction, jnp.asarray(0.0)), float(jnp.vdot(slope, direction))),
            ((jnp.zeros_like(slope), jnp.asarray(1.0)), float(rate_slope)),
        ):
            numeric = central_difference(lambda p: compiled(p)[0], point, along, 1e-6)
            assert expected == pytest.approx(numeric, rel=1e-6)
            assert expected != 0


def memory(steps: int) -> int:
    """Return the bytes that XLA sets aside for the meta-gradient."""
    network = build(
        NetworkSettings(name="convnet_in", width=4, depth=2),
        image_shape=(8, 8, 1),
        num_classes=CLASSES,
    )
    images = jnp.zeros((24, 8, 8, 1))
    labels = jnp.eye(CLASSES)[jnp.arange(24) % CLASSES]

    def loss(images, theta):
        end = unroll(
            network, theta, images, labels, jnp.float32(0.1), jax.random.key(0),
            steps=steps, batch_size=24, ops=(),
        )  # fmt: skip
        return jnp.sum(end**2)

    theta = jnp.zeros(flat_size(network))
    compiled = quick_jit(jax.grad(loss)).lower(images, theta).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_by_parameters_and_not_by_activations():
    network = build(
        NetworkSettings(name="convnet_in", width=4, depth=2),
        image_shape=(8, 8, 1),
        num_classes=CLASSES,
    )
    short, long = map(memory, (8, 40))
    kept = (long - short) / 32
    # One parameter vector, the indices of the batch and a key.
    assert kept < 1.5 * 4 * flat_size(network) + 1024


def test_a_student_goes_through_its_images_in_full_batches():
    """Each image once per permutation: seen by the sum of the images it is shown."""

    def apply(params, state, images, train=False):
        del train
        flat = images.reshape(images.shape[0], -1)
        return NetworkOutput(flat @ params["w"], flat, state)

    network = Network(
        "linear",
        lambda key: ({"w": jnp.zeros((5, CLASSES))}, {}),
        apply,
        (1, 5, 1),
        CLASSES,
    )
    images = jnp.eye(5)[:, None, :, None]
    labels = jnp.eye(CLASSES)[jnp.array([0, 0, 0, 0, 0])]
    ends = [
        quick_jit(unroll, static_argnums=0, static_argnames=("steps", "batch_size", "ops"))(
            network, jnp.zeros(5 * CLASSES), images, labels, jnp.float32(1e-3),
            jax.random.key(2), steps=steps, batch_size=2, ops=(),
        )
        for steps in (2, 4)
    ]  # fmt: skip
    moved = [(np.asarray(end).reshape(5, CLASSES)[:, 0] > 0).sum() for end in ends]
    assert moved[0] == 4
    assert moved[1] in (4, 5)


def test_the_step_size_stays_positive_however_large_its_learning_rate():
    settings = dataclasses.replace(PLAIN, rate_learning_rate=0.05)
    _, record = take(settings, 5)
    assert all(float(state.rate) > 0 for state, _ in record)
    assert float(record[-1][0].rate) != pytest.approx(0.1)


def test_of_the_candidates_the_hard_ones_are_kept():
    settings = dataclasses.replace(PLAIN, candidates=5, max_start_epoch=3)
    extra = trajectory(experts=4, snapshots=5)
    means = [
        float(
            take(dataclasses.replace(settings, drop_easy=easy), extra=extra)[1][0][
                1
            ].loss
        )
        for easy in (0.0, 0.4, 0.8)
    ]
    assert means[0] < means[1] < means[2]
    _, record = take(dataclasses.replace(settings, drop_easy=0.4), extra=extra)
    assert float(record[0][1].kept) == 3


def test_experts_that_are_not_finite_are_named():
    _, record = take(PLAIN, extra=trajectory().at[0, 2, 0].set(jnp.nan))
    quantities = METHODS["mtt"].quantities
    assert quantities[int(record[0][1].failure) - 1] == "the experts' trajectories"


def test_what_it_learned_goes_with_the_set():
    _, record = take(PLAIN)
    learned = METHODS["mtt"].learned(record[0][0])
    assert learned == {"student_learning_rate": record[0][0].rate}


def test_the_published_row_fills_what_is_left_open():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = MTT(student_steps=7).resolve(
            dataset="cifar10", images_per_class=1, num_classes=10
        )
    assert (full.student_steps, full.target_epochs, full.max_start_epoch) == (7, 2, 2)
    assert (full.learning_rate, full.rate_learning_rate) == (100, 1e-7)
    assert (full.expert_count, full.expert_epochs) == (100, 50)
    assert full.student_batch_size == 10
    with pytest.warns(UserWarning, match="no published settings of MTT for 'mnist'"):
        MTT().resolve(dataset="mnist", images_per_class=1, num_classes=10)


def test_what_prepare_reads_is_static():
    """So runs that share a program share their experts, too."""
    names = {field.name for field in dataclasses.fields(MTT)}
    experts = {name for name in names if name.startswith("expert_")}
    assert experts < set(static_fields(MTT()))
    assert METHODS["mtt"].sampling == "none"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"candidates": 1}, "candidates must be at least 2 where .*, got 1. Draw more"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"expert_drop_easy": 1.0}, "expert_drop_easy must be at least 0"),
        ({"expert_segment": (-1, 0)}, r"expert_segment must be \(0, 0\) when expert_p"),
        (
            {"expert_segment": (0, 0.5), "expert_partner": "nearest"},
            "expert_segment must lie in",
        ),
        ({"student_steps": 0}, "student_steps must be at least 1"),
        ({"student_learning_rate": 0.0}, "student_learning_rate must be above 0"),
        ({"rate_learning_rate": -1.0}, "rate_learning_rate must be at least 0"),
        (
            {"max_start_epoch": 5, "target_epochs": 2, "expert_epochs": 5},
            "max_start_epoch - 1 .* must be at most expert_epochs = 5, got 6",
        ),
        ({"ops": ("spin",)}, "each of ops must be one of"),
    ],
)
def test_bad_settings_get_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        MTT(**changes)
    assert "\n" not in str(caught.value)


def test_a_segment_beyond_the_sample_is_fine_within_a_class():
    settings = MTT(expert_segment=(0, 0.5), expert_partner="same_class")
    assert settings.expert_segment == (0, 0.5)


def test_what_is_not_resolved_does_not_run():
    with pytest.raises(ValueError, match="learning_rate must be resolved"):
        take(dataclasses.replace(PLAIN, learning_rate=None))
    with pytest.raises(ValueError, match="student_learning_rate must be resolved"):
        take(MTT())


def test_a_dropped_candidate_costs_no_backward_pass():
    # Its slope at 0 is infinite, so that going back would leave not-a-number.
    def root(learned, fixed):
        return jnp.sqrt(learned * fixed)

    def loss_of(learned, weights):
        values = jax.lax.map(
            lambda fixed: skip_unused(root)(learned, fixed), jnp.array([0.0, 4.0])
        )
        return jnp.sum(weights * values)

    slope = jax.jit(jax.grad(loss_of))
    assert float(slope(1.0, jnp.array([0.0, 3.0]))) == pytest.approx(3.0)
    assert not np.isfinite(float(slope(1.0, jnp.array([1.0, 3.0]))))
    assert float(loss_of(1.0, jnp.array([5.0, 3.0]))) == 6.0


def test_side_by_side_nothing_is_left_out_and_the_gradient_is_the_same():
    def square(learned, fixed):
        return (learned * fixed) ** 2

    def loss_of(learned):
        values = jax.vmap(lambda fixed: skip_unused(square)(learned, fixed))(
            jnp.arange(3.0)
        )
        return jnp.dot(values, jnp.array([1.0, 0.0, 2.0]))

    assert float(jax.grad(loss_of)(0.5)) == pytest.approx(8.0)
