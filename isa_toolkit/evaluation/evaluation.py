"""What a distilled set is worth: accuracies of fresh networks trained on it.

Two intervals answer two questions and are kept apart: over *networks*, how far another
network trained on this very set would land; over *distilled sets*, how far another run
of the method would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from isa_toolkit import checks, presets
from isa_toolkit.analysis.intervals import (
    Interval,
    NestedIntervals,
    mean_interval,
    nested_interval,
)
from isa_toolkit.datasets import Dataset
from isa_toolkit.datasets.augmentation import (
    DSA_OPS,
    GRAY_OPS,
    MODES,
    OPS,
    RGB_OPS,
    dsa_default_ops,
)
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.protocols import (
    PROTOCOLS,
    default_network,
    network_of,
    protocol_of,
)
from isa_toolkit.evaluation.train import TestResult, train_and_test
from isa_toolkit.networks import NetworkSettings, build
from isa_toolkit.networks.training import FitSettings, SGDSettings, dsa_fit

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "Summary",
    "evaluate",
    "summarise",
    "with_learned",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How to judge a distilled set.

    Attributes:
        network: architecture; None for the published one: the ConvNet *without*
            normalisation, under protocol ``"dsa"`` the ConvNet with instance norm.
        networks: how many fresh networks.
        seed: draws networks, order and augmentation.
        fit: training; None for the published one by number of distilled images.
        protocol: ``"isa"`` or ``"frepo"``, whose table of steps to use; ``"dsa"``, that of
            DC, DSA, DM and MTT: SGD on cross-entropy of the hard labels under DSA's
            augmentation; ``"published"``, that of the method that made the set (with
            the step size that MTT learned), ``"isa"`` for a set without a method; those of
            RFAD and RCIG are other functions, and the sentence names them.
        epochs: of protocol ``"dsa"``: 1,000 as published; fewer for quick looks.
        ops: augmentation ops; None for the published ones by number of channels, empty
            for none. Those of ``"dsa"`` are named in ``isa_toolkit.datasets.augmentation``.
        augment_mode: ``"batch"`` or ``"sample"`` (not under ``"dsa"``).
        ridge: relative ridge of the ridge predictor.
        mirrored: mirrored copies in its support; None: for RGB images.

    Raises:
        ValueError: a value out of its range or an unknown name.

    Source: algorithms 7.1; of ``"dsa"`` 7.4.
    """

    network: NetworkSettings | None = None
    networks: int = 5
    seed: int = 0
    fit: FitSettings | SGDSettings | None = None
    protocol: str = "isa"
    epochs: int = 1000
    ops: tuple[str, ...] | None = None
    augment_mode: str = "batch"
    ridge: float = 1e-6
    mirrored: bool | None = None

    def __post_init__(self) -> None:
        checks.check_integer("networks", self.networks)
        checks.check_integer("seed", self.seed, minimum=0)
        checks.check_one_of("protocol", self.protocol, PROTOCOLS)
        checks.check_integer("epochs", self.epochs)
        is_dsa = self.protocol == "dsa"
        if self.protocol != "published":
            kind = SGDSettings if is_dsa else FitSettings
            if self.fit is not None and not isinstance(self.fit, kind):
                raise TypeError(
                    f"fit must be {kind.__name__} under protocol {self.protocol!r}, got "
                    f"{type(self.fit).__name__}."
                )
            if self.ops is not None:
                checks.check_names("ops", self.ops, DSA_OPS if is_dsa else OPS)
        checks.check_one_of("augment_mode", self.augment_mode, MODES)
        if is_dsa and self.augment_mode != "batch":
            raise checks.fail(
                "augment_mode",
                "be 'batch' under protocol 'dsa'",
                self.augment_mode,
                "DSA draws one op for a batch, its parameters for each image.",
            )
        checks.check_at_least("ridge", self.ridge, 0)
        if self.mirrored is not None:
            checks.check_boolean("mirrored", self.mirrored)

    def resolve(
        self, *, image_shape: tuple[int, int, int], num_distilled: int
    ) -> EvaluationSettings:
        """Return the settings with every None filled in.

        Args:
            image_shape: (height, width, channels).
            num_distilled: number of images to train on.

        Returns:
            Settings in which nothing is None.
        """
        is_rgb = image_shape[2] == 3
        if self.protocol == "published":
            raise checks.fail(
                "protocol",
                "be looked up in a set's manifest",
                self.protocol,
                "Use evaluate(distilled, dataset, protocol='published').",
            )
        is_dsa = self.protocol == "dsa"
        network, fit, ops = self.network, self.fit, self.ops
        if network is None:
            network = default_network(self.protocol)
        if fit is None and is_dsa:
            fit = dsa_fit(num_distilled, epochs=self.epochs)
        elif fit is None:
            fit = FitSettings(
                steps=presets.evaluation_steps(num_distilled, self.protocol),
                batch_size=presets.evaluation_batch_size(num_distilled),
            )
        if ops is None and is_dsa:
            ops = dsa_default_ops(image_shape)
        elif ops is None:
            ops = RGB_OPS if is_rgb else GRAY_OPS
        return dataclasses.replace(
            self,
            network=network.resolve(image_shape),
            fit=fit,
            ops=tuple(ops),
            mirrored=is_rgb if self.mirrored is None else self.mirrored,
        )


class Evaluation(NamedTuple):
    """Test accuracies of k networks trained on one distilled set.

    network: accuracy of each trained network, fractions, [k].
    ridge: accuracy of the ridge readout on each one's features, fractions, [k].
    settings: everything that was chosen, resolved.
    """

    network: Float[np.ndarray, " k"]
    ridge: Float[np.ndarray, " k"]
    settings: EvaluationSettings

    def interval(self, predictor: str = "network", *, level: float = 0.95) -> Interval:
        """Return the mean accuracy with its interval over networks, for this one set.

        Args:
            predictor: ``"network"`` or ``"ridge"``.
            level: confidence.

        Returns:
            The interval; its ``kind`` says that it is over networks.
        """
        checks.check_one_of("predictor", predictor, ("network", "ridge"))
        interval = mean_interval(getattr(self, predictor), level=level)
        return interval._replace(kind="networks, one distilled set")

    def to_dict(self) -> dict[str, Any]:
        """Return accuracies and settings as JSON-able values."""
        return {
            "network": [float(value) for value in self.network],
            "ridge": [float(value) for value in self.ridge],
            "settings": dataclasses.asdict(self.settings),
        }


class Summary(NamedTuple):
    """Accuracy of a method over several distilled sets.

    network: intervals of the trained networks' accuracy.
    ridge: intervals of the ridge predictor's accuracy.
    """

    network: NestedIntervals
    ridge: NestedIntervals


def evaluate(
    distilled: DistilledSet,
    dataset: Dataset,
    settings: EvaluationSettings | None = None,
    **changes: Any,
) -> Evaluation:
    """Return what a distilled set is worth on the test images of a data set.

    Fresh networks are trained on the distilled images and labels; each is tested
    itself, and as features of a ridge readout of the distilled set.

    Args:
        distilled: the set.
        dataset: whose test images are classified.
        settings: how; None for FRePo's and ISA's protocol at the width and depth that
            the set was distilled with.
        changes: settings to replace, by name (``networks=2``).

    Returns:
        The accuracies.

    Raises:
        ValueError: the set and the data do not fit together.

    Source: algorithms 7.1 and 7.4.
    """
    settings = dataclasses.replace(settings or EvaluationSettings(), **changes)
    learned = {}
    if settings.protocol == "published":
        settings = dataclasses.replace(settings, protocol=protocol_of(distilled))
        if settings.fit is None:
            learned = distilled.manifest.get("learned") or {}
    if settings.network is None:
        network = network_of(distilled, settings.protocol)
        settings = dataclasses.replace(settings, network=network)
    check_fit(distilled, dataset)
    settings = settings.resolve(
        image_shape=dataset.image_shape, num_distilled=len(distilled.images)
    )
    settings = with_learned(settings, learned)
    result = run_evaluation(
        distilled.images,
        distilled.labels,
        dataset.inputs("test"),
        dataset.test.labels,
        settings,
        num_classes=dataset.num_classes,
    )
    return Evaluation(np.asarray(result.network), np.asarray(result.ridge), settings)


def run_evaluation(
    images: Float[np.ndarray, "m h w ch"],
    labels: Float[np.ndarray, "m c"],
    test_images: Float[np.ndarray, "n h w ch"],
    test_labels: Any,
    settings: EvaluationSettings,
    *,
    num_classes: int,
) -> TestResult:
    """Return the accuracies of plain arrays under resolved settings.

    Args:
        images: network inputs to train on, [m, h, w, ch].
        labels: soft labels, [m, c].
        test_images: network inputs to classify, [n, h, w, ch].
        test_labels: class numbers, [n].
        settings: ``EvaluationSettings.resolve``d.
        num_classes: c.

    Returns:
        Accuracies, on the device.
    """
    fit = settings.fit
    if fit is None or settings.network is None:
        raise checks.fail("settings", "be resolved", settings)
    network = build(
        settings.network, image_shape=images.shape[1:], num_classes=num_classes
    )
    compiled = train_and_test(
        network,
        ops=settings.ops or (),
        augment_mode=settings.augment_mode,
        mirrored=bool(settings.mirrored),
    )
    size = min(fit.batch_size, len(images))
    return compiled(
        jax.random.split(jax.random.key(settings.seed), settings.networks),
        jnp.asarray(images),
        jnp.asarray(labels),
        jnp.asarray(test_images),
        jnp.asarray(test_labels),
        dataclasses.replace(fit, batch_size=size),
        jnp.float32(settings.ridge),
    )


def summarise(evaluations: Sequence[Evaluation], *, level: float = 0.95) -> Summary:
    """Return the accuracy of a method from the evaluations of several distilled sets.

    Args:
        evaluations: one per distilled set, with the same number of networks.
        level: confidence.

    Returns:
        For each predictor the interval over networks and the one over distilled sets.

    Raises:
        ValueError: there are none, or their numbers of networks differ.
    """
    if not evaluations:
        raise checks.fail("evaluations", "hold at least one", [])
    return Summary(
        network=nested_interval(_table(evaluations, "network"), level=level),
        ridge=nested_interval(_table(evaluations, "ridge"), level=level),
    )


def _table(evaluations: Sequence[Evaluation], predictor: str) -> np.ndarray:
    """Return accuracies, [sets, networks]."""
    values = [getattr(evaluation, predictor) for evaluation in evaluations]
    if len({len(row) for row in values}) > 1:
        raise checks.fail(
            "evaluations",
            "have one number of networks",
            sorted({len(row) for row in values}),
        )
    return np.stack(values)


def check_fit(distilled: DistilledSet, dataset: Dataset) -> None:
    """Refuse a distilled set that does not belong to the data.

    Raises:
        ValueError: image shape, number of classes or preprocessing differ.
    """
    if distilled.images.shape[1:] != dataset.image_shape:
        raise checks.fail(
            "the distilled images",
            f"have the shape {dataset.image_shape} of {dataset.name!r}",
            distilled.images.shape[1:],
        )
    if distilled.labels.shape[1] != dataset.num_classes:
        raise checks.fail(
            "the distilled labels",
            f"have the {dataset.num_classes} classes of {dataset.name!r}",
            distilled.labels.shape[1],
        )
    theirs = distilled.preprocessing.get("fingerprint")
    ours = dataset.preprocessing.fingerprint
    if theirs is not None and theirs != ours:
        raise checks.fail(
            "the distilled set",
            f"be preprocessed like {dataset.name!r} ({ours[:8]})",
            theirs[:8],
            "Load the data as it was loaded for the distillation (same source and "
            "limit), or rebuild the set with DistilledSet.from_pixels.",
        )


def with_learned(
    settings: EvaluationSettings, learned: Mapping[str, float]
) -> EvaluationSettings:
    """Return resolved settings that use what a method learned besides the images.

    Args:
        settings: resolved.
        learned: ``learned`` of the set's manifest; MTT's ``student_learning_rate`` is
            the learning rate of protocol ``"dsa"``.

    Source: algorithms 7.4, "MTT: the learned a".
    """
    rate = learned.get("student_learning_rate")
    if rate is None or not isinstance(settings.fit, SGDSettings):
        return settings
    fit = dataclasses.replace(settings.fit, learning_rate=float(rate))
    return dataclasses.replace(settings, fit=fit)
