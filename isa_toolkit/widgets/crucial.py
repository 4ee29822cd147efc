"""Panel of crucial samples: which samples are dropped, and the accuracy after that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, final

import ipywidgets
import numpy as np
from markupsafe import Markup

from isa_toolkit.analysis import ranking
from isa_toolkit.annotations import typed
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import fig5, samples, score_histogram
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import layout, pictures
from isa_toolkit.widgets.charts import CutHistogram
from isa_toolkit.widgets.compute_panel import (
    BackgroundTask,
    run_buttons,
    size_dropdown,
    summary_table,
)
from isa_toolkit.widgets.panel import Panel

_SHOWN = 10
# Of the easy, the hard and the kept samples, as in the histogram; on GitHub there is no CSS.
_COLOURS = (
    "var(--isa-easy, #e69f00)", "var(--isa-hard, #009e73)", "var(--isa-kept, #0072b2)",
)  # fmt: skip
_ENDS: tuple[ranking.End, ...] = ("easy", "hard")


@typed
def CrucialSamples(
    study: Study,
    *,
    distilled: DistilledSet | None = None,
    networks: int = samples.NETWORKS,
) -> Panel:
    """Return the panel of discard ratios: the dropped samples at once, accuracies on *Run*.

    The real training images are scored once, as in a run: by ridge regression on a distilled
    set, in features of networks that are trained on that set; scores are means over sets and
    networks. The handles of the histogram only select. *Run* distils and evaluates plain
    FRePo and the chosen fractions, each end by itself and with every seed; fractions of
    earlier runs stay in the comparison. *Figure 5* runs all fractions of that figure.

    Args:
        study: Study with the data and the runs.
        distilled: Distilled set that scores the samples; None for the study's FRePo sets of
            all seeds at its smallest size, which are distilled if they are missing.
        networks: Number of networks that are trained on each set.

    Returns:
        The panel; ``panel.scores`` holds the scores (large is hard), [n], and
        ``panel.drop.value`` the fractions to drop from the easy and from the hard end.

    Raises:
        ValueError: The study has no such set and may not distil one.

    Source: the paper, section B; docs/algorithms.md, sections 6.1 and 6.2.
    """
    sets = _scoring_sets(study) if distilled is None else [distilled]
    model = _Crucial(study, sets, networks)
    controls: dict[str, ipywidgets.Widget] = {
        "drop": CutHistogram(value=(0.2, 0.0)),
        "within": layout.checkbox(
            "Rank within class", False,
            help="Rank each image among those of its class, so that all classes lose alike",
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

    def arrange(outputs: Mapping[str, ipywidgets.Widget]) -> ipywidgets.Widget:
        chosen = [controls["drop"], outputs["images"], outputs["caption"]]
        left, right = layout.column(chosen), layout.column(
            [outputs["comparison"], outputs["table"], outputs["compared"]]
        )  # fmt: skip
        left.layout.flex, right.layout.flex = "3 1 680px", "2 1 420px"
        return layout.flow([left, right])

    panel = Panel(
        "Crucial samples",
        about="Drag the lines to see what is dropped; press Run to see the accuracy.",
        controls=controls,
        groups=[
            ["images_per_class", "seeds", "within"],
            ["run", "stop", "figure5", "clear"],
        ],
        outputs={
            "images": layout.text(),
            "caption": layout.text(),
            "comparison": layout.image(),
            "table": layout.text(),
            "compared": layout.text(),
        },
        update=lambda values: model.update(panel, values),
        actions={
            "run": model.on_run, "stop": model.stop, "figure5": model.on_figure5,
            "clear": model.on_clear,
        },
        arrange=arrange,
        model=model,
        still=lambda: model.still(panel.values),
    )  # fmt: skip
    panel.refresh()
    return panel


def _scoring_sets(study: Study) -> list[DistilledSet]:
    found = study.runs([Variant("frepo")], study.sizes[0])
    if not found:
        raise InvalidValueError(
            f"The study must hold a FRePo set, got none in {study.folder}. Give a "
            "distilled set, or let run_missing be True."
        )
    return [run.distilled for run in found.values()]


@final
class _Crucial(BackgroundTask):
    """Scores, the fractions that are compared, and their table."""

    def __init__(
        self, study: Study, sets: Sequence[DistilledSet], networks: int
    ) -> None:
        super().__init__(study)
        self.dataset = study.dataset
        self.scores = samples.mean_scores(study, sets, networks=networks)
        self._averaged = len(sets) * networks
        self._ranked = {
            False: self.scores,
            True: ranking.within_class(self.scores, self.dataset.train.labels),
        }
        self._drawn_within: bool | None = None
        self.easy: set[float] = set()
        self.hard: set[float] = set()
        self._drawn: tuple[Any, dict[str, Any]] | None = None
        self._sources: dict[int, str] = {}

    def on_run(self, panel: Panel) -> None:
        """Compare the fractions of the sliders, and those compared before."""
        easy, hard = (round(one, 2) for one in panel.values["drop"])
        if not easy and not hard:
            raise InvalidValueError(
                "A fraction to drop must be above 0 to compare with plain FRePo, got 0 "
                "for both ends. Drag a line of the histogram."
            )
        self._compare(panel, {easy} - {0.0}, {hard} - {0.0})

    def on_figure5(self, panel: Panel) -> None:
        """Compare the fractions of Figure 5, and those compared before."""
        self._compare(panel, fig5.RATIOS, fig5.RATIOS)

    def on_clear(self, panel: Panel) -> None:
        """Clear the comparison; runs stay in their folder."""
        self.easy, self.hard = set(), set()
        panel.refresh()

    def _key(self, values: Mapping[str, Any]) -> Any:
        fractions = (tuple(sorted(self.easy)), tuple(sorted(self.hard)))
        return (*fractions, values["images_per_class"], values["seeds"])

    def _compare(self, panel: Panel, *more: Iterable[float]) -> None:
        self.easy.update(more[0])
        self.hard.update(more[1])
        easy, hard, size, seeds = key = self._key(panel.values)
        compute = partial(fig5.compute, images_per_class=size, easy=easy, hard=hard)
        self.start(panel, key, compute, seeds=seeds)

    def update(self, panel: Panel, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the images at the cuts, and the comparison if there is one."""
        (easy, hard), within = values["drop"], values["within"]
        if min(easy, hard) < 0 or easy + hard >= 1:
            raise InvalidValueError(
                f"The fractions to drop must be at least 0 and below 1 together, got {easy:g} "
                f"from the easy end and {hard:g} from the hard end."
            )
        ranked = self._ranked[within]
        if within != self._drawn_within:
            panel.controls["drop"].data = score_histogram.for_browser(
                ranked, self.dataset
            )
            self._drawn_within = within
        return {
            "images": self._images(ranked, easy, hard),
            "caption": layout.caption(self._caption(ranked, easy, hard)),
            **self._comparison(values),
        }

    def still(self, values: Mapping[str, Any]) -> bytes:
        """Return the histogram as a PNG, for where no browser draws it."""
        easy, hard = values["drop"]
        table = score_histogram.compute(
            self._ranked[values["within"]], drop_easy=easy, drop_hard=hard
        )
        return png(score_histogram.draw(table))

    def _images(self, ranked: np.ndarray, easy: float, hard: float) -> str:
        count = min(_SHOWN, len(ranked))
        kept = ranking.kept(ranked, drop_easy=easy, drop_hard=hard)
        texts = {
            "easy": "At the easy cut: orange is dropped, blue is kept",
            "hard": "At the hard cut: blue is kept, green is dropped",
        }
        rows = [
            (texts[end], ranking.borderline(ranked, count, fraction=fraction, end=end))
            for end, fraction in zip(_ENDS, (easy, hard), strict=True)
            if fraction
        ]
        rows += [
            ("Easiest, the easiest first", ranking.easiest(ranked, count)),
            ("Hardest, the hardest first", ranking.hardest(ranked, count)),
        ]
        middle = ranking.order(ranked)[len(ranked) // 2]
        parts = np.where(ranked < ranked[middle], 0, 1)
        parts[kept] = 2
        return "".join(
            pictures.strip(
                text,
                (self._figure(int(index), _COLOURS[parts[index]]) for index in indices),
            )
            for text, indices in rows
        )

    def _figure(self, index: int, colour: str) -> Markup:
        train = self.dataset.train
        if index not in self._sources:
            self._sources[index] = pictures.source(train.images[index])
        name = self.dataset.class_names[train.labels[index]]
        text = f"class {name}, score {self.scores[index]:.3g}"
        return pictures.figure(self._sources[index], text, colour)

    def _caption(self, ranked: np.ndarray, easy: float, hard: float) -> str:
        means = f"Means of {self._averaged} networks, each trained on a distilled set."
        tests = [
            f"{end} {composition.expected_percent[0]:.0f} %: p = "
            f"{composition.p_value[0]:.2g}"
            for end, fraction in zip(_ENDS, (easy, hard), strict=True)
            if fraction
            for composition in [
                score_histogram.composition(
                    ranked, self.dataset, fraction=fraction, end=end
                )
            ]
        ]
        if not tests:
            return f"{means} Nothing is dropped."
        return (
            f"{means} Do all classes lose alike (dashed)? Chi-square test, "
            f"{'; '.join(tests)}. A run scores each batch anew."
        )

    def _comparison(self, values: Mapping[str, Any]) -> dict[str, Any]:
        table = self.table(self._key(values))
        if table is None:
            text = "No comparison for these settings yet: press Run, or Figure 5."
            shown: dict[str, Any] = {"comparison": layout.BLANK, "table": ""}
            if self._drawn is not None and (self.easy or self.hard):
                shown = dict.fromkeys(shown, layout.STALE)
            return {**shown, "compared": layout.note(text)}
        # Kept while the handles move.
        if self._drawn is None or self._drawn[0] is not table:
            shown = {
                "comparison": png(fig5.draw(table)),
                "table": summary_table(table, predictor="network"),
                "compared": layout.caption(fig5.caption(table)),
            }
            self._drawn = (table, shown)
        return self._drawn[1]
