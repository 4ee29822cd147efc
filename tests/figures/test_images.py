"""A grid of images shows every pixel, once, at one size and unchanged."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from isa_toolkit.figures.images import ImageRow, draw_grid, image_sheet
from isa_toolkit.figures.style import png


def images(count=3, side=8, channels=1, seed=0):
    draw = np.random.default_rng(seed)
    return draw.uniform(size=(count, side, side, channels)).astype("float32")


def rendered(figure):
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (8, 3), (32, 3), (64, 3)])
@pytest.mark.parametrize("titles", [(), ("a", "a long title", "c")])
def test_every_pixel_is_a_square_of_its_own_colour(side, channels, titles):
    rows = [
        ImageRow(images(side=side, channels=channels, seed=seed), f"row\n{seed}")
        for seed in (0, 1)
    ]
    figure = draw_grid(rows, titles=titles)
    page = rendered(figure)
    box = figure.axes[0].get_window_extent()
    left, top = round(box.x0), len(page) - round(box.y1)
    dots = max(1, round(0.43 * figure.dpi / side))
    picture = image_sheet(rows)
    expected = picture.repeat(dots, axis=0).repeat(dots, axis=1)
    shown = page[top : top + len(expected), left : left + expected.shape[1]]
    np.testing.assert_array_equal(shown, expected)


def test_the_sheet_holds_the_images_in_order():
    first, second = images(2), images(3, seed=1)
    picture = image_sheet([ImageRow(first), ImageRow(second)])
    assert picture.shape == (17, 26, 3)
    np.testing.assert_array_equal(
        picture[9:, 18:, 1], np.rint(255 * (1 - second[2, :, :, 0]))
    )
    # The lines between images, and the place of the image that is not there.
    assert (picture[8] == 255).all()
    assert (picture[:8, 18:] == 255).all()


def test_grey_is_ink_on_paper_and_colours_are_kept():
    grey = np.array([0.0, 1.0, 0.5, 2.0], "float32").reshape(1, 2, 2, 1)
    assert image_sheet([ImageRow(grey)])[..., 0].tolist() == [[255, 0], [128, 0]]
    red = np.zeros((1, 2, 2, 3), "float32")
    red[..., 0] = 1
    assert (image_sheet([ImageRow(red)]) == [255, 0, 0]).all()
    both = image_sheet([ImageRow(grey), ImageRow(red)])
    assert (both[3:] == [255, 0, 0]).all()


def test_labels_and_titles_lie_on_the_page_beside_the_grid():
    rows = [ImageRow(images(), "FRePo + crucial + ISA\nstep 0", "#D55E00")]
    figure = draw_grid(rows, titles=["one", "two", "a much longer name"])
    page = figure.bbox
    [axes] = figure.axes
    grid = axes.get_window_extent()
    label, *titles = axes.texts
    assert label.get_text() == rows[0].label
    assert label.get_color() == "#D55E00"
    assert [text.get_text() for text in titles] == ["one", "two", "a much longer name"]
    assert {text.get_rotation() for text in titles} == {90}
    for text in axes.texts:
        box = text.get_window_extent()
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
        assert box.x1 <= grid.x0 + 0.5 or box.y0 >= grid.y1 - 0.5
    short = draw_grid([ImageRow(images())], titles=["0", "1", "2"])
    assert {text.get_rotation() for text in short.axes[0].texts} == {0}


@pytest.mark.parametrize("size", ["column", "text", (2.0, 1.0)])
def test_a_grid_is_as_wide_as_a_paper_needs(size):
    rows = [ImageRow(images(10), "a label", note="a note"), ImageRow(images(10))]
    figure = draw_grid(rows, titles="abcdefghij", size=size)
    [axes] = figure.axes
    width = {"column": 3.25, "text": 5.5}.get(size, 2.0)
    # One more dot for each pixel would not fit.
    pixels = axes.images[0].get_array().shape[1]
    assert width - pixels / figure.dpi < figure.get_figwidth() <= width + 1e-3
    for text in axes.texts:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1


def test_axes_of_the_user_get_the_same_picture():
    rows = [ImageRow(images(), "a label", note="a note")]
    figure, ax = plt.subplots()
    try:
        assert draw_grid(rows, titles="abc", ax=ax) is None
        np.testing.assert_array_equal(ax.images[0].get_array(), image_sheet(rows))
        texts = [text.get_text() for text in ax.texts]
        assert sorted(texts) == ["a", "a label", "a note", "b", "c"]
    finally:
        plt.close(figure)


def test_the_size_is_checked():
    with pytest.raises(ValueError, match=r"image_in must be above 0, got 0\.0"):
        draw_grid([ImageRow(images())], image_in=0)
