"""A run as it lies on the disk: opened, read, never changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit import checks
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.distilled import DistilledSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run"]


class Run:
    """One run folder.

    Args:
        path: of the run folder.

    Raises:
        FileNotFoundError: there is no run there.
    """

    def __init__(self, path: str | Path) -> None:
        self._store = RunStore(path)
        if not (self.path / "experiment.json").is_file():
            raise FileNotFoundError(
                f"There is no run at {self.path} (no experiment.json)."
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status['status']}, step {self.step})"

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Return the run in a folder.

        Args:
            path: of the run folder.

        Raises:
            FileNotFoundError: there is no run there.
        """
        return cls(path)

    @property
    def path(self) -> Path:
        """Return the run folder."""
        return self._store.path

    @property
    def experiment(self) -> dict[str, Any]:
        """Return every choice of the run, as stored."""
        return self._store.read_json("experiment.json") or {}

    @property
    def status(self) -> dict[str, Any]:
        """Return status, step, steps, steps_per_s, elapsed_s and heartbeat."""
        fresh = {"status": "new", "step": 0}
        return self._store.read_json("status.json") or fresh

    @property
    def step(self) -> int:
        """Return the steps taken."""
        return int(self.status["step"])

    @property
    def is_done(self) -> bool:
        """Whether the result is there."""
        return (self.path / "distilled.safetensors").is_file()

    @property
    def metrics(self) -> pd.DataFrame:
        """Return the metrics: one row per ``kind`` (train, validation) and step.

        Accuracies are fractions; a train row holds means over the steps since the last.
        """
        import pandas as pd

        return pd.DataFrame(self._store.metrics())

    @property
    def snapshots(self) -> dict[int, Path]:
        """Return the files of the distilled set at each validation, by step."""
        return self._store.snapshots()

    @property
    def distilled(self) -> DistilledSet:
        """Return the result.

        Raises:
            FileNotFoundError: the run is not done.
        """
        return DistilledSet.load(self.path / "distilled.safetensors")

    def distilled_at(self, step: int) -> DistilledSet:
        """Return the distilled set as it was at a validation.

        Args:
            step: one of ``snapshots``.

        Raises:
            ValueError: nothing was stored at that step.
        """
        snapshots = self.snapshots
        if step not in snapshots:
            raise checks.fail(
                "step", f"be one of {', '.join(map(str, snapshots))}", step
            )
        return DistilledSet.load(snapshots[step])
