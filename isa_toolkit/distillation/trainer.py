"""The training loop: chunks of steps, and what happens between them.

The compiled loop knows nothing of files; everything that uses the disk, the clock or the
terminal happens here and in ``RunState``, between chunks. With several processes each of
them runs this code; only process 0 writes.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from isa_toolkit.datasets.memory_map import available_bytes
from isa_toolkit.distillation import distributed, loop
from isa_toolkit.distillation.checkpoints import Checkpoints
from isa_toolkit.distillation.prefetch import PrefetchLoader
from isa_toolkit.distillation.run_state import RunState, Steps, writing
from isa_toolkit.distillation.sampling import TrainData
from isa_toolkit.distillation.sharding import DeviceMesh
from isa_toolkit.errors import CancelledError, DivergedError

__all__ = ["Trainer"]

# Chunks grow and shrink to about this length, so that a stop request is answered soon.
_CHUNK_S = 1.0
_HEARTBEAT_S = 1.0


class Trainer:
    """Takes runs of one program to their last step or to a request to stop.

    Args:
        runs: The runs, in locked folders; they differ only in traced values.
        vmapped: Whether the runs of a chunk are vmapped, see ``loop.chunk``.
        mesh: Devices; None for one device.
        memory_limit_bytes: Largest size of a program; None for 80 % of what the device
            has free.
        checkpoint_s: Number of seconds between checkpoints of a run.
        progress: Whether to show a progress bar; None: only on a terminal or in a
            notebook.
    """

    def __init__(
        self,
        runs: Sequence[RunState],
        *,
        vmapped: bool,
        mesh: DeviceMesh | None,
        memory_limit_bytes: int | None,
        checkpoint_s: float,
        progress: bool | None,
    ) -> None:
        self._runs, self._vmapped, self._mesh = list(runs), vmapped, mesh
        self._memory_limit_bytes = memory_limit_bytes
        self._checkpoint_s, self._progress = checkpoint_s, progress
        self._active: list[RunState] = []
        self._writes = distributed.is_writer()

    def train(self, load: Callable[[], TrainData], *, streamed: bool) -> None:
        """Run all runs, as many at once as fit into the memory.

        A run that diverges takes no more steps; ``RunState.failure`` has the reason. The
        others continue.

        Args:
            load: Function that returns the training data on the devices, or raises
                ``CancelledError``.
            streamed: Whether the images of the data are streamed; then the runs are
                computed one after the other.

        Raises:
            OSError: A run folder cannot be written.
            PeerFailedError: Another process failed.
            PeerLostError: Another process is gone.

        Whatever a callback raises is raised as it is.
        """
        try:
            self._open()
            data: TrainData | None = None

            def load_data() -> list[float]:
                nonlocal data
                with contextlib.suppress(CancelledError):
                    data = load()
                return [data is None]

            cancelled = distributed.together(load_data, 1).any()
            if cancelled or data is None:
                self._on_writer(lambda: [run.stop() for run in self._runs])
                return
            size = 1 if streamed else self._group_size(data)
            self._vmapped = self._vmapped and size > 1
            for start in range(0, len(self._runs), size):
                self._train_group(
                    self._runs[start : start + size], size, data, streamed
                )
        except BaseException as error:
            reason = str(error) or type(error).__name__
            for run in self._active if self._writes else ():
                # On a full disk this fails, too, and says nothing new.
                with contextlib.suppress(OSError):
                    run.write_status("failed", reason=reason)
            raise

    # --- one group -----------------------------------------------------------------------

    def _train_group(
        self, runs: list[RunState], size: int, data: TrainData, streamed: bool
    ) -> None:
        with contextlib.ExitStack() as stack:
            program = _Program(
                runs, self._start(runs, stack), size, data, self._vmapped, self._mesh
            )
            if streamed:
                program.stream()
            program.fetch_states()
            self._drop(runs, distributed.together(lambda: self._begin(runs), len(runs)))
            bar = stack.enter_context(self._bar(runs))
            length, told_at = 1, time.monotonic()
            while active := [run for run in runs if run in self._active]:
                counts = [
                    min(length, run.steps_until_event) if run in active else 0
                    for run in runs
                ]
                began = time.monotonic()
                with distributed.detect_lost_peer():
                    parts = program.take(counts)
                seconds = max(time.monotonic() - began, 1e-9)
                taken = sum(part.done for part in parts)
                for run, part in zip(runs, parts, strict=True):
                    if run in active:
                        try:
                            run.advance(part, seconds, seconds * part.done / taken)
                        except DivergedError as error:
                            run.failure = error
                bar.update(taken)
                program.fetch_states()
                beats = time.monotonic() - told_at > _HEARTBEAT_S
                told_at = time.monotonic() if beats else told_at
                work = partial(self._after_chunk, runs, seconds, beats, bar)
                agreed = distributed.together(work, 2 + len(runs))
                seconds = float(agreed[:, 0].max())
                runs[0].request.requested |= bool(agreed[:, 1].any())
                self._drop(runs, agreed[:, 2:])
                # A power of two, the same in all processes.
                if seconds > _CHUNK_S:
                    length = max(1, length // 2)
                elif seconds < _CHUNK_S / 2 and max(p.done for p in parts) == length:
                    length = min(loop.MAX_CHUNK, 2 * length)

    def _open(self) -> None:
        def open_all() -> None:
            for run in self._runs:
                with writing(run.path):
                    self._active.append(run)
                    run.open()

        self._on_writer(open_all)
        self._active = list(self._runs)

    def _start(self, runs: list[RunState], stack: contextlib.ExitStack) -> list[PyTree]:
        """Return the states of runs: the first ones, or those of their checkpoints."""
        states = [run.first_state() for run in runs]

        def restore() -> None:
            for index, run in enumerate(runs):
                with writing(run.path):
                    opened = Checkpoints(run.path / "checkpoints")
                    checkpoints = stack.enter_context(opened)
                    states[index] = run.restore(states[index], checkpoints)

        self._on_writer(restore)
        if distributed.is_distributed():
            steps = np.asarray([run.step for run in runs])
            states, steps = distributed.broadcast((states, steps))
            for run, step in zip(runs, steps, strict=True):
                run.step = int(step)
        return states

    def _begin(self, runs: list[RunState]) -> list[bool]:
        """Record step 0 of new runs; return which runs need no more steps."""
        ended = [False] * len(runs)
        for index, run in enumerate(runs):
            if not self._writes:
                continue
            if run.is_new and not run.is_stop_requested:
                with writing(run.path):
                    run.record()
            if run.is_last or run.is_stop_requested:
                self._close(run)
                ended[index] = True
        return ended

    def _drop(self, runs: list[RunState], ended: np.ndarray) -> None:
        """Forget the runs that ended, which process 0 decides."""
        for run, flag in zip(runs, ended[0], strict=True):
            if flag and run in self._active:
                self._active.remove(run)

    def _after_chunk(
        self, runs: list[RunState], seconds: float, beats: bool, bar: Any
    ) -> list[float]:
        """Write what is due; return seconds, whether to stop, and which runs ended."""
        ended = [False] * len(runs)
        for index, run in enumerate(runs):
            if self._writes and run in self._active:
                ended[index] = self._events(run, beats, bar, alone=len(runs) == 1)
        if self._writes and len(runs) > 1:
            bar.set_postfix({"running": f"{len(self._active)} of {len(runs)}"})
        return [seconds, runs[0].request.requested, *ended]

    def _events(self, run: RunState, beats: bool, bar: Any, *, alone: bool) -> bool:
        """Write what is due at the step of a run; return whether the run ended."""
        if run.failure is not None:
            with writing(run.path):
                run.write_status("failed", reason=str(run.failure), diverged=True)
            self._active.remove(run)
            return True
        with writing(run.path):
            rows = run.record()
        stop = run.call_back(rows) or run.is_stop_requested
        if alone and rows:
            last = rows[-1]
            shown = {n: f"{last[n]:.4f}" for n in ("loss", "accuracy") if n in last}
            bar.set_postfix(shown)
        ends = stop or run.is_last
        with writing(run.path):
            if ends or run.is_validation or run.unsaved_s > self._checkpoint_s:
                run.save()
            if beats:
                run.write_status("running")
        if ends:
            self._close(run)
        return ends

    def _close(self, run: RunState) -> None:
        with writing(run.path):
            if run.is_last:
                run.finish()
            else:
                run.stop()
        self._active.remove(run)

    def _on_writer(self, work: Callable[[], Any]) -> None:
        """Do some work in process 0; raise in every process if it fails."""

        def here() -> tuple[()]:
            if self._writes:
                work()
            return ()

        distributed.together(here)

    def _bar(self, runs: list[RunState]) -> Any:
        import tqdm.auto

        first = runs[0]
        name = f"{first.resolved.dataset.name}: {len(runs)} runs"
        disable = None if self._progress is None else not self._progress
        return tqdm.auto.tqdm(
            total=sum(run.settings.steps for run in runs),
            initial=sum(run.step for run in runs),
            desc=first.path.name if len(runs) == 1 else name,
            unit="step",
            disable=disable if self._writes else True,
        )

    # --- memory --------------------------------------------------------------------------

    def _group_size(self, data: TrainData) -> int:
        """Return how many runs fit into one program: halved until XLA's figure fits."""
        count, unit, local = len(self._runs), 1, 1
        if self._mesh is not None:
            unit, local = self._mesh.run_axis_size, len(self._mesh.mesh.local_devices)
        size = -(-count // unit) * unit
        if size == unit:
            return size
        limit = self._memory_limit_bytes or int(0.8 * _free_bytes(local))
        limit = int(distributed.together(lambda own=limit: [own], 1).min())
        needed = first = self._program_bytes(size, data)
        while needed > limit and size > unit:
            size = -(-size // (2 * unit)) * unit
            needed = self._program_bytes(size, data) if size > unit else 0
        if size < count:
            warnings.warn(
                f"{count} runs need {first / 2**20:,.0f} MiB of memory and may use "
                f"{limit / 2**20:,.0f} MiB: they run in groups of at most {size}.",
                stacklevel=4,
            )
        return size

    def _program_bytes(self, size: int, data: TrainData) -> int:
        """Return the memory that a program needs besides the data, by XLA's figures."""
        run, mesh = self._runs[0], self._mesh
        one = (run.method_settings, run.keys, run.first_state())
        sharding: Any = {} if mesh is None else {"sharding": mesh.run_sharded}

        def stacked(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype, **sharding)

        settings, keys, state = jax.tree.map(stacked, one)
        number = stacked(jax.ShapeDtypeStruct((), jnp.int32))
        program: Any = _chunk(run, self._vmapped, mesh, streamed=False)
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

    Args:
        runs: The runs.
        states: Their states, which move into the program.
        size: Number of runs of the program, at least as many as there are: so groups of
            several sizes share it.
        data: Training data, on the devices.
        vmapped: Whether the runs are vmapped.
        mesh: Devices; None for one device.
    """

    def __init__(
        self,
        runs: list[RunState],
        states: list[PyTree],
        size: int,
        data: TrainData,
        vmapped: bool,
        mesh: DeviceMesh | None,
    ) -> None:
        self._runs, self._data, self._mesh = runs, data, mesh
        self._vmapped, self._idle = vmapped, size - len(runs)
        self._put = jax.device_put if mesh is None else mesh.shard_runs
        filled = [*runs, *[runs[-1]] * self._idle]
        stacked = [
            _stack(trees)
            for trees in (
                [run.method_settings for run in filled],
                [run.keys for run in filled],
                [*states, *[states[-1]] * self._idle],
            )
        ]
        self._settings, self._keys, self._state = self._put(stacked)
        total = np.asarray([run.settings.steps for run in filled], np.int32)
        self._total = self._put(total)
        self._loader: PrefetchLoader | None = None
        self._chunk = _chunk(runs[0], vmapped, mesh, streamed=False)
        for index, run in enumerate(runs):
            run.state = partial(self.state_of, index)

    def stream(self) -> None:
        """Stream the real images of the only run to the device."""
        [run] = self._runs
        self._chunk = _chunk(run, self._vmapped, self._mesh, streamed=True)
        self._loader = PrefetchLoader(
            run.resolved,
            run.keys.order,
            run.step,
            self._data,
            put=jax.device_put if self._mesh is None else self._mesh.replicate,
        )

    def take(self, counts: Sequence[int]) -> list[Steps]:
        """Take some steps of each run, at most as many as there are batches for.

        Args:
            counts: Number of steps of each run.
        """
        data, start = self._data, [run.step for run in self._runs]
        if self._loader is not None:
            data, available = self._loader.batches_from(start[0])
            counts = [min(counts[0], available)]
        idle = [0] * self._idle
        numbers = self._put(
            (
                np.asarray([*start, *idle], np.int32),
                np.asarray([*counts, *idle], np.int32),
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
            for index in range(len(self._runs))
        ]

    def state_of(self, index: int) -> PyTree:
        """Return the state of one run; with several processes all must call this.

        Args:
            index: Index of the run.
        """
        if self._mesh is None:
            return loop.select_run(self._state, index)
        state = _replicated_run(self._mesh)(self._state, index)
        if distributed.is_distributed():
            state = jax.tree.map(lambda leaf: leaf.addressable_data(0), state)
        return state

    def fetch_states(self) -> None:
        """Fetch the states of all runs, if that takes several processes.

        Process 0 alone decides when it needs a state, but fetching one is a collective.
        """
        if distributed.is_distributed():
            for index, run in enumerate(self._runs):
                state = self.state_of(index)
                run.state = lambda state=state: state


def _chunk(
    run: RunState, vmapped: bool, mesh: DeviceMesh | None, *, streamed: bool
) -> loop.Chunk:
    settings: dict[str, Any] = {"vmapped": vmapped, "mesh": mesh, "streamed": streamed}
    return loop.chunk(
        run.network,
        num_classes=run.resolved.dataset.num_classes,
        batch_size=run.resolved.batch_size,
        **settings,
    )


@jax.jit
def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@cache
def _replicated_run(mesh: DeviceMesh) -> Callable[..., PyTree]:
    return jax.jit(loop.select_run, out_shardings=mesh.replicated)


def _free_bytes(devices: int) -> int:
    """Return the memory that each device has free; for a CPU that of the machine.

    Args:
        devices: Number of devices of this process in use; CPU devices share the memory.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return available_bytes() // devices
