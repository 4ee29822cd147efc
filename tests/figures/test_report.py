"""The report: one page without anything beside it, of nothing, one study or several."""

from __future__ import annotations

import html
import json
import re

import pandas as pd
from hand_tables import TABLES

from isa_toolkit.figures.published_results import VERDICTS, published_claims
from isa_toolkit.figures.registry import ITEMS
from isa_toolkit.figures.report import write_report
from isa_toolkit.figures.results_table import as_table, bracketed
from isa_toolkit.figures.style import house_style, new_figure, save

FACTS = {"device": "cpu", "isa_toolkit": "1", "python": "3", "jax": "0"}


def add(
    out, item, table=None, *, dataset="toy", scale="quick", caption="reported", **more
):
    """Write an item as ``reproduce`` does, with an empty picture."""
    folder = out / f"{dataset}-{scale}"
    folder.mkdir(exist_ok=True)
    pictures = []
    if table is not None:
        save(house_style(new_figure)(2, 1), folder / item)
        pictures.append({"name": item, "caption": caption})
    numbers = as_table([]) if table is None else table.assign(dataset=dataset)
    numbers.to_csv(folder / f"{item}-numbers.csv", index=False)
    record = {
        "item": item, "dataset": dataset, "scale": scale, "seeds": 3, "pictures": pictures,
        "seconds": 1.5, "command": "isa-toolkit reproduce", "when": "2026-01-01",
        "versions": FACTS,
    }  # fmt: skip
    (folder / f"{item}.json").write_text(json.dumps({**record, **more}))


def tables(page):
    """Return every table of the page by its caption, several under one in a list."""
    found = {}
    for table in re.findall(r"<table>(.*?)</table>", page, re.DOTALL):
        caption = re.search(r"<caption>(.*?)</caption>", table)
        rows = [
            [
                re.sub(r"<[^>]+>", "", cell)
                for cell in re.findall(r"<td>(.*?)</td>", row)
            ]
            for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]
        ]
        name = html.unescape(caption[1]) if caption else ""
        found.setdefault(name, []).append(rows)
    return found


def page_of(out):
    return write_report(out).read_text()


def assert_stands_alone(page):
    assert page.startswith("<!doctype html>")
    assert "http" not in page
    assert not re.search(r"<(script|link|iframe|object)", page)
    assert all(
        source.startswith("data:image/png;base64,")
        for source in re.findall(r'src="([^"]*)', page)
    )
    links = re.findall(r'href="([^"]*)', page)
    assert all(f'id="{link[1:]}"' in page for link in links)
    assert links == [f"#{name}" for name in re.findall(r'<h2 id="(\w+)">', page)[1:-1]]
    for tag in ("table", "figure", "details", "div", "dl", "h2", "p", "td", "tr"):
        opened = len(re.findall(rf"<{tag}[ >]", page))
        assert opened == page.count(f"</{tag}>")


def assert_what_was_run_stands(page, run):
    """Each item that was run has a section; all others are named in one line."""
    for name, item in ITEMS.items():
        heading = f'<h2 id="{name}">{html.escape(item.title)}</h2>'
        assert (heading in page) == (name in run)
    [line] = re.findall(r'<p id="not-run">(.*?)</p>', page)
    names = re.sub(r"<[^>]+>.*?</[^>]+> ", "", line).split(", ")
    assert names == [name for name in ITEMS if name not in run]


def test_of_nothing_everything_is_not_run(tmp_path):
    page = page_of(tmp_path)
    assert_stands_alone(page)
    assert_what_was_run_stands(page, [])
    assert "<img" not in page
    assert "The paper's numbers and ours" not in tables(page)


def test_one_study(tmp_path):
    for name in ("fig5", "table6", "cost"):
        add(tmp_path, name, TABLES[name]())
    add(tmp_path, "table7")
    page = page_of(tmp_path)
    assert_stands_alone(page)
    assert_what_was_run_stands(page, ["fig5", "table6", "cost"])
    assert page.count("<img") == 3
    found = tables(page)
    [claims] = found["toy, scale quick"]
    # One row per claim that was tested; Table 6 has two sizes.
    expected = published_claims()
    tested = expected[expected.item.isin(["fig5", "table6"])]
    assert {row[0] for row in claims} == set(tested.claim)
    assert len(claims) == len(tested) + 1
    [made] = found["How this was made (time: existing runs are reused)"]
    assert made == [
        ["toy", "quick", "3", "6 s", "cpu", "isa_toolkit 1, Python 3, JAX 0",
         "isa-toolkit reproduce"]
    ]  # fmt: skip
    every = found[""]  # "All numbers" of the three items
    assert [len(rows) for rows in every] == [
        int(TABLES[name]().seed.isna().sum()) for name in ("fig5", "table6", "cost")
    ]
    assert all(row[-1].startswith("3 ") for rows in every for row in rows)


def test_numbers_stand_beside_the_papers(tmp_path):
    table = TABLES["table6"]()
    add(tmp_path, "table6", table)
    beside = tables(page_of(tmp_path))["The paper's numbers and ours"]
    first = beside[0][0]
    assert first[:2] == ["cifar10, 1 per class", "FRePo"]
    assert first[2].startswith("network")
    assert first[3] == "46.8 ± 0.7"
    [mean] = table[
        (table.setting == "frepo") & (table.predictor == "network") & table.seed.isna()
        & (table.images_per_class == 1)
    ].itertuples()  # fmt: skip
    numbers = bracketed(mean.value, mean.low, mean.high)
    assert first[4:] == [f"{numbers} toy, n = 3", "–", "other setting"]
    # There is none of ours with 50 images per class.
    assert not any("50 per class" in row[0] for row in beside[0])


def test_of_two_studies_the_nearest_number_is_shown(tmp_path):
    add(tmp_path, "table6", TABLES["table6"]())
    add(tmp_path, "table6", TABLES["table6"](), dataset="cifar10", scale="paper")
    page = page_of(tmp_path)
    assert_stands_alone(page)
    assert page.count("<img") == 2
    found = tables(page)
    assert {"toy, scale quick", "cifar10, scale paper"} <= set(found)
    rows = found["The paper's numbers and ours"][0]
    by_size = {row[0]: row for row in rows}
    assert by_size["cifar10, 1 per class"][-1] in ("agrees", "differs")
    assert "cifar10, n = 3" in by_size["cifar10, 1 per class"][4]
    assert re.fullmatch(r"[+-][\d.]+", by_size["cifar10, 1 per class"][5])
    assert by_size["cifar100, 1 per class"][-1] == "other setting"
    assert len(found["How this was made (time: existing runs are reused)"][0]) == 2


def test_words_of_others_are_escaped(tmp_path):
    bad = "<script>alert('&')</script>"
    add(
        tmp_path, "fig5", TABLES["fig5"](), dataset="<b>toy", caption=bad, command=bad,
        versions={**FACTS, "device": bad},
    )  # fmt: skip
    page = page_of(tmp_path)
    assert_stands_alone(page)
    assert "<script" not in page
    assert "<b>" not in page
    assert html.unescape(page).count(bad) == 3


def test_damaged_files_are_left_out(tmp_path):
    add(tmp_path, "fig5", TABLES["fig5"]())
    add(tmp_path, "fig8", TABLES["fig8"]())
    (tmp_path / "toy-quick" / "fig8.json").write_text('{"item": "fi')
    (tmp_path / "toy-quick" / "fig5-numbers.csv").write_text("")
    (tmp_path / "toy-quick" / "fig5.png").unlink()
    (tmp_path / "notes.txt").write_text("not a study")
    page = page_of(tmp_path)
    assert_stands_alone(page)
    assert "<img" not in page


def test_every_verdict_is_explained(tmp_path):
    page = page_of(tmp_path)
    reported = re.findall(r"<dt>.*?>([^<]+)</span></dt>", page)
    assert set(reported) == set(VERDICTS)
    assert pd.Series(reported).is_unique
