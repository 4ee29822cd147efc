"""Reproducing: files per item, a page after each, and going on after a stop."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hand_tables import TABLES
from tiny_study import STEPS, TINY, three_digits, tiny_study

from isa_toolkit.figures import report, reproduce
from isa_toolkit.figures import study as studies
from isa_toolkit.figures.comparisons import DEMO_TABLE
from isa_toolkit.figures.registry import ITEMS
from isa_toolkit.figures.results_table import COLUMNS
from isa_toolkit.figures.variants import label_of

pytestmark = pytest.mark.slow


def by_hand(monkeypatch):
    """Replace the computation of every item by its hand-written table."""
    computed = []

    def compute(name):
        def made(_):
            computed.append(name)
            return TABLES[name]()

        return made

    for name in TABLES:
        figure = ITEMS[name].figure
        stand_in = SimpleNamespace(
            compute=compute(name), draw=figure.draw, caption=figure.caption
        )
        monkeypatch.setitem(ITEMS, name, ITEMS[name]._replace(figure=stand_in))
    return computed


def test_every_item_leaves_its_files(tiny, monkeypatch, tmp_path):
    by_hand(monkeypatch)
    reported, made = [], [name for name in ITEMS if name in {*TABLES, "table7"}]
    page = reproduce.reproduce(
        tiny, tmp_path, only=made, command="the command", log=reported.append
    )
    assert page == tmp_path / "report.html"
    folder = tmp_path / "three_digits-quick"
    expected = {f"{name}{end}" for name in made for end in (".json", "-numbers.csv")}
    expected |= {f"{name}{end}" for name in TABLES for end in (".pdf", ".png", ".csv")}
    assert {path.name for path in folder.iterdir()} == expected
    for name, table in TABLES.items():
        flat = table().drop(columns="pixels", errors="ignore")
        stored = pd.read_csv(folder / f"{name}.csv").astype(object)
        flat = flat.astype(object)
        pd.testing.assert_frame_equal(
            stored.where(stored.notna(), None), flat.where(flat.notna(), None)
        )
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        record = json.loads((folder / f"{name}.json").read_text())
        assert [picture["name"] for picture in record["pictures"]] == [name]
        assert (record["seeds"], record["command"]) == (2, "the command")
        numbers = pd.read_csv(folder / f"{name}-numbers.csv")
        assert list(numbers.columns) == list(COLUMNS)
        no_rows = name in ("fig6", "fig7", "gallery")
        assert len(numbers) == (0 if no_rows else len(table()))
    assert [line.split()[0] for line in reported] == made
    nothing = [
        line for line in reported if line.endswith("nothing to show for this data set")
    ]
    assert [line.split()[0] for line in nothing] == ["table7"]
    assert page.read_text().count("<img") == len(TABLES)


def test_interrupted_between_items_it_goes_on(tiny, monkeypatch, tmp_path):
    asked = by_hand(monkeypatch)
    only = ["fig5", "fig8", "cost"]

    def stop(line):
        if line.startswith("fig8"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce(tiny, tmp_path, only=only, log=stop)
    # What is done is whole, with a page or without.
    assert asked == ["fig5", "fig8"]
    assert [one["item"] for one in report.stored_records(tmp_path)] == asked
    assert (tmp_path / "report.html").read_text().count("<img") == 1
    reproduce.reproduce(tiny, tmp_path, only=only)
    assert [one["item"] for one in report.stored_records(tmp_path)] == only
    assert (tmp_path / "report.html").read_text().count("<img") == 3


def test_only_some_items_are_made_in_the_order_of_all(tiny, monkeypatch, tmp_path):
    asked = by_hand(monkeypatch)
    reproduce.reproduce(tiny, tmp_path, only=["cost", "fig3c"])
    assert asked == ["fig3c", "cost"]
    assert reproduce.chosen_items(None) == reproduce.chosen_items([]) == list(ITEMS)
    with pytest.raises(ValueError, match=r"^--only must be one of .*, got 'fig9'"):
        reproduce.reproduce(tiny, tmp_path / "other", only=["fig5", "fig9"])
    assert not (tmp_path / "other").exists()


def test_an_item_that_fails_leaves_no_record(tiny, monkeypatch, tmp_path):
    def fail(_):
        raise RuntimeError("while computing")

    broken = SimpleNamespace(compute=fail, draw=fail, caption=fail)
    monkeypatch.setitem(ITEMS, "fig5", ITEMS["fig5"]._replace(figure=broken))
    with pytest.raises(RuntimeError, match="while computing"):
        reproduce.reproduce(tiny, tmp_path, only=["fig5"])
    assert not list(tmp_path.rglob("fig5*"))


def test_runs_of_one_item_serve_the_next_and_a_second_call(tiny, monkeypatch, tmp_path):
    """The real items on the tiny study; nothing is distilled or evaluated twice."""
    calls = []
    for name in ("distill", "evaluate"):
        real = getattr(studies, name)
        monkeypatch.setattr(
            studies, name, lambda *a, _real=real, **k: calls.append(1) or _real(*a, **k)
        )
    only = ["fig8", "table6", "table7", "gallery"]
    reproduce.reproduce(tiny, tmp_path, only=only)
    folder = tmp_path / "three_digits-quick"
    first = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    assert {"gallery-ipc1.csv", "gallery-ipc10.csv", "fig8.csv"} <= set(first)
    calls.clear()
    page = reproduce.reproduce(tiny, tmp_path, only=only)
    assert calls == []
    assert first == {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    # Without running what is missing, another scale has nothing, and the page says so.
    wider = tiny.budget._replace(width=8)
    bare = tiny_study(tiny.folder, scale=wider, run_missing=False)
    page = reproduce.reproduce(bare, tmp_path / "none", only=only).read_text()
    assert "<img" not in page
    [line] = re.findall(r'<p id="not-run">(.*?)</p>', page)
    assert all(name in line for name in only)
    assert calls == []
    # The CSV holds no pixels, yet every label.
    labels = pd.read_csv(folder / "gallery-ipc10.csv")
    assert "pixels" not in labels
    assert np.isfinite(labels["first"]).all()


def test_stored_numbers_are_those_of_the_item(tiny, monkeypatch, tmp_path):
    by_hand(monkeypatch)
    reproduce.reproduce(tiny, tmp_path, only=["fig5", "gallery"])
    fig5, gallery = report.stored_records(tmp_path)
    stored, made = report.stored_numbers(fig5), TABLES["fig5"]()
    assert list(stored.dtypes) == list(made.dtypes)
    pd.testing.assert_frame_equal(stored.fillna(-1), made.fillna(-1))
    assert len(report.stored_numbers(gallery)) == 0
    (fig5["folder"] / "fig5-numbers.csv").unlink()
    assert list(report.stored_numbers(fig5).columns) == list(COLUMNS)


def test_the_demo_is_a_study_with_a_page_of_its_own(monkeypatch, tmp_path):
    load = "isa_toolkit.figures.study.load_dataset"
    monkeypatch.setattr(load, lambda _: three_digits())
    budget = TINY._replace(steps={1: STEPS})
    monkeypatch.setattr(studies, "BUDGETS", {"quick": budget})
    monkeypatch.setattr(studies, "_FULL_FIT", TINY.fit)
    lines = []
    page, table = reproduce.make_demo(
        tmp_path / "demo", folder=tmp_path / "runs", seeds=2, log=lines.append
    )
    assert [line.split()[0] for line in lines] == ["first", "images", "curve", "table"]
    text = page.read_text()
    assert page == tmp_path / "demo" / "index.html"
    assert text.count("data:image/png;base64,") == 4
    assert "http" not in text
    # What the page says of the numbers is said by the numbers.
    network = table[(table.predictor == "network") & table.seed.isna()]
    mean = network[network.against.isna()].set_index("setting").value
    for key in ("isa", "random", "full"):
        assert f"{mean[key]:.1f} %" in text
    [gain] = network[
        (network.setting == "isa") & (network.against == "frepo")
    ].itertuples()
    shown = "shows no difference" not in text
    assert shown == (gain.low > 0 or gain.high < 0)
    for key in ("random", "kmeans", "full", *DEMO_TABLE.keys):
        assert f"<th>{label_of(key)}</th>" in text
    stored = pd.read_csv(tmp_path / "demo" / "table.csv")
    assert stored.value.tolist() == pytest.approx(table.value.tolist())
    # Nothing is distilled again.
    monkeypatch.setattr(studies, "distill", None)
    again = reproduce.make_demo(tmp_path / "demo", folder=tmp_path / "runs", seeds=2)
    pd.testing.assert_frame_equal(again[1], table)
