"""The notebooks' panels in a real JupyterLab: turned, run, stopped, found again.

What is checked is what a reader sees: numbers beside sliders, and pixels. Conditions are
waited for, never a time, since a loaded machine is slow.
"""

from __future__ import annotations

import re

import lab
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def panel_of(page, title):
    return page.locator(".isa-panel").filter(has_text=title).first


def button_of(panel, label):
    return panel.locator("button").filter(has_text=re.compile(rf"^\s*{label}\s*$"))


def slider_of(panel, label):
    """Return handle and readout of the slider with a label."""
    box = panel.locator(".widget-slider").filter(has_text=label).first
    return box.locator(".noUi-handle").first, box.locator(".widget-readout")


def step_of(panel):
    """Return the step that the panel of a run tells."""
    found = re.search(r"step ([\d,]+) of", panel.inner_text())
    return int(found[1].replace(",", "")) if found else 0


def handle_of(panel, label):
    return panel.get_by_role("slider", name=label)


def place_of(handle):
    return float(handle.get_attribute("aria-valuenow"))


def drag(page, handle, across):
    """Drag a handle of a chart, and keep the button pressed."""
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 12
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across, y, steps=10)


@pytest.mark.parametrize(("end", "across"), [("easy", 90), ("hard", -90)])
def test_a_cut_is_dragged_on_the_histogram(panels, end, across):
    page, panel = panels, panel_of(panels, "Crucial samples")
    handle = handle_of(panel, f"Drop {end}, fraction")
    legend = panel.locator(".isa-legend span").filter(has_text=f"{end}, dropped")
    images = panel.locator(".isa-note + div img")
    before = place_of(handle), legend.inner_text()
    sources = images.evaluate_all("all => all.map(one => one.src)")
    drag(page, handle, across)
    # The browser counts what is dropped, before the button is released.
    assert place_of(handle) > before[0]
    assert f"({round(100 * place_of(handle))} %)" in legend.inner_text() != before[1]
    page.mouse.up()
    lab.until(
        page, lambda: images.evaluate_all("all => all.map(one => one.src)") != sources
    )
    assert panel.locator(".isa-error").count() == 0


def test_a_cut_is_moved_by_keyboard(panels):
    page, panel = panels, panel_of(panels, "Crucial samples")
    handle = handle_of(panel, "Drop easy, fraction")
    handle.focus()
    page.keyboard.press("Home")
    assert place_of(handle) == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    assert place_of(handle) == pytest.approx(0.11)
    caption = panel.locator(".isa-caption").first
    lab.until(page, lambda: "easy 11 %" in caption.inner_text())
    bar = panel.locator(".isa-classes rect").first
    assert "easy, dropped" in bar.locator("title").text_content()


def test_the_ends_of_a_segment_are_dragged_and_a_sample_is_clicked(panels):
    page, panel = panels, panel_of(panels, "Infinite semantic augmentation")
    formula, caption = (
        panel.locator(".isa-formula"),
        panel.locator(".isa-caption").first,
    )
    handle = handle_of(panel, "Segment, end b")
    before, told = formula.inner_text(), caption.inner_text()
    drag(page, handle, 40)
    assert place_of(handle) > 0
    assert formula.inner_text() != before
    page.mouse.up()
    lab.until(page, lambda: caption.inner_text() != told)
    sample = panel.locator(".isa-plane image").first
    shown = sample.get_attribute("href")
    dots = panel.locator(".isa-plane circle[opacity='0.65']")
    dots.first.click(force=True)
    lab.until(page, lambda: sample.get_attribute("href") != shown)
    assert panel.locator(".isa-error").count() == 0


def test_images_follow_the_slider_of_steps(panels):
    page, panel = panels, panel_of(panels, "Distilled images")
    note = panel.locator(".isa-note", has_text="step").first
    handle, readout = slider_of(panel, "Step")
    lab.until(page, lambda: readout.inner_text() == "result")
    before = note.inner_text()
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    lab.until(page, lambda: note.inner_text() != before)


def test_a_run_is_started_watched_found_again_stopped_and_resumed(panels, server):
    page, panel = panels, panel_of(panels, "Distillation run")
    button_of(panel, "Run").click()
    lab.until(page, lambda: ": running" in panel.inner_text() and step_of(panel) > 1)
    first = step_of(panel)
    lab.until(page, lambda: step_of(panel) > first)

    server.reload(page)
    panel = panel_of(page, "Distillation run")
    panel.wait_for()
    seen = step_of(panel)
    lab.until(page, lambda: step_of(panel) > seen)
    other = panel_of(page, "Crucial samples")
    before = other.locator(".isa-caption").first.inner_text()
    handle_of(other, "Drop easy, fraction").focus()
    page.keyboard.press("PageUp")
    lab.until(page, lambda: other.locator(".isa-caption").first.inner_text() != before)

    # Another kernel finds the run by its folder and stops it.
    server.open(page, "attach.ipynb")
    server.run_all(page)
    other = panel_of(page, "Distillation run")
    runs = other.locator("select")
    [name] = [
        text for text in runs.locator("option").all_inner_texts() if "(running)" in text
    ]
    runs.select_option(label=name)
    button_of(other, "Attach").click()
    lab.until(page, lambda: ": running" in other.inner_text())
    seen = step_of(other)
    lab.until(page, lambda: step_of(other) > seen)
    button_of(other, "Stop").click()
    lab.until(page, lambda: ": stopped" in other.inner_text())
    curves = other.get_by_role("group", name="loss, mean over the batch").locator(
        "path"
    )
    lab.until(page, lambda: curves.count() == 1)
    stopped = step_of(other)
    assert stopped < lab.MANY
    assert button_of(other, "Stop").is_disabled()
    button_of(other, "Resume").click()
    lab.until(
        page, lambda: ": running" in other.inner_text() and step_of(other) > stopped
    )
    button_of(other, "Stop").click()
    lab.until(page, lambda: ": stopped" in other.inner_text())


# Where the points of the first map are: their positions in the page.
POINTS = """panel => {
    const map = [...panel.querySelectorAll('div')].find(part => part.api);
    const { left, top } = map.getBoundingClientRect();
    return Array.from({ length: map.api.get('points').length }, (_, index) => {
        const [x, y] = map.api.getScreenPosition(index) ?? [NaN, NaN];
        return [left + x, top + y];
    });
}"""


def maps_of(page):
    panel = panel_of(page, "Map of real and distilled")
    lab.until(page, lambda: panel.locator("canvas").count() >= 4)
    panel.locator("canvas").first.scroll_into_view_if_needed()
    lab.until(
        page,
        lambda: panel.evaluate("p => [...p.querySelectorAll('div')].some(d => d.api)"),
    )
    return panel


def point_at(page, panel, index):
    """Move the pointer to a point, until the browser shows its image."""
    shown = page.locator(".isa-hover:not([hidden])")

    def is_shown():
        x, y = panel.evaluate(POINTS)[index]
        page.mouse.move(x + 60, y + 60)
        page.mouse.move(x, y, steps=4)
        page.wait_for_timeout(200)
        return shown.count() == 1

    lab.until(page, is_shown)
    assert "blob:" in shown.locator("div").first.get_attribute("style")
    return shown.inner_text()


def test_the_map_shows_images_lists_a_lasso_and_keeps_the_old_picture(page, server):
    server.open(page, "map.ipynb")
    server.run_all(page)
    panel = maps_of(page)
    assert "training image" in point_at(page, panel, 0)
    page.mouse.move(5, 5)
    lab.until(page, lambda: page.locator(".isa-hover:not([hidden])").count() == 0)

    # Around all of the first map.
    box = panel.locator("canvas").first.bounding_box()
    left, top = box["x"] + 8, box["y"] + 8
    right, low = left + box["width"] - 16, top + box["height"] - 16
    panel.locator(".isa-figure").first.locator("button").nth(1).click()
    gallery = panel.locator("table").filter(has_text="nearest in features")

    def is_listed_after_a_lasso():
        # A busy browser may miss a part of it, and then lists fewer images.
        page.mouse.move(left + 40, top)
        page.mouse.down()
        for x, y in ((right, top), (right, low), (left, low), (left, top)):
            page.mouse.move(x, y, steps=4)
        page.mouse.up()
        page.wait_for_timeout(2000)
        return gallery.locator("img").count() == 2 * 24

    lab.until(page, is_listed_after_a_lasso)
    assert "FRePo" in panel.inner_text()

    before = panel.locator("canvas").count()
    button_of(panel, "3").click()
    lab.until(page, lambda: "press Run" in panel.inner_text())
    assert panel.locator("canvas").count() == before
    assert panel.locator(".isa-stale canvas").count() == before
    assert panel.locator(".isa-error").count() == 0

    server.reload(page)
    panel = maps_of(page)
    assert "training image" in point_at(page, panel, 0)


def test_stop_works_while_a_cell_waits(page, server):
    server.open(page, "long.ipynb")
    server.start_all(page)
    panel = panel_of(page, "Network and ridge predictor")
    lab.until(page, lambda: "runs: 0 of" in panel.inner_text())
    button_of(panel, "Stop").click()
    lab.until(page, lambda: "Stopped: " in panel.inner_text())
    server.wait_for_all(page)


def test_a_panel_is_alive_in_voila(page, folder, tmp_path):
    with lab.voila(folder / "voila.ipynb", tmp_path) as url:
        page.goto(url)
        panel = panel_of(page, "Distillation run")
        handle, readout = slider_of(panel, "Drop easy")
        lab.until(page, lambda: readout.inner_text() == "0.20")
        handle.focus()
        page.keyboard.press("ArrowRight")
        lab.until(page, lambda: readout.inner_text() == "0.25")
        assert panel.locator(".isa-error").count() == 0
        assert "Traceback" not in page.content()
