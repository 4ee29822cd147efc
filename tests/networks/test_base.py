"""What ``from_module`` and ``make_norm`` promise to every architecture."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy_layers import batch_norm, draw_images, instance_norm

from isa_toolkit.networks.base import count_parameters, from_module, make_norm


class Small(nn.Module):
    """A norm, then a dense layer on the mean pixel."""

    norm: str
    decay: float = 0.1

    @nn.compact
    def __call__(self, images, train=False):
        maps = make_norm(self.norm, train, decay=self.decay)(images)
        features = jnp.mean(maps * jnp.abs(maps), axis=(1, 2))
        return nn.Dense(4)(features), features


def wrap(norm, **settings):
    return from_module(
        "small", Small(norm=norm, **settings), image_shape=(5, 6, 3), num_classes=4
    )


@pytest.mark.parametrize("decay", [0.1, 0.9])
def test_batch_norm_keeps_decay_of_its_old_statistics(decay):
    network = wrap("batch", decay=decay)
    params, state = network.init(jax.random.key(0))
    apply = jax.jit(network.apply, static_argnames="train")
    mean, variance = np.zeros(3), np.ones(3)
    for seed in range(2):
        images = 2 + 3 * draw_images((7, 5, 6, 3), seed)
        state = apply(params, state, jnp.asarray(images), train=True).state
        mean = decay * mean + (1 - decay) * images.mean((0, 1, 2))
        variance = decay * variance + (1 - decay) * images.var((0, 1, 2))
        np.testing.assert_allclose(state["BatchNorm_0"]["mean"], mean, rtol=1e-4)
        np.testing.assert_allclose(state["BatchNorm_0"]["var"], variance, rtol=1e-4)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("batch", batch_norm),
        ("instance", instance_norm),
        ("none", lambda maps, layer: maps),
    ],
)
def test_each_norm_is_its_equation(norm, expected):
    network = wrap(norm)
    params, state = network.init(jax.random.key(0))
    layer = {"scale": jnp.array([1.0, 2.0, -1.0]), "bias": jnp.array([0.5, 0.0, 1.0])}
    for name in set(params) - {"Dense_0"}:
        assert params[name].keys() == layer.keys()
        params[name] = layer
    images = 2 + 3 * draw_images((4, 5, 6, 3))
    seen = network.apply(params, state, jnp.asarray(images), train=True)
    maps = expected(images, layer)
    np.testing.assert_allclose(
        seen.features, (maps * np.abs(maps)).mean((1, 2)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_only_a_training_pass_with_batch_norm_changes_the_state(norm):
    network = wrap(norm)
    params, state = network.init(jax.random.key(0))
    assert bool(state) == (norm == "batch")
    images = jnp.asarray(draw_images((4, 5, 6, 3)))
    assert network.apply(params, state, images).state is state
    after = network.apply(params, state, images, train=True).state
    changed = [
        not np.array_equal(old, new)
        for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True)
    ]
    assert changed == [True] * (2 if norm == "batch" else 0)


def test_images_do_not_meet_in_an_evaluation_pass():
    network = wrap("batch")
    params, state = network.init(jax.random.key(0))
    images = jnp.asarray(draw_images((4, 5, 6, 3)))
    together = network.apply(params, state, images).logits
    alone = jnp.concatenate(
        [network.apply(params, state, image[None]).logits for image in images]
    )
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_network_knows_its_name_shape_and_classes():
    network = wrap("none")
    assert network.name == "small"
    assert network.image_shape == (5, 6, 3)
    assert network.num_classes == 4


def test_count_parameters_counts_every_number_of_a_nested_tree():
    params = {"a": jnp.zeros((2, 3)), "b": {"c": jnp.zeros(4), "d": jnp.zeros(())}}
    assert count_parameters(params) == 6 + 4 + 1
    assert count_parameters({}) == 0
