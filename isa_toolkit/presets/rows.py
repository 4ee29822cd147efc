"""Which published row serves where none is listed."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

from isa_toolkit.checks import check_integer
from isa_toolkit.presets.published import nearest_count

__all__ = ["MEASURED", "row_of"]

# The source of rows that are ours and that no source lists.
MEASURED = "ours, measured on the digits; no published row"

_Row = TypeVar("_Row")


def row_of(
    method: str, dataset: str, images_per_class: int, rows: Sequence[_Row]
) -> _Row:
    """Return a method's row, or the nearest one with a warning and a note.

    Args:
        method: its name, for the sentence.
        dataset: name of the data set; CIFAR-10's rows serve one that is not listed.
        images_per_class: distilled images of each class, at least 1.
        rows: dataclasses with ``dataset``, ``images_per_class``, ``source``, ``notes``.

    Returns:
        The row.

    Raises:
        TypeError: ``images_per_class`` is not whole.
        ValueError: it is below 1.

    Warns:
        UserWarning: the row is not listed; it points at the caller's caller.
    """
    count = check_integer("images_per_class", images_per_class)
    all_rows: Sequence[Any] = rows
    listed = [row for row in all_rows if row.dataset == dataset]
    known = listed or [row for row in all_rows if row.dataset == "cifar10"] or all_rows
    near = nearest_count(count, {row.images_per_class: row for row in known})
    row = next(row for row in known if row.images_per_class == near)
    # No row of the digits is published, so none is missing either.
    if listed and (near == count or row.source == MEASURED):
        return dataclasses.replace(row, images_per_class=count)
    note = (
        f"no published settings of {method} for {dataset!r} at {count} images per class; "
        f"using those of {row.dataset!r} at {near}"
    )
    warnings.warn(f"{note}.", UserWarning, stacklevel=3)
    return dataclasses.replace(
        row,
        dataset=dataset,
        images_per_class=count,
        source="ours; no published row",
        notes=(note,),
    )
