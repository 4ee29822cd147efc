# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Regenerating the appendix: items computed, drawn and written, each as soon as it is done.

Under the results folder every study (data set and scale) has a folder of its own with, for
each picture, PDF, PNG and CSV, and for each item a record of how it was made. The report
is assembled from those records, so items made at different times stand together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit import checks
from isa_toolkit.distillation.store import now, versions
from isa_toolkit.figures import results_table
from isa_toolkit.figures.registry import ITEMS, Part
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import save
from isa_toolkit.files import write_atomically, write_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "chosen_items",
    "reproduce",
    "stored_numbers",
    "stored_records",
    "study_folder",
]


def chosen_items(only: Sequence[str] | None) -> list[str]:
    """Return the items to make, in the order of ``ITEMS``.

    Args:
        only: names; None or none for all.

    Raises:
        ValueError: an unknown name; the sentence lists the known ones.
    """
    for name in only or ():
        checks.check_one_of("--only", name, ITEMS)
    return [name for name in ITEMS if not only or name in only]


def study_folder(out: str | Path, study: Study) -> Path:
    """Return the folder of a study's results.

    Args:
        out: the results folder.
        study: data set and scale.
    """
    return Path(out) / f"{study.dataset.name}-{study.scale}"


def reproduce(
    study: Study,
    out: str | Path,
    *,
    only: Sequence[str] | None = None,
    command: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Make every item of a study, then the report over all studies in the folder.

    Runs and evaluations are kept in the study's run folder; interrupted and started
    again, this goes on with the first run that is not done.

    Args:
        study: the data set, the scale and the runs.
        out: the results folder.
        only: items to make; None for all.
        command: that is told in the report.
        tell: called with a line after each item.

    Returns:
        Path of ``report.html``.

    Raises:
        ValueError: an unknown item.
        OSError: a folder cannot be written.
    """
    from isa_toolkit.figures.report import write_report

    names = chosen_items(only)
    page = Path(out) / "report.html"
    folder = study_folder(out, study)
    for name in names:
        began = time.monotonic()
        record = _make(study, folder, name)
        record |= {
            "seconds": time.monotonic() - began,
            "command": command,
            "when": now(),
            "versions": versions(),
        }
        write_json(folder / f"{name}.json", record)
        state = "" if record["parts"] else ": nothing to show for this data set"
        tell(f"{name:<12}{record['seconds']:7.1f} s{state}")
        # Rewritten after each item, so that it can be looked at meanwhile.
        page = write_report(out)
    return page


def _make(study: Study, folder: Path, name: str) -> dict[str, Any]:
    """Make one item's files; return its record."""
    item = ITEMS[name]
    parts, first = [], None
    for part in item.parts(study):
        table = part.compute(study)
        first = table if first is None else first
        if len(table) == 0:
            continue
        parts.append(_write(part, table, folder))
    rows = item.numbers(study) if item.numbers is not None else first
    if rows is None:
        rows = results_table.as_table([])
    write_atomically(folder / f"{name}-numbers.csv", rows.to_csv(index=False).encode())
    return {
        "item": name,
        "dataset": study.dataset.name,
        "scale": study.scale,
        "seeds": len(study.seed_range),
        "parts": parts,
    }


def _write(part: Part, table: pd.DataFrame, folder: Path) -> dict[str, str]:
    """Write a picture and its table; return its name and caption."""
    flat = table.drop(columns=[name for name in ("pixels",) if name in table])
    write_atomically(folder / f"{part.name}.csv", flat.to_csv(index=False).encode())
    save(part.draw(table), folder / part.name)
    return {"name": part.name, "caption": part.caption(table)}


def stored_records(out: str | Path) -> list[dict[str, Any]]:
    """Return the records of all items under a results folder.

    Args:
        out: the results folder.

    Returns:
        One per study and item, with ``folder`` added; damaged ones are left out.
    """
    found = []
    for folder in sorted(path for path in Path(out).iterdir() if path.is_dir()):
        for name in ITEMS:
            try:
                record = json.loads((folder / f"{name}.json").read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            found.append({**record, "folder": folder})
    return found


def stored_numbers(record: Mapping[str, Any]) -> pd.DataFrame:
    """Return the numbers of a stored item.

    Args:
        record: one of :func:`stored_records`.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`; none if its file is missing or empty.
    """
    import pandas as pd

    path = record["folder"] / f"{record['item']}-numbers.csv"
    try:
        table = pd.read_csv(path)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return results_table.as_table([])
    table = table.astype(object).where(table.notna(), None)
    return results_table.as_table(table.to_dict("records"))
