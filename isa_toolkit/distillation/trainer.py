"""The training loop: chunks of steps, and what happens between them.

The compiled loop knows nothing of files; everything that uses the disk, the clock or the
terminal happens here and in ``RunState``, between chunks. With several processes each of
them runs this code; only process 0 writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from isa_toolkit.distillation import distributed, loop
from isa_toolkit.distillation.checkpoints import Checkpoints
from isa_toolkit.distillation.prefetch import Placement, PrefetchLoader
from isa_toolkit.distillation.progress import ProgressDisplay
from isa_toolkit.distillation.run_state import RunState, Steps, writing
from isa_toolkit.distillation.sampling import TrainData, train_data
from isa_toolkit.distillation.sharding import DeviceMesh
from isa_toolkit.environment import available_bytes
from isa_toolkit.errors import CancelledError, RunLostError
from isa_toolkit.networks.compilation_cache import cache_once
from isa_toolkit.networks.pool import stack, take

# Chunks grow and shrink to about this length, so that a stop request is answered soon.
_CHUNK_S = 1.0
_HEARTBEAT_S = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
    """Takes runs of one program to their last step or to a request to stop.

    The runs, in locked folders, differ only in traced values; streamed ones are computed
    one after the other. The other fields are arguments of ``distill_grid``.
    """

    runs: list[RunState]
    placement: Placement
    vmapped: bool
    mesh: DeviceMesh | None
    checkpoint_s: float
    keep_checkpoints: int | None
    progress: bool | None

    def train(self) -> None:
        """Run all runs, as many at once as fit into the memory.

        A run that diverges takes no more steps; ``RunState.failure`` has the reason. The
        others continue. Whatever a callback raises is raised as it is.
        """
        with self._recorded_failure(), self._open_checkpoints() as checkpoints:
            for program in self._programs(checkpoints):
                runs = program.runs
                self._agree(runs, partial(self._begin, runs))
                with self._display(runs) as display:
                    for run in runs:
                        run.display = display
                    length, beat_at = 1, time.monotonic()
                    while any(run.is_active for run in runs):
                        began = time.monotonic()
                        with distributed.detect_lost_peer():
                            parts = program.take(length)
                        seconds = max(time.monotonic() - began, 1e-9)
                        _show(display, runs, _account(runs, parts, seconds))
                        program.fetch_states()
                        beats = time.monotonic() - beat_at > _HEARTBEAT_S
                        beat_at = time.monotonic() if beats else beat_at
                        write = partial(self._after_chunk, runs, beats)
                        seconds = self._agree(runs, write, seconds)
                        most = max(part.done for part in parts)
                        length = _next_length(length, seconds, is_full=most == length)

    @contextlib.contextmanager
    def _open_checkpoints(self) -> Iterator[contextlib.ExitStack]:
        """Close, in the end, what has been opened, without interruption."""
        with contextlib.ExitStack() as hold, contextlib.ExitStack() as checkpoints:
            try:
                yield checkpoints
            finally:
                hold.enter_context(self.runs[0].request.hold())

    def _on_writer(self, work: Callable[[], Any]) -> None:
        """Do some work in process 0; raise in every process if it fails."""

        def here() -> tuple[()]:
            if distributed.is_writer():
                work()
            return ()

        distributed.together(here)

    def _agree(
        self, runs: list[RunState], work: Callable[[], Any], seconds: float = 0.0
    ) -> float:
        """Do some work in process 0, which decides who is active; return most seconds."""
        request = runs[0].request

        def here() -> list[float]:
            if distributed.is_writer():
                work()
            return [seconds, request.requested, *(run.is_active for run in runs)]

        agreed = distributed.together(here, 2 + len(runs))
        request.requested |= bool(agreed[:, 1].any())
        for run, is_active in zip(runs, agreed[0, 2:], strict=True):
            run.is_active = bool(is_active)
        return float(agreed[:, 0].max())

    def _programs(self, checkpoints: contextlib.ExitStack) -> Iterator[_Program]:
        """Open the folders, load the data and return groups of runs, ready to start."""

        def open_all() -> None:
            for run in self.runs:
                with run.writing():
                    run.open()

        def load() -> list[float]:
            nonlocal data
            with contextlib.suppress(CancelledError):
                data = self._load()
            return [data is None]

        self._on_writer(open_all)
        for run in self.runs:
            run.is_active = True
        data: TrainData | None = None
        cancelled = distributed.together(load, 1).any()
        if cancelled or data is None:
            self._on_writer(self._stop_all)
            return
        streamed = self.placement == "host"
        size = 1 if streamed else self._group_size(data)
        vmapped = self.vmapped and size > 1
        for start in range(0, len(self.runs), size):
            runs = self.runs[start : start + size]
            states = self._restore(runs, checkpoints)
            program = _Program(
                runs, states, size, data, vmapped, self.mesh, streamed=streamed
            )
            program.fetch_states()
            yield program
            program.release()

    def _stop_all(self) -> None:
        for run in self.runs:
            with run.writing():
                run.stop()

    def _load(self) -> TrainData:
        """Return the training data on the devices, with what the method prepares."""
        resolved, path = self.runs[0].resolved, self.runs[0].path
        put: Any = jnp.asarray if self.mesh is None else self.mesh.replicate
        extra: Any = ()
        prepare = self.runs[0].method.prepare

        def check_cancelled() -> None:
            if all(run.is_stop_requested for run in self.runs):
                raise CancelledError("All runs should stop.")

        if prepare is not None:
            with writing(path):
                prepared = prepare(
                    resolved.method,
                    resolved.build_network(),
                    resolved.train.inputs("train"),
                    resolved.train.train.labels,
                    path.parent / "shared",
                    progress=self.progress,
                    check_cancelled=check_cancelled,
                )
            extra = jax.tree.map(put, prepared)
        return train_data(resolved, placement=self.placement, extra=extra, put=put)

    def _restore(
        self, runs: list[RunState], checkpoints: contextlib.ExitStack
    ) -> list[PyTree]:
        """Return the states of runs: the first ones, or those of checkpoints."""
        states = [run.first_state() for run in runs]

        def restore() -> None:
            for index, run in enumerate(runs):
                with run.writing(), run.request.hold():
                    opened = Checkpoints(
                        run.path / "checkpoints", keep=self.keep_checkpoints
                    )
                    checkpoints.enter_context(opened)
                    states[index] = run.restore(states[index], opened)

        self._on_writer(restore)
        steps = np.asarray([run.step for run in runs])
        states, steps = distributed.broadcast((states, steps))
        for run, step in zip(runs, steps, strict=True):
            run.step = int(step)
        return states

    def _begin(self, runs: list[RunState]) -> None:
        """Record the first step of new runs; end those that need no more steps."""
        for run in runs:
            with run.writing():
                if run.is_new and not run.is_stop_requested:
                    run.record()
                if run.is_last:
                    run.finish()
                elif run.is_stop_requested:
                    run.stop()

    def _after_chunk(self, runs: list[RunState], beats: bool) -> None:
        """Write what is due at the steps of the runs; end those that are to end."""
        for run in runs:
            if not run.is_active:
                continue
            if run.failure is not None:
                with run.writing():
                    run.write_status("failed", reason=str(run.failure), diverged=True)
                run.is_active = False
                continue
            with run.writing():
                rows = run.record()
            stop = run.call_back(rows) or run.is_stop_requested
            with run.writing():
                is_due = run.is_validation or run.unsaved_s > self.checkpoint_s
                if stop or run.is_last or is_due:
                    run.save()
                if beats:
                    run.write_status("running")
                if run.is_last:
                    run.finish()
                elif stop:
                    run.stop()

    @contextlib.contextmanager
    def _recorded_failure(self) -> Iterator[None]:
        """Write the reason of an error into the folders of the active runs."""
        try:
            yield
        except BaseException as error:
            reason = str(error) or type(error).__name__
            for run in self.runs if distributed.is_writer() else ():
                if run.is_active:
                    # On a full disk this fails, too, and says nothing new; a folder
                    # that was lost may be another process's by now.
                    with contextlib.suppress(OSError, RunLostError), run.writing():
                        run.write_status("failed", reason=reason)
            raise

    def _display(self, runs: list[RunState]) -> ProgressDisplay:
        first = runs[0]
        name = f"{first.resolved.dataset.name}: {len(runs)} runs"
        return ProgressDisplay(
            first.path.name if len(runs) == 1 else name,
            steps=sum(run.settings.steps for run in runs),
            done=sum(run.step for run in runs),
            is_shown=self.progress is not False and distributed.is_writer(),
        )

    def _group_size(self, data: TrainData) -> int:
        """Return how many runs fit into one program: halved until XLA's figure fits."""
        count, unit, local = len(self.runs), 1, 1
        if self.mesh is not None:
            unit, local = self.mesh.run_axis_size, len(self.mesh.mesh.local_devices)
        size = -(-count // unit) * unit
        if size == unit:
            return size
        limit = int(0.8 * _free_bytes(local))
        limit = int(distributed.together(lambda own=limit: [own], 1).min())
        needed = first = self._program_bytes(size, data)
        while needed > limit and size > unit:
            size = -(-size // (2 * unit)) * unit
            needed = self._program_bytes(size, data) if size > unit else 0
        if size < count:
            warnings.warn(
                f"{count} runs need {first / 2**20:,.0f} MiB of memory and may use "
                f"{limit / 2**20:,.0f} MiB: they run in groups of at most {size}.",
                stacklevel=5,
            )
        return size

    def _program_bytes(self, size: int, data: TrainData) -> int:
        """Return the memory that a program needs besides the data, by XLA's figures."""
        run, mesh = self.runs[0], self.mesh
        one = (run.method_settings, run.keys, run.first_state())
        sharding: Any = {} if mesh is None else {"sharding": mesh.run_sharded}

        def stacked(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype, **sharding)

        settings, keys, state = jax.tree.map(stacked, one)
        number = stacked(jax.ShapeDtypeStruct((), jnp.int32))
        program: Any = run.chunk(vmapped=self.vmapped, mesh=mesh)
        # The call after this one finds the program in JAX's cache.
        lowered = program.lower(settings, keys, state, data, number, number, number)
        used = lowered.compile().memory_analysis()
        if used is None:  # the backend has no figures
            return 0
        total = (
            used.argument_size_in_bytes
            + used.temp_size_in_bytes
            + used.output_size_in_bytes
            - used.alias_size_in_bytes
        )
        return total - sum(leaf.nbytes for leaf in jax.tree.leaves(data))


class _Program:
    """The compiled loop of a group of runs, with their stacked arrays.

    ``size`` is the number of runs of the program, at least as many as there are: so
    groups of several sizes share it. The states of the runs move into it.
    """

    def __init__(
        self,
        runs: list[RunState],
        states: list[PyTree],
        size: int,
        data: TrainData,
        vmapped: bool,
        mesh: DeviceMesh | None,
        *,
        streamed: bool = False,
    ) -> None:
        self.runs, self._data, self._mesh = runs, data, mesh
        self._idle = [0] * (size - len(runs))
        self._put = jax.device_put if mesh is None else mesh.shard_runs
        filled = [*runs, *(runs[-1] for _ in self._idle)]
        parts = [
            (run.method_settings, run.keys, state)
            for run, state in zip(
                filled, [*states, *(states[-1] for _ in self._idle)], strict=True
            )
        ]
        self._settings, self._keys, self._state = self._put(_stacked(parts))
        total = np.asarray([run.settings.steps for run in filled], np.int32)
        self._total = self._put(total)
        self._chunk = runs[0].chunk(vmapped=vmapped, mesh=mesh, streamed=streamed)
        self._loader: PrefetchLoader | None = None
        if streamed:
            self._loader = PrefetchLoader(
                runs[0].resolved,
                runs[0].keys.order,
                runs[0].step,
                data,
                put=jax.device_put if mesh is None else mesh.replicate,
            )
        for index, run in enumerate(runs):
            run.state = partial(self._state_of, index)

    def take(self, length: int) -> list[Steps]:
        """Take some steps of each active run, at most up to its next event."""
        data, start = self._data, [run.step for run in self.runs]
        if self._loader is not None:
            data, available = self._loader.batches_from(start[0])
            length = min(length, available)
        counts = [
            min(length, run.steps_until_event) if run.is_active else 0
            for run in self.runs
        ]
        numbers = self._put(
            (
                np.asarray([*start, *self._idle], np.int32),
                np.asarray([*counts, *self._idle], np.int32),
            )
        )
        result = self._chunk(
            self._settings, self._keys, self._state, data, *numbers, self._total
        )
        self._state = result.state
        infos, done, finite = jax.device_get(result[1:])
        return [
            Steps(
                int(done[index]),
                jax.tree.map(lambda leaf: leaf[index, : done[index]], infos),  # noqa: B023
                bool(finite[index]),
            )
            for index in range(len(self.runs))
        ]

    def _state_of(self, index: int) -> PyTree:
        """Return the state of one run; with several processes all must call this."""
        state = _take_on(self._mesh)(self._state, index)
        if distributed.is_distributed():
            state = jax.tree.map(lambda leaf: leaf.addressable_data(0), state)
        return state

    def fetch_states(self) -> None:
        """Fetch the states of all runs, if that takes several processes.

        Process 0 alone decides when it needs a state, but fetching one is a collective.
        """
        if distributed.is_distributed():
            for index, run in enumerate(self.runs):
                state = self._state_of(index)
                run.state = lambda state=state: state

    def release(self) -> None:
        """Free the memory of the states, for the next group."""
        del self._state
        for run in self.runs:
            del run.state


def _next_length(length: int, seconds: float, *, is_full: bool) -> int:
    """Return the length of the next chunk: a power of two, the same in all processes."""
    if seconds > _CHUNK_S:
        return max(1, length // 2)
    if seconds < _CHUNK_S / 2 and is_full:
        return min(loop.MAX_CHUNK, 2 * length)
    return length


def _account(runs: list[RunState], parts: list[Steps], seconds: float) -> int:
    """Account for the steps of a chunk; return how many all runs took."""
    taken = sum(part.done for part in parts)
    for run, part in zip(runs, parts, strict=True):
        if run.is_active:
            run.advance(part, seconds, seconds * part.done / taken)
    return taken


def _show(display: ProgressDisplay, runs: list[RunState], taken: int) -> None:
    """Show that runs took some steps, and the last loss or how many are running."""
    if len(runs) > 1:
        active = sum(run.is_active and run.failure is None for run in runs)
        display.update(taken, running=f"{active} of {len(runs)}")
        return
    last = runs[0].pending[-1] if runs[0].pending else {}
    names = ("loss", "target_accuracy")
    display.update(
        taken, **{name: f"{last[name]:.3g}" for name in names if name in last}
    )


# One program instead of one for each shape.
_stacked = jax.jit(stack)


@cache_once
def _take_on(mesh: DeviceMesh | None) -> Callable[..., PyTree]:
    """Return ``take``, compiled, whose result is whole on every device."""
    return jax.jit(take, out_shardings=None if mesh is None else mesh.replicated)


def _free_bytes(devices: int) -> int:
    """Return the memory that each device of this process has free.

    CPU devices share that of the machine.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return available_bytes() // devices
