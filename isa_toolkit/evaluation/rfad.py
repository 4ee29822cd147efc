"""RFAD's training: a random network, centred on its first outputs, stopped by validation."""

from __future__ import annotations

import dataclasses
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks, presets
from isa_toolkit.datasets import Dataset
from isa_toolkit.evaluation.prediction import accuracy_of, logits_of
from isa_toolkit.networks import Network
from isa_toolkit.networks.random_features import draw_random
from isa_toolkit.networks.training import STATIC, start_training, train_step


@jax.tree_util.register_dataclass
@checks.suggest_keywords
@dataclasses.dataclass(frozen=True, kw_only=True)
class RFADSettings:
    """How to train an evaluation network as RFAD does.

    SGD with momentum on ``1/a^2 mean (g(x) - a y)^2 + weight_decay ||p - p_0||^2`` with
    ``g(x) = f(x; p) - f(x; p_0)`` and label scale a. A pytree: everything but
    ``batch_size``, ``centred`` and ``validation_per_class`` may be traced.

    Attributes:
        learning_rate: Learning rate of SGD.
        label_scale: Factor a of the labels.
        weight_decay: Weight of ``||p - p_0||^2``, or of ``||p||^2`` without ``centred``.
        momentum: Fraction of the last update that is added to the next, in [0, 1).
        steps: Highest number of SGD steps.
        validate_every: Number of steps between validations.
        patience: Number of steps without a better validation after which to stop.
        batch_size: Number of images per step; the whole set if it is not larger.
        centred: Whether to subtract the outputs that the network had at first.
        validation_per_class: Number of real training images of each class to validate on;
            all of a class that has fewer.

    Raises:
        TypeError: A number is not whole.
        ValueError: A value is out of its range.

    Source: docs/algorithms.md, section 7.3.
    """

    learning_rate: float
    label_scale: float
    weight_decay: float
    momentum: float = 0.9
    steps: int = 20_000
    validate_every: int = 100
    patience: int = 500
    batch_size: int = dataclasses.field(default=513, metadata=STATIC)
    centred: bool = dataclasses.field(default=True, metadata=STATIC)
    validation_per_class: int = dataclasses.field(default=500, metadata=STATIC)

    def __post_init__(self) -> None:
        if any(isinstance(value, jax.Array) for value in vars(self).values()):
            return  # inside a JAX transformation
        checks.check_number("evaluation learning_rate", self.learning_rate, above=0)
        checks.check_number("label_scale", self.label_scale, above=0)
        checks.check_number("weight_decay", self.weight_decay, at_least=0)
        checks.check_number("momentum", self.momentum, at_least=0, below=1)
        checks.check_boolean("centred", self.centred)
        for name in ("batch_size", "steps", "validate_every", "patience"):
            checks.check_integer(f"evaluation {name}", getattr(self, name))
        checks.check_integer("validation_per_class", self.validation_per_class)


def rfad_settings(
    dataset: str, images_per_class: int, *, num_classes: int = 10
) -> RFADSettings:
    """Return the published settings of RFAD's evaluation, or with a warning CIFAR-10's.

    It validates on 500 images of each of ten classes, and on 100 of any other number.

    Source: docs/algorithms.md, section 7.3.
    """
    row = presets.preset("rfad", dataset, images_per_class)
    if "evaluation_learning_rate" not in row:
        with warnings.catch_warnings():  # one warning is enough
            warnings.simplefilter("ignore")
            row = presets.preset("rfad", "cifar10", images_per_class)
        warnings.warn(
            f"no published settings of RFAD's evaluation for {dataset!r}; using those of "
            "'cifar10'.",
            UserWarning,
            stacklevel=2,
        )
    return RFADSettings(
        learning_rate=row["evaluation_learning_rate"],
        label_scale=row["evaluation_label_scale"],
        weight_decay=row["evaluation_weight_decay"],
        validation_per_class=500 if num_classes == 10 else 100,
    )


def validation_images(
    dataset: Dataset, per_class: int, *, seed: int
) -> tuple[Float[np.ndarray, "v h w ch"], Int[np.ndarray, " v"]]:
    """Return real training images to validate on, ``per_class`` of each, and their classes.

    All of a class that has fewer are taken.
    """
    draw = np.random.default_rng(seed)
    labels = dataset.train.labels
    chosen = np.concatenate(
        [
            draw.permutation(np.flatnonzero(labels == c))[:per_class]
            for c in range(dataset.num_classes)
        ]
    )
    return dataset.inputs("train")[chosen], labels[chosen]


class RFADFit(NamedTuple):
    """One trained network.

    params: Parameters at the best validation.
    first: Parameters at the start.
    accuracy: Accuracy on the validation images at its best, a fraction, [].
    best_step: Number of steps taken then, [].
    steps: Number of steps taken in all, [].
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
    validation: tuple[Float[Array, "v h w ch"], Int[Array, " v"]],
    settings: RFADSettings,
) -> RFADFit:
    """Return a random network, trained until its validation no longer improves.

    Pure: call it under ``jit``. The network has no running statistics, labels are soft,
    and the validation is a pair of network inputs and their classes.

    Source: docs/algorithms.md, sections 7.3 and 2.2 (the random network).
    **Deviation:** labels are scaled in mini-batches, too (the released code forgets it),
    and validation images are drawn without replacement. The source leaves open, so these
    are our reading: the decay is ``weight_decay ||p - p_0||^2``, patience counts steps,
    the best validation is the first of the highest accuracy, and the batch of a larger set
    is 513. The images that validate may be in the set where that holds real ones.
    """
    draw_key, order_key = jax.random.split(key)
    first = jax.tree.map(lambda leaf: leaf[0], draw_random(draw_key, network, count=1))
    held, held_labels = validation
    scale, zero = settings.label_scale, jnp.zeros((), labels.dtype)
    offset = jnp.zeros_like(labels)
    if settings.centred:
        offset = logits_of(network, first, images)
        zero = logits_of(network, first, held)

    def loss(
        params: PyTree, state: PyTree, batch: tuple[Array, Array, Array], key: Array
    ) -> tuple[Float[Array, ""], PyTree]:
        del key
        inputs, targets, shift = batch
        error = network.apply(params, {}, inputs).logits - shift - scale * targets
        return jnp.mean(jnp.square(error)) / scale**2, state

    def add_decay(updates: PyTree, params: PyTree | None) -> PyTree:
        """Add the gradient of the penalty."""
        away = params
        if settings.centred:
            away = jax.tree.map(jnp.subtract, params, first)
        return jax.tree.map(
            lambda u, p: u + 2 * settings.weight_decay * p, updates, away
        )

    optimizer = optax.chain(
        optax.stateless(add_decay),
        optax.sgd(settings.learning_rate, settings.momentum),
    )
    step = train_step(
        loss,
        optimizer,
        (images, labels, offset),
        order_key=order_key,
        noise_key=order_key,
        batch_size=settings.batch_size,
    )

    def goes_on(carry: PyTree) -> Array:
        taken, _, best = carry
        is_patient = taken - best.best_step < settings.patience
        return (taken < settings.steps) & is_patient

    def train_and_validate(carry: PyTree) -> PyTree:
        taken, training, best = carry
        stop = jnp.minimum(taken + settings.validate_every, settings.steps)
        training = jax.lax.fori_loop(taken, stop, step, training)
        outputs = logits_of(network, training.params, held) - zero
        accuracy = accuracy_of(outputs, held_labels)
        new = RFADFit(training.params, first, accuracy, stop, stop)
        is_better = accuracy > best.accuracy
        best = jax.tree.map(lambda a, b: jnp.where(is_better, a, b), new, best)
        return stop, training, best._replace(steps=stop)

    none = jnp.zeros((), jnp.int32)
    # Below every accuracy, so that the first validation is the best so far.
    untrained = RFADFit(first, first, jnp.float32(-1), none, none)
    training = start_training(first, {}, optimizer, len(images))
    carry = (none, training, untrained)
    return jax.lax.while_loop(goes_on, train_and_validate, carry)[-1]
