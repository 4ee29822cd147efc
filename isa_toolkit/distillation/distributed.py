"""Several processes that run the same program, as JAX expects (multi-controller SPMD).

Every process makes the same calls in the same order. Only process 0 writes files, calls
callbacks and shows progress. After each chunk the processes agree on what to do next
(``together``). With one process nothing here communicates.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from isa_toolkit.checks import as_text, fail
from isa_toolkit.errors import IsaError


class PeerFailedError(IsaError, RuntimeError):
    """Another process failed, so this one ends, too; the other one's output says why."""


class PeerLostError(IsaError, RuntimeError):
    """Another process is gone, and this one cannot continue without it.

    At exit JAX waits up to five minutes for that process; ``os._exit`` does not.
    """


# How the libraries between the processes report a lost peer, behind XLA's error code. The
# type is no criterion: lack of memory has the same one, and an error that is raised where
# an array is read is a ValueError.
_LOST = re.compile(r"[A-Z_]+: .*(?i:gloo|nccl|connection|heartbeat|coordination)")


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Make this process one of several; call it before JAX computes anything.

    ``coordinator`` is ``host:port`` of process 0; None if ``jax.distributed`` detects all
    three arguments itself, for example in Slurm.
    """
    # Without it CPU devices cannot communicate with those of another process.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, processes, process_id)
    except ValueError as error:
        if coordinator is not None:
            raise
        raise fail(
            "the processes of a job",
            "be known to the program that starts them (such as srun of Slurm)",
            as_text(f"{str(error).rstrip('.')} from jax.distributed"),
            "Give --coordinator, --processes and --process-id instead.",
        ) from None


def is_distributed() -> bool:
    """Return whether there are several processes."""
    return jax.process_count() > 1


def is_writer() -> bool:
    """Return whether this process writes files: always true for a single process."""
    return jax.process_index() == 0


@contextlib.contextmanager
def detect_lost_peer() -> Iterator[None]:
    """Turn the error of a collective whose peer is gone into ``PeerLostError``."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        message = str(error).partition("\n")[0]
        if not _LOST.match(message) or not is_distributed():
            raise
        raise PeerLostError(
            f"Another process of this run is gone ({message}). Start all of them again: "
            "the run resumes from its last checkpoint."
        ) from error


def together(work: Callable[[], Sequence[float]], size: int = 0) -> np.ndarray:
    """Do some work in every process and return what each of them returns, [processes, size].

    The work returns ``size`` numbers. An error of this process's own work is raised once the
    others know about it; they raise ``PeerFailedError``.
    """
    if not is_distributed():
        return np.asarray([work()], np.float64).reshape(1, size)
    from jax.experimental import multihost_utils

    failure, numbers = None, np.zeros(size)
    try:
        numbers = np.asarray(work(), np.float64).reshape(size)
    except Exception as error:  # noqa: BLE001 - raised below
        failure = error
    with detect_lost_peer():
        # float32: JAX has no float64 by default.
        own = np.asarray([failure is not None, *numbers], np.float32)
        everyone = multihost_utils.process_allgather(own)
    if failure is not None:
        raise failure
    failed = np.flatnonzero(everyone[:, 0])
    if failed.size:
        raise PeerFailedError(f"Process {failed[0]} failed; its own output says why.")
    return everyone[:, 1:]


def broadcast(tree: PyTree) -> PyTree:
    """Return the arrays of process 0 in every process, bit for bit.

    Of the other processes only shapes and types count.
    """
    if not is_distributed():
        return tree
    from jax.experimental import multihost_utils

    def as_bytes(leaf: Any) -> np.ndarray:
        # The broadcast is a sum, in which -0.0 would become 0.0.
        return np.frombuffer(np.asarray(leaf).tobytes(), np.uint8)

    with detect_lost_peer():
        sent = multihost_utils.broadcast_one_to_all(jax.tree.map(as_bytes, tree))
    return jax.tree.map(
        lambda leaf, raw: np.asarray(raw).view(leaf.dtype).reshape(leaf.shape),
        tree,
        sent,
    )


def check_same(hashes: Sequence[str]) -> None:
    """Refuse, in every process, to run experiments with different hashes."""
    digest = hashlib.sha256(json.dumps(list(hashes)).encode()).digest()
    # Sixteen bits at a time, which float32 holds exactly.
    numbers = np.frombuffer(digest, np.uint16)
    everyone = together(lambda: [float(number) for number in numbers], numbers.size)
    different = np.flatnonzero((everyone != everyone[0]).any(axis=1))
    if different.size:
        raise fail(
            "the experiment",
            "be the same in all processes",
            as_text(f"other settings in process {different[0]}"),
            "Start all processes with identical commands.",
        )
