"""Training a network on a labelled set, as one compiled loop.

The number of steps, the learning rate and the warm-up are traced, so that one program
serves every length of training; batch size, order and augmentation are compiled in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.networks.base import Network

__all__ = ["ORDERS", "FitSettings", "batch_indices", "fit", "warmup_cosine"]

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | Float[Array, ""] | float

ORDERS = ("shuffled", "released")

# (key, images) -> images, differentiable or not
Augment = Callable[[Key[Array, ""], Array], Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to train an evaluation network.

    Attributes:
        steps: Adam steps.
        batch_size: samples per step; the whole set if it is smaller.
        learning_rate: peak of the schedule.
        warmup_steps: linear rise from 0; at most half of the steps.
        final_learning_rate: share of the peak left at the end, in [0, 1].
        order: ``"shuffled"`` (a new permutation each epoch) or ``"released"``
            (contiguous blocks in storage order, as the released evaluation script).

    Raises:
        ValueError: a value out of its range.

    Source: algorithms 7.1.
    """

    steps: int
    batch_size: int = 500
    learning_rate: float = 3e-4
    warmup_steps: int = 500
    final_learning_rate: float = 0.01
    order: str = "shuffled"

    def __post_init__(self) -> None:
        checks.check_integer("evaluation steps", self.steps)
        checks.check_integer("evaluation batch_size", self.batch_size)
        checks.check_positive("evaluation learning_rate", self.learning_rate)
        checks.check_integer("warmup_steps", self.warmup_steps, minimum=0)
        checks.check_in_range("final_learning_rate", self.final_learning_rate, 0, 1)
        checks.check_one_of("order", self.order, ORDERS)


def warmup_cosine(
    step: Int[Array, ""] | int,
    *,
    peak: Scalar,
    final: Scalar,
    warmup: Count,
    steps: Count,
) -> Float[Array, ""]:
    """Return the learning rate: linear from 0 to ``peak``, then a half cosine down.

    Args:
        step: steps taken, [].
        peak: highest learning rate.
        final: share of it left after ``steps``, in [0, 1].
        warmup: steps of the linear part.
        steps: of both parts together.

    Returns:
        The learning rate, [].

    Source: algorithms 7.1.
    """
    step = jnp.asarray(step, jnp.float32)
    rise = step / jnp.maximum(warmup, 1.0)
    progress = jnp.clip((step - warmup) / jnp.maximum(steps - warmup, 1.0), 0, 1)
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * progress))
    fall = (1 - final) * cosine + final
    return jnp.asarray(peak * jnp.where(step < warmup, rise, fall), jnp.float32)


def batch_indices(
    key: Key[Array, ""],
    step: Int[Array, ""],
    permutation: Int[Array, " n"],
    batch_size: int,
    order: str,
) -> tuple[Int[Array, " b"], Int[Array, " n"]]:
    """Return the samples of one step, and the permutation to pass on.

    Args:
        key: the root of all permutations; an epoch's is ``fold_in(key, epoch)``.
        step: steps taken, [].
        permutation: of the running epoch, [n]; anything at the first step of an epoch.
        batch_size: b, at most n. An epoch has ``n // b`` batches; what is left over is
            another sample each time when shuffled.
        order: one of ``ORDERS``.

    Returns:
        Indices [b], and the permutation of the running epoch.
    """
    count = permutation.shape[0]
    batches = count // batch_size
    if order == "released":
        # Contiguous blocks that wrap around, so that every sample is seen.
        start = (step * batch_size) % count
        return (start + jnp.arange(batch_size)) % count, permutation
    epoch, place = step // batches, step % batches
    permutation = jax.lax.cond(
        place == 0,
        lambda: jax.random.permutation(jax.random.fold_in(key, epoch), count),
        lambda: permutation,
    )
    chosen = jax.lax.dynamic_slice(permutation, (place * batch_size,), (batch_size,))
    return chosen, permutation


def fit(
    key: Key[Array, ""],
    network: Network,
    images: Float[Array, "n h w ch"],
    labels: Float[Array, "n c"],
    *,
    steps: Int[Array, ""],
    learning_rate: Scalar,
    warmup_steps: Count,
    final_learning_rate: Scalar,
    batch_size: int,
    order: str = "shuffled",
    augment: Augment | None = None,
) -> tuple[PyTree, PyTree]:
    """Return a freshly drawn network, trained.

    Adam on ``1/2 sum_c (f(x) - y)_c^2``, mean over the batch; no weight decay. Pure:
    call it under ``jit`` and ``vmap``.

    Args:
        key: draws the network, the order and the augmentation.
        network: the architecture.
        images: [n, h, w, ch].
        labels: [n, c].
        steps: traced.
        learning_rate: peak; traced.
        warmup_steps: traced.
        final_learning_rate: share of the peak; traced.
        batch_size: static; the whole set, unshuffled, where it is at least n.
        order: one of ``ORDERS``; static.
        augment: ``(key, images) -> images``, or none; static.

    Returns:
        (params, state).

    Source: algorithms 7.1.
    """
    init_key, order_key, augment_key = jax.random.split(key, 3)
    params, state = network.init(init_key)
    adam = optax.scale_by_adam()
    count = images.shape[0]

    def body(step: Int[Array, ""], carry: PyTree) -> PyTree:
        params, state, moments, permutation = carry
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
            errors = jnp.square(output.logits - targets)
            return 0.5 * jnp.mean(jnp.sum(errors, axis=-1)), output.state

        gradient, updated = jax.grad(loss_of, has_aux=True)(params)
        updates, moments = adam.update(gradient, moments)
        rate = warmup_cosine(
            step,
            peak=learning_rate,
            final=final_learning_rate,
            warmup=warmup_steps,
            steps=steps,
        )
        params = jax.tree.map(lambda value, u: value - rate * u, params, updates)
        return params, updated, moments, permutation

    start = (params, state, adam.init(params), jnp.arange(count))
    params, state, _, _ = jax.lax.fori_loop(0, steps, body, start)
    return params, state
