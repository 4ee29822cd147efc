"""A sweep in one call: planned, shown, launched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from isa_toolkit.distillation import Experiment
from isa_toolkit.sweeps.folder import Sweep
from isa_toolkit.sweeps.launching import launch
from isa_toolkit.sweeps.planning import plan

__all__ = ["sweep"]


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def sweep(
    experiments: Experiment | Sequence[Experiment],
    *,
    seeds: Iterable[int] | None = None,
    drop_easy: Iterable[float] | None = None,
    drop_hard: Iterable[float] | None = None,
    segment: Iterable[tuple[float, float]] | None = None,
    learning_rate: Iterable[float] | None = None,
    out: str | Path = "runs",
    name: str | None = None,
    pack: bool | int | None = None,
    show: Callable[[str], None] = _print,
    **settings: Any,
) -> Sweep:
    """Plan a sweep, show its table with what it would cost, run it, and return it.

    Args:
        experiments: see ``plan``, as for all up to ``pack``.
        seeds: of the runs.
        drop_easy: shares to drop from the easy end.
        drop_hard: shares to drop from the hard end.
        segment: pairs (a, b).
        learning_rate: of the method.
        out: folder of run folders.
        name: of the sweep.
        pack: whether runs that can share a program do.
        show: called with the table.
        settings: of ``launch``.

    Returns:
        The sweep; see ``launch``.

    Raises:
        TypeError: data that are arrays in this process, a value of the wrong kind.
        ValueError: a value out of its range.
        SweepLockedError: another scheduler is working on the sweep.
        OSError: the folder of the sweep cannot be written.

    Example:
        Figure 5 is ``sweep(experiments, seeds=range(3))`` with one experiment for each of
        its seven settings.
    """
    made = plan(
        experiments,
        seeds=seeds,
        drop_easy=drop_easy,
        drop_hard=drop_hard,
        segment=segment,
        learning_rate=learning_rate,
        out=out,
        name=name,
        pack=pack,
    )
    show(made.text())
    return launch(made, **settings)
