"""Figure 7: its numbers are those of the losses, its marks those of the table."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hand_tables import fig7_table
from matplotlib.offsetbox import AnnotationBbox
from toy import double_precision

from isa_toolkit.analysis import ranking
from isa_toolkit.figures import fig7
from isa_toolkit.figures.variants import Variant
from isa_toolkit.losses import crucial, isa, ridge

pytestmark = pytest.mark.slow


def residuals(seed=0, classes=4):
    draw = np.random.default_rng(seed)
    return draw.normal(size=classes), draw.normal(size=classes)


@pytest.mark.parametrize("segment", [(-1.0, 0.0), (0.0, 0.5), (-0.3, 0.8), (0.2, 0.2)])
def test_the_closed_form_is_the_loss_of_the_runs_and_the_mean_of_its_curve(segment):
    a, b = residuals()
    closed = fig7._closed_form(a, b, *segment)
    with double_precision():
        expected = isa.segment_loss(
            jnp.asarray(a[None]), jnp.asarray(b[None]), *segment
        )
        assert closed == pytest.approx(float(expected[0]), rel=1e-12)
    # Simpson's rule is exact for a quadratic.
    ends = fig7._loss(a, b, np.array([segment[0], np.mean(segment), segment[1]]))
    assert closed == pytest.approx(ends @ [1, 4, 1] / 6, rel=1e-12)


def test_the_curve_is_the_loss_at_single_points():
    a, b = residuals(1)
    positions = np.linspace(-1, 0.5, 7)
    with double_precision():
        expected = isa.virtual_loss(
            jnp.asarray(np.tile(a, (7, 1))), jnp.asarray(np.tile(b, (7, 1))),
            jnp.asarray(positions),
        )  # fmt: skip
        np.testing.assert_allclose(
            fig7._loss(a, b, positions), np.asarray(expected), rtol=1e-12
        )


def batch(real, scores, labels):
    kept = ranking.kept(scores, drop_easy=0.2)
    images = np.zeros((len(real), 2, 2, 1))
    return fig7.Batch(real, real, scores, kept, images, np.asarray(labels))


@pytest.mark.parametrize("seed", range(4))
def test_the_pair_is_a_kept_sample_and_its_nearest_partner(seed):
    draw = np.random.default_rng(seed)
    real, scores = draw.normal(size=(50, 6)), draw.uniform(size=50)
    some = batch(real, scores, draw.integers(0, 3, 50).astype(str))
    kept, classes = some.kept, some.labels
    first, second = fig7.pair_of(some).indices
    with double_precision():
        partners = isa.nearest_partners(jnp.asarray(real), jnp.asarray(kept, float))
    partners = np.asarray(partners)
    assert second == partners[first]
    assert kept[first]
    assert kept[second]
    assert classes[first] != classes[second]
    # Of those with a partner of another class it is the most ordinary one.
    others = np.flatnonzero(kept & (classes != classes[partners]))
    gaps = np.abs(scores[others] - np.median(scores[others]))
    assert np.abs(scores[first] - np.median(scores[others])) == gaps.min()


def test_of_one_class_the_pair_is_of_that_class():
    draw = np.random.default_rng(0)
    some = batch(draw.normal(size=(20, 3)), draw.uniform(size=20), ["a"] * 20)
    assert len(set(fig7.pair_of(some).indices)) == 2


def test_the_table_is_a_step_of_the_run(tiny):
    """Scores, kept mask, pair and loss again, by the losses that the runs use."""
    table = fig7.compute(tiny)
    run = tiny.runs([Variant("isa")], 1)[Variant("isa"), 0]
    data, network = tiny.dataset, tiny.feature_network()
    chosen = np.random.default_rng(0).choice(120, 120, replace=False)
    with double_precision():
        features = jnp.asarray(tiny.real_features()[chosen], "float64")
        readout = ridge.readout(
            jnp.asarray(network.features(run.distilled.images), "float64"),
            jnp.asarray(run.distilled.labels, "float64"), 1e-6,
        )  # fmt: skip
        labels = jnp.asarray(data.targets("train")[chosen], "float64")
        residual = features @ readout.weights - labels
        scores = crucial.scores(residual)
        kept = crucial.select(scores, drop_easy=0.2, drop_hard=0.0)
        partners = isa.nearest_partners(features, kept)
        points = table[table.kind == "point"]
        np.testing.assert_array_equal(points.kept.astype(bool), np.asarray(kept) > 0)
        assert points.kept.sum() == 96
        images = table[table.kind == "image"]
        first = int(np.abs(np.asarray(scores) - images.score.iloc[0]).argmin())
        assert float(scores[first]) == pytest.approx(images.score.iloc[0], rel=1e-6)
        second = int(partners[first])
        assert float(scores[second]) == pytest.approx(images.score.iloc[1], rel=1e-6)
        difference = residual[first] - residual[second]
        closed = isa.segment_loss(residual[first][None], difference[None], -1.0, 0.0)
        curve = table[table.kind == "curve"]
        expected = isa.virtual_loss(
            jnp.tile(residual[first], (101, 1)), jnp.tile(difference, (101, 1)),
            jnp.asarray(curve.t.to_numpy(float)),
        )  # fmt: skip
        np.testing.assert_allclose(curve.loss.astype(float), expected, rtol=1e-6)
    [mean] = table[table.kind == "mean"].itertuples()
    assert mean.loss == pytest.approx(float(closed[0]), rel=1e-6)
    # 10,000 draws come within some hundredths of it.
    assert mean.sampled == pytest.approx(mean.loss, rel=0.05)
    for image, place in zip(images.itertuples(), (first, second), strict=True):
        of = data.train.labels[chosen[place]]
        assert image.label == data.class_names[of]
        np.testing.assert_array_equal(
            np.rint(255 * image.pixels), data.train.images[chosen[place]]
        )
    ends = table[table.kind == "end"][["x", "y"]].to_numpy(float)
    virtual = table[table.kind == "virtual"][["x", "y"]].to_numpy(float)
    # The segment (-1, 0) leads from the partner to the sample, in equal steps.
    np.testing.assert_allclose(virtual[[0, -1]], ends[::-1], atol=1e-9)
    np.testing.assert_allclose(np.diff(virtual, 2, axis=0), 0, atol=1e-9)
    distance = np.linalg.norm(np.asarray(features[first] - features[second]))
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(distance, rel=1e-6)
    places = points[["x", "y"]].to_numpy(float)
    np.testing.assert_allclose(places[[first, second]], ends, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure_shows_exactly_the_table(channels):
    table = fig7_table(channels)
    _, left, right = fig7.draw(table).axes
    drawn = {
        tuple(map(float, place))
        for line in left.lines
        for place in line.get_xydata()
    } | {
        tuple(map(float, place))
        for part in left.collections
        for place in part.get_offsets()
    }  # fmt: skip
    shown = table[table.kind.isin(["point", "end", "virtual"])]
    assert drawn == set(shown[["x", "y"]].itertuples(index=False, name=None))
    ends = table[table.kind == "end"][["x", "y"]].to_numpy(float)
    boxes = [part for part in left.artists if isinstance(part, AnnotationBbox)]
    assert [box.xy for box in boxes] == [tuple(end) for end in ends]
    for box, pixels in zip(boxes, table[table.kind == "image"].pixels, strict=True):
        image = np.asarray(box.offsetbox.get_data())
        expected = 1 - pixels[..., 0] if channels == 1 else pixels
        np.testing.assert_allclose(image, expected)
    curve, mean = right.lines
    rows = table[table.kind == "curve"]
    np.testing.assert_array_equal(curve.get_xydata(), rows[["t", "loss"]].astype(float))
    assert set(mean.get_ydata()) == {4 / 3}


def test_one_point_of_the_table_moves_one_point_of_the_figure():
    table = fig7_table()
    before = fig7.draw(table).axes[1].collections
    places = np.concatenate([part.get_offsets() for part in before])
    other = table.copy()
    other.loc[other.index[other.kind == "point"][2], "x"] += 5
    after = fig7.draw(other).axes[1].collections
    moved = np.concatenate([part.get_offsets() for part in after]) - places
    assert sorted(moved.ravel()) == [0] * (moved.size - 1) + [5]
