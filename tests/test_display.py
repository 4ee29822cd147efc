"""Pictures of image sets: where each image lies, and what is cut off."""

from __future__ import annotations

import numpy as np

from isa_toolkit.display import class_rows, html_grid, picture_grid


def test_rows_are_the_first_images_of_each_class():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    classes = np.array([2, 0, 2, 2, 0, 2])
    rows = class_rows(images, classes, ("a", "b", "c"), columns=3)
    assert [(name, images.ravel().tolist()) for name, images in rows] == [
        ("a", [1, 4]),
        ("c", [0, 2, 3]),
    ]
    assert len(class_rows(images, classes, ("a", "b", "c"), rows=1)) == 1


def test_a_picture_holds_each_image_enlarged_at_its_cell():
    draw = np.random.default_rng(0)
    rows = [draw.random((2, 3, 4, 3)), draw.random((1, 3, 4, 3)) * 3 - 1]
    picture = np.asarray(picture_grid(rows, side=8))
    assert picture.shape == (2 * 6 + 2, 2 * 8 + 2, 3)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            cell = picture[y * 8 : y * 8 + 6, x * 10 : x * 10 + 8]
            levels = np.rint(np.clip(image, 0, 1) * 255)
            np.testing.assert_array_equal(cell, np.kron(levels, np.ones((2, 2, 1))))
    assert (picture[8:, 10:] == 255).all()


def test_levels_and_grey_images_are_shown_as_they_are():
    image = np.array([[0, 128], [255, 7]], np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(picture_grid([image], side=1), image[0, :, :, 0])


def test_all_text_is_escaped():
    image = np.zeros((1, 2, 2, 1), np.uint8)
    page = html_grid("<t>", [('"<n>', image)], note="<x>")
    assert "<t>" not in page
    assert "<n>" not in page
    assert "<x>" not in page
    assert "&quot;&lt;n&gt;" in page
