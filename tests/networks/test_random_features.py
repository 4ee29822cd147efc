"""Random features estimate the kernel of an infinitely wide network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import quick_jit

from isa_toolkit.networks import NetworkSettings, base, build
from isa_toolkit.networks import random_features as rf
from isa_toolkit.networks.base import Network, NetworkOutput


def arc_cosine(cross: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return E[relu(u) relu(v)] for normal u, v with these covariances."""
    length = np.sqrt(one * other)
    angle = np.arccos(np.clip(cross / length, -1, 1))
    return length * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)


def conv_covariance(images: np.ndarray, depth: int) -> np.ndarray:
    """Return the NNGP covariance of the last pooled maps, [n, n, h, w, h, w].

    Each layer is a 3x3 conv of weight variance 2/fan_in and bias variance .01, ReLU and
    a 2x2 average pool; in plain NumPy over all pairs of pixels.
    """
    covariance = np.einsum("ahwk,buvk->abhwuv", images, images) / images.shape[-1]
    for _ in range(depth):
        side = covariance.shape[2]
        padded = np.pad(covariance, [(0, 0), (0, 0), *[(1, 1)] * 4])
        shifts = [
            padded[:, :, i : i + side, j : j + side, i : i + side, j : j + side]
            for i in range(3)
            for j in range(3)
        ]
        covariance = 2 / 9 * sum(shifts) + 0.01
        own = np.einsum("aahwhw->ahw", covariance)
        covariance = arc_cosine(
            covariance, own[:, None, :, :, None, None], own[None, :, None, None]
        )
        half = side // 2
        blocks = covariance.reshape(*covariance.shape[:2], *[half, 2] * 4)
        covariance = blocks.mean((3, 5, 7, 9))
    return covariance


def kernel_of(network: Network, images: np.ndarray, count: int, key: int = 0):
    def run(images):
        drawn = rf.draw_random(jax.random.key(key), network, count=count)
        _, state = network.init(jax.random.key(0))
        features = rf.nngp_features(rf.random_features(network, drawn, state, images))
        return features @ features.T

    return np.asarray(quick_jit(run)(jnp.asarray(images, jnp.float32)))


def test_the_kernel_of_a_convnet_is_the_closed_form():
    images = np.random.default_rng(1).normal(size=(4, 8, 8, 2))
    network = build(
        NetworkSettings(name="convnet_flat", width=64, depth=2),
        image_shape=(8, 8, 2),
        num_classes=2,
    )
    exact = 2 * np.einsum("abhwhw->ab", conv_covariance(images, 2)) / 4 + 0.01
    few, many = (
        np.abs(kernel_of(network, images, count) - exact).max() / exact.max()
        for count in (1, 32)
    )
    # The spread falls as one over the root of the number of networks.
    assert many < 0.02
    assert few > 2 * many


def dense(width: int, size: int) -> Network:
    def init(key):
        blank = {"kernel": jnp.zeros((size, width)), "bias": jnp.zeros(width)}
        return {"Dense_0": blank}, {}

    def apply(params, state, images, train=False):
        flat = images.reshape(images.shape[0], -1)
        layer = params["Dense_0"]
        features = jax.nn.relu(flat @ layer["kernel"] + layer["bias"])
        return NetworkOutput(features[:, :2], features, state)

    return Network("dense", init, apply, (size, 1, 1), 2)


def test_the_kernel_of_one_hidden_layer_is_the_arc_cosine_kernel():
    images = np.random.default_rng(0).normal(size=(5, 6, 1, 1))
    flat = images.reshape(5, -1)
    hidden = 2 * flat @ flat.T / 6 + 0.01
    own = np.diag(hidden)
    exact = 2 * arc_cosine(hidden, own[:, None], own[None]) + 0.01
    estimate = kernel_of(dense(2000, 6), images, 20)
    np.testing.assert_allclose(estimate, exact, rtol=0.03, atol=0.01)


def test_the_draws_have_the_published_spread():
    network = build(
        NetworkSettings(name="convnet_flat", width=32, depth=2, norm="batch"),
        image_shape=(8, 8, 3),
        num_classes=10,
    )
    drawn = quick_jit(lambda key: rf.draw_random(key, network, count=8))(
        jax.random.key(0)
    )
    kernel = np.asarray(drawn["Conv_1"]["kernel"])
    assert kernel.shape == (8, 3, 3, 32, 32)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.02)
    biases = np.concatenate(
        [np.asarray(drawn[name]["bias"]).ravel() for name in ("Conv_0", "Conv_1")]
    )
    assert biases.std() == pytest.approx(0.1, rel=0.1)
    assert (np.asarray(drawn["BatchNorm_0"]["scale"]) == 1).all()
    assert not np.array_equal(kernel[0], kernel[1])


def test_many_images_are_taken_in_pieces(monkeypatch):
    images = np.random.default_rng(0).normal(size=(11, 6, 1, 1))
    whole = kernel_of(dense(7, 6), images, 2)
    monkeypatch.setattr(base, "_LARGEST_MAP", 4 * 6)
    pieces = kernel_of(dense(7, 6), images, 2)
    np.testing.assert_allclose(pieces, whole, rtol=1e-5, atol=1e-6)
