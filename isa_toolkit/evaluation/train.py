"""Fresh networks trained on one distilled set and tested, in one compiled call.

Distilled sets of one shape share the program: images, labels, keys, the number of steps
and the learning rate are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit.datasets.augmentation import augment
from isa_toolkit.evaluation.prediction import in_pieces, largest_class
from isa_toolkit.evaluation.protocols import Training
from isa_toolkit.evaluation.rfad import RFADSettings, fit_centred
from isa_toolkit.losses import ridge as ridge_readout
from isa_toolkit.methods.base import add_flips
from isa_toolkit.networks import Network
from isa_toolkit.networks.compilation_cache import cache_once
from isa_toolkit.networks.training import fit


class TestResult(NamedTuple):
    """Test accuracies of k networks, fractions.

    An image whose prediction is not finite counts as wrong: a network that diverged,
    or a readout whose factorisation failed, scores 0.

    network: Accuracy of each trained network's own logits, [k].
    ridge: Accuracy of the ridge readout on each one's features, [k].
    details: What RFAD's training reports besides, each [k]; empty otherwise.
    """

    __test__ = False  # not a test class

    network: Float[Array, " k"]
    ridge: Float[Array, " k"]
    details: dict[str, Array]


@cache_once
def train_and_test(
    network: Network,
    *,
    ops: tuple[str, ...],
    ops_kind: Literal["frepo", "dsa", "dc"] = "frepo",
    augment_mode: Literal["batch", "sample"],
    flips: bool,
) -> Callable[..., TestResult]:
    """Return the compiled evaluation: the same object for equal arguments.

    The result takes ``(keys [k], images, labels, test_images, test_labels, fit, ridge,
    validation)`` and gives a ``TestResult``. ``ops``, ``ops_kind`` and ``augment_mode``
    are arguments of ``augment``. ``fit`` is ``FitSettings``, ``SGDSettings``, or
    ``RFADSettings``, which needs ``validation``: (images, classes), () otherwise.

    On accelerators the k networks train together under ``vmap``. On the CPU they train
    one after the other inside the same program: ``vmap`` turns their convolutions into
    grouped ones, which XLA's CPU back end runs about half as fast.

    With ``flips``, horizontally flipped copies are added to the support of the readout.

    Source: docs/algorithms.md, section 7.
    """

    def train(
        key: Key[Array, ""],
        images: Float[Array, "m h w ch"],
        labels: Float[Array, "m c"],
        settings: Training,
        validation: tuple[Array, Array] | tuple[()],
    ) -> tuple[PyTree, PyTree, PyTree | None, dict[str, Array]]:
        """Return parameters, statistics, parameters to subtract, and a report."""
        if isinstance(settings, RFADSettings):
            assert validation
            done = fit_centred(key, network, images, labels, validation, settings)
            details = {
                "validation": done.accuracy,
                "best_step": done.best_step,
                "steps": done.steps,
            }
            first = done.first if settings.centred else None
            return done.params, {}, first, details
        transform = None
        if ops:
            transform = partial(augment, ops=ops, mode=augment_mode, kind=ops_kind)
        params, state = fit(key, network, images, labels, settings, augment=transform)
        return params, state, None, {}

    def one(
        key: Key[Array, ""],
        images: Float[Array, "m h w ch"],
        labels: Float[Array, "m c"],
        test_images: Float[Array, "n h w ch"],
        test_labels: Int[Array, " n"],
        settings: Training,
        ridge: Float[Array, ""] | float,
        validation: tuple[Array, Array] | tuple[()],
    ) -> TestResult:
        params, state, first, details = train(key, images, labels, settings, validation)
        support, support_labels = (
            add_flips(images, labels) if flips else (images, labels)
        )
        features = in_pieces(
            lambda piece: network.apply(params, state, piece).features, support
        )
        weights = ridge_readout.readout(features, support_labels, ridge).weights

        def classify(piece: Float[Array, "b h w ch"]) -> tuple[Array, Array]:
            output = network.apply(params, state, piece)
            by_ridge = ridge_readout.predict(output.features, weights)
            logits = output.logits
            if first is not None:
                logits = logits - network.apply(first, state, piece).logits
            return largest_class(logits), largest_class(by_ridge)

        by_network, by_ridge = in_pieces(classify, test_images)
        return TestResult(
            jnp.mean((by_network == test_labels).astype(jnp.float32)),
            jnp.mean((by_ridge == test_labels).astype(jnp.float32)),
            details,
        )

    def many(keys: Key[Array, " k"], *arguments: PyTree) -> TestResult:
        # A while loop that each network leaves at its own step cannot be batched cheaply.
        is_alone = jax.default_backend() == "cpu" or bool(arguments[-1])

        def of_key(key: Key[Array, ""]) -> TestResult:
            return one(key, *arguments)

        if is_alone:  # a batch of one would compute every op of the augmentation
            return jax.lax.map(of_key, keys)
        return jax.vmap(of_key)(keys)

    return jax.jit(many)
