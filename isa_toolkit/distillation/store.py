"""The run folder: its files, and how they survive a crash.

``experiment.json`` (every setting), ``environment.json`` (versions and machine),
``metrics.jsonl`` (appended), ``checkpoints/`` (Orbax), ``snapshots/`` (the distilled images
at each validation), ``status.json``, and at the end ``distilled.safetensors``. Every file
is written under another name and renamed; metrics are appended line by line, and on
resuming whatever is later than the checkpoint is cut off. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import platform
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isa_toolkit.errors import InvalidValueError, RunLockedError
from isa_toolkit.files import read_json, write_atomically, write_json


@contextlib.contextmanager
def lock_folder(
    path: Path, refuse: Callable[[str], Exception], *, wait_s: float = 0.2
) -> Iterator[None]:
    """Lock a folder for this process; the system frees the lock if the process dies.

    ``holder.json`` in it describes the process that has the lock; if that is another one,
    what ``refuse`` makes of the description is raised. The default time to wait is for
    ``is_locked``, which takes the lock for an instant.
    """
    from filelock import FileLock, Timeout

    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=wait_s, poll_interval=0.02)
    except Timeout:
        holder = read_json(path / "holder.json") or {}
        raise refuse(
            f"process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'this machine')} "
            f"since {holder.get('since', 'an unknown time')}"
        ) from None
    try:
        write_json(
            path / "holder.json",
            {"pid": os.getpid(), "host": socket.gethostname(), "since": now()},
        )
        yield
    finally:
        (path / "holder.json").unlink(missing_ok=True)
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process has locked a folder."""
    try:
        # A shared lock, for an instant: processes that ask at the same time get it, too.
        with (path / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False


class RunStore:
    """The files of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run folder; refuse with the name of the process that has it."""

        def refuse(holder: str) -> RunLockedError:
            return RunLockedError(
                f"The run folder {self.path} is in use by {holder}. Wait for it, or touch "
                f"{self.path / 'STOP'} to end it with a checkpoint."
            )

        with lock_folder(self.path, refuse):
            yield

    def write_experiment(self, description: dict[str, Any], digest: str) -> None:
        """Write ``experiment.json``, or check that the existing one has the same hash."""
        stored = read_json(self.path / "experiment.json")
        if stored is not None and stored.get("hash") != digest:
            raise InvalidValueError(
                f"The run folder {self.path} must belong to experiment {digest[:8]}, "
                f"got {str(stored.get('hash'))[:8]}. Choose another --out, or move the "
                "folder away."
            )
        if stored is None:
            write_json(self.path / "experiment.json", {"hash": digest, **description})

    def write_environment(self) -> None:
        """Add versions, device and machine of this start to ``environment.json``."""
        stored = read_json(self.path / "environment.json") or {"starts": []}
        stored["starts"].append(
            {
                "time": now(),
                "host": socket.gethostname(),
                "system": platform.platform(),
                **versions(),
            }
        )
        write_json(self.path / "environment.json", stored)

    def write_status(self, **fields: Any) -> None:
        """Write ``status.json`` with a heartbeat (UTC, ISO 8601)."""
        write_json(self.path / "status.json", {**fields, "heartbeat": now()})

    def mark_done(self, steps: int) -> None:
        """Repair the status of a finished run whose process died before writing it."""
        status = read_json(self.path / "status.json") or {}
        if status.get("status") != "done":
            status.pop("reason", None)
            self.write_status(
                **{**status, "status": "done", "step": steps, "steps": steps}
            )

    @property
    def stop_requested(self) -> bool:
        """Whether there is a file ``STOP`` in the folder."""
        return (self.path / "STOP").exists()

    def clear_stop(self) -> None:
        """Remove the file ``STOP``."""
        (self.path / "STOP").unlink(missing_ok=True)

    def append_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Append rows to ``metrics.jsonl`` in one write, flushed to the disk."""
        if not rows:
            return
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(_lines(rows))
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """Return the rows of ``metrics.jsonl`` without a line cut off by a crash."""
        path = self.path / "metrics.jsonl"
        rows = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def cut_metrics(self, step: int) -> None:
        """Remove rows later than ``step``: what a crash left behind a checkpoint."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            kept = [row for row in self.metrics() if row["step"] <= step]
            write_atomically(path, _lines(kept).encode())

    def snapshot_path(self, step: int) -> Path:
        """Return the path of the distilled set of one step."""
        return self.path / "snapshots" / f"step-{step:08d}.safetensors"

    def snapshots(self) -> dict[int, Path]:
        """Return the paths of the stored distilled sets by step, in order."""
        found = sorted((self.path / "snapshots").glob("step-*.safetensors"))
        return {int(path.stem.removeprefix("step-")): path for path in found}


def now() -> str:
    """Return the time, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, and the device."""
    import importlib.metadata

    import jax

    from isa_toolkit import __version__

    device = jax.devices()[0]
    packages = {
        name: importlib.metadata.version(name)
        for name in ("jax", "jaxlib", "flax", "optax", "numpy")
    }
    return {
        "isa_toolkit": __version__,
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}",
        **packages,
    }


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
