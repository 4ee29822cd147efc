"""Figure 7: the algorithm as a drawing, with a real pair, its segment and its mean.

``segment_table`` and ``draw_segment`` show any segment of the pair, with the running mean
of sampled losses beside the closed form.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from isa_toolkit import checks
from isa_toolkit.analysis import ranking
from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.figures import information
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, log_scale
from isa_toolkit.figures.variants import Variant

_DROP_EASY = 0.2
_BATCH = 1024
_DRAWS = 10_000
_SEGMENT = (-1.0, 0.0)
_COLUMNS = ("kind", "x", "y", "kept", "pixels", "label", "t", "loss")
_KEPT, _DROPPED, _PAIR = "#0072B2", "#bbbbbb", "#D55E00"


class Batch(NamedTuple):
    """Real images with features and residuals, from which pairs are chosen.

    features: Features of the images, [n, d].
    residuals: Prediction minus label, [n, c].
    scores: Half the squared residual of each, [n].
    kept: Whether each image is kept, [n].
    images: Pixels in [0, 255], [n, h, w, ch].
    labels: Names of their classes, [n].
    """

    features: np.ndarray
    residuals: np.ndarray
    scores: np.ndarray
    kept: np.ndarray
    images: np.ndarray
    labels: np.ndarray


class Pair(NamedTuple):
    """Two kept images of a batch, and the plane of feature space that contains them.

    batch: Batch that the pair is of.
    indices: Indices of both in the batch.
    points: Coordinates of the whole batch in that plane, [n, 2].
    """

    batch: Batch
    indices: tuple[int, int]
    points: np.ndarray


# --- numbers ----------------------------------------------------------------------------


def compute(study: Study, images_per_class: int = 1) -> pd.DataFrame:
    """Return a real pair, its position in feature space, and its loss along the segment.

    A batch of real images is scored by the ISA set of seed 0, in features of a network
    trained on real images; the easiest 20 % are dropped. The pair is the kept sample whose
    score is nearest to the median of those with a partner of another class, and its
    nearest kept sample by cosine. The segment (-1, 0) leads from the partner to the
    sample, as the paper's text says.

    Returns:
        The table of :func:`segment_table`; empty if there is no such run.

    Source: the paper, section C; docs/algorithms.md, section 6.1.
    """
    batch = find_batch(study, images_per_class)
    if batch is None:
        return pd.DataFrame()
    table = segment_table(pair_of(batch), _SEGMENT, samples=_DRAWS)
    return table.assign(dataset=study.dataset.name, images_per_class=images_per_class)


def find_batch(
    study: Study,
    images_per_class: int = 1,
    *,
    drop_easy: float = _DROP_EASY,
    seed: int = 0,
) -> Batch | None:
    """Return a scored batch of real images, or None if there is no such run.

    ``drop_easy`` is the fraction of the batch to drop, and ``seed`` that of the ISA set and
    of the batch.
    """
    variant = Variant("isa")
    run = check_study(study).runs([variant], images_per_class).get((variant, seed))
    if run is None:
        return None
    dataset, distilled = study.dataset, run.distilled
    labels = dataset.targets("train")
    chosen = np.random.default_rng(seed).choice(
        len(labels), min(_BATCH, len(labels)), replace=False
    )
    real = study.real_features()[chosen].astype(np.float64)
    predicted = information.predictions(study.feature_network(), distilled, real)
    residual = predicted - labels[chosen]
    scores = 0.5 * np.square(residual).sum(1)
    return Batch(
        features=real,
        residuals=residual,
        scores=scores,
        kept=ranking.kept(scores, drop_easy=drop_easy),
        images=dataset.train.images[chosen],
        labels=np.array(dataset.class_names)[dataset.train.labels[chosen]],
    )


@typed
def pair_of(batch: Batch, sample: int | None = None, *, partner: int = 1) -> Pair:
    """Return a kept sample of a batch with its partner.

    Args:
        batch: Scored real images, at least two of them kept.
        sample: Index of the sample in the batch; None for that of :func:`compute`.
        partner: Rank of the partner among the other kept samples: 1 for the nearest one by
            cosine, as in a run, 2 for the next nearest.

    Raises:
        InvalidValueError: The sample is not kept, or there is no such partner.
    """
    kept = np.flatnonzero(batch.kept)
    lengths = np.linalg.norm(batch.features, axis=1, keepdims=True)
    unit = batch.features / np.where(lengths, lengths, 1)
    if sample is None:
        sample = _middle(batch, unit, kept)
    elif sample not in kept:
        raise checks.fail("sample", "be the index of a kept sample", sample)
    checks.check_integer("partner", partner)
    others = kept[kept != sample]
    if partner > len(others):
        raise checks.fail("partner", f"be at most {len(others)}", partner)
    nearest = np.argsort(-(unit[others] @ unit[sample]), kind="stable")
    both = int(sample), int(others[nearest[partner - 1]])
    return Pair(batch, both, _plane(batch.features, *both))


@typed
def segment_table(
    pair: Pair, segment: tuple[float, float], *, samples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return a pair and its loss along a segment.

    ``segment`` has the ends (a, b), in steps away from the partner; at least 2 ``samples``
    of t are drawn uniformly from it.

    Returns:
        Rows of several kinds (column ``kind``): "image" (``index`` 0 and 1, ``label``,
        ``score``, ``pixels``), "point" (``x``, ``y`` in the plane through the pair,
        ``kept``), "end" (``index``, ``x``, ``y``), "virtual" (``x``, ``y`` along the
        segment), "curve" (``t``, ``loss``), "mean" (``loss``: the closed form;
        ``sampled``: the mean over the samples) and "running" (``n``; ``loss``, the mean
        over the first n samples; ``error``, its standard error from these samples).
    """
    batch, both = pair.batch, list(pair.indices)
    here, there = ends = pair.points[both]
    residual = batch.residuals[both[0]]
    difference = residual - batch.residuals[both[1]]
    start, stop = segment
    steps, curve = np.linspace(start, stop, 9), np.linspace(start, stop, 101)
    virtual = here + steps[:, None] * (here - there)
    draws = np.random.default_rng(seed).uniform(start, stop, samples)
    losses = _loss(residual, difference, draws)
    count = np.arange(1, samples + 1)
    mean = np.cumsum(losses) / count
    square = np.maximum(np.cumsum(losses**2) / count - mean**2, 0)
    shown = np.unique(np.geomspace(2, samples, 60).astype(int)) - 1
    parts = {
        "image": {
            "index": [0, 1], "label": batch.labels[both].astype(object),
            "score": batch.scores[both],
            "pixels": list(batch.images[both].astype(np.float32) / 255),
        },
        "point": {"x": pair.points[:, 0], "y": pair.points[:, 1], "kept": batch.kept},
        "end": {"index": [0, 1], "x": ends[:, 0], "y": ends[:, 1]},
        "virtual": {"t": steps, "x": virtual[:, 0], "y": virtual[:, 1]},
        "curve": {"t": curve, "loss": _loss(residual, difference, curve)},
        "mean": {
            "t": [start], "sampled": [losses.mean()],
            "loss": [_closed_form(residual, difference, start, stop)],
        },
        "running": {
            "n": count[shown], "loss": mean[shown],
            "error": np.sqrt(square[shown] / (count[shown] - 1)),
        },
    }  # fmt: skip
    tables = [pd.DataFrame(part).assign(kind=kind) for kind, part in parts.items()]
    return pd.concat(tables, ignore_index=True).assign(start=start, stop=stop)


def _middle(batch: Batch, unit: np.ndarray, kept: np.ndarray) -> int:
    """Return the sample of median score whose partner is of another class, if any is."""
    similarity = unit[kept] @ unit[kept].T
    np.fill_diagonal(similarity, -np.inf)
    partner = kept[similarity.argmax(1)]
    candidates = kept[batch.labels[kept] != batch.labels[partner]]
    if len(candidates) == 0:
        candidates = kept
    scores = batch.scores[candidates]
    return int(candidates[np.abs(scores - np.median(scores)).argmin()])


def _loss(a: np.ndarray, b: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return 1/2 sum_c (A + t B)_c^2 at every position, [t]."""
    return 0.5 * np.square(a + positions[:, None] * b).sum(1)


def _closed_form(a: np.ndarray, b: np.ndarray, start: float, stop: float) -> float:
    """Return the mean of the loss over t in [start, stop]."""
    square = (start**2 + start * stop + stop**2) / 3
    return float(0.5 * (a @ a + (start + stop) * (a @ b) + square * (b @ b)))


def _plane(real: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return coordinates in the plane of the pair and the direction of most variance."""
    from scipy.sparse.linalg import svds

    along = real[second] - real[first]
    along = along / max(np.linalg.norm(along), 1e-12)
    centred = real - real[first]
    rest = centred - np.outer(centred @ along, along)
    rest = rest - rest.mean(0)
    # One direction of many: far cheaper than all of them.
    across = np.asarray(svds(rest, k=1, v0=np.ones(min(rest.shape)))[2])[0]
    return np.stack([centred @ along, centred @ across], axis=1)


# --- drawing ----------------------------------------------------------------------------


@takes_table(_COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    mean = table[table.kind == "mean"].iloc[0]
    return (
        f"{mean.dataset}: (a) one step of the algorithm. (b) A "
        f"batch of {(table.kind == 'point').sum()} real images in the plane of feature space "
        "that contains the pair; the easiest 20 % are dropped. (c) The loss at "
        f"virtual samples along the segment [{mean.start:g}, {mean.stop:g}]; its mean is "
        f"{mean.loss:.4f} in closed form, and {mean.sampled:.4f} over 10,000 sampled values "
        "of t."
    )


@takes_table(_COLUMNS)
def caption_segment(table: pd.DataFrame) -> str:
    """Return the caption of ``draw_segment``, from the table of ``segment_table``."""
    exact = table[table.kind == "mean"].iloc[0]
    last = table[table.kind == "running"].iloc[-1]
    return (
        f"Segment [{exact.start:g}, {exact.stop:g}]: mean loss {exact.loss:.5f} in closed "
        f"form; {last.loss:.5f} ± {last.error:.5f} (standard error) over {int(last.n):,} "
        "sampled values of t."
    )


@drawing({"aa": 1.3, "bc": 2.7}, caption=caption, columns=_COLUMNS)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the algorithm, the pair in feature space, and the loss between."""
    algorithm, plane, curve = panels
    _draw_algorithm(algorithm, per_row=3 if panels.stacked else 6)
    _draw_plane(plane, table)
    _draw_curve(curve, table)


@drawing({"abc": 2.9}, caption=caption_segment, columns=_COLUMNS, size=(9.4, 2.9))
def draw_segment(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the pair in its plane, the loss along the segment, and the running mean."""
    plane, curve, means = panels
    _draw_plane(plane, table)
    _draw_curve(curve, table)
    running = table[table.kind == "running"]
    exact = table[table.kind == "mean"].iloc[0].loss
    means.plot(running.n, running.loss, color=_PAIR, label="mean of n samples")
    means.fill_between(
        running.n, running.loss - running.error, running.loss + running.error,
        color=_PAIR, alpha=0.15, lw=0, label="its standard error",
    )  # fmt: skip
    means.axhline(exact, color="black", lw=1.2, ls="--", label="closed form")
    log_scale(means.xaxis)
    means.set_xlabel("n uniform values of t in the segment")
    means.set_ylabel("mean half squared error")
    means.legend(loc="upper right", fontsize=7)


# Text and colour of each box.
_BOXES = (
    ("real batch\n$X_T, Y_T$", "#eeeeee"),
    ("features by\na pool network\n$z = \\phi_\\theta(x)$", "#dce9f5"),
    ("ridge readout\nof the\ndistilled set", "#dce9f5"),
    ("drop the\neasiest $20\\,\\%$\n(crucial samples)", "#fbe8cc"),
    ("mean loss over\nthe segment to\nthe partner (ISA)", "#f9dcc9"),
    ("step\n$X_S, Y_S$", "#d9efe6"),
)


def _draw_algorithm(ax: Axes, *, per_row: int) -> None:
    """Draw one outer and one inner step as boxes and arrows; a second row goes back."""
    is_narrow = per_row < len(_BOXES)
    size = 6 if is_narrow else 7
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_axis_off()
    boxes = []
    for index, (text, colour) in enumerate(_BOXES):
        row, column = divmod(index, per_row)
        column = per_row - 1 - column if row % 2 else column
        box = ax.text(
            (column + 0.5) / per_row, (0.85, 0.45)[row] if is_narrow else 0.78, text,
            ha="center", va="center", fontsize=size,
            bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "#888888", "lw": 0.7},
        )  # fmt: skip
        boxes.append(box)
    inner = "arc3" if is_narrow else "bar,angle=180,fraction=-0.08"
    arrows = [*itertools.pairwise(boxes), (boxes[-1], boxes[1])]
    for start, end in arrows:
        ax.annotate(
            "", end.get_position(), start.get_position(),
            arrowprops={
                "arrowstyle": "->", "color": "#555555", "lw": 1,
                "shrinkA": 1, "shrinkB": 1,
                "patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch(),
                "connectionstyle": inner if start is boxes[-1] else "arc3",
            },
        )  # fmt: skip
    lines = (
        "inner loop: train that network one step on the distilled set,",
        "or draw a new one past its age",
    )
    ax.text(
        0.5, 0 if is_narrow else 0.2, ("\n" if is_narrow else " ").join(lines),
        ha="center", va="bottom", fontsize=size, color="#333333",
    )  # fmt: skip


def _draw_plane(ax: Axes, table: pd.DataFrame) -> None:
    points = table[table.kind == "point"]
    for is_kept, colour, name in ((False, _DROPPED, "dropped"), (True, _KEPT, "kept")):
        mine = points[points.kept == is_kept]
        ax.scatter(mine.x, mine.y, s=5, color=colour, alpha=0.5, lw=0, label=name)
    ends = table[table.kind == "end"].sort_values("index")
    virtual = table[table.kind == "virtual"]
    ax.plot(virtual.x, virtual.y, "o-", color=_PAIR, ms=3, lw=1.2, label="virtual")
    ax.plot(ends.x, ends.y, "o", color=_PAIR, ms=6, mec="black", mew=0.7, zorder=4)
    images = table[table.kind == "image"].sort_values("index")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.16 * (high - low), high + 0.5 * (high - low))
    for x, (_, image), (_, end) in zip(
        (0.3, 0.7), images.iterrows(), ends.iterrows(), strict=True
    ):
        pixels = image.pixels
        gray = pixels.shape[-1] == 1
        shown = OffsetImage(
            1 - pixels.squeeze() if gray else pixels,
            zoom=26 / pixels.shape[0],
            cmap="gray",
            norm=None,
            interpolation="nearest",
        )
        shown.image.set_clim(0, 1)
        box = AnnotationBbox(
            shown, (end.x, end.y), xybox=(x, 0.86), boxcoords="axes fraction",
            pad=0.15, arrowprops={"arrowstyle": "-", "color": "#666666", "lw": 0.6},
        )  # fmt: skip
        ax.add_artist(box)
        side, align = (-0.11, "right") if x < 0.5 else (0.11, "left")
        ax.text(
            x + side, 0.86, f"$x_{int(end['index']) + 1}$\n{image.label}",
            transform=ax.transAxes, ha=align, va="center", fontsize=7.5,
        )  # fmt: skip
    ax.set_xlabel("along $z_1 - z_2$")
    ax.set_ylabel("most variance across it")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.legend(loc="lower center", ncols=3, fontsize=7, markerscale=1.5)


def _draw_curve(ax: Axes, table: pd.DataFrame) -> None:
    curve = table[table.kind == "curve"]
    mean = table[table.kind == "mean"].iloc[0]
    ax.plot(curve.t, curve.loss, color=_PAIR, label="loss at one virtual point")
    ax.fill_between(curve.t, curve.loss, color=_PAIR, alpha=0.12, lw=0)
    ax.axhline(
        mean.loss, color="black", lw=1.2, ls="--",
        label="its mean, in closed form",
    )  # fmt: skip
    ax.set_ylim(0, 1.75 * curve.loss.max())
    ax.set_xlabel("$t$ of $z_1 + t\\,(z_1 - z_2),\\; y_1 + t\\,(y_1 - y_2)$")
    ax.set_ylabel("half squared error")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.84), fontsize=7)
    ax.text(
        0.03, 0.97,
        r"$\frac{1}{2}\sum_c A^2 + (a+b)AB + \frac{a^2+ab+b^2}{3}B^2$"
        "\n$A$: residual at $x_1$;  $B = A_1 - A_2$",
        transform=ax.transAxes, va="top", fontsize=7.5,
    )  # fmt: skip
