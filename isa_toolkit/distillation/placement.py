"""Where the real images lie while a run goes on: on the device, or streamed to it."""

from __future__ import annotations

import os

import jax

from isa_toolkit import checks
from isa_toolkit.distillation.experiment import ResolvedExperiment

__all__ = ["PLACEMENTS", "place"]

PLACEMENTS = ("device", "device_bytes", "host")
"""Preprocessed on the device; there as bytes; in memory or on the disk of the host."""

# Of the device's memory, for the real images.
_SHARE = 0.4


def place(resolved: ResolvedExperiment, asked: str | None) -> str:
    """Return where the real images of a run are to lie.

    Preprocessed on the device if they take at most 40 % of its memory as float32; as
    bytes if they do as bytes; else on the host. It depends on how large the device is,
    not on what is free, so that a run that is resumed does as before.

    Args:
        resolved: the experiment.
        asked: one of ``PLACEMENTS``, or None to choose.

    Returns:
        One of ``PLACEMENTS``.

    Raises:
        ValueError: an unknown one.
    """
    if asked is not None:
        asked = checks.check_one_of("placement", asked, PLACEMENTS)
    if resolved.drawing == "none":
        return "device"
    if asked is not None:
        return asked
    room = _SHARE * _device_bytes()
    pixels = resolved.train.train.images.nbytes
    if 4 * pixels <= room:
        return "device"
    return "device_bytes" if pixels <= room else "host"


def _device_bytes() -> int:
    """Return the memory of the device: of a CPU, the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
