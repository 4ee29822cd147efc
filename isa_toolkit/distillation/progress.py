"""The progress bar of a run."""

from __future__ import annotations

from typing import Any

__all__ = ["postfix", "run_bar"]


def run_bar(name: str, *, step: int, steps: int, progress: bool | None) -> Any:
    """Return a progress bar over all steps of a run, to be used as a context.

    Args:
        name: of the run.
        step: steps taken.
        steps: of the whole run.
        progress: show it; None: only on a terminal or in a notebook.
    """
    import tqdm.auto

    disable = None if progress is None else not progress
    return tqdm.auto.tqdm(
        total=steps, initial=step, desc=name, unit="step", disable=disable
    )


def postfix(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return what stands behind the bar: the last loss and accuracy.

    Args:
        rows: metrics.
    """
    shown = {}
    for row in rows:
        for name in ("loss", "accuracy"):
            if name in row:
                shown[name] = f"{row[name]:.4f}"
    return shown
