"""The mutable part of one run: its state, the rows not yet written, its files.

Which steps are taken when, alone or beside other runs, is the ``course``'s affair. A
checkpoint is written only after the events of its step (metrics, validation, snapshot),
so a resumed run neither repeats nor skips one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from isa_toolkit.distillation import loop
from isa_toolkit.distillation import schedule as events
from isa_toolkit.distillation.checkpoints import Checkpoints
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.distillation.signals import StopRequest
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.methods import method_of
from isa_toolkit.networks import Network, build

__all__ = ["Callback", "DivergedError", "Part", "Progress", "Worker", "writing"]


class DivergedError(FloatingPointError):
    """A quantity of the run is not finite; the last good checkpoint is kept."""


class Progress(NamedTuple):
    """What a callback is told after each chunk.

    step: steps taken.
    steps: of the whole run.
    steps_per_s: speed of the last chunk.
    rows: metrics that are new since the last call.
    distilled: call it for the distilled set as it is now.
    path: the run folder.
    """

    step: int
    steps: int
    steps_per_s: float
    rows: list[dict[str, Any]]
    distilled: Callable[[], DistilledSet]
    path: Path


Callback = Callable[[Progress], Any]


class Part(NamedTuple):
    """What one compiled call gave one run.

    done: steps taken.
    infos: diagnostics of each of them, on the host.
    is_finite: whether the state is.
    state: call it for the state, until the next call.
    """

    done: int
    infos: Any
    is_finite: bool
    state: Callable[[], PyTree]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of an ``OSError`` inside that the run folder cannot be written.

    Args:
        path: the run folder.

    Raises:
        OSError: of the same kind, one sentence.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and not path.is_dir():
            error = NotADirectoryError(error.errno, "not a folder")
        reason = error.strerror or str(error)
        raise type(error)(
            f"The run folder {path} cannot be written: {reason}. What is already in it "
            "is kept; free some space or choose another out."
        ) from error


class Worker:
    """One run between its chunks.

    Args:
        resolved: the experiment.
        store: its folder, locked.
        callbacks: called after each chunk.
        request: whether all runs are asked to stop.

    Attributes:
        step: steps taken.
        state: call it for the state of the method.
        is_new: there was no checkpoint to go on from.
        failure: why the run can take no more steps, or None.
        saved_at: when the last checkpoint was written, by the course's clock.
        told_at: when the status was.
    """

    def __init__(
        self,
        resolved: ResolvedExperiment,
        store: RunStore,
        callbacks: Sequence[Callback],
        request: StopRequest,
    ) -> None:
        settings = resolved.settings
        self.resolved, self.settings, self.store = resolved, settings, store
        self.callbacks, self.request = callbacks, request
        self.network: Network = build(
            resolved.network,
            image_shape=resolved.dataset.image_shape,
            num_classes=resolved.dataset.num_classes,
        )
        self.method = method_of(settings.method)
        self.traced = loop.traced(settings.method, steps=settings.steps)
        self.keys = loop.run_keys(settings.seed)
        self.step = 0
        self.elapsed_s = 0.0
        self.steps_per_s = 0.0
        # Diagnostics of the steps since the last row of metrics.
        self.pending: list[dict[str, float]] = []
        self.state: Callable[[], PyTree]
        self.is_new = True
        self.failure: DivergedError | None = None
        self.saved_at = self.told_at = 0.0

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.store.path

    @property
    def is_last(self) -> bool:
        """Whether the last step is taken."""
        return self.step == self.settings.steps

    @property
    def is_stop_asked(self) -> bool:
        """Whether this run is to stop."""
        return self.request.asked or self.store.stop_requested

    @property
    def room(self) -> int:
        """The steps until the loop must come back."""
        coming = events.next_event(self.settings, self.step) - self.step
        return min(loop.RECORD_LENGTH, coming)

    # --- the course of a run ---------------------------------------------------------

    def open(self) -> None:
        """Say in the folder that the run has started."""
        self.store.clear_stop()
        self.store.write_environment()
        # What was said last, until the checkpoint is read.
        told = self.store.read_json("status.json") or {}
        self.step = int(told.get("step", 0))
        self.elapsed_s = float(told.get("elapsed_s", 0.0))
        self.status("running")

    def start(self, checkpoints: Checkpoints) -> None:
        """Draw the first state or go on from the last checkpoint.

        Args:
            checkpoints: of the run.
        """
        self.checkpoints = checkpoints
        draw = loop.first_state(self.method, self.network)
        state = draw(self.traced.settings, self.keys.networks, *self._first_set())
        stored = checkpoints.restore(state, experiment=self.resolved.hash)
        self.step, self.elapsed_s = 0, 0.0
        if stored is not None:
            self.step, state = stored.step, stored.state
            self.pending = stored.notes["pending"]
            self.elapsed_s = stored.notes["elapsed_s"]
        self.store.cut_metrics(self.step if stored is not None else -1)
        self.is_new = stored is None
        self.state = lambda: state

    def stand_by(self) -> None:
        """Have a state of the right shapes and types, its numbers to be taken over."""
        draw = loop.first_state(self.method, self.network)
        shapes = jax.eval_shape(
            draw, self.traced.settings, self.keys.networks, *self._first_set()
        )
        self.take_over(
            jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        )

    def take_over(self, state: PyTree) -> None:
        """Go on from a state that was made elsewhere.

        Args:
            state: of the method.
        """
        self.state = lambda: state

    def take(self, part: Part, seconds: float, *, share_s: float) -> None:
        """Go on to the state after a chunk.

        Args:
            part: what the chunk gave.
            seconds: how long it took.
            share_s: how much of that is this run's.

        Raises:
            DivergedError: it is not finite.
        """
        self.state = part.state
        failed = int(part.infos.failure[-1])
        if failed:
            quantity = self.method.quantities[failed - 1]
            raise self._diverged(self.step + part.done - 1, quantity)
        # Whatever is saved must be worth going on from.
        if not part.is_finite:
            raise self._diverged(
                self.step + part.done - 1, "the state after the update"
            )
        names = [n for n in part.infos._fields if n not in ("failure", "member")]
        self.pending += [
            {name: float(getattr(part.infos, name)[place]) for name in names}
            for place in range(part.done)
        ]
        self.step += part.done
        self.elapsed_s += share_s
        self.steps_per_s = part.done / seconds

    def record(self) -> list[dict[str, Any]]:
        """Write what is due at this step: metrics, validation, snapshot; return the rows."""
        rows, self.pending = events.summarise(self.pending, self.settings, self.step)
        if self.is_validation or self.step == 0:
            self.distilled().save(self.store.snapshot_path(self.step))
            if self.resolved.validation is not None:
                images, labels = map(np.asarray, self.method.distilled(self.state()))
                accuracies = events.validate(
                    self.resolved, images, labels, self._learned()
                )
                rows.append({"step": self.step, "kind": "validation", **accuracies})
        self.store.append_metrics(rows)
        return rows

    @property
    def is_validation(self) -> bool:
        """Whether a validation is due at this step."""
        return events.is_validation(self.settings, self.step)

    def call_back(self, rows: list[dict[str, Any]]) -> bool:
        """Tell the callbacks; return whether one asks to stop.

        Args:
            rows: new metrics.
        """
        told = Progress(
            self.step,
            self.settings.steps,
            self.steps_per_s,
            rows,
            self.distilled,
            self.path,
        )
        answers = [callback(told) for callback in self.callbacks]
        return any(answer is True for answer in answers)

    def save(self) -> None:
        """Write a checkpoint."""
        notes = {
            "experiment": self.resolved.hash,
            "pending": self.pending,
            "elapsed_s": self.elapsed_s,
        }
        self.checkpoints.save(self.step, self.state(), notes)

    def stop(self) -> None:
        """Say in the folder that the run was asked to stop."""
        self.store.clear_stop()
        self.status("stopped")

    def finish(self) -> None:
        """Choose the result and write the closing files."""
        # Also after a request that came with the last step.
        self.store.clear_stop()
        chosen = events.choose(self.store.metrics(), self.settings)
        images, labels = self.method.distilled(self.state())
        learned = self._learned()
        if self.settings.selection != "last":
            path = self.store.snapshot_path(chosen["step"])
            stored = DistilledSet.load(path)
            images, labels = stored.images, stored.labels
            learned = stored.manifest.get("learned")
        distilled = events.distilled_set(self.resolved, images, labels, chosen, learned)
        self.store.compact_metrics()
        self.store.write_preview(distilled)
        # Last: this file says that the run is whole.
        distilled.save(self.path / "distilled.safetensors")
        self.status("done")

    # --- pieces ----------------------------------------------------------------------

    def distilled(self) -> DistilledSet:
        """Return the distilled set as it is now, with its provenance."""
        images, labels = self.method.distilled(self.state())
        chosen = {"step": self.step}
        return events.distilled_set(
            self.resolved, images, labels, chosen, self._learned()
        )

    def status(self, status: str, **more: Any) -> None:
        """Write ``status.json``.

        Args:
            status: running, stopped, done or failed.
            more: such as the reason.
        """
        self.store.write_status(
            status=status,
            step=self.step,
            steps=self.settings.steps,
            steps_per_s=self.steps_per_s,
            elapsed_s=self.elapsed_s,
            **more,
        )

    def _first_set(self) -> tuple[Array, Array]:
        """Return the first distilled images and labels, which the run's seed draws."""
        data = self.resolved.train
        images, classes = events.first_images(self.resolved)
        labels = np.eye(data.num_classes, dtype=np.float32)[classes]
        return jnp.asarray(images), jnp.asarray(labels - 1 / data.num_classes)

    def _learned(self) -> dict[str, float]:
        """Return what belongs to the present set besides images and labels."""
        learned = self.method.learned(self.state())
        return {name: float(value) for name, value in learned.items()}

    def _diverged(self, step: int, quantity: str) -> DivergedError:
        fix = self.method.remedies.get(
            quantity, "Lower learning_rate, or look at the data."
        ).format(**self.resolved.description["method"])
        steps = self.checkpoints.steps
        kept = f"step {steps[-1]} is kept" if steps else "none was written yet"
        return DivergedError(
            f"At step {step} {quantity} became not finite (NaN or infinity). {fix} "
            f"Last good checkpoint: {kept}."
        )
