"""A function of many items, a few at a time, that can be watched and stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

__all__ = ["side_by_side"]

T = TypeVar("T")


def side_by_side(
    function: Callable[[Any], T],
    items: Iterable[Any],
    told: str,
    *,
    workers: int,
    progress: bool | None,
    tell: Callable[[str, int, int], Any] | None,
    stop: threading.Event,
) -> list[T]:
    """Return ``function`` of each item, under a progress bar.

    Args:
        function: of one item.
        items: any number.
        told: what the bar says.
        workers: items at a time.
        progress: show the bar; None: on a terminal or in a notebook.
        tell: called with (told, done, of how many), first with none done.
        stop: looked at before each item; set while the first failure, or Ctrl-C, waits
            for the items in progress, and unset again.

    Returns:
        Results in the order of the items.

    Raises:
        KeyboardInterrupt: it was stopped.

    Whatever the function raises comes through as it is.
    """
    import tqdm.auto

    items = list(items)

    def call(item: Any) -> T:
        if stop.is_set():
            raise KeyboardInterrupt(f"stopped before the end of {told}")
        return function(item)

    def say(done: int) -> None:
        if tell is not None:
            tell(told, done, len(items))

    say(0)
    disable = None if progress is None else not progress
    with (
        tqdm.auto.tqdm(
            total=len(items), desc=told, disable=disable, leave=False
        ) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        futures = [pool.submit(call, item) for item in items]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                bar.update()
                say(done)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            stop.clear()
            raise
    return [future.result() for future in futures]
