"""Names that are markup, mathematics or commands are shown as they are, wherever text goes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from hand_tables import TABLES
from PIL import Image
from tiny_run import tiny
from whole_run import whole
from widget_study import changed, tiny_study

from isa_toolkit import sweeps
from isa_toolkit.cli import main
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.evaluation import random_real
from isa_toolkit.figures import gallery, report, samples, style
from isa_toolkit.figures.registry import DEMO, ITEMS
from isa_toolkit.figures.results_table import as_table
from isa_toolkit.figures.style import house_style, new_figure, save
from isa_toolkit.formats import folder_names
from isa_toolkit.widgets import (
    ISA,
    CompareRuns,
    CrucialSamples,
    Gallery,
    JobWatcher,
    Manifold,
    SweepPanel,
    layout,
    pictures,
)

__all__ = ["whole"]

# The first one may name a folder, a data set and a run.
NAMES = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '"><b onclick="alert(1)">',
    "'><svg/onload=alert(1)>",
    "&amp; &lt;i&gt; {{ 7 * 191 }} {% x %}",
    "$x_{ \\frac$ $",
    "\x1b[31mred\x07",
    "two\nlines\r\t\u2028three",
    "\u202egnol" + "very" * 99,
    "\udcff",
)
NAME = NAMES[0]


class Page(HTMLParser):
    """What a browser makes of HTML: names of tags, attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_safe(page: str, *, shows_a_name: bool = True) -> None:
    """Check that no name has become an element, a handler or an address."""
    found = Page(page)
    assert not found.tags & {"script", "svg", "i", "iframe", "object", "link"}
    for name, value in found.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/png;base64,")
    assert "1337" not in found.text
    shown = found.text + " ".join(value for _, value in found.attributes)
    assert any(name[:25] in shown for name in NAMES) == shows_a_name


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    digits = load_dataset("digits", limit=300)
    return dataclasses.replace(digits, class_names=NAMES, name=NAME)


def _record(out: Path, folder: str, item: str) -> None:
    """Write an item of a report in which every text is hostile."""
    (out / folder).mkdir(exist_ok=True)
    save(house_style(new_figure)(2, 1), out / folder / item)
    record = {
        "item": item, "dataset": NAME, "scale": NAMES[1], "seeds": 3,
        "pictures": [{"name": item, "caption": NAMES[3]}], "seconds": 1.0,
        "command": f"{NAMES[4]}{NAMES[9]}", "when": NAMES[5],
        "versions": dict.fromkeys(("device", "isa_toolkit", "python", "jax"), NAMES[8]),
    }  # fmt: skip
    (out / folder / f"{item}.json").write_text(json.dumps(record))


def _report(dataset: Dataset, out: Path) -> str:
    del dataset
    _record(out, "one", "fig5")
    numbers = TABLES["fig5"]().assign(dataset=NAME, setting=NAMES[3], against=NAMES[4])
    numbers.to_csv(out / "one" / "fig5-numbers.csv", index=False)
    return report.write_report(out).read_text("utf-8")


def _demo(dataset: Dataset, out: Path) -> str:
    for item in DEMO:
        _record(out, ".", item)
    with pytest.MonkeyPatch.context() as patch:
        study = changed(tiny_study(patch, out), dataset=dataset)
        patch.setattr(type(study), "sizes", [])
        return report.write_demo_page(study, as_table([]), out).read_text("utf-8")


def _plan(dataset: Dataset, out: Path) -> str:
    made = sweeps.plan(tiny(), {"seed": range(2)}, out=out, name=NAME)
    runs = [dataclasses.replace(run, group=NAMES[1]) for run in made.runs]
    made = dataclasses.replace(made, runs=tuple(runs))
    return made._repr_html_() + sweeps.write(made)._repr_html_()


PAGES: dict[str, Callable[[Dataset, Path], str]] = {
    "data set": lambda dataset, _: dataset._repr_html_(),
    "distilled set": lambda dataset, _: random_real(dataset, 1)._repr_html_(),
    "plan and sweep": _plan,
    "report": _report,
    "demo": _demo,
    "heading": lambda *_: layout.heading(*NAMES[:2]).value,
    "table": lambda *_: layout.table(NAMES, [NAMES, NAMES]),
    "legend": lambda *_: layout.legend(dict.fromkeys(NAMES, "red")),
    "still": lambda *_: layout.still(NAMES[2], [layout.table(NAMES, [])]),
    "pictures": lambda *_: pictures.strip(
        NAMES[2], [pictures.figure("data:image/png;base64,", name) for name in NAMES]
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_and_displays_escape_names(name, dataset, tmp_path):
    assert_safe(PAGES[name](dataset, tmp_path))


@pytest.mark.parametrize("name", TABLES)
def test_figures_draw_names_as_text(name):
    table = TABLES[name]()
    for column in {"dataset", "label"} & set(table):
        known = dict(zip(table[column].unique(), NAMES[5:9] + NAMES[:5], strict=False))
        table[column] = table[column].map(known)
    figure = ITEMS[name].figure.draw(table)
    assert style.png(figure)
    texts = [
        text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))
    ]
    assert not any("\x1b" in text or len(text) > 400 for text in texts)


# --- panels -----------------------------------------------------------------------------


def markup(widget: Any) -> Iterator[str]:
    """Yield the HTML of a widget and of all that it holds."""
    if isinstance(widget, ipywidgets.HTML):
        yield widget.value
    for child in getattr(widget, "children", ()):
        yield from markup(child)


@pytest.mark.slow
def test_panels_escape_names(whole, tmp_path, dataset):
    path = Path(shutil.copytree(whole.path, tmp_path / NAME))
    hostile = dataclasses.replace(whole.distilled, class_names=NAMES)
    hostile.save(path / "distilled.safetensors")
    panel = Gallery(tmp_path)
    panel.labels.value = True
    panel.check()
    assert_safe("".join(markup(panel.view)))
    shutil.rmtree(path)
    panel.labels.value = False
    assert panel.error
    assert_safe("".join(markup(panel.view)))
    with pytest.MonkeyPatch.context() as patch:
        study = changed(tiny_study(patch, tmp_path / "runs"), dataset=dataset)
        chosen = CrucialSamples(study)
        chosen.set(drop=(0.3, 0.1))
        chosen.check()
        assert_safe("".join(markup(chosen.view)))
        assert style.png(samples.draw(samples.compute(study)))
        maps = Manifold(study)
        maps.run.click()
        maps.wait(240)
        maps.check()
        assert_safe("".join(markup(maps.view)))
        pair = ISA(study)
        pair.check()
        # JavaScript draws its names.
        assert_safe("".join(markup(pair.view)), shows_a_name=False)


@pytest.mark.slow
def test_panels_of_folders_escape_the_names_of_runs_and_sweeps(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / NAME)
    made = sweeps.plan(tiny(), {"seed": range(2)}, out=tmp_path, name=NAME)
    runs = [dataclasses.replace(run, group=NAMES[1]) for run in made.runs]
    sweeps.write(dataclasses.replace(made, runs=tuple(runs)))
    compared, watched = CompareRuns(tmp_path), JobWatcher(out=tmp_path)
    watched.attach.click()
    swept = SweepPanel(out=tmp_path)
    swept.attach.click()
    for panel in (compared, watched, swept):
        panel.check()
        html = "".join(markup(panel.view)) + panel._repr_mimebundle_()["text/html"]
        # Runs are distinguished by their settings, where there is no folder to name.
        assert_safe(html, shows_a_name=panel is not compared)


# --- the command line -------------------------------------------------------------------


def test_a_terminal_gets_no_command_from_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    classes = [name for name in NAMES if "/" not in name and len(name) < 200]
    for name in classes:
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(4):
            pixels = draw.integers(0, 256, (6, 6), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index}.png")
    for command in (
        ["data", "--dataset", NAME, "--root", "data"],
        ["data", "--dataset", NAME, "--root", "data", "--json"],
        ["data", "--dataset", NAMES[6], "--root", "data"],
        ["data", "--dataset", "x", "--root", NAMES[7]],
        ["sweep", "status", f"{NAMES[6]}{NAMES[9]}"],
        [NAMES[6]],
    ):
        main(command)
        out, err = capsys.readouterr()
        assert out or err.count("\n") == 1
        assert all(one.isprintable() or one == "\n" for one in out + err)
        if "--json" in command:
            assert set(json.loads(out)["classes"]) == {*classes[:-1], "\\udcff"}


def test_exported_folders_are_plain(dataset, tmp_path):
    out = random_real(dataset, 1).export(tmp_path / "out", kind="png")
    assert folder_names(NAMES)[1] == "1-_script_alert_1_script_"
    assert all(path.name.isascii() for path in out.rglob("*"))
    table = gallery.table_of(random_real(dataset, 1), NAME)
    assert style.png(gallery.draw(table))
    assert pd.read_csv(out / "labels.csv").shape[0] == len(NAMES)
