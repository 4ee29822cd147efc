"""The state of one run between its chunks, and the files that it writes.

A checkpoint is written only after the events of its step (metrics, validation, snapshot),
so a resumed run neither repeats nor skips one.
"""

from __future__ import annotations

import dataclasses
import errno
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from isa_toolkit.distillation import loop, schedule
from isa_toolkit.distillation.checkpoints import Checkpoint, Checkpoints, stored_steps
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.distillation.progress import ProgressDisplay
from isa_toolkit.distillation.signals import StopRequest
from isa_toolkit.distillation.store import RunStore, versions
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import DivergedError, InvalidValueError
from isa_toolkit.methods import METHODS
from isa_toolkit.methods.base import as_arrays


class Progress(NamedTuple):
    """Argument of a callback after each chunk.

    step: Number of steps taken.
    steps: Number of steps of the whole run.
    steps_per_s: Speed of the last chunk; 0 for the first one, which compiles.
    rows: Metrics that are new since the last call.
    distilled: Function that returns the current distilled set.
    path: Path of the run folder.
    """

    step: int
    steps: int
    steps_per_s: float
    rows: list[dict[str, Any]]
    distilled: Callable[[], DistilledSet]
    path: Path


Callback = Callable[[Progress], Any]


class Steps(NamedTuple):
    """The part of one run in the result of a chunk.

    done: Number of steps taken.
    infos: Diagnostics of each of them, on the host.
    is_finite: Whether the state is finite.
    """

    done: int
    infos: Any
    is_finite: bool


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` inside into one of the same type, a sentence about the folder."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and not path.is_dir():
            error = NotADirectoryError(error.errno, "not a folder")
        reason = error.strerror or str(error)
        fix = "free some space or choose" if error.errno == errno.ENOSPC else "choose"
        raise type(error)(
            f"The run folder {path} cannot be written: {reason}. What is already in it "
            f"is kept; {fix} another out."
        ) from error


class RunState:
    """One run between its chunks.

    The process that writes has locked the folder of the store. The request to stop is
    that of all runs.

    Attributes:
        step: Number of steps taken.
        state: Function that returns the state of the method.
        is_active: Whether the run has begun and not ended.
        is_new: Whether there was no checkpoint to resume from.
        failure: Why the run cannot continue, or None.
        unsaved_s: Seconds of steps since the last checkpoint.
        display: Where the progress of the run is shown.
    """

    def __init__(
        self,
        resolved: ResolvedExperiment,
        store: RunStore,
        callbacks: Sequence[Callback],
        request: StopRequest,
    ) -> None:
        self.resolved, self.settings, self.store = resolved, resolved.settings, store
        self.callbacks, self.request = callbacks, request
        self.network = resolved.build_network()
        self.method = METHODS[resolved.method.name]
        self.method_settings = as_arrays(resolved.method)
        self.keys = loop.run_keys(self.settings.seed)
        self.step = resolved.first_step
        self.elapsed_s = 0.0
        self.steps_per_s = 0.0
        # Diagnostics of the steps since the last row of metrics.
        self.pending: list[dict[str, float]] = []
        self.state: Callable[[], PyTree]
        self.is_active = False
        self.is_new = True
        self.is_compiled = False
        self.failure: DivergedError | None = None
        self.unsaved_s = 0.0
        self.display = ProgressDisplay(is_shown=False)

    @property
    def path(self) -> Path:
        """Path of the run folder."""
        return self.store.path

    @property
    def is_last(self) -> bool:
        """Whether the last step is taken."""
        return self.step == self.settings.steps

    @property
    def is_validation(self) -> bool:
        """Whether a validation is due at this step."""
        every = self.settings.validation_every
        if not every:
            return False
        is_early = self.step in schedule.early_validations(self.settings)
        return self.step % every == 0 or is_early or self.is_last

    @property
    def is_stop_requested(self) -> bool:
        """Whether this run should stop."""
        return self.request.requested or self.store.stop_requested

    @property
    def steps_until_event(self) -> int:
        """Number of steps until the next validation or the last step."""
        every, left = self.settings.validation_every, self.settings.steps - self.step
        if not every:
            return left
        early = schedule.early_validations(self.settings)
        ahead = [step - self.step for step in early if step > self.step]
        return min(left, every - self.step % every, *ahead)

    def chunk(self, **options: Any) -> loop.Chunk:
        """Return the compiled loop; the options are those of ``loop.chunk``."""
        return loop.chunk(self.network, batch_size=self.resolved.batch_size, **options)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write into the folder, if it is still ours."""
        self.store.check_lock()
        try:
            with writing(self.path):
                yield
        except OSError:
            self.store.check_lock()  # it was lost during the write
            raise

    def open(self) -> None:
        """Write into the folder that the run has started."""
        self.is_active = True
        self.store.clear_stop(before=self.request.since)
        self.store.write_environment()
        # Until the checkpoint is read.
        self.step = max(stored_steps(self.path / "checkpoints"), default=self.step)
        self.elapsed_s = self.store.read_status().get("elapsed_s", 0.0)
        self.write_status("running")

    def first_state(self) -> PyTree:
        """Return the state before the first step, which the run's seed determines."""
        classes = self.resolved.train.num_classes
        images, labels = schedule.first_images(self.resolved)
        one_hot = np.eye(classes, dtype=np.float32)[labels] - 1 / classes
        return loop.first_state(
            self.method_settings,
            self.network,
            self.keys.networks,
            jnp.asarray(images),
            jnp.asarray(one_hot, jnp.float32),
        )

    def restore(self, state: PyTree, checkpoints: Checkpoints) -> PyTree:
        """Return the state of the last checkpoint, or the first one if there is none.

        The first one is that of the source, or ``state``.
        """
        self.checkpoints = checkpoints
        stored = checkpoints.restore(
            state, experiment=self.resolved.hash, fault=self._fault
        )
        self.is_new = stored is None
        if stored is None:
            step, source = self.resolved.first_step, self.resolved.source
            first = state if source is None else source.read_state(state)
            notes = {"pending": [], "elapsed_s": 0.0, "metrics": {"bytes": 0}}
            stored = Checkpoint(step, first, notes)
        self.step, self.pending = stored.step, stored.notes["pending"]
        self.elapsed_s = stored.notes["elapsed_s"]
        self.store.cut_metrics(stored.notes["metrics"]["bytes"])
        if not self.is_new:
            self._warn_of_lost_snapshots()
        return stored.state

    def _warn_of_lost_snapshots(self) -> None:
        first, every = self.resolved.first_step, self.settings.validation_every
        due = {first, *schedule.early_validations(self.settings)}
        if every:
            due |= {*range(0, self.step + 1, every), self.settings.steps}
        due = sorted(step for step in due if first <= step <= self.step)
        lost = [str(step) for step in due if not self.store.has_snapshot(step)]
        if lost:
            warnings.warn(
                f"In {self.path} the snapshots of steps {', '.join(lost)} are gone or "
                "damaged; the run continues without them.",
                stacklevel=3,
            )

    def _fault(self, notes: dict[str, Any]) -> str:
        """Return why a checkpoint does not fit the other files; empty if it does.

        Of the snapshots only that of the best validation so far can become the result.
        """
        rows = self.store.metrics_at(notes["metrics"])
        if rows is None:
            return "other rows in metrics.jsonl"
        if self.settings.selection == "last":
            return ""
        if not any(row["kind"] == "validation" for row in rows):
            return ""
        best = schedule.select_step(rows, self.settings)["step"]
        return "" if self._snapshot(best) else f"no snapshot of step {best}"

    def _snapshot(self, step: int) -> DistilledSet | None:
        """Return what this run has stored at a validation; None if it is not there."""
        try:
            found = DistilledSet.load(self.store.snapshot_path(step))
        except (FileNotFoundError, InvalidValueError):
            return None
        theirs = (found.manifest.get("hash"), found.manifest.get("selection"))
        return found if theirs == (self.resolved.hash, {"step": step}) else None

    def advance(self, steps: Steps, seconds: float, own_seconds: float) -> None:
        """Account for the steps of a chunk, or set ``failure`` where one is not finite.

        ``own_seconds`` is the part of the chunk's duration that is due to this run.
        """
        failed = int(steps.infos.failure[-1])
        # No checkpoint may have a state that cannot be continued.
        if failed or not steps.is_finite:
            quantity = "the state after the update"
            if failed:
                quantity = self.method.quantities[failed - 1]
            self.failure = self._diverged(self.step + steps.done - 1, quantity)
            return
        names = [n for n in steps.infos._fields if n not in ("failure", "member")]
        self.pending += [
            {name: float(getattr(steps.infos, name)[index]) for name in names}
            for index in range(steps.done)
        ]
        self.step += steps.done
        self.elapsed_s += own_seconds
        self.unsaved_s += seconds
        # The first chunk of a process compiles and says nothing about the speed.
        if self.is_compiled:
            self.steps_per_s = steps.done / seconds
        self.is_compiled = True

    def record(self) -> list[dict[str, Any]]:
        """Write metrics, validation and snapshot of this step; return the new rows."""
        rows, self.pending = schedule.summarise(self.pending, self.settings, self.step)
        is_first = self.step == self.resolved.first_step
        if self.is_validation or is_first:
            self.distilled().save(self.store.snapshot_path(self.step))
            if self.resolved.validation is not None and not is_first:
                rows.append(self._validate())
        self.store.append_metrics(rows)
        return rows

    def _validate(self) -> dict[str, Any]:
        """Return the row of a validation; say that it begins, and how long it took."""
        began = time.monotonic()
        self.display.announce("validation")
        accuracies = schedule.validate(self.resolved, *self._distilled())
        self.display.log(
            f"{self.path.name}, step {self.step}: validation accuracy "
            f"{100 * accuracies['accuracy']:.1f} % ({self.settings.validation_networks} "
            f"networks, {self.settings.validation_steps} updates each; "
            f"{time.monotonic() - began:.1f} s)"
        )
        return {"step": self.step, "kind": "validation", **accuracies}

    def call_back(self, rows: list[dict[str, Any]]) -> bool:
        """Call the callbacks with new metrics; return whether one asks to stop."""
        progress = Progress(
            self.step,
            self.settings.steps,
            self.steps_per_s,
            rows,
            self.distilled,
            self.path,
        )
        answers = [callback(progress) for callback in self.callbacks]
        return any(answer is True for answer in answers)

    def save(self) -> None:
        """Write a checkpoint."""
        notes = {
            "experiment": self.resolved.hash,
            "pending": self.pending,
            "elapsed_s": self.elapsed_s,
            "metrics": self.store.mark,
        }
        with self.request.hold():
            self.checkpoints.save(self.step, self.state(), notes)
        self.unsaved_s = 0.0

    def stop(self) -> None:
        """End the run and write that it was stopped."""
        self.store.clear_stop()
        self.write_status("stopped")
        self.is_active = False

    def finish(self) -> None:
        """End the run: select the result and write the closing files."""
        # A request to stop may have come with the last step.
        self.store.clear_stop()
        selection = schedule.select_step(self.store.own_metrics(), self.settings)
        if self.settings.selection == "last":
            chosen = self.distilled()
        else:
            chosen = self._snapshot(selection["step"])
        if chosen is None:
            raise InvalidValueError(
                f"{self.store.snapshot_path(selection['step'])}, which has the images of "
                "the result, was deleted or changed while the run worked. Start the run "
                "again: it resumes from an earlier checkpoint."
            )
        self.store.write_experiment(self.resolved.description, self.resolved.hash)
        manifest = {**chosen.manifest, "selection": selection, "versions": versions()}
        # Last: the run is done if this file exists.
        result = dataclasses.replace(chosen, manifest=manifest)
        result.save(self.path / "distilled.safetensors")
        self.write_status("done")
        self.is_active = False

    def distilled(self) -> DistilledSet:
        """Return the current distilled set with its provenance."""
        images, labels, learned = self._distilled()
        description, dataset = self.resolved.description, self.resolved.dataset
        return DistilledSet.from_inputs(
            images,
            labels,
            preprocessing=dataset.preprocessing,
            class_names=dataset.class_names,
            manifest={
                "experiment": description,
                "hash": self.resolved.hash,
                "network": description["network"],
                "selection": {"step": self.step},
                **({"learned": learned} if learned else {}),
                "versions": versions(),
            },
        )

    def write_status(self, status: str, **more: Any) -> None:
        """Write ``status.json``: running, stopped, done or failed, and other values."""
        self.store.write_status(
            status=status,
            step=self.step,
            steps=self.settings.steps,
            steps_per_s=self.steps_per_s,
            elapsed_s=self.elapsed_s,
            **more,
        )

    def _distilled(self) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Return the current distilled images, labels and other learned numbers."""
        state = self.state()
        images, labels = map(np.asarray, self.method.distilled(state))
        learned = self.method.learned(state)
        return images, labels, {name: float(value) for name, value in learned.items()}

    def _diverged(self, step: int, quantity: str) -> DivergedError:
        fix = self.method.remedies.get(
            quantity, "Lower learning_rate, or look at the data."
        ).format(**self.resolved.description["method"])
        return DivergedError(
            f"At step {step} {quantity} became not finite (NaN or infinity). {fix} "
            f"Last good checkpoint: {self._last_checkpoint()}."
        )

    def _last_checkpoint(self) -> str:
        if not hasattr(self, "checkpoints"):  # another process writes them
            return "see process 0"
        steps = self.checkpoints.steps
        return f"step {steps[-1]} is kept" if steps else "none was written yet"
