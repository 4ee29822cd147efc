"""The pages: the report that compares our numbers with the paper's, and the demo."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from isa_toolkit.annotations import typed
from isa_toolkit.figures import published_results, results_table
from isa_toolkit.figures.comparisons import DEMO_TABLE
from isa_toolkit.figures.published_results import NOT_RUN, VERDICTS, check_claims
from isa_toolkit.figures.registry import DEMO, ITEMS
from isa_toolkit.figures.results_table import bracketed, format_images_per_class
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.table6 import PREDICTORS
from isa_toolkit.figures.variants import label_of
from isa_toolkit.files import NUMBER, read_json, write_atomically
from isa_toolkit.methods import FRePo

Record = Mapping[str, Any]
_RECORD = {
    **dict.fromkeys(("item", "dataset", "scale", "command", "when"), str),
    "seeds": int,
    "seconds": NUMBER,
    "pictures": [{"name": str, "caption": str}],
    "versions": dict.fromkeys(("isa_toolkit", "python", "jax", "device"), str),
}


@typed
def stored_records(out: str | Path) -> list[dict[str, Any]]:
    """Return the record of each study and item, with its ``folder``, under a results folder.

    Damaged ones are left out.
    """
    records = []
    for folder in sorted(path for path in Path(out).iterdir() if path.is_dir()):
        for name in ITEMS:
            record = read_json(folder / f"{name}.json", _RECORD)
            if record is not None and record["item"] == name:
                records.append({**record, "folder": folder})
    return records


@typed
def stored_numbers(record: Record) -> pd.DataFrame:
    """Return the rows of ``results_table`` of a stored item; none without their file."""
    path = record["folder"] / f"{record['item']}-numbers.csv"
    try:
        return results_table.as_table(pd.read_csv(path))
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return results_table.as_table([])


@typed
def write_report(out: str | Path) -> Path:
    """Write ``report.html``, a page of its own, from the stored items of every study."""
    records = stored_records(out)
    studies: dict[str, list[Record]] = {}
    for record in records:
        numbers = record["numbers"] = stored_numbers(record)
        record["means"] = list(numbers[numbers.seed.isna()].itertuples())
        name = f"{record['dataset']}, scale {record['scale']}"
        studies.setdefault(name, []).append(record)
    items = {
        name: [one for one in records if one["item"] == name and one["pictures"]]
        for name in ITEMS
    }
    claims = {}
    for study, mine in studies.items():
        found = check_claims({one["item"]: one["numbers"] for one in mine})
        claims[study] = list(found[found.verdict != NOT_RUN].itertuples())
    path = Path(out) / "report.html"
    text = _render(
        "report.html",
        verdicts=VERDICTS,
        studies=list(studies.values()),
        claims=claims,
        items=[
            {
                "name": name,
                "title": ITEMS[name].title,
                "records": found,
                "published": list(_nearest(ITEMS[name].published, found)),
            }
            for name, found in items.items()
            if found
        ],
        not_run=[name for name, found in items.items() if not found],
    )
    write_atomically(path, text.encode(errors="backslashreplace"))
    return path


def _nearest(published: str | None, records: list[Record]) -> Iterator[Any]:
    """Yield the paper's numbers of which there are some of ours, with the nearest ones."""
    if published is None:
        return
    compared = [
        published_results.compare(
            published, one["numbers"], is_published_scale=one["scale"] == "paper"
        )
        for one in records
    ]
    order = list(VERDICTS)
    for same in zip(*(table.itertuples() for table in compared), strict=True):
        best = min(same, key=lambda one: order.index(one.verdict))
        if best.verdict != NOT_RUN:
            yield best


def _pictures(record: Record) -> Iterator[dict[str, Any]]:
    """Yield source, width and caption of the pictures whose file exists."""
    from PIL import Image

    for picture in record["pictures"]:
        path = record["folder"] / f"{picture['name']}.png"
        if path.is_file():
            with Image.open(path) as image:
                # Half the number of dots is sharp on dense screens.
                width = min(900, image.width // 2 + 60)
            data = base64.b64encode(path.read_bytes()).decode()
            source = f"data:image/png;base64,{data}"
            yield {"source": source, "width": width, "caption": picture["caption"]}


@typed
def write_demo_page(study: Study, table: pd.DataFrame, out: Path) -> Path:
    """Write ``index.html``, a page of its own, from the pictures and the table of the demo."""
    records = [json.loads((out / f"{name}.json").read_text()) for name in DEMO]
    text = _render(
        "demo.html",
        study=study,
        rate=study.budget.learning_rate / FRePo().learning_rate,
        findings=[
            sentence for size in study.sizes for sentence in _findings(table, size)
        ],
        records=[{**record, "folder": out} for record in records],
        tables={
            format_images_per_class(size): results_table.summary(
                table, images_per_class=size
            )
            for size in study.sizes
        },
    )
    write_atomically(out / "index.html", text.encode())
    return out / "index.html"


def _findings(table: pd.DataFrame, size: int) -> Iterable[str]:
    """Yield what the numbers of the demo show with a number of images per class."""
    mean = functools.partial(
        results_table.mean_of, table, images_per_class=size, predictor="network"
    )
    base, key = DEMO_TABLE.keys
    accuracies = {one: f"{mean(one).mean:.1f} %" for one in ("random", "full", key)}
    yield (
        f"With {format_images_per_class(size)}, new networks reach {accuracies[key]} on "
        f"the distilled images ({label_of(key)}), {accuracies['random']} on random real ones, "
        f"and {accuracies['full']} when trained on the whole training set."
    )
    gain = mean(key, minus=base)
    shown = "which shows no difference"
    if gain.excludes_zero:
        shown = f"an interval {'above' if gain.low > 0 else 'below'} 0"
    text = bracketed(gain.mean, gain.low, gain.high, signed=True, decimals=1)
    yield f"{label_of(key)} minus {label_of(base)}: {text} points, {shown}."


def _render(template: str, **context: Any) -> str:
    """Return a page; everything in it is escaped."""
    import jinja2

    def quantity(row: Any) -> str:
        if row.quantity == "accuracy_percent":
            return f"{PREDICTORS.get(row.predictor, 'accuracy')}, %"
        return row.quantity.replace("_", " ")

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: "" if value is pd.NA else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["missing"] = pd.isna
    environment.globals.update(
        pictures=_pictures, quantity=quantity, label=label_of, interval=bracketed
    )
    return environment.get_template(template).render(context)
