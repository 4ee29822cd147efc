"""Progress of a sweep on a terminal or in a notebook: one bar for each group that runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from isa_toolkit.sweeps.folder import Sweep
from isa_toolkit.sweeps.states import run_state

__all__ = ["sweep_bars"]

_EVERY_S = 0.5


@contextmanager
def sweep_bars(
    sweep: Sweep, progress: bool | None, tell: Callable[[str], None] | None
) -> Iterator[_Bars]:
    """Show bars as long as the context is entered: all runs, and each group that runs.

    Args:
        sweep: what is shown.
        progress: show bars; None: only on a terminal or in a notebook.
        tell: called with a line when something has happened to a group.
    """
    bars = _Bars(sweep, progress, tell)
    try:
        yield bars
    finally:
        bars.close()


class _Bars:
    """A bar of finished runs, and one of steps for each group that runs."""

    def __init__(
        self,
        sweep: Sweep,
        progress: bool | None,
        tell: Callable[[str], None] | None,
    ) -> None:
        import tqdm.auto

        self._sweep, self._tell = sweep, tell
        self._tqdm: Any = tqdm.auto.tqdm
        self._disable = None if progress is None else not progress
        self._looked = -_EVERY_S
        self._groups: dict[str, Any] = {}
        runs = sum(map(len, sweep.groups.values()))
        self._all = self._tqdm(
            total=runs, desc=sweep.name, unit="run", disable=self._disable
        )

    def say(self, line: str) -> None:
        """Tell a line, above the bars."""
        if self._tell is not None:
            with self._tqdm.external_write_mode():
                self._tell(line)

    def look(self) -> None:
        """Look how far the runs are, not more often than is worth it."""
        if self._all.disable or time.monotonic() - self._looked < _EVERY_S:
            return
        self._looked = time.monotonic()
        done = 0
        for group, runs in self._sweep.groups.items():
            states = [run_state(self._sweep.out / run["name"]) for run in runs]
            done += sum(one.state == "done" for one in states)
            is_going = self._sweep.group_status(group).get("state") == "running"
            if is_going and group not in self._groups:
                self._groups[group] = self._tqdm(
                    total=sum(int(run["description"]["steps"]) for run in runs),
                    desc=group,
                    unit="step",
                    leave=False,
                    disable=self._disable,
                )
            if is_going:
                _move(self._groups[group], sum(one.step for one in states))
            elif group in self._groups:
                self._groups.pop(group).close()
        _move(self._all, done)

    def close(self) -> None:
        """Leave the bar of all as it stands."""
        self._looked = -_EVERY_S
        self.look()
        for bar in [*self._groups.values(), self._all]:
            bar.close()


def _move(bar: Any, to: int) -> None:
    bar.n = to
    bar.refresh()
