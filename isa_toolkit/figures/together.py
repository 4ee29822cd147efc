"""The missing runs of a study, those that can share a program in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isa_toolkit.distillation import Experiment, Progress, distill_grid
from isa_toolkit.distillation.param_grid import programs

__all__ = ["distil_together"]


def distil_together(
    experiments: Sequence[Experiment],
    *,
    folder: Path,
    stop: threading.Event,
    tell: Callable[[int, int], Any] | None = None,
) -> None:
    """Distil what is missing, runs that differ only in knobs as one program.

    Args:
        experiments: any number.
        folder: of the run folders.
        stop: set to stop; unset again when this ends.
        tell: called with (done, of how many), first with what was there.

    Raises:
        KeyboardInterrupt: it was stopped; each run has a checkpoint.
        DivergedError: some runs' numbers are not finite; those beside them are done.
    """
    missing = [
        one
        for one in experiments
        if not (folder / one.resolve().name / "distilled.safetensors").is_file()
    ]
    ended = set[Path]()

    def say() -> None:
        if tell is not None:
            tell(len(experiments) - len(missing) + len(ended), len(experiments))

    def after_chunk(told: Progress) -> bool:
        if told.step == told.steps:
            ended.add(told.path)
            say()
        return stop.is_set()

    say()
    try:
        for group in programs(missing):
            runs = distill_grid(
                group, out=folder, progress=False, callbacks=[after_chunk]
            )
            for run in runs:
                if not run.is_done:
                    raise KeyboardInterrupt(f"stopped at step {run.step} of {run.path}")
    finally:
        stop.clear()
