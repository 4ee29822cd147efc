"""ZCA: what whitening must do, and an independent NumPy version."""

import numpy as np
import pytest

from isa_toolkit.datasets.whitening import block_stride, fit_zca, from_blocks, to_blocks


def draw(count, shape, seed=0):
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(int(np.prod(shape)),) * 2) / 3
    return (random.normal(size=(count, int(np.prod(shape)))) @ mixing + 1).reshape(
        count, *shape
    )


def fit(images, pieces=3, stride=1):
    def split():
        return np.array_split(images, pieces)

    return fit_zca(split, len(images), images.shape[1:], stride)


def plain_zca(blocks_by_phase, count, regulariser=0.1):
    """Section 1.1, as directly as it can be written: full covariances, full eigh."""
    covariance = np.mean([b.T @ b / len(b) for b in blocks_by_phase], axis=0)
    size = len(covariance)
    ridge = regulariser * np.trace(covariance) / size
    s, u = np.linalg.eigh(covariance + ridge * np.eye(size))
    s, u = s[::-1], u[:, ::-1]
    gain, inverse = s**-0.5, s**0.5
    if count < size:
        gain[count:] = inverse[count:] = 1
    return u @ np.diag(gain) @ u.T, u @ np.diag(inverse) @ u.T, ridge


def test_whitened_covariance_is_u_diag_s_over_s_plus_r():
    images = draw(400, (4, 4, 3))
    zca = fit(images)
    x = images.reshape(400, -1) - zca.mean
    s, u = np.linalg.eigh(np.cov(x.T, bias=True))
    white = x @ zca.matrix
    np.testing.assert_allclose(zca.ridge, 0.1 * s.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        white.T @ white / 400, u @ np.diag(s / (s + zca.ridge)) @ u.T, atol=2e-5
    )


def test_both_matrices_are_symmetric_and_invert_each_other():
    for count in (400, 20):
        zca = fit(draw(count, (4, 4, 3)))
        np.testing.assert_array_equal(zca.matrix, zca.matrix.T)
        np.testing.assert_array_equal(zca.inverse, zca.inverse.T)
        np.testing.assert_allclose(zca.matrix @ zca.inverse, np.eye(48), atol=2e-5)


def test_the_fit_does_not_depend_on_how_the_images_are_cut():
    images = draw(100, (3, 3, 1))
    one, many = fit(images, pieces=1), fit(images, pieces=17)
    np.testing.assert_allclose(one.matrix, many.matrix, rtol=2e-5, atol=2e-6)


def test_whole_images_agree_with_a_plain_version():
    images = draw(200, (4, 4, 3))
    zca = fit(images)
    x = images.reshape(200, -1)
    matrix, inverse, ridge = plain_zca([x - x.mean(axis=0)], 200)
    np.testing.assert_allclose(zca.matrix, matrix, atol=1e-5)
    np.testing.assert_allclose(zca.inverse, inverse, atol=1e-5)
    assert zca.rank == 48
    assert zca.ridge == pytest.approx(ridge)


@pytest.mark.parametrize("count", [60, 20])
def test_blocks_agree_with_a_plain_version(count):
    # 20 images are fewer than the 48 numbers of a block: rank control bites.
    images = draw(count, (8, 8, 3))
    zca = fit(images, stride=2)
    centred = images - images.mean(axis=0)
    phases = [
        centred[:, i::2, j::2].reshape(count, -1) for i in range(2) for j in range(2)
    ]
    matrix, inverse, _ = plain_zca(phases, count)
    np.testing.assert_allclose(zca.matrix, matrix, atol=1e-5)
    np.testing.assert_allclose(zca.inverse, inverse, atol=1e-5)
    np.testing.assert_allclose(zca.mean, images.mean(axis=0).reshape(-1), atol=1e-6)
    assert zca.rank == min(count, 48)


def test_rank_control_leaves_the_trailing_directions_alone():
    images = draw(20, (4, 4, 3))
    zca = fit(images)
    x = images.reshape(20, -1) - images.reshape(20, -1).mean(axis=0)
    matrix, _, _ = plain_zca([x], 20)
    # Where training images have no variance the plain version is not unique; on the
    # images themselves both must agree.
    np.testing.assert_allclose(x @ zca.matrix, x @ matrix, atol=1e-4)
    null = np.linalg.svd(x)[2][19:]
    np.testing.assert_allclose(null @ zca.matrix, null, atol=1e-5)
    assert zca.rank == 19


def test_blocks_are_the_phases_of_the_image():
    images = draw(3, (6, 4, 3))
    blocks = to_blocks(images, 2)
    assert blocks.shape == (12, 18)
    np.testing.assert_array_equal(blocks[6], images[1, 1::2, 0::2].reshape(-1))
    np.testing.assert_array_equal(from_blocks(blocks, 2, (6, 4, 3)), images)


def test_blocks_stay_within_64_pixels():
    assert [block_stride((s, s, 3)) for s in (8, 32, 64, 128, 192)] == [1, 1, 1, 2, 3]
    with pytest.raises(ValueError, match=r"divide by 2 .* got 99x99"):
        block_stride((99, 99, 3))


def test_equal_images_are_refused():
    with pytest.raises(ValueError, match="differ from each other"):
        fit(np.ones((5, 2, 2, 1)))


@pytest.mark.parametrize(
    ("recipe", "centred", "divisor", "ridge"),
    [("rfad_zca", False, 400, None), ("mtt_zca", True, 399, 0.1)],
)
def test_the_recipes_of_other_projects(recipe, centred, divisor, ridge):
    images = draw(400, (4, 4, 3))
    zca = fit_zca(lambda: [images], 400, images.shape[1:], 1, recipe)
    x = images.reshape(400, -1)
    mean = x.mean(axis=0) if centred else np.zeros(48)
    np.testing.assert_allclose(zca.mean, mean, atol=1e-6)
    covariance = (x - mean).T @ (x - mean) / divisor
    ridge = 0.1 * np.trace(covariance) / 48 if ridge is None else ridge
    values, vectors = np.linalg.eigh(covariance)
    expected = (vectors * (values + ridge) ** -0.5) @ vectors.T
    np.testing.assert_allclose(zca.matrix, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(zca.matrix @ zca.inverse, np.eye(48), atol=1e-4)


def test_mtt_whitens_directions_without_data_too():
    images = draw(20, (4, 4, 3))
    zca = fit_zca(lambda: [images], 20, images.shape[1:], 1, "mtt_zca")
    x = images.reshape(20, -1) - zca.mean
    values, vectors = np.linalg.eigh(x.T @ x / 19)
    expected = (vectors * (values + 0.1) ** -0.5) @ vectors.T
    np.testing.assert_allclose(zca.matrix, expected, rtol=1e-4, atol=1e-4)
