"""Training of networks on labelled sets: one loop for every evaluation and every expert.

Numbers of steps, learning rates and decays are traced, so that one compiled program serves
every length and schedule; batch size, order, loss and augmentation are compiled in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.networks.base import Network

Scalar = Float[Array, ""] | float
Count = Int[Array, ""] | Float[Array, ""] | float

Order = Literal["shuffled", "released"]
ORDERS: tuple[str, ...] = get_args(Order)

# (key, images) -> images, differentiable or not
Augment = Callable[[Key[Array, ""], Array], Array]
# (params, state, batch, key) -> (loss, state)
Loss = Callable[
    [PyTree, PyTree, PyTree, Key[Array, ""]], tuple[Float[Array, ""], PyTree]
]


def cosine_decay(progress: Scalar, *, peak: Scalar, final: Scalar) -> Float[Array, ""]:
    """Return the learning rate of a half cosine from ``peak`` to ``final * peak``, [].

    ``progress`` is the fraction of the schedule that is over, cut to [0, 1].

    Source: docs/algorithms.md, sections 4.1 and 7.1.
    """
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
    return jnp.asarray(peak * ((1 - final) * cosine + final), jnp.float32)


def warmup_cosine(
    step: Int[Array, ""] | int,
    *,
    peak: Scalar,
    final: Scalar,
    warmup: Count,
    steps: Count,
) -> Float[Array, ""]:
    """Return the learning rate: linear from 0 to ``peak``, then a half cosine down, [].

    The linear part takes ``warmup`` of the ``steps`` (none with 0), the cosine the others.

    Source: docs/algorithms.md, section 7.1.
    """
    step = jnp.asarray(step, jnp.float32)
    rise = peak * (step / jnp.maximum(warmup, 1.0))
    progress = (step - warmup) / jnp.maximum(steps - warmup, 1.0)
    fall = cosine_decay(progress, peak=peak, final=final)
    return jnp.asarray(jnp.where(step < warmup, rise, fall), jnp.float32)


def half_squared_error(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"]
) -> Float[Array, " n"]:
    """Return ``1/2 sum_c (logits - labels)_c^2`` per sample, [n]."""
    return 0.5 * jnp.sum(jnp.square(logits - labels), axis=-1)


def cross_entropy(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"]
) -> Float[Array, " n"]:
    """Return ``- log softmax(logits)`` of the class with the largest label, [n]."""
    scores = jax.nn.log_softmax(logits)
    classes = jnp.argmax(labels, axis=-1)
    return -jnp.take_along_axis(scores, classes[:, None], axis=-1)[:, 0]


# Fields that are compiled in.
STATIC = {"static": True}


@jax.tree_util.register_dataclass
@checks.suggest_keywords
@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to train an evaluation network: Adam on squared errors, as FRePo does.

    A pytree: everything but ``batch_size`` and ``order`` may be traced.

    Attributes:
        steps: Number of Adam steps.
        batch_size: Number of samples per step; the whole set if it is smaller.
        learning_rate: Highest learning rate of the schedule.
        warmup_steps: Number of steps of the linear rise from 0; at most half of the
            steps are used, so that a short training still decays.
        final_learning_rate: Fraction of the highest learning rate that is left at the
            end of the cosine, in [0, 1].
        final_steps: Number of the steps, at the end, that keep the final learning rate.
        order: ``"shuffled"`` (a new permutation each epoch) or ``"released"``
            (contiguous blocks in storage order, as the released evaluation script).

    Raises:
        ValueError: A value is out of its range.

    Source: docs/algorithms.md, section 7.1.
    """

    steps: int
    batch_size: int = dataclasses.field(default=500, metadata=STATIC)
    learning_rate: float = 3e-4
    warmup_steps: int = 500
    final_learning_rate: float = 0.01
    final_steps: int = 0
    order: Order = dataclasses.field(default="shuffled", metadata=STATIC)

    loss = staticmethod(half_squared_error)

    def __post_init__(self) -> None:
        if _is_traced(self):
            return
        _check_common(self)
        checks.check_integer("warmup_steps", self.warmup_steps, minimum=0)
        checks.check_integer("final_steps", self.final_steps, minimum=0)
        if self.final_steps >= self.steps:
            rule = f"be below the {self.steps} evaluation steps"
            raise checks.fail("final_steps", rule, self.final_steps)

    def optimizer(self) -> optax.GradientTransformation:
        """Return Adam under the schedule, without weight decay."""
        length = self.steps - self.final_steps

        def rate(step: Any) -> Array:
            return warmup_cosine(
                step,
                peak=self.learning_rate,
                final=self.final_learning_rate,
                warmup=jnp.minimum(self.warmup_steps, length // 2),
                steps=length,
            )

        return optax.adam(rate)


@jax.tree_util.register_dataclass
@checks.suggest_keywords
@dataclasses.dataclass(frozen=True, kw_only=True)
class SGDSettings:
    """How to train an evaluation network: SGD on cross-entropy, as DC, DM and MTT do.

    ``v <- momentum v + gradient + weight_decay params``, ``params <- params - rate v``.
    A pytree: everything but ``batch_size`` and ``order`` may be traced.

    Attributes:
        steps: Number of SGD steps.
        decay_step: First step, counted from 0, with the lower learning rate. The
            momentum is lost there, since the released code makes a new optimiser.
        batch_size: Number of samples per step; the whole set if it is smaller.
        learning_rate: Learning rate before the decay.
        final_learning_rate: Fraction of the learning rate that is left after the decay,
            in [0, 1].
        momentum: Fraction of the last update that is added to the next, in [0, 1).
        weight_decay: Factor of every parameter that is added to its gradient.
        order: ``"shuffled"`` or ``"released"``, as for ``FitSettings``.

    Raises:
        ValueError: A value is out of its range.

    Source: docs/algorithms.md, section 7.4.
    """

    steps: int
    decay_step: int
    batch_size: int = dataclasses.field(default=256, metadata=STATIC)
    learning_rate: float = 0.01
    final_learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    order: Order = dataclasses.field(default="shuffled", metadata=STATIC)

    loss = staticmethod(cross_entropy)

    def __post_init__(self) -> None:
        if _is_traced(self):
            return
        _check_common(self)
        checks.check_integer("decay_step", self.decay_step, minimum=0)
        checks.check_number("momentum", self.momentum, at_least=0, below=1)
        checks.check_number("weight_decay", self.weight_decay, at_least=0)

    def optimizer(self) -> optax.GradientTransformation:
        """Return SGD with weight decay, momentum and the single decay of its rate."""

        def momentum(step: Any) -> Array:
            return jnp.where(step == self.decay_step, 0.0, self.momentum)

        def rate(step: Any) -> Array:
            decay = jnp.where(step < self.decay_step, 1.0, self.final_learning_rate)
            return self.learning_rate * decay

        return optax.chain(
            optax.add_decayed_weights(self.weight_decay),
            optax.inject_hyperparams(optax.trace)(decay=momentum),
            optax.scale_by_learning_rate(rate),
        )


def _is_traced(settings: FitSettings | SGDSettings) -> bool:
    """Return whether settings come out of a JAX transformation."""
    return any(isinstance(value, jax.Array) for value in vars(settings).values())


def _check_common(settings: FitSettings | SGDSettings) -> None:
    checks.check_integer("evaluation steps", settings.steps)
    checks.check_integer("evaluation batch_size", settings.batch_size)
    checks.check_number("evaluation learning_rate", settings.learning_rate, above=0)
    checks.check_number(
        "final_learning_rate", settings.final_learning_rate, at_least=0, at_most=1
    )
    checks.check_one_of("order", settings.order, ORDERS)


def dsa_fit(
    num_distilled: int,
    *,
    learning_rate: float = 0.01,
    epochs: int = 1000,
    steps: int | None = None,
) -> SGDSettings:
    """Return the published training of DC's, DM's and MTT's evaluation.

    ``epochs + 1`` epochs in batches of 256; the learning rate (for a set of MTT's the one
    that it learned) decays to a tenth after epoch ``epochs // 2 + 1``, that is after
    ``epochs // 2 + 2`` of them. With ``steps`` it trains for so many steps instead, and
    decays at the same fraction of them.

    Source: docs/algorithms.md, section 7.4.
    **Deviation:** what is left over after full batches is left out of an epoch (another
    sample each time) instead of making a smaller batch.
    """
    count = checks.check_integer("num_distilled", num_distilled)
    checks.check_integer("evaluation epochs", epochs)
    size = min(256, count)
    batches = count // size
    total, decay = (epochs + 1) * batches, (epochs // 2 + 2) * batches
    if steps is not None:
        checks.check_integer("evaluation steps", steps)
        total, decay = steps, -(-steps * decay // total)
    return SGDSettings(
        steps=total, decay_step=decay, batch_size=size, learning_rate=learning_rate
    )


def batch_indices(
    key: Key[Array, ""],
    step: Int[Array, ""],
    permutation: Int[Array, " n"],
    batch_size: int,
    order: str,
) -> tuple[Int[Array, " b"], Int[Array, " n"]]:
    """Return the samples of one step [b], and the permutation of the current epoch [n].

    An epoch has ``n // b`` batches; when shuffled, another sample is left over each time.
    The permutation of an epoch is that of ``fold_in(key, epoch)``; at its first step the
    argument may be anything.
    """
    count = permutation.shape[0]
    batches = count // batch_size
    if order == "released":
        # Contiguous blocks that wrap around, so that every sample is seen.
        start = (step * batch_size) % count
        return (start + jnp.arange(batch_size)) % count, permutation
    epoch, index = step // batches, step % batches
    permutation = jax.lax.cond(
        index == 0,
        lambda: jax.random.permutation(jax.random.fold_in(key, epoch), count),
        lambda: permutation,
    )
    chosen = jax.lax.dynamic_slice(permutation, (index * batch_size,), (batch_size,))
    return chosen, permutation


class TrainState(NamedTuple):
    """A network in training.

    params: Trained numbers.
    state: Statistics of normalisation layers.
    optimizer: State of the optimiser.
    permutation: Order of the samples in the current epoch, [n].
    """

    params: PyTree
    state: PyTree
    optimizer: PyTree
    permutation: Int[Array, " n"]


def start_training(
    params: PyTree, state: PyTree, optimizer: optax.GradientTransformation, count: int
) -> TrainState:
    """Return a network before its first step on ``count`` samples."""
    return TrainState(params, state, optimizer.init(params), jnp.arange(count))


def train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    data: PyTree,
    *,
    order_key: Key[Array, ""],
    noise_key: Key[Array, ""],
    batch_size: int,
    order: str = "shuffled",
) -> Callable[[Int[Array, ""], TrainState], TrainState]:
    """Return the function ``(step, TrainState) -> TrainState``: a body for ``fori_loop``.

    ``data`` is a pytree of arrays [n, ...]; ``order_key`` is the root of the permutations
    and ``noise_key`` that of the keys that the loss gets: ``fold_in(noise_key, step)``. The
    learning rate of the optimiser may be traced. A batch size of n or more is the whole set,
    unshuffled.
    """
    count = jax.tree.leaves(data)[0].shape[0]

    def step_once(step: Int[Array, ""], training: TrainState) -> TrainState:
        params, state, moments, permutation = training
        batch = data
        if batch_size < count:
            chosen, permutation = batch_indices(
                order_key, step, permutation, batch_size, order
            )
            batch = jax.tree.map(lambda leaf: leaf[chosen], data)
        gradient, state = jax.grad(loss, has_aux=True)(
            params, state, batch, jax.random.fold_in(noise_key, step)
        )
        updates, moments = optimizer.update(gradient, moments, params)
        params = optax.apply_updates(params, updates)
        return TrainState(params, state, moments, permutation)

    return step_once


def fit(
    key: Key[Array, ""],
    network: Network,
    images: Float[Array, "n h w ch"],
    labels: Float[Array, "n c"],
    settings: FitSettings | SGDSettings,
    *,
    augment: Augment | None = None,
) -> tuple[PyTree, PyTree]:
    """Return a freshly drawn network, trained: (params, state).

    Pure: call it under ``jit`` and ``vmap``. ``augment`` is applied to each batch.

    Source: docs/algorithms.md, sections 7.1 and 7.4.
    """
    init_key, order_key, augment_key = jax.random.split(key, 3)

    def loss(
        params: PyTree, state: PyTree, batch: tuple[Array, Array], key: Array
    ) -> tuple[Float[Array, ""], PyTree]:
        inputs, targets = batch
        if augment is not None:
            inputs = augment(key, inputs)
        output = network.apply(params, state, inputs, train=True)
        return jnp.mean(settings.loss(output.logits, targets)), output.state

    optimizer = settings.optimizer()
    step = train_step(
        loss,
        optimizer,
        (images, labels),
        order_key=order_key,
        noise_key=augment_key,
        batch_size=settings.batch_size,
        order=settings.order,
    )
    start = start_training(*network.init(init_key), optimizer, images.shape[0])
    trained = jax.lax.fori_loop(0, settings.steps, step, start)
    return trained.params, trained.state
