# pyright: reportAttributeAccessIssue=false
"""The panel of a long run: started, watched, stopped, resumed, found again."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import ipywidgets
from tqdm import tqdm

from isa_toolkit.annotations import typed
from isa_toolkit.distillation import Experiment
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.sweeps import Job, RunStatus, runs_in
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.charts import Curves
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import FolderWatcher, run_options

# All metrics are read for the curves, which takes a while for a long run.
_DRAW_EVERY_S = 2.0
_HINTS = {
    "starting": "loading and compiling",
    "stopping": "a checkpoint is written; Stop again ends it at once",
    "stopped": "Resume starts from its checkpoint",
}


@typed
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
        InvalidValueError: ``poll_s`` is not above 0.
    """
    watcher = _JobWatcher(experiment, Path(out).absolute(), poll_s)
    buttons = {
        "run": layout.run_button(
            "Run", "Start a run with these settings in a process of its own, or resume it"
        ),
        "stop": layout.stop_button(
            "Stop", "End the run with a checkpoint; press again to end it at once"
        ),
        "resume": layout.button(
            "Resume", icon="step-forward",
            help="Go on with this run from its last checkpoint",
        ),
    }  # fmt: skip
    if experiment is None:
        del buttons["run"]
    panel = watcher.make_panel(
        "Distillation run",
        "The run lives in a process of its own: a restarted kernel ends nothing.",
        settings={} if experiment is None else _settings(experiment),
        buttons=buttons,
        outputs={
            "curves": Curves(), "images": layout.image("auto"), "caption": layout.text(),
        },
        still=watcher.still,
    )  # fmt: skip
    panel.refresh()
    return panel


def _settings(experiment: Experiment) -> dict[str, ipywidgets.Widget]:
    """Return controls for what differs between runs of a study, at the experiment's own."""
    method: Any = experiment.method
    made: dict[str, ipywidgets.Widget] = {}
    if hasattr(method, "drop_easy"):
        for end in ("easy", "hard"):
            made[f"drop_{end}"] = layout.slider(
                f"Drop {end}", getattr(method, f"drop_{end}"), min=0, max=0.9,
                step=0.05, help=f"Fraction of each real batch to drop from the {end} end",
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


@final
class _JobWatcher(FolderWatcher):
    """The run that a panel watches, and how it is started."""

    kind = "run"

    def __init__(self, experiment: Experiment | None, out: Path, poll_s: float) -> None:
        super().__init__(out, poll_s)
        self.experiment = experiment
        # What the pictures show, and when the curves were drawn.
        self._shown: dict[str, Any] = {}
        self._drawn_at = 0.0

    @property
    def job(self) -> Job | None:
        return self.item

    def on_run(self, panel: Panel) -> None:
        """Start the experiment of the controls, or watch it if it runs."""
        self.watch(Job(self.chosen(panel.values), out=self.out).start())

    def on_resume(self, panel: Panel) -> None:
        del panel
        if self.job is None:
            raise InvalidValueError(
                "There is no run to resume. Run one, or attach to one."
            )
        self.watch(self.job.start())

    def on_stop(self, panel: Panel) -> None:
        if self.job is None or not self.job.status.is_alive:
            panel.show_message("Nothing runs.")
            return
        panel.show_message("")
        self.job.stop()
        panel.refresh()

    def chosen(self, values: Mapping[str, Any]) -> Experiment:
        assert self.experiment is not None
        method: Any = self.experiment.method
        if "segment" in values:
            method = dataclasses.replace(
                method, drop_easy=values["drop_easy"], drop_hard=values["drop_hard"],
                segment=tuple(values["segment"]),
            )  # fmt: skip
        fields = {name: values[name] for name in ("steps", "images_per_class", "seed")}
        return dataclasses.replace(self.experiment, method=method, **fields)

    def found(self) -> list[tuple[str, str]]:
        return run_options(runs_in(self.out))

    def open(self, name: str) -> Job:
        return Job.attach(self.out / name)

    def watch(self, item: Job) -> None:
        """Show a run with new pictures, choose it in the list, and poll it while it runs."""
        self._shown, self._drawn_at = {}, 0.0
        super().watch(item)
        found = self.panel.controls["found"]
        if item.path.name in [name for _, name in found.options]:
            found.value = item.path.name

    def state(self) -> tuple[str, bool]:
        status = self.item.status
        if not status.is_alive:
            self._drawn_at = 0.0  # the last curves are drawn at once
        return status.state, status.is_alive

    def update(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        job, panel = self.job, self.panel
        status = RunStatus("new") if job is None else job.status
        panel.controls["stop"].disabled = not status.is_alive
        panel.controls["resume"].disabled = job is None or status.is_alive
        panel.controls["attach"].disabled = values["found"] is None
        if job is None:
            first = (
                "Attach to a run"
                if self.experiment is None
                else "Run, or attach to a run"
            )
            text = f"No run is watched yet. {first} of {self.out.name}/."
            return {"details": layout.note(text)}
        panel.write(
            {
                "bar": layout.progress(status.fraction, status.state),
                "details": layout.note(_details(job, status)),
                **self._pictures(job),
            }
        )
        job.raise_if_failed()
        return {}

    def _table(self) -> Any:
        assert self.job is not None
        return training_curves.compute({self.job.path.name: self.job.run})

    def still(self) -> bytes | None:
        """Return the curves as a PNG, for where no browser draws them."""
        is_drawn = self.job is not None and self.panel.curves.data
        return png(training_curves.draw(self._table())) if is_drawn else None

    def _pictures(self, job: Job) -> dict[str, Any]:
        """Return the pictures that have changed, not more often than is worth it."""
        if not (job.path / "experiment.json").is_file():
            return {}
        made: dict[str, Any] = {}
        now, run, metrics = time.monotonic(), job.run, job.path / "metrics.jsonl"
        size = metrics.stat().st_size if metrics.is_file() else 0
        if (
            size not in (0, self._shown.get("curves"))
            and now - self._drawn_at >= _DRAW_EVERY_S
        ):
            data = training_curves.for_browser(self._table())
            made["curves"] = {"data": data}
            self._shown["curves"], self._drawn_at = size, now
        stored = list(run.snapshots.values())
        if run.is_done:
            stored.append(run.path / "distilled.safetensors")
        if stored and stored[-1] != self._shown.get("images"):
            distilled = DistilledSet.load(stored[-1])
            step = distilled.manifest.get("selection", {}).get("step", "unknown")
            what = "The result" if run.is_done else "Distilled images"
            made["images"] = distilled.show()._repr_png_()
            made["caption"] = layout.caption(f"{what}: step {step}, whitening undone.")
            self._shown["images"] = stored[-1]
        return made


def _details(job: Job, status: RunStatus) -> str:
    """Return one line on a run: where, how far, how fast, how long."""
    process = "" if status.pid is None else f" (process {status.pid})"
    parts = [f"{job.path.name}: {status.state}{process}"]
    if status.steps:
        parts.append(f"step {status.step:,} of {status.steps:,}")
    if not math.isnan(status.eta_s):
        parts.append(f"{status.steps_per_s:.3g} steps/s")
        parts.append(f"{tqdm.format_interval(status.eta_s)} left")
    if status.state in _HINTS:
        parts.append(_HINTS[status.state])
    return ", ".join(parts) + "."
