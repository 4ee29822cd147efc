"""Fresh networks trained on one distilled set and tested, in one compiled call.

Distilled sets of one shape share the program: images, labels, keys, the number of steps
and the learning rate are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit.datasets.augmentation import augment, dsa_augment
from isa_toolkit.losses import ridge as ridge_readout
from isa_toolkit.networks import Network
from isa_toolkit.networks.training import FitSettings, SGDSettings, fit

__all__ = ["TestResult", "in_pieces", "largest_class", "train_and_test"]

# Test images per forward pass: bounds memory without slowing small networks.
_PIECE = 500

Scalar = Float[Array, ""] | float


class TestResult(NamedTuple):
    """Test accuracies of k networks, fractions.

    An image whose prediction is not finite counts as wrong: a network that diverged,
    or a readout whose factorisation failed, scores 0.

    network: of the trained networks' own logits, [k].
    ridge: of the ridge readout on their features, [k].
    """

    __test__ = False  # not a test class

    network: Float[Array, " k"]
    ridge: Float[Array, " k"]


@cache
def train_and_test(
    network: Network, *, ops: tuple[str, ...], augment_mode: str, mirrored: bool
) -> Callable[..., TestResult]:
    """Return the compiled evaluation: the same object for equal arguments.

    The result takes ``(keys [k], images, labels, test_images, test_labels, fit, ridge)``
    and gives a ``TestResult``. ``fit`` is ``FitSettings``, under which ``ops`` are of
    FRePo's augmentation, or ``SGDSettings``, under which they are of DSA's.

    On accelerators the k networks train together under ``vmap``. On the CPU they train
    one after the other inside the same program: ``vmap`` turns their convolutions into
    grouped ones, which XLA's CPU back end runs about half as fast.

    Args:
        network: Architecture to train.
        ops: Names of augmentation ops, empty for none.
        augment_mode: ``"batch"`` or ``"sample"``.
        mirrored: Add horizontally flipped copies to the support of the ridge readout.

    Returns:
        The jitted function.

    Source: docs/algorithms.md, sections 7.1 and 7.4.
    """

    def one(
        key: Key[Array, ""],
        images: Float[Array, "m h w ch"],
        labels: Float[Array, "m c"],
        test_images: Float[Array, "n h w ch"],
        test_labels: Int[Array, " n"],
        settings: FitSettings | SGDSettings,
        ridge: Scalar,
    ) -> TestResult:
        transform = None
        if ops and isinstance(settings, SGDSettings):
            transform = partial(dsa_augment, ops=ops)
        elif ops:
            transform = partial(augment, ops=ops, mode=augment_mode)
        params, state = fit(key, network, images, labels, settings, augment=transform)
        support, support_labels = images, labels
        if mirrored:
            support = jnp.concatenate([images, images[:, :, ::-1]])
            support_labels = jnp.concatenate([labels, labels])
        features = in_pieces(
            lambda piece: network.apply(params, state, piece).features, support
        )
        weights = ridge_readout.readout(features, support_labels, ridge).weights

        def classify(piece: Float[Array, "b h w ch"]) -> tuple[Array, Array]:
            output = network.apply(params, state, piece)
            by_ridge = ridge_readout.predict(output.features, weights)
            return largest_class(output.logits), largest_class(by_ridge)

        by_network, by_ridge = in_pieces(classify, test_images)
        return TestResult(
            jnp.mean((by_network == test_labels).astype(jnp.float32)),
            jnp.mean((by_ridge == test_labels).astype(jnp.float32)),
        )

    def many(keys: Key[Array, " k"], *arguments: PyTree) -> TestResult:
        at_once = 1 if jax.default_backend() == "cpu" else keys.shape[0]
        return jax.lax.map(lambda key: one(key, *arguments), keys, batch_size=at_once)

    return jax.jit(many)


def largest_class(scores: Float[Array, "n c"]) -> Int[Array, " n"]:
    """Return the class with the largest score; -1, which no label is, without one.

    Args:
        scores: [n, c]; a row that is not finite has no largest one.
    """
    # argmax alone takes the first NaN for the largest and so answers class 0.
    is_finite = jnp.isfinite(scores).all(-1)
    return jnp.where(is_finite, jnp.argmax(scores, -1), -1)


def in_pieces(
    function: Callable[[Array], PyTree], images: Float[Array, "n h w ch"]
) -> PyTree:
    """Return ``function(images)``, computed a piece at a time.

    Args:
        function: images -> arrays with the images' leading axis.
        images: [n, h, w, ch].
    """
    count = images.shape[0]
    piece = min(_PIECE, count)
    pieces = -(-count // piece)
    padded = jnp.pad(images, ((0, pieces * piece - count), (0, 0), (0, 0), (0, 0)))
    results = jax.lax.map(function, padded.reshape(pieces, piece, *images.shape[1:]))
    return jax.tree.map(
        lambda leaf: leaf.reshape(pieces * piece, *leaf.shape[2:])[:count], results
    )
