"""The run folder: its files, and how they survive a crash.

``experiment.json`` (every setting), ``environment.json`` (versions and machine),
``metrics.jsonl`` (appended), ``checkpoints/`` (Orbax), ``snapshots/`` (the distilled images
at each validation), ``status.json``, and at the end ``distilled.safetensors``. Every file
is written under another name and renamed; metrics are appended line by line, and on
resuming whatever is later than the checkpoint is cut off. Nothing is ever unpickled.

What is read back may be damaged or edited: readers get None for such a file, and the run
that owns the folder writes it anew with a warning, or refuses to continue.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import math
import os
import platform
import re
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isa_toolkit.errors import InvalidValueError, RunLockedError, RunLostError
from isa_toolkit.files import NUMBER, fits, read_json, write_atomically, write_json

DESCRIPTION: dict[str, Any] = {
    "dataset": {"name": str, "fingerprint": str, "preprocessing": {"fingerprint": str}},
    "method": {"name": str},
    "network": {"name": str},
    "images_per_class": int,
    "steps": int,
    "seed": int,
    "start_from": str | None,
    "start_step": int | None,
}
"""Schema of what every reader of an experiment's description relies on."""
STATUS = {
    "status": str, "step": int, "steps": int, "steps_per_s": NUMBER, "elapsed_s": NUMBER
}  # fmt: skip
STARTS = {"starts": [dict]}
MARK = {"bytes": int, "sha256": str}
"""Schema of ``RunStore.mark``."""
_HOLDER = {"pid": int, "host": str, "since": str}
# What ``write_atomically`` and Orbax leave behind when their process is killed.
_UNFINISHED = re.compile(
    r"\.(status|experiment|environment|holder)\.json\.[0-9a-f]{16}"
    r"|\.(metrics\.jsonl|distilled\.safetensors|step-\d+\.safetensors)\.[0-9a-f]{16}"
    r"|\d+\.orbax-checkpoint-tmp.*"
)


@contextlib.contextmanager
def lock_folder(
    path: Path, refuse: Callable[[str], Exception], *, wait_s: float = 0.2
) -> Iterator[Callable[[], None]]:
    """Lock a folder for this process; the system frees the lock if the process dies.

    ``holder.json`` in it describes the process that has the lock; if that is another one,
    what ``refuse`` makes of the description is raised. The default time to wait is for
    ``is_locked``, which takes the lock for an instant.

    Yields a function to call before each write: it raises ``RunLostError`` once the file
    that is locked is no longer the one in the folder, so that another process can lock it.
    """
    from filelock import FileLock, Timeout

    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=wait_s, poll_interval=0.02)
    except Timeout:
        holder = read_json(path / "holder.json", _HOLDER) or {}
        raise refuse(
            f"process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'this machine')} "
            f"since {holder.get('since', 'an unknown time')}"
        ) from None
    mine = (path / ".lock").stat()

    def check() -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(mine, (path / ".lock").stat()):
                return
        raise RunLostError(
            f"The folder {path}, or the file .lock in it, was deleted or moved while this "
            "process worked there, so it writes nothing more. Start it again to continue "
            "from what is left."
        )

    try:
        write_json(
            path / "holder.json",
            {"pid": os.getpid(), "host": socket.gethostname(), "since": now()},
        )
        yield check
        check()
    finally:
        with contextlib.suppress(RunLostError):
            check()
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


def read_experiment(run: Path) -> dict[str, Any] | None:
    """Return the ``experiment.json`` of a run, or None if it is missing, damaged or edited."""
    stored = read_json(run / "experiment.json", {**DESCRIPTION, "hash": str})
    if stored is None:
        return None
    description = {name: part for name, part in stored.items() if name != "hash"}
    return stored if hash_of(description) == stored["hash"] else None


def hash_of(description: dict[str, Any]) -> str:
    """Return the SHA-256 (hex) of the description of an experiment."""
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class RunStore:
    """The files of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        # What this process has read of the metrics, and appended.
        self._digest, self._size = hashlib.sha256(), 0
        self.check_lock: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run folder; refuse with the name of the process that has it.

        What a killed process has left unfinished is deleted.
        """

        def refuse(holder: str) -> RunLockedError:
            return RunLockedError(
                f"The run folder {self.path} is in use by {holder}. Wait for it, or touch "
                f"{self.path / 'STOP'} to end it with a checkpoint."
            )

        with lock_folder(self.path, refuse) as self.check_lock:
            for folder in ("*", "snapshots/*", "checkpoints/*"):
                for path in self.path.glob(folder):
                    if _UNFINISHED.fullmatch(path.name):
                        delete(path)
            yield

    def write_experiment(self, description: dict[str, Any], digest: str) -> None:
        """Write ``experiment.json``, or check that the existing one has the same hash."""
        wanted = {"hash": digest, **description}
        stored = self._read("experiment.json", {"hash": str})
        if stored is not None and stored["hash"] != digest:
            raise InvalidValueError(
                f"The run folder {self.path} must belong to experiment {digest[:8]}, "
                f"got {stored['hash'][:8]}. Choose another --out, or move the folder away."
            )
        if stored != wanted:
            if stored is not None:
                self._warn_of_rewriting("experiment.json")
            write_json(self.path / "experiment.json", wanted)

    def write_environment(self) -> None:
        """Add versions, device and machine of this start to ``environment.json``."""
        stored = self._read("environment.json", STARTS) or {"starts": []}
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

    def read_status(self) -> dict[str, Any]:
        """Return the status that the run was left with; empty if there is none."""
        return self._read("status.json", STATUS) or {}

    def mark_done(self, steps: int) -> None:
        """Repair the status of a finished run whose process died before writing it."""
        status = self.read_status()
        if status.get("status") != "done":
            status.pop("reason", None)
            speed = {"steps_per_s": 0.0, "elapsed_s": 0.0}
            done = {"status": "done", "step": steps, "steps": steps}
            self.write_status(**{**speed, **status, **done})

    def _read(self, name: str, schema: dict[str, Any]) -> dict[str, Any] | None:
        """Return the object in a file; warn if it is damaged, as it is written anew."""
        found = read_json(self.path / name, schema)
        if found is None and (self.path / name).exists():
            self._warn_of_rewriting(name)
        return found

    def _warn_of_rewriting(self, name: str) -> None:
        warnings.warn(
            f"{self.path / name} was damaged or changed; it is written anew.",
            stacklevel=4,
        )

    @property
    def stop_requested(self) -> bool:
        """Whether there is a file ``STOP`` in the folder."""
        return (self.path / "STOP").exists()

    def clear_stop(self, before: float = math.inf) -> None:
        """Remove the file ``STOP`` if it was made before a time, in seconds of the epoch."""
        path = self.path / "STOP"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()

    @property
    def mark(self) -> dict[str, Any]:
        """The length and the hash of the metrics so far, for the notes of a checkpoint."""
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def append_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Append rows to ``metrics.jsonl`` in one write, flushed to the disk."""
        if not rows:
            return
        lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()
        with (self.path / "metrics.jsonl").open("ab") as file:
            if file.tell() != self._size:
                raise self._lost_rows()
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._digest.update(lines)
        self._size += len(lines)

    def metrics_at(self, mark: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the rows that the file had at a mark; None if they have changed."""
        content = self._metrics()[: mark["bytes"]]
        found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return _rows(content)[0] if found == mark else None

    def cut_metrics(self, size: int) -> None:
        """Cut the file off after a number of bytes: what a crash left behind a checkpoint."""
        content = self._metrics()
        if len(content) > size:
            content = content[:size]
            write_atomically(self.path / "metrics.jsonl", content)
        self._digest, self._size = hashlib.sha256(content), len(content)

    def own_metrics(self) -> list[dict[str, Any]]:
        """Return the rows that this process has read and written, if they are still there."""
        rows = self.metrics_at(self.mark)
        if rows is None:
            raise self._lost_rows()
        return rows

    def metrics(self) -> list[dict[str, Any]]:
        """Return the rows of ``metrics.jsonl``, for readers.

        A line that is being written or was cut off by a crash is left out; others that are
        damaged, or repeat a step, are left out with a warning.
        """
        rows, damaged = _rows(self._metrics())
        if damaged:
            warnings.warn(
                f"{damaged} line{'s' * (damaged > 1)} of {self.path / 'metrics.jsonl'} are "
                "damaged and left out.",
                stacklevel=3,
            )
        return rows

    def _metrics(self) -> bytes:
        path = self.path / "metrics.jsonl"
        return path.read_bytes() if path.exists() else b""

    def _lost_rows(self) -> InvalidValueError:
        return InvalidValueError(
            f"{self.path / 'metrics.jsonl'} was changed while the run worked, so it ends. "
            "Start it again: it resumes from the last checkpoint whose rows are there."
        )

    def snapshot_path(self, step: int) -> Path:
        """Return the path of the distilled set of one step."""
        return self.path / "snapshots" / f"step-{step:08d}.safetensors"

    def has_snapshot(self, step: int) -> bool:
        """Return whether there is a distilled set of one step, with a length that fits."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.snapshot_path(step), framework="numpy"):
                return True
        except (OSError, SafetensorError):
            return False

    def snapshots(self) -> dict[int, Path]:
        """Return the paths of the stored distilled sets by step, in order."""
        found = sorted((self.path / "snapshots").glob("step-*.safetensors"))
        steps = {path.stem.removeprefix("step-"): path for path in found}
        return {int(step): path for step, path in steps.items() if is_number(step)}


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


def is_number(name: str) -> bool:
    """Return whether (a part of) the name of a file is a whole number."""
    return name.isascii() and name.isdecimal() and len(name) < 19


def delete(path: Path) -> None:
    """Delete a file or a folder, as far as that is possible."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _rows(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of metrics, each once, and the number of damaged lines.

    What follows the last line break is no line yet.
    """
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    lines = content.split(b"\n")[:-1]
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        numbers = dict.fromkeys(row, NUMBER) if isinstance(row, dict) else {}
        if fits(row, {**numbers, "step": int, "kind": str}):
            rows.setdefault((row["step"], row["kind"]), row)
    return list(rows.values()), len(lines) - len(rows)
