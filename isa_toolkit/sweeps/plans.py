"""A plan as a value: its runs, their groups, and the table that is shown of them."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit.sweeps.states import FINAL
from isa_toolkit.sweeps.words import span

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Plan", "PlannedRun"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        name: of its folder.
        hash: of its experiment.
        group: name of the group it is run in.
        description: every choice, as ``experiment.json`` holds it.
        where: ``dataset``, ``source``, ``root``, ``limit``: where its data lie.
        differs: in which settings it differs from others of the plan, in words.
        state: new, resumable, running, done or diverged, when it was planned.
        step: steps that are there already.
        seconds: (smaller, larger) guess of what is left; None if it cannot be told.
        basis: where the guess is from.
    """

    name: str
    hash: str
    group: str
    description: dict[str, Any]
    where: dict[str, Any]
    differs: str
    state: str = "new"
    step: int = 0
    seconds: tuple[float, float] | None = None
    basis: str = ""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return int(self.description["steps"])

    @property
    def steps_left(self) -> int:
        """Steps that must be taken."""
        return 0 if self.state in FINAL else self.steps - self.step


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """A sweep that can be launched; shows itself as a table in a notebook.

    Attributes:
        name: of the sweep; its folder is ``<out>/sweeps/<name>``.
        out: folder of run folders.
        runs: each once, in the order of the experiments.
        memory_bytes: estimate for each group as one program; groups that exceed what the
            device has free run in parts. What cannot be told is missing.
        device: on which the guesses hold.
    """

    name: str
    out: Path
    runs: tuple[PlannedRun, ...]
    memory_bytes: dict[str, int]
    device: str

    def __repr__(self) -> str:
        return f"Plan({self.name!r}, runs={len(self.runs)}, groups={len(self.groups)})"

    @property
    def path(self) -> Path:
        """Return the folder of the sweep."""
        return self.out / "sweeps" / self.name

    @property
    def groups(self) -> dict[str, list[PlannedRun]]:
        """Return the runs of each group, by its name."""
        found: dict[str, list[PlannedRun]] = {}
        for run in self.runs:
            found.setdefault(run.group, []).append(run)
        return found

    @property
    def seconds(self) -> tuple[float, float] | None:
        """Return the (smaller, larger) guess for all, one after the other, or None."""
        found = [run.seconds for run in self.runs]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        return sum(one[0] for one in known), sum(one[1] for one in known)

    def table(self) -> pd.DataFrame:
        """Return one row per run.

        Columns: run, group, state, dataset, ipc, method, differs, seed, steps, steps_left,
        seconds_low and seconds_high (NaN if it cannot be told), basis, memory_mib (of the
        whole group; NaN if it cannot be told).
        """
        import pandas as pd

        nothing = (float("nan"), float("nan"))
        return pd.DataFrame(
            {
                "run": run.name,
                "group": run.group,
                "state": f"resumable at {run.step}"
                if run.state == "resumable"
                else run.state,
                "dataset": run.where["dataset"],
                "ipc": run.description["images_per_class"],
                "method": run.description["method"]["name"],
                "differs": run.differs,
                "seed": run.description["seed"],
                "steps": run.steps,
                "steps_left": run.steps_left,
                "seconds_low": (run.seconds or nothing)[0],
                "seconds_high": (run.seconds or nothing)[1],
                "basis": run.basis,
                "memory_mib": self.memory_bytes.get(run.group, nothing[0]) / 2**20,
            }
            for run in self.runs
        )

    @property
    def summary(self) -> str:
        """Return the plan in a sentence or two: how many runs, how long, how it is known."""
        count = len(self.runs)
        done = sum(run.state == "done" for run in self.runs)
        lost = sum(run.state == "diverged" for run in self.runs)
        told = f"{count} run{'s' * (count != 1)} in {len(self.groups)} "
        told += f"group{'s' * (len(self.groups) != 1)}: {done} done, "
        told += f"{lost} diverged, " if lost else ""
        told += f"{count - done - lost} to run."
        if done + lost == count:
            return told
        if self.seconds is None:
            return f"{told} How long cannot be told before the first has run."
        basis = " and ".join(
            dict.fromkeys(
                run.basis.split(":")[0] for run in self.runs if run.state not in FINAL
            )
        )
        return (
            f"{told} An estimate for one after the other on this {self.device.upper()}, "
            f"without loading and validations: {span(self.seconds)} ({basis})."
        )

    def text(self) -> str:
        """Return the table for a terminal, with the summary below."""
        table = self.table()
        table["time"] = [span(run.seconds) for run in self.runs]
        table["MiB"] = table.pop("memory_mib").map("{:.0f}".format)
        if all(len(runs) == 1 for runs in self.groups.values()):
            del table["group"]
        shown = table.drop(columns=["seconds_low", "seconds_high", "basis"])
        return f"{shown.to_string(index=False)}\n\n{self.summary}"

    def _repr_html_(self) -> str:
        table = self.table().drop(columns=["group", "basis"])
        markup = table.to_html(index=False, float_format="{:.3g}".format, na_rep="?")
        return f"{markup}<p>{html.escape(self.summary)}</p>"
