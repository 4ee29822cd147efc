"""Training a network on a labelled set by SGD and cross-entropy, as DM and MTT evaluate.

The learning rate falls once; at that step the momentum is lost, since the released code
makes a new optimiser. Steps, learning rates and the place of the fall are traced.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.networks.base import Network
from isa_toolkit.networks.fit import ORDERS, Augment, batch_indices

__all__ = ["DSA_EPOCHS", "SGDSettings", "cross_entropy", "dsa_fit", "fit_sgd"]

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | Float[Array, ""] | float

DSA_EPOCHS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGDSettings:
    """How to train an evaluation network of the matching methods.

    Attributes:
        steps: SGD steps.
        fall_step: the learning rate falls before this one (counted from 0).
        batch_size: samples per step; the whole set if it is smaller.
        learning_rate: until the fall.
        final_learning_rate: share of it left after the fall, in [0, 1].
        momentum: in [0, 1).
        weight_decay: of every parameter, added to its gradient.
        order: ``"shuffled"`` or ``"released"``, as for ``FitSettings``.

    Raises:
        ValueError: a value out of its range.

    Source: algorithms 7.4.
    """

    steps: int
    fall_step: int
    batch_size: int = 256
    learning_rate: float = 0.01
    final_learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    order: str = "shuffled"

    def __post_init__(self) -> None:
        checks.check_integer("evaluation steps", self.steps)
        checks.check_integer("fall_step", self.fall_step, minimum=0)
        checks.check_integer("evaluation batch_size", self.batch_size)
        checks.check_positive("evaluation learning_rate", self.learning_rate)
        checks.check_in_range("final_learning_rate", self.final_learning_rate, 0, 1)
        checks.check_fraction("momentum", self.momentum)
        checks.check_at_least("weight_decay", self.weight_decay, 0)
        checks.check_one_of("order", self.order, ORDERS)


def dsa_fit(
    num_distilled: int,
    *,
    learning_rate: float = 0.01,
    epochs: int = DSA_EPOCHS,
    steps: int | None = None,
) -> SGDSettings:
    """Return the published training of DM's and MTT's evaluation.

    ``epochs + 1`` epochs in batches of 256; the learning rate falls to a tenth after
    epoch ``epochs // 2 + 1``, that is after ``epochs // 2 + 2`` of them.

    Args:
        num_distilled: images to train on.
        learning_rate: .01; for a set of MTT's the step size that it learned.
        epochs: 1,000 as published; fewer for quick looks.
        steps: so many steps instead, falling at the same share of them.

    Returns:
        The settings.

    Raises:
        TypeError: a number is not whole.
        ValueError: a number is too small.

    Source: algorithms 7.4.
    **Deviation:** what is left over after full batches is left out of an epoch (another
    sample each time) instead of making a smaller batch.
    """
    count = checks.check_integer("num_distilled", num_distilled)
    checks.check_integer("evaluation epochs", epochs)
    size = min(256, count)
    batches = count // size
    whole, fall = (epochs + 1) * batches, (epochs // 2 + 2) * batches
    if steps is not None:
        checks.check_integer("evaluation steps", steps)
        whole, fall = steps, -(-steps * fall // whole)
    return SGDSettings(
        steps=whole, fall_step=fall, batch_size=size, learning_rate=learning_rate
    )


def cross_entropy(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"]
) -> Float[Array, " n"]:
    """Return ``- log softmax(logits)`` of the class with the largest label.

    Args:
        logits: [n, c].
        labels: hard or soft, centred or not; only their largest entry counts, [n, c].

    Returns:
        Loss per sample, [n].
    """
    scores = jax.nn.log_softmax(logits)
    classes = jnp.argmax(labels, axis=-1)
    return -jnp.take_along_axis(scores, classes[:, None], axis=-1)[:, 0]


def fit_sgd(
    key: Key[Array, ""],
    network: Network,
    images: Float[Array, "n h w ch"],
    labels: Float[Array, "n c"],
    *,
    steps: Int[Array, ""],
    learning_rate: Scalar,
    fall_step: Count,
    final_learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    batch_size: int,
    order: str = "shuffled",
    augment: Augment | None = None,
) -> tuple[PyTree, PyTree]:
    """Return a freshly drawn network, trained by SGD with momentum on cross-entropy.

    ``v <- momentum v + gradient + weight_decay params``, ``params <- params - rate v``.
    Pure: call it under ``jit`` and ``vmap``.

    Args:
        key: draws the network, the order and the augmentation.
        network: the architecture.
        images: [n, h, w, ch].
        labels: the largest entry of a row is its class, [n, c].
        steps: SGD steps; traced.
        learning_rate: until the fall; traced.
        fall_step: first step with the lower rate; v is 0 again there; traced.
        final_learning_rate: share of the rate left then; traced.
        momentum: traced.
        weight_decay: traced.
        batch_size: static; the whole set, unshuffled, if it is not smaller.
        order: one of ``ORDERS``; static.
        augment: ``(key, images) -> images``, applied to each batch.

    Returns:
        (params, state) of the network.

    Source: algorithms 7.4.
    """
    init_key, order_key, augment_key = jax.random.split(key, 3)
    params, state = network.init(init_key)
    count = images.shape[0]

    def body(step: Int[Array, ""], carry: PyTree) -> PyTree:
        params, state, velocity, permutation = carry
        batch, targets = images, labels
        if batch_size < count:
            chosen, permutation = batch_indices(
                order_key, step, permutation, batch_size, order
            )
            batch, targets = images[chosen], labels[chosen]
        if augment is not None:
            batch = augment(jax.random.fold_in(augment_key, step), batch)

        def loss_of(params: PyTree) -> tuple[Float[Array, ""], PyTree]:
            output = network.apply(params, state, batch, train=True)
            return jnp.mean(cross_entropy(output.logits, targets)), output.state

        gradient, updated = jax.grad(loss_of, has_aux=True)(params)
        kept = jnp.where(step == fall_step, 0.0, momentum)
        velocity = jax.tree.map(
            lambda v, g, value: kept * v + g + weight_decay * value,
            velocity,
            gradient,
            params,
        )
        rate = learning_rate * jnp.where(step < fall_step, 1.0, final_learning_rate)
        params = jax.tree.map(lambda value, v: value - rate * v, params, velocity)
        return params, updated, velocity, permutation

    still = jax.tree.map(jnp.zeros_like, params)
    start = (params, state, still, jnp.arange(count))
    params, state, _, _ = jax.lax.fori_loop(0, steps, body, start)
    return params, state
