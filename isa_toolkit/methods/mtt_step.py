"""MTT's outer step: candidates, the unrolled student, the update.

The settings are in :mod:`isa_toolkit.methods.mtt`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.datasets.augmentation import dsa_augment, dsa_default_ops
from isa_toolkit.losses import crucial
from isa_toolkit.losses.matching import trajectory_loss
from isa_toolkit.methods.base import Batch, first_failure
from isa_toolkit.methods.expert_buffer import unravel_of
from isa_toolkit.networks.base import Network
from isa_toolkit.networks.training import cross_entropy

if TYPE_CHECKING:
    from isa_toolkit.methods.mtt import MTT

__all__ = [
    "QUANTITIES",
    "REMEDIES",
    "MTTInfo",
    "MTTKnobs",
    "MTTState",
    "mtt_step",
    "resolved",
    "skip_unused",
    "unroll",
]

Scalar = Float[Array, ""]


class MTTState(NamedTuple):
    """Everything an MTT run carries from one step to the next.

    images: distilled images, [m, h, w, ch].
    labels: centred one-hot, never changed, [m, c].
    velocity: of the images, [m, h, w, ch].
    rate: the student's step size, always above 0, [].
    rate_velocity: of the step size, [].
    step: outer steps taken, [].
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    velocity: Float[Array, "m h w ch"]
    rate: Scalar
    rate_velocity: Scalar
    step: Int[Array, ""]


class MTTInfo(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: mean over the kept candidates, [].
    kept: number of candidates kept, [].
    rate: the student's step size, [].
    failure: 0, or 1 + the place in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    kept: Scalar
    rate: Scalar
    failure: Int[Array, ""]


class MTTKnobs(NamedTuple):
    """The traced numbers of a run: changing one never recompiles.

    drop_easy: share of the candidates dropped from the easy end, [].
    drop_hard: share dropped from the hard end, [].
    segment_start: one end of the segment, [].
    segment_stop: the other, [].
    learning_rate: of the images, [].
    rate_learning_rate: of the student's step size, [].
    momentum: of both, [].
    """

    drop_easy: Scalar
    drop_hard: Scalar
    segment_start: Scalar
    segment_stop: Scalar
    learning_rate: Scalar
    rate_learning_rate: Scalar
    momentum: Scalar


QUANTITIES = (
    "the experts' trajectories",
    "the student's step size",
    "the loss",
    "the gradient",
)
REMEDIES = {
    QUANTITIES[0]: "Lower expert_learning_rate (now {expert_learning_rate:g}).",
    QUANTITIES[1]: "Lower rate_learning_rate (now {rate_learning_rate:g}).",
    QUANTITIES[2]: "Lower student_learning_rate (now {student_learning_rate:g}) or "
    "learning_rate (now {learning_rate:g}).",
}


def unroll(
    network: Network,
    theta: Float[Array, " p"],
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    rate: Scalar,
    key: Key[Array, ""],
    *,
    steps: int,
    batch_size: int,
    ops: tuple[str, ...],
    rematerialise: bool = True,
) -> Float[Array, " p"]:
    """Return where a student ends after plain gradient steps on the distilled images.

    ``theta <- theta - rate * grad CE(batch)`` under DSA, parameters drawn per image. The
    batch is everything, or consecutive pieces of reshuffled permutations.

    Args:
        network: the architecture.
        theta: flat parameters at the start, [p].
        images: distilled, [m, h, w, ch].
        labels: the largest entry of a row is its class, [m, c].
        rate: step size.
        key: of order and augmentation.
        steps: N; static.
        batch_size: at most m; static.
        ops: of DSA; static.
        rematerialise: compute the inside of each step again in the backward pass, so
            that what is kept per step is one parameter vector and no activations.

    Returns:
        Flat parameters at the end, [p].

    Source: algorithms 4.6; rematerialisation is algorithms 11's remedy.
    """
    unravel, norms = unravel_of(network)
    order_key, augment_key = jax.random.split(key)
    count = images.shape[0]
    epochs = -(-steps // (count // batch_size))
    if batch_size < count:
        whole = (count // batch_size) * batch_size
        orders = jax.vmap(lambda own: jax.random.permutation(own, count)[:whole])(
            jax.random.split(order_key, epochs)
        )
        places = orders.reshape(-1, batch_size)[:steps]
    else:
        places = jnp.broadcast_to(jnp.arange(count), (steps, count))

    def inner(
        theta: Float[Array, " p"], chosen: tuple[Int[Array, " b"], Key[Array, ""]]
    ) -> tuple[Float[Array, " p"], None]:
        place, own_key = chosen
        batch = dsa_augment(own_key, images[place], ops=ops)

        def loss_of(theta: Float[Array, " p"]) -> Scalar:
            logits = network.apply(unravel(theta), norms, batch, train=True).logits
            return jnp.mean(cross_entropy(logits, labels[place]))

        return theta - rate * jax.grad(loss_of)(theta), None

    # In a scan XLA cannot merge the second computation with the first.
    body = jax.checkpoint(inner, prevent_cse=False) if rematerialise else inner
    return jax.lax.scan(body, theta, (places, jax.random.split(augment_key, steps)))[0]


def skip_unused(
    function: Callable[[PyTree, PyTree], Scalar],
) -> Callable[[PyTree, PyTree], Scalar]:
    """Return the same function, its backward pass left out where nothing depends on it.

    A candidate that is dropped has a cotangent of 0; going back through its student's
    training costs three times as much as going forward. Under ``vmap`` nothing is left
    out.

    Args:
        function: of what is learned and what is not, to a number.

    Returns:
        The function, differentiable in its first argument.
    """

    @jax.custom_vjp
    def call(learned: PyTree, fixed: PyTree) -> Scalar:
        return function(learned, fixed)

    def forward(learned: PyTree, fixed: PyTree) -> tuple[Scalar, PyTree]:
        value, pull = jax.vjp(lambda own: function(own, fixed), learned)
        return value, (pull, learned)

    def backward(kept: PyTree, cotangent: Scalar) -> tuple[PyTree, None]:
        pull, learned = kept
        gradient = jax.lax.cond(
            cotangent != 0,
            lambda: pull(cotangent)[0],
            lambda: jax.tree.map(jnp.zeros_like, learned),
        )
        return gradient, None

    call.defvjp(forward, backward)
    return call


def mtt_step(
    settings: MTT,
    network: Network,
    key: Key[Array, ""],
    state: MTTState,
    batch: Batch,
    knobs: MTTKnobs,
) -> tuple[MTTState, MTTInfo]:
    """Return state and diagnostics one outer step further.

    Args:
        settings: resolved.
        network: of student and experts.
        key: of this step.
        state: before it.
        batch: its ``extra`` holds the experts' flat parameters, [e, s, p].
        knobs: the traced numbers.

    Source: algorithms 4.6, and P2 of algorithms 10.
    """
    trajectories: Float[Array, "e s p"] = batch.extra
    ahead = resolved(settings, "target_epochs")
    ops = settings.ops
    if ops is None:
        ops = dsa_default_ops(network.image_shape)
    expert_key, epoch_key, student_key = jax.random.split(key, 3)
    shape = (settings.candidates,)
    chosen = jax.random.randint(expert_key, shape, 0, trajectories.shape[0])
    epochs = jax.random.randint(
        epoch_key, shape, 0, resolved(settings, "max_start_epoch")
    )
    keys = jax.random.split(student_key, settings.candidates)

    segment = (knobs.segment_start, knobs.segment_stop)

    def distance(learned: tuple[Array, Scalar], fixed: PyTree) -> Scalar:
        images, rate = learned
        labels, own_key, (first, before, target), ends = fixed
        end = unroll(
            network,
            first,
            images,
            labels,
            rate,
            own_key,
            steps=resolved(settings, "student_steps"),
            batch_size=resolved(settings, "student_batch_size"),
            ops=ops,
        )
        return trajectory_loss(end, first, before, target, ends)

    def loss_of(learned: tuple[Array, Scalar]) -> tuple[Scalar, tuple[Array, Array]]:
        def candidate(
            drawn: tuple[Int[Array, ""], Int[Array, ""], Key[Array, ""]],
        ) -> Scalar:
            expert, epoch, own_key = drawn
            ends = (epoch, epoch + ahead - 1, epoch + ahead)
            points = tuple(trajectories[expert, end] for end in ends)
            fixed = (state.labels, own_key, points, segment)
            return skip_unused(distance)(learned, fixed)

        if jax.default_backend() == "cpu":
            # One after the other: side by side means grouped convolutions, and no
            # backward pass could be left out. (`batch_size=1` would be a `vmap`, too.)
            losses = jax.lax.map(candidate, (chosen, epochs, keys))
        else:
            losses = jax.vmap(candidate)((chosen, epochs, keys))
        weights = crucial.select(
            losses, drop_easy=knobs.drop_easy, drop_hard=knobs.drop_hard
        )
        return crucial.weighted_mean(losses, weights), (weights, losses)

    (loss, (weights, _)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
        (state.images, state.rate)
    )
    velocity = knobs.momentum * state.velocity + gradient[0]
    rate_velocity = knobs.momentum * state.rate_velocity + gradient[1]
    # To first order rate - rate_learning_rate * velocity, and never below 0.
    change = -knobs.rate_learning_rate * rate_velocity / state.rate
    info = MTTInfo(
        loss=loss,
        kept=jnp.sum(weights),
        rate=state.rate,
        failure=first_failure(
            jnp.all(jnp.isfinite(jnp.sum(trajectories[chosen, epochs + ahead], -1))),
            jnp.isfinite(state.rate) & (state.rate > 0),
            jnp.isfinite(loss),
            jnp.isfinite(jnp.sum(gradient[0]) + gradient[1]),
        ),
    )
    following = MTTState(
        state.images - knobs.learning_rate * velocity,
        state.labels,
        velocity,
        (state.rate * jnp.exp(change)).astype(state.rate.dtype),
        rate_velocity,
        state.step + 1,
    )
    return following, info


def resolved(settings: Any, name: str) -> Any:
    """Return a setting, refusing one that is left to the published value.

    Args:
        settings: of a method.
        name: of the setting.

    Raises:
        ValueError: it is None.
    """
    value = getattr(settings, name)
    if value is None:
        raise checks.fail(name, "be resolved", None, "Call resolve first.")
    return value
