"""The compiled loop of one run or of many, with the numbers of its runs in place.

It says nothing of files or the clock: how many steps are taken when is the ``course``'s
affair. With several processes each has the same program and makes the same calls; all
but the leader make those that they are told (``follow``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from isa_toolkit.distillation import distributed as processes
from isa_toolkit.distillation import loop
from isa_toolkit.distillation.prefetch import Blocks, is_streamed
from isa_toolkit.distillation.run_state import Part, Worker
from isa_toolkit.distillation.sharding import Layout

__all__ = ["Alone", "Program", "Together", "assemble", "follow"]

# Steps to take of each run -> what they gave.
Program = Callable[[Sequence[int]], list[Part]]


class Alone:
    """The compiled loop of one run.

    Args:
        worker: the run, started.
        targets: its real images, on the devices.
        layout: of the devices; None for one.
    """

    def __init__(
        self, worker: Worker, targets: loop.Targets, layout: Layout | None = None
    ) -> None:
        self._worker, self._targets, self._layout = worker, targets, layout
        fixed = worker.keys, worker.traced, worker.state()
        if layout is not None:
            fixed = layout.everywhere(fixed)
        self._keys, self._traced, self._state = fixed
        self._chunk = loop.chunk(
            worker.method,
            worker.network,
            num_classes=worker.resolved.dataset.num_classes,
            batch_size=worker.resolved.batch_size,
            streamed=is_streamed(worker.resolved, targets),
            **({} if layout is None else {"layout": layout}),
        )
        self._put = jax.device_put if layout is None else layout.everywhere
        self._blocks: Blocks | None = None

    def __call__(self, counts: Sequence[int]) -> list[Part]:
        """Take so many steps, or as many as there are batches; return what they gave."""
        [count] = counts
        step, targets = self._worker.step, self._targets
        if is_streamed(self._worker.resolved, targets):
            if self._blocks is None:
                self._blocks = Blocks(self._worker, targets, put=self._put)
            targets, room = self._blocks.at(step)
            count = min(count, room)
        numbers = np.int32(step), np.int32(count)
        state, infos, done = self._chunk(
            self._keys, self._state, targets, self._traced, *self._put(numbers)
        )
        self._state = state
        infos, done, is_finite = jax.device_get((infos, done, loop.all_finite(state)))
        return [
            Part(
                int(done),
                _at(infos, slice(done)),
                bool(is_finite),
                lambda: state if self._layout is None else _here(state),
            )
        ]


class Together:
    """The compiled loop of many runs that differ in what is traced.

    Args:
        workers: the runs, started; their states move into the program's.
        targets: their real images, on the devices.
        side_by_side: see ``loop.grid_chunk``.
        lanes: runs that the program has room for, at least as many as there are and a
            multiple of the layout's rows: so grids of several sizes can share it. What is
            left over stays idle.
        layout: of the devices; None for one.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        targets: loop.Targets,
        *,
        side_by_side: bool,
        lanes: int,
        layout: Layout | None = None,
    ) -> None:
        first = workers[0]
        self._workers, self._targets, self._layout = workers, targets, layout
        self._lanes, self._idle = lanes, lanes - len(workers)
        filled = [*workers, *[workers[-1]] * self._idle]
        self._keys, self._traced, self._state = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
            for trees in (
                [worker.keys for worker in filled],
                [worker.traced for worker in filled],
                [worker.state() for worker in filled],
            )
        )
        if layout is not None:
            self._keys, self._traced, self._state = layout.over_runs(
                (self._keys, self._traced, self._state)
            )
        for place, worker in enumerate(workers):
            worker.state = partial(self.state_of, place)
        self._chunk = loop.grid_chunk(
            first.method,
            first.network,
            num_classes=first.resolved.dataset.num_classes,
            batch_size=first.resolved.batch_size,
            side_by_side=side_by_side,
            **({} if layout is None else {"layout": layout}),
        )

    def __call__(self, counts: Sequence[int]) -> list[Part]:
        """Take so many steps of each run; return what they gave."""
        idle = [0] * self._idle
        start = [worker.step for worker in self._workers] + idle
        numbers = np.asarray(start, np.int32), np.asarray([*counts, *idle], np.int32)
        put = jax.device_put if self._layout is None else self._layout.over_runs
        self._state, infos, done = self._chunk(
            self._keys, self._state, self._targets, self._traced, *put(numbers)
        )
        finite = loop.lanes_finite(self._layout)(self._state)
        infos, done, finite = jax.device_get((infos, done, finite))
        return [
            Part(
                int(done[place]),
                _at(infos, (place, slice(done[place]))),
                bool(finite[place]),
                partial(self.state_of, place),
            )
            for place in range(len(self._workers))
        ]

    def state_of(self, place: int) -> PyTree:
        """Return the state of one run, taken out now.

        With several processes all call it, but what the others get means nothing.

        Args:
            place: of the run.
        """
        if self._layout is None:
            return loop.lane(self._state, place)
        owner = self._layout.owner(place, self._lanes)
        is_mine, is_leader = owner == jax.process_index(), processes.is_leader()
        if is_leader and not is_mine:
            processes.tell({"do": "lend", "place": place})
        if is_mine:
            row, inside = self._layout.row_of(self._state, place, self._lanes)
            state = loop.lane(row, inside)
            if is_leader:
                return state
        else:
            state = jax.tree.map(
                lambda leaf: np.zeros(leaf.shape[1:], leaf.dtype), self._state
            )
        return jax.tree.map(jnp.asarray, processes.share(state, owner))


def assemble(
    workers: Sequence[Worker],
    targets: loop.Targets,
    *,
    side_by_side: bool = False,
    lanes: int = 1,
    layout: Layout | None = None,
) -> Program:
    """Return the program of runs; with several processes the same in all of them.

    Args:
        workers: the runs; in the leader they are started, and their states are handed on.
        targets: their real images, on the devices.
        side_by_side: see ``loop.grid_chunk``.
        lanes: runs that it has room for; 1 for a single run.
        layout: of the devices; None for one.

    Raises:
        FollowerFailedError: in the leader, if another process could not load its part.
    """
    are_several, is_leader = processes.are_several(), processes.is_leader()
    if are_several:
        if is_leader:
            runs = [worker.resolved.hash for worker in workers]
            processes.tell({"do": "begin", "runs": runs, "lanes": lanes})
            failed = processes.which(False)
            if failed:
                raise processes.FollowerFailedError(
                    f"Process {failed[0]} could not load what is distilled; its own "
                    "output says why."
                )
        for worker in workers:
            worker.take_over(processes.share(worker.state()))
    if lanes == 1:
        program: Program = Alone(workers[0], targets, layout)
    else:
        program = Together(
            workers, targets, side_by_side=side_by_side, lanes=lanes, layout=layout
        )
    return partial(_led, program, workers) if are_several and is_leader else program


@processes.together()
def follow(
    workers: Sequence[Worker],
    load: Callable[[], loop.Targets],
    *,
    side_by_side: bool = False,
    layout: Layout | None = None,
) -> None:
    """Do what the leader says, until it says that it is over.

    Args:
        workers: all runs; nothing of their folders is touched.
        load: for their real images.
        side_by_side: see ``loop.grid_chunk``.
        layout: of the devices.

    Raises:
        LeaderFailedError: the leader ended by an error.
        ProcessLostError: another process is gone.

    What ``load`` raises comes through once the leader knows of it.
    """
    known = {worker.resolved.hash: worker for worker in workers}
    targets: loop.Targets | None = None
    part: list[Worker] = []
    program: Any = None
    failure: Exception | None = None
    while True:
        message = processes.hear()
        match message["do"]:
            case "begin":
                part = [known[run] for run in message["runs"]]
                try:
                    targets = load() if targets is None else targets
                    for worker in part:
                        worker.stand_by()
                except Exception as error:  # noqa: BLE001 - raised once all know
                    failure = error
                if processes.which(failure is not None) or targets is None:
                    continue
                program = assemble(
                    part,
                    targets,
                    side_by_side=side_by_side,
                    lanes=message["lanes"],
                    layout=layout,
                )
            case "take":
                for worker, step in zip(part, message["from"], strict=True):
                    worker.step = step
                program(message["counts"])
                processes.which(part[0].request.asked)
            case "lend":
                program.state_of(message["place"])
            case _:
                if failure is not None:
                    raise failure
                if "failed" in message:
                    raise processes.LeaderFailedError(
                        f"Process 0 ended this: {message['failed']}"
                    )
                return


@processes.together()
def _led(
    program: Program, workers: Sequence[Worker], counts: Sequence[int]
) -> list[Part]:
    """Take steps in all processes; a signal to one of them is heard here."""
    steps = [worker.step for worker in workers]
    processes.tell({"do": "take", "from": steps, "counts": list(counts)})
    parts = program(counts)
    request = workers[0].request
    request.asked = bool(processes.which(request.asked))
    return parts


def _here(tree: PyTree) -> PyTree:
    """Return what lies whole everywhere as arrays of one device of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _at(infos: Any, places: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[places], infos)
