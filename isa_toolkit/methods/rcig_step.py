"""One outer step of RCIG.

Reads like sections 4.3 and 5.2 of the algorithm sheet: draw a network from the pool, solve
its linearised inner problem, read the real images with it, keep the hard targets, average
the loss along a segment, solve for the implicit gradient, step images, labels and
temperature, train the network on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from isa_toolkit.losses.label_margin import label_margin_loss
from isa_toolkit.losses.ridge import HIGHEST
from isa_toolkit.methods import implicit_gradient as inner
from isa_toolkit.methods.base import Batch, first_failure
from isa_toolkit.methods.optimizers import OPTIMIZERS
from isa_toolkit.methods.rcig_state import (
    Learned,
    Rates,
    RCIGInfo,
    RCIGKnobs,
    RCIGState,
)
from isa_toolkit.methods.target_loss import target_loss
from isa_toolkit.networks import Network
from isa_toolkit.networks.pool import (
    Learner,
    draw_member,
    fresh_learner,
    online_step,
    put_member,
    take_member,
)

if TYPE_CHECKING:
    from isa_toolkit.methods.rcig import RCIG

__all__ = ["rcig_step"]

Scalar = Float[Array, ""]

# Algorithms 4.3: how often the inner rate is looked at, and what moves it.
_ADAPT_EVERY = 50
_WORSE_SHARE, _SHRINK = 0.29, 0.9
_MONOTONE_SHARE, _GROW = 0.70, 1.05


class OuterTerms(NamedTuple):
    """The outer loss of one step and what it was made of.

    target_loss: mean over the kept targets, [].
    label_loss: the label margin, [].
    prediction: of the whole target batch, [n, c].
    weights: 1 for kept targets, 0 for dropped, [n].
    readout: w*, [d, c].
    target_features: h(X_T), [n, d].
    """

    target_loss: Scalar
    label_loss: Scalar
    prediction: Float[Array, "n c"]
    weights: Float[Array, " n"]
    readout: Float[Array, "d c"]
    target_features: Float[Array, "n d"]


def rcig_step(
    settings: RCIG,
    network: Network,
    head: int,
    key: Key[Array, ""],
    state: RCIGState,
    batch: Batch,
    knobs: RCIGKnobs,
) -> tuple[RCIGState, RCIGInfo]:
    """Return the state after one outer step, and its diagnostics.

    Args:
        settings: static parts are read.
        network: of the pool.
        head: ``implicit_gradient.head_place(network)``.
        key: consumed.
        state: before the step.
        batch: target samples.
        knobs: the traced numbers.

    Returns:
        The state and the diagnostics.

    Source: algorithms 4.3 and 5.2.
    """
    keys = jax.random.split(key, 5)
    member = draw_member(keys[0], state.pool)
    learner = take_member(state.pool, member)
    base = inner.Base(network, learner.params, learner.state, head)
    penalty = knobs.ridge * state.images.shape[0]
    learned: Learned = (state.images, state.labels, state.log_temperature)
    blank, is_first = inner.blank_tangent(base), (state.step == 0) & settings.tune

    # The inner problem: a tangent for this distilled set.
    problem = inner.inner_problem(
        base, *_support(settings, state.images, state.labels), penalty
    )

    def inner_run(rate: Scalar) -> inner.Descent:
        return inner.descend(
            lambda tangent: inner.objective(problem, tangent),
            blank,
            rate=rate,
            steps=settings.inner_steps,
        )

    start = jnp.where(state.step == 0, knobs.inner_learning_rate, state.rates.inner)
    inner_rate = inner.tuned_rate(inner_run, start, is_first)
    inside = inner_run(inner_rate)
    tangent = inside.point

    # The outer loss; targets are chosen once, for both of its gradients.
    def outer(learned: Learned, tangent: inner.Tangent) -> tuple[Scalar, OuterTerms]:
        return _outer_loss(
            settings, base, learned, tangent, batch, knobs, penalty, keys[1:4]
        )

    (loss, terms), (direct, slope) = jax.value_and_grad(
        outer, argnums=(0, 1), has_aux=True
    )(learned, tangent)

    # H v = slope, H the Hessian of the inner objective: the minimum of a quadratic.
    def solve(rate: Scalar) -> inner.Descent:
        return inner.descend(
            lambda v: (
                inner.objective(problem, v, jnp.zeros_like(problem.labels))
                - inner.inner_product(slope, v)
            ),
            blank,
            rate=rate,
            steps=settings.inner_steps,
        )

    start = jnp.where(state.step == 0, knobs.solve_learning_rate, state.rates.solve)
    solve_rate = inner.tuned_rate(solve, start, is_first)
    implicit = _implicit(
        settings, base, learned, tangent, solve(solve_rate).point, penalty, keys[2]
    )
    implicit = jax.tree.map(inner.capped, implicit, direct)
    gradient = jax.tree.map(jnp.add, direct, implicit)

    following = _update(settings, state, learned, gradient, knobs)
    trained = _trained(
        settings, network, keys[4], learner, following.images, following.labels, knobs
    )
    following = following._replace(
        pool=put_member(state.pool, member, trained),
        rates=_adapted(settings, state, inside, inner_rate, solve_rate),
    )
    right = jnp.argmax(terms.prediction, -1) == jnp.argmax(batch.labels, -1)
    info = RCIGInfo(
        loss=loss,
        target_loss=terms.target_loss,
        label_loss=terms.label_loss,
        target_accuracy=jnp.mean(right.astype(jnp.float32)),
        kept=jnp.sum(terms.weights),
        scale=jnp.exp(state.log_temperature),
        inner_loss=inside.losses[-1],
        inner_rate=inner_rate,
        solve_rate=solve_rate,
        implicit_share=_length(implicit[0]) / jnp.maximum(_length(direct[0]), 1e-30),
        member=member,
        age=learner.age,
        failure=first_failure(
            jnp.isfinite(jnp.sum(problem.features)),
            jnp.isfinite(jnp.sum(problem.factor)),
            jnp.isfinite(inside.losses[-1]),
            jnp.isfinite(jnp.sum(terms.target_features)),
            jnp.isfinite(loss) & jnp.isfinite(jnp.sum(terms.readout)),
            jnp.isfinite(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(gradient))),
        ),
    )
    return following, info


def _support(settings: RCIG, images: Array, labels: Array) -> tuple[Array, Array]:
    """Return the distilled set, with mirrored copies if there are."""
    if not settings.flips:
        return images, labels
    return (
        jnp.concatenate([images, images[:, :, ::-1]]),
        jnp.concatenate([labels, labels]),
    )


def _with_gradient(
    function: Callable[[Array], PyTree],
    images: Float[Array, "n h w ch"],
    count: int | None,
    key: Key[Array, ""],
) -> PyTree:
    """Return ``function(images)``, with a gradient through ``count`` random rows only.

    0 or None: through all. The gradient of the rows is not scaled up.
    """
    if not count or count >= images.shape[0]:
        return function(images)
    values = jax.lax.stop_gradient(function(images))
    chosen = jax.random.choice(key, images.shape[0], (count,), replace=False)
    return jax.tree.map(
        lambda whole, part: whole.at[chosen].set(part),
        values,
        function(images[chosen]),
    )


def _outer_loss(
    settings: RCIG,
    base: inner.Base,
    learned: Learned,
    tangent: inner.Tangent,
    batch: Batch,
    knobs: RCIGKnobs,
    penalty: Scalar,
    keys: Key[Array, " 3"],
) -> tuple[Scalar, OuterTerms]:
    """Return the loss of predicting the targets, and its parts."""
    partner_key, distilled_key, target_key = keys
    images, labels, log_temperature = learned
    support, support_labels = _support(settings, images, labels)

    def linear(images: Array) -> tuple[Array, Array]:
        return inner.linear_part(base, images, tangent)

    change, features = _with_gradient(
        linear, support, settings.distilled_subset, distilled_key
    )
    factor = inner.kernel_factor(features, penalty)
    dual = jax.scipy.linalg.cho_solve((factor, True), support_labels - change)
    readout = jnp.matmul(features.T, dual, precision=HIGHEST)
    target_change, target_features = _with_gradient(
        linear, batch.images, settings.target_subset, target_key
    )
    prediction = target_change + jnp.matmul(target_features, readout, precision=HIGHEST)
    target = target_loss(
        prediction,
        batch.labels,
        target_features,
        loss=settings.loss,
        log_scale=log_temperature,
        drop_easy=knobs.drop_easy,
        drop_hard=knobs.drop_hard,
        segment=(knobs.segment_start, knobs.segment_stop),
        partner=settings.partner,
        key=partner_key,
    )
    margin = jnp.zeros_like(target.loss)
    if settings.label_margin:
        margin = label_margin_loss(labels, share=0.5)
    terms = OuterTerms(
        target.loss, margin, prediction, target.weights, readout, target_features
    )
    return target.loss + margin, terms


def _implicit(
    settings: RCIG,
    base: inner.Base,
    learned: Learned,
    tangent: inner.Tangent,
    direction: inner.Tangent,
    penalty: Scalar,
    key: Key[Array, ""],
) -> Learned:
    """Return ``- d/dpsi <v, dL/domega>``: 0 for the temperature, which L lacks."""

    def slope_of(distilled: tuple[Array, Array]) -> Scalar:
        support, labels = _support(settings, *distilled)

        def both(images: Array) -> tuple[Array, Array, Array]:
            change, features = inner.linear_part(base, images, tangent)
            along, _ = inner.linear_part(base, images, direction)
            return change, along, features

        change, along, features = _with_gradient(
            both, support, settings.distilled_subset, key
        )
        return inner.slope_along(
            labels,
            features,
            change,
            along,
            inner_product=inner.inner_product(tangent, direction),
            penalty=penalty,
        )

    images, labels = jax.grad(slope_of)(learned[:2])
    return -images, -labels, jnp.zeros_like(learned[2])


def _update(
    settings: RCIG,
    state: RCIGState,
    learned: Learned,
    gradient: Learned,
    knobs: RCIGKnobs,
) -> RCIGState:
    """Return the state after AdaBelief's step, and the running means with it."""
    if not settings.learn_labels:
        gradient = (gradient[0], jnp.zeros_like(gradient[1]), gradient[2])
    updates, moments = OPTIMIZERS["adabelief"].update(gradient, state.optimizer)
    rate = knobs.learning_rate
    images, labels, log_temperature = (
        value - speed * update
        for value, update, speed in zip(
            learned, updates, (rate, rate, knobs.temperature_learning_rate), strict=True
        )
    )
    decay, stepped = settings.average_decay, (images, labels, log_temperature)
    average = jax.tree.map(
        # Not decay * mean + ..., whose two weights round apart where decay is near 1.
        lambda mean, value: mean + (1 - decay) * (value - mean),
        state.average,
        stepped,
    )
    return state._replace(
        images=images,
        labels=labels,
        log_temperature=log_temperature,
        optimizer=moments,
        average=average,
        step=state.step + 1,
    )


def _trained(
    settings: RCIG,
    network: Network,
    key: Key[Array, ""],
    learner: Learner,
    images: Array,
    labels: Array,
    knobs: RCIGKnobs,
) -> Learner:
    """Return the pool member some ordinary Adam steps on, or a fresh one if it is old."""
    count_key, fresh_key = jax.random.split(key)
    support, support_labels = _support(settings, images, labels)
    count = jax.random.randint(count_key, (), 1, settings.most_online_steps + 1)
    older = jax.lax.fori_loop(
        0,
        count,
        lambda _, learner: online_step(
            network,
            learner,
            support,
            support_labels,
            learning_rate=knobs.online_learning_rate,
        ),
        learner,
    )
    return jax.lax.cond(
        older.age >= settings.max_online_updates,
        lambda: fresh_learner(fresh_key, network),
        lambda: older,
    )


def _adapted(
    settings: RCIG,
    state: RCIGState,
    inside: inner.Descent,
    inner_rate: Scalar,
    solve_rate: Scalar,
) -> Rates:
    """Return the rates of the next step: every 50 steps the inner one may move."""
    worse = state.rates.worse + inside.is_worse
    monotone = state.rates.monotone + inside.is_monotone
    is_look = (state.step + 1) % _ADAPT_EVERY == 0
    if settings.tune:
        shrink = is_look & (worse >= _WORSE_SHARE * _ADAPT_EVERY)
        grow = is_look & (monotone >= _MONOTONE_SHARE * _ADAPT_EVERY)
        inner_rate = inner_rate * jnp.where(shrink, _SHRINK, 1)
        inner_rate = inner_rate * jnp.where(grow, _GROW, 1)
    return Rates(
        inner_rate,
        solve_rate,
        jnp.where(is_look, 0, worse),
        jnp.where(is_look, 0, monotone),
    )


def _length(leaf: Array) -> Scalar:
    return jnp.sqrt(jnp.sum(jnp.square(leaf)))
