"""One run from its first images to its result: chunks, events, stop and resume.

The compiled loop knows nothing of files; everything that touches the disk, the clock or
the terminal happens here, between chunks. A checkpoint is written only after the events
of its step (metrics, validation, snapshot), so a resumed run neither repeats nor skips
one.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isa_toolkit import checks
from isa_toolkit.distill import loop
from isa_toolkit.distill.checkpoints import Checkpoints
from isa_toolkit.distill.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distill.result import Run
from isa_toolkit.distill.store import RunStore, versions
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluate.evaluation import run_evaluation
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
) -> Run:
    """Return the finished (or stopped) run of an experiment.

    The run lives in ``<out>/<dataset>-ipc<k>-<method>-<hash>/``. Started again, it goes on
    from its last checkpoint and gives the same bytes as if it had never stopped; a run
    that is done is returned as it is. A file ``STOP`` in the folder, SIGINT or SIGTERM end
    it with a checkpoint; a second signal ends it at once.

    Args:
        experiment: what to run.
        out: folder that holds run folders; None for ``runs``.
        resume: go on if the run folder exists; False refuses.
        callbacks: called after each chunk with a ``Progress``; one that returns True
            ends the run with a checkpoint.
        checkpoint_s: seconds between checkpoints (also written at each validation).
        progress: show a progress bar; None: only on a terminal or in a notebook.

    Returns:
        The run.

    Raises:
        ValueError: the experiment does not fit its data, or the folder is another's.
        FileExistsError: the run folder exists and ``resume`` is False.
        RunLockedError: another process is working on the run.
        DivergedError: a quantity is not finite; the sentence says which and when.
        OSError: the run folder cannot be written.
    """
    checks.check_positive("checkpoint_s", checkpoint_s)
    resolved = experiment.resolve()
    store = RunStore(Path("runs" if out is None else out) / resolved.name)
    if store.path.exists() and not resume:
        raise FileExistsError(
            f"The run folder {store.path} exists. Use resume=True to go on with it, or "
            "another out."
        )
    try:
        with store.lock():
            store.write_experiment({**resolved.description}, resolved.hash)
            run = Run.open(store.path)
            if run.is_done:
                return run
            _Worker(resolved, store, callbacks, checkpoint_s, progress).run()
    except OSError as error:
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


def first_images(resolved: ResolvedExperiment) -> tuple[np.ndarray, np.ndarray]:
    """Return the real images that the distilled set starts from, and their classes.

    Args:
        resolved: the experiment.

    Returns:
        Network inputs [m, h, w, ch], class by class, and class numbers [m]. They
        depend on data, seed and images per class alone.

    Source: algorithms 1.1, "Synthetic init".
    """
    settings, train = resolved.settings, resolved.train
    labels = train.train.labels
    key = loop.run_keys(settings.seed).first_images
    order = np.asarray(jax.random.permutation(key, len(labels)))
    count = settings.images_per_class
    chosen = np.concatenate(
        [order[labels[order] == c][:count] for c in range(train.num_classes)]
    )
    return train.preprocessing.apply(train.train.images[chosen]), labels[chosen]


class _Worker:
    """The mutable part of one run: state on the device, rows not yet written."""

    def __init__(
        self,
        resolved: ResolvedExperiment,
        store: RunStore,
        callbacks: Sequence[Callback],
        checkpoint_s: float,
        progress: bool | None,
    ) -> None:
        settings = resolved.settings
        self.resolved, self.settings, self.store = resolved, settings, store
        self.callbacks, self.checkpoint_s = callbacks, checkpoint_s
        self.progress = progress
        dataset = resolved.dataset
        network = build(
            settings.network,
            image_shape=dataset.image_shape,
            num_classes=dataset.num_classes,
        )
        static = settings.method.static()
        self.method = static.build(network)
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
        self.interrupted = False

    # --- the course of a run ---------------------------------------------------------

    def run(self) -> None:
        store = self.store
        store.clear_stop()
        store.write_environment()
        self.status("running")
        try:
            with Checkpoints(store.path / "checkpoints") as checkpoints:
                self.checkpoints = checkpoints
                self.start()
                with _signals(self), self.bar() as bar:
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

    def start(self) -> None:
        """Draw the first state, and go on from the last checkpoint if there is one."""
        data = self.resolved.train
        images, classes = first_images(self.resolved)
        labels = np.eye(data.num_classes, dtype=np.float32)[classes]
        labels = self.settings.method.first_labels(
            jnp.asarray(labels - 1 / data.num_classes)
        )
        self.state = jax.jit(self.method.init)(
            self.keys.networks, jnp.asarray(images), labels
        )
        stored = self.checkpoints.restore(self.state, experiment=self.resolved.hash)
        if stored is not None:
            self.step, self.state = stored.step, stored.state
            self.pending = stored.notes["pending"]
            self.elapsed_s = stored.notes["elapsed_s"]
        self.store.cut_metrics(self.step if stored is not None else -1)
        self.targets = loop.Targets(
            jnp.asarray(data.inputs("train")), jnp.asarray(data.train.labels)
        )
        if stored is None:
            self.events()

    def advance(self, bar: Any) -> bool:
        """Take steps until the end or a request to stop; say whether it was the latter."""
        settings = self.settings
        saved = beat = time.monotonic()
        while self.step < settings.steps:
            began = self.step
            seconds = self.take_chunk()
            self.elapsed_s += seconds
            self.steps_per_s = (self.step - began) / seconds
            rows = self.events()
            stop = self.call_back(rows)
            stop = stop or self.interrupted or self.store.stop_requested
            bar.update(self.step - began)
            if rows:
                bar.set_postfix(_postfix(rows))
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
        count = min(loop.RECORD_LENGTH, self.next_event() - self.step)
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

    def next_event(self) -> int:
        """Return the next step at which the loop must come back."""
        every, steps = self.settings.validation_every, self.settings.steps
        return min(steps, (self.step // every + 1) * every) if every else steps

    def is_validation(self) -> bool:
        every = self.settings.validation_every
        if not every:
            return False
        return self.step % every == 0 or self.step == self.settings.steps

    def events(self) -> list[dict[str, Any]]:
        """Write what is due at this step: metrics, validation, snapshot."""
        rows = self.summarise_pending()
        if self.is_validation() or self.step == 0:
            self.distilled().save(self.store.snapshot_path(self.step))
            if self.resolved.validation is not None:
                rows.append(
                    {"step": self.step, "kind": "validation", **self.validate()}
                )
        self.store.append_metrics(rows)
        return rows

    def summarise_pending(self) -> list[dict[str, Any]]:
        """Return a row of means for each logging interval that is complete."""
        every = self.settings.log_every or 1
        rows = []
        step = self.step - len(self.pending)
        while self.pending:
            end = min((step // every + 1) * every, self.settings.steps)
            if end > self.step:
                break
            part, self.pending = self.pending[: end - step], self.pending[end - step :]
            means = {
                name: float(np.mean([info[name] for info in part])) for name in part[0]
            }
            rows.append({"step": end, "kind": "train", **means})
            step = end
        return rows

    def validate(self) -> dict[str, float]:
        """Return the accuracies of fresh networks trained on the present images."""
        assert self.resolved.validation is not None
        images, labels = map(np.asarray, self.method.distilled(self.state))
        result = run_evaluation(
            images,
            labels,
            *self.resolved.validation,
            self.resolved.evaluation,
            num_classes=self.resolved.dataset.num_classes,
        )
        return {
            "accuracy": float(np.mean(result.network)),
            "ridge_accuracy": float(np.mean(result.ridge)),
        }

    def finish(self) -> None:
        """Choose the result and write the closing files."""
        rows = [row for row in self.store.metrics() if row["kind"] == "validation"]
        step = self.settings.steps
        chosen: dict[str, Any] = {"protocol": self.settings.protocol, "step": step}
        if self.settings.protocol != "last":
            # The earliest of equally good ones; step 0 is the real images.
            best = max(rows, key=lambda row: (row["accuracy"], -row["step"]))
            chosen = {**chosen, "step": best["step"], "accuracy": best["accuracy"]}
            stored = DistilledSet.load(self.store.snapshot_path(best["step"]))
            distilled = self.distilled(stored.images, stored.labels, chosen)
        else:
            distilled = self.distilled(chosen=chosen)
        self.store.compact_metrics()
        self.store.write_preview(distilled)
        # Last: this file says that the run is whole.
        distilled.save(self.store.path / "distilled.safetensors")

    # --- pieces ----------------------------------------------------------------------

    def distilled(
        self,
        images: Any = None,
        labels: Any = None,
        chosen: dict[str, Any] | None = None,
    ) -> DistilledSet:
        """Return a distilled set with its provenance: the present one by default."""
        if images is None:
            images, labels = self.method.distilled(self.state)
        description = self.resolved.description
        return DistilledSet.from_inputs(
            images,
            labels,
            preprocessing=self.resolved.dataset.preprocessing,
            class_names=self.resolved.dataset.class_names,
            manifest={
                "experiment": description,
                "hash": self.resolved.hash,
                "network": description["network"],
                "selection": chosen or {"step": self.step},
                "versions": versions(),
            },
        )

    def call_back(self, rows: list[dict[str, Any]]) -> bool:
        told = Progress(
            self.step, self.settings.steps, self.steps_per_s, rows, self.distilled
        )
        answers = [callback(told) for callback in self.callbacks]
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
        fix = (
            f"Raise ridge (now {self.settings.method.ridge:g}) or lower learning_rate."  # pyright: ignore[reportAttributeAccessIssue]
            if "ridge" in quantity
            else "Lower learning_rate, or look at the data."
        )
        steps = self.checkpoints.steps
        kept = f"step {steps[-1]} is kept" if steps else "none was written yet"
        return DivergedError(
            f"At step {step} {quantity} became not finite (NaN or infinity). {fix} "
            f"Last good checkpoint: {kept}."
        )

    def bar(self) -> Any:
        """Return a progress bar over all steps."""
        import tqdm.auto

        disable = None if self.progress is None else not self.progress
        return tqdm.auto.tqdm(
            total=self.settings.steps,
            initial=self.step,
            desc=self.store.path.name,
            unit="step",
            disable=disable,
        )


def _postfix(rows: list[dict[str, Any]]) -> dict[str, str]:
    shown = {}
    for row in rows:
        for name in ("loss", "accuracy"):
            if name in row:
                shown[name] = f"{row[name]:.4f}"
    return shown


@contextmanager
def _signals(worker: _Worker) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a request to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if worker.interrupted:
            raise KeyboardInterrupt(f"second signal {signal.Signals(number).name}")
        worker.interrupted = True

    before = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
