"""The run folder: what is in it, and how it survives a crash.

``experiment.json`` (every choice), ``environment.json`` (versions and machine),
``metrics.jsonl`` (appended), ``checkpoints/`` (Orbax), ``snapshots/`` (the distilled images at
each validation), ``status.json``, and at the end ``distilled.safetensors``,
``metrics.parquet`` and ``preview.png``. Every file is written under another name and
renamed; metrics are appended line by line, and on resuming whatever is later than the
checkpoint is cut off. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isa_toolkit.distilled import DistilledSet
from isa_toolkit.files import read_json, write_atomically, write_json

__all__ = ["RunLockedError", "RunStore", "held", "is_held"]


class RunLockedError(RuntimeError):
    """Another process is working on the run folder."""


@contextlib.contextmanager
def held(path: Path, refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Hold a folder for this process; the system frees it if we die.

    Args:
        path: of the folder, made if missing; ``holder.json`` in it says who holds it.
        refusal: words for who holds it -> what to raise.

    Raises:
        OSError: the folder cannot be written.

    What ``refusal`` makes is raised if another process holds the folder.
    """
    from filelock import FileLock, Timeout

    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    try:
        # Those who only look hold it for an instant.
        lock.acquire(timeout=0.2, poll_interval=0.02)
    except Timeout:
        holder = read_json(path / "holder.json") or {}
        raise refusal(
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


def is_held(path: Path) -> bool:
    """Whether a process holds a folder; it is held for an instant to find out.

    Args:
        path: of the folder.
    """
    from filelock import FileLock, Timeout

    if not (path / ".lock").is_file():
        return False
    try:
        with FileLock(path / ".lock").acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


class RunStore:
    """The files of one run.

    Args:
        path: of the run folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    # --- one process at a time -----------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run folder for this process; the system frees it if we die.

        Raises:
            RunLockedError: another process holds it; the sentence says which.
            OSError: the folder cannot be written.
        """

        def refusal(holder: str) -> RunLockedError:
            return RunLockedError(
                f"The run folder {self.path} is in use by {holder}. Wait for it, or touch "
                f"{self.path / 'STOP'} to end it with a checkpoint."
            )

        with held(self.path, refusal):
            yield

    # --- small files -----------------------------------------------------------------

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON file of the folder, or None if it is missing or damaged."""
        return read_json(self.path / name)

    def write_experiment(self, description: dict[str, Any], digest: str) -> None:
        """Write ``experiment.json``, or check that the one there is the same.

        Raises:
            ValueError: the folder holds another experiment.
        """
        there = self.read_json("experiment.json")
        if there is not None and there.get("hash") != digest:
            raise ValueError(
                f"The run folder {self.path} must belong to experiment {digest[:8]}, "
                f"got {str(there.get('hash'))[:8]}. Choose another --out, or move the "
                "folder away."
            )
        if there is None:
            write_json(self.path / "experiment.json", {"hash": digest, **description})

    def write_environment(self) -> None:
        """Write ``environment.json``: versions, device and machine, kept per start."""
        there = self.read_json("environment.json") or {"starts": []}
        there["starts"].append(environment())
        write_json(self.path / "environment.json", there)

    def write_status(self, **fields: Any) -> None:
        """Write ``status.json`` with a heartbeat (UTC, ISO 8601)."""
        write_json(self.path / "status.json", {**fields, "heartbeat": now()})

    def mark_done(self, steps: int) -> None:
        """Mend the status of a run whose result is there: it may have died just then.

        Args:
            steps: all of its steps.
        """
        told = self.read_json("status.json") or {}
        if told.get("status") != "done":
            told.pop("reason", None)
            self.write_status(
                **{**told, "status": "done", "step": steps, "steps": steps}
            )

    @property
    def stop_requested(self) -> bool:
        """Whether somebody put a file ``STOP`` into the folder."""
        return (self.path / "STOP").exists()

    def clear_stop(self) -> None:
        """Remove the file ``STOP``."""
        (self.path / "STOP").unlink(missing_ok=True)

    # --- metrics ---------------------------------------------------------------------

    def append_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Append rows to ``metrics.jsonl`` in one write, flushed to the disk."""
        if not rows:
            return
        text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """Return the rows of ``metrics.jsonl``; a line cut off by a crash is left out."""
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
        if not path.exists():
            return
        kept = [row for row in self.metrics() if row["step"] <= step]
        text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in kept)
        write_atomically(path, text.encode())

    def compact_metrics(self) -> None:
        """Write ``metrics.parquet`` beside ``metrics.jsonl``."""
        import pandas as pd

        frame = pd.DataFrame(self.metrics())
        write_atomically(self.path / "metrics.parquet", frame.to_parquet(index=False))

    # --- images ----------------------------------------------------------------------

    def snapshot_path(self, step: int) -> Path:
        """Return where the distilled set of one step lies."""
        return self.path / "snapshots" / f"step-{step:08d}.safetensors"

    def snapshots(self) -> dict[int, Path]:
        """Return the stored distilled sets by step, in order."""
        found = sorted((self.path / "snapshots").glob("step-*.safetensors"))
        return {int(path.stem.removeprefix("step-")): path for path in found}

    def write_preview(self, distilled: DistilledSet) -> None:
        """Write ``preview.png``: one row of images per class, enlarged."""
        import io

        import numpy as np
        from PIL import Image

        pixels = (distilled.to_pixels() * 255).round().astype(np.uint8)
        height, width, channels = pixels.shape[1:]
        per_class = len(pixels) // len(distilled.class_names)
        shown = min(per_class, 10)
        grid = pixels.reshape(-1, per_class, height, width, channels)[:, :shown]
        sheet = np.full(
            (len(grid) * (height + 1) + 1, shown * (width + 1) + 1, channels),
            255,
            np.uint8,
        )
        for row, images in enumerate(grid):
            for column, image in enumerate(images):
                top, left = row * (height + 1) + 1, column * (width + 1) + 1
                sheet[top : top + height, left : left + width] = image
        picture = Image.fromarray(sheet.squeeze())
        scale = max(1, 64 // height)
        size = (picture.width * scale, picture.height * scale)
        buffer = io.BytesIO()
        picture.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
        write_atomically(self.path / "preview.png", buffer.getvalue())


def now() -> str:
    """Return the time, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Return versions, device and machine."""
    return {
        "time": now(),
        "host": socket.gethostname(),
        "system": platform.platform(),
        **versions(),
    }


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
