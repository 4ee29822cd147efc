"""The training of RFAD's evaluation: SGD on centred outputs, stopped by validation."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit.evaluation.train import in_pieces, largest_class
from isa_toolkit.networks import Network
from isa_toolkit.networks.random_features import draw_random
from isa_toolkit.networks.training import batch_indices

__all__ = ["RFADFit", "accuracy_of", "fit_centred", "logits_of"]

Scalar = Float[Array, ""] | float


class RFADFit(NamedTuple):
    """One trained network.

    params: those of the best validation.
    first: those it started from.
    accuracy: on the validation images at its best, a fraction, [].
    best_step: steps taken then, [].
    steps: steps taken in all, [].
    """

    params: PyTree
    first: PyTree
    accuracy: Float[Array, ""]
    best_step: Int[Array, ""]
    steps: Int[Array, ""]


def fit_centred(
    key: Key[Array, ""],
    network: Network,
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    held: Float[Array, "v h w ch"],
    held_labels: Int[Array, " v"],
    *,
    learning_rate: Scalar,
    label_scale: Scalar,
    weight_decay: Scalar,
    momentum: Scalar,
    steps: Int[Array, ""] | int,
    validate_every: Int[Array, ""] | int,
    patience: Int[Array, ""] | int,
    batch_size: int,
    centred: bool = True,
) -> RFADFit:
    """Return a random network, trained until its validation stops getting better.

    With ``g(x) = f(x; p) - f(x; p_0)`` and label scale a, SGD with momentum on
    ``1/(2 a^2) mean (g(x) - a y)^2 + weight_decay ||p - p_0||^2``; without ``centred``
    ``p_0`` and its outputs are 0 in both terms. Pure: call it under ``jit``.

    Args:
        key: draws the network and the order.
        network: without running statistics.
        images: to train on, [m, h, w, ch].
        labels: soft labels y, [m, c].
        held: images that validate, [v, h, w, ch].
        held_labels: their classes, [v].
        learning_rate: traced.
        label_scale: a; traced.
        weight_decay: traced.
        momentum: traced.
        steps: at most so many; traced.
        validate_every: steps between validations; traced.
        patience: steps without a better validation; traced.
        batch_size: static; the whole set, unshuffled, if it is not smaller.
        centred: static.

    Returns:
        The network of the best validation.

    Source: algorithms 7.3, 2.2 (the random network).
    """
    draw_key, order_key = jax.random.split(key)
    first = jax.tree.map(lambda leaf: leaf[0], draw_random(draw_key, network, count=1))
    count = images.shape[0]
    zero = jnp.zeros((), labels.dtype)
    offset = logits_of(network, first, images) if centred else jnp.zeros_like(labels)
    held_offset = logits_of(network, first, held) if centred else zero

    def loss_of(params: PyTree, batch: Array, goal: Array, shift: Array) -> Array:
        error = network.apply(params, {}, batch).logits - shift - label_scale * goal
        return 0.5 * jnp.mean(jnp.square(error)) / label_scale**2

    def step(place: Int[Array, ""], carry: PyTree) -> PyTree:
        params, velocity, permutation = carry
        batch, goal, shift = images, labels, offset
        if batch_size < count:
            chosen, permutation = batch_indices(
                order_key, place, permutation, batch_size, "shuffled"
            )
            batch, goal, shift = images[chosen], labels[chosen], offset[chosen]
        gradient = jax.grad(loss_of)(params, batch, goal, shift)

        def move(v: Array, g: Array, value: Array, start: Array) -> Array:
            away = value - start if centred else value
            return momentum * v + g + 2 * weight_decay * away

        velocity = jax.tree.map(move, velocity, gradient, params, first)
        params = jax.tree.map(lambda p, v: p - learning_rate * v, params, velocity)
        return params, velocity, permutation

    def is_on(carry: PyTree) -> Array:
        taken, fitted = carry[0], carry[-1]
        return (taken < steps) & (taken - fitted.best_step < patience)

    def block(carry: PyTree) -> PyTree:
        taken, moving, fitted = carry
        stop = jnp.minimum(taken + validate_every, steps)
        moving = jax.lax.fori_loop(taken, stop, step, moving)
        outputs = logits_of(network, moving[0], held) - held_offset
        accuracy = accuracy_of(outputs, held_labels)
        is_better = accuracy > fitted.accuracy

        def better(new: PyTree, old: PyTree) -> PyTree:
            return jax.tree.map(lambda a, b: jnp.where(is_better, a, b), new, old)

        return (
            stop,
            moving,
            RFADFit(
                better(moving[0], fitted.params),
                first,
                better(accuracy, fitted.accuracy),
                better(stop, fitted.best_step),
                stop,
            ),
        )

    still = jax.tree.map(jnp.zeros_like, first)
    none = jnp.zeros((), jnp.int32)
    # Below every accuracy, so that the first validation is the best so far.
    start = RFADFit(first, first, jnp.float32(-1), none, none)
    moving = (first, still, jnp.arange(count))
    return jax.lax.while_loop(is_on, block, (none, moving, start))[-1]


def logits_of(network: Network, params: PyTree, images: Array) -> Float[Array, "n c"]:
    """Return a network's outputs, computed a piece at a time.

    Args:
        network: without running statistics.
        params: its parameters.
        images: [n, h, w, ch].
    """
    return in_pieces(lambda piece: network.apply(params, {}, piece).logits, images)


def accuracy_of(outputs: Float[Array, "n c"], labels: Int[Array, " n"]) -> Array:
    """Return the share of outputs whose largest entry is the label's, [].

    Args:
        outputs: [n, c]; a row that is not finite counts as wrong.
        labels: classes, [n].
    """
    return jnp.mean((largest_class(outputs) == labels).astype(jnp.float32))
