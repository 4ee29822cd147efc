"""Test accuracy of a distilled set: that of fresh networks trained on it.

An interval over *networks* says how far another network trained on this very set would
land. How far another run of the method would land is the question of an interval over
*distilled sets*: the mean of several seeds' evaluations, as in ``isa_toolkit.figures``.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from isa_toolkit import checks
from isa_toolkit.analysis.intervals import Interval, mean_interval, paired_interval
from isa_toolkit.annotations import check_settings, typed
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.datasets.augmentation import OPS_OF
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidTypeError
from isa_toolkit.evaluation.protocols import (
    OPS_KIND,
    PROTOCOLS,
    SETTINGS_OF,
    Protocol,
    Training,
    default_epochs,
    default_fit,
    default_network,
    default_ops,
    network_of,
    protocol_of,
)
from isa_toolkit.evaluation.rfad import RFADSettings, rfad_settings, validation_images
from isa_toolkit.evaluation.train import TestResult, train_and_test
from isa_toolkit.methods.base import add_flips
from isa_toolkit.networks import NetworkSettings, build
from isa_toolkit.networks.training import FitSettings, SGDSettings
from isa_toolkit.released_sets import loading_options

if TYPE_CHECKING:
    from isa_toolkit.distillation import Run

Predictor = Literal["network", "ridge"]
PREDICTORS: tuple[Predictor, ...] = get_args(Predictor)


@checks.suggest_keywords
@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How to evaluate a distilled set.

    Attributes:
        protocol: Recipe of the evaluation: ``"isa"`` or ``"frepo"`` (Adam, squared
            errors), ``"rcig"``, ``"rfad"``, ``"dsa"`` (that of DSA, DM and MTT: SGD,
            cross-entropy), ``"dc"``, or ``"published"``: the one of the method that made
            the set (with the learning rate that MTT learned), ``"isa"`` for a set without
            a method.
        networks: Number of fresh networks to train. RFAD's published number is unknown.
        seed: Random seed of networks, order and augmentation.
        network: Architecture to train; None for the protocol's: the ConvNet *without*
            normalisation; under ``"dsa"`` and ``"dc"`` with instance norm; under
            ``"rfad"`` 1,024 wide.
        fit: Training; None for the protocol's, by number of distilled images.
        epochs: Number of epochs of protocols ``"dsa"`` and ``"dc"``; None for the
            published 1,000, or 300 of ``"dc"`` on other data sets than MNIST.
        ops: Names of augmentation ops; None for the protocol's, empty for none. Those of
            ``"dsa"`` and ``"dc"`` are sets of their own. ``"rcig"`` on CIFAR-10 is
            published without; its choice for other data sets is unknown, ours is with.
        augment_mode: Whether to draw one op per ``"batch"`` or per ``"sample"``; None for
            the protocol's: ``"sample"`` for ``"rcig"`` and ``"dc"``, else ``"batch"``.
        ridge: Relative ridge of the ridge predictor.
        flips: Whether to add horizontally flipped copies to the support of the ridge
            predictor, under ``"rcig"`` to the training images too; None: for RGB images,
            under ``"rcig"`` as in the distillation.

    Raises:
        TypeError: A setting is unknown or of another type.
        ValueError: A value is out of its range, or a name is unknown.

    Example:
        >>> from isa_toolkit import EvaluationSettings
        >>> EvaluationSettings(protocol="dsa", networks=2).networks
        2

    Source: docs/algorithms.md, section 7.
    """

    protocol: Protocol = "isa"
    networks: int = 5
    seed: int = 0
    network: NetworkSettings | None = None
    fit: Training | None = None
    epochs: int | None = None
    ops: tuple[str, ...] | None = None
    augment_mode: Literal["batch", "sample"] | None = None
    ridge: float = 1e-6
    flips: bool | None = None

    def __post_init__(self) -> None:
        protocol = checks.match_name("protocol", self.protocol, PROTOCOLS)
        object.__setattr__(self, "protocol", protocol)
        check_settings(self)
        if protocol != "published":
            kind = SETTINGS_OF.get(protocol, FitSettings)
            if self.fit is not None and not isinstance(self.fit, kind):
                raise InvalidTypeError(
                    f"fit must be {kind.__name__} under protocol {protocol!r}, got "
                    f"{type(self.fit).__name__}."
                )
            if self.ops is not None:
                known = OPS_OF[OPS_KIND.get(protocol, "frepo")]
                checks.check_names("ops", self.ops, known)
            if self.ops and protocol == "rfad":
                raise checks.fail("ops", "be left out under protocol 'rfad'", self.ops)
        if self.augment_mode == "sample" and protocol == "dsa":
            raise checks.fail(
                "augment_mode",
                "be 'batch' under protocol 'dsa'",
                self.augment_mode,
                "DSA draws one op for a batch, its parameters for each image.",
            )

    def resolve(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_distilled: int,
        dataset: str | None = None,
    ) -> EvaluationSettings:
        """Return the settings with every None filled in.

        ``num_distilled`` is the number of images to train on, without flipped copies. Some
        protocols treat a ``dataset`` of a known name in a way of its own.

        Raises:
            ValueError: The protocol or its training depends on the distilled set or the
                data set, or does not fit the network.
        """
        if self.protocol == "published":
            raise checks.fail(
                "protocol",
                "be looked up in a set's manifest",
                self.protocol,
                "Use evaluate(distilled, dataset, protocol='published').",
            )
        flips = image_shape[2] == 3 if self.flips is None else self.flips
        ops = self.ops
        if ops is None:
            ops = default_ops(self.protocol, image_shape, flips=flips, dataset=dataset)
        epochs = self.epochs or default_epochs(self.protocol, dataset)
        fit = self.fit or default_fit(
            self.protocol, num_distilled, epochs=epochs, augmented=bool(ops)
        )
        if fit is None:
            raise checks.fail(
                "fit",
                "be given under protocol 'rfad' without a data set",
                None,
                "Use evaluate(distilled, dataset, protocol='rfad').",
            )
        network = (self.network or default_network(self.protocol)).resolve(image_shape)
        if self.protocol == "rfad" and network.norm == "batch":
            raise checks.fail(
                "network",
                "have no running statistics under protocol 'rfad'",
                network.norm,
                "Use norm='none', as published, or 'instance'.",
            )
        mode = "sample" if self.protocol in ("rcig", "dc") else "batch"
        return dataclasses.replace(
            self,
            network=network,
            fit=fit,
            epochs=epochs,
            ops=tuple(ops),
            augment_mode=self.augment_mode or mode,
            flips=flips,
        )

    def resolve_for(
        self, distilled: DistilledSet, dataset: Dataset
    ) -> EvaluationSettings:
        """Return the settings with every None filled in for one distilled set.

        Its manifest says what it was made with; the result's protocol is not
        ``"published"``.
        """
        settings, learned = self, {}
        if settings.protocol == "published":
            settings = dataclasses.replace(settings, protocol=protocol_of(distilled))
            if settings.fit is None:
                learned = distilled.manifest.get("learned") or {}
        changes: dict[str, Any] = {}
        if settings.network is None:
            changes["network"] = network_of(distilled, settings.protocol)
        if settings.protocol == "rfad" and settings.fit is None:
            per_class = max(1, len(distilled.images) // dataset.num_classes)
            changes["fit"] = rfad_settings(
                dataset.name, per_class, num_classes=dataset.num_classes
            )
        if settings.protocol == "rcig" and settings.flips is None:
            experiment = distilled.manifest.get("experiment") or {}
            changes["flips"] = (experiment.get("method") or {}).get("flips")
        resolved = dataclasses.replace(settings, **changes).resolve(
            image_shape=dataset.image_shape,
            num_distilled=len(distilled.images),
            dataset=dataset.name,
        )
        return with_learned(resolved, learned)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Test accuracies of k networks trained on one distilled set.

    Attributes:
        network: Accuracy of each trained network, fractions, [k].
        ridge: Accuracy of the ridge predictor on each one's features, fractions, [k].
        settings: Settings of the evaluation, resolved.
        details: Further numbers for each network, [k]: under protocol ``"rfad"`` the
            ``validation`` accuracy, its ``best_step``, and the ``steps`` taken.

    Example:
        >>> import numpy as np
        >>> from isa_toolkit import Evaluation, EvaluationSettings
        >>> first = Evaluation(
        ...     np.array([0.80, 0.81, 0.82]), np.array([0.7, 0.7, 0.7]), EvaluationSettings()
        ... )
        >>> first
        81.0 ± 2.5 % (3 networks, test)
        >>> second = Evaluation(first.network - 0.05, first.ridge, first.settings)
        >>> first.compare(second)
        +5.0 ± 0.0 points (3 pairs, network)
    """

    network: Float[np.ndarray, " k"]
    ridge: Float[np.ndarray, " k"]
    settings: EvaluationSettings
    details: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean accuracy of the trained networks on the test images, a fraction."""
        return float(np.mean(self.network))

    @typed
    def interval(
        self, predictor: Predictor = "network", *, level: float = 0.95
    ) -> Interval:
        """Return the mean accuracy with its interval over networks, for this one set.

        Args:
            predictor: ``"network"`` or ``"ridge"``.
            level: Confidence level of the interval, above 0 and below 1.

        Returns:
            The interval. With one network its ends are NaN.
        """
        interval = mean_interval(self._of(predictor), level=level)
        return interval._replace(kind="networks, one distilled set")

    @typed
    def compare(
        self,
        other: Evaluation,
        predictor: Predictor = "network",
        *,
        level: float = 0.95,
    ) -> Comparison:
        """Return the difference to another evaluation, paired network by network.

        Args:
            other: Evaluation with the same seed and the same number of networks, so that
                networks of one index start alike.
            predictor: ``"network"`` or ``"ridge"``.
            level: Confidence level of the interval, above 0 and below 1.

        Returns:
            This evaluation minus the other one.

        Raises:
            ValueError: Seeds or numbers of networks differ.
        """
        for name, ours, theirs in (
            ("seed", self.settings.seed, other.settings.seed),
            ("number of networks", len(self.network), len(other.network)),
        ):
            if ours != theirs:
                raise checks.fail(
                    f"the {name} of both evaluations",
                    "be equal",
                    checks.as_text(f"{ours} and {theirs}"),
                    "Evaluate both with the same settings.",
                )
        interval = paired_interval(
            self._of(predictor), other._of(predictor), level=level
        )
        return Comparison(interval, predictor)

    def _of(self, predictor: str) -> np.ndarray:
        checks.check_one_of("predictor", predictor, PREDICTORS)
        return self.network if predictor == "network" else self.ridge

    def to_dict(self) -> dict[str, Any]:
        """Return accuracies and settings as JSON-able values."""
        return {
            "network": self.network.tolist(),
            "ridge": self.ridge.tolist(),
            "settings": dataclasses.asdict(self.settings),
            "details": {name: array.tolist() for name, array in self.details.items()},
        }

    def __repr__(self) -> str:
        return f"{_percent(self.interval())} ({_networks(len(self.network))}, test)"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{predictor}</th><td>{_percent(self.interval(predictor))}</td></tr>"
            for predictor in PREDICTORS
        )
        network = self.settings.network
        size = "" if network is None else f", {network.name} of width {network.width}"
        about = f"protocol {self.settings.protocol}{size}, seed {self.settings.seed}"
        return (
            "<table><thead><tr><th>predictor</th>"
            f"<th>test accuracy ({_networks(len(self.network))})</th></tr></thead>"
            f"<tbody>{rows}</tbody><caption>{html.escape(about)}</caption></table>"
        )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Difference of two evaluations, paired network by network.

    Attributes:
        interval: Mean difference of the accuracies with its interval, fractions.
        predictor: ``"network"`` or ``"ridge"``.
    """

    interval: Interval
    predictor: str

    @property
    def mean(self) -> float:
        """Mean difference, a fraction."""
        return self.interval.mean

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval.excludes_zero

    def __repr__(self) -> str:
        n, mean, half = self.interval.n, 100 * self.mean, 100 * self.interval.half_width
        pairs = f"{n} pair{'s' if n > 1 else ''}, {self.predictor}"
        if n < 2:
            return f"{mean:+.1f} points ({pairs}; no interval)"
        inside = "" if self.is_clear else "; inside the interval: no clear difference"
        return f"{mean:+.1f} ± {half:.1f} points ({pairs}{inside})"


@typed
def evaluate(
    distilled: DistilledSet | Run | str | Path,
    dataset: Dataset | str | None = None,
    settings: EvaluationSettings | None = None,
    *,
    protocol: Protocol | None = None,
    networks: int | None = None,
    seed: int | None = None,
    network: NetworkSettings | str | None = None,
    **changes: Any,
) -> Evaluation:
    """Return the test accuracy of fresh networks trained on a distilled set.

    Each network is tested itself, and as features of a ridge predictor whose support is
    the distilled set.

    Args:
        distilled: Distilled set, run, path of a run folder, or path of a file that
            ``DistilledSet.save`` wrote.
        dataset: Data set, or its name, whose test images to classify; None for the one
            that the manifest of the distilled set names.
        settings: Settings to start from; None for FRePo's and ISA's protocol at the width
            and depth that the set was distilled with.
        protocol: Recipe of the evaluation; ``"published"`` for that of the method that
            made the set.
        networks: Number of fresh networks to train (5 if left out).
        seed: Random seed of networks, order and augmentation (0 if left out).
        network: Architecture to train, or its name for its published size and
            normalisation.
        **changes: Further settings of ``EvaluationSettings`` by name, such as ``fit``,
            ``epochs``, ``ops`` or ``ridge``.

    Returns:
        The accuracies.

    Raises:
        TypeError: A setting is unknown, or ``distilled`` is no distilled set.
        ValueError: The set and the data do not fit together.
        FileNotFoundError: There is no distilled set at the path.

    Example:
        >>> import isa_toolkit as isa
        >>> digits = isa.load_dataset("digits")
        >>> few = isa.evaluation.random_real(digits, images_per_class=1)
        >>> result = isa.evaluate(
        ...     few,
        ...     digits,
        ...     networks=2,
        ...     network=isa.NetworkSettings(width=4, depth=1, norm="none"),
        ...     fit=isa.networks.FitSettings(steps=100, learning_rate=1e-2),
        ...     ops=(),
        ... )
        >>> result.network.shape, result.mean > 0.2
        ((2,), True)

    Source: docs/algorithms.md, section 7.
    """
    if isinstance(network, str):
        network = NetworkSettings(name=cast(Any, network))
    named = {
        "protocol": protocol,
        "networks": networks,
        "seed": seed,
        "network": network,
    }
    changes.update({name: value for name, value in named.items() if value is not None})
    settings = dataclasses.replace(settings or EvaluationSettings(), **changes)
    distilled = _as_distilled(distilled)
    dataset = _as_dataset(dataset, distilled)
    check_fit(distilled, dataset)
    settings = settings.resolve_for(distilled, dataset)
    validation = None
    if isinstance(settings.fit, RFADSettings):
        validation = validation_images(
            dataset, settings.fit.validation_per_class, seed=settings.seed
        )
    result = run_evaluation(
        distilled.images,
        distilled.labels,
        dataset.inputs("test"),
        dataset.test.labels,
        settings,
        num_classes=dataset.num_classes,
        validation=validation,
    )
    return evaluation_of(result, settings)


def evaluation_of(result: TestResult, settings: EvaluationSettings) -> Evaluation:
    """Return a test's result under resolved settings, fetched from the device."""
    # In float64, as JSON gives them back: a mean is the same the second time.
    network, ridge = (
        np.asarray(each, float) for each in (result.network, result.ridge)
    )
    return Evaluation(
        network, ridge, settings, jax.tree.map(np.asarray, result.details)
    )


def _as_distilled(value: Any) -> DistilledSet:
    """Return the distilled set of a run or of a path, or the set itself."""
    if isinstance(value, str | Path):
        path = Path(value)
        return DistilledSet.load(
            path / "distilled.safetensors" if path.is_dir() else path
        )
    return getattr(value, "distilled", value)


def _as_dataset(value: Any, distilled: DistilledSet) -> Dataset:
    """Return a data set by its name, or the one that a manifest names."""
    if isinstance(value, Dataset):
        return value
    if value is None:
        experiment = distilled.manifest.get("experiment") or {}
        value = (experiment.get("dataset") or {}).get("name")
    if isinstance(value, str):
        return load_dataset(value, **loading_options(distilled.preprocessing))
    raise InvalidTypeError(
        "dataset must be a Dataset or the name of one, got "
        f"{type(value).__name__}. The distilled set does not name it: pass "
        "evaluate(distilled, dataset)."
    )


def run_evaluation(
    images: Float[np.ndarray, "m h w ch"],
    labels: Float[np.ndarray, "m c"],
    test_images: Float[np.ndarray, "n h w ch"],
    test_labels: Any,
    settings: EvaluationSettings,
    *,
    num_classes: int,
    validation: tuple[Any, Any] | None = None,
) -> TestResult:
    """Return the accuracies, on the device, of plain arrays under resolved settings.

    ``images`` and ``test_images`` are network inputs, ``labels`` soft labels and
    ``test_labels`` class numbers; ``validation`` stops RFAD's training.
    """
    fit, mode, flips = settings.fit, settings.augment_mode, settings.flips
    if fit is None or settings.network is None or mode is None or flips is None:
        raise checks.fail("settings", "be resolved", settings)
    if isinstance(fit, RFADSettings) != (validation is not None):
        raise checks.fail("validation", "be given for RFADSettings alone", validation)
    if settings.protocol == "rcig" and flips:
        both = add_flips(jnp.asarray(images), jnp.asarray(labels))
        images, labels = map(np.asarray, both)
        flips = False
    network = build(
        settings.network, image_shape=images.shape[1:], num_classes=num_classes
    )
    compiled = train_and_test(
        network,
        ops=settings.ops or (),
        ops_kind=cast(Any, OPS_KIND.get(settings.protocol, "frepo")),
        augment_mode=mode,
        flips=flips,
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
        jax.tree.map(jnp.asarray, validation or ()),
    )


def check_fit(distilled: DistilledSet, dataset: Dataset) -> None:
    """Refuse a distilled set of another image shape, classes or preprocessing."""
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

    MTT's ``student_learning_rate`` is the learning rate of protocol ``"dsa"``.

    Source: docs/algorithms.md, section 7.4.
    """
    rate = learned.get("student_learning_rate")
    if rate is None or not isinstance(settings.fit, SGDSettings):
        return settings
    fit = dataclasses.replace(settings.fit, learning_rate=float(rate))
    return dataclasses.replace(settings, fit=fit)


def _percent(interval: Interval) -> str:
    """Return an interval of a fraction in percent; one value has no interval."""
    spread = "" if interval.n < 2 else f" ± {100 * interval.half_width:.1f}"
    return f"{100 * interval.mean:.1f}{spread} %"


def _networks(count: int) -> str:
    return f"{count} network{'s' if count > 1 else ''}"
