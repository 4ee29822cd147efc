"""Several processes, one run: process 0 leads, the others do as they are told.

Only the leader looks at files and the clock. What it decides goes to the others as
messages between the compiled calls, in an order that is the same everywhere, since a
message is itself a call that all processes take part in. With one process there are no
messages and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from isa_toolkit.checks import as_text, fail

__all__ = [
    "FollowerFailedError",
    "LeaderFailedError",
    "ProcessLostError",
    "agree",
    "are_several",
    "hear",
    "is_leader",
    "join",
    "leading",
    "share",
    "tell",
    "together",
    "which",
]

Message = dict[str, Any]


class LeaderFailedError(RuntimeError):
    """Process 0 ended by an error, so this one ends, too; the sentence is its own."""


class FollowerFailedError(RuntimeError):
    """Another process could not do its part; its own output says why."""


class ProcessLostError(RuntimeError):
    """Another process is gone, and this one cannot go on without it.

    As it exits, JAX waits up to five minutes for that process; ``os._exit`` does not.
    """


# What the libraries between the processes say when one is gone, behind XLA's word for the
# kind of error. The type says nothing: a full memory has it, too, and an error that comes
# out where an array is read is a ValueError.
_LOST = re.compile(r"[A-Z_]+: .*(?i:gloo|nccl|connection|heartbeat|coordination)")


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Say in one sentence if another process is lost; also a decorator.

    Raises:
        ProcessLostError: it is; the folder says "failed", its checkpoints are whole.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        if not _LOST.match(said) or not are_several():
            raise
        raise ProcessLostError(
            f"Another process of this run is gone ({said}). Start all of them again: "
            "the run goes on from its last checkpoint."
        ) from error


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Make this process one of several; to be called before JAX computes anything.

    Args:
        coordinator: ``host:port`` of process 0, the same in all; None if
            ``jax.distributed`` is to find all three by itself, as under Slurm.
        processes: how many.
        process_id: which of them this is, from 0.

    Raises:
        ValueError: nothing here says which processes there are.
    """
    # Without it CPU devices cannot talk to those of another process.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, processes, process_id)
    except ValueError as error:
        if coordinator is not None:
            raise
        raise fail(
            "the processes of a job",
            "be known to what started them (such as Slurm's srun)",
            as_text(f"{str(error).rstrip('.')} from jax.distributed"),
            "Give --coordinator, --processes and --process-id instead.",
        ) from None


def are_several() -> bool:
    """Return whether there is more than this process."""
    return jax.process_count() > 1


def is_leader() -> bool:
    """Return whether this process decides and writes: always true of a single one."""
    return jax.process_index() == 0


@together()
def agree(hashes: Sequence[str]) -> None:
    """Refuse, in every process, what is not asked alike of all.

    Args:
        hashes: of the experiments.

    Raises:
        ValueError: another process was given other ones.
    """
    if not are_several():
        return
    from jax.experimental import multihost_utils

    digest = hashlib.sha256(json.dumps(list(hashes)).encode()).digest()
    all_of_them = multihost_utils.process_allgather(np.frombuffer(digest, np.uint32))
    different = np.flatnonzero((all_of_them != all_of_them[0]).any(axis=-1))
    if different.size:
        raise fail(
            "what is distilled",
            "be the same in all processes",
            as_text(f"another experiment, seed or knob in process {different[0]}"),
            "Start all with the same words.",
        )


@together()
def which(flag: bool) -> list[int]:
    """Return the numbers of the processes in which a flag is set.

    Args:
        flag: of this one.
    """
    from jax.experimental import multihost_utils

    flags = multihost_utils.process_allgather(np.asarray(flag))
    return np.flatnonzero(flags).tolist()


@together()
def share(tree: PyTree, source: int = 0) -> PyTree:
    """Return one process's arrays in all of them, to the bit.

    Args:
        tree: arrays of this process; of the others only shapes and types count.
        source: whose numbers they shall be.

    Returns:
        NumPy arrays.
    """
    leaves, form = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    content = _broadcast(b"".join(leaf.tobytes() for leaf in leaves), source)
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    parts = [
        content[end - leaf.nbytes : end].view(leaf.dtype).reshape(leaf.shape)
        for leaf, end in zip(leaves, ends, strict=True)
    ]
    return jax.tree.unflatten(form, parts)


@together()
def tell(message: Message) -> None:
    """Send the leader's message to the others, which are to ``hear`` it.

    Args:
        message: JSON-able.
    """
    _message(json.dumps(message).encode())


@together()
def hear() -> Message:
    """Return the leader's next message, when there is one."""
    return json.loads(_message(b""))


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Tell the others that it is over, however this ends."""
    if not are_several():
        yield
        return
    try:
        yield
    except ProcessLostError:
        raise  # there is nobody to be told
    except BaseException as error:
        tell({"do": "end", "failed": str(error) or type(error).__name__})
        raise
    tell({"do": "end"})


def _message(content: bytes) -> bytes:
    """Return the leader's bytes."""
    size = int(_broadcast(np.uint32(len(content)).tobytes(), 0).view(np.uint32)[0])
    # Few sizes: each is compiled once.
    room = max(1024, 1 << (size - 1).bit_length())
    return _broadcast(content.ljust(room, b"\0"), 0)[:size].tobytes()


def _broadcast(content: bytes, source: int) -> np.ndarray:
    """Return the source's bytes, as an array; all give the same number of them."""
    from jax.experimental import multihost_utils

    # In words: a sum of them over the processes, all but one 0, is exact.
    padded = content.ljust(-(-len(content) // 4) * 4, b"\0")
    words = multihost_utils.broadcast_one_to_all(
        np.frombuffer(padded, np.uint32), is_source=jax.process_index() == source
    )
    return np.asarray(words).view(np.uint8)[: len(content)]
