"""Reading numbers back from a figure: where every mark of it lies."""

from __future__ import annotations

from typing import Any

import numpy as np


def vertices(artist: Any) -> np.ndarray:
    """Return the places that an artist marks, in data units, [k, 2]."""
    if hasattr(artist, "get_xydata"):
        return np.asarray(artist.get_xydata(), float)
    if hasattr(artist, "get_segments"):
        parts = [np.asarray(part, float) for part in artist.get_segments()]
        return np.concatenate(parts) if parts else np.zeros((0, 2))
    if hasattr(artist, "get_offsets") and len(artist.get_offsets()) > 0:
        offsets = np.asarray(artist.get_offsets(), float)
        if (offsets != 0).any():
            return offsets
    if hasattr(artist, "get_paths"):
        parts = [path.vertices for path in artist.get_paths()]
        return np.concatenate(parts) if parts else np.zeros((0, 2))
    return artist.get_patch_transform().transform(artist.get_path().vertices)


def marks(figure: Any) -> list[np.ndarray]:
    """Return the places of every line, collection and patch of all axes."""
    return [
        vertices(artist)
        for ax in figure.axes
        for artist in (*ax.lines, *ax.collections, *ax.patches)
    ]


def points(ax: Any) -> set[tuple[float, float]]:
    """Return every place that lines and collections of an axes mark."""
    return {
        (round(float(x), 6), round(float(y), 6))
        for artist in (*ax.lines, *ax.collections)
        for x, y in vertices(artist)
        if np.isfinite(x) and np.isfinite(y)
    }


def moved(before: list[np.ndarray], after: list[np.ndarray]) -> list[np.ndarray]:
    """Return by how much each changed mark moved, [k, 2] each; as many marks in both."""
    assert len(before) == len(after)
    changed = []
    for one, other in zip(before, after, strict=True):
        assert one.shape == other.shape
        # The end of an error bar is made of value and width: equal but for rounding.
        if not np.allclose(one, other, rtol=0, atol=1e-9, equal_nan=True):
            changed.append(other - one)
    return changed
