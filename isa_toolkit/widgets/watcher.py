"""The panel of a long run: started, watched, stopped, resumed, found again."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import ipywidgets
import numpy as np
from tqdm import tqdm

from isa_toolkit.distillation import Experiment
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.sweeps.job import Job, JobStatus, runs_in
from isa_toolkit.widgets import layout
from isa_toolkit.widgets import png as pictures
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import FolderWatcher

__all__ = ["JobWatcher"]

# A figure takes a fifth of a second: at most a tenth of the time goes into curves.
_DRAW_EVERY_S = 2.0
_COLOURS = {"done": "success", "failed": "danger", "diverged": "danger"}


def JobWatcher(
    experiment: Experiment | None = None,
    *,
    out: str | Path = "runs",
    poll_s: float = 0.5,
) -> Panel:
    """Return a panel that runs experiments in child processes and watches them.

    *Run* starts the experiment with the settings of the controls, or resumes it if its
    folder exists; *Stop* ends it with a checkpoint, a second time at once;
    *Resume* resumes the run that is watched; *Attach* watches the chosen run of the
    folder, also one that another kernel started. A restarted kernel ends no run.

    Args:
        experiment: Experiment to run; None to watch only. Another process must be able to
            load its data by name.
        out: Path of the folder of run folders.
        poll_s: Number of seconds between two polls of the run folder.

    Returns:
        The panel; ``panel.job`` is the run that is watched, or None.

    Raises:
        ValueError: ``poll_s`` is not above 0.
    """
    watcher = _Watcher(experiment, Path(out).absolute(), poll_s)
    controls: dict[str, ipywidgets.Widget] = {}
    rows: list[list[str]] = []
    if experiment is not None:
        controls |= _settings(experiment)
        rows.append(list(controls))
    controls |= {
        "run": layout.button(
            "Run", icon="play", style="primary",
            help="Start a run with these settings in a process of its own, or resume it",
        ),
        "stop": layout.button(
            "Stop", icon="stop", style="danger",
            help="End the run with a checkpoint; press again to end it at once",
        ),
        "resume": layout.button(
            "Resume", icon="step-forward",
            help="Go on with this run from its last checkpoint",
        ),
        "found": layout.dropdown(
            "Runs in folder", watcher.found(), help=f"Runs in {watcher.out}", width=layout.WIDE
        ),
        "attach": layout.button(
            "Attach", icon="link", help="Watch the chosen run, going on or ended"
        ),
        "refresh_list": layout.button(
            "Refresh list", icon="refresh", help="Look into the folder again"
        ),
    }  # fmt: skip
    actions = {
        "run": watcher.on_run, "stop": watcher.on_stop, "resume": watcher.on_resume,
        "attach": watcher.on_attach, "refresh_list": watcher.on_refresh_list,
    }  # fmt: skip
    if experiment is None:
        del controls["run"], actions["run"]
    rows += [
        [name for name in ("run", "stop", "resume") if name in controls],
        ["found", "attach", "refresh_list"],
    ]
    shows = {
        "bar": ipywidgets.FloatProgress(
            min=0, max=1, description="Progress", style={"description_width": "8.5em"},
            layout={"width": "auto", "max_width": "660px", "margin": "2px 0"},
        ),
        "details": layout.text(),
        "curves": layout.image(),
        "images": layout.image("auto"),
        "caption": layout.text(),
    }  # fmt: skip
    panel = Panel(
        "Distillation run",
        about="The run lives in a process of its own: a restarted kernel ends nothing.",
        controls=controls,
        outputs=shows,
        update=watcher.update,
        groups=rows,
        actions=actions,
        arrange=_arrange,
        model=watcher,
    )
    watcher.panel = panel
    panel.refresh()
    return panel


def _settings(experiment: Experiment) -> dict[str, ipywidgets.Widget]:
    """Return controls for what differs between runs of a study, at the experiment's own."""
    method: Any = experiment.method
    made: dict[str, ipywidgets.Widget] = {}
    if hasattr(method, "drop_easy"):
        made["drop_easy"] = layout.slider(
            "Drop easy, fraction", method.drop_easy, min=0, max=0.9, step=0.05,
            help="Share of each real batch that is dropped from the easy end",
        )  # fmt: skip
        made["drop_hard"] = layout.slider(
            "Drop hard, fraction", method.drop_hard, min=0, max=0.9, step=0.05,
            help="Share of each real batch that is dropped from the hard end",
        )  # fmt: skip
        made["segment"] = layout.range_slider(
            "ISA segment", method.segment, min=-1, max=1,
            help="Ends of the segment, in steps away from the partner; (0, 0): no ISA",
        )  # fmt: skip
    made["steps"] = layout.int_field(
        "Outer steps", experiment.steps, min=1, max=10_000_000,
        help="Steps of the whole run; another number is another run",
    )  # fmt: skip
    made["images_per_class"] = layout.int_field(
        "Images per class", experiment.images_per_class, min=1, max=1000,
        help="Learned images of each class",
    )  # fmt: skip
    made["seed"] = layout.int_field(
        "Seed", experiment.seed, min=0, max=2**31 - 1,
        help="Of first images, networks and batches",
    )  # fmt: skip
    return made


def _arrange(shows: Mapping[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    images = layout.flow([shows["curves"], shows["images"]])
    return layout.column([shows["bar"], shows["details"], images, shows["caption"]])


@final
class _Watcher(FolderWatcher):
    """The run that a panel watches, and the thread that polls it."""

    def __init__(self, experiment: Experiment | None, out: Path, poll_s: float) -> None:
        super().__init__("isa watcher", poll_s)
        self.experiment, self.out = experiment, out
        self.job: Job | None = None
        self._drawn: Any = None
        self._shown: Any = None
        self._drawn_at = 0.0

    # --- buttons ---------------------------------------------------------------------

    def on_run(self, panel: Panel) -> None:
        """Start the experiment of the controls, or watch it if it runs."""
        assert self.experiment is not None
        self.begin(Job(self.chosen(panel.values), out=self.out))

    def on_resume(self, panel: Panel) -> None:
        """Go on with the run that is watched."""
        del panel
        if self.job is None:
            raise ValueError("There is no run to resume. Run one, or attach to one.")
        self.begin(self.job)

    def on_stop(self, panel: Panel) -> None:
        """Ask the run to stop."""
        if self.job is None or not self.job.status.is_alive:
            panel.show_message("Nothing runs.")
            return
        panel.show_message("")
        self.job.stop()
        panel.refresh()

    def on_attach(self, panel: Panel) -> None:
        """Watch the chosen run."""
        name = panel.controls["found"].value  # pyright: ignore[reportAttributeAccessIssue]
        if name is None:
            raise ValueError(f"There is no run in {self.out}. Run one first.")
        self.watch(Job.attach(self.out / name))

    # --- what they do ----------------------------------------------------------------

    def chosen(self, values: Mapping[str, Any]) -> Experiment:
        """Return the experiment that the controls ask for."""
        assert self.experiment is not None
        method: Any = self.experiment.method
        mine = {
            name: tuple(value) if name == "segment" else value
            for name, value in values.items()
            if name in ("drop_easy", "drop_hard", "segment")
        }
        if mine:
            method = dataclasses.replace(method, **mine)
        return dataclasses.replace(
            self.experiment,
            method=method,
            steps=values["steps"],
            images_per_class=values["images_per_class"],
            seed=values["seed"],
        )

    def found(self) -> list[tuple[str, str]]:
        """Return the runs of the folder with their state, for a list."""
        return [
            (f"{job.path.name} ({job.status.state})", job.path.name)
            for job in runs_in(self.out)
        ]

    def begin(self, job: Job) -> None:
        """Start a job and watch it."""
        job.start()
        self.watch(job)

    def watch(self, job: Job) -> None:
        """Show a job, and poll it as long as it runs."""
        self.job, self._drawn, self._shown = job, None, None
        self._drawn_at = 0.0
        self.list_again(None)
        self.panel.refresh()
        self.panel.check()
        if job.status.is_alive:
            self.poller.start()

    def poll(self) -> bool:
        """Show the run as it is; return whether it still runs."""
        job = self.job
        assert job is not None
        status = job.status
        if not status.is_alive:
            self._drawn_at = 0.0
        self.panel.refresh()
        self.list_again(status.state)
        return status.is_alive or job is not self.job

    # --- what is shown ---------------------------------------------------------------

    def update(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the panel shows of the run as it is now."""
        job = self.job
        status = JobStatus("new", 0, 0, 0.0, None, "") if job is None else job.status
        controls: dict[str, Any] = self.panel.controls
        controls["stop"].disabled = not status.is_alive
        controls["resume"].disabled = job is None or status.is_alive
        controls["attach"].disabled = values["found"] is None
        if job is None:
            first = (
                "Run, or attach to a run" if "run" in controls else "Attach to a run"
            )
            text = f"No run is watched yet. {first} of {self.out.name}/."
            blank = layout.BLANK
            return {"details": layout.note(text), "curves": blank, "images": blank}
        bar = {
            "value": status.fraction,
            "bar_style": _COLOURS.get(status.state, ""),
            "description": f"{100 * status.fraction:.0f} %",
        }
        self.panel.write({"bar": bar, "details": layout.note(_details(job, status))})
        shown = self._pictures(job)
        if status.state in ("failed", "diverged"):
            self.panel.write(shown)
            job.raise_if_failed()
        return shown

    def _pictures(self, job: Job) -> dict[str, Any]:
        """Return the pictures that have changed, not more often than is worth it."""
        if not (job.path / "experiment.json").is_file():
            return {}
        made: dict[str, Any] = {}
        now = time.monotonic()
        run = job.run
        stamp = _stamp(job.path / "metrics.jsonl")
        if stamp != self._drawn and now - self._drawn_at >= _DRAW_EVERY_S:
            table = training_curves.compute({job.path.name: run})
            if len(table):
                made["curves"] = png(training_curves.draw(table))
                self._drawn, self._drawn_at = stamp, now
        latest = run.path / "distilled.safetensors" if run.is_done else None
        snapshots = run.snapshots
        if latest is None and snapshots:
            latest = snapshots[max(snapshots)]
        if latest is not None and latest != self._shown:
            distilled = DistilledSet.load(latest)
            made["images"] = pictures.images_png(
                pictures.by_class(distilled.to_pixels(), np.asarray(distilled.classes))
            )
            made["caption"] = layout.caption(_which(distilled, run.is_done))
            self._shown = latest
        return made


def _details(job: Job, status: JobStatus) -> str:
    """Return one line on a run: where, how far, how fast, how long."""
    parts = [f"{job.path.name}: {status.state}"]
    if status.pid is not None:
        parts[0] += f" (process {status.pid})"
    if status.steps:
        parts.append(f"step {status.step:,} of {status.steps:,}")
    if status.is_alive and not math.isnan(status.eta_s):
        parts.append(f"{status.steps_per_s:.3g} steps/s")
        parts.append(f"{tqdm.format_interval(status.eta_s)} left")
    if status.state == "starting":
        parts.append("loading and compiling")
    if status.state == "stopping":
        parts.append("a checkpoint is written; Stop again ends it at once")
    if status.state == "stopped":
        parts.append("Resume starts from its checkpoint")
    return ", ".join(parts) + "."


def _which(distilled: DistilledSet, is_done: bool) -> str:
    chosen = distilled.manifest.get("selection", {})
    what = "The result" if is_done else "Distilled images"
    return f"{what}: step {chosen.get('step', 'unknown')}, whitening undone."


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
