"""The pages: the report that compares our numbers with the paper's, and the demo."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit.analysis.intervals import Interval
from isa_toolkit.figures import published_results, results_table
from isa_toolkit.figures.claim_tests import check_claims
from isa_toolkit.figures.comparisons import DEMO_TABLE
from isa_toolkit.figures.published_results import VERDICTS
from isa_toolkit.figures.registry import DEMO, ITEMS
from isa_toolkit.figures.results_table import format_images_per_class, format_interval
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.table6 import PREDICTORS
from isa_toolkit.figures.variants import label_of, setting
from isa_toolkit.files import NUMBER, read_json, write_atomically
from isa_toolkit.methods import FRePo

if TYPE_CHECKING:
    import pandas as pd

Record = Mapping[str, Any]
_RECORD = {
    **dict.fromkeys(("item", "dataset", "scale", "command", "when"), str),
    "seeds": int,
    "seconds": NUMBER,
    "pictures": [{"name": str, "caption": str}],
    "versions": dict.fromkeys(("isa_toolkit", "python", "jax", "device"), str),
}

# --- stored items -----------------------------------------------------------------------


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


def stored_numbers(record: Record) -> pd.DataFrame:
    """Return the rows of ``results_table`` of a stored item; none without their file."""
    import pandas as pd

    path = record["folder"] / f"{record['item']}-numbers.csv"
    try:
        return results_table.as_table(pd.read_csv(path))
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return results_table.as_table([])


# --- the report -------------------------------------------------------------------------


def write_report(out: str | Path) -> Path:
    """Write ``report.html``, a page of its own, from the stored items of every study."""
    # Study -> item -> (record, its numbers).
    studies: dict[tuple[str, str], dict[str, tuple[Record, pd.DataFrame]]] = {}
    for record in stored_records(out):
        items = studies.setdefault((record["dataset"], record["scale"]), {})
        items[record["item"]] = record, stored_numbers(record)
    path = Path(out) / "report.html"
    sections = [_section(name, studies.values()) for name in ITEMS]
    text = _render(
        "report.html",
        verdicts=VERDICTS,
        made=[_provenance(study, items) for study, items in studies.items()],
        claims={
            f"{dataset}, scale {scale}": _claim_rows(items)
            for (dataset, scale), items in studies.items()
        },
        items=[one for one in sections if one["studies"]],
        not_run=[one["name"] for one in sections if not one["studies"]],
    )
    write_atomically(path, text.encode(errors="backslashreplace"))
    return path


def _provenance(
    study: tuple[str, str], items: Mapping[str, tuple[Record, Any]]
) -> list[Any]:
    """Return the row that states how a study was made."""
    records = [record for record, _ in items.values()]
    last = max(records, key=lambda record: record["when"])
    made = last["versions"]
    return [
        *study,
        last["seeds"],
        f"{sum(record['seconds'] for record in records):.0f} s",
        made["device"],
        f"isa_toolkit {made['isa_toolkit']}, Python {made['python']}, JAX {made['jax']}",
        last["command"],
    ]


def _claim_rows(items: Mapping[str, tuple[Record, pd.DataFrame]]) -> list[list[Any]]:
    checked = check_claims({name: numbers for name, (_, numbers) in items.items()})
    return [
        [
            row.claim,
            _whole(row.images_per_class),
            row.expected,
            _interval(row, signed=True),
            _whole(row.n),
            row.verdict,
        ]
        for row in checked.itertuples()
        if row.verdict != published_results.NOT_RUN
    ]


def _section(
    name: str, studies: Iterable[Mapping[str, tuple[Record, pd.DataFrame]]]
) -> dict[str, Any]:
    """Return all that the report shows of an item."""
    item = ITEMS[name]
    found = [items[name] for items in studies if name in items]
    return {
        "name": name,
        "title": item.title,
        "studies": [
            {
                "pictures": list(_pictures(record["folder"], record["pictures"])),
                "numbers": _number_rows(numbers),
            }
            for record, numbers in found
            if record["pictures"]
        ],
        "published": item.published and _published_rows(item.published, found),
    }


def _pictures(folder: Path, pictures: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield source, width and caption of the pictures whose file exists."""
    from PIL import Image

    for picture in pictures:
        path = folder / f"{picture['name']}.png"
        if path.is_file():
            with Image.open(path) as image:
                # Half the number of dots is sharp on dense screens.
                width = min(900, image.width // 2 + 60)
            data = base64.b64encode(path.read_bytes()).decode()
            source = f"data:image/png;base64,{data}"
            yield {"source": source, "width": width, "caption": picture["caption"]}


def _number_rows(table: pd.DataFrame) -> list[list[Any]]:
    """Return our means and paired differences."""
    return [
        [
            label_of(row.setting),
            _whole(row.images_per_class),
            _quantity(row.predictor, row.quantity),
            "" if row.x != row.x else f"{row.x:g}",
            label_of(row.against) if isinstance(row.against, str) else "",
            _interval(row, signed=isinstance(row.against, str)),
            f"{row.n} {row.over}",
        ]
        for row in table[table.seed.isna()].itertuples()
    ]


def _published_rows(
    published: str, found: list[tuple[Record, pd.DataFrame]]
) -> list[list[Any]]:
    """Return the paper's numbers of which there are some of ours, with the nearest ones."""
    compared = [
        published_results.compare(
            published, numbers, is_published_scale=record["scale"] == "paper"
        )
        for record, numbers in found
    ]
    order = list(VERDICTS)
    rows = []
    for same in zip(*(table.itertuples() for table in compared), strict=True):
        best = min(same, key=lambda one: order.index(one.verdict))
        where = [best.dataset, _whole(best.images_per_class, " per class")]
        if best.verdict == published_results.NOT_RUN:
            continue
        std = "" if best.std != best.std else f" ± {best.std:g}"
        note = f" ({best.note})" if isinstance(best.note, str) else ""
        mean = _interval(best._replace(value=best.ours))
        ours, difference = f"{mean} {best.our_dataset}, n = {best.n:.0f}", "–"
        if best.verdict in (published_results.AGREES, published_results.DIFFERS):
            difference = f"{best.difference:+.3g}"
        rows.append(
            [
                ", ".join(part for part in where if isinstance(part, str) and part)
                or "not stated",
                label_of(best.method),
                _quantity(best.predictor, best.quantity),
                f"{best.value:g}{std}{note}",
                ours,
                difference,
                best.verdict,
            ]
        )
    return rows


# --- the demo ---------------------------------------------------------------------------


def write_demo_page(study: Study, table: pd.DataFrame, out: Path) -> Path:
    """Write ``index.html``, a page of its own, from the pictures and the table of the demo."""
    pictures = []
    for name in DEMO:
        record = json.loads((out / f"{name}.json").read_text())
        pictures += _pictures(out, record["pictures"])
    text = _render(
        "demo.html",
        train=len(study.dataset.train.labels),
        test=len(study.dataset.test.labels),
        side=study.dataset.image_shape[0],
        steps=study.budget.steps,
        width=study.budget.width,
        rate=study.budget.learning_rate / FRePo().learning_rate,
        findings=[
            sentence for size in study.sizes for sentence in _findings(table, size)
        ],
        pictures=pictures,
        tables={
            format_images_per_class(size): _accuracy_rows(
                table[(table.images_per_class == size) & table.seed.isna()]
            )
            for size in study.sizes
        },
    )
    write_atomically(out / "index.html", text.encode())
    return out / "index.html"


def _findings(table: pd.DataFrame, size: int) -> list[str]:
    """Return what the numbers of the demo show with a number of images per class."""
    rows = table[(table.images_per_class == size) & (table.predictor == "network")]
    mean = functools.partial(results_table.mean_of, rows)
    base, key = DEMO_TABLE.keys
    accuracies = {one: f"{mean(one).mean:.1f} %" for one in ("random", "full", key)}
    gain = mean(key, minus=base)
    names = f"{label_of(key)} minus {label_of(base)}"
    found = f"{names}: {_interval_text(gain)} points, "
    if gain.excludes_zero:
        found += f"an interval {'above' if gain.low > 0 else 'below'} 0."
    else:
        found += "which shows no difference."
    return [
        f"With {format_images_per_class(size)}, new networks reach {accuracies[key]} on "
        f"the distilled images ({label_of(key)}), {accuracies['random']} on random real ones, "
        f"and {accuracies['full']} when trained on the whole training set.",
        found,
    ]


def _accuracy_rows(means: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Return colour and cells of each setting: both predictors, and differences."""
    texts = {
        (row.setting, row.predictor, row.against): _interval(
            row, signed=row.against != "", decimals=1
        )
        for row in means.fillna({"against": ""}).itertuples()
    }
    columns = [
        *((predictor, "") for predictor in PREDICTORS),
        *(("network", against) for against in ("random", "frepo")),
    ]
    return [
        (
            setting(key).colour,
            [label_of(key), *(texts.get((key, *column), "–") for column in columns)],
        )
        for key in ("random", "kmeans", *DEMO_TABLE.keys, "full")
    ]


# --- pieces -----------------------------------------------------------------------------


def _render(template: str, **context: Any) -> str:
    """Return a page; everything in it is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(context)


def _interval_text(gain: Interval) -> str:
    """Return a difference with its interval in brackets."""
    mean, interval = format_interval(
        gain.mean, gain.low, gain.high, signed=True, decimals=1
    )
    return f"{mean} [{interval}]" if interval else mean


def _interval(row: Any, **how: Any) -> str:
    """Return the mean of a row, with its interval in brackets."""
    mean, interval = format_interval(row.value, row.low, row.high, **how)
    return f"{mean} [{interval}]" if interval else mean


def _quantity(predictor: Any, quantity: str) -> str:
    """Return what was measured as text: "network, %" for an accuracy."""
    if quantity == "accuracy_percent":
        return f"{PREDICTORS.get(predictor, 'accuracy')}, %"
    return quantity.replace("_", " ")


def _whole(value: Any, unit: str = "") -> str:
    import pandas as pd

    return "" if pd.isna(value) else f"{int(value)}{unit}"
