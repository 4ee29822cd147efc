"""The loss of given predictions against explicit virtual samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from toy import quick_jit

from isa_toolkit.methods.target_loss import (
    check_crucial,
    default_segment,
    target_loss,
)

COUNT, CLASSES = 20, 3


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = np.eye(CLASSES)[np.arange(COUNT) % CLASSES] - 1 / CLASSES
    return draw.normal(size=(COUNT, CLASSES)), labels, draw.normal(size=(COUNT, 7))


def terms_of(arrays, *, loss, easy=0.0, hard=0.0, segment=(0.0, 0.0), **changes):
    settings = {"partner": "nearest", "log_scale": 0.3, "key": jax.random.key(0)}
    return quick_jit(
        lambda arrays: target_loss(
            *arrays,
            loss=loss,
            drop_easy=easy,
            drop_hard=hard,
            segment=segment,
            **{**settings, **changes},
        )
    )(tuple(jnp.asarray(array, jnp.float32) for array in arrays))


def single(loss: str, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if loss == "mse":
        return 0.5 * np.square(prediction - labels).sum(-1)
    logits = special.log_softmax(np.exp(0.3) * prediction, axis=-1)
    return -np.sum((labels + 1 / CLASSES) * logits, -1)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("dropped", [(0.0, 0.0), (0.3, 0.0), (0.25, 0.25)])
def test_the_loss_is_that_of_virtual_samples_of_the_kept_targets(loss, dropped):
    prediction, labels, features = arrays = problem()
    easy, hard = dropped
    terms = terms_of(arrays, loss=loss, easy=easy, hard=hard, segment=(-1.0, 0.0))
    order = np.argsort(single(loss, prediction, labels))
    kept = order[round(easy * COUNT) : COUNT - round(hard * COUNT)]
    weights = np.zeros(COUNT)
    weights[kept] = 1
    np.testing.assert_array_equal(terms.weights, weights)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -2)
    places, shares = np.polynomial.legendre.leggauss(3)
    total = 0.0
    for i in kept:
        j = kept[np.argmax(similarity[i, kept])]
        for place, share in zip(places, shares, strict=True):
            t = 0.5 * place - 0.5
            virtual = [a[i] + t * (a[i] - a[j]) for a in (prediction, labels)]
            total += share / 2 * single(loss, *virtual)
    assert float(terms.loss) == pytest.approx(total / len(kept), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_nothing_dropped_and_no_segment_is_the_plain_mean(loss):
    arrays = problem()
    plain = single(loss, *arrays[:2]).mean()
    for partner in ("nearest", "random", "none"):
        terms = terms_of(arrays, loss=loss, partner=partner)
        assert float(terms.loss) == pytest.approx(plain, rel=1e-5)


def test_the_default_segment_of_each_loss_is_one_it_accepts():
    for loss in ("mse", "cross_entropy"):
        segment = default_segment(loss)
        checked = check_crucial(
            drop_easy=0.0, drop_hard=0.0, segment=segment, partner="nearest", loss=loss
        )
        assert checked == segment


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"segment": (0.0, 0.5)},
            r"segment must lie in \[-1, 0\] for loss 'cross_entropy', got \(0.0, 0.5\)"
            ".*negatively.*unbounded below",
        ),
        ({"segment": (-1.5, 0.0)}, r"segment must lie in \[-1, 0\]"),
        ({"segment": 3}, "segment must be a pair"),
        ({"loss": "hinge"}, "loss must be one of 'cross_entropy', 'mse', got 'hinge'"),
        ({"drop_easy": 0.6, "drop_hard": 0.4}, "drop_easy . drop_hard must be below 1"),
        ({"drop_easy": 1.0}, "drop_easy must lie in"),
        ({"partner": "none"}, r"segment must be \(0, 0\) when partner is 'none'"),
        ({"partner": "far"}, "partner must be one of"),
    ],
)
def test_settings_without_a_meaning_are_one_sentence(changes, sentence):
    settings = {
        "drop_easy": 0.0,
        "drop_hard": 0.0,
        "segment": (-1.0, 0.0),
        "partner": "nearest",
        "loss": "cross_entropy",
    }
    check_crucial(**settings)
    with pytest.raises(ValueError, match=sentence) as caught:
        check_crucial(**{**settings, **changes})
    assert "\n" not in str(caught.value)
