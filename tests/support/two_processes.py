"""One of two processes that work on the same runs; run as a program it writes JSON.

Its words: which of the two it is, the port of the first, the folder for runs.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isa_toolkit.distillation import distributed


def main(me: int, port: int, out: Path) -> None:
    """Do everything that both processes do, and write how each part ended."""
    distributed.join(f"127.0.0.1:{port}", 2, me)
    from tiny_run import stop_at, tiny

    from isa_toolkit.distillation import distill, distill_grid, trainer

    reported: dict[str, Any] = {}

    def attempt(name: str, make: Callable[[], Any]) -> None:
        try:
            ended = make()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            reported[name] = [type(error).__name__, str(error)]
            return
        runs = ended if isinstance(ended, list) else [ended]
        reported[name] = [
            [one.path.name, one.status["status"], one.step] for one in runs
        ]

    def fail(progress: Any) -> None:
        raise ZeroDivisionError(f"of process {me}")

    def in_first(callback: Callable) -> list[Callable]:
        """Return a callback for process 0; in the other none is ever called."""
        return [callback if me == 0 else fail]

    attempt("whole", lambda: distill(tiny(), out=out / "whole"))
    # Two runs for each process; the last is an idle slot.
    grid = [tiny(drop_easy=0.1, steps=4), tiny(seed=3, steps=4), tiny()]
    attempt("grid", lambda: distill_grid(grid, out=out / "grid", devices=(2, 1)))
    trainer._CHUNK_S = 1e-9
    attempt(
        "stop",
        lambda: distill(tiny(), out=out / "again", callbacks=in_first(stop_at(11))),
    )
    attempt("again", lambda: distill(tiny(), out=out / "again"))
    attempt("done", lambda: distill(tiny(), out=out / "again"))
    attempt(
        "failed", lambda: distill(tiny(), out=out / "failed", callbacks=in_first(fail))
    )
    attempt("unlike", lambda: distill(tiny(seed=me), out=out / "unlike"))
    attempt("some", lambda: distill(tiny(), out=out / "some", devices=1))

    load = trainer.train_data

    def lost(*arguments: Any, **settings: Any) -> Any:
        if me == 1:
            raise FileNotFoundError("no data here")
        return load(*arguments, **settings)

    trainer.train_data = lost
    attempt("lost", lambda: distill(tiny(), out=out / "lost"))
    trainer.train_data = load

    take = trainer._Program.take

    def interrupted(self: Any, length: int) -> Any:
        if me == 1 and self.runs[0].step == 5:
            signal.raise_signal(signal.SIGTERM)
        return take(self, length)

    trainer._Program.take = interrupted  # type: ignore[method-assign]
    attempt("signal", lambda: distill(tiny(), out=out / "signal"))
    (out / f"reported-{me}.json").write_text(json.dumps(reported))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
