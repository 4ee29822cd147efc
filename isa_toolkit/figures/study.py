# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (pandas types its columns and groups too loosely to check.)
"""A study: one data set at one scale, whose runs come from the run store.

Every figure and table asks a study for runs and accuracies. What exists (found by the
experiment's hash) is reused; what is missing is run, or left out where ``run_missing`` is
off. Evaluations are kept in the run folders, so that an interrupted reproduction goes on
where it stopped.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from isa_toolkit import checks, presets
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Experiment, Run, distill
from isa_toolkit.evaluation import Evaluation, EvaluationSettings
from isa_toolkit.evaluation.features import FeatureNetwork, feature_network
from isa_toolkit.figures import results_table
from isa_toolkit.figures.batch_runner import side_by_side
from isa_toolkit.figures.budgets import BUDGETS, Budget
from isa_toolkit.figures.evaluations import evaluated
from isa_toolkit.figures.together import distil_together
from isa_toolkit.figures.variants import Variant
from isa_toolkit.methods import method_of
from isa_toolkit.networks import NetworkSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BUDGETS", "Budget", "Study", "evaluated"]

T = TypeVar("T")
# Snapshots of the distilled set in a run, beside the first images.
_SNAPSHOTS = 5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """One data set at one scale.

    Attributes:
        dataset: the data.
        scale: key of ``BUDGETS``.
        folder: of the run folders.
        seeds: distilled sets per setting; None for the scale's.
        run_missing: distil what is not in the folder; else it is left out.
        workers: runs at a time; None for two on a CPU (compiling keeps one core busy,
            and little else does), one on an accelerator.
        together: distil what differs only in knobs as one program; None: on an
            accelerator. On a CPU two at a time take as long.
        progress: show progress bars; None: on a terminal or in a notebook.
        tell: called with (what, done, of how many) before the first item of each part of
            the work, and after each.

    Raises:
        ValueError: an unknown scale, a number below 1.
    """

    dataset: Dataset
    scale: str = "quick"
    folder: str | Path = "runs"
    seeds: int | None = None
    run_missing: bool = True
    workers: int | None = None
    together: bool | None = None
    progress: bool | None = None
    tell: Callable[[str, int, int], Any] | None = None
    _stop: threading.Event = dataclasses.field(
        default_factory=threading.Event, init=False, repr=False
    )
    _kept: dict[str, Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        checks.check_one_of("scale", self.scale, BUDGETS)
        if self.seeds is not None:
            checks.check_integer("seeds", self.seeds)
        if self.workers is not None:
            checks.check_integer("workers", self.workers)

    @property
    def budget(self) -> Budget:
        """What the scale spends."""
        return BUDGETS[self.scale]

    @property
    def seed_range(self) -> range:
        """The seeds of every setting."""
        return range(self.seeds or self.budget.seeds)

    @property
    def sizes(self) -> list[int]:
        """The images per class that are studied and that every class has."""
        least = int(np.bincount(self.dataset.train.labels).min())
        return [size for size in sorted(self.budget.steps) if size <= least]

    @property
    def many(self) -> int:
        """The images per class where distilled sets are large enough to map: 10."""
        return max([size for size in self.sizes if size <= 10], default=1)

    def watched(self, tell: Callable[[str, int, int], Any], **changes: Any) -> Study:
        """Return the study without progress bars, telling a function how far it is.

        Args:
            tell: called with (what, done, of how many).
            changes: other attributes to set, such as ``seeds``.

        Returns:
            A study of its own to stop, which shares trained networks and features.
        """
        made = dataclasses.replace(self, progress=False, tell=tell, **changes)
        object.__setattr__(made, "_kept", self._kept)
        return made

    def stop(self) -> None:
        """Stop what the study does in another thread, runs with a checkpoint.

        There, ``KeyboardInterrupt`` is raised; asked again, the study goes on.
        """
        self._stop.set()

    def experiment(
        self, variant: Variant, images_per_class: int, seed: int
    ) -> Experiment:
        """Return the experiment of one setting, size and seed.

        The last step is the result: nothing is held out, no step is chosen. FRePo takes
        the budget's steps and batch size, another method its share of the budget or its
        own scale in :mod:`isa_toolkit.presets`; each distils with the architecture it is
        published with.

        Args:
            variant: the setting.
            images_per_class: one of ``sizes``.
            seed: of the distilled set.
        """
        budget = self.budget
        method = variant.method(budget.learning_rate)
        entry = method_of(method)
        steps, batch_size = budget.steps[images_per_class], budget.batch_size
        if method.name in budget.methods:
            steps, batch_size, changes = budget.methods[method.name]
            method = dataclasses.replace(
                method, **{**dict(changes), **dict(variant.changes)}
            )
        elif method.name != "frepo":
            scale = presets.scale(self.scale, method.name)
            steps, batch_size = scale.steps, scale.batch_size
        return Experiment(
            dataset=self.dataset,
            method=method,
            images_per_class=images_per_class,
            network=NetworkSettings(name=entry.network, width=budget.width),
            steps=steps,
            batch_size=None if entry.sampling == "none" else batch_size,
            seed=seed,
            selection="last",
            validation_every=max(1, steps // _SNAPSHOTS),
        )

    def judge(self) -> EvaluationSettings:
        """Return how distilled sets are evaluated at this scale."""
        return EvaluationSettings(
            network=NetworkSettings(width=self.budget.width, norm="none"),
            networks=self.budget.networks,
            fit=self.budget.fit,
        )

    def runs(
        self, variants: Sequence[Variant], images_per_class: int
    ) -> dict[tuple[Variant, int], Run]:
        """Return the finished runs of settings, for every seed.

        Args:
            variants: the settings.
            images_per_class: one of ``sizes``.

        Returns:
            (variant, seed) -> run; without those that are missing, where
            ``run_missing`` is off.

        Raises:
            DivergedError: a run's numbers are not finite.
            RunLockedError: another process works on one of them.
            OSError: the folder cannot be written.
        """
        wanted = [(variant, seed) for seed in self.seed_range for variant in variants]

        def get(key: tuple[Variant, int]) -> Run | None:
            return self._run(self.experiment(key[0], images_per_class, key[1]))

        told = f"{self.dataset.name}, {images_per_class} per class: runs"
        if self.run_missing and self._is_together():
            distil_together(
                [self.experiment(one, images_per_class, seed) for one, seed in wanted],
                folder=Path(self.folder),
                stop=self._stop,
                tell=partial(self.tell, told) if self.tell else None,
            )
        found = self.map(get, wanted, told)
        return {
            key: run for key, run in zip(wanted, found, strict=True) if run is not None
        }

    def _run(self, experiment: Experiment) -> Run | None:
        path = Path(self.folder) / experiment.resolve().name
        if (path / "distilled.safetensors").is_file():
            return Run.open(path)
        if not self.run_missing:
            return None
        run = distill(
            experiment,
            out=self.folder,
            progress=False,
            callbacks=[lambda _: self._stop.is_set()],
        )
        if not run.is_done:
            raise KeyboardInterrupt(f"stopped at step {run.step} of {run.path}")
        return run

    def accuracies(
        self,
        variants: Sequence[Variant],
        images_per_class: int,
        *,
        every_snapshot: bool = False,
        places: Mapping[Variant, float] | None = None,
    ) -> pd.DataFrame:
        """Return the test accuracy of each setting and seed.

        Args:
            variants: the settings.
            images_per_class: one of ``sizes``.
            every_snapshot: at each stored step (``x``), not only the last.
            places: variant -> ``x``, for settings along an axis.

        Returns:
            Rows of :mod:`isa_toolkit.figures.results_table`, in percent: the mean over the
            evaluation networks, for each seed and predictor.
        """
        runs = self.runs(variants, images_per_class)
        jobs = [
            (variant, seed, run, step)
            for (variant, seed), run in runs.items()
            for step in (list(run.snapshots) if every_snapshot else [None])
        ]

        def measure(job: tuple[Variant, int, Run, int | None]) -> list[dict[str, Any]]:
            variant, seed, run, step = job
            result = evaluated(run, self.dataset, self.judge(), step=step)
            place = (places or {}).get(variant) if step is None else float(step)
            return [
                results_table.row(
                    dataset=self.dataset.name,
                    images_per_class=images_per_class,
                    setting=variant.key,
                    predictor=predictor,
                    quantity="accuracy_percent",
                    x=place,
                    seed=seed,
                    value=100 * float(np.mean(values)),
                    over=f"{len(values)} networks",
                )
                for predictor, values in (
                    ("network", result.network),
                    ("krr", result.ridge),
                )
            ]

        told = f"{self.dataset.name}, {images_per_class} per class: evaluations"
        rows = [one for part in self.map(measure, jobs, told) for one in part]
        return results_table.as_table(rows)

    def first_accuracies(self, variant: Variant, images_per_class: int) -> pd.DataFrame:
        """Return the test accuracy of the real images that each seed starts from.

        They are the same for all settings.

        Args:
            variant: any setting that is run.
            images_per_class: of the distilled sets.

        Returns:
            Rows of :mod:`isa_toolkit.figures.results_table` with the setting "random", in
            percent.
        """
        runs = self.runs([variant], images_per_class)

        def measure(item: tuple[tuple[Variant, int], Run]) -> tuple[int, Evaluation]:
            (_, seed), run = item
            return seed, evaluated(run, self.dataset, self.judge(), step=0)

        found = self.map(measure, runs.items(), "random real images")
        return results_table.as_table(
            results_table.row(
                dataset=self.dataset.name,
                images_per_class=images_per_class,
                setting="random",
                predictor=predictor,
                quantity="accuracy_percent",
                seed=seed,
                value=100 * float(np.mean(values)),
                over=f"{len(values)} networks",
            )
            for seed, result in found
            for predictor, values in (
                ("network", result.network),
                ("krr", result.ridge),
            )
        )

    def feature_network(self) -> FeatureNetwork:
        """Return the network whose features are measured in, trained on real images."""
        if "network" not in self._kept:
            self._kept["network"] = feature_network(self.dataset, self.budget.features)
        return self._kept["network"]

    def real_features(self, split: str = "train") -> np.ndarray:
        """Return the features of the real images, [n, d].

        Args:
            split: ``"train"`` or ``"test"``.
        """
        if split not in self._kept:
            inputs = self.dataset.inputs(split)
            self._kept[split] = self.feature_network().features(inputs)
        return self._kept[split]

    def map(
        self, function: Callable[[Any], T], items: Iterable[Any], told: str
    ) -> list[T]:
        """Return ``function`` of each item, a few at a time, under a progress bar.

        The first failure, or Ctrl-C, stops the runs in progress with a checkpoint.

        Args:
            function: of one item.
            items: any number.
            told: what the bar says.

        Returns:
            Results in the order of the items.
        """
        return side_by_side(
            function,
            items,
            told,
            workers=self._count(),
            progress=self.progress,
            tell=self.tell,
            stop=self._stop,
        )

    def _is_together(self) -> bool:
        import jax

        on_cpu = jax.default_backend() == "cpu"
        return not on_cpu if self.together is None else self.together

    def _count(self) -> int:
        if self.workers is not None:
            return self.workers
        import jax

        return 2 if jax.default_backend() == "cpu" and (os.cpu_count() or 1) > 1 else 1
