"""Expert trajectories for MTT: networks trained on real images, a snapshot per epoch.

Plain SGD on cross-entropy under DSA's augmentation. Crucial samples and ISA can be part of
that training: the easy samples of each minibatch are dropped, and the loss is averaged
along a segment of the penultimate features by quadrature. That is our reading (P1 of
algorithms 10); the paper gives no formulas for MTT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit.datasets.augmentation import dsa_augment
from isa_toolkit.losses import crucial, isa
from isa_toolkit.methods.base import Shards
from isa_toolkit.networks.base import Network, NetworkOutput

__all__ = [
    "PER_SHARD",
    "ExpertKnobs",
    "describe",
    "expert_loss",
    "expert_shards",
    "flat_size",
    "train_experts",
    "unravel_of",
]

Scalar = Float[Array, ""] | float

# Experts trained side by side, and lost together when making them is interrupted.
PER_SHARD = 10

# Gauss-Legendre on [-1, 1]: three nodes, exact for polynomials up to the fifth degree.
_NODES = ((-(0.6**0.5), 5 / 18), (0.0, 8 / 18), (0.6**0.5, 5 / 18))


class ExpertKnobs(NamedTuple):
    """The traced numbers of an expert's training.

    learning_rate: of SGD, [].
    drop_easy: share of each minibatch dropped from the easy end, [].
    drop_hard: share dropped from the hard end, [].
    segment_start: one end of the segment, [].
    segment_stop: the other, [].
    """

    learning_rate: Scalar
    drop_easy: Scalar
    drop_hard: Scalar
    segment_start: Scalar
    segment_stop: Scalar


def expert_loss(
    output: NetworkOutput,
    labels: Float[Array, "n c"],
    knobs: ExpertKnobs,
    *,
    partner: str,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Return the cross-entropy of a minibatch, with crucial samples and ISA.

    Per-sample cross-entropy decides which samples are kept. With a partner j(i) among
    them the loss of a kept sample is the mean over t in [a, b] of the cross-entropy at
    logits ``f_i + t (f_i - f_j)`` and label ``y_i + t (y_i - y_j)``: the logits are affine
    in the penultimate features, so this is mixing there. Three Gauss-Legendre nodes.

    Args:
        output: of the network on the minibatch.
        labels: one-hot, not centred, [n, c].
        knobs: of the training.
        partner: ``"nearest"`` kept sample by cosine of the features, ``"random"``,
            ``"same_class"`` or ``"none"`` (plain cross-entropy); static.
        key: for random partners.

    Returns:
        Mean over the kept samples, [].

    Source: ours, P1 of algorithms 10. Under partner ``"none"`` and with nothing dropped
    the experts of algorithms 4.6.
    """
    scores = jax.nn.log_softmax(output.logits)
    losses = -jnp.sum(labels * scores, axis=-1)
    weights = crucial.select(
        losses, drop_easy=knobs.drop_easy, drop_hard=knobs.drop_hard
    )
    if partner != "none":
        chosen = _partners(output.features, labels, weights, partner, key)
        middle = (knobs.segment_start + knobs.segment_stop) / 2
        half = (knobs.segment_stop - knobs.segment_start) / 2
        losses = jnp.zeros_like(losses)
        for node, share in _NODES:
            t = middle + half * node
            logits = output.logits + t * (output.logits - output.logits[chosen])
            mixed = labels + t * (labels - labels[chosen])
            entropy = -jnp.sum(mixed * jax.nn.log_softmax(logits), axis=-1)
            losses = losses + share * entropy
    return crucial.weighted_mean(losses, weights)


def _partners(
    features: Float[Array, "n d"],
    labels: Float[Array, "n c"],
    weights: Float[Array, " n"],
    partner: str,
    key: Key[Array, ""],
) -> Int[Array, " n"]:
    if partner == "random":
        return isa.random_partners(key, weights)
    groups = jnp.argmax(labels, axis=-1) if partner == "same_class" else None
    return isa.nearest_partners(features, weights, groups)


@cache
def _trainer(
    network: Network, batch_size: int, ops: tuple[str, ...], partner: str
) -> tuple[Callable[..., Float[Array, "e p"]], Callable[..., Float[Array, "e p"]]]:
    """Return first weights and one epoch, compiled: the same for equal arguments."""
    unravel, norms = unravel_of(network)

    def first(key: Key[Array, ""]) -> Float[Array, " p"]:
        return ravel_pytree(network.init(jax.random.split(key, 3)[0])[0])[0]

    def epoch(
        key: Key[Array, ""],
        flat: Float[Array, " p"],
        number: Int[Array, ""],
        images: Float[Array, "n h w ch"],
        labels: Float[Array, "n c"],
        knobs: ExpertKnobs,
    ) -> Float[Array, " p"]:
        _, order_key, step_key = jax.random.split(key, 3)
        count = images.shape[0]
        batches = count // batch_size

        def step(
            flat: Float[Array, " p"], chosen: tuple[Int[Array, " b"], Int[Array, ""]]
        ) -> tuple[Float[Array, " p"], None]:
            places, number = chosen
            augment_key, partner_key = jax.random.split(
                jax.random.fold_in(step_key, number)
            )
            batch = dsa_augment(augment_key, images[places], ops=ops)

            def loss_of(flat: Float[Array, " p"]) -> Float[Array, ""]:
                output = network.apply(unravel(flat), norms, batch, train=True)
                return expert_loss(
                    output, labels[places], knobs, partner=partner, key=partner_key
                )

            return flat - knobs.learning_rate * jax.grad(loss_of)(flat), None

        order = jax.random.permutation(jax.random.fold_in(order_key, number), count)
        places = order[: batches * batch_size].reshape(batches, batch_size)
        numbers = number * batches + jnp.arange(batches)
        return jax.lax.scan(step, flat, (places, numbers))[0]

    def many(
        keys: Key[Array, " e"], flats: Float[Array, "e p"], *arguments: PyTree
    ) -> Float[Array, "e p"]:
        def one(each: tuple[Array, Array]) -> Array:
            return epoch(*each, *arguments)

        # On the CPU grouped convolutions are slow: one after the other, as evaluations.
        if jax.default_backend() == "cpu":
            return jax.lax.map(one, (keys, flats))
        return jax.vmap(lambda *each: one(each))(keys, flats)

    return jax.jit(jax.vmap(first)), jax.jit(many)


def train_experts(
    keys: Key[Array, " e"],
    network: Network,
    images: Float[Array, "n h w ch"],
    labels: Float[Array, "n c"],
    *,
    epochs: int,
    batch_size: int,
    ops: tuple[str, ...],
    partner: str,
    knobs: ExpertKnobs,
    heed: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "e s p"]:
    """Return the parameters of freshly drawn networks before and after every epoch.

    Args:
        keys: one per expert: its first weights, order and augmentation.
        network: the architecture.
        images: real images, network inputs, [n, h, w, ch].
        labels: one-hot, not centred, [n, c].
        epochs: of each; s = epochs + 1 snapshots.
        batch_size: real images in a step, at most n.
        ops: of DSA; empty for none.
        partner: see ``expert_loss``.
        knobs: the traced numbers.
        heed: called after every epoch; it may raise to end the training.

    Returns:
        Flat parameters, [e, s, p], in the order of ``ravel_pytree``.

    Source: algorithms 4.6, "Expert buffer": no momentum, no weight decay, no decay.
    **Deviation:** what is left over after full minibatches is left out of an epoch.
    """
    first, epoch = _trainer(network, batch_size, ops, partner)
    flats = first(keys)
    snapshots = [np.asarray(flats)]
    for number in range(epochs):
        flats = epoch(keys, flats, jnp.int32(number), images, labels, knobs)
        snapshots.append(np.asarray(flats))
        heed()
    return np.stack(snapshots, axis=1)


def unravel_of(network: Network) -> tuple[Callable[[Array], PyTree], PyTree]:
    """Return the function from flat parameters to the network's, and a blank state.

    Args:
        network: the architecture.
    """
    params, norms = jax.eval_shape(network.init, jax.random.key(0))

    def blank(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)

    return ravel_pytree(blank(params))[1], blank(norms)


def flat_size(network: Network) -> int:
    """Return p, the number of trained numbers of a network.

    Args:
        network: the architecture.
    """
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def expert_shards(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    count: int,
    epochs: int,
    needed: int,
    batch_size: int,
    ops: tuple[str, ...],
    partner: str,
    seed: int,
    knobs: ExpertKnobs,
) -> Shards:
    """Return the experts of a training set as data to be made once, ten in a shard.

    Args:
        network: the architecture.
        images: network inputs of the whole training set, [n, h, w, ch].
        labels: class numbers, [n].
        count: experts.
        epochs: of each.
        needed: snapshots that go to the device; later ones are stored, too.
        batch_size: real images in a step; at most n are taken.
        ops: of DSA.
        partner: see ``expert_loss``.
        seed: of the experts; number i is drawn from ``fold_in(key(seed), i)``.
        knobs: numbers.

    Returns:
        The shards; together they give flat parameters, [e, s, p], s = ``needed``.

    Source: algorithms 4.6.
    """
    batch_size = min(batch_size, len(images))
    starts = range(0, count, PER_SHARD)
    each = 4 * (epochs + 1) * flat_size(network)

    def make(index: int, heed: Callable[[], None]) -> dict[str, np.ndarray]:
        numbers = np.arange(starts[index], min(starts[index] + PER_SHARD, count))
        root = jax.random.key(seed)
        made = train_experts(
            jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers),
            network,
            jnp.asarray(images),
            jax.nn.one_hot(jnp.asarray(labels), network.num_classes),
            epochs=epochs,
            batch_size=batch_size,
            ops=ops,
            partner=partner,
            knobs=ExpertKnobs(*(jnp.float32(number) for number in knobs)),
            heed=heed,
        )
        return {"parameters": made}

    def gather(made: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        return np.concatenate([shard["parameters"][:, :needed] for shard in made])

    description = describe(
        network,
        images,
        labels,
        count=count,
        epochs=epochs,
        batch_size=batch_size,
        ops=list(ops),
        partner=partner,
        seed=seed,
        knobs={name: float(value) for name, value in knobs._asdict().items()},
    )
    sizes = tuple(each * min(PER_SHARD, count - start) for start in starts)
    return Shards("experts", description, sizes, make, gather)


def describe(
    network: Network, images: np.ndarray, labels: np.ndarray, **settings: Any
) -> dict[str, Any]:
    """Return everything that experts depend on, JSON-able.

    Args:
        network: the architecture, told by its name and the shape of every parameter.
        images: network inputs of the training set, told by their SHA-256.
        labels: class numbers, likewise.
        settings: of the training.
    """
    digest = hashlib.sha256()
    for array in (images, labels):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    shapes = {
        jax.tree_util.keystr(path): list(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    return {
        "data": digest.hexdigest(),
        "network": {
            "name": network.name,
            "image_shape": list(network.image_shape),
            "parameters": shapes,
        },
        **settings,
    }
