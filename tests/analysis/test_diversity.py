"""Diversity: known answers, invariances, the prdc package, and what is refused."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import prdc as package
import pytest
from sklearn.datasets import load_digits

from isa_toolkit.analysis import knn
from isa_toolkit.analysis.diversity import Prdc, prdc, recall


def _sets(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(120, 3)), generator.normal(0.9, 0.8, size=(30, 3))


def _package(real: np.ndarray, distilled: np.ndarray, k: int) -> Prdc:
    with contextlib.redirect_stdout(io.StringIO()):
        return Prdc(**package.compute_prdc(real, distilled, k))


def test_identical_sets_recall_each_other() -> None:
    real, _ = _sets()
    same = prdc(real, real.copy())
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    # Each point lies in its own ball and, without ties, on average in k - 1 others.
    assert same.density == pytest.approx(1)


def test_sets_far_apart_recall_nothing() -> None:
    real, distilled = _sets()
    assert prdc(real, distilled + 1e4) == Prdc(0, 0, 0, 0)


def test_a_line_by_hand() -> None:
    real = np.array([[0.0], [1], [3], [6], [10]])  # radii 1, 1, 2, 3, 4
    distilled = np.array([[2.0], [2.5], [9]])  # radii 0.5, 0.5, 6.5
    # 3 touches the ball of 2.5 and lies in that of 9, as do 6 and 10: recall .6.
    # 2 touches the ball of 1, 9 touches that of 6; the balls of 3 and 10 are met:
    # coverage .4. Each distilled point lies in one ball.
    assert prdc(real, distilled, 1) == Prdc(1, 0.6, 1, 0.4)
    assert recall(real, distilled, 1) == 0.6


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(
    ("features", "kind"), [(1, "float64"), (3, "float32"), (200, "float32")]
)
def test_random_sets_agree_with_the_package(k: int, features: int, kind: str) -> None:
    generator = np.random.default_rng(features)
    real = generator.normal(size=(150, features)).astype(kind)
    distilled = generator.normal(0.2, 1.1, size=(25, features)).astype(kind)
    ours = prdc(real, distilled, k)
    assert ours == pytest.approx(_package(real, distilled, k))
    assert ours.recall > 0


def test_digits_agree_with_the_package() -> None:
    pixels = load_digits().data
    real, distilled = pixels[:1000], pixels[1000::6]
    ours = prdc(real, distilled)
    # Whole numbers are full of ties; the package gets them right as well.
    assert ours == pytest.approx(_package(real, distilled, 5), rel=1e-12)
    assert 0.5 < ours.recall < 1


@pytest.mark.parametrize("seed", range(3))
def test_order_place_size_and_axes_do_not_matter(seed: int) -> None:
    real, distilled = _sets(seed)
    expected = prdc(real, distilled)
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.normal(size=(3, 3))).Q
    assert prdc(generator.permutation(real), generator.permutation(distilled)) == (
        pytest.approx(expected)
    )
    assert prdc(real + 1e6, distilled + 1e6) == pytest.approx(expected)
    for scale in (1e-200, 1e-9, 3, 1e200):
        assert prdc(real * scale, distilled * scale) == pytest.approx(expected)
    assert prdc(real @ turn, distilled @ turn) == pytest.approx(expected)
    # Something is there to be changed.
    assert all(0 < share < 1 for share in expected)


def test_one_outlier_raises_recall_and_not_coverage() -> None:
    generator = np.random.default_rng(0)
    real = generator.normal(size=(200, 2))
    clump = generator.normal(0, 0.1, size=(30, 2)) - [10, 0]
    outlier = np.concatenate([clump, [[1000.0, 0.0]]])
    before, after = prdc(real, clump), prdc(real, outlier)
    assert (before.recall, before.coverage) == (0, 0)
    assert (after.recall, after.coverage) == (1, 0)
    # The real points that the outlier "recalls" are a thousand away from it.
    assert after.precision == after.density == 0


def test_more_modes_recall_more() -> None:
    generator = np.random.default_rng(0)
    centres = 20 * np.eye(5)
    real = np.concatenate([generator.normal(one, 1, (60, 5)) for one in centres])
    shares = []
    for modes in range(1, 6):
        kept = np.repeat(centres[:modes], 60 // modes, axis=0)
        distilled = kept + generator.normal(size=kept.shape)
        found = prdc(real, distilled)
        shares.append((found.recall, found.coverage))
    assert np.all(np.diff(shares, axis=0) > 0)
    assert shares[0] == pytest.approx((0.2, 0.2), abs=0.05)


def test_a_point_with_k_copies_has_an_empty_ball() -> None:
    copies = np.concatenate([np.zeros((4, 2)), np.ones((3, 2))])
    # The three at 1 have a ball, which the others do not reach.
    assert recall(copies, copies, 3) == 3 / 7


def test_recall_alone_is_that_of_all_four() -> None:
    real, distilled = _sets()
    whole = prdc(real, distilled, 4)
    assert whole.recall == recall(real, distilled, 4)
    assert type(recall(real, distilled)) is float
    assert all(type(value) is float for value in whole)


def test_real_points_that_are_few_can_still_be_recalled() -> None:
    real, distilled = _sets()
    alone = [recall(point[None], distilled) for point in real]
    assert np.mean(alone) == pytest.approx(recall(real, distilled))


def test_one_distilled_image_has_no_recall() -> None:
    real, distilled = _sets()
    with pytest.raises(ValueError, match="distilled must have at least"):
        recall(real, distilled[:1])


def _tied(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return small whole numbers, copies or clusters, in which distances are equal."""
    generator = np.random.default_rng(seed)
    features, levels = generator.integers(1, 5), generator.integers(2, 5)
    real = generator.integers(0, levels, size=(40, features)).astype(float)
    distilled = generator.integers(0, levels, size=(12, features)).astype(float)
    if seed % 3 == 1:
        real, distilled = real * 0.1, distilled * 0.1
    elif seed % 3 == 2:  # clusters of copies, whose distances float32 cannot tell
        real, distilled = real * 1e-7 + 1000, distilled * 1e-7 + 1000
        real[:20] -= 2000
    return real, distilled, int(generator.integers(1, 7))


def _loop(real: np.ndarray, distilled: np.ndarray, k: int) -> Prdc:
    """Return the four numbers from all differences, in float64."""

    def squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.square(first[:, None] - second[None]).sum(axis=2)

    def radii(points: np.ndarray) -> np.ndarray:
        among = squared(points, points)
        np.fill_diagonal(among, np.inf)
        return np.sort(among, axis=1)[:, k - 1]

    between = squared(real, distilled)
    in_real = between < radii(real)[:, None]
    in_distilled = between < radii(distilled)[None]
    return Prdc(
        in_real.any(axis=0).mean(),
        in_distilled.any(axis=1).mean(),
        in_real.sum(axis=0).mean() / k,
        in_real.any(axis=1).mean(),
    )


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_ties_are_those_of_a_loop(start: int) -> None:
    for seed in range(start, start + 50):
        real, distilled, k = _tied(seed)
        assert prdc(real, distilled, k) == pytest.approx(_loop(real, distilled, k))
        assert recall(real, distilled, k) == _loop(real, distilled, k).recall


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, distilled = _sets()
    whole = prdc(real, distilled)
    monkeypatch.setattr(knn, "BLOCK_MIB", 0.005)
    assert prdc(real, distilled) == pytest.approx(whole)
    assert recall(real, distilled) == whole.recall


@pytest.mark.parametrize(
    ("real", "distilled", "k", "sentence"),
    [
        (
            9,
            5,
            5,
            r"distilled must have at least k \+ 1 = 6 points for k = 5 .*got 5\. L",
        ),
        (9, 5, 5, r"Lower k to 4 at most, or give more points\."),
        (9, 1, 5, r"got 1\. Give more points\."),
        (
            5,
            9,
            5,
            r"real must have at least k \+ 1 = 6 points for k = 5 .*got 5\. Lower",
        ),
        (9, 9, 0, r"k must be at least 1, got 0"),
    ],
)
def test_too_few_points_are_refused(
    real: int, distilled: int, k: int, sentence: str
) -> None:
    points = np.random.default_rng(0).normal(size=(9, 2))
    with pytest.raises(ValueError, match=sentence):
        prdc(points[:real], points[:distilled], k)


@pytest.mark.parametrize("measure", [prdc, recall])
def test_every_measure_refuses_what_it_cannot_measure(measure) -> None:
    real, distilled = _sets()
    with pytest.raises(ValueError, match="distilled must have 3 features like real"):
        measure(real, distilled[:, :2])
    with pytest.raises(ValueError, match=r"real .*NaN"):
        measure(real * math.nan, distilled)
    with pytest.raises(ValueError, match="distilled must have 2 axes"):
        measure(real, distilled[0])
    with pytest.raises(ValueError, match="k must be at least 1, got -1"):
        measure(real, distilled, -1)
    with pytest.raises(ValueError, match=r"must have at least k \+ 1 = 201 points"):
        measure(real, distilled, 200)
