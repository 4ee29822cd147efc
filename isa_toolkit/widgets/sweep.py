"""The panel of a sweep: its plan, launched, watched, cancelled, found again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import ipywidgets
from tqdm import tqdm

from isa_toolkit.sweeps import Plan, Sweep, sweeps_in
from isa_toolkit.sweeps.engines import make_engine
from isa_toolkit.sweeps.engines.local import LocalEngine
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import FolderWatcher

__all__ = ["SweepPanel"]

_GOING = ("running", "stopping", "queued")
_COLOURS = {"done": "success", "failed": "danger"}


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
    controls: dict[str, ipywidgets.Widget] = {}
    rows: list[list[str]] = []
    if plan is not None and isinstance(starter, LocalEngine):
        controls["slots"] = layout.int_field(
            "Groups at a time", len(starter.environments), min=1, max=1024,
            help="Number of groups that run at the same time",
        )  # fmt: skip
        rows.append(["slots"])
    controls |= {
        "run": layout.button(
            "Launch", icon="play", style="primary",
            help="Run what is left, in processes of their own",
        ),
        "stop": layout.button(
            "Cancel", icon="stop", style="danger",
            help="End all runs with a checkpoint; press again to end them at once",
        ),
        "found": layout.dropdown(
            "Sweeps in folder", watcher.found(), help=f"Sweeps in {watcher.out}",
            width=layout.WIDE,
        ),
        "attach": layout.button(
            "Attach", icon="link", help="Watch the chosen sweep, going on or ended"
        ),
        "refresh_list": layout.button(
            "Refresh list", icon="refresh", help="Look into the folder again"
        ),
    }  # fmt: skip
    panel = Panel(
        "Sweep",
        about="Each group of runs is a process of its own: a restarted kernel ends nothing.",
        controls=controls,
        outputs={
            "bar": ipywidgets.FloatProgress(
                min=0, max=1, description="0 %",
                style={"description_width": "8.5em"},
                layout={"width": "auto", "max_width": "660px", "margin": "2px 0"},
            ),
            "details": layout.text(),
            "table": layout.text(),
        },
        update=watcher.update,
        groups=[*rows, ["run", "stop"], ["found", "attach", "refresh_list"]],
        actions={
            "run": watcher.on_run, "stop": watcher.on_stop,
            "attach": watcher.on_attach, "refresh_list": watcher.on_refresh_list,
        },
        model=watcher,
    )  # fmt: skip
    watcher.panel = panel
    watcher.begin()
    return panel


@final
class _SweepWatcher(FolderWatcher):
    """The sweep that a panel watches, and the thread that polls it."""

    def __init__(
        self,
        plan: Plan | None,
        out: Path,
        poll_s: float,
        engine: str,
        options: dict[str, Any],
    ) -> None:
        super().__init__("isa sweep watcher", poll_s)
        self.plan, self.engine, self.options = plan, engine, options
        self.out = out if plan is None else plan.out
        self.sweep: Sweep | None = None

    def begin(self) -> None:
        """Show the plan, or watch it if it is running already."""
        if self.plan is not None:
            with contextlib.suppress(FileNotFoundError):
                there = Sweep.open(self.plan.path)
                if there.state in _GOING:
                    self.watch(there)
                    return
        self.panel.refresh()

    # --- buttons ---------------------------------------------------------------------

    def on_run(self, panel: Panel) -> None:
        """Launch the plan, or resume the sweep that is watched."""
        if self.plan is None and self.sweep is None:
            raise ValueError(f"There is no plan. Attach to a sweep of {self.out}.")
        if self.sweep is not None and self.sweep.is_running:
            panel.show_message("It runs already.")
            return
        panel.show_message("Starting.")
        panel.start(self._launch, done=lambda: self._launched(panel))

    def _launch(self) -> None:
        watched, planned = self.sweep, self.plan
        if planned is None or (watched and watched.path != planned.path):
            assert watched is not None
            self.sweep = watched.resume(wait=False)
            return
        options = dict(self.options)
        if "slots" in self.panel.controls:
            options["slots"] = self.panel.values["slots"]
        self.sweep = planned.run(self.engine, wait=False, **options)

    def _launched(self, panel: Panel) -> None:
        panel.show_message("")
        assert self.sweep is not None
        self.watch(self.sweep)

    def on_stop(self, panel: Panel) -> None:
        """Ask all runs to stop."""
        if self.sweep is None or self.sweep.state not in _GOING:
            panel.show_message("Nothing runs.")
            return
        panel.show_message("")
        self.sweep.cancel(force=self.sweep.is_stopping)
        panel.refresh()

    def on_attach(self, panel: Panel) -> None:
        """Watch the chosen sweep."""
        name = panel.controls["found"].value  # pyright: ignore[reportAttributeAccessIssue]
        if name is None:
            raise ValueError(f"There is no sweep in {self.out}. Launch one first.")
        self.watch(Sweep.open(self.out / "sweeps" / name))

    # --- what they do ----------------------------------------------------------------

    def found(self) -> list[tuple[str, str]]:
        """Return the sweeps of the folder with their state, for a list."""
        return [(f"{one.name} ({one.state})", one.name) for one in sweeps_in(self.out)]

    def watch(self, sweep: Sweep) -> None:
        """Show a sweep, and poll it as long as it runs."""
        self.sweep = sweep
        self.list_again(None)
        self.panel.refresh()
        self.panel.check()
        if sweep.state in _GOING:
            self.poller.start()

    def poll(self) -> bool:
        """Show the sweep as it is; return whether it still runs."""
        sweep = self.sweep
        assert sweep is not None
        state = sweep.state
        self.panel.refresh()
        self.list_again(state)
        return state in _GOING or sweep is not self.sweep

    # --- what is shown ---------------------------------------------------------------

    def update(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the panel shows: the sweep as it is now, or the plan."""
        sweep, controls = self.sweep, self.panel.controls
        state = None if sweep is None else sweep.state
        stop: Any = controls["stop"]
        stop.disabled = state not in _GOING
        attach: Any = controls["attach"]
        attach.disabled = values["found"] is None
        run: Any = controls["run"]
        run.disabled = state in _GOING or (sweep is None and self.plan is None)
        if sweep is not None:
            return _shown(sweep, str(state))
        if self.plan is None:
            text = f"No sweep is watched yet. Attach to a sweep of {self.out.name}/."
            return {"details": layout.note(text), "table": ""}
        return {
            "details": layout.note(self.plan.summary),
            "table": _plan_table(self.plan),
        }


def _plan_table(plan: Plan) -> str:
    heads = ["run", "what differs", "seed", "state", "steps left", "time"]
    rows = [
        [
            run.name, run.differs, run.description["seed"], run.state,
            f"{run.steps_left:,}",
            run.time,
        ]
        for run in plan.runs
    ]  # fmt: skip
    return layout.table(heads, rows)


def _shown(sweep: Sweep, state: str) -> dict[str, Any]:
    """Return what is shown of a sweep: a bar of all steps, a line, a row for each run."""
    runs = list(sweep.rows())
    # A run that diverged has no more steps to take.
    taken = sum(
        one["steps"] if one["state"] == "diverged" else one["step"] for one in runs
    )
    fraction = taken / max(sum(one["steps"] for one in runs), 1)
    counts = {one["state"]: 0 for one in runs}
    for one in runs:
        counts[one["state"]] += 1
    line = ", ".join(f"{count} {name}" for name, count in counts.items())
    hint = {
        "stopping": " Checkpoints are written; Cancel again ends all at once.",
        "stopped": " Launch resumes from the checkpoints.",
        "failed": " Launch tries again, from the checkpoints.",
    }
    lines = layout.note(f"{sweep.name}: {state}: {line}.{hint.get(state, '')}")
    lines += "".join(
        layout.caption(f"{one['run']}: {one['reason']}")
        for one in runs
        if one["reason"] and one["state"] != "queued"
    )
    heads = ["run", "what differs", "seed", "state", "step", "of", "left", ""]
    rows = [
        [
            one["run"], one["differs"], one["seed"], one["state"], f"{one['step']:,}",
            f"{one['steps']:,}",
            "" if one["eta_s"] is None else tqdm.format_interval(one["eta_s"]),
            layout.bar(one["step"] / one["steps"]),
        ]
        for one in runs
    ]  # fmt: skip
    return {
        "bar": {
            "value": fraction,
            "bar_style": _COLOURS.get(state, ""),
            "description": f"{100 * fraction:.0f} %",
        },
        "details": lines,
        "table": layout.table(heads, rows),
    }
