"""The protocols of other papers, as the sources state them."""

from __future__ import annotations

import numpy as np
import pytest

from isa_toolkit.datasets import load_dataset
from isa_toolkit.datasets.augmentation import GRAY_OPS
from isa_toolkit.evaluation import evaluate, random_real, rcig_protocol, with_mirrored
from isa_toolkit.networks import NetworkSettings


@pytest.mark.parametrize(("count", "steps"), [(10, 1000), (11, 2000), (500, 2000)])
def test_rcig_trains_slowly_and_briefly(count, steps):
    settings = rcig_protocol(count).resolve(
        image_shape=(28, 28, 1), num_distilled=count
    )
    fit = settings.fit
    assert fit is not None
    assert (fit.steps, fit.batch_size, fit.learning_rate) == (steps, 256, 1e-4)
    assert (fit.warmup_steps, fit.final_learning_rate) == (500, 0.01)
    assert (settings.augment_mode, settings.ops) == ("sample", GRAY_OPS)
    assert (settings.networks, settings.network.norm) == (5, "none")
    assert rcig_protocol(count, augment=False).ops == ()
    assert rcig_protocol(count, augment=False, flips=False).ops == ()
    still = ("crop", "rotate", "translate", "cutout")
    assert rcig_protocol(count, flips=False).ops == still
    with pytest.raises(ValueError, match="num_distilled must be at least 1"):
        rcig_protocol(0)


def test_mirrored_copies_follow_the_set():
    digits = load_dataset("digits", limit=50)
    distilled = random_real(digits, 1)
    doubled = with_mirrored(distilled)
    assert len(doubled.images) == 20
    for name in ("images", "pixels"):
        before, after = getattr(distilled, name), getattr(doubled, name)
        np.testing.assert_array_equal(after[:10], before)
        np.testing.assert_array_equal(after[10:], before[:, :, ::-1])
    np.testing.assert_array_equal(doubled.classes, np.tile(np.arange(10), 2))
    settings = rcig_protocol(
        10, network=NetworkSettings(width=2, depth=2, norm="none"), augment=False
    )
    assert evaluate(doubled, digits, settings, networks=1).network.shape == (1,)
