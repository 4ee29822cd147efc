"""The pool: several partly trained networks, stacked, each at its own age.

The outer loop draws one member per step, takes its features of real and distilled images,
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
from isa_toolkit.networks.training import half_squared_error

Scalar = Float[Array, ""] | float

# Adam as everywhere in the released code: b1 .9, b2 .999, epsilon 1e-8.
_ADAM = optax.scale_by_adam()


class Learner(NamedTuple):
    """A network in training; a pool is the same with a leading axis p.

    params: Trained numbers.
    state: Normalisation statistics.
    optimizer: Adam moments.
    age: Number of training steps taken, plus the age it was created with, [].
    """

    params: PyTree
    state: PyTree
    optimizer: PyTree
    age: Int[Array, "..."]


def fresh_learner(key: Key[Array, ""], network: Network) -> Learner:
    """Return a freshly drawn network with fresh Adam moments and age 0."""
    params, state = network.init(key)
    return Learner(params, state, _ADAM.init(params), jnp.zeros((), jnp.int32))


def init_pool(
    key: Key[Array, ""], network: Network, *, size: int, max_age: int, stagger: bool
) -> Learner:
    """Return fresh networks, stacked: learners with a leading axis p = ``size``.

    With ``stagger`` member i starts at the age ``(max_age // size) * i``, so that members
    are not all replaced at once. All start untrained.

    Source: docs/algorithms.md, section 5.1.
    """
    pool = jax.vmap(lambda k: fresh_learner(k, network))(jax.random.split(key, size))
    if stagger:
        ages = (max_age // size) * jnp.arange(size, dtype=jnp.int32)
        pool = pool._replace(age=ages)
    return pool


def draw_member(key: Key[Array, ""], pool: Learner) -> Int[Array, ""]:
    """Return the index of a member, drawn uniformly."""
    return jax.random.randint(key, (), 0, pool.age.shape[0])


def online_step(
    network: Network,
    learner: Learner,
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    *,
    learning_rate: Scalar,
) -> Learner:
    """Return the learner after one Adam step on a distilled batch, one step older.

    The loss is half the squared error, mean over the batch, in training mode, with neither
    augmentation nor horizontal flips.

    Source: docs/algorithms.md, section 5.1.
    """

    def loss_of(params: PyTree) -> tuple[Float[Array, ""], PyTree]:
        output = network.apply(params, learner.state, images, train=True)
        return jnp.mean(half_squared_error(output.logits, labels)), output.state

    gradient, state = jax.grad(loss_of, has_aux=True)(learner.params)
    updates, optimizer = _ADAM.update(gradient, learner.optimizer)
    updates = jax.tree.map(lambda update: -learning_rate * update, updates)
    params = optax.apply_updates(learner.params, updates)
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
    """Return the learner one online step older, or a fresh one if its age is above ``max_age``.

    It trains on ``batch_size`` images, drawn without replacement; on all of them while
    there are fewer.

    Source: docs/algorithms.md, section 5.1 (a full life is ``max_age + 1`` online steps).
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


@jax.jit
def stack(trees: list[PyTree]) -> PyTree:
    """Return trees of one structure, such as learners, stacked along a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def take(stacked: PyTree, index: Int[Array, ""] | int) -> PyTree:
    """Return one of some stacked trees; the index may be traced."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), stacked
    )


def put(stacked: PyTree, index: Int[Array, ""] | int, tree: PyTree) -> PyTree:
    """Return stacked trees with one of them replaced; the index may be traced."""
    return jax.tree.map(
        lambda leaves, leaf: jax.lax.dynamic_update_index_in_dim(
            leaves, leaf, index, 0
        ),
        stacked,
        tree,
    )
