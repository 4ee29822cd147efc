"""t-SNE maps of real and distilled features, and their trustworthiness.

``tsne_map`` embeds the real points once and places every distilled set into that map, so
that panels of several methods can be compared; ``joint_map`` embeds all points at once.
The numbers that accompany a map are in ``class_geometry``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real

from isa_toolkit.analysis.knn import distance_blocks
from isa_toolkit.analysis.validation import as_labels, as_points
from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text, check_integer, check_number, check_seed, fail

# Both libraries exaggerate attraction for this many iterations before the rest.
_EARLY = 250

# scikit-learn reads its seed as 32 bits.
_LARGEST_SEED = 2**32 - 1


class Map(NamedTuple):
    """Points of several sets in one plane. Large distances mean little.

    real: Coordinates of the real points, [n, 2].
    distilled: Coordinates of each distilled set by its name, each [m, 2].
    trustworthiness: Trustworthiness of the real points; 1 is perfect.
    variance_kept: Fraction of the variance in the principal components that t-SNE uses.
    labels: Class numbers of the real points, [n], if they were given.
    """

    real: Float[np.ndarray, "n 2"]
    distilled: dict[str, Float[np.ndarray, "_ 2"]]
    trustworthiness: float
    variance_kept: float
    labels: Int[np.ndarray, " n"] | None = None

    def __repr__(self) -> str:
        """Return the numbers of points and the trustworthiness in one line."""
        sets = ", ".join(f"{name}: {len(at)}" for name, at in self.distilled.items())
        return (
            f"Map({len(self.real)} real points, {{{sets}}}, "
            f"trustworthiness {self.trustworthiness:.3f})"
        )


@typed
def tsne_map(
    real: Real[np.ndarray, "n d"],
    distilled: Mapping[str, Real[np.ndarray, "_ d"]] | Real[np.ndarray, "_ d"],
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    perplexity: float = 30.0,
    placement_perplexity: float = 5.0,
    iterations: int = 750,
    components: int | None = 50,
    seed: int = 0,
    neighbours: int = 5,
    verbose: bool = False,
) -> Map:
    """Return a t-SNE map of the real points with every distilled set placed into it.

    The real points are embedded once. Each distilled point then starts at the median of
    its nearest real points in the map and moves under their attraction alone. So the
    coordinates of the real points are the same bytes whatever is placed, and those of a
    set do not depend on the other sets.

    Above ``components`` features, all points are first projected on the leading
    principal components of the real ones. The map starts from the first two of them.

    Args:
        real: Features of the real images, [n, d], n above 3 times ``perplexity``.
        distilled: Features of the distilled images by the name of their set, each [m, d];
            may be empty. One array becomes the set "distilled".
        labels: Class numbers of the real images, [n], to be stored with the map.
        perplexity: Effective number of neighbours, at least 1; 3 times as many are
            searched, so it is at most (n - 1) / 3.
        placement_perplexity: Effective number of neighbours of a placed point, at most
            n / 3.
        iterations: Total number of iterations, above 250, which have early exaggeration.
        components: Number of principal components that t-SNE uses, or None for all
            features.
        seed: Seed of the initialisation and of the neighbour search, below 2^32.
        neighbours: Number of neighbours of the trustworthiness, below n / 2.
        verbose: Whether to print the progress; 10,000 points take minutes.

    Returns:
        The map. It is made by one thread, so the same seed gives the same bytes on the
        same versions. Neighbours are exact below 1,000 real points and approximate
        (Annoy) above.

    Raises:
        TypeError: If a setting is of the wrong kind.
        ValueError: If points do not fit or coincide, or a setting is out of range.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from isa_toolkit.analysis.manifold import tsne_map
        >>> pixels, labels = load_digits(return_X_y=True)
        >>> tsne_map(pixels[:90], pixels[90:95], labels=labels[:90], perplexity=10,
        ...          iterations=260).distilled["distilled"].shape
        (5, 2)

    Source: figure 6 shows such panels; that they are placed into one map is our choice, the
        paper does not say how its maps, or the features for them, were made. openTSNE
        (Poličar et al., 2024; placement after Poličar et al., 2023).
    """
    points, sets = _checked(real, distilled)
    if labels is not None:
        labels = as_labels("labels", labels, len(points), "real")
    wide = _perplexity("perplexity", perplexity, (len(points) - 1) / 3)
    narrow = _perplexity("placement_perplexity", placement_perplexity, len(points) / 3)
    count, start, k = _settings(len(points), iterations, seed, neighbours)
    from openTSNE import TSNE, TSNEEmbedding

    with _one_thread():
        reduced, placed, kept = _reduce(points, sets, components, start, joint=False)
        anchor = TSNE(
            perplexity=wide,  # pyright: ignore[reportArgumentType]
            initialization="pca",
            early_exaggeration_iter=_EARLY,
            n_iter=count - _EARLY,
            n_jobs=1,
            random_state=start,
            verbose=verbose,
        ).fit(reduced)
        centred = np.array(anchor)
        # As `transform` would: it moves the map into which it places points.
        centred -= (centred.max(axis=0) + centred.min(axis=0)) / 2
        coordinates = {}
        for name, values in placed.items():
            # Copies itself: one for each set, since `transform` may move its map by a
            # last digit.
            copy = TSNEEmbedding(
                centred,
                anchor.affinities,
                random_state=start,
                **anchor.gradient_descent_params,
            )
            placing = copy.transform(
                values,
                perplexity=narrow,  # pyright: ignore[reportArgumentType]
            )
            coordinates[name] = np.array(placing)
        trust = trustworthiness(points, centred, neighbours=k)
    return Map(centred, coordinates, trust, kept, labels)


def joint_map(
    real: Real[np.ndarray, "n d"],
    distilled: Mapping[str, Real[np.ndarray, "_ d"]] | Real[np.ndarray, "_ d"],
    *,
    perplexity: float = 30.0,
    iterations: int = 1000,
    components: int | None = 50,
    seed: int = 0,
    neighbours: int = 5,
) -> Map:
    """Return one t-SNE embedding of real and distilled points.

    All points attract and repel each other, so every coordinate depends on all sets: two
    joint maps cannot be compared point by point.

    Arguments are those of :func:`tsne_map`. The map starts from the first two principal
    components of all points; the perplexity is at most a third of the number of all
    points less one. Only large arrays need random numbers, so on small ones every seed
    gives the same map. The trustworthiness is that of the real points among themselves.

    Source: figure 6, in our reading the likeliest way it was made (UNKNOWN).
    scikit-learn's Barnes-Hut t-SNE (van der Maaten, 2014).
    """
    points, sets = _checked(real, distilled)
    total = len(points) + sum(map(len, sets.values()))
    wide = _perplexity("perplexity", perplexity, (total - 1) / 3)
    count, start, k = _settings(len(points), iterations, seed, neighbours)
    from sklearn.manifold import TSNE

    with _one_thread():
        reduced, placed, kept = _reduce(points, sets, components, start, joint=True)
        everything = np.concatenate([reduced, *placed.values()])
        coordinates = TSNE(
            perplexity=wide,
            init="pca",
            learning_rate="auto",
            max_iter=count,
            n_jobs=1,
            random_state=start,
        ).fit_transform(everything)
        # scikit-learn gives float32; both modes give the same kind.
        coordinates = np.asarray(coordinates, dtype=np.float64)
        ends = np.cumsum([len(points), *map(len, placed.values())])
        parts = np.split(coordinates, ends[:-1])
        trust = trustworthiness(points, parts[0], neighbours=k)
    return Map(parts[0], dict(zip(placed, parts[1:], strict=True)), trust, kept)


def trustworthiness(
    points: Real[np.ndarray, "n d"],
    embedding: Real[np.ndarray, "n p"],
    *,
    neighbours: int = 5,
) -> float:
    """Return to what extent neighbours in a map are neighbours in the feature space.

    ``T = 1 - 2 / (n k (2 n - 3 k - 1)) sum_i sum_(j in N_i) max(0, r_ij - k)`` with N_i
    the k nearest to point i in the map and r_ij the rank of j among the neighbours of i
    in the feature space, 1 for the nearest. The same as scikit-learn's, without its
    n x n matrices (14 GB at 60,000 points); equally far points get the better rank. 1 for
    a perfect map; about .5 for a map without any relation to the points. The number k of
    ``neighbours`` is below n / 2.

    Source: Venna and Kaski, 2001.
    """
    inside = _centred(as_points("points", points))
    outside = _centred(as_points("embedding", embedding))
    count = len(inside)
    if len(outside) != count:
        raise fail("embedding", f"have {count} rows, as points has", len(outside))
    k = _neighbours(count, neighbours)
    excess = 0
    blocks = zip(
        distance_blocks(inside, inside), distance_blocks(outside, outside), strict=True
    )
    for (part, far), (_, seen) in blocks:
        rows = np.arange(part.start, part.stop)
        for matrix in (far, seen):
            matrix[rows - part.start, rows] = np.inf
        near = np.argpartition(seen, k - 1, axis=1)[:, :k]
        for column in near.T:
            own = far[rows - part.start, column][:, None]
            rank = 1 + (far < own).sum(axis=1)
            excess += int(np.maximum(rank - k, 0).sum())
    return 1 - 2 * excess / (count * k * (2 * count - 3 * k - 1))


def _checked(
    real: np.ndarray, distilled: Mapping[str, np.ndarray] | np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the real points and every set in float64, around the real mean."""
    points = as_points("real", real, minimum=4)
    if points.shape[1] < 2:
        raise fail("real", "have at least 2 features", as_text("1"))
    if not isinstance(distilled, Mapping):
        distilled = {"distilled": distilled}
    if (points == points[0]).all():
        raise fail("real", "have points that differ", as_text("one point repeated"))
    centre = points.mean(axis=0, dtype=np.float64)
    sets = {}
    for name, values in distilled.items():
        label = f"distilled[{name!r}]"
        array = as_points(label, values)
        if array.shape[1] != points.shape[1]:
            raise fail(
                label,
                f"have the {points.shape[1]} features of real",
                as_text(f"shape {array.shape}"),
                "Make both with the same network.",
            )
        sets[name] = array.astype(np.float64) - centre
    return points.astype(np.float64) - centre, sets


def _centred(points: np.ndarray) -> np.ndarray:
    """Return points around their mean, in float64."""
    return points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)


def _perplexity(name: str, value: float, most: float) -> float:
    """Return a perplexity that the number of points allows."""
    number = check_number(name, value, at_least=1)
    if number > most:
        raise fail(
            name,
            f"be at most {most:.4g} with this many points",
            number,
            "Lower it or take more real points.",
        )
    return number


def _neighbours(count: int, neighbours: int) -> int:
    """Return the k of a trustworthiness over ``count`` points."""
    k = check_integer("neighbours", neighbours)
    if 2 * k >= count:
        raise fail("neighbours", f"be below half of the {count} points", k)
    return k


def _settings(
    count: int, iterations: int, seed: int, neighbours: int
) -> tuple[int, int, int]:
    """Return the checked iterations, seed and k."""
    steps = check_integer("iterations", iterations, minimum=_EARLY + 1)
    start = check_seed("seed", seed)
    if start > _LARGEST_SEED:
        raise fail("seed", f"be at most {_LARGEST_SEED}", start)
    return steps, start, _neighbours(count, neighbours)


def _reduce(
    points: np.ndarray,
    sets: dict[str, np.ndarray],
    components: int | None,
    seed: int,
    *,
    joint: bool,
) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Return all points on leading principal components, and the variance in them."""
    base = np.concatenate([points, *sets.values()]) if joint else points
    if components is not None:
        components = check_integer("components", components, minimum=2)
    if components is None or components >= base.shape[1]:
        return points, sets, 1.0
    from sklearn.decomposition import PCA

    count = min(components, len(base))
    axes = PCA(n_components=count, random_state=seed).fit(base)
    placed = {name: axes.transform(values) for name, values in sets.items()}
    kept = min(float(axes.explained_variance_ratio_.sum()), 1.0)
    return axes.transform(points), placed, kept


def _one_thread() -> AbstractContextManager[object]:
    """Return a context in which BLAS and OpenMP run on one thread.

    Sums over threads come in the order in which the threads end, so more than one can
    change the last digit, and t-SNE magnifies it.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
