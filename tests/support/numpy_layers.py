"""Layers in plain NumPy and SciPy, for the tests to build networks from."""

from __future__ import annotations

import jax
import numpy as np
from scipy import signal


def conv(maps, layer, *, padding, stride=1):
    """Cross-correlate [n,h,w,k] with a Linen conv layer's kernel; add its bias."""
    kernel = np.asarray(layer["kernel"], np.float64)
    spread = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(np.asarray(maps, np.float64), spread)
    outputs = []
    for image in padded:
        outputs.append(
            np.stack(
                [
                    sum(
                        signal.correlate2d(image[..., i], kernel[..., i, o], "valid")
                        for i in range(kernel.shape[2])
                    )
                    for o in range(kernel.shape[3])
                ],
                axis=-1,
            )
        )
    result = np.stack(outputs)[:, ::stride, ::stride]
    return result + np.asarray(layer["bias"]) if "bias" in layer else result


def dense(features, layer):
    """Multiply by a Linen dense layer's kernel and add its bias."""
    return features @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def relu(maps):
    """Set what is negative to 0."""
    return np.maximum(maps, 0)


def pool(maps, reduce):
    """Reduce 2x2 windows; an odd last row or column is left out."""
    n, h, w, k = maps.shape
    maps = maps[:, : h // 2 * 2, : w // 2 * 2]
    return reduce(maps.reshape(n, h // 2, 2, w // 2, 2, k), axis=(2, 4))


def instance_norm(maps, layer):
    """Standardise each channel of each image, then scale and shift."""
    return _standardise(maps, layer, (1, 2))


def batch_norm(maps, layer):
    """Standardise each channel of the batch, then scale and shift."""
    return _standardise(maps, layer, (0, 1, 2))


def _standardise(maps, layer, axes):
    mean = maps.mean(axes, keepdims=True)
    variance = ((maps - mean) ** 2).mean(axes, keepdims=True)
    scaled = (maps - mean) / np.sqrt(variance + 1e-5)
    return scaled * np.asarray(layer["scale"]) + np.asarray(layer["bias"])


def draw_images(shape, seed=0):
    """Draw standard normal images."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def draw_network(network, seed=0):
    """Draw parameters with no bias 0 and no scale 1; statistics as in a fresh network.

    Drawn here and not by ``init``, whose compilation takes longer than the test.
    """
    random = np.random.default_rng(seed)
    params, state = jax.eval_shape(network.init, jax.random.key(0))

    def draw(path, leaf):
        noise = random.normal(size=leaf.shape).astype(np.float32)
        kind = path[-1].key
        if kind == "kernel":
            return noise / np.sqrt(np.prod(leaf.shape[:-1]), dtype=np.float32)
        centre = {"bias": 0, "scale": 1, "mean": 0, "var": 1}[kind]
        return centre + (0 if kind in {"mean", "var"} else 0.1) * noise

    return jax.tree.map_with_path(draw, (params, state))
