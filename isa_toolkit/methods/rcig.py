"""RCIG with crucial samples and Infinite Semantic Augmentation (ISA).

Reads like sections 4.3 and 5.2 of docs/algorithms.md: draw a network from the pool, solve
its linearised inner problem, read the real images with it, keep the hard targets, average
the loss along a segment, solve for the implicit gradient, step images, labels and
temperature, train the network on. The inner problem is in
:mod:`isa_toolkit.methods.implicit_gradient`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.annotations import check_settings
from isa_toolkit.losses.label_margin import label_margin_loss
from isa_toolkit.losses.ridge import HIGHEST
from isa_toolkit.losses.selection import Loss, Partner, target_loss
from isa_toolkit.methods import implicit_gradient as inner
from isa_toolkit.methods.base import (
    Batch,
    Method,
    accuracy_of,
    add_flips,
    check_selection,
    default_segment,
    dropped_fractions,
    first_failure,
    has_values,
    required,
    static,
)
from isa_toolkit.networks import Network
from isa_toolkit.networks.base import images_at_once
from isa_toolkit.networks.pool import (
    Learner,
    draw_member,
    fresh_learner,
    init_pool,
    online_step,
    put,
    take,
)
from isa_toolkit.presets import preset, published_rows

Scalar = Float[Array, ""]
# Images, labels and log temperature: what is learned.
Learned = tuple[Array, Array, Array]

# Images and labels have another learning rate than the temperature.
_ADABELIEF = optax.scale_by_belief(eps=1e-16)

# docs/algorithms.md, section 4.3: how often the inner rate is adapted, and when.
_ADAPT_EVERY = 50
_WORSE, _SHRINK = 0.29, 0.9
_MONOTONE, _GROW = 0.70, 1.05


class Rates(NamedTuple):
    """Learning rates that tune themselves, and what was counted for it.

    inner: Learning rate of Adam, of the inner problem, [].
    solve: Learning rate of Adam, of the inverse-Hessian-vector product, [].
    worse: Number of inner runs since the last adaptation that ended above their start, [].
    monotone: Number of inner runs since then that went down at every step, [].
    """

    inner: Scalar
    solve: Scalar
    worse: Int[Array, ""]
    monotone: Int[Array, ""]


class State(NamedTuple):
    """Everything an RCIG run carries from one step to the next.

    images: Distilled images in whitened space, [m, h, w, ch].
    labels: Distilled labels, [m, c].
    log_temperature: Logarithm tau of what the cross-entropy multiplies predictions by, [].
    optimizer: Moments of the three above.
    average: Running means of images and labels: the result of the run.
    pool: p stacked learners.
    rates: Learning rates of the inner problem.
    step: Number of outer steps taken, [].
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    log_temperature: Scalar
    optimizer: PyTree
    average: tuple[Array, Array]
    pool: Learner
    rates: Rates
    step: Int[Array, ""]


class Info(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: Whole loss, [].
    target_loss: Term of the target batch (kept samples, segment), [].
    label_loss: Label-margin term, [].
    target_accuracy: Fraction of the whole target batch that the predictor classifies, [].
    kept: Number of targets kept, [].
    scale: What the cross-entropy multiplies predictions by, ``exp(tau)``, [].
    inner_loss: Loss of the inner problem after its steps, [].
    inner_rate: Learning rate of those steps, [].
    solve_rate: Learning rate of the steps to the implicit gradient, [].
    implicit_ratio: Length of the implicit gradient of the images over that of the direct
        one, at most 1, [].
    member: Index of the network of the pool that was used, [].
    age: Age of that network, [].
    failure: 0, or 1 + the index in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    target_loss: Scalar
    label_loss: Scalar
    target_accuracy: Scalar
    kept: Scalar
    scale: Scalar
    inner_loss: Scalar
    inner_rate: Scalar
    solve_rate: Scalar
    implicit_ratio: Scalar
    member: Int[Array, ""]
    age: Int[Array, ""]
    failure: Int[Array, ""]


@checks.suggest_keywords
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class RCIG:
    """Settings of RCIG, with crucial samples, and with ISA for the squared error.

    ``RCIG(drop_easy=0, segment=(0, 0))`` is RCIG itself. Its network is the ConvNet with
    a smooth ReLU and no norm (``NetworkSettings(name="convnet_smooth")``), taken where an
    experiment names none.

    Attributes:
        loss: Loss of the targets: ``"cross_entropy"`` at a learned temperature, or
            ``"mse"``, half the sum of squares over classes.
        drop_easy: Fraction of each target batch to drop from the easy end, in [0, 1).
        drop_hard: Fraction of each target batch to drop from the hard end, in [0, 1).
        select_from: Fraction of the steps after which samples are dropped, in [0, 1]: 0 from
            the start, 1 never. Until then all are kept; the segment applies throughout.
        select_from_accuracy: Accuracy of the predictor on the batch of a step
            (``target_accuracy``) from which on samples are dropped, in [0, 1].
        segment: Ends (a, b) of the ISA segment in units of ``z_i - z_partner``, within
            [-1, 0] for the cross-entropy. None for (0, 0), no augmentation, with the
            cross-entropy or without a partner, and (0, .5) with the squared error.
        partner: Partner of each kept target: the ``"nearest"`` kept target by cosine of the
            features, a ``"random"`` kept target, the nearest of the ``"same_class"``, or
            ``"none"`` (needs segment (0, 0)).
        ridge: Absolute ridge per distilled image: ``l2 = ridge IPC C``; None for the
            published one (5e-4, at depth 5 .05).
        flips: Whether to double the distilled set with horizontal flips; None for the
            published choice of the data set (for your own data: no).
        learn_labels: Whether to learn the labels, too.
        label_margin: Whether to add the label-margin hinge, here up to 1/(2C).
        learning_rate: Learning rate of AdaBelief, of images and labels; None for the
            published 3e-3 (for digits our own).
        temperature_learning_rate: Learning rate of AdaBelief, of the log temperature.
        average_decay: Decay of the running mean that is the result, in [0, 1).
        inner_steps: Number of Adam steps of the inner problem, and as many of the
            inverse-Hessian-vector product.
        inner_learning_rate: Learning rate of the former at step 0.
        solve_learning_rate: Learning rate of the latter at step 0.
        tune: Whether to let both rates grow at step 0 until a run fails to fall at every
            step, and to adapt the inner one every 50 steps; False keeps them.
        distilled_subset: Number of random distilled images, flips included, that carry a
            gradient in one step; 0 for all, None for the published number.
        target_subset: Number of random real images that carry a gradient in one step; 0 for
            all, None for the published number.
        subset_draws: Number of independent draws of these subsets, whose gradients are
            averaged; None for the published number (1; 2 for CIFAR-100 at 50 images per
            class).
        inner_batch_size: Number of random distilled images, flips included, that carry a
            gradient in one step of the inner problem, and in one of the
            inverse-Hessian-vector product; 0 for all, None for the published number.
        online_batch_size: Number of random distilled images, flips included, in a training
            step of a network; 0 for all, None for the published number.
        pool_size: Number of networks in the pool.
        max_online_updates: Age at which a network is replaced.
        most_online_steps: Largest number of steps that a network takes after it was used;
            the smallest is 1.
        online_learning_rate: Learning rate of the networks, which Adam trains.

    Raises:
        InvalidValueError: A value out of its range, a combination that has no meaning.
        InvalidTypeError: A value of the wrong type, an unknown keyword.

    Example:
        >>> from isa_toolkit import RCIG
        >>> settings = RCIG(loss="mse")
        >>> settings.resolve(
        ...     dataset="cifar10", images_per_class=1, num_classes=10
        ... ).segment
        (0.0, 0.5)

    Source: docs/algorithms.md, sections 4.3, 5.2 and 8; crucial samples and ISA on it are
    the proposal of section 10, the paper's own form is UNKNOWN. That sub-sampled gradients
    are not scaled up, and that an age counts Adam steps, is our reading.
    That each inner step reads the values of all rows, scales the gradient of its batch up,
    and draws a new batch is our reading of the batch sizes.
    **Deviation:** the loss of the pool is not divided by C, which Adam does not notice;
    the dense kernel has no tangent at all. In the released code the tangent of the inner
    problem lacks it, too, but for the leak of section 8; the inverse-Hessian-vector product
    v does not: plain Adam steps all of its leaves, and what it has for the dense kernel
    enters the implicit gradient there. Ours is that of the objective as it is written down.
    """

    loss: Loss = static("cross_entropy")
    drop_easy: float = 0.2
    drop_hard: float = 0.0
    select_from: float = 0.0
    select_from_accuracy: float = 0.0
    segment: tuple[float, float] | None = None
    partner: Partner = static("nearest")
    ridge: float | None = None
    flips: bool | None = static(None)
    learn_labels: bool = static(True)
    label_margin: bool = static(True)
    learning_rate: float | None = None
    temperature_learning_rate: float = 3e-2
    average_decay: float = 0.99
    inner_steps: int = static(20)
    inner_learning_rate: float = 1e-5
    solve_learning_rate: float = 5e-5
    tune: bool = static(True)
    distilled_subset: int | None = static(None)
    target_subset: int | None = static(None)
    subset_draws: int | None = static(None)
    inner_batch_size: int | None = static(None)
    online_batch_size: int | None = static(None)
    pool_size: int = static(30)
    max_online_updates: int = static(100)
    most_online_steps: int = static(15)
    online_learning_rate: float = 5e-5

    name = "rcig"
    __repr__ = checks.short_repr

    def __post_init__(self) -> None:
        if not has_values(self):
            return
        check_selection(self, cross_entropy=self.loss == "cross_entropy")
        check_settings(
            self,
            fractions=("average_decay",),
            from_zero=(
                "distilled_subset",
                "target_subset",
                "inner_batch_size",
                "online_batch_size",
            ),
        )

    def resolve(self, *, dataset: str, images_per_class: int, num_classes: int) -> RCIG:
        """Return the settings with what depends on the data set filled in."""
        del num_classes
        # Of every released configuration but depth 5.
        filled = {
            "ridge": 5e-4,
            "flips": False,
            "learning_rate": 3e-3,
            "distilled_subset": 0,
            "target_subset": 0,
            "subset_draws": 1,
            "inner_batch_size": 0,
            "online_batch_size": 0,
        }
        missing = [name for name in filled if getattr(self, name) is None]
        if missing and dataset in published_rows("rcig"):
            filled |= preset("rcig", dataset, images_per_class)
        return dataclasses.replace(
            self,
            segment=self.segment or default_segment(self.loss, self.partner),
            **{name: filled[name] for name in missing},
        )


def init(
    settings: RCIG,
    network: Network,
    key: Key[Array, ""],
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
) -> State:
    """Return the first state; refuse a network without a dense layer on its features."""
    inner.head_index(network)
    learned = (images, labels, jnp.zeros_like(images, shape=()))
    pool = init_pool(
        key,
        network,
        size=settings.pool_size,
        max_age=settings.max_online_updates,
        stagger=False,
    )
    rates = Rates(
        jnp.full_like(images, settings.inner_learning_rate, shape=()),
        jnp.full_like(images, settings.solve_learning_rate, shape=()),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.int32),
    )
    return State(
        *learned,
        optimizer=_ADABELIEF.init(learned),
        # Copies: a buffer that two leaves share cannot be donated.
        average=(jnp.copy(images), jnp.copy(labels)),
        pool=pool,
        rates=rates,
        step=jnp.zeros((), jnp.int32),
    )


def step(
    settings: RCIG, network: Network, key: Key[Array, ""], state: State, batch: Batch
) -> tuple[State, Info]:
    """Return the state after one outer step, and its diagnostics.

    Source: docs/algorithms.md, sections 4.3 and 5.2.
    """
    keys = jax.random.split(key, 5)
    member = draw_member(keys[0], state.pool)
    learner = take(state.pool, member)
    head = inner.head_index(network)
    base = inner.Base(network, learner.params, learner.state, head)
    penalty = required(settings, "ridge") * state.images.shape[0]
    learned: Learned = (state.images, state.labels, state.log_temperature)
    zero, is_first = inner.zero_tangent(base), (state.step == 0) & settings.tune
    inner_key, solve_key = jax.random.split(jax.random.fold_in(key, len(keys)))

    # The inner problem: a tangent for this distilled set.
    problem = inner.inner_problem(
        base,
        *_support(settings, state.images, state.labels),
        penalty,
        settings.inner_batch_size or 0,
    )

    def inner_run(rate: Scalar) -> inner.Descent:
        return inner.descend(
            lambda tangent, key: inner.objective(problem, tangent, key=key),
            zero,
            rate=rate,
            steps=settings.inner_steps,
            key=inner_key,
        )

    inner_rate = inner.tuned_rate(inner_run, state.rates.inner, is_first)
    inside = inner_run(inner_rate)
    tangent = inside.point

    # The outer loss; targets are chosen once, for both of its gradients.
    def outer(learned: Learned, tangent: inner.Tangent) -> tuple[Scalar, PyTree]:
        return _outer_loss(settings, base, learned, tangent, batch, penalty, keys[1:4])

    (loss, terms), (direct, slope) = jax.value_and_grad(
        outer, argnums=(0, 1), has_aux=True
    )(learned, tangent)

    # H v = slope, H the Hessian of the inner objective: the minimum of a quadratic.
    def solve(rate: Scalar) -> inner.Descent:
        return inner.descend(
            lambda v, key: (
                inner.objective(problem, v, jnp.zeros_like(problem.labels), key)
                - inner.inner_product(slope, v)
            ),
            zero,
            rate=rate,
            steps=settings.inner_steps,
            key=solve_key,
        )

    solve_rate = inner.tuned_rate(solve, state.rates.solve, is_first)
    implicit = _implicit(
        settings, base, learned, tangent, solve(solve_rate).point, penalty, keys[2]
    )
    implicit = jax.tree.map(inner.capped, implicit, direct)
    gradient = jax.tree.map(jnp.add, direct, implicit)

    target, margin, accuracy, readout, target_features = terms
    following = _update(settings, state, learned, gradient)
    trained = _trained(
        settings, network, keys[4], learner, following.images, following.labels
    )
    following = following._replace(
        pool=put(state.pool, member, trained),
        rates=_adapted(settings, state, inside, inner_rate, solve_rate),
    )
    lengths = [jnp.linalg.norm(part[0].ravel()) for part in (implicit, direct)]
    info = Info(
        loss=loss,
        target_loss=target.loss,
        label_loss=margin,
        target_accuracy=accuracy,
        kept=jnp.sum(target.weights),
        scale=jnp.exp(state.log_temperature),
        inner_loss=inside.losses[-1],
        inner_rate=inner_rate,
        solve_rate=solve_rate,
        implicit_ratio=lengths[0] / jnp.maximum(lengths[1], 1e-30),
        member=member,
        age=learner.age,
        failure=first_failure(
            problem.features,
            problem.factor,
            inside.losses[-1],
            target_features,
            (loss, readout),
            gradient,
        ),
    )
    return following, info


def _support(settings: RCIG, images: Array, labels: Array) -> tuple[Array, Array]:
    """Return the distilled set, with its horizontal flips if the settings ask for them."""
    return add_flips(images, labels) if settings.flips else (images, labels)


def _with_gradient(
    settings: RCIG,
    base: inner.Base,
    function: Callable[..., PyTree],
    images: Float[Array, "n h w ch"],
    given: tuple[PyTree, ...],
    count: int | None,
    key: Key[Array, ""],
) -> PyTree:
    """Return ``function(images, *given)``, with a gradient through ``count`` random rows.

    0 or None: through all. The gradient of the rows is not scaled up.
    """
    return inner.with_gradient(
        function,
        images,
        given,
        count=count or 0,
        key=key,
        draws=settings.subset_draws or 1,
        at_once=images_at_once(base.network, base.params),
    )


def _outer_loss(
    settings: RCIG,
    base: inner.Base,
    learned: Learned,
    tangent: inner.Tangent,
    batch: Batch,
    penalty: Scalar,
    keys: Key[Array, " 3"],
) -> tuple[Scalar, PyTree]:
    """Return the loss of predicting the targets, and the terms that ``step`` reports."""
    partner_key, distilled_key, target_key = keys
    images, labels, log_temperature = learned
    support, support_labels = _support(settings, images, labels)

    def linear(
        images: Array, count: int | None, key: Key[Array, ""]
    ) -> tuple[Array, Array]:
        return _with_gradient(
            settings,
            base,
            lambda some, tangent: inner.linear_part(base, some, tangent),
            images,
            (tangent,),
            count,
            key,
        )

    change, features = linear(support, settings.distilled_subset, distilled_key)
    dual = inner.dual_weights(features, penalty, support_labels - change)
    readout = jnp.matmul(features.T, dual, precision=HIGHEST)
    target_change, target_features = linear(
        batch.images, settings.target_subset, target_key
    )
    prediction = target_change + jnp.matmul(target_features, readout, precision=HIGHEST)
    accuracy = accuracy_of(prediction, batch.labels)
    easy, hard = dropped_fractions(settings, batch.progress, accuracy)
    target = target_loss(
        prediction,
        batch.labels,
        target_features,
        loss=settings.loss,
        log_scale=log_temperature,
        drop_easy=easy,
        drop_hard=hard,
        segment=required(settings, "segment"),
        partner=settings.partner,
        key=partner_key,
    )
    margin = jnp.zeros_like(target.loss)
    if settings.label_margin:
        margin = label_margin_loss(labels, limit=0.5)
    terms = (target, margin, accuracy, readout, target_features)
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
            settings, base, both, support, (), settings.distilled_subset, key
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


def _update(settings: RCIG, state: State, learned: Learned, gradient: Learned) -> State:
    """Return the state after AdaBelief's step, with the running means.

    After t steps the mean is ``(1 - d) sum_k d^(t - k) x_k / (1 - d^t)``.
    """
    if not settings.learn_labels:
        gradient = (gradient[0], jnp.zeros_like(gradient[1]), gradient[2])
    updates, moments = _ADABELIEF.update(gradient, state.optimizer)
    rate = required(settings, "learning_rate")
    rates = (rate, rate, settings.temperature_learning_rate)
    stepped = jax.tree.map(lambda x, a, u: x - a * u, learned, rates, updates)
    decay = settings.average_decay
    weight = (1 - decay) / (1 - jnp.power(decay, state.step + 1))
    average = jax.tree.map(
        lambda mean, value: (mean + weight * (value - mean)).astype(mean.dtype),
        state.average,
        stepped[:2],
    )
    images, labels, log_temperature = stepped
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
) -> Learner:
    """Return the pool member some ordinary Adam steps on, or a fresh one if it is old."""
    count_key, fresh_key = jax.random.split(key)
    support, support_labels = _support(settings, images, labels)
    count = jax.random.randint(count_key, (), 1, settings.most_online_steps + 1)
    batch_size = settings.online_batch_size or 0

    def train(number: Array, learner: Learner) -> Learner:
        batch = (support, support_labels)
        if 0 < batch_size < support.shape[0]:
            chosen = jax.random.choice(
                jax.random.fold_in(key, number),
                support.shape[0],
                (batch_size,),
                replace=False,
            )
            batch = (support[chosen], support_labels[chosen])
        return online_step(
            network, learner, *batch, learning_rate=settings.online_learning_rate
        )

    older = jax.lax.fori_loop(0, count, train, learner)
    return jax.lax.cond(
        older.age >= settings.max_online_updates,
        lambda: fresh_learner(fresh_key, network),
        lambda: older,
    )


def _adapted(
    settings: RCIG,
    state: State,
    inside: inner.Descent,
    inner_rate: Scalar,
    solve_rate: Scalar,
) -> Rates:
    """Return the rates of the next step: every 50 steps the inner one may change."""
    worse = state.rates.worse + inside.is_worse
    monotone = state.rates.monotone + inside.is_monotone
    is_due = (state.step + 1) % _ADAPT_EVERY == 0
    if settings.tune:
        shrink = is_due & (worse >= _WORSE * _ADAPT_EVERY)
        grow = is_due & (monotone >= _MONOTONE * _ADAPT_EVERY)
        inner_rate = inner_rate * jnp.where(shrink, _SHRINK, 1)
        inner_rate = inner_rate * jnp.where(grow, _GROW, 1)
    return Rates(
        inner_rate,
        solve_rate,
        jnp.where(is_due, 0, worse),
        jnp.where(is_due, 0, monotone),
    )


QUANTITIES = (
    "the distilled features",
    "the ridge readout (Cholesky solve)",
    "the inner run",
    "the target features",
    "the loss",
    "the gradient",
)

METHOD = Method(
    name="rcig",
    settings=RCIG,
    init=init,
    step=step,
    quantities=QUANTITIES,
    network="convnet_smooth",
    protocol="rcig",
    remedies={QUANTITIES[1]: "Raise ridge (now {ridge:g}) or lower learning_rate."},
    distilled=lambda state: state.average,
)
