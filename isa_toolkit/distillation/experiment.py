"""An experiment: every choice of one run, checked, filled in and hashed.

Two experiments with the same hash give the same distilled set. The hash covers every
setting and the data's fingerprint, not where the data are stored.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from isa_toolkit import checks, presets
from isa_toolkit.annotations import check_settings
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.datasets.registry import Whitening
from isa_toolkit.datasets.validation import check_images_per_class
from isa_toolkit.distillation.run import Run
from isa_toolkit.distillation.source_run import SourceRun, open_source
from isa_toolkit.distillation.store import hash_of
from isa_toolkit.errors import InvalidTypeError
from isa_toolkit.evaluation import EvaluationSettings
from isa_toolkit.methods import METHODS, FRePo, MethodSettings, method_of
from isa_toolkit.methods.base import has_values
from isa_toolkit.networks import NETWORKS, Network, NetworkSettings, build
from isa_toolkit.networks.training import FitSettings, dsa_fit

DATA_FIELDS = ("source", "root", "limit", "resolution", "whitening")
"""Fields that say how a named data set is loaded: the arguments of ``load_dataset``."""


MethodName = Literal["dm", "frepo", "mtt", "rcig", "rfad"]
Selection = Literal["last", "validation", "released"]


@checks.suggest_keywords
@dataclasses.dataclass(frozen=True)
class Experiment:
    """What to distil, how, and for how long.

    Attributes:
        dataset: Data set, or a name that ``load_dataset`` takes.
        method: Settings of a method, such as ``FRePo(drop_easy=0.3)``, or the name of a
            method for its default settings.
        images_per_class: Number of distilled images of each class.
        network: Network of the distillation; None for the architecture that the method
            is published with. Each None in it stands for the published value.
        steps: Number of outer steps; published are 500,000 for FRePo, 20,000 for DM and
            5,000 for MTT.
        batch_size: Number of real images per step, at most the size of the training
            set; for DM the number per class, at most the size of the smallest class;
            None for the method's published number. MTT uses no real images: leave it
            out.
        seed: Seed of the first images, the networks, the order of the data and
            everything else that is random.
        selection: Rule that selects the step whose images are the result. ``"last"``:
            the last step; nothing is held out, and no network is trained to choose.
            ``"validation"``: the best accuracy on held-out training images;
            ``"released"``: the best *test* accuracy, as in the released code, which
            reports the maximum over 52 checkpoints of a run of 500,000 steps
            (optimistic, and above what ``"last"`` gives; only to reproduce it).
        validation_fraction: Fraction of the training images to hold out with selection
            ``"validation"``.
        validation_every: Number of steps between snapshots (images and a checkpoint),
            which are validated unless the selection is ``"last"``; None for a fifth of
            the run, 0 for none (only with ``"last"``). With ``"released"`` also steps 1
            and 3,000 are validated, and None is at most the published 10,000.
        validation_networks: Number of networks to train in each validation; None for 2,
            or the published 5 with ``"released"``.
        validation_steps: Number of training steps of each validation network; None for
            the published number.
        log_every: Number of steps per row of metrics, which holds means over them; None
            for a hundredth of the run, at most 100.
        start_from: Run, or path of a run folder, whose state to start from (images,
            labels, optimiser, networks) instead of real images; with the same method,
            network, images per class and data. None to start anew. Steps are counted on
            from that state; with the settings and the seed of that run, the branch
            continues exactly as that run does. Settings that only the first state depends
            on, such as label_scale, have no effect.
        start_step: Step of the checkpoint to start from; None for the last one.
        source: Origin of a named data set; None lets ``load_dataset`` choose.
        root: Folder or file of a local data set.
        limit: Largest number of training images to load; None for all.
        resolution: Side in pixels to crop and resize a named data set to; None keeps it.
        whitening: Preprocessing of a named data set; None for the one that the method is
            published with.

    Raises:
        InvalidValueError: A value is out of its range, or a name is unknown.
        InvalidTypeError: A value has the wrong type.

    Example:
        >>> from isa_toolkit import Experiment, FRePo
        >>> Experiment("digits", method=FRePo(drop_easy=0.3), steps=400)
        Experiment(method=FRePo(drop_easy=0.3), steps=400, batch_size=1024)
        >>> Experiment("digits", method="DM").method.name
        'dm'
    """

    dataset: str | Dataset = "digits"
    _: dataclasses.KW_ONLY
    method: MethodSettings | MethodName = FRePo()
    images_per_class: int = 1
    network: NetworkSettings | None = None
    steps: int = 500_000
    batch_size: int | None = None
    seed: int = 0
    selection: Selection = "last"
    validation_fraction: float = 0.1
    validation_every: int | None = None
    validation_networks: int | None = None
    validation_steps: int | None = None
    log_every: int | None = None
    start_from: str | Path | Run | None = None
    start_step: int | None = None
    source: Literal["digits", "hub", "local"] | None = None
    root: str | Path | None = None
    limit: int | None = None
    resolution: int | None = None
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str | Dataset):
            raise InvalidTypeError(
                "dataset must be a name or a Dataset, got "
                f"{type(self.dataset).__name__}. Build one with Dataset.from_arrays."
            )
        if isinstance(self.method, str):
            name = checks.match_name("method", self.method, METHODS)
            object.__setattr__(self, "method", METHODS[name].settings())
        kinds = tuple(method.settings for method in METHODS.values())
        if not isinstance(self.method, kinds):
            known = ", ".join(kind.__name__ for kind in kinds)
            raise InvalidTypeError(
                f"method must be one of {known}, or a name, "
                f"got {type(self.method).__name__}."
            )
        self._use_plain_numbers()
        check_settings(
            self,
            fractions=("validation_fraction",),
            from_zero=("validation_every",),
        )
        self._check_start()
        method = method_of(self.method)
        if self.network is None:
            name: Any = method.network
            object.__setattr__(self, "network", NetworkSettings(name=name))
        if self.batch_size is None and method.batch_size:
            object.__setattr__(self, "batch_size", method.batch_size)
        if self.batch_size is not None:
            if method.sampling == "none":
                raise checks.fail(
                    "batch_size",
                    f"be left out for method {method.name!r}",
                    self.batch_size,
                    "This method uses no real images.",
                )
            fewest = 1 if method.sampling == "per_class" else 2
            checks.check_integer("batch_size", self.batch_size, minimum=fewest)
        if self.selection == "validation" and self.validation_fraction == 0:
            raise checks.fail(
                "validation_fraction",
                "be above 0 with selection='validation'",
                self.validation_fraction,
                "Use selection='last' to train on everything.",
            )
        if self.validation_every == 0 and self.selection != "last":
            raise checks.fail(
                "validation_every",
                f"be above 0 with selection={self.selection!r}",
                0,
                "Use selection='last' to run without validation.",
            )

    def __repr__(self) -> str:
        text = checks.short_repr(self)
        return text if len(text) <= 300 else text[:297] + "..."

    def _use_plain_numbers(self) -> None:
        """Take the numbers out of the method's arrays, which are not checked as such."""
        if has_values(self.method):
            return
        plain = {name: checks.plain(one) for name, one in vars(self.method).items()}
        for name, value in plain.items():
            if not has_values(value):
                raise checks.wrong_type(name, "a number", value)
        object.__setattr__(self, "method", dataclasses.replace(self.method, **plain))  # pyright: ignore[reportArgumentType]

    def _check_start(self) -> None:
        start = self.start_from
        if start is None:
            if self.start_step is not None:
                raise checks.fail(
                    "start_step",
                    "be left out without start_from",
                    self.start_step,
                    "Give the run to start from.",
                )
        elif isinstance(start, str | Path | Run):
            path = str(start.path if isinstance(start, Run) else start)
            object.__setattr__(self, "start_from", path)
        else:
            raise InvalidTypeError(
                "start_from must be a Run or the path of a run folder, got "
                f"{type(start).__name__}."
            )

    @classmethod
    def from_description(
        cls, description: Mapping[str, Any], **where: Any
    ) -> Experiment:
        """Return the experiment that ``experiment.json`` describes.

        Args:
            description: The stored ``ResolvedExperiment.description``; a ``KeyError`` says
                that it is of another version of the toolkit.
            where: ``source``, ``root`` and ``limit`` of the data, which are not stored,
                the name of the data set if it is another than the stored one, and the path
                of the run to start from as ``start_from``.

        Raises:
            InvalidValueError: The run starts from another one, and ``where`` does not say
                where that is.
        """
        if description["start_from"] and not where.get("start_from"):
            raise checks.fail(
                "start_from",
                f"be the path of the run {description['start_from'][:8]}, from which this "
                "run starts",
                where.get("start_from"),
            )
        method: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in description["method"].items()
        }
        settings: Any = METHODS[method.pop("name")].settings
        apart = ("dataset", "method", "network", "start_from", *DATA_FIELDS)
        plain = {
            field.name: description[field.name]
            for field in dataclasses.fields(cls)
            if field.name not in apart
        }
        plain |= {"dataset": description["dataset"]["name"], **where}
        network = NetworkSettings(**description["network"])
        return cls(method=settings(**method), network=network, **plain)

    def load(self) -> Dataset:
        """Return the data set."""
        if isinstance(self.dataset, Dataset):
            return self.dataset
        return load_dataset(self.dataset, **self.data_options())

    def data_options(self) -> dict[str, Any]:
        """Return the arguments of ``load_dataset`` for data that are given by name."""
        options = {name: getattr(self, name) for name in DATA_FIELDS}
        if self.whitening is None and isinstance(self.dataset, str):
            options |= self._published_whitening(self.dataset)
        return options

    def _published_whitening(self, dataset: str) -> dict[str, Any]:
        method = method_of(self.method).name
        name = dataset.lower().replace("-", "").partition("@")[0]
        return presets.published_whitening(method, name, self.images_per_class)

    def resolve(
        self, *, reuse_data_from: ResolvedExperiment | None = None
    ) -> ResolvedExperiment:
        """Return the experiment with its data and every default filled in.

        With ``reuse_data_from``, which has the same data and the same validation split,
        nothing is loaded or copied again. Data that do not allow the experiment, such as
        a class of fewer than ``images_per_class`` images, and a run that it cannot start
        from raise ``InvalidValueError``.
        """
        source = None
        if self.start_from is not None:
            path = str(self.start_from)
            source = open_source(path, self.start_step, steps=self.steps)
        dataset = self.load() if reuse_data_from is None else reuse_data_from.dataset
        method: Any = self.method
        wanted = self._published_whitening(dataset.name).get("whitening")
        given = dataset.preprocessing.whitening
        if self.whitening is None and wanted not in (None, given):
            warnings.warn(
                f"{method_of(method).name} is published on {dataset.name!r} with "
                f"whitening={wanted!r}, and the data have {given!r}.",
                UserWarning,
                stacklevel=2,
            )
        every = self.validation_every
        if every is None:
            every = -(-self.steps // 5)
            if self.selection == "released":
                every = min(every, 10_000)
        settings = dataclasses.replace(
            self,
            dataset=dataset,
            **dict.fromkeys(DATA_FIELDS),
            method=method.resolve(
                dataset=dataset.name,
                images_per_class=self.images_per_class,
                num_classes=dataset.num_classes,
            ),
            network=(self.network or NetworkSettings()).resolve(dataset.image_shape),
            validation_every=every,
            validation_networks=self.validation_networks
            or (5 if self.selection == "released" else 2),
            validation_steps=self.validation_steps
            or _selection_steps(dataset.name, self.images_per_class),
            log_every=self.log_every or min(max(self.steps // 100, 1), 100),
            start_step=source and source.step,
        )
        resolved = ResolvedExperiment(settings, dataset, reuse_data_from, source)
        if source is not None:
            source.check_fits(resolved.description)
        check_images_per_class(
            self.images_per_class,
            resolved.train.train.labels,
            dataset.class_names,
            fix=""
            if resolved.train is dataset
            else "Some images are held out: lower validation_fraction, or use "
            "selection='last'.",
        )
        resolved._warn_of_clipped_batch()
        return resolved


class ResolvedExperiment:
    """An experiment together with its data, ready to run.

    Attributes:
        settings: The experiment; no setting is left to a default.
        method: Settings of the method.
        network: Network of the distillation.
        dataset: All of the data.
        train: What is distilled: the training images without those held out.
        validation: (inputs, labels) that select the step, or None.
        source: Run to start from, or None.
    """

    def __init__(
        self,
        settings: Experiment,
        dataset: Dataset,
        reuse_data_from: ResolvedExperiment | None = None,
        source: SourceRun | None = None,
    ) -> None:
        self.settings, self.source = settings, source
        self.method: Any = settings.method
        self.network = settings.network or NetworkSettings()
        self.dataset = dataset
        self.train = dataset
        self.validation: tuple[Any, Any] | None = None
        if reuse_data_from is not None:
            self.train = reuse_data_from.train
            self.validation = reuse_data_from.validation
        elif settings.selection == "validation":
            self.train, held_out = dataset.holdout(settings.validation_fraction)
            inputs = dataset.preprocessing.apply(held_out.images)
            self.validation = (inputs, held_out.labels)
        elif settings.selection == "released":
            self.validation = (dataset.inputs("test"), dataset.test.labels)

    def build_network(self) -> Network:
        """Return the network of the distillation."""
        return build(
            self.network,
            image_shape=self.dataset.image_shape,
            num_classes=self.dataset.num_classes,
        )

    @property
    def first_step(self) -> int:
        """Number of steps that its first state has taken: 0, or those of the source."""
        return 0 if self.source is None else self.source.step

    @property
    def sampling(self) -> str:
        """How the real images of a step are drawn, which the method decides."""
        return method_of(self.method).sampling

    @property
    def batch_size(self) -> int:
        """Number of real images per step in total, at most as many as there are."""
        wanted = self.settings.batch_size or 0
        if self.sampling == "per_class":
            smallest = int(np.bincount(self.train.train.labels).min())
            return min(wanted, smallest) * self.train.num_classes
        return min(wanted, len(self.train.train.labels))

    def _warn_of_clipped_batch(self) -> None:
        """Warn where classes are smaller than the batch that the user chose."""
        wanted, used = self.settings.batch_size, self.batch_size
        published = method_of(self.method).batch_size
        if self.sampling != "per_class" or wanted is None or wanted == published:
            return
        each = used // self.train.num_classes
        if each < wanted:
            warnings.warn(
                f"batch_size {wanted} is the number of real images of each class, and the "
                f"smallest class has {each}: a step takes {used} in all.",
                UserWarning,
                stacklevel=3,
            )

    @property
    def evaluation(self) -> EvaluationSettings:
        """Settings of the validations: constant learning rate, shuffled, augmented.

        Source: docs/algorithms.md, section 4.1, "In-training evaluation"; for the
        matching methods section 7.4.
        """
        settings, network = self.settings, self.network
        count = settings.images_per_class * self.dataset.num_classes
        is_dsa = method_of(self.method).protocol == "dsa"
        if is_dsa:
            fit = dsa_fit(count, steps=settings.validation_steps)
        else:
            evaluator = NETWORKS[network.name].evaluation_network or network.name
            network = dataclasses.replace(network, name=evaluator, norm="none")
            fit = FitSettings(
                steps=settings.validation_steps or 1,
                batch_size=presets.evaluation_batch_size(count),
                warmup_steps=0,
                final_learning_rate=1.0,
            )
        return EvaluationSettings(
            network=network,
            networks=settings.validation_networks or 2,
            seed=settings.seed,
            protocol="dsa" if is_dsa else "isa",
            fit=fit,
        ).resolve(
            image_shape=self.dataset.image_shape,
            num_distilled=count,
            dataset=self.dataset.name,
        )

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """Every choice as plain JSON: what ``experiment.json`` holds and the hash covers."""
        settings = self.settings
        plain = {
            field.name: getattr(settings, field.name)
            for field in dataclasses.fields(settings)
            if field.name not in ("dataset", "method", *DATA_FIELDS)
        }
        plain["start_from"] = self.source and self.source.hash
        plain["network"] = dataclasses.asdict(self.network)
        plain["method"] = {
            "name": self.method.name,
            **dataclasses.asdict(self.method),
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
        return hash_of(self.description)

    @property
    def name(self) -> str:
        """Name of the run folder."""
        settings = self.settings
        return (
            f"{self.dataset.name}-ipc{settings.images_per_class}-"
            f"{self.method.name}-{self.hash[:8]}"
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
    if images_per_class not in presets.published_rows("frepo").get(dataset, ()):
        return 1000
    return presets.preset("frepo", dataset, images_per_class)["selection_steps"]
