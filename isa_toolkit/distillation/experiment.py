"""An experiment: every choice of one run, checked, filled in and hashed.

Two experiments with the same hash give the same distilled set. The hash covers every
setting and the data's fingerprint, not where the data lie.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from isa_toolkit import checks, presets
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.datasets.arrays import check_images_per_class
from isa_toolkit.evaluation import EvaluationSettings
from isa_toolkit.methods import METHODS, FRePo, MethodSettings
from isa_toolkit.methods.base import traits_of
from isa_toolkit.networks import NETWORKS, NetworkSettings
from isa_toolkit.networks.training import FitSettings, dsa_fit

__all__ = ["PROTOCOLS", "Experiment", "ResolvedExperiment", "as_json"]

PROTOCOLS = ("validation", "released", "last")

_WHOLE = (
    "images_per_class",
    "steps",
    "batch_size",
    "seed",
    "validation_every",
    "validation_networks",
    "validation_steps",
    "log_every",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What to distil, how, and for how long.

    Attributes:
        dataset: a name that ``load_dataset`` knows, or a ``Dataset``.
        source: of a named data set; None lets ``load_dataset`` choose.
        root: folder or file of a local data set.
        limit: most training images to load; None for all.
        method: settings of a method.
        images_per_class: learned images of each class.
        network: of the distillation; None for the architecture that the method is
            published with, each None in it for the published value.
        steps: outer steps; published are 500,000 for FRePo, 20,000 for DM and 5,000 for
            MTT.
        batch_size: real images per step, at most the training set; for DM of each
            class, at most the smallest one; None for the method's published number.
            MTT looks at no real images: leave it out.
        seed: first images, networks, order and everything else drawn at random.
        protocol: which step's images are the result. ``"validation"``: the best on
            training images that are held out; ``"last"``: the last step, nothing held out;
            ``"released"``: the best by *test* accuracy, as the released code chooses
            (optimistic; only to reproduce it).
        validation_fraction: share of the training images to hold out.
        validation_every: steps between validations; None for a fifth of the run, 0 for
            never (protocol ``"last"`` only).
        validation_networks: fresh networks per validation.
        validation_steps: their training; None for the published number.
        log_every: steps per row of metrics (means over them); None for a hundredth of
            the run, at most 100.

    Raises:
        ValueError: a value out of its range, an unknown name.
        TypeError: a value of the wrong kind.
    """

    dataset: str | Dataset = "digits"
    source: str | None = None
    root: str | Path | None = None
    limit: int | None = None
    method: MethodSettings = FRePo()
    images_per_class: int = 1
    network: NetworkSettings | None = None
    steps: int = 500_000
    batch_size: int | None = None
    seed: int = 0
    protocol: str = "validation"
    validation_fraction: float = 0.1
    validation_every: int | None = None
    validation_networks: int = 2
    validation_steps: int | None = None
    log_every: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str | Dataset):
            raise TypeError(
                "dataset must be a name or a Dataset, got "
                f"{type(self.dataset).__name__}. Build one with Dataset.from_arrays."
            )
        if not isinstance(self.method, tuple(METHODS.values())):
            known = ", ".join(kind.__name__ for kind in METHODS.values())
            raise TypeError(
                f"method must be one of {known}, got {type(self.method).__name__}."
            )
        checks.check_integer("images_per_class", self.images_per_class)
        checks.check_integer("steps", self.steps)
        traits = traits_of(self.method)
        if self.network is None:
            object.__setattr__(self, "network", NetworkSettings(name=traits.network))
        if self.batch_size is None and traits.draws:
            object.__setattr__(self, "batch_size", traits.draws)
        if self.batch_size is not None:
            if traits.drawing == "none":
                raise checks.fail(
                    "batch_size",
                    f"be left out for method {self.method.name!r}",
                    self.batch_size,
                    "It draws no real images.",
                )
            fewest = 1 if traits.drawing == "per_class" else 2
            checks.check_integer("batch_size", self.batch_size, minimum=fewest)
        checks.check_integer("seed", self.seed, minimum=0)
        checks.check_one_of("protocol", self.protocol, PROTOCOLS)
        checks.check_fraction("validation_fraction", self.validation_fraction)
        if self.protocol == "validation" and self.validation_fraction == 0:
            raise checks.fail(
                "validation_fraction",
                "be above 0 under protocol 'validation'",
                self.validation_fraction,
                "Use protocol='last' to train on everything.",
            )
        if self.validation_every is not None:
            checks.check_integer("validation_every", self.validation_every, minimum=0)
            if self.validation_every == 0 and self.protocol != "last":
                raise checks.fail(
                    "validation_every",
                    f"be above 0 under protocol {self.protocol!r}",
                    0,
                    "Use protocol='last' to go without.",
                )
        checks.check_integer("validation_networks", self.validation_networks)
        if self.validation_steps is not None:
            checks.check_integer("validation_steps", self.validation_steps)
        if self.log_every is not None:
            checks.check_integer("log_every", self.log_every)
        for name in _WHOLE:
            value = getattr(self, name)
            # NumPy's whole numbers are welcome, but are no JSON.
            object.__setattr__(self, name, value if value is None else int(value))

    def load(self) -> Dataset:
        """Return the data set."""
        if isinstance(self.dataset, Dataset):
            return self.dataset
        return load_dataset(
            self.dataset, source=self.source, root=self.root, limit=self.limit
        )

    def resolve(
        self, *, beside: ResolvedExperiment | None = None
    ) -> ResolvedExperiment:
        """Return the experiment with its data and every default filled in.

        Args:
            beside: an experiment on the same data, held out alike, to share them with:
                nothing is loaded or copied again.

        Raises:
            ValueError: the data do not allow it (fewer images of a class than
                ``images_per_class``, for one).
        """
        dataset = self.load() if beside is None else beside.dataset
        every = self.validation_every
        if every is None:
            every = -(-self.steps // 5)
        settings = dataclasses.replace(
            self,
            dataset=dataset,
            source=None,
            root=None,
            limit=None,
            method=self.method.resolve(
                dataset=dataset.name,
                images_per_class=self.images_per_class,
                num_classes=dataset.num_classes,
            ),
            network=(self.network or NetworkSettings()).resolve(dataset.image_shape),
            validation_every=every,
            validation_steps=self.validation_steps
            or _selection_steps(dataset.name, self.images_per_class),
            log_every=self.log_every or min(max(self.steps // 100, 1), 100),
        )
        resolved = ResolvedExperiment(settings, dataset, beside)
        held = resolved.train is not dataset
        check_images_per_class(
            self.images_per_class,
            resolved.train.train.labels,
            dataset.class_names,
            fix="Some are held out: lower validation_fraction, or take protocol 'last'."
            if held
            else "",
        )
        return resolved


class ResolvedExperiment:
    """An experiment together with its data, ready to run.

    Attributes:
        settings: nothing in it is left to a default.
        dataset: all of its data.
        train: what is distilled: the training images, less those held out.
        validation: (inputs, labels) of what chooses the step, or None.
    """

    def __init__(
        self,
        settings: Experiment,
        dataset: Dataset,
        beside: ResolvedExperiment | None = None,
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.train = dataset
        self.validation: tuple[Any, Any] | None = None
        if beside is not None:
            self.train, self.validation = beside.train, beside.validation
        elif settings.protocol == "validation":
            self.train, held = dataset.holdout(settings.validation_fraction)
            self.validation = (dataset.preprocessing.apply(held.images), held.labels)
        elif settings.protocol == "released":
            self.validation = (dataset.inputs("test"), dataset.test.labels)

    @property
    def network(self) -> NetworkSettings:
        """The network of the distillation, nothing left to a default."""
        network = self.settings.network or NetworkSettings()
        return network.resolve(self.dataset.image_shape)

    @property
    def drawing(self) -> str:
        """How the targets of a step are drawn: the method's trait."""
        return traits_of(self.settings.method).drawing

    @property
    def batch_size(self) -> int:
        """Targets per step in all: what was asked for, or as many as there are."""
        asked = self.settings.batch_size or 0
        if self.drawing == "per_class":
            smallest = int(np.bincount(self.train.train.labels).min())
            return min(asked, smallest) * self.train.num_classes
        return min(asked, len(self.train.train.labels))

    @property
    def evaluation(self) -> EvaluationSettings:
        """How the run validates: constant learning rate, shuffled, with augmentation.

        Source: algorithms 4.1, "In-training evaluation"; for the matching methods 7.4.
        """
        settings = self.settings
        count = settings.images_per_class * self.dataset.num_classes
        network = self.network
        if traits_of(settings.method).protocol == "dsa":
            return EvaluationSettings(
                network=network,
                networks=settings.validation_networks,
                seed=settings.seed,
                protocol="dsa",
                fit=dsa_fit(count, steps=settings.validation_steps),
            ).resolve(image_shape=self.dataset.image_shape, num_distilled=count)
        judge = NETWORKS[network.name].judged_as or network.name
        chosen = EvaluationSettings(
            network=dataclasses.replace(network, name=judge, norm="none"),
            networks=settings.validation_networks,
            seed=settings.seed,
            fit=FitSettings(
                steps=settings.validation_steps or 1,
                batch_size=presets.evaluation_batch_size(count),
                warmup_steps=0,
                final_learning_rate=1.0,
            ),
        )
        return chosen.resolve(image_shape=self.dataset.image_shape, num_distilled=count)

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """Every choice as plain JSON: what ``experiment.json`` holds and the hash covers."""
        settings = self.settings
        plain = {
            field.name: getattr(settings, field.name)
            for field in dataclasses.fields(settings)
            if field.name not in ("dataset", "method", "source", "root", "limit")
        }
        plain["network"] = dataclasses.asdict(self.network)
        plain["method"] = {
            "name": settings.method.name,
            **dataclasses.asdict(settings.method),  # pyright: ignore[reportArgumentType]
        }
        plain["dataset"] = {
            "name": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "preprocessing": self.dataset.preprocessing.describe(),
        }
        return as_json(plain)

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the description."""
        text = json.dumps(self.description, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name of the run folder."""
        settings = self.settings
        return (
            f"{self.dataset.name}-ipc{settings.images_per_class}-"
            f"{settings.method.name}-{self.hash[:8]}"
        )


def as_json(value: Any) -> Any:
    """Return ``value`` in plain JSON types, equal for equal settings.

    0, 0.0 and NumPy's zeros are equal, so they must give the same hash.
    """
    if isinstance(value, dict):
        return {str(name): as_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def _selection_steps(dataset: str, images_per_class: int) -> int:
    facts = presets.PUBLISHED.get(dataset)
    if facts is None:
        return 1000
    return facts.selection_steps.get(images_per_class, 1000)
