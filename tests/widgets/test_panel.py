"""A panel draws what its controls ask for: once, the last, or one line on what failed."""

from __future__ import annotations

import asyncio
import base64
import threading
import time

import ipywidgets
import pytest

from isa_toolkit.widgets import Panel, layout
from isa_toolkit.widgets.panel import sentence


def counter(took_s: float = 0.0, **settings):
    """Return a panel that shows what its slider says, and the list of what was drawn."""
    drawn = []

    def update(values):
        time.sleep(took_s)
        if values["share"] > 0.9:
            raise ValueError("share must be below <0.9>, got much.")
        drawn.append(values["share"])
        return {"table": f"<b>{values['share']:.2f}</b>"}

    panel = Panel(
        "Test",
        controls={
            "share": layout.slider("Share", 0.2, min=0, max=1, step=0.01, help="why"),
            "run": layout.button("Run", help="do"),
            "stop": layout.button("Stop", help="do not"),
        },
        outputs={"table": layout.text()},
        update=update,
        **settings,
    )
    return panel, drawn


def drag(slider, values):
    """Send values as a browser does: a message each, read one by one by the loop."""

    async def messages():
        for value in values:
            slider.set_state({"value": value})
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)

    asyncio.run(messages())


def test_a_value_set_in_python_is_drawn_at_once():
    panel, drawn = counter()
    panel.controls["share"].value = 0.3
    assert drawn == [0.3]
    assert panel.table.value == "<b>0.30</b>"
    panel.share.value = 0.4
    assert drawn == [0.3, 0.4]


def test_a_cell_that_runs_in_the_loop_of_a_kernel_draws_at_once_too():
    panel, drawn = counter()

    async def cell():
        panel.share.value = 0.3
        panel.share.value = 0.4
        assert drawn == [0.3, 0.4]

    asyncio.run(cell())


def test_several_controls_set_together_are_drawn_once():
    panel, drawn = counter()
    panel.set(share=0.5)
    assert drawn == [0.5]
    with pytest.raises(ValueError, match="control must be one of 'share', got 'shore'"):
        panel.set(shore=0.5)


def test_fifty_values_of_a_dragged_slider_end_with_the_last_and_few_before_it():
    panel, drawn = counter(took_s=0.05)
    drag(panel.share, [at / 100 for at in range(1, 51)])
    assert drawn[-1] == 0.5
    assert len(drawn) <= 10
    assert panel.refreshes == len(drawn)


def test_a_slow_drag_is_drawn_on_the_way():
    panel, drawn = counter(took_s=0.01)

    async def messages():
        for at in range(1, 11):
            panel.share.set_state({"value": at / 100})
            await asyncio.sleep(0.1)

    asyncio.run(messages())
    # Ten on an idle machine.
    assert len(drawn) >= 3
    assert drawn == sorted(drawn)


def test_a_change_that_waits_is_drawn_before_it_is_checked():
    panel, drawn = counter()

    async def message():
        panel.share.set_state({"value": 0.7})
        assert not drawn
        panel.check()
        assert drawn == [0.7]
        await asyncio.sleep(0.1)

    asyncio.run(message())
    assert drawn == [0.7]


def test_an_error_is_one_escaped_line_kept_raised_and_cleared():
    panel, _ = counter()
    panel.share.value = 0.95
    assert panel.error == "share must be below <0.9>, got much."
    assert "&lt;0.9&gt;" in panel._error.value
    assert isinstance(panel.last_error, ValueError)
    with pytest.raises(ValueError, match="below"):
        panel.check()
    panel.share.value = 0.1
    assert (panel.last_error, panel.error) == (None, "")
    panel.check()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a must be b, got c."), "a must be b, got c."),
        (KeyError("x"), "KeyError: 'x'"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (
            OSError(28, "No space left on device", "a.png"),
            "The disk is full (No space left on device). Free some space and try again.",
        ),
    ],
)
def test_errors_are_told_in_one_line(error, line):
    assert sentence(error) == line


def test_a_button_that_fails_says_so():
    def fail(panel):
        raise OSError(28, "No space left on device")

    panel, _ = counter(actions={"run": fail})
    panel.run.click()
    assert "No space left on device" in panel.error
    with pytest.raises(OSError, match="No space"):
        panel.check()


def test_work_goes_on_in_the_background_and_is_waited_for():
    gate, order = threading.Event(), []

    def work():
        gate.wait(5)
        order.append("worked")

    panel, _ = counter(
        actions={
            "run": lambda panel: panel.start(work, done=lambda: order.append("done"))
        }
    )
    panel.run.click()
    assert panel.is_busy
    panel.run.click()
    assert "Still running" in panel.message
    with pytest.raises(TimeoutError):
        panel.wait(0.01)
    gate.set()
    panel.wait(5)
    assert order == ["worked", "done"]
    assert not panel.run.disabled
    assert panel.stop.disabled


def test_work_that_fails_is_raised_by_check():
    panel, _ = counter(
        actions={"run": lambda panel: panel.start(lambda: 1 / 0, done=lambda: None)}
    )
    panel.run.click()
    panel.wait(5)
    assert panel.error == "ZeroDivisionError: division by zero"
    with pytest.raises(ZeroDivisionError):
        panel.check()


def test_a_notebook_awaits_work_and_its_loop_goes_on_meanwhile():
    gate = threading.Event()
    panel, drawn = counter(
        actions={
            "run": lambda panel: panel.start(lambda: gate.wait(5), done=lambda: 1 / 0),
            "stop": lambda _: gate.set(),
        }
    )

    async def cell():
        panel.run.click()
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, lambda: panel.share.set_state({"value": 0.4}))
        loop.call_later(0.3, panel.stop.click)
        await panel.finished()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(cell())
    assert drawn == [0.4]


def test_a_panel_is_shown_and_run_in_one_line(capsys):
    made = []
    panel, _ = counter(
        actions={
            "run": lambda panel: panel.start(
                lambda: made.append(1), done=lambda: made.append(2)
            ),
            "stop": lambda _: None,
        }
    )
    asyncio.run(panel.show_run())
    assert made == [1, 2]
    assert repr(panel) in capsys.readouterr().out


def test_a_panel_displays_as_its_view_and_as_what_it_shows():
    panel, _ = counter()
    panel.refresh()
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<b>0.20</b>" in bundle["text/html"]
    assert "image/png" not in bundle
    assert bundle["text/plain"] == "<panel 'Test': share, run, stop>"
    assert isinstance(panel.view, ipywidgets.VBox)
    with pytest.raises(AttributeError, match="the panel has no 'fly'"):
        _ = panel.fly


def test_every_control_has_help_and_labels_are_aligned():
    panel, _ = counter()
    assert all(widget.tooltip for widget in panel.controls.values())
    assert panel.share.style.description_width == layout.slider(
        "x", 0, min=0, max=1, step=0.1, help="y"
    ).style.description_width  # fmt: skip


def test_chips_are_on_in_the_order_of_the_options_and_draw_once():
    drawn = []
    chips = layout.Chips(
        "Classes", (2, 0), options=[("zero", 0), ("one", 1), ("two", 2)], help="which"
    )
    panel = Panel(
        "Chips",
        controls={"classes": chips},
        outputs={},
        update=lambda values: drawn.append(values["classes"]) or {},
    )
    assert chips.value == (0, 2)
    buttons = chips.children[1].children
    buttons[1].value = True
    assert chips.value == (0, 1, 2)
    panel.classes.value = [1]
    assert [button.value for button in buttons] == [False, True, False]
    assert drawn == [(0, 1, 2), (1,)]
    with pytest.raises(ValueError, match=r"value must be among \[0, 1, 2\], got 3"):
        chips.value = (3,)


def test_tables_escape_what_they_are_caption():
    made = layout.table(["a", "<b>"], [["x & y", 1], ["z", layout.bar(0.5)]])
    assert "&lt;b&gt;" in made
    assert "x &amp; y" in made
    assert 'style="width:2.50em"' in made


def pictured(**settings):
    """Return a panel whose picture is drawn, missing, or no longer of its control."""
    return Panel(
        "Picture",
        controls={
            "there": layout.dropdown(
                "there", "no", options=["no", "yes", "old"], help="x"
            )
        },
        outputs={"first": layout.image(), "picture": layout.image()},
        update=lambda values: {
            "picture": {"no": layout.BLANK, "yes": b"drawn", "old": layout.STALE}[
                values["there"]
            ]
        },
        **settings,
    )


def test_a_picture_that_is_not_there_takes_no_room():
    panel = pictured()
    panel.refresh()
    assert panel.picture.layout.display == "none"
    panel.there.value = "yes"
    assert panel.picture.layout.display is None


def test_an_old_picture_stays_greyed_until_there_is_a_new_one():
    panel = pictured()
    panel.there.value = "yes"
    panel.there.value = "old"
    assert bytes(panel.picture.value) == b"drawn"
    assert "isa-stale" in panel.picture._dom_classes
    panel.there.value = "yes"
    assert "isa-stale" not in panel.picture._dom_classes


def test_a_stored_panel_is_its_pictures_and_none_that_is_not_there():
    panel = pictured()
    assert "image/png" not in panel._repr_mimebundle_()
    panel.there.value = "yes"
    bundle = panel._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == b"drawn"
    assert bundle["text/html"].count("<img") == 1
    assert bundle["image/png"] in bundle["text/html"]


def test_a_picture_of_the_browser_is_drawn_for_the_stored_panel():
    panel = pictured(still=lambda: b"map")
    panel.there.value = "yes"
    bundle = panel._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == b"map"
    assert bundle["text/html"].count("<img") == 2
