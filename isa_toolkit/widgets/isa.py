"""Panel of infinite semantic augmentation: any pair, any segment, its exact mean."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from isa_toolkit.annotations import typed
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import fig7
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout, pictures
from isa_toolkit.widgets.charts import SegmentChart
from isa_toolkit.widgets.panel import Panel

# Sampled points of the segment, beside whose mean the closed form stands.
_SAMPLES = 10_000


@typed
def ISA(study: Study, *, images_per_class: int | None = None, seed: int = 0) -> Panel:
    """Return the panel of a real pair: the loss along a segment, and its mean.

    Click a sample in the plane to choose it, and *k-th partner* for the nearest, the next
    nearest, ... kept sample. The segment (0, e) leads away from the partner, as in the
    released code; (-1, 0) leads to the partner, as in the paper's text; (t, t) is
    single-step feature mixing; (0, 0) is no augmentation. The study's ISA set of ``seed`` is
    distilled if it is missing.

    Args:
        study: Study with the data and the runs.
        images_per_class: Images per class of the distilled set; None for the study's
            smallest size.
        seed: Seed of the distilled set and of the batch of real images.

    Returns:
        The panel; ``panel.segment.value`` holds the ends of the segment, and
        ``panel.pair`` the pair.

    Raises:
        ValueError: The study has no such set and may not distil one.

    Source: the paper, section C; docs/algorithms.md, sections 6.1 and 6.2.
    """
    size = study.sizes[0] if images_per_class is None else images_per_class

    @functools.cache
    def batch_of(drop_easy: float) -> fig7.Batch:
        found = fig7.find_batch(study, size, drop_easy=drop_easy, seed=seed)
        if found is None:
            raise InvalidValueError(
                f"The study must hold the ISA set of seed {seed}, got none in "
                f"{study.folder}. Let run_missing be True."
            )
        return found

    # Before any widget exists, so that the caller sees the error.
    model = SimpleNamespace(pair=fig7.pair_of(batch_of(0.2)), chosen=None)
    draws = np.random.default_rng(seed).uniform(0, 1, _SAMPLES)
    chart = SegmentChart(value=(-1.0, 0.0), draws=draws.astype(np.float32).tobytes())

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        start, stop = values["segment"]
        if start > stop:
            raise InvalidValueError(
                f"start must be at most stop, got {start:g} and {stop:g}. The mean "
                "is the same the other way round."
            )
        batch = batch_of(round(values["drop_easy"], 2))
        # A sample that is dropped now is replaced by that of the figure.
        sample = (
            chart.picked if chart.picked >= 0 and batch.kept[chart.picked] else None
        )
        wanted = (round(values["drop_easy"], 2), sample, values["partner"])
        if wanted != model.chosen:
            model.pair = fig7.pair_of(batch, sample, partner=values["partner"])
            model.chosen = wanted
            chart.data = _for_browser(model.pair)
        table = fig7.segment_table(
            model.pair, (start, stop), samples=_SAMPLES, seed=seed
        )
        return {"caption": layout.caption(fig7.caption_segment(table))}

    def still() -> bytes:
        table = fig7.segment_table(model.pair, chart.value, samples=_SAMPLES, seed=seed)
        return png(fig7.draw_segment(table))

    panel = Panel(
        "Infinite semantic augmentation",
        about="The mean over all virtual samples of a segment has a closed form. Drag its "
        "ends a and b; click a sample to choose it.",
        controls={
            "segment": chart,
            "partner": layout.int_field(
                "k-th partner", 1, min=1, max=1000,
                help="1: the nearest other kept sample by cosine, as in a run",
            ),
            "drop_easy": layout.slider(
                "Drop easy", 0.2, min=0, max=0.9, step=0.05,
                help="Fraction of the batch to drop before the partner search",
            ),
        },
        groups=[["partner", "drop_easy"]],
        outputs={"caption": layout.text()},
        update=update,
        arrange=lambda outputs: layout.column([chart, outputs["caption"]]),
        model=model,
        still=still,
    )  # fmt: skip
    chart.observe(panel.follow, "picked")
    panel.refresh()
    return panel


def _for_browser(pair: fig7.Pair) -> dict[str, Any]:
    """Return what the chart of a pair needs to draw any segment of it."""
    batch, both = pair.batch, list(pair.indices)
    here, there = batch.residuals[both]
    difference = here - there
    return {
        "points": np.round(pair.points, 5).tolist(),
        "kept": batch.kept.tolist(),
        "pair": both,
        "aa": float(here @ here),
        "ab": float(here @ difference),
        "bb": float(difference @ difference),
        "images": [
            {
                "source": pictures.source(batch.images[index]),
                "label": str(batch.labels[index]),
                "score": float(batch.scores[index]),
            }
            for index in both
        ],
    }
