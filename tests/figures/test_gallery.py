"""Galleries: images in the order of their classes, every pixel, nothing hidden."""

from __future__ import annotations

import numpy as np
import pytest
from hand_tables import distilled

from isa_toolkit.figures import gallery
from isa_toolkit.figures.images import ImageRow, image_sheet


def picture(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def test_the_table_orders_images_by_class_and_keeps_their_labels():
    some = distilled(classes=3, per_class=2)
    table = gallery.table_of(some, "toy")
    assert list(table.label) == ["c0", "c0", "c1", "c1", "c2", "c2"]
    assert (table.images_per_class == 2).all()
    for row in table.itertuples():
        at = row.index
        label = some.labels[at]
        assert some.classes[at] == int(row.label[1:])
        np.testing.assert_array_equal(row.pixels, some.pixels[at])
        assert (row.first, row.second) == tuple(np.sort(label)[:-3:-1])
        assert row.runner_up == f"c{np.argsort(label)[-2]}"
    # Within a class, in the order of the set; each image once.
    assert sorted(table["index"]) == list(range(6))
    assert (table.groupby("label")["index"].diff().dropna() > 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_several_per_class_are_a_row_per_class(channels):
    table = gallery.table_of(
        distilled(classes=3, per_class=4, channels=channels), "toy"
    )
    figure = gallery.draw(table)
    assert words(figure) == ["c0", "c1", "c2"]
    rows = [
        ImageRow(np.stack(list(table[table.label == name].pixels)))
        for name in ("c0", "c1", "c2")
    ]
    np.testing.assert_array_equal(picture(figure), image_sheet(rows))
    if channels == 3:
        # Colours stand as they are; grey is ink on paper.
        first = np.clip(table.pixels[0], 0, 1)
        np.testing.assert_array_equal(picture(figure)[:4, :4], np.rint(255 * first))


def test_one_per_class_stand_side_by_side_under_their_names():
    table = gallery.table_of(distilled(classes=5, per_class=1), "toy")
    figure = gallery.draw(table)
    assert words(figure) == ["c0", "c1", "c2", "c3", "c4"]
    expected = image_sheet([ImageRow(np.stack(list(table.pixels)))])
    np.testing.assert_array_equal(picture(figure), expected)


def test_one_of_many_classes_fill_rows_of_ten():
    table = gallery.table_of(distilled(classes=25, per_class=1), "toy")
    figure = gallery.draw(table)
    assert words(figure) == ["c0", "c10", "c20"]
    rows = [ImageRow(np.stack(list(table.pixels[at : at + 10]))) for at in (0, 10, 20)]
    np.testing.assert_array_equal(picture(figure), image_sheet(rows))
    assert "first" not in gallery.caption(table)


def test_what_is_left_out_is_said():
    many = gallery.table_of(distilled(classes=22, per_class=2), "toy")
    figure = gallery.draw(many)
    assert words(figure) == [f"c{label}" for label in range(20)]
    rows = [
        ImageRow(np.stack(list(many.pixels[at : at + 2]))) for at in range(0, 40, 2)
    ]
    np.testing.assert_array_equal(picture(figure), image_sheet(rows))
    assert "The first 20 of 22 classes." in gallery.caption(many)
    deep = gallery.table_of(distilled(classes=2, per_class=12), "toy")
    rows = [
        ImageRow(np.stack(list(deep.pixels[at : at + 10]))) for at in (0, 12)
    ]  # fmt: skip
    np.testing.assert_array_equal(picture(gallery.draw(deep)), image_sheet(rows))
    assert "The first 10 images of each class." in gallery.caption(deep)
    wide = gallery.table_of(distilled(classes=201, per_class=1, side=2), "toy")
    assert "The first 200 of 201 classes." in gallery.caption(wide)
    assert len(picture(gallery.draw(wide))) == 20 * 3 - 1


def test_one_pixel_of_the_table_is_one_of_the_picture():
    table = gallery.table_of(distilled(), "toy")
    before = picture(gallery.draw(table))
    pixels = [image.copy() for image in table.pixels]
    pixels[3][2, 1] = 1 - np.clip(pixels[3][2, 1], 0, 1)
    after = picture(gallery.draw(table.assign(pixels=pixels)))
    # Second image of the second row, of 4 by 4 pixels and a line between.
    assert np.argwhere((before != after).any(-1)).tolist() == [[5 + 2, 5 + 1]]


def test_a_published_gallery_is_named_by_its_letter():
    table = gallery.table_of(distilled(), "toy").assign(
        dataset="mnist", images_per_class=10
    )
    assert gallery.caption(table).startswith("Gallery (c) of the paper: mnist, 10 ")
    assert "of the paper" not in gallery.caption(table.assign(dataset="toy"))


@pytest.mark.slow
def test_the_gallery_is_of_the_isa_set_of_seed_0(tiny):
    table = gallery.compute(tiny, 10)
    run = tiny.runs([gallery.Variant("isa")], 10)[gallery.Variant("isa"), 0]
    expected = gallery.table_of(run.distilled, "three_digits")
    assert len(table) == 30
    np.testing.assert_array_equal(
        np.stack(list(table.pixels)), np.stack(list(expected.pixels))
    )
