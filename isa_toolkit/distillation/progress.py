"""Progress of runs: a bar on terminals and in notebooks, lines of text elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

# Seconds between two lines where there is no terminal.
_LINE_S = 3.0
_LINE = "{desc}: step {n_fmt} of {total_fmt}, {remaining} left{postfix}"


class ProgressDisplay:
    """The display of one or several runs: how far they are, and what they do.

    Everything goes to standard error, in a notebook below the cell.

    Args:
        name: Name of the run or the runs.
        steps: Number of steps in total.
        done: Number of steps that were taken before.
        is_shown: Whether to show anything.
    """

    def __init__(
        self, name: str = "", *, steps: int = 0, done: int = 0, is_shown: bool
    ) -> None:
        self._bar: Any = None
        self._log: Any = sys.stderr
        self._is_first = True
        if not is_shown:
            return
        import tqdm.auto
        import tqdm.std

        options: dict[str, Any] = {}
        auto: Any = tqdm.auto
        if auto.notebook_tqdm is not tqdm.std.tqdm:
            self._log = sys.stdout
        elif not sys.stderr.isatty():
            options = {"file": _Lines(), "bar_format": _LINE, "mininterval": _LINE_S}
        self._bar = auto.tqdm(
            desc=name,
            total=steps,
            initial=done,
            unit="step",
            miniters=1,
            smoothing=0,
            postfix="compiling",
            **options,
        )

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, *details: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, steps: int, **shown: str) -> None:
        """Show that ``steps`` more are done, and some quantities of the last one."""
        if self._bar is None:
            return
        self._bar.set_postfix(shown, refresh=False)
        is_first, self._is_first = self._is_first, False
        if is_first:  # the time left counts no second compilation
            self._bar.initial = self._bar.n + steps
            self._bar.start_t = self._bar.last_print_t = time.time()
        self._bar.update(steps)
        if is_first:
            self._bar.refresh()

    def announce(self, text: str) -> None:
        """Show at once what happens now, in place of the quantities."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def log(self, line: str) -> None:
        """Write a line that stays."""
        if self._bar is not None:
            self._bar.write(line, file=self._log)


class _Lines:
    """A file for tqdm that takes each state of a bar as a line, each once."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        text = text.strip()
        if text and text != self._last:
            self._last = text
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
