"""One run from its first images to its result: chunks, events, stop and resume.

The compiled loop knows nothing of files; everything that touches the disk, the clock or
the terminal happens here, between chunks. A checkpoint is written only after the events
of its step (metrics, validation, snapshot), so a resumed run neither repeats nor skips
one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit import checks
from isa_toolkit.distill import events, loop
from isa_toolkit.distill.bars import postfix, run_bar
from isa_toolkit.distill.checkpoints import Checkpoints
from isa_toolkit.distill.events import first_images
from isa_toolkit.distill.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distill.result import Run
from isa_toolkit.distill.shards import (
    LIMIT_BYTES,
    gathered,
    shards_bar,
    wanted_shards,
)
from isa_toolkit.distill.signals import StopRequest, heed_signals
from isa_toolkit.distill.store import RunStore
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.methods.base import Shards
from isa_toolkit.networks import build

__all__ = ["DivergedError", "Progress", "distill", "first_images"]

# A chunk aims at this long, so that a stop request is heard soon.
_CHUNK_S = 1.0
_HEARTBEAT_S = 1.0


class DivergedError(FloatingPointError):
    """A quantity of the run is not finite; the last good checkpoint is kept."""


class Progress(NamedTuple):
    """What a callback is told after each chunk.

    step: steps taken.
    steps: of the whole run.
    steps_per_s: speed of the last chunk.
    rows: metrics that are new since the last call.
    distilled: call it for the distilled set as it is now.
    """

    step: int
    steps: int
    steps_per_s: float
    rows: list[dict[str, Any]]
    distilled: Callable[[], DistilledSet]


Callback = Callable[[Progress], Any]


def distill(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    checkpoint_s: float = 60.0,
    progress: bool | None = None,
    shards_limit_bytes: int = LIMIT_BYTES,
) -> Run:
    """Return the finished (or stopped) run of an experiment.

    The run lives in ``<out>/<dataset>-ipc<k>-<method>-<hash>/``. Started again, it goes on
    from its last checkpoint and gives the same bytes as if it had never stopped; a run
    that is done is returned as it is. A file ``STOP`` in the folder, SIGINT or SIGTERM end
    it with a checkpoint, also while it still loads or compiles; once the last step is
    taken the closing files are written first. A second signal ends it at once.

    Args:
        experiment: what to run.
        out: folder that holds run folders; None for ``runs``.
        resume: go on if the run folder exists; False refuses.
        callbacks: called after each chunk with a ``Progress``; one that returns True
            ends the run with a checkpoint.
        checkpoint_s: seconds between checkpoints (also written at each validation).
        progress: show a progress bar; None: only on a terminal or in a notebook.
        shards_limit_bytes: most that the data a method makes first (the experts of MTT)
            may take; they lie in ``<out>/shared`` and serve every run that fits.

    Returns:
        The run.

    Raises:
        ValueError: the experiment does not fit its data, or the folder is another's.
        FileExistsError: the run folder exists and ``resume`` is False.
        RunLockedError: another process is working on the run.
        DivergedError: a quantity is not finite; the sentence says which and when.
        OSError: the run folder cannot be written.

    Whatever a callback raises comes through as it is.
    """
    checks.check_positive("checkpoint_s", checkpoint_s)
    with heed_signals() as request:
        resolved = experiment.resolve()
        wanted = wanted_shards(resolved, limit_bytes=shards_limit_bytes)
        settings = (callbacks, checkpoint_s, progress, request, wanted)
        return _distill(resolved, out, resume, settings)


def _distill(
    resolved: ResolvedExperiment,
    out: str | Path | None,
    resume: bool,
    settings: tuple[Sequence[Callback], float, bool | None, StopRequest, Shards | None],
) -> Run:
    store = RunStore(Path("runs" if out is None else out) / resolved.name)
    if store.path.exists() and not resume:
        raise FileExistsError(
            f"The run folder {store.path} exists. Use resume=True to go on with it, or "
            "another out."
        )
    worker: _Worker | None = None
    try:
        with store.lock():
            store.write_experiment({**resolved.description}, resolved.hash)
            run = Run.open(store.path)
            if run.is_done:
                return run
            worker = _Worker(resolved, store, *settings)
            worker.run()
    except OSError as error:
        if worker is not None and error is worker.callback_error:
            raise
        if isinstance(error, FileExistsError) and not store.path.is_dir():
            error = NotADirectoryError(error.errno, "not a folder")
        raise _unwritable(store.path, error) from error
    return Run.open(store.path)


def _unwritable(path: Path, error: OSError) -> OSError:
    reason = error.strerror or str(error)
    return type(error)(
        f"The run folder {path} cannot be written: {reason}. What is already in it is "
        "kept; free some space or choose another out."
    )


class _Worker:
    """The mutable part of one run: state on the device, rows not yet written."""

    def __init__(
        self,
        resolved: ResolvedExperiment,
        store: RunStore,
        callbacks: Sequence[Callback],
        checkpoint_s: float,
        progress: bool | None,
        request: StopRequest,
        wanted: Shards | None,
    ) -> None:
        settings = resolved.settings
        self.resolved, self.settings, self.store = resolved, settings, store
        self.callbacks, self.checkpoint_s = callbacks, checkpoint_s
        self.progress, self.request, self.wanted = progress, request, wanted
        self.callback_error: OSError | None = None
        dataset = resolved.dataset
        network = build(
            resolved.network,
            image_shape=dataset.image_shape,
            num_classes=dataset.num_classes,
        )
        static = settings.method.static()
        self.method = static.build(network)
        self.first_state = loop.first_state(static, network)
        self.chunk = loop.chunk(
            static,
            network,
            num_classes=dataset.num_classes,
            batch_size=resolved.batch_size,
        )
        self.knobs = settings.method.knobs(steps=settings.steps)
        self.keys = loop.run_keys(settings.seed)
        self.step = 0
        self.elapsed_s = 0.0
        self.steps_per_s = 0.0
        # Diagnostics of the steps since the last row of metrics.
        self.pending: list[dict[str, float]] = []

    # --- the course of a run ---------------------------------------------------------

    def run(self) -> None:
        store = self.store
        store.clear_stop()
        store.write_environment()
        self.status("running")
        try:
            with Checkpoints(store.path / "checkpoints") as checkpoints:
                self.checkpoints = checkpoints
                is_new = self.start()
                if is_new and not self.is_stop_asked():
                    self.record()
                with run_bar(
                    store.path.name,
                    step=self.step,
                    steps=self.settings.steps,
                    progress=self.progress,
                ) as bar:
                    stopped = self.advance(bar)
            # Also after a request that came with the last step.
            self.store.clear_stop()
            if stopped:
                self.status("stopped")
                return
            self.finish()
            self.status("done")
        except BaseException as error:
            reason = str(error) or type(error).__name__
            self.status("failed", reason=reason)
            raise

    def start(self) -> bool:
        """Draw the first state or go on from the last checkpoint; say if it is the former."""
        data = self.resolved.train
        images, classes = first_images(self.resolved)
        labels = np.eye(data.num_classes, dtype=np.float32)[classes]
        labels = self.settings.method.first_labels(
            jnp.asarray(labels - 1 / data.num_classes)
        )
        self.state = self.first_state(self.keys.networks, jnp.asarray(images), labels)
        stored = self.checkpoints.restore(self.state, experiment=self.resolved.hash)
        if stored is not None:
            self.step, self.state = stored.step, stored.state
            self.pending = stored.notes["pending"]
            self.elapsed_s = stored.notes["elapsed_s"]
        self.store.cut_metrics(self.step if stored is not None else -1)
        self.targets = loop.targets(
            data, drawing=self.resolved.drawing, extra=self.extra()
        )
        return stored is None

    def is_stop_asked(self) -> bool:
        return self.request.asked or self.store.stop_requested

    def extra(self) -> Any:
        """Return what the method needs on the device besides the real images."""
        if self.wanted is None:
            return ()
        with shards_bar(self.wanted, self.progress) as tell:
            kept = gathered(self.wanted, self.store.path.parent, tell=tell)
        return jax.tree.map(jnp.asarray, kept)

    def advance(self, bar: Any) -> bool:
        """Take steps until the end or a request to stop; say whether it was the latter."""
        settings = self.settings
        saved = beat = time.monotonic()
        # Asked for while it loaded: a new run starts again from its seed, another from
        # its checkpoint.
        if self.step < settings.steps and self.is_stop_asked():
            return True
        while self.step < settings.steps:
            began = self.step
            seconds = self.take_chunk()
            self.elapsed_s += seconds
            self.steps_per_s = (self.step - began) / seconds
            rows = self.record()
            stop = self.call_back(rows)
            stop = stop or self.is_stop_asked()
            bar.update(self.step - began)
            if rows:
                bar.set_postfix(postfix(rows))
            now = time.monotonic()
            last = self.step == settings.steps
            if stop or last or self.is_validation() or now - saved > self.checkpoint_s:
                self.save()
                saved = now
            if now - beat > _HEARTBEAT_S:
                self.status("running")
                beat = now
            if stop and not last:
                return True
        return False

    def take_chunk(self) -> float:
        """Run the compiled loop up to the next event; return its seconds."""
        count = min(
            loop.RECORD_LENGTH, events.next_event(self.settings, self.step) - self.step
        )
        # The first call compiles and tells nothing of the speed.
        paced = int(self.steps_per_s * _CHUNK_S) if self.steps_per_s else 1
        count = max(1, min(count, paced))
        began = time.monotonic()
        result = self.chunk(
            self.keys, self.state, self.targets, self.knobs, self.step, count
        )
        done = int(result.done)
        seconds = max(time.monotonic() - began, 1e-9)
        self.state = result.state
        infos = jax.tree.map(lambda leaf: np.asarray(leaf[:done]), result.infos)
        failed = int(infos.failure[-1])
        if failed:
            quantity = self.method.quantities[failed - 1]
            raise self.diverged(self.step + done - 1, quantity)
        # Whatever is saved must be worth going on from.
        if not loop.all_finite(self.state):
            raise self.diverged(self.step + done - 1, "the state after the update")
        fields = [name for name in infos._fields if name not in ("failure", "member")]
        self.pending += [
            {name: float(getattr(infos, name)[place]) for name in fields}
            for place in range(done)
        ]
        self.step += done
        return seconds

    def record(self) -> list[dict[str, Any]]:
        """Write what is due at this step: metrics, validation, snapshot."""
        rows, self.pending = events.summarise(self.pending, self.settings, self.step)
        if self.is_validation() or self.step == 0:
            self.distilled().save(self.store.snapshot_path(self.step))
            if self.resolved.validation is not None:
                images, labels = map(np.asarray, self.method.distilled(self.state))
                accuracies = events.validate(
                    self.resolved, images, labels, self.learned()
                )
                rows.append({"step": self.step, "kind": "validation", **accuracies})
        self.store.append_metrics(rows)
        return rows

    def is_validation(self) -> bool:
        return events.is_validation(self.settings, self.step)

    def finish(self) -> None:
        """Choose the result and write the closing files."""
        chosen = events.choose(self.store.metrics(), self.settings)
        images, labels = self.method.distilled(self.state)
        learned = self.learned()
        if self.settings.protocol != "last":
            path = self.store.snapshot_path(chosen["step"])
            stored = DistilledSet.load(path)
            images, labels = stored.images, stored.labels
            learned = stored.manifest.get("learned")
        distilled = events.distilled_set(self.resolved, images, labels, chosen, learned)
        self.store.compact_metrics()
        self.store.write_preview(distilled)
        # Last: this file says that the run is whole.
        distilled.save(self.store.path / "distilled.safetensors")

    # --- pieces ----------------------------------------------------------------------

    def distilled(self) -> DistilledSet:
        """Return the distilled set as it is now, with its provenance."""
        images, labels = self.method.distilled(self.state)
        chosen = {"step": self.step}
        return events.distilled_set(
            self.resolved, images, labels, chosen, self.learned()
        )

    def learned(self) -> dict[str, float]:
        """Return what belongs to the present set besides images and labels."""
        learned = self.method.learned(self.state)
        return {name: float(value) for name, value in learned.items()}

    def call_back(self, rows: list[dict[str, Any]]) -> bool:
        told = Progress(
            self.step, self.settings.steps, self.steps_per_s, rows, self.distilled
        )
        try:
            answers = [callback(told) for callback in self.callbacks]
        except OSError as error:
            # Not of the run folder: to be told apart from those that are.
            self.callback_error = error
            raise
        return any(answer is True for answer in answers)

    def save(self) -> None:
        notes = {
            "experiment": self.resolved.hash,
            "pending": self.pending,
            "elapsed_s": self.elapsed_s,
        }
        self.checkpoints.save(self.step, self.state, notes)

    def status(self, status: str, **more: Any) -> None:
        self.store.write_status(
            status=status,
            step=self.step,
            steps=self.settings.steps,
            steps_per_s=self.steps_per_s,
            elapsed_s=self.elapsed_s,
            **more,
        )

    def diverged(self, step: int, quantity: str) -> DivergedError:
        fix = self.method.remedies.get(
            quantity, "Lower learning_rate, or look at the data."
        ).format(**self.resolved.description["method"])
        steps = self.checkpoints.steps
        kept = f"step {steps[-1]} is kept" if steps else "none was written yet"
        return DivergedError(
            f"At step {step} {quantity} became not finite (NaN or infinity). {fix} "
            f"Last good checkpoint: {kept}."
        )
