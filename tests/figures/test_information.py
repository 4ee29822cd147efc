"""Information: scores are the loss of the runs; rows pair each split with the random one."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from toy import double_precision

from isa_toolkit.analysis.cross_prediction import ridge_weights
from isa_toolkit.analysis.intervals import paired_interval
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.features import FeatureNetwork
from isa_toolkit.figures import information
from isa_toolkit.losses import ridge


@pytest.mark.slow
@pytest.mark.parametrize(("distilled", "features"), [(6, 10), (12, 5)])
def test_scores_are_half_the_squared_residual_of_the_outer_loss(
    monkeypatch, distilled, features
):
    draw = np.random.default_rng(distilled)
    labels = draw.normal(size=(distilled, 3)).astype("float32")
    pixels = np.zeros((distilled, 2, 2, 1))
    some = DistilledSet(
        images=pixels, labels=labels, pixels=pixels, class_names=("a", "b", "c")
    )
    support = draw.normal(size=(distilled, features))
    real, targets = draw.normal(size=(20, features)), draw.normal(size=(20, 3))
    monkeypatch.setattr(FeatureNetwork, "features", lambda _, images: support)
    network = FeatureNetwork(None, None, None, None)
    found = information.scores(network, some, real, targets)
    with double_precision():
        weights = ridge.readout(
            jnp.asarray(support), jnp.asarray(labels, "float64"), 1e-6
        ).weights
        prediction = np.asarray(ridge.predict(jnp.asarray(real), weights))
        expected = 0.5 * np.square(prediction - targets).sum(1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_flips_score_as_twice_as_many_distilled_images(monkeypatch):
    draw = np.random.default_rng(0)
    labels = draw.normal(size=(4, 3)).astype("float32")
    pixels = draw.normal(size=(4, 2, 3, 1)).astype("float32")
    some = DistilledSet(
        images=pixels, labels=labels, pixels=pixels, class_names=("a", "b", "c")
    )
    monkeypatch.setattr(
        FeatureNetwork, "features", lambda _, images: np.asarray(images).reshape(-1, 6)
    )
    real, targets = draw.normal(size=(20, 6)), draw.normal(size=(20, 3))
    network = FeatureNetwork(None, None, None, None)
    found = information.scores(network, some, real, targets, flips=True)
    both = np.concatenate([pixels, pixels[:, :, ::-1]]).reshape(-1, 6)
    weights = ridge_weights(both, np.concatenate([labels, labels]))
    expected = 0.5 * np.square(real @ weights - targets).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_in_a_batch_819_predict_205(monkeypatch):
    draw, sizes = np.random.default_rng(1), []
    real, targets = draw.normal(size=(1500, 4)), draw.normal(size=(1500, 3))
    ranked, test = draw.normal(size=1500), information.cross_prediction

    def counted(*given, **options):
        found = test(*given, **options)
        sizes.append((found.support, found.predicted, found.easy_from_hard.mse_mean))
        return found

    monkeypatch.setattr(information, "cross_prediction", counted)
    errors = information._errors(real, targets, ranked, 0.2, 3)
    assert [one[:2] for one in sizes] == [(1200, 300), *[(819, 205)] * 5]
    mean = np.mean([one[2] for one in sizes[1:]])
    assert errors[f"{information.EASY}_batch"] == pytest.approx(mean)
    # Few images are one batch.
    assert (
        len(information._errors(real[:900], targets[:900], ranked[:900], 0.2, 3)) == 6
    )


@pytest.mark.slow
def test_each_split_is_paired_with_the_random_one(tiny):
    table = information.compute(tiny)
    by_seed = table[table.seed.notna()]
    assert set(table.setting) == {"frepo"}
    assert set(table.images_per_class) == {10}

    def of(name):
        mine = by_seed[by_seed.quantity == name].sort_values("seed")
        assert list(mine.seed) == [0, 1]
        return mine.value.to_numpy()

    for suffix in ("", "_half_sum"):
        control = of(information.RANDOM + suffix)
        for name in (information.EASY, information.HARD):
            [paired] = table[
                (table.quantity == name + suffix) & table.against.notna()
            ].itertuples()
            expected = paired_interval(of(name + suffix), control)
            assert (paired.value, paired.low, paired.high) == pytest.approx(
                (expected.mean, expected.low, expected.high)
            )
            assert paired.against == information.RANDOM
        # No difference of the control to itself.
        rows = table[table.quantity == information.RANDOM + suffix]
        assert rows.against.isna().all()
    # Half the sum over three classes is 3/2 of the mean over them.
    for name in (information.EASY, information.RANDOM, information.HARD):
        np.testing.assert_allclose(of(f"{name}_half_sum"), 1.5 * of(name))
    for name in ("spearman_networks", "spearman_training"):
        assert (np.abs(of(name)) <= 1).all()
    # 24 of 120 are dropped: chance shares a ninth of what either drops, or so.
    assert of("jaccard_by_chance") == pytest.approx([1 / 9] * 2, abs=0.01)
    means = table[table.seed.isna() & table.against.isna()].set_index("quantity")
    for name in by_seed.quantity.unique():
        assert means.value[name] == pytest.approx(of(name).mean())
        assert means.n[name] == 2
