"""Numbers in words, for people."""

from __future__ import annotations

__all__ = ["duration", "span"]


def duration(seconds: float) -> str:
    """Return a time in words.

    Args:
        seconds: at least 0.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def span(seconds: tuple[float, float] | None) -> str:
    """Return a guess of a time in words.

    Args:
        seconds: (smaller, larger), each at least 0; None for what cannot be told.
    """
    if seconds is None:
        return "?"
    low, high = map(duration, seconds)
    if seconds[1] and low == high == "0 s":
        return "under 1 s"
    return low if low == high else f"{low} to {high}"
