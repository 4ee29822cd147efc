"""The map shows every image, lists what is selected, and is a picture without its library."""

from __future__ import annotations

import base64
import io
import sys

import numpy as np
import pytest
from PIL import Image

from isa_toolkit import widgets
from isa_toolkit.figures import fig6
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import Manifold, layout
from isa_toolkit.widgets.hover_image import HoverImage

METHODS = ["frepo", "frepo+drop_hard", "frepo+drop_easy", "isa"]


@pytest.fixture(scope="module")
def panel(study):
    made = Manifold(study)
    made.check()
    assert "press Run" in made.message
    assert "image/png" not in made._repr_mimebundle_()
    made.run.click()
    made.wait(240)
    made.check()
    return made


@pytest.fixture
def redrawn(panel, monkeypatch):
    """Return the panel, which may redraw and not compute."""

    def never(*arguments, **settings):
        raise AssertionError("a redraw asked for work")

    monkeypatch.setattr(panel.model, "start", never)
    yield panel
    panel.set(methods=METHODS, colour_by="class")
    panel.select([])


def plots(panel):
    return [view.children[1] for view in panel.picture.children[:-1]]


def titles(panel):
    shown = [view.children[0].value for view in panel.picture.children[:-1]]
    return [layout.plain_text(title) for title in shown]


@pytest.mark.slow
def test_each_plot_holds_all_points_and_shows_its_own(redrawn):
    points = redrawn.points
    assert (points.kind == "distilled").sum() == 4 * 6
    for plot, key in zip(plots(redrawn), METHODS, strict=True):
        assert plot.points.shape[0] == len(points)
        shown = points.iloc[plot.filter]
        assert set(shown.setting[shown.kind == "distilled"]) == {key}
        assert (shown.kind == "real").sum() == (points.kind == "real").sum()
        assert len(plot.annotations) == 6
    assert len({plot.view_sync for plot in plots(redrawn)}) == 1


@pytest.mark.slow
def test_methods_and_colours_only_redraw(redrawn):
    redrawn.methods.value = ("isa", "frepo")
    redrawn.check()
    assert titles(redrawn) == ["FRePo", "FRePo + crucial + ISA"]
    redrawn.colour_by.value = "method"
    redrawn.check()
    assert titles(redrawn) == ["all methods"]
    [plot] = plots(redrawn)
    assert len(plot.annotations) == 12
    assert "FRePo + crucial + ISA" in redrawn.legend.value
    redrawn.colour_by.value = "class"
    before = redrawn.picture.children
    redrawn.colour_by.value = "hardness"
    redrawn.check()
    # The browser draws the same plots in other colours.
    assert redrawn.picture.children == before
    assert "hardest fifth" in redrawn.legend.value
    redrawn.methods.value = ()
    assert redrawn.error == "methods must name at least one method, got none."


@pytest.mark.slow
def test_a_lasso_in_one_plot_selects_in_all_and_lists_images(redrawn):
    points = redrawn.points
    star = int(
        np.flatnonzero((points.kind == "distilled") & (points.setting == "isa"))[0]
    )
    plots(redrawn)[3].selection = np.array([1, star], "uint32")
    assert redrawn.selected == [1, star]
    assert [plot.selection.tolist() for plot in plots(redrawn)] == [
        [1], [1], [1], [1, star],
    ]  # fmt: skip
    assert f"training image {points['index'][1]}: class" in redrawn.gallery.value
    assert "FRePo + crucial + ISA, distilled image 0: class 0" in redrawn.gallery.value
    # Each has its image and its neighbours.
    assert redrawn.gallery.value.count("<img") == 4
    redrawn.select([])
    assert [len(plot.selection) for plot in plots(redrawn)] == [0] * 4
    with pytest.raises(ValueError, match=f"rows must be below {len(points)}"):
        redrawn.select([len(points)])


@pytest.mark.slow
def test_the_neighbours_of_a_real_image_are_not_itself(redrawn, study):
    redrawn.select([0])
    source = redrawn.gallery.value.split("base64,")[2].split('"')[0]
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
    index = redrawn.points["index"][0]
    features = study.real_features()
    far = np.square(features - features[index]).sum(axis=1)
    far[index] = np.inf
    nearest = study.dataset.train.images[int(far.argmin()), ..., 0]
    np.testing.assert_array_equal(strip[:48:6, :48:6], nearest)


@pytest.mark.slow
def test_another_map_keeps_the_old_one_until_it_is_made(redrawn):
    before = redrawn.picture.children
    redrawn.classes.value = (0, 1)
    redrawn.check()
    assert "press Run" in redrawn.message
    assert redrawn.picture.children == before
    assert "isa-stale" in redrawn.picture._dom_classes
    redrawn.classes.value = (0, 1, 2)
    assert "isa-stale" not in redrawn.picture._dom_classes


@pytest.mark.slow
def test_the_stored_map_is_the_figure(redrawn):
    redrawn.methods.value = ("isa",)
    [made] = redrawn.tables.values()
    bundle = redrawn._repr_mimebundle_()
    shown = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    wanted = png(fig6.draw(made.table[made.table.setting == "isa"]), dpi=120)
    difference = np.subtract(
        shown.convert("RGB"), Image.open(io.BytesIO(wanted)).convert("RGB"), dtype=float
    )
    assert np.abs(difference).mean() < 2
    assert "overlap" in bundle["text/html"]


@pytest.mark.slow
def test_without_jupyter_scatter_the_map_is_a_picture_that_says_so(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "jscatter", None)
    monkeypatch.delitem(sys.modules, "isa_toolkit.widgets.linked_maps", raising=False)
    monkeypatch.delattr(widgets, "linked_maps", raising=False)
    panel = Manifold(study)
    panel.run.click()
    panel.wait(240)
    panel.check()
    assert "pip install jupyter-scatter" in panel.view.children[0].value
    assert layout.is_picture(panel.picture.value)
    panel.select([0])
    assert "training image" in panel.gallery.value


def test_the_image_of_a_point_is_a_tile_of_the_sprite():
    images = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 3, 1), np.uint8
    )
    hover = HoverImage()
    hover.show(images, [str(at) for at in range(50)])
    sprite = np.asarray(Image.open(io.BytesIO(hover.sprite)))
    height, width = hover.size
    for index in (0, 39, 40, 49):
        row, column = divmod(index, hover.columns)
        tile = sprite[row * height :, column * width :][:height, :width]
        assert (tile == index).all()


def test_the_script_asks_for_nothing_from_elsewhere():
    script = str(HoverImage._esm)
    assert "export default" in script
    assert "http" not in script
    assert "import " not in script
