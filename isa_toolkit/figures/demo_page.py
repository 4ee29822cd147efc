# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (pandas types its columns and groups too loosely to check.)
"""The demo's page: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING

from isa_toolkit.figures.style import COLOURS

if TYPE_CHECKING:
    import pandas as pd

    from isa_toolkit.figures.demo import Study

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
.scroll { overflow-x: auto; }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%;
       margin-right: .4em; outline: 1px solid #8888; }
"""


def page(table: pd.DataFrame, study: Study, images: Path, curve: Path) -> str:
    """Return the page.

    Args:
        table: from ``isa_toolkit.figures.demo.compute``.
        study: what was measured.
        images: PNG of the distilled images over time.
        curve: PNG of accuracy against step.

    Returns:
        HTML.
    """
    counts = [int(count) for count in sorted(table.images_per_class.unique())]
    tables = "".join(_table(table, count, study) for count in counts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>ISA Toolkit: the digits, distilled</title><style>{_STYLE}</style></head><body>
<h1>The digits, distilled</h1>
<p>{len(study.dataset.train.labels):,} handwritten digits of 8x8 pixels were distilled
into one and ten learned images per class, by FRePo and by FRePo that drops the easiest
20 % of each batch and averages its loss along a segment of feature space (ISA). New
networks were trained on the result and tested on {len(study.dataset.test.labels)} other
digits.</p>
<img src="{_inline(images)}" alt="Distilled images over time">
<p>One image per class at several steps, seed 0. Step 0 is real images. Learned images are
not confined to the pixel range; they are clipped to it here.</p>
<img src="{_inline(curve)}" alt="Accuracy against step">
<p>Thick: mean over seeds. Thin: each seed. The last step is the result; no step was chosen
by its accuracy.</p>
{tables}
<h2>How to read this</h2>
<p>± is a 95 % Student interval over <em>distilled sets</em> (another seed draws other first
images); the column <em>networks</em> is the interval over networks trained on these very
sets. The differences are paired: both settings of a seed start from the same images and
networks and see the same batches, so what the seed alone does cancels. An interval that
includes 0 means that this demo does not show a difference.</p>
<p>At one image per class the digits tell methods from baselines. At ten they are nearly
saturated: random real images already do almost as well as anything, and differences of a
point or less say little.</p>
<p>This is a small, quick setting (a ConvNet of width 16, hundreds of steps where the
paper takes 500,000, a learning rate ten times the published one, short evaluations). Its
numbers show that the parts work together; they are not the paper's.</p>
</body></html>
"""


def _table(table: pd.DataFrame, count: int, study: Study) -> str:
    del study
    rows = []
    part = table[table.images_per_class == count]
    for setting, cells in part.groupby("setting", sort=False):
        by = cells.set_index("predictor")
        network, ridge = by.loc["network"], by.loc["ridge"]
        dot = f'<span class="dot" style="background:{COLOURS[str(setting)]}"></span>'
        values = [
            f"{dot}{html.escape(str(setting))}",
            _value(network.accuracy, network.half_width_sets),
            _value(ridge.accuracy, ridge.half_width_sets),
            _half(network.half_width_networks),
            f"{network.sets:.0f} x {network.networks:.0f}",
            _value(network.over_random, network.over_random_half_width, signed=True),
            _value(network.over_frepo, network.over_frepo_half_width, signed=True),
        ]
        rows.append("".join(f"<td>{value}</td>" for value in values))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    heads = (
        "", "network, %", "ridge, %", "networks", "sets x networks",
        "over random real", "over FRePo",
    )  # fmt: skip
    head = "".join(f"<th>{name}</th>" for name in heads)
    plural = "s" * (count > 1)
    return (
        f'<div class="scroll"><table><caption>{count} image{plural} per class'
        f"</caption><tr>{head}</tr>{body}</table></div>"
    )


def _value(mean: float, half_width: float, *, signed: bool = False) -> str:
    if mean != mean:
        return "–"
    shown = f"{100 * mean:+.1f}" if signed else f"{100 * mean:.1f}"
    return shown + (_half(half_width) if half_width == half_width else "")


def _half(half_width: float) -> str:
    return "–" if half_width != half_width else f" ± {100 * half_width:.1f}"


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
