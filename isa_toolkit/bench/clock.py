"""Timing: what takes turns is compared, medians and spreads are reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from isa_toolkit.analysis.intervals import Interval, mean_interval

__all__ = ["Spread", "Turn", "paired_ratio", "spread", "take_turns"]


class Turn(NamedTuple):
    """What one measured call took.

    wall: seconds on the clock.
    cpu: seconds of processor time, over all threads of this process.
    """

    wall: float
    cpu: float


class Spread(NamedTuple):
    """Median and spread of repeats.

    median: of the repeats.
    low: the smallest.
    high: the largest.
    n: how many.
    """

    median: float
    low: float
    high: float
    n: int


def spread(values: Any) -> Spread:
    """Return median, smallest and largest of some numbers.

    Args:
        values: at least one.
    """
    array = np.asarray(values, np.float64)
    return Spread(
        float(np.median(array)), float(array.min()), float(array.max()), array.size
    )


def take_turns(
    functions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[Turn]]:
    """Return the times of functions that are called in turn, ``repeats`` times each.

    Neighbours in time share what else the machine does, so their ratio is steadier than
    either time. Every other round goes backwards, which keeps a slow drift out of it.

    Args:
        functions: name -> what to call; it must wait for its result.
        repeats: rounds.

    Returns:
        name -> one turn for each round.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in functions}
    names = list(functions)
    for round_number in range(repeats):
        for name in names if round_number % 2 == 0 else reversed(names):
            wall, cpu = time.perf_counter(), time.process_time()
            functions[name]()
            turns[name].append(
                Turn(time.perf_counter() - wall, time.process_time() - cpu)
            )
    return turns


def paired_ratio(over: list[Turn], under: list[Turn], kind: str = "wall") -> Interval:
    """Return the ratio of two functions' times, round by round, with its interval.

    The mean is over logarithms, so that the ratio turned round is its reciprocal.

    Args:
        over: the numerator's turns.
        under: the denominator's, of the same rounds.
        kind: ``"wall"`` or ``"cpu"``.

    Returns:
        The ratio and its 95 % interval over rounds.
    """
    logs = [
        np.log(getattr(a, kind) / getattr(b, kind))
        for a, b in zip(over, under, strict=True)
    ]
    interval = mean_interval(logs)
    return interval._replace(
        mean=float(np.exp(interval.mean)),
        low=float(np.exp(interval.low)),
        high=float(np.exp(interval.high)),
        half_width=float(np.exp(interval.high) - np.exp(interval.low)) / 2,
        kind="rounds in one process",
    )
