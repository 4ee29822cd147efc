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


def test_a_slider_that_is_moved_by_keyboard_changes_number_and_pixels(crucial):
    page, panel = crucial, panel_of(crucial, "Crucial samples")
    handle, readout = slider_of(panel, "Drop easy")
    panel.scroll_into_view_if_needed()
    lab.until(page, lambda: readout.inner_text() == "0.30")
    picture = panel.locator("img").first
    before = picture.screenshot()
    handle.focus()
    page.keyboard.press("ArrowRight")
    lab.until(page, lambda: readout.inner_text() == "0.31")
    lab.until(page, lambda: picture.screenshot() != before)
    assert panel.locator(".isa-error").count() == 0


def test_a_run_is_started_watched_found_again_and_stopped(crucial, server):
    page, panel = crucial, panel_of(crucial, "Distillation run")
    button_of(panel, "Run").click()
    lab.until(page, lambda: ": running" in panel.inner_text() and step_of(panel) > 1)
    first = step_of(panel)
    lab.until(page, lambda: step_of(panel) > first)

    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    panel = panel_of(page, "Distillation run")
    panel.wait_for()
    seen = step_of(panel)
    lab.until(page, lambda: step_of(panel) > seen)

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
    stopped = step_of(other)
    assert stopped < lab.MANY
    assert button_of(other, "Stop").is_disabled()


def test_a_star_is_picked_by_pointer_keyboard_and_slider(page, server):
    server.open(page, "04_manifold.ipynb")
    server.run_all(page)
    panel = panel_of(page, "Map of real and distilled")
    spots = panel.locator(".isa-spot")
    assert spots.count() == 4 * 6
    images = panel.locator("img:not(.isa-spots img)")
    before = images.screenshot()
    reported = panel.locator(".isa-caption").filter(has_text="nearest to it").first

    def picked(index):
        return spots.nth(index).get_attribute("aria-pressed") == "true"

    spots.nth(8).hover(force=True)  # stars may lie on each other
    lab.until(page, lambda: "FRePo, hard dropped, star" in reported.inner_text())
    lab.until(page, lambda: images.screenshot() != before)
    _, readout = slider_of(panel, "Star")

    page.mouse.move(0, 0)
    spots.nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert picked(2)
    lab.until(page, lambda: "FRePo, star 2: class" in reported.inner_text())
    assert readout.inner_text() == "2"

    handle, _ = slider_of(panel, "Star")
    handle.focus()
    page.keyboard.press("ArrowRight")
    lab.until(page, lambda: picked(3))
    lab.until(page, lambda: "FRePo, star 3: class" in reported.inner_text())


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
