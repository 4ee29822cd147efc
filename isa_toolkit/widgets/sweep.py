# pyright: reportAttributeAccessIssue=false
"""The panel of a sweep: its plan, launched, watched, cancelled, found again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import ipywidgets

from isa_toolkit.annotations import typed
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.sweeps import Plan, Sweep, sweeps_in
from isa_toolkit.sweeps.engines import LocalEngine, make_engine
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import FolderWatcher

_GOING = ("running", "stopping", "queued")
_HINTS = {
    "stopping": " Checkpoints are written; Cancel again ends all at once.",
    "stopped": " Launch resumes from the checkpoints.",
    "failed": " Launch tries again, from the checkpoints.",
}


@typed
def SweepPanel(
    plan: Plan | None = None,
    *,
    out: str | Path = "runs",
    poll_s: float = 0.5,
    engine: str = "local",
    **options: Any,
) -> Panel:
    """Return a panel that shows the plan of a sweep, launches it and watches it.

    *Launch* runs what is left, in processes that outlive this kernel; *Cancel* stops all
    with checkpoints, a second time ends them at once; *Attach* watches the chosen sweep of
    the folder, also one that another kernel or the command line has launched.

    Args:
        plan: Plan from ``plan``; None to watch only. If it is running already it is watched.
        out: Path of the folder of run folders; the plan's own if there is a plan.
        poll_s: Number of seconds between two polls of the folders.
        engine: Name of the engine that runs the plan: ``"local"``, ``"ray"`` or ``"slurm"``.
        options: Options of the engine and other arguments of ``sweep``.

    Returns:
        The panel; ``panel.sweep`` is the sweep that is watched, or None.

    Raises:
        InvalidValueError: ``poll_s`` is not above 0, or an option is out of its range.
        InvalidTypeError: An option has the wrong type or name.
    """
    starter = make_engine(engine, options)
    watcher = _SweepWatcher(plan, Path(out).absolute(), poll_s, engine, options)
    settings: dict[str, ipywidgets.Widget] = {}
    if plan is not None and isinstance(starter, LocalEngine):
        settings["slots"] = layout.int_field(
            "Groups at a time", len(starter.environments), min=1, max=1024,
            help="Number of groups that run at the same time",
        )  # fmt: skip
    panel = watcher.make_panel(
        "Sweep",
        "Each group of runs is a process of its own: a restarted kernel ends nothing.",
        settings=settings,
        buttons={
            "run": layout.run_button(
                "Launch", "Run what is left, in processes of their own"
            ),
            "stop": layout.stop_button(
                "Cancel",
                "End all runs with a checkpoint; press again to end them at once",
            ),
        },
        outputs={"table": layout.text()},
    )
    watcher.begin()
    return panel


@final
class _SweepWatcher(FolderWatcher):
    """The sweep that a panel watches, and how it is launched."""

    kind = "sweep"

    def __init__(
        self,
        plan: Plan | None,
        out: Path,
        poll_s: float,
        engine: str,
        options: dict[str, Any],
    ) -> None:
        super().__init__(out if plan is None else plan.out, poll_s)
        self.plan, self.engine, self.options = plan, engine, options

    @property
    def sweep(self) -> Sweep | None:
        return self.item

    def begin(self) -> None:
        """Show the plan, or watch it if it is running already."""
        with contextlib.suppress(FileNotFoundError):
            if self.plan is not None and Sweep(self.plan.path).state in _GOING:
                self.watch(Sweep(self.plan.path))
                return
        self.panel.refresh()

    def on_run(self, panel: Panel) -> None:
        """Launch the plan, or resume the sweep that is watched."""
        if self.plan is None and self.sweep is None:
            raise InvalidValueError(
                f"There is no plan. Attach to a sweep of {self.out}."
            )
        if self.sweep is not None and self.state()[0] in ("running", "stopping"):
            panel.show_message("It runs already.")
            return
        panel.show_message("Starting.")
        panel.start(self._launch, done=self._launched)

    def _launch(self) -> None:
        if self.sweep and (self.plan is None or self.sweep.path != self.plan.path):
            self.sweep.resume(wait=False)
            return
        assert self.plan is not None
        options = dict(self.options)
        if "slots" in self.panel.controls:
            options["slots"] = self.panel.values["slots"]
        self.item = self.plan.run(self.engine, wait=False, **options)

    def _launched(self) -> None:
        self.panel.show_message("")
        self.watch(self.sweep)

    def on_stop(self, panel: Panel) -> None:
        state = self.state()[0]
        if self.sweep is None or state not in _GOING:
            panel.show_message("Nothing runs.")
            return
        panel.show_message("")
        self.sweep.cancel(force=state == "stopping")
        panel.refresh()

    def found(self) -> list[tuple[str, str]]:
        return [(f"{one.name} ({one.state})", one.name) for one in sweeps_in(self.out)]

    def open(self, name: str) -> Sweep:
        return Sweep(self.out / "sweeps" / name)

    def state(self) -> tuple[str, bool]:
        state = "" if self.sweep is None else self.sweep.state
        return state, state in _GOING

    def update(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the panel shows: the sweep as it is now, or the plan."""
        (state, is_going), panel = self.state(), self.panel
        panel.stop.disabled = not is_going
        panel.attach.disabled = values["found"] is None
        panel.run.disabled = is_going or (self.sweep is None and self.plan is None)
        if self.sweep is not None:
            return _shown(self.sweep, state)
        if self.plan is None:
            text = f"No sweep is watched yet. Attach to a sweep of {self.out.name}/."
            return {"details": layout.note(text), "table": ""}
        details = layout.note(self.plan.summary)
        return {"details": details, "table": _table(self.plan)}


def _table(plan: Plan) -> str:
    heads = ["run", "what differs", "seed", "state", "step", "of", "left", ""]
    rows = [
        [
            run.run, run.differs, run.seed, run.state, f"{run.step:,}", f"{run.steps:,}",
            run.left, layout.bar(run.step / run.steps),
        ]
        for run in plan.shown().itertuples()
    ]  # fmt: skip
    return layout.table(heads, rows)


def _shown(sweep: Sweep, state: str) -> dict[str, Any]:
    """Return what is shown of a sweep: a bar of all steps, a line, a row for each run."""
    runs = sweep.status()
    # A run that diverged has no more steps to take.
    taken = runs.step.where(runs.state != "diverged", runs.steps)
    counts = runs.state.value_counts(sort=False)
    line = ", ".join(f"{count} {name}" for name, count in counts.items())
    details = layout.note(f"{sweep.name}: {state}: {line}.{_HINTS.get(state, '')}")
    for run in runs[runs.reason != ""].itertuples():
        details += layout.caption(f"{run.run}: {run.reason}")
    return {
        "bar": layout.progress(float(taken.sum() / runs.steps.sum()), state),
        "details": details,
        "table": _table(sweep.plan),
    }
