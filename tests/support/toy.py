"""What the law tests of the mathematical core stand on: a problem of a second's size.

Compiling takes most of the time of these tests; ``quick_jit`` compiles without the
expensive passes, which changes no law.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit.methods import Batch, method_of
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.networks import Network, NetworkSettings, build
from isa_toolkit.networks.base import NetworkOutput

CLASSES = 3
SIDE = 6


class Toy(NamedTuple):
    """Three classes of noisy patterns.

    images: first distilled images, class after class, [m, h, w, 1].
    labels: centred one-hot, [m, c].
    batch: target samples.
    """

    images: jax.Array
    labels: jax.Array
    batch: Batch


def toy_problem(seed: int = 0, *, per_class: int = 2, targets: int = 24) -> Toy:
    draw = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(size=(CLASSES, SIDE, SIDE, 1))

    def sample(classes: np.ndarray) -> tuple[jax.Array, jax.Array]:
        noise = draw.normal(size=(len(classes), SIDE, SIDE, 1))
        labels = np.eye(CLASSES)[classes] - 1 / CLASSES
        images = patterns[classes] + noise
        return jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.float32)

    images, labels = sample(np.repeat(np.arange(CLASSES), per_class))
    return Toy(images, labels, Batch(*sample(np.arange(targets) % CLASSES)))


class Bound:
    """A method with its settings' structure and network bound, as the driver uses it."""

    def __init__(self, settings: Any, network: Network) -> None:
        self.method, self.network, self.settings = (
            method_of(settings),
            network,
            settings,
        )

    def init(self, key: jax.Array, images: jax.Array, labels: jax.Array) -> Any:
        settings = as_arrays(self.settings)
        return self.method.init(settings, self.network, key, images, labels)

    def step(self, settings: Any, key: jax.Array, state: Any, batch: Batch) -> Any:
        return self.method.step(settings, self.network, key, state, batch)


def toy_convnet(norm: str = "batch") -> Network:
    return build(
        NetworkSettings(width=4, depth=2, norm=norm),
        image_shape=(SIDE, SIDE, 1),
        num_classes=CLASSES,
    )


@cache
def dense_network(width: int = 16) -> Network:
    """Return one hidden layer whose state is the mean image it last trained on.

    Its weights are waves whose phase the key chooses: unlike normal draws, they cost
    nothing to compile.
    """
    pixels = SIDE * SIDE
    draw = np.random.default_rng(11)
    angles = {
        "hidden": draw.uniform(0, 2 * np.pi, (pixels, width)).astype("float32"),
        "head": draw.uniform(0, 2 * np.pi, (width, CLASSES)).astype("float32"),
    }

    def init(key: jax.Array) -> tuple[Any, Any]:
        phase = (jax.random.key_data(key)[-1] % 997).astype("float32")
        params = {
            name: jnp.sin(angle + phase) * np.float32(np.sqrt(2 / len(angle)))
            for name, angle in angles.items()
        }
        return params, {"mean": jnp.zeros(pixels)}

    def apply(
        params: Any, state: Any, images: jax.Array, train: bool = False
    ) -> NetworkOutput:
        flat = jnp.reshape(images, (images.shape[0], -1))
        mean = jnp.mean(flat, axis=0) if train else state["mean"]
        features = jax.nn.softplus((flat - mean) @ params["hidden"])
        logits = features @ params["head"]
        return NetworkOutput(logits, features, {"mean": mean} if train else state)

    return Network("dense", init, apply, (SIDE, SIDE, 1), CLASSES)


@cache
def _quick_options() -> dict[str, Any]:
    """Return those of the helpful compiler options that this XLA knows."""
    wanted = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_use_fusion_emitters": False,
    }
    known = {}
    for name, value in wanted.items():
        try:
            jax.jit(lambda: jnp.zeros(()), compiler_options={name: value})()
        except RuntimeError:
            continue
        known[name] = value
    return known


def quick_jit(function: Callable, **options: Any) -> Any:
    return jax.jit(function, compiler_options=_quick_options(), **options)


def double_precision() -> AbstractContextManager[Any]:
    """Return a context in which JAX computes in float64."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def as_double(tree: Any) -> Any:
    """Return ``tree`` with its floating leaves in float64; to be used inside."""

    def cast(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype("float64") if leaf.dtype == "float32" else leaf

    return jax.tree.map(cast, tree)


def double_network(network: Network, drawn: tuple[Any, Any]) -> Network:
    """Return ``network`` in float64, each draw of which is ``drawn``."""
    return network._replace(init=lambda key: as_double(drawn))


def central_difference(
    function: Callable, point: Any, direction: Any, step: float = 1e-5
) -> float:
    """Return the derivative of ``function`` at ``point`` along ``direction``."""
    ahead = jax.tree.map(lambda x, d: x + step * d, point, direction)
    behind = jax.tree.map(lambda x, d: x - step * d, point, direction)
    return float(function(ahead) - function(behind)) / (2 * step)


def assert_same_bytes(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
