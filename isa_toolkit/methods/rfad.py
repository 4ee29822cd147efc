"""RFAD with crucial samples and Infinite Semantic Augmentation (ISA).

Reads like section 4.4 of docs/algorithms.md: draw random networks, estimate the NNGP kernel
with their features, solve the ridge readout, keep the hard targets, average the loss along
a segment, step the images, their linear map and the scale of the predictions.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.annotations import check_settings
from isa_toolkit.losses import ridge
from isa_toolkit.losses.selection import Loss, Partner, target_loss
from isa_toolkit.methods.base import (
    Batch,
    Method,
    accuracy_of,
    check_selection,
    default_segment,
    dropped_fractions,
    first_failure,
    has_values,
    required,
    static,
)
from isa_toolkit.networks import Network
from isa_toolkit.networks.random_features import (
    draw_random,
    nngp_features,
    random_features,
)
from isa_toolkit.presets import preset, published_rows

Scalar = Float[Array, ""]

# Each of the four learned leaves has its own learning rate.
_ADABELIEF = optax.scale_by_belief(eps=1e-16)


class State(NamedTuple):
    """Everything an RFAD run carries from one step to the next.

    images: Images X before the linear map, [m, h, w, ch].
    labels: Distilled labels, [m, c].
    transform: Matrix T of ``X' = X T`` on flattened images, [D, D]; [1, 1] and not used
        where there is no map.
    log_scale: Logarithm k of what the cross-entropy multiplies predictions by, [].
    optimizer: Moments of the four above.
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    transform: Float[Array, "D D"]
    log_scale: Scalar
    optimizer: PyTree


class Info(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: Loss of the target batch (kept samples, segment), [].
    target_accuracy: Fraction of the whole target batch that the readout classifies, [].
    kept: Number of targets kept, [].
    ridge_factor: What the ridge was multiplied by for an accurate readout, [].
    scale: What the cross-entropy multiplies predictions by, ``exp(k)``, [].
    failure: 0, or 1 + the index in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    target_accuracy: Scalar
    kept: Scalar
    ridge_factor: Scalar
    scale: Scalar
    failure: Int[Array, ""]


@checks.suggest_keywords
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class RFAD:
    """Settings of RFAD, with crucial samples, and with ISA for the squared error.

    ``RFAD(drop_easy=0, segment=(0, 0))`` is RFAD itself. Its network is a ConvNet of one
    width (``NetworkSettings(name="convnet_flat")``), taken where an experiment names none.

    Attributes:
        loss: Loss of the targets: ``"cross_entropy"`` at a learned scale (Platt scaling),
            or ``"mse"``, half the mean of squares over all entries.
        drop_easy: Fraction of each target batch to drop from the easy end, in [0, 1).
        drop_hard: Fraction of each target batch to drop from the hard end, in [0, 1).
        select_from: Fraction of the steps after which samples are dropped, in [0, 1]: 0 from
            the start, 1 never. Until then all are kept; the segment applies throughout.
        select_from_accuracy: Accuracy of the predictor on the batch of a step
            (``target_accuracy``) from which on samples are dropped, in [0, 1].
        segment: Ends (a, b) of the ISA segment in units of ``z_i - z_partner``, within
            [-1, 0] for the cross-entropy. None for (0, 0), no augmentation, with the
            cross-entropy or without a partner, and (0, .5) with the squared error.
        partner: Partner of each kept target: the ``"nearest"`` kept target by cosine of
            Phi, a ``"random"`` kept target, the nearest of the ``"same_class"``, or
            ``"none"`` (needs segment (0, 0)).
        networks: Number of random networks per step.
        ridge: Relative ridge, a fraction of the mean diagonal of the kernel.
        transform: Whether to learn a linear map of the flattened images, D x D for D
            numbers per image (12 D^2 bytes with its moments: 113 MB at 32x32x3, 1.8 GB at
            64x64x3).
        learn_labels: Whether to learn the labels, too.
        learning_rate: Learning rate of AdaBelief, of images and labels; None for the
            published 1e-3 (for digits our own).
        transform_learning_rate: Learning rate of the linear map.
        scale_learning_rate: Learning rate of the log scale k.

    Raises:
        InvalidValueError: A value out of its range, a combination that has no meaning.
        InvalidTypeError: A value of the wrong type, an unknown keyword.

    Example:
        >>> from isa_toolkit import RFAD
        >>> settings = RFAD(networks=4)
        >>> settings.resolve(
        ...     dataset="cifar10", images_per_class=1, num_classes=10
        ... ).segment
        (0.0, 0.0)

    Source: docs/algorithms.md, section 4.4; crucial samples and ISA on it are the proposal
    of section 10, the paper's own form is UNKNOWN.
    **Deviation:** the readout is solved in float32: at this ridge its predictions were
    1e-5, 7e-5 and 6e-4 (relative) off float64's with 10, 100 and 500 real digits. The
    best step is chosen by the experiment, not by a loss of 16 fixed networks, and nothing
    stops early.
    """

    loss: Loss = static("cross_entropy")
    drop_easy: float = 0.2
    drop_hard: float = 0.0
    select_from: float = 0.0
    select_from_accuracy: float = 0.0
    segment: tuple[float, float] | None = None
    partner: Partner = static("nearest")
    networks: int = static(8)
    ridge: float = 5e-3
    transform: bool = static(True)
    learn_labels: bool = static(False)
    learning_rate: float | None = None
    transform_learning_rate: float = 5e-5
    scale_learning_rate: float = 1e-2

    name = "rfad"
    __repr__ = checks.short_repr

    def __post_init__(self) -> None:
        if not has_values(self):
            return
        check_selection(self, cross_entropy=self.loss == "cross_entropy")
        check_settings(self)

    def resolve(self, *, dataset: str, images_per_class: int, num_classes: int) -> RFAD:
        """Return the settings with what depends on the data set filled in."""
        del num_classes
        rate = self.learning_rate
        if rate is None:
            rate = 1e-3  # docs/algorithms.md, section 4.4
            if dataset in published_rows("rfad"):
                rate = preset("rfad", dataset, images_per_class)["learning_rate"]
        segment = self.segment or default_segment(self.loss, self.partner)
        return dataclasses.replace(self, segment=segment, learning_rate=rate)


def init(
    settings: RFAD,
    network: Network,
    key: Key[Array, ""],
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
) -> State:
    """Return the first state."""
    del key
    # One unused number where there is no map: a checkpoint holds no empty arrays.
    size = math.prod(network.image_shape) if settings.transform else 1
    learned = (
        images,
        labels,
        jnp.eye(size, dtype=images.dtype),
        jnp.zeros_like(images, shape=()),
    )
    return State(*learned, _ADABELIEF.init(learned))


def step(
    settings: RFAD, network: Network, key: Key[Array, ""], state: State, batch: Batch
) -> tuple[State, Info]:
    """Return the state after one step, and its diagnostics.

    Source: docs/algorithms.md, section 4.4.
    """
    network_key, partner_key = jax.random.split(key)
    drawn = draw_random(network_key, network, count=settings.networks)
    _, statistics = network.init(network_key)
    target_features = jax.lax.stop_gradient(
        random_features(network, drawn, statistics, batch.images)
    )
    learned = (state.images, state.labels, state.transform, state.log_scale)

    def loss_of(learned: PyTree) -> tuple[Scalar, PyTree]:
        images, labels, transform, log_scale = learned
        images = _mapped(images, transform)
        features = random_features(network, drawn, statistics, images)
        readout = ridge.readout(nngp_features(features), labels, settings.ridge)
        prediction = ridge.predict(nngp_features(target_features), readout.weights)
        accuracy = accuracy_of(prediction, batch.labels)
        easy, hard = dropped_fractions(settings, batch.progress, accuracy)
        target = target_loss(
            prediction,
            batch.labels,
            target_features,
            loss=settings.loss,
            log_scale=log_scale,
            drop_easy=easy,
            drop_hard=hard,
            segment=required(settings, "segment"),
            partner=settings.partner,
            key=partner_key,
        )
        loss = target.loss
        if settings.loss == "mse":
            # RFAD takes the mean over classes where FRePo takes the sum.
            loss = loss / labels.shape[-1]
        return loss, (accuracy, target.weights, features, readout)

    (loss, aux), gradient = jax.value_and_grad(loss_of, has_aux=True)(learned)
    accuracy, weights, features, readout = aux
    if not settings.learn_labels:
        gradient = (gradient[0], jnp.zeros_like(gradient[1]), *gradient[2:])
    updates, moments = _ADABELIEF.update(gradient, state.optimizer)
    rate = required(settings, "learning_rate")
    rates = (
        rate,
        rate,
        settings.transform_learning_rate,
        settings.scale_learning_rate,
    )
    stepped = jax.tree.map(lambda x, a, u: x - a * u, learned, rates, updates)
    info = Info(
        loss=loss,
        target_accuracy=accuracy,
        kept=jnp.sum(weights),
        ridge_factor=readout.ridge_factor,
        scale=jnp.exp(state.log_scale),
        failure=first_failure(
            target_features, features, readout.weights, loss, gradient
        ),
    )
    return State(*stepped, optimizer=moments), info


def _mapped(
    images: Float[Array, "m h w ch"], transform: Float[Array, "D D"]
) -> Float[Array, "m h w ch"]:
    """Return ``X T`` in the shape of images; X where T has another size."""
    if transform.shape[0] != math.prod(images.shape[1:]):
        return images
    flat = jnp.reshape(images, (images.shape[0], -1))
    product = jnp.matmul(flat, transform, precision=jax.lax.Precision.HIGHEST)
    return jnp.reshape(product, images.shape)


QUANTITIES = (
    "the target features",
    "the distilled features",
    "the ridge readout (Cholesky solve)",
    "the loss",
    "the gradient",
)

METHOD = Method(
    name="rfad",
    settings=RFAD,
    init=init,
    step=step,
    quantities=QUANTITIES,
    batch_size=5120,
    network="convnet_flat",
    protocol="rfad",
    remedies={QUANTITIES[2]: "Raise ridge (now {ridge:g}) or lower learning_rate."},
    distilled=lambda state: (_mapped(state.images, state.transform), state.labels),
)
