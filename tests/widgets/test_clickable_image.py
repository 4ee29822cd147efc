"""A picture with spots is a picture whose selected spot is set from either side."""

from __future__ import annotations

import asyncio

import pytest

from isa_toolkit.widgets import Panel, layout
from isa_toolkit.widgets.clickable_image import ClickableImage

SPOTS = [{"x": at / 4, "y": 0.5, "name": f"spot {at}"} for at in range(4)]


@pytest.fixture
def picture():
    made = ClickableImage(alt="four spots")
    made.spots = SPOTS
    return made


def test_a_spot_that_is_not_there_selects_none(picture):
    picture.selected = 3
    assert picture.selected == 3
    picture.selected = 4
    assert picture.selected == -1


def test_a_browser_selects_by_message_and_the_last_one_is_drawn(picture):
    drawn = []
    panel = Panel(
        "Spots",
        controls={},
        outputs={"picture": picture},
        update=lambda _: drawn.append(picture.selected) or {},
    )
    picture.observe(panel.follow, "selected")

    async def pointed():
        for at in (0, 1, 2, 3):
            picture.set_state({"selected": at})
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)

    asyncio.run(pointed())
    assert drawn[-1] == 3
    assert len(drawn) < 4
    picture.selected = 0
    assert drawn[-1] == 0


def test_a_picture_its_spots_and_the_selected_one_come_in_one_message(
    picture, monkeypatch
):
    sent = []
    monkeypatch.setattr(picture, "send_state", lambda key: sent.append(set(key)))
    panel = Panel("Spots", controls={}, outputs={"picture": picture}, update=dict)
    panel.write({"picture": {"value": b"png", "spots": SPOTS[:2], "selected": 1}})
    assert {"value", "spots", "selected"} in sent
    assert layout.is_image(picture)


def test_the_script_asks_for_nothing_from_elsewhere():
    script = str(ClickableImage._esm)
    assert "export default" in script
    assert "http" not in script
    assert "import " not in script
