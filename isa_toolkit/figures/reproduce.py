"""Reproducing the appendix: each item is computed, drawn and written in turn.

Every study (data set and scale) has a folder of its own under the results folder, with
PDF, PNG and CSV for each picture and a JSON record of how each item was made. The report
is assembled from those records, so it also shows items that were made at other times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.distillation.store import now, versions
from isa_toolkit.figures.registry import DEMO, ITEMS, Item
from isa_toolkit.figures.report import write_demo_page, write_report
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import save
from isa_toolkit.files import write_atomically, write_json


@typed
def chosen_items(only: Sequence[str] | None) -> list[str]:
    """Return the items to make, all if none are named, in the order of ``ITEMS``."""
    for name in only or ():
        checks.check_one_of("--only", name, ITEMS)
    return [name for name in ITEMS if not only or name in only]


@typed
def study_folder(out: str | Path, study: Study) -> Path:
    """Return the path of the folder with a study's results in a results folder."""
    return Path(out) / f"{study.dataset.name}-{study.budget.scale}"


def reproduce(
    study: Study,
    out: str | Path,
    *,
    only: Sequence[str] | None = None,
    command: str = "",
    log: Callable[[str], Any] = lambda _: None,
) -> Path:
    """Make every item of a study, then the report over all studies in the folder.

    Runs and evaluations are stored in the study's run folder. After an interruption, the
    same call continues with the first run that is not done. ``only`` names the items to
    make (None: all), ``command`` is the command line that the report states, and ``log`` is
    called with a line of text after each item. Returns the path of ``report.html``.
    """
    folder = study_folder(out, check_study(study))
    page = Path(out) / "report.html"
    for name in chosen_items(only):
        _make(study, folder, name, ITEMS[name], command, log)
        # Rewritten after each item, so that it can be read in the meantime.
        page = write_report(out)
    return page


def make_demo(
    out: str | Path = "results/demo",
    *,
    folder: str | Path = "runs/demo",
    seeds: int = 3,
    log: Callable[[str], Any] = lambda _: None,
) -> tuple[Path, pd.DataFrame]:
    """Make a few figures of the digits in minutes, and a page that explains them.

    ``folder`` has the run folders, of which finished ones are reused. Returns the path of
    ``index.html``, and the rows of ``results_table`` of its table.
    """
    study = Study("digits", scale="quick", folder=folder, seeds=seeds)
    tables = {
        name: _make(study, Path(out), name, item, "isa-toolkit demo", log)
        for name, item in DEMO.items()
    }
    return write_demo_page(study, tables["table"], Path(out)), tables["table"]


def _make(
    study: Study,
    folder: Path,
    name: str,
    item: Item,
    command: str,
    log: Callable[[str], Any],
) -> pd.DataFrame:
    """Write the files and the record of an item; return its rows of ``results_table``."""
    began = time.monotonic()
    pictures, tables = [], []
    for picture, keywords in item.pictures(name, study).items():
        table = item.figure.compute(study, **keywords)
        if len(table) == 0:
            continue
        tables.append(table)
        flat = table.drop(columns="pixels", errors="ignore")
        write_atomically(folder / f"{picture}.csv", flat.to_csv(index=False).encode())
        save(item.figure.draw(table), folder / picture)
        pictures.append({"name": picture, "caption": item.figure.caption(table)})
    rows = item.numbers(study, tables)
    write_atomically(folder / f"{name}-numbers.csv", rows.to_csv(index=False).encode())
    seconds = time.monotonic() - began
    record = {
        "item": name,
        "dataset": study.dataset.name,
        "scale": study.budget.scale,
        "seeds": len(study.seed_range),
        "pictures": pictures,
        "seconds": seconds,
        "command": command,
        "when": now(),
        "versions": versions(),
    }
    write_json(folder / f"{name}.json", record)
    log(
        f"{name:<12}{seconds:7.1f} s"
        + ("" if pictures else ": nothing to show for this data set")
    )
    return rows
