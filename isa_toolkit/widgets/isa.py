"""Panel of infinite semantic augmentation: one pair, any segment, its exact mean."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

import ipywidgets

from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import fig7
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel

_SAMPLES = (10, 100, 1000, 10_000, 100_000)
_DPI = 130


def ISA(study: Study, *, images_per_class: int | None = None, seed: int = 0) -> Panel:
    """Return the panel of a real pair: the loss along a segment, and its mean.

    The segment (0, e) leads away from the partner, as in the released code; (-1, 0) leads to
    the partner, as in the paper's text; (t, t) is single-step feature mixing; (0, 0) is no
    augmentation. The study's ISA set of ``seed`` is distilled if it is missing.

    Args:
        study: Study with the data and the runs.
        images_per_class: Images per class of the distilled set; None for the study's
            smallest size.
        seed: Seed of the distilled set and of the batch of real images.

    Returns:
        The panel.

    Raises:
        ValueError: The study has no such set and may not distil one.

    Source: the paper, section C; docs/algorithms.md, sections 6.1 and 6.2.
    """
    size = study.sizes[0] if images_per_class is None else images_per_class

    @functools.cache
    def pair_of(partner: Literal["nearest", "random"], drop_easy: float) -> fig7.Pair:
        found = fig7.find_pair(
            study, size, partner=partner, drop_easy=drop_easy, seed=seed
        )
        if found is None:
            raise InvalidValueError(
                f"The study must hold the ISA set of seed {seed}, got none in "
                f"{study.folder}. Let run_missing be True."
            )
        return found

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        pair = pair_of(values["partner"], round(values["drop_easy"], 2))
        ends = (values["start"], values["stop"])
        if ends[0] > ends[1]:
            raise InvalidValueError(
                f"start must be at most stop, got {ends[0]:g} and {ends[1]:g}. The mean "
                "is the same the other way round."
            )
        table = fig7.segment_table(pair, ends, samples=values["samples"], seed=seed)
        return {
            "picture": png(fig7.draw_segment(table), dpi=_DPI),
            "caption": layout.caption(fig7.caption_segment(table)),
        }

    # Before any widget exists, so that the caller sees the error.
    pair_of("nearest", 0.2)
    controls: dict[str, ipywidgets.Widget] = {
        "start": layout.slider(
            "Segment, start a", -1.0, min=-1.5, max=1.5, step=0.05,
            help="Start of the segment; -1 is the partner itself",
        ),
        "stop": layout.slider(
            "Segment, end b", 0.0, min=-1.5, max=1.5, step=0.05,
            help="End of the segment; 0 is the sample itself",
        ),
        "samples": layout.dropdown(
            "Samples of t", 1000, options=[(f"{n:,}", n) for n in _SAMPLES],
            help="Number of virtual samples whose mean is compared with the closed form",
        ),
        "partner": layout.dropdown(
            "Partner", "nearest", options=fig7.PARTNERS,
            help="Nearest kept sample by cosine, or a random kept sample",
        ),
        "drop_easy": layout.slider(
            "Drop easy, fraction", 0.2, min=0, max=0.9, step=0.05,
            help="Fraction of the batch to drop before the partner search",
        ),
    }  # fmt: skip
    panel = Panel(
        "Infinite semantic augmentation",
        about="The mean over all virtual samples of a segment has a closed form.",
        controls=controls,
        groups=[["start", "stop"], ["samples", "partner", "drop_easy"]],
        outputs={"picture": layout.image("940px"), "caption": layout.text()},
        update=update,
    )
    panel.refresh()
    return panel
