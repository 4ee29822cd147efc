"""A study: one data set at one scale, whose runs are stored in a folder.

Every figure and table asks a study for runs and accuracies. Runs that exist (found by the
hash of their experiment) are reused; missing ones are distilled, or left out where
``run_missing`` is False. Evaluations are stored in the run folders, so an interrupted
reproduction continues where it stopped.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from isa_toolkit import checks, presets
from isa_toolkit.annotations import typed
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.distillation import Experiment, Progress, Run, distill, distill_grid
from isa_toolkit.distillation.param_grid import group_by_program
from isa_toolkit.errors import CancelledError, InvalidTypeError, RunLockedError
from isa_toolkit.evaluation import Evaluation, EvaluationSettings, evaluate
from isa_toolkit.evaluation.baselines import full_data, kmeans_real
from isa_toolkit.evaluation.features import (
    FeatureNetwork,
    FeatureSettings,
    feature_network,
)
from isa_toolkit.figures import results_table
from isa_toolkit.figures.variants import Variant
from isa_toolkit.files import NUMBER, read_json, write_json
from isa_toolkit.methods import method_of
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

T = TypeVar("T")
# Number of snapshots of the distilled set in a run, besides the initial images.
_SNAPSHOTS = 5
# Seconds between looks at a run that another process makes.
_LOCK_POLL_S = 0.5
# Training on all real images needs neither soft steps nor many epochs.
_FULL_FIT = FitSettings(steps=1200, batch_size=64, learning_rate=3e-3, warmup_steps=50)


class Budget(NamedTuple):
    """What a scale spends on one data set with FRePo; other methods take ``presets.scale``.

    scale: Name of the scale that it belongs to.
    steps: Images per class -> number of outer steps. Its keys are the studied sizes.
    width: Number of channels of the first layer, of all networks.
    batch_size: Number of real images per step; of each class where a method draws by
        class.
    learning_rate: Learning rate of the distilled images and labels.
    seeds: Number of distilled sets per setting.
    networks: Number of evaluation networks per distilled set.
    fit: Training of the evaluation networks; None for the published one.
    features: Settings of the network in whose features sets are compared.
    map_points: Largest number of real images per class in a map.
    reduction: Reduction over classes of FRePo with crucial samples or ISA: ``"half_sum"``,
        as plain FRePo, or ``"released"``, that of the released ISA code.
    """

    scale: Literal["quick", "small", "paper"]
    steps: Mapping[int, int]
    width: int
    batch_size: int
    learning_rate: float
    seeds: int
    networks: int
    fit: FitSettings | None
    features: FeatureSettings
    map_points: int
    reduction: Literal["half_sum", "released"] = "half_sum"


def _budget(scale: Any) -> Budget:
    numbers = presets.study_budget(scale)
    features, fit = numbers["features"], numbers["fit"]
    numbers["features"] = FeatureSettings(
        network=NetworkSettings(width=features["width"], norm="none"),
        steps=features["steps"],
    )
    numbers["fit"] = None if fit is None else FitSettings(**fit)
    return Budget(scale=scale, **numbers)


BUDGETS: dict[str, Budget] = {name: _budget(name) for name in presets.table("scales")}


@typed
class Study:
    """One data set at one scale: experiments, runs, evaluations and feature networks.

    Args:
        dataset: Data set, or name of one to load, such as ``"digits"``.
        scale: Name of the scale, which sets steps, widths, seeds and networks; or a
            budget, such as ``BUDGETS["quick"]._replace(networks=5)``.
        folder: Path of the folder with the run folders.
        seeds: Number of distilled sets per setting; None for the scale's.
        run_missing: Whether to distil runs that are not in the folder; otherwise figures
            leave them out.
        workers: Number of runs at a time; None for two on a CPU (one compiles while the
            other runs) and one on an accelerator.
        progress: Whether to show progress bars; None shows them on terminals and in
            notebooks.

    Raises:
        TypeError: If ``dataset`` is neither a data set nor a name.
        ValueError: If the name or the scale is unknown, or a number is below 1.

    Example:
        >>> import isa_toolkit as isa
        >>> study = isa.Study("digits", scale="quick", seeds=3)
        >>> study
        Study('digits', scale='quick', seeds=3, folder='runs')
    """

    def __init__(
        self,
        dataset: Dataset | str,
        *,
        scale: Literal["quick", "small", "paper"] | Budget = "quick",
        folder: str | Path = "runs",
        seeds: int | None = None,
        run_missing: bool = True,
        workers: int | None = None,
        progress: bool | None = None,
    ) -> None:
        is_named = not isinstance(scale, Budget)
        if not isinstance(scale, Budget):
            scale = BUDGETS[checks.match_name("scale", scale, BUDGETS)]
        self.budget = scale
        self.folder = Path(folder)
        self.seed_range = _seed_range(self.budget.seeds if seeds is None else seeds)
        self.run_missing = run_missing
        if workers is not None:
            checks.check_integer("workers", workers)
        self.workers = workers
        self.progress = progress
        self.on_progress: Callable[[str, int, int], Any] | None = None
        self._cancel = threading.Event()
        self._cache: dict[str, Any] = {}
        if isinstance(dataset, str):
            dataset = load_dataset(dataset)
        self.dataset = dataset
        if is_named and self.budget.scale == "paper":
            steps = presets.study_budget("paper", dataset.name)["steps"]
            self.budget = self.budget._replace(steps=steps)

    def __repr__(self) -> str:
        return (
            f"Study({self.dataset.name[:80]!r}, scale={self.budget.scale!r}, "
            f"seeds={len(self.seed_range)}, folder={str(self.folder)[-100:]!r})"
        )

    @property
    def sizes(self) -> list[int]:
        """Numbers of images per class that the scale studies and every class has."""
        least = int(np.bincount(self.dataset.train.labels).min())
        return [size for size in sorted(self.budget.steps) if size <= least]

    @property
    def default_size(self) -> int:
        """Number of images per class of maps and recall: the largest size up to 10."""
        return max([size for size in self.sizes if size <= 10], default=1)

    def size(self, images_per_class: int | None) -> int:
        """Return a number of images per class, ``default_size`` for None."""
        return self.default_size if images_per_class is None else images_per_class

    def with_progress(
        self, on_progress: Callable[[str, int, int], Any], *, seeds: int | None = None
    ) -> Study:
        """Return the same study that reports to a function instead of progress bars.

        The function is called with (description, number done, number in total) before the
        first item of each part of the work and after each item. The study is cancelled on
        its own and shares trained networks and features. ``seeds`` is the number of
        distilled sets per setting; None for this study's.
        """
        made = copy.copy(self)
        made.progress, made.on_progress = False, on_progress
        made._cancel = threading.Event()
        if seeds is not None:
            made.seed_range = _seed_range(seeds)
        return made

    def cancel(self) -> None:
        """Cancel what the study computes in another thread; runs write a checkpoint.

        The other thread raises ``CancelledError``. A later call continues the work.
        """
        self._cancel.set()

    def experiment(
        self, variant: Variant, images_per_class: int, seed: int
    ) -> Experiment:
        """Return the experiment of one setting, size and seed.

        The last step is the result: no images are withheld and no step is chosen. Each
        method distils with the architecture it is published with.
        """
        budget = self.budget
        method = variant.method(budget.learning_rate)
        entry = method_of(method)
        steps, batch_size = budget.steps[images_per_class], budget.batch_size
        width = budget.width
        if method.name != "frepo":
            scale = presets.scale(
                budget.scale, method.name, self.dataset.name, images_per_class
            )
            steps, batch_size = scale.steps, scale.batch_size
            # RFAD's at scale "paper" is its own; all others have the budget's.
            if scale.width != presets.scale(budget.scale).width:
                width = scale.width
            if variant.own is None:
                changes = {**scale.settings, **dict(variant.changes)}
                method = dataclasses.replace(method, **changes)
        elif variant.own is None and variant.key != "frepo":
            changes = {"reduction": budget.reduction, **dict(variant.changes)}
            method = dataclasses.replace(method, **changes)
        return Experiment(
            dataset=self.dataset,
            method=method,
            images_per_class=images_per_class,
            network=NetworkSettings(name=entry.network, width=width),
            steps=steps,
            batch_size=None if entry.sampling == "none" else batch_size,
            seed=seed,
            selection="last",
            validation_every=max(1, steps // _SNAPSHOTS),
        )

    def evaluation_settings(self, method: str = "frepo") -> EvaluationSettings:
        """Return how distilled sets of a method are evaluated at this scale.

        All alike, except that at scale ``"paper"`` each other method than FRePo has the
        protocol that it is published with.
        """
        if self.budget.scale == "paper" and method != "frepo":
            networks = self.budget.networks
            return EvaluationSettings(protocol="published", networks=networks)
        return EvaluationSettings(
            network=NetworkSettings(width=self.budget.width, norm="none"),
            networks=self.budget.networks,
            fit=self.budget.fit,
        )

    def runs(
        self, variants: Sequence[Variant], images_per_class: int
    ) -> dict[tuple[Variant, int], Run]:
        """Return (variant, seed) -> finished run, for every seed.

        Missing runs are left out where ``run_missing`` is False; one that another process
        makes is waited for on a CPU. ``images_per_class`` is one of ``sizes``.

        Raises:
            CancelledError: If the study was cancelled.
            DivergedError: If the numbers of a run are not finite.
            RunLockedError: If, on an accelerator, another process works on one of them.
            OSError: If the folder cannot be written.
        """
        keys = [(variant, seed) for seed in self.seed_range for variant in variants]
        experiments = [
            self.experiment(one, images_per_class, seed) for one, seed in keys
        ]
        found = self.finish(
            experiments, f"{self.dataset.name}, {images_per_class} per class: runs"
        )
        return {
            key: run for key, run in zip(keys, found, strict=True) if run is not None
        }

    def finish(
        self,
        experiments: Sequence[Experiment],
        description: str,
        *,
        keep_checkpoints: int | None = 3,
    ) -> list[Run | None]:
        """Return the finished run of each experiment; None where it is left out.

        ``description`` labels the progress bar; the last ``keep_checkpoints`` checkpoints of
        each run are kept, all for None. Errors are those of :meth:`runs`.
        """
        if self.run_missing and not _is_on_cpu():
            self._distill_together(experiments, description, keep_checkpoints)
        run = functools.partial(self._run, keep_checkpoints=keep_checkpoints)
        return self.map(run, experiments, description)

    def _path(self, experiment: Experiment) -> Path:
        return self.folder / experiment.resolve().name

    def _distill_together(
        self,
        experiments: Sequence[Experiment],
        description: str,
        keep_checkpoints: int | None,
    ) -> None:
        """Distil what is missing; runs that differ only in traced values share a program.

        Each cancelled run has a checkpoint; if some diverge, the others are done.
        """
        paths = {self._path(one): one for one in experiments}
        ended = {path for path in paths if _is_done(path)}
        missing = [one for path, one in paths.items() if path not in ended]

        def after_chunk(chunk: Progress) -> bool:
            if chunk.step == chunk.steps:
                ended.add(chunk.path)
                self._report(description, len(ended), len(paths))
            return self._cancel.is_set()

        self._report(description, len(ended), len(paths))
        try:
            for group in group_by_program(missing):
                for run in distill_grid(
                    group,
                    out=self.folder,
                    progress=False,
                    callbacks=[after_chunk],
                    keep_checkpoints=keep_checkpoints,
                ):
                    _check_done(run)
        finally:
            self._cancel.clear()

    def _run(
        self, experiment: Experiment, *, keep_checkpoints: int | None
    ) -> Run | None:
        path = self._path(experiment)
        if _is_done(path):
            return Run.open(path)
        if not self.run_missing:
            return None
        while True:
            try:
                run = distill(
                    experiment,
                    out=self.folder,
                    progress=False,
                    keep_checkpoints=keep_checkpoints,
                    callbacks=[lambda _: self._cancel.is_set()],
                )
            except RunLockedError as holder:  # another notebook needs the same run
                if self._cancel.wait(_LOCK_POLL_S):
                    raise CancelledError(
                        f"Cancelled before {path} was done."
                    ) from holder
                continue
            return _check_done(run)

    def accuracies(
        self,
        variants: Sequence[Variant],
        images_per_class: int,
        *,
        every_snapshot: bool = False,
        x: Mapping[Variant, float] | None = None,
    ) -> pd.DataFrame:
        """Return the test accuracy of each setting, seed and predictor, in percent.

        Args:
            variants: Settings to distil.
            images_per_class: Number of distilled images of each class, one of ``sizes``.
            every_snapshot: Whether to evaluate each stored step (column ``x``) instead of
                the last one.
            x: Variant -> position on an axis.

        Returns:
            Rows of ``results_table``: means over the evaluation networks.
        """
        positions = x or {}
        jobs = []
        for (variant, seed), run in self.runs(variants, images_per_class).items():
            for step in list(run.snapshots) if every_snapshot else [None]:
                at = positions.get(variant) if step is None else step
                jobs.append(
                    ({"setting": variant.key, "seed": seed, "x": at}, run, step)
                )
        return self.run_accuracies(jobs, images_per_class)

    def initial_accuracies(
        self, variant: Variant, images_per_class: int
    ) -> pd.DataFrame:
        """Return the test accuracy of the random real images that each seed starts from.

        Rows are those of :meth:`accuracies`, with the setting "random". All variants start
        from the same images.
        """
        runs = self.runs([variant], images_per_class)
        jobs = [
            ({"setting": "random", "seed": seed}, run, 0)
            for (_, seed), run in runs.items()
        ]
        return self.run_accuracies(jobs, images_per_class)

    def run_accuracies(
        self,
        jobs: list[tuple[dict[str, Any], Run, int | None]],
        images_per_class: int,
    ) -> pd.DataFrame:
        """Return the test accuracy of runs at a stored step, None for their results.

        ``jobs`` are (columns of the rows, run, step); rows are those of
        :meth:`accuracies`.
        """

        def evaluated(job: tuple[dict[str, Any], Run, int | None]) -> Evaluation:
            _, run, step = job
            settings = self.evaluation_settings(run.experiment["method"]["name"])
            return evaluate_run(run, self.dataset, settings, step=step)

        name = f"{self.dataset.name}, {images_per_class} per class: evaluations"
        cells = [cell for cell, _, _ in jobs]
        return results_table.accuracies(
            zip(cells, self.map(evaluated, jobs, name), strict=True),
            dataset=self.dataset.name,
            images_per_class=images_per_class,
        )

    def measure(
        self,
        function: Callable[[Any], Mapping[str, float]],
        jobs: Iterable[tuple[Mapping[str, Any], Any]],
        description: str,
        **shared: Any,
    ) -> pd.DataFrame:
        """Return rows of ``results_table`` of what ``function`` measures of each item.

        ``jobs`` are (columns of the rows, item); ``function`` returns quantity -> value,
        and ``shared`` are columns of all rows.
        """
        jobs = list(jobs)
        found = self.map(function, [item for _, item in jobs], description)
        cells = zip((columns for columns, _ in jobs), found, strict=True)
        return results_table.measured(cells, dataset=self.dataset.name, **shared)

    def baseline_accuracies(self, images_per_class: int) -> pd.DataFrame:
        """Return the test accuracy of chosen real images and of all training images.

        Rows are those of :meth:`accuracies`, without seed or interval: "kmeans", the
        images nearest to the k-means centres of each class, and "full".
        """
        settings = self.evaluation_settings()
        if "full" not in self._cache:
            fit = None if self.budget.fit is None else _FULL_FIT
            self._cache["full"] = full_data(self.dataset, settings, fit=fit)
        kmeans = f"kmeans {images_per_class}"
        if kmeans not in self._cache:
            chosen = kmeans_real(self.dataset, images_per_class)
            self._cache[kmeans] = evaluate(chosen, self.dataset, settings)
        return results_table.accuracies(
            [
                ({"setting": "kmeans"}, self._cache[kmeans]),
                ({"setting": "full"}, self._cache["full"]),
            ],
            dataset=self.dataset.name,
            images_per_class=images_per_class,
        )

    def feature_network(self) -> FeatureNetwork:
        """Return the network, trained on real images, in whose features sets compare."""
        if "network" not in self._cache:
            self._cache["network"] = feature_network(self.dataset, self.budget.features)
        return self._cache["network"]

    def real_features(self) -> np.ndarray:
        """Return the features of the real training images, [n, d]."""
        if "features" not in self._cache:
            inputs = self.dataset.inputs("train")
            self._cache["features"] = self.feature_network().features(inputs)
        return self._cache["features"]

    def points(
        self, images: np.ndarray, space: Literal["features", "pixels"]
    ) -> np.ndarray:
        """Return network inputs as points [n, d]: their features, or flattened."""
        if space == "pixels":
            return images.reshape(len(images), -1)
        return self.feature_network().features(images)

    def map(
        self, function: Callable[[Any], T], items: Iterable[Any], description: str
    ) -> list[T]:
        """Return ``function`` of each item, a few at a time, under a progress bar.

        The first failure, or Ctrl-C, stops the runs in progress with a checkpoint, and
        ``cancel`` the items that have not started with a ``CancelledError``.
        """
        import tqdm.auto

        items = list(items)
        workers = self.workers
        if workers is None:
            workers = 2 if _is_on_cpu() and (os.cpu_count() or 1) > 1 else 1

        def call(item: Any) -> T:
            if self._cancel.is_set():
                raise CancelledError(f"Cancelled before the end of {description}.")
            return function(item)

        self._report(description, 0, len(items))
        disable = None if self.progress is None else not self.progress
        with (
            tqdm.auto.tqdm(
                total=len(items), desc=description, disable=disable, leave=False
            ) as bar,
            ThreadPoolExecutor(workers) as pool,
        ):
            futures = [pool.submit(call, item) for item in items]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    bar.update()
                    self._report(description, done, len(items))
            except BaseException:
                self._cancel.set()
                pool.shutdown(wait=True, cancel_futures=True)
                self._cancel.clear()
                raise
        return [future.result() for future in futures]

    def _report(self, description: str, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(description, done, total)


def check_study(study: Any) -> Study:
    """Return a study, or say that something else, such as a data set, is none."""
    if not isinstance(study, Study):
        raise InvalidTypeError(
            f"study must be a Study, got {type(study).__name__}. Make one with "
            "isa.Study(dataset)."
        )
    return study


def evaluate_run(
    run: Run,
    dataset: Dataset,
    settings: EvaluationSettings,
    *,
    step: int | None = None,
) -> Evaluation:
    """Return the evaluation of a run's result, or of a stored step.

    It is stored in the run folder and read back when settings and data are the same.
    """
    distilled = run.distilled if step is None else run.distilled_at(step)
    resolved = settings.resolve_for(distilled, dataset)
    if step is None:  # a snapshot has the same images
        step = distilled.manifest["selection"]["step"]
    path = evaluation_path(run, f"{step:08d}", resolved, dataset)
    stored = read_json(path, {"network": [NUMBER], "ridge": [NUMBER]})
    if stored is not None:
        return Evaluation(
            np.array(stored["network"]), np.array(stored["ridge"]), resolved
        )
    result = evaluate(distilled, dataset, settings)
    write_json(path, result.to_dict())
    return result


def evaluation_path(
    run: Run, name: str, resolved: EvaluationSettings, dataset: Dataset
) -> Path:
    """Return the path under which a run stores what is measured so on these data."""
    identity = json.dumps(
        {"settings": dataclasses.asdict(resolved), "data": dataset.fingerprint},
        sort_keys=True,
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return run.path / "evaluations" / f"{name}-{digest}.json"


def _is_done(path: Path) -> bool:
    return (path / "distilled.safetensors").is_file()


def _check_done(run: Run) -> Run:
    if not run.is_done:
        raise CancelledError(f"Cancelled at step {run.step} of {run.path}.")
    return run


def _seed_range(seeds: int) -> range:
    return range(checks.check_integer("seeds", seeds))


def _is_on_cpu() -> bool:
    import jax

    return jax.default_backend() == "cpu"
