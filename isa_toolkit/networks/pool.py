"""The pool: several partly trained networks, stacked, each at its own age.

The outer loop draws one member per step, looks through it at real and distilled images,
and then trains it one step further on the distilled set, or replaces it by a fresh one
once it is old.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit.networks.base import Network

__all__ = [
    "Learner",
    "draw_member",
    "fresh_learner",
    "init_pool",
    "online_step",
    "put_member",
    "take_member",
    "update_member",
]

Scalar = Float[Array, ""] | float

# Adam as everywhere in the released code: b1 .9, b2 .999, epsilon 1e-8.
_ADAM = optax.scale_by_adam()


class Learner(NamedTuple):
    """A network in training; a pool is the same with a leading axis p.

    params: trained numbers.
    state: normalisation statistics.
    optimizer: Adam moments.
    age: training steps taken, plus the stagger it was born with, [].
    """

    params: PyTree
    state: PyTree
    optimizer: PyTree
    age: Int[Array, "..."]


def fresh_learner(key: Key[Array, ""], network: Network) -> Learner:
    """Return a freshly drawn network with fresh Adam moments and age 0.

    Args:
        key: consumed.
        network: what to draw.

    Returns:
        The learner.
    """
    params, state = network.init(key)
    return Learner(params, state, _ADAM.init(params), jnp.zeros((), jnp.int32))


def init_pool(
    key: Key[Array, ""], network: Network, *, size: int, max_age: int, stagger: bool
) -> Learner:
    """Return ``size`` fresh networks, stacked.

    Args:
        key: consumed.
        network: what to draw.
        size: number of members p.
        max_age: the age past which a member is replaced.
        stagger: give member i the age ``(max_age // size) * i``, so that members are not
            all replaced at once. Only the counter is staggered: all start untrained.

    Returns:
        Learners with leading axis p.

    Source: algorithms 5.1.
    """
    pool = jax.vmap(lambda k: fresh_learner(k, network))(jax.random.split(key, size))
    if stagger:
        ages = (max_age // size) * jnp.arange(size, dtype=jnp.int32)
        pool = pool._replace(age=ages)
    return pool


def draw_member(key: Key[Array, ""], pool: Learner) -> Int[Array, ""]:
    """Return the index of a member, uniformly drawn.

    Args:
        key: consumed.
        pool: learners with leading axis p.

    Returns:
        An index in 0 .. p - 1.
    """
    return jax.random.randint(key, (), 0, pool.age.shape[0])


def take_member(pool: Learner, member: Int[Array, ""]) -> Learner:
    """Return one member of the pool.

    Args:
        pool: learners with leading axis p.
        member: which.

    Returns:
        The learner, without leading axis.
    """
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, member, keepdims=False), pool
    )


def put_member(pool: Learner, member: Int[Array, ""], learner: Learner) -> Learner:
    """Return the pool with one member replaced.

    Args:
        pool: learners with leading axis p.
        member: which.
        learner: the new one.

    Returns:
        The pool.
    """
    return jax.tree.map(
        lambda leaf, new: jax.lax.dynamic_update_index_in_dim(leaf, new, member, 0),
        pool,
        learner,
    )


def online_step(
    network: Network,
    learner: Learner,
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    *,
    learning_rate: Scalar,
) -> Learner:
    """Return the learner after one Adam step on a distilled batch.

    The loss is ``1/2 sum_c (f(x) - y)_c^2``, mean over the batch, in training mode, with
    neither augmentation nor mirrored copies.

    Args:
        network: the learner's architecture.
        learner: the learner.
        images: distilled images, [m, h, w, ch].
        labels: distilled labels, [m, c].
        learning_rate: Adam's.

    Returns:
        The learner, one step older.

    Source: algorithms 5.1.
    """

    def loss_of(params: PyTree) -> tuple[Float[Array, ""], PyTree]:
        output = network.apply(params, learner.state, images, train=True)
        errors = jnp.square(output.logits - labels)
        return 0.5 * jnp.mean(jnp.sum(errors, axis=-1)), output.state

    gradient, state = jax.grad(loss_of, has_aux=True)(learner.params)
    updates, optimizer = _ADAM.update(gradient, learner.optimizer)
    params = jax.tree.map(
        lambda value, update: value - learning_rate * update, learner.params, updates
    )
    return Learner(params, state, optimizer, learner.age + 1)


def update_member(
    key: Key[Array, ""],
    network: Network,
    learner: Learner,
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    *,
    learning_rate: Scalar,
    max_age: int,
    batch_size: int,
) -> Learner:
    """Return the learner one online step older, or a fresh one if it is past its age.

    Args:
        key: consumed.
        network: the learner's architecture.
        learner: the learner.
        images: distilled images, [m, h, w, ch].
        labels: distilled labels, [m, c].
        learning_rate: Adam's.
        max_age: a learner whose age exceeds this is replaced.
        batch_size: all distilled images are used while there are fewer than this,
            otherwise so many, drawn without replacement.

    Returns:
        The learner.

    Source: algorithms 5.1 (a full life is ``max_age + 1`` online steps).
    """
    fresh_key, batch_key = jax.random.split(key)
    if images.shape[0] >= batch_size:
        chosen = jax.random.choice(
            batch_key, images.shape[0], (batch_size,), replace=False
        )
        images, labels = images[chosen], labels[chosen]
    return jax.lax.cond(
        learner.age > max_age,
        lambda: fresh_learner(fresh_key, network),
        lambda: online_step(
            network, learner, images, labels, learning_rate=learning_rate
        ),
    )
