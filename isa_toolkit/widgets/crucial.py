"""Panel of crucial samples: which samples are dropped, and the accuracy after that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import ipywidgets
import numpy as np

from isa_toolkit.analysis import ranking
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import fig5, score_histogram
from isa_toolkit.figures.information import scores
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import (
    BackgroundTask,
    interval_rows,
    run_buttons,
    size_dropdown,
)
from isa_toolkit.widgets.panel import Panel

_SHOWN = 10
# Low resolution: the histogram is drawn at each move of a slider.
_DPI = 130
_WIDTH = "590px"
_ROWS = {
    "easiest": "Easiest, the easiest first",
    "easy_cut": "At the easy cut: the left half is dropped",
    "hard_cut": "At the hard cut: the right half is dropped",
    "hardest": "Hardest, the hardest first",
}


def CrucialSamples(
    study: Study, *, distilled: DistilledSet | None = None, seed: int = 0
) -> Panel:
    """Return the panel of discard ratios: the dropped samples at once, accuracies on *Run*.

    The real training images are scored once, by the ridge predictor of a distilled set on
    features of a network trained on real images; the sliders only select. *Run* distils
    and evaluates plain FRePo and the chosen fractions, each end by itself and with every
    seed; fractions of earlier runs stay in the comparison. *Figure 5* runs all fractions of
    that figure.

    Args:
        study: Study with the data and the runs.
        distilled: Distilled set that scores the samples; None for the study's FRePo set of
            ``seed`` at its smallest size, which is distilled if it is missing.
        seed: Seed of that set.

    Returns:
        The panel; ``panel.scores`` holds the scores (large is hard), [n].

    Raises:
        ValueError: The study has no such set and may not distil one.

    Source: the paper, section B; docs/algorithms.md, sections 6.1 and 6.2.
    """
    model = _Crucial(study, _scoring_set(study, distilled, seed))
    controls: dict[str, ipywidgets.Widget] = {
        "drop_easy": layout.slider(
            "Drop easy, fraction", 0.2, min=0, max=0.9, step=0.01,
            help="Fraction of the images to drop from the easy end",
        ),
        "drop_hard": layout.slider(
            "Drop hard, fraction", 0.0, min=0, max=0.9, step=0.01,
            help="Fraction of the images to drop from the hard end",
        ),
        "images_per_class": size_dropdown(study, study.sizes[0]),
        "seeds": layout.int_slider(
            "Seeds", len(study.seed_range), min=1, max=max(10, len(study.seed_range)),
            help="Number of distilled sets per setting; intervals are over them",
        ),
        **run_buttons(),
        "figure5": layout.button(
            "Figure 5", icon="bar-chart",
            help="Run 10, 20 and 30 % from either end",
        ),
        "clear": layout.button(
            "Clear", icon="eraser", help="Clear the comparison"
        ),
    }  # fmt: skip
    panel = Panel(
        "Crucial samples",
        about="Move the sliders to see what is dropped; press Run to see the accuracy.",
        controls=controls,
        groups=[
            ["drop_easy", "drop_hard"],
            ["images_per_class", "seeds"],
            ["run", "stop", "figure5", "clear"],
        ],
        outputs={
            "histogram": layout.image(_WIDTH),
            "classes": layout.text(),
            **{name: layout.image("auto") for name in _ROWS},
            **{f"{name}_caption": layout.text() for name in _ROWS},
            "caption": layout.text(),
            "comparison": layout.image(),
            "table": layout.text(),
            "compared": layout.text(),
        },
        update=model.update,
        actions={
            "run": model.on_run, "stop": model.task.stop, "figure5": model.on_figure5,
            "clear": model.on_clear,
        },
        arrange=_arrange,
        model=model,
    )  # fmt: skip
    panel.refresh()
    return panel


def _scoring_set(
    study: Study, distilled: DistilledSet | None, seed: int
) -> DistilledSet:
    if distilled is not None:
        return distilled
    variant = Variant("frepo")
    found = study.runs([variant], study.sizes[0])
    if (variant, seed) not in found:
        raise InvalidValueError(
            f"The study must hold the FRePo set of seed {seed}, got none in "
            f"{study.folder}. Give a distilled set, or let run_missing be True."
        )
    return found[variant, seed].distilled


def _arrange(outputs: Mapping[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    left = layout.column([outputs["histogram"], outputs["caption"]], width=_WIDTH)
    right = layout.column([outputs["classes"]], width="385px")
    upper = layout.flow([left, right])
    strips = layout.flow(
        layout.column([outputs[f"{name}_caption"], outputs[name]]) for name in _ROWS
    )
    lower = layout.flow([outputs["comparison"], outputs["table"]])
    return layout.column([upper, strips, lower, outputs["compared"]])


@final
class _Crucial:
    """Scores, the fractions that are compared, and their table."""

    def __init__(self, study: Study, distilled: DistilledSet) -> None:
        self.task = BackgroundTask(study)
        self.dataset = study.dataset
        self.scores = scores(
            study.feature_network(),
            distilled,
            study.real_features(),
            self.dataset.targets("train"),
        )
        self.easy: set[float] = set()
        self.hard: set[float] = set()
        self._drawn: tuple[Any, bytes] | None = None
        self._ends: dict[str, bytes] = {}

    @property
    def tables(self) -> dict[Any, Any]:
        return self.task.tables

    def on_run(self, panel: Panel) -> None:
        """Compare the fractions of the sliders, and those compared before."""
        values = panel.values
        easy, hard = round(values["drop_easy"], 2), round(values["drop_hard"], 2)
        if not easy and not hard:
            raise InvalidValueError(
                "drop_easy or drop_hard must be above 0 to compare with plain FRePo, "
                "got 0 for both."
            )
        self.easy |= {easy} - {0.0}
        self.hard |= {hard} - {0.0}
        self._start(panel)

    def on_figure5(self, panel: Panel) -> None:
        """Compare the fractions of Figure 5, and those compared before."""
        self.easy |= set(fig5.RATIOS)
        self.hard |= set(fig5.RATIOS)
        self._start(panel)

    def on_clear(self, panel: Panel) -> None:
        """Clear the comparison; runs stay in their folder."""
        self.easy, self.hard = set(), set()
        panel.refresh()

    def _key(self, values: Mapping[str, Any]) -> Any:
        fractions = (tuple(sorted(self.easy)), tuple(sorted(self.hard)))
        return (*fractions, values["images_per_class"], values["seeds"])

    def _start(self, panel: Panel) -> None:
        easy, hard, size, seeds = key = self._key(panel.values)
        self.task.start(
            panel,
            key,
            lambda study: fig5.compute(study, size, easy=easy, hard=hard),
            seeds=seeds,
        )

    def update(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the selection, and the comparison if there is one."""
        easy, hard = values["drop_easy"], values["drop_hard"]
        if easy + hard >= 1:
            raise InvalidValueError(
                f"drop_easy + drop_hard must be below 1, got {easy + hard:.2f}. "
                "Something must be left to learn from."
            )
        table = score_histogram.compute(self.scores, drop_easy=easy, drop_hard=hard)
        return {
            "histogram": png(score_histogram.draw(table), dpi=_DPI),
            "caption": layout.caption(score_histogram.caption(table)),
            "classes": self._classes(easy, hard),
            **self._images(easy, hard),
            **self._comparison(values),
        }

    def _images(self, easy: float, hard: float) -> dict[str, Any]:
        count = min(_SHOWN, len(self.scores))
        if not self._ends:  # they do not depend on the sliders
            self._ends = {
                "easiest": self._strip(ranking.easiest(self.scores, count)),
                "hardest": self._strip(ranking.hardest(self.scores, count)),
            }
        made: dict[str, Any] = dict.fromkeys(_ROWS, layout.BLANK) | self._ends
        for end, fraction in _ends(easy, hard).items():
            near = ranking.borderline(self.scores, count, fraction=fraction, end=end)
            made[f"{end}_cut"] = self._strip(near)
        for name, text in _ROWS.items():
            is_blank = made[name] == layout.BLANK
            made[f"{name}_caption"] = "" if is_blank else layout.note(text)
        return made

    def _strip(self, indices: np.ndarray) -> bytes:
        return layout.images_png([self.dataset.train.images[indices]], side=40)

    def _classes(self, easy: float, hard: float) -> str:
        tables = {
            end: score_histogram.composition(
                self.scores, self.dataset, fraction=fraction, end=end
            )
            for end, fraction in _ends(easy, hard).items()
        }
        if not tables:
            return layout.note("Nothing is dropped.")
        heads, names = ["class"], next(iter(tables.values())).label
        rows: list[list[Any]] = [[name] for name in names]
        for end, table in tables.items():
            heads += [f"{end},\N{NO-BREAK SPACE}%", ""]
            for row, percent in zip(rows, table.dropped_percent, strict=True):
                row += [f"{percent:.0f}", layout.bar(percent / 100)]
        notes = "; ".join(
            f"{table.expected_percent[0]:.0f} % from the {end} end (chi-square p = "
            f"{table.p_value[0]:.2g})"
            for end, table in tables.items()
        )
        text = f"Dropped fraction of each class. If classes did not matter: {notes}."
        return layout.table(heads, rows[:20]) + layout.caption(text)

    def _comparison(self, values: Mapping[str, Any]) -> dict[str, Any]:
        table = self.task.table(self._key(values))
        if table is None:
            text = "No comparison for these settings yet: press Run, or Figure 5."
            note = layout.note(text)
            return {"comparison": layout.BLANK, "table": "", "compared": note}
        heads = ["test accuracy, %", "mean", "95 %", "difference", "95 %", "seeds"]
        rows = interval_rows(table[table.predictor == "network"])
        return {
            "comparison": self._picture(table),
            "table": layout.table(heads, rows),
            "compared": layout.caption(fig5.caption(table)),
        }

    def _picture(self, table: Any) -> bytes:
        """Return the comparison as a PNG, cached while the sliders move."""
        if self._drawn is None or self._drawn[0] is not table:
            self._drawn = (table, png(fig5.draw(table)))
        return self._drawn[1]


def _ends(easy: float, hard: float) -> dict[ranking.End, float]:
    """Return the fraction to drop from each end that loses something."""
    ends: dict[ranking.End, float] = {"easy": easy, "hard": hard}
    return {end: fraction for end, fraction in ends.items() if fraction}
