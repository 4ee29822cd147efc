"""A network as two pure functions.

``init(key) -> (params, state)`` and
``apply(params, state, images, train=False) -> (logits, features, state)``. Flax Linen sits
underneath: a pool of networks is one stacked pytree under ``vmap``, and Linen's plain
nested dictionaries stack, index and save without a split/merge step (with NNX every
member of the pool would have to be split into a graph definition and a state first).
``build`` of :mod:`isa_toolkit.networks.registry` makes one from settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from isa_toolkit.checks import fail


class NetworkOutput(NamedTuple):
    """Result of a forward pass.

    logits: Class scores, [n, c].
    features: Input of the last dense layer, flattened, not normalised, [n, d].
    state: Normalisation statistics after the pass; unchanged unless ``train``.
    """

    logits: Float[Array, "n c"]
    features: Float[Array, "n d"]
    state: PyTree


class Network(NamedTuple):
    """A network for one image shape and number of classes, ready to run.

    name: Registered name of the architecture.
    init: ``(key) -> (params, state)``, a freshly drawn network.
    apply: ``(params, state, images, train=False) -> NetworkOutput``.
    image_shape: (height, width, channels) of its images.
    num_classes: Length of the logits.
    """

    name: str
    init: Callable[[Key[Array, ""]], tuple[PyTree, PyTree]]
    apply: Callable[..., NetworkOutput]
    image_shape: tuple[int, int, int]
    num_classes: int


def from_module(
    name: str,
    module: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    lecun: bool = True,
) -> Network:
    """Wrap a Linen module: ``(images [n,h,w,ch], train) -> (logits, features)``.

    Its running statistics, if any, are in the ``batch_stats`` collection. With ``lecun``
    every kernel is LeCun normal (truncated at two standard deviations, as Flax's default),
    every bias 0, every scale 1; otherwise the module's own initialisers draw.
    """

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        blank = jnp.zeros((1, *image_shape), jnp.float32)

        def draw(key: Key[Array, ""]) -> dict[str, PyTree]:
            return dict(module.init(key, blank, train=False))

        if lecun:
            return _draw_lecun(key, jax.eval_shape(draw, key))
        variables = draw(key)
        return variables["params"], variables.get("batch_stats", {})

    def apply(
        params: PyTree,
        state: PyTree,
        images: Float[Array, "n h w ch"],
        train: bool = False,
    ) -> NetworkOutput:
        variables = {"params": params}
        if state:
            variables["batch_stats"] = state
        if train and state:
            (logits, features), updated = module.apply(
                variables, images, train=True, mutable=["batch_stats"]
            )
            return NetworkOutput(logits, features, updated["batch_stats"])
        outputs: Any = module.apply(variables, images, train=train)
        logits, features = outputs
        return NetworkOutput(logits, features, state)

    height, width, channels = image_shape
    return Network(name, init, apply, (height, width, channels), num_classes)


# Numbers in the first feature map of one pass, 2 GB of them. Without a gradient a CPU takes
# fewer, 32 MB: more do not stay in its caches.
_LARGEST_MAP, _LARGEST_FROZEN_MAP_ON_CPU = 2**29, 2**23


def images_at_once(network: Network, params: PyTree, *, frozen: bool = False) -> int:
    """Return how many images a forward pass takes, at least 1.

    At width 128 that is 4,096 of 32 pixels and 256 of 128 pixels; on a CPU 64 of 32 pixels
    for a ``frozen`` pass, one without a gradient. ``params`` may be arrays or their shapes.
    """
    largest = _LARGEST_MAP
    if frozen and jax.default_backend() == "cpu":
        largest = min(largest, _LARGEST_FROZEN_MAP_ON_CPU)
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if len(leaf.shape) == 4]
    # The first layer of every architecture is the narrowest, and has the largest map.
    channels = min((shape[-1] for shape in kernels), default=1)
    height, width, _ = network.image_shape
    return max(1, largest // (height * width * channels))


def even_size(count: int, size: int) -> int:
    """Return a size of equal pieces of ``count`` rows, above half of ``size``, or ``size``.

    Pieces of one size are one program; a smaller last one would be compiled, too.
    """
    sizes = range(size, size // 2, -1)
    return next((one for one in sizes if count % one == 0), size)


def map_in_pieces(
    function: Callable[[PyTree], PyTree], rows: PyTree, size: int
) -> PyTree:
    """Return ``function(rows)``, computed at most ``size`` rows at a time.

    Rows are arrays with a common leading axis, and the function treats each on its own.
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    if count <= size:
        return function(rows)
    size = even_size(count, size)
    whole = count - count % size

    def pieces_of(leaf: Array) -> Array:
        return leaf[:whole].reshape(-1, size, *leaf.shape[1:])

    results = jax.lax.map(function, jax.tree.map(pieces_of, rows))
    results = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), results)
    if whole == count:
        return results
    rest = function(jax.tree.map(lambda leaf: leaf[whole:], rows))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), results, rest)


# Standard deviation of a standard normal cut at +-2.
_CUT_DEVIATION = 0.87962566103423978


def _draw_lecun(
    key: Key[Array, ""], shapes: dict[str, PyTree]
) -> tuple[PyTree, PyTree]:
    """Return parameters and statistics, all kernels from one draw.

    One long draw, cut into kernels, compiles in a third of the time of one draw per
    kernel (XLA on the CPU takes over a second for each), and a fresh network is drawn
    inside every compiled loop.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes["params"])
    sizes = [leaf.size if path[-1].key == "kernel" else 0 for path, leaf in leaves]
    draws = jax.random.truncated_normal(key, -2.0, 2.0, (sum(sizes),), jnp.float32)
    params, start = [], 0
    for (path, leaf), size in zip(leaves, sizes, strict=True):
        if size:
            fan_in = size // leaf.shape[-1]
            part = jax.lax.slice(draws, (start,), (start + size,))
            scale = 1 / (_CUT_DEVIATION * fan_in**0.5)
            params.append(part.reshape(leaf.shape) * scale)
            start += size
        else:
            fill = 1.0 if path[-1].key == "scale" else 0.0
            params.append(jnp.full(leaf.shape, fill, leaf.dtype))
    statistics = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(
            leaf.shape, 1.0 if path[-1].key == "var" else 0.0, leaf.dtype
        ),
        shapes.get("batch_stats", {}),
    )
    return jax.tree.unflatten(structure, params), statistics


def make_norm(
    norm: str, train: bool, *, decay: float = 0.1
) -> Callable[[Array], Array]:
    """Return a normalisation layer of maps [n, h, w, k], for use inside a compact module.

    ``"batch"`` (epsilon 1e-5, affine), ``"instance"`` (group norm with one channel per
    group, epsilon 1e-5, affine; refuses maps of a single pixel) or ``"none"``. In training
    batch norm uses the statistics of the batch and updates its own: running <- decay
    running + (1 - decay) batch. The default .1 is that of the released ConvNet; the other
    networks pass .9, which PyTorch calls momentum .1.

    Source: docs/algorithms.md, sections 2.1 and 2.3.
    """
    if norm == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=decay, epsilon=1e-5)
    if norm == "instance":
        layer = nn.GroupNorm(num_groups=None, group_size=1, epsilon=1e-5)

        def apply(maps: Array) -> Array:
            # The norm of one pixel is the learned shift, whatever the image was.
            if maps.shape[1] * maps.shape[2] < 2:
                raise fail(
                    "norm",
                    "be 'batch' or 'none' where a feature map is a single pixel",
                    norm,
                )
            return layer(maps)

        return apply
    return lambda maps: maps


def count_parameters(params: PyTree) -> int:
    """Return the number of trained numbers in ``params``."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
