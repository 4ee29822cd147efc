"""A run on the disk: opened and read, never changed."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.distillation.checkpoints import stored_steps
from isa_toolkit.distillation.store import STATUS, RunStore, read_experiment
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.evaluation import Evaluation, evaluate
from isa_toolkit.files import read_json
from isa_toolkit.released_sets import loading_options

if TYPE_CHECKING:
    import pandas as pd


@typed
class Run:
    """One run folder; shown in a notebook as its status, its curves and its images.

    Args:
        path: Path of the run folder.
        dataset: Data set that the run was made from, for ``evaluate``.

    Raises:
        FileNotFoundError: There is no run.

    Example:
        >>> import tempfile
        >>> import isa_toolkit as isa
        >>> run = isa.distill(
        ...     isa.Experiment(
        ...         "digits",
        ...         method=isa.FRePo(pool_size=1),
        ...         network=isa.NetworkSettings(width=4, depth=1),
        ...         steps=2,
        ...         batch_size=32,
        ...         selection="last",
        ...     ),
        ...     out=tempfile.mkdtemp(),
        ...     progress=False,
        ... )
        >>> isa.Run.open(run.path).status["status"]
        'done'
        >>> run.metrics.columns[:3].tolist()
        ['age', 'kept', 'kind']
    """

    def __init__(self, path: str | Path, *, dataset: Dataset | None = None) -> None:
        self._store = RunStore(path)
        self._dataset = dataset
        if not (self.path / "experiment.json").is_file():
            raise FileNotFoundError(
                f"There is no run at {self.path} (no experiment.json)."
            )

    def __repr__(self) -> str:
        status = self.status
        text = f"Run({str(self.path)!r}, {status['status']}, step {status['step']}"
        text = f"{text} of {status['steps']})" if "steps" in status else f"{text})"
        return text if len(text) <= 300 else f"Run(...{text[-290:]}"

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(repr(self))}</p>"]
        if self._store.metrics():
            from isa_toolkit.figures import style, training_curves

            table = training_curves.compute({self.path.name: self})
            curves = style.png(training_curves.draw(table))
            source = f"data:image/png;base64,{base64.b64encode(curves).decode()}"
            parts.append(f'<img alt="Loss and accuracy" src="{source}">')
        if self.is_done:
            parts.append(self.distilled._repr_html_())
        return "".join(parts)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Return the run in a folder.

        Args:
            path: Path of the run folder.

        Raises:
            FileNotFoundError: There is no run.
        """
        return cls(path)

    @property
    def path(self) -> Path:
        """Path of the run folder."""
        return self._store.path

    @property
    def experiment(self) -> dict[str, Any]:
        """Every setting of the run, as stored.

        Raises:
            InvalidValueError: The file is damaged, or not what the run has written.
        """
        stored = read_experiment(self.path)
        if stored is None:
            raise InvalidValueError(
                f"{self.path / 'experiment.json'} is damaged or was edited. Run the same "
                "experiment again, which writes it anew, or restore it."
            )
        return stored

    @property
    def status(self) -> dict[str, Any]:
        """Status, step, steps, steps_per_s, elapsed_s and heartbeat.

        Without a file that can be read: status and step as the other files show them.
        """
        stored = read_json(self.path / "status.json", STATUS)
        if stored is not None:
            return stored
        step = max(self.checkpoints, default=0)
        status = "done" if self.is_done else "stopped" if step else "new"
        return {"status": status, "step": step}

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return int(self.status["step"])

    @property
    def is_done(self) -> bool:
        """Whether the result exists."""
        return (self.path / "distilled.safetensors").is_file()

    @property
    def metrics(self) -> pd.DataFrame:
        """Metrics: one row per ``kind`` (train, validation) and step.

        Accuracies are fractions; a train row holds means over the steps since the last.
        """
        import pandas as pd

        return pd.DataFrame(self._store.metrics())

    @property
    def snapshots(self) -> dict[int, Path]:
        """Paths of the distilled set at each validation, by step."""
        return self._store.snapshots()

    @property
    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints, in order: another run can start from each of them."""
        return stored_steps(self.path / "checkpoints")

    @property
    def distilled(self) -> DistilledSet:
        """The result.

        Raises:
            FileNotFoundError: The run is not done.
        """
        return DistilledSet.load(self.path / "distilled.safetensors")

    @typed
    def distilled_at(self, step: int) -> DistilledSet:
        """Return the distilled set at a validation.

        Args:
            step: One of the steps of ``snapshots``.

        Raises:
            InvalidValueError: Nothing was stored at that step.
        """
        snapshots = self.snapshots
        if step not in snapshots:
            raise checks.fail(
                "step", f"be one of {', '.join(map(str, snapshots))}", step
            )
        return DistilledSet.load(snapshots[step])

    def evaluate(self, dataset: Dataset | None = None, **settings: Any) -> Evaluation:
        """Return the test accuracy of networks trained on the result.

        Args:
            dataset: Data set whose test images to classify; None for the one that the
                run was made from.
            settings: Settings of the evaluation by name, such as ``networks=2``.

        Raises:
            FileNotFoundError: The run is not done.
            InvalidValueError: The data set of the run cannot be loaded by its name.
        """
        return evaluate(self.distilled, dataset or self._load_dataset(), **settings)

    def plot(self, *, ax: Any = None, size: Any = "page") -> Any:
        """Return a figure: loss, accuracies, and the images at each validation.

        Args:
            ax: Axes to draw into, two or, with images, three; then nothing is returned.
            size: Width, ``"column"``, ``"text"`` or ``"page"``, or (width, height) in
                inches.
        """
        from isa_toolkit.figures import training_curves

        return training_curves.plot_run(self, ax=ax, size=size)

    def _load_dataset(self) -> Dataset:
        if self._dataset is None:
            stored = self.experiment["dataset"]
            try:
                options = loading_options(stored["preprocessing"])
                dataset = load_dataset(stored["name"], **options)
            except (OSError, ValueError) as error:
                raise InvalidValueError(
                    f"dataset must be given, because {stored['name']!r} cannot be "
                    f"loaded by its name: {error}"
                ) from error
            if dataset.fingerprint != stored["fingerprint"]:
                raise checks.fail(
                    "dataset",
                    f"be the data that the run was made from ({stored['fingerprint'][:8]})",
                    dataset.fingerprint[:8],
                    "Load them in the same way and call run.evaluate(dataset).",
                )
            self._dataset = dataset
        return self._dataset
