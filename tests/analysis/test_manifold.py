"""Maps: what is apart stays apart, placing changes nothing, and the same seed repeats."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from isa_toolkit.analysis.manifold import (
    Map,
    joint_map,
    trustworthiness,
    tsne_map,
)

QUICK = {"perplexity": 10, "iterations": 300, "seed": 3}
LABELS = np.repeat(np.arange(3), 50)
MAPS = pytest.mark.parametrize("make", [tsne_map, joint_map])


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Return 150 real points in three far blobs of 64 features, and two each beside."""
    generator = np.random.default_rng(0)
    centres = 12 * np.eye(3, 64)
    real = centres[LABELS] + generator.normal(size=(150, 64))
    distilled = centres[[0, 0, 1, 1, 2, 2]] + generator.normal(size=(6, 64)) / 2
    return real, distilled


@pytest.fixture(scope="module")
def maps(blobs) -> dict[str, Map]:
    """Return one map of each mode, with two sets; made without a sound."""
    real, distilled = blobs
    sets = {"ours": distilled, "theirs": distilled[::-2] + 0.1}
    return {
        "anchored": tsne_map(real, sets, **QUICK),
        "joint": joint_map(real, sets, **{**QUICK, "iterations": 600}),
    }


@pytest.mark.parametrize("mode", ["anchored", "joint"])
def test_blobs_that_are_apart_are_apart_in_the_map(maps, mode):
    made = maps[mode]
    nearest = KNeighborsClassifier(5).fit(made.real, LABELS)
    assert nearest.score(made.real, LABELS) == 1
    assert nearest.predict(made.distilled["ours"]).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest.predict(made.distilled["theirs"]).tolist() == [2, 1, 0]
    assert made.real.dtype == made.distilled["ours"].dtype == np.float64
    assert made.real.shape == (150, 2)
    assert made.distilled["theirs"].shape == (3, 2)


def test_placing_points_does_not_move_the_real_ones(blobs, maps):
    real, distilled = blobs
    for sets in ({}, {"far": 5 * distilled[:1]}):
        alone = tsne_map(real, sets, **QUICK)
        assert alone.real.tobytes() == maps["anchored"].real.tobytes()
        assert alone.trustworthiness == maps["anchored"].trustworthiness


def test_the_place_of_a_set_does_not_depend_on_the_other_sets(blobs, maps):
    real, distilled = blobs
    expected = maps["anchored"].distilled["ours"]
    sets = {"before": 3 * distilled, "ours": distilled}
    mixed = tsne_map(real, sets, **QUICK)
    assert mixed.distilled["ours"].tobytes() == expected.tobytes()
    # Nor does the place of a point depend on its fellows.
    single = tsne_map(real, {"one": distilled[2:3]}, **QUICK)
    np.testing.assert_allclose(single.distilled["one"], expected[2:3], rtol=1e-6)


def test_a_real_point_placed_into_the_map_lands_beside_itself(blobs, maps):
    real, _ = blobs
    made = tsne_map(real, {"twins": real}, **QUICK)
    gaps = np.linalg.norm(made.distilled["twins"] - made.real, axis=1)
    size = np.ptp(made.real, axis=0).max()
    assert np.median(gaps) < size / 20


@MAPS
def test_the_same_seed_gives_the_same_bytes_and_no_global_state_moves(blobs, make):
    real, distilled = blobs
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (make(real, {"a": distilled}, **QUICK) for _ in range(2))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert one.real.tobytes() == two.real.tobytes()
    assert one.distilled["a"].tobytes() == two.distilled["a"].tobytes()


def test_another_seed_gives_another_map(blobs, maps):
    other = tsne_map(blobs[0], {}, **{**QUICK, "seed": 4})
    assert (other.real != maps["anchored"].real).any()


@MAPS
def test_making_a_map_is_silent(blobs, make, capfd, caplog):
    real, distilled = blobs
    with caplog.at_level(logging.WARNING):
        make(real, {"a": distilled[:1]}, **{**QUICK, "iterations": 251})
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@MAPS
def test_inputs_stay_as_they_are(blobs, make):
    real, distilled = (part.astype(np.float32) for part in blobs)
    copies = real.copy(), distilled.copy()
    make(real, {"a": distilled}, **{**QUICK, "iterations": 251})
    np.testing.assert_array_equal(real, copies[0])
    np.testing.assert_array_equal(distilled, copies[1])


def test_the_kept_variance_is_that_of_the_covariance(blobs, maps):
    real, _ = blobs
    # Its eigenvalues, by another road than PCA.
    values = np.linalg.eigvalsh(np.cov(real.T))[::-1]
    kept = values[:50].sum() / values.sum()
    assert maps["anchored"].variance_kept == pytest.approx(kept, abs=1e-3)


def test_all_features_are_kept_if_asked(blobs):
    real, distilled = blobs
    quick = {**QUICK, "iterations": 251}
    made = tsne_map(real, {"a": distilled}, components=None, **quick)
    assert made.variance_kept == 1
    few = joint_map(real, {"a": distilled}, components=2, **quick)
    assert 0 < few.variance_kept < 1


def test_an_offset_of_the_features_does_not_spoil_the_map(blobs, maps):
    real, distilled = blobs
    moved = tsne_map(real + 2.0**20, {"a": distilled + 2.0**20}, **QUICK)
    nearest = KNeighborsClassifier(5).fit(moved.real, LABELS)
    assert nearest.score(moved.real, LABELS) == 1
    assert nearest.predict(moved.distilled["a"]).tolist() == [0, 0, 1, 1, 2, 2]
    assert moved.trustworthiness == pytest.approx(
        maps["anchored"].trustworthiness, abs=0.05
    )


def test_more_than_a_thousand_points_repeat_too():
    # openTSNE seeks neighbours approximately from 1,000 points on.
    real = np.random.default_rng(1).normal(size=(1001, 4))
    settings = {"perplexity": 5, "iterations": 251, "seed": 0}
    one, two = (tsne_map(real, {"a": real[:2]}, **settings) for _ in range(2))
    assert one.real.tobytes() == two.real.tobytes()
    assert one.distilled["a"].tobytes() == two.distilled["a"].tobytes()


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_agrees_with_scikit_learn(k):
    generator = np.random.default_rng(k)
    points = generator.normal(size=(60, 7))
    for places in (points[:, :2], generator.normal(size=(60, 2))):
        ours = trustworthiness(points, places, neighbours=k)
        theirs = sklearn_trustworthiness(points, places, n_neighbors=k)
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_trustworthiness_is_the_same_in_blocks(monkeypatch):
    points = np.random.default_rng(2).normal(size=(50, 3))
    whole = trustworthiness(points, points[:, :2])
    monkeypatch.setattr("isa_toolkit.analysis.knn.BLOCK_MIB", 0.005)
    assert trustworthiness(points, points[:, :2]) == whole


def test_whole_numbers_have_the_trustworthiness_of_floats():
    points = np.random.default_rng(2).integers(0, 256, size=(50, 5)).astype(np.uint8)
    floats = trustworthiness(points.astype(float), points[:, :2].astype(float))
    assert trustworthiness(points, points[:, :2]) == floats


def test_trustworthiness_by_hand():
    # On a line 0, 1, 3, 7 with k = 1, the map pairs 0 with 7 and 1 with 3. Ranks of
    # these neighbours: 7 is third for 0; 3 is second for 1; 1 is first for 3 (2 away,
    # 0 is 3 away); 0 is third for 7. Excess 2 + 1 + 0 + 2 of 4 * 1 * (8 - 3 - 1) / 2.
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    places = np.array([[0.0], [10.0], [11.0], [1.0]])
    assert trustworthiness(points, places, neighbours=1) == pytest.approx(1 - 5 / 8)
    assert trustworthiness(points, 5 - 2 * points, neighbours=1) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"perplexity": 50}, r"perplexity must be at most 49\.67 .* got 50\.0\. Lower"),
        ({"perplexity": 0.5}, r"perplexity must be at least 1, got 0\.5"),
        ({"iterations": 250}, r"iterations must be at least 251, got 250"),
        ({"components": 1}, r"components must be at least 2, got 1"),
        ({"seed": -1}, r"seed must be at least 0, got -1"),
        ({"seed": 2**32}, r"seed must be at most 4294967295"),
        ({"neighbours": 75}, r"neighbours must be below half of the 150 points"),
        ({"distilled": {"a": np.zeros((2, 3))}}, r"distilled\['a'\] must have the 64"),
        ({"distilled": {"a": np.zeros((0, 64))}}, r"distilled\['a'\] must be num"),
        ({"distilled": {"a": np.zeros(64)}}, r"distilled\['a'\] must have 2 axes"),
        ({"distilled": {"a": np.full((1, 64), np.inf)}}, r"distilled.*infinity"),
        ({"real": np.ones((150, 64))}, r"real must have points that differ"),
        ({"real": np.ones((3, 64))}, "real .* minimum of 4"),
        ({"real": np.ones((150, 1))}, r"real must have at least 2 features, got 1"),
        ({"real": np.ones((9, 8, 8, 1))}, r"Flatten each sample"),
    ],
)
@MAPS
def test_what_makes_no_map_is_refused(blobs, make, change, sentence):
    given = {"real": blobs[0], "distilled": {}, **QUICK, **change}
    if make is joint_map and "real" not in change and "perplexity" not in change:
        given["distilled"] = given["distilled"] or {"a": blobs[1]}
    with pytest.raises(ValueError, match=sentence):
        make(given.pop("real"), given.pop("distilled"), **given)


def test_a_placement_needs_its_neighbours(blobs):
    with pytest.raises(ValueError, match=r"placement_perplexity must be at most 50 "):
        tsne_map(blobs[0], {}, placement_perplexity=51, **QUICK)


def test_one_array_is_a_set_and_labels_come_with_the_map(blobs):
    quick = {**QUICK, "iterations": 251}
    made = tsne_map(*blobs, labels=LABELS, **quick)
    assert made.distilled.keys() == {"distilled"}
    assert made.labels.tolist() == LABELS.tolist()
    assert repr(made).startswith("Map(150 real points, {distilled: 6}")
    with pytest.raises(ValueError, match="labels"):
        tsne_map(*blobs, labels=LABELS[1:], **quick)


def test_progress_is_printed_on_request(blobs, capfd):
    tsne_map(blobs[0], {}, verbose=True, **{**QUICK, "iterations": 251})
    assert "Iteration" in capfd.readouterr().out


def test_arrays_of_different_length_have_no_trustworthiness():
    with pytest.raises(ValueError, match="embedding must have 9 rows, as points has"):
        trustworthiness(np.eye(9), np.eye(8))


def test_importing_analysis_loads_no_heavy_library():
    names = ["manifold", "class_geometry", "ranking", "cross_prediction"]
    imports = "; ".join(f"import isa_toolkit.analysis.{name}" for name in names)
    code = f"{imports}; import sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "isa_toolkit.analysis.manifold" in loaded
    assert not {"jax", "sklearn", "openTSNE", "matplotlib", "pandas"} & loaded
