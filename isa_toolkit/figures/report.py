# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportReturnType=false, reportCallIssue=false
"""The report: one page, without anything beside it, that sets our numbers by the paper's."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit.figures import claim_tests, published_results
from isa_toolkit.figures.registry import ITEMS
from isa_toolkit.figures.reproduce import stored_numbers, stored_records
from isa_toolkit.figures.variants import SETTINGS
from isa_toolkit.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_report"]

Record = dict[str, Any]
_VERDICTS = {
    "agrees": "good",
    "differs": "bad",
    "inside the noise": "open",
    "no interval": "open",
    "other setting": "open",
    "not run": "none",
}


def write_report(out: str | Path) -> Path:
    """Write ``report.html`` from the stored items of every study in a results folder.

    Args:
        out: the results folder.

    Returns:
        Path of the page.

    Raises:
        OSError: the folder cannot be read or written.
    """
    records = stored_records(out)
    path = Path(out) / "report.html"
    write_atomically(path, _page(records).encode())
    return path


def _page(records: list[Record]) -> str:
    numbers = {_key(record): stored_numbers(record) for record in records}
    studies = list(dict.fromkeys(_study(record) for record in records))
    body = [_claims(studies, records, numbers)]
    body += [_item(name, records, numbers) for name in ITEMS]
    body.append(_left_out())
    links = " · ".join(f'<a href="#{name}">{name}</a>' for name in ITEMS)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>ISA Toolkit: the appendix, regenerated</title><style>{_STYLE}</style></head><body>
<h1>The appendix, regenerated</h1>
<p>Every figure, table and number of the paper's appendix, made by this toolkit and set
beside the paper's. Ours is a mean over distilled sets (seeds) with its 95 % interval;
comparisons are paired seed by seed: same first images, batches and networks.</p>
<p>{links}</p>
{_made_by(records)}
{"".join(body)}
<h2 id="verdicts">What the verdicts mean</h2>
<dl><dt>{_badge("agrees")}</dt><dd>For a number: same data set, images per class and published
scale, and the two intervals meet (the paper's: mean ± 2 std / √5). For a claim: the interval
of our paired difference lies on the claimed side of 0.</dd>
<dt>{_badge("differs")}</dt><dd>The intervals do not meet; or our interval lies on the
other side of 0.</dd>
<dt>{_badge("inside the noise")}</dt><dd>Our interval includes 0: no difference is shown,
which is not the same as none.</dd>
<dt>{_badge("no interval")}</dt><dd>The same setting, but one seed tells no interval.</dd>
<dt>{_badge("other setting")}</dt><dd>Ours is another data set, a smaller scale or another
device (digits instead of CIFAR-10, hundreds of steps instead of 500,000): shown beside the
paper's number, not compared.</dd>
<dt>{_badge("not run")}</dt><dd>There is no number of ours.</dd></dl>
</body></html>
"""


def _key(record: Record) -> tuple[str, str, str]:
    return record["dataset"], record["scale"], record["item"]


def _study(record: Record) -> tuple[str, str]:
    return record["dataset"], record["scale"]


# --- sections ---------------------------------------------------------------------------


def _made_by(records: list[Record]) -> str:
    rows = []
    for study in dict.fromkeys(_study(record) for record in records):
        mine = [record for record in records if _study(record) == study]
        last = max(mine, key=lambda record: record["when"])
        facts = last["versions"]
        rows.append(
            [
                html.escape(study[0]),
                study[1],
                str(last["seeds"]),
                f"{sum(record['seconds'] for record in mine):.0f} s",
                html.escape(facts["device"]),
                html.escape(
                    f"isa_toolkit {facts['isa_toolkit']}, Python {facts['python']}, "
                    f"JAX {facts['jax']}"
                ),
                f"<code>{html.escape(last['command'])}</code>",
            ]
        )
    heads = ["data set", "scale", "seeds", "time", "device", "versions", "command"]
    return _table(
        heads, rows, "How this was made (time: runs that were there are reused)"
    )


def _claims(
    studies: list[tuple[str, str]],
    records: list[Record],
    numbers: dict[tuple[str, str, str], pd.DataFrame],
) -> str:
    parts = ['<h2 id="claims">What the paper claims</h2>']
    for dataset, scale in studies:
        tables = {
            record["item"]: numbers[_key(record)]
            for record in records
            if _study(record) == (dataset, scale)
        }
        judged = claim_tests.judge(tables)
        rows = [
            [
                html.escape(row.claim),
                _whole(row.images_per_class),
                row.expected,
                _with_interval(row.value, row.low, row.high, signed=True),
                _whole(row.n),
                _badge(row.verdict),
            ]
            for row in judged.itertuples()
        ]
        heads = [
            "claim", "per class", "claimed", "our paired difference", "seeds", "",
        ]  # fmt: skip
        parts.append(_table(heads, rows, f"{dataset}, scale {scale}"))
    return "".join(parts)


def _item(
    name: str,
    records: list[Record],
    numbers: dict[tuple[str, str, str], pd.DataFrame],
) -> str:
    item = ITEMS[name]
    mine = [record for record in records if record["item"] == name]
    parts = [f'<h2 id="{name}">{html.escape(item.title)}</h2>']
    if not any(record["parts"] for record in mine):
        parts.append(f"<p>{_badge('not run')}</p>")
    for record in mine:
        for part in record["parts"]:
            picture = record["folder"] / f"{part['name']}.png"
            if not picture.is_file():
                continue
            width = _width(picture)
            parts.append(
                f'<figure><img src="{_inline(picture)}" style="width:{width}px" '
                f'alt="{html.escape(item.title)}">'
                f"<figcaption>{html.escape(part['caption'])}</figcaption></figure>"
            )
        if record["parts"]:
            parts.append(_summary(numbers[_key(record)]))
    if item.target is not None:
        parts.append(_beside(item.target, mine, numbers))
    return "".join(parts)


def _left_out() -> str:
    """Return those of the paper's numbers that no item regenerates."""
    known = {item.target for item in ITEMS.values()}
    names = dict.fromkeys(published_results.paper_numbers()["item"])
    parts = ['<h2 id="left-out">Not regenerated</h2>']
    for name in names:
        if name not in known:
            parts += [f"<h3>{html.escape(name)}</h3>", _beside(name, [], {})]
    return "".join(parts)


def _beside(
    target: str,
    records: list[Record],
    numbers: dict[tuple[str, str, str], pd.DataFrame],
) -> str:
    """Return the paper's numbers, each beside the nearest of ours."""
    import pandas as pd

    compared = [
        published_results.compare(
            target,
            numbers[_key(record)],
            is_published_scale=record["scale"] == "paper",
        )
        for record in records
    ] or [published_results.compare(target, pd.DataFrame(), is_published_scale=False)]
    order = list(_VERDICTS)
    rows = []
    for row in zip(*(table.itertuples() for table in compared), strict=True):
        best = min(row, key=lambda one: order.index(one.verdict))
        where = ", ".join(
            str(part)
            for part in (best.dataset, _whole(best.images_per_class, "per class"))
            if isinstance(part, str) and part
        )
        ours = ""
        if best.verdict != published_results.NOT_RUN:
            ours = (
                f"{_with_interval(best.ours, best.low, best.high)} "
                f"<small>{html.escape(str(best.our_dataset))}, n = {_whole(best.n)}</small>"
            )
        spread = "" if best.std != best.std else f" ± {best.std:g}"
        note = (
            f" <small>({html.escape(best.note)})</small>"
            if isinstance(best.note, str)
            else ""
        )
        is_compared = best.verdict in (
            published_results.AGREES,
            published_results.DIFFERS,
        )
        rows.append(
            [
                html.escape(where or "not stated"),
                _name(best.method),
                _quantity(best.predictor, best.quantity),
                f"{best.value:g}{spread}{note}",
                ours or "–",
                f"{best.difference:+.3g}" if is_compared else "–",
                _badge(best.verdict),
            ]
        )
    heads = ["paper's setting", "method", "quantity", "paper", "ours", "difference", ""]
    return _table(heads, rows, "Beside the paper's numbers")


def _summary(table: pd.DataFrame) -> str:
    """Return our means and paired differences, folded away."""
    shown = table[table.seed.isna()] if len(table) else table
    if len(shown) == 0:
        return ""
    rows = [
        [
            _name(row.setting),
            _whole(row.images_per_class),
            _quantity(row.predictor, row.quantity),
            "" if row.x != row.x else f"{row.x:g}",
            _name(row.against) if isinstance(row.against, str) else "",
            _with_interval(
                row.value, row.low, row.high, signed=isinstance(row.against, str)
            ),
            f"{row.n} {html.escape(str(row.over))}",
        ]
        for row in shown.itertuples()
    ]
    heads = ["setting", "per class", "quantity", "at", "minus", "value", "over"]
    return f"<details><summary>All numbers</summary>{_table(heads, rows)}</details>"


# --- pieces -----------------------------------------------------------------------------


def _table(heads: list[str], rows: list[list[str]], caption: str = "") -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
    )
    told = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{told}<tr>{head}</tr>{body}</table></div>'


def _badge(verdict: str) -> str:
    return f'<span class="badge {_VERDICTS[verdict]}">{verdict}</span>'


def _name(key: str) -> str:
    known = SETTINGS.get(key)
    return html.escape(known.label if known else str(key).replace("_", " "))


def _quantity(predictor: Any, quantity: str) -> str:
    """Return what was measured in words: "network, %" for an accuracy."""
    if quantity == "accuracy_percent":
        names = {"network": "network", "krr": "ridge predictor"}
        return f"{names.get(predictor, 'accuracy')}, %"
    return html.escape(quantity.replace("_", " "))


def _whole(value: Any, unit: str = "") -> str:
    import pandas as pd

    if value is None or pd.isna(value):
        return ""
    return f"{int(value)} {unit}".strip()


def _with_interval(
    value: float, low: float, high: float, *, signed: bool = False
) -> str:
    if value is None or value != value:
        return "–"
    known = [abs(end) for end in (value, low, high) if end == end and end != 0]
    size = max(known, default=1.0)
    digits = max(0, min(6, 2 - math.floor(math.log10(size))))
    shown = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if low != low:
        return shown
    return f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _width(picture: Path) -> int:
    """Return the width to show a picture at: half its dots, so that it is sharp."""
    from PIL import Image

    with Image.open(picture) as image:
        return min(900, image.width // 2 + 60)


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto;
       padding: 0 1rem; }
h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; margin: 1rem 0; }
th, td { padding: .25rem .5rem; text-align: left; border-bottom: 1px solid #8884;
         vertical-align: top; }
td:nth-last-child(n+2) { white-space: normal; }
td.num, .badge { white-space: nowrap; }
td { font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px;
             padding: .4rem; box-sizing: border-box; }
figcaption { font-size: .9rem; max-width: 50rem; }
.scroll { overflow-x: auto; }
.badge { display: inline-block; padding: 0 .5em; border-radius: 1em; font-size: .8rem;
         white-space: nowrap; color: #fff; }
.good { background: #00785a; } .bad { background: #b8440a; }
.open { background: #5a6472; } .none { background: #9099a3; }
dt { margin-top: .5rem; } dd { margin: 0 0 0 1rem; }
code { font-size: .8rem; }
"""
