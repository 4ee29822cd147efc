"""The panel of crucial samples: which are dropped, and what dropping them is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import ipywidgets
import numpy as np

from isa_toolkit.analysis import ranking
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.figures import fig5, score_histogram
from isa_toolkit.figures.images import ImageRow
from isa_toolkit.figures.information import scores
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import layout
from isa_toolkit.widgets import png as pictures
from isa_toolkit.widgets.compute_panel import Bench, interval_rows, run_buttons, sizes
from isa_toolkit.widgets.panel import Panel

__all__ = ["CrucialSamples"]

_SHOWN = 10
# Dots per inch of the histogram: it is drawn at each move of the slider.
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
    """Return the panel of discard ratios: what is dropped at once, its worth behind *Run*.

    The real training images are scored once, by the ridge predictor of a distilled set on
    features of a network trained on real images; the sliders only select. *Run* distils
    and evaluates plain FRePo and the chosen shares, each end by itself and with every seed;
    shares that were run before stay in the comparison. *Figure 5* runs all of its shares.

    Args:
        study: the data and the runs.
        distilled: the set that scores; None for the study's FRePo set of ``seed`` at its
            smallest size, which is distilled if it is missing.
        seed: of that set.

    Returns:
        The panel; ``panel.scores`` are the scores, large is hard, [n].

    Raises:
        ValueError: the study holds no such set, and makes none.

    Source: the paper, section B; algorithms 6.1 and 6.2.
    """
    model = _Crucial(study, _scoring_set(study, distilled, seed))
    controls: dict[str, ipywidgets.Widget] = {
        "drop_easy": layout.slider(
            "Drop easy, share", 0.2, low=0, high=0.9, step=0.01,
            help="Share of the images that is dropped from the easy end",
        ),
        "drop_hard": layout.slider(
            "Drop hard, share", 0.0, low=0, high=0.9, step=0.01,
            help="Share of the images that is dropped from the hard end",
        ),
        "images_per_class": sizes(study, study.sizes[0]),
        "seeds": layout.whole(
            "Seeds", len(study.seed_range), low=1, high=max(10, len(study.seed_range)),
            help="Distilled sets per setting; intervals are over them",
        ),
        **run_buttons(),
        "figure5": layout.button(
            "Figure 5", icon="bar-chart",
            help="Run 10, 20 and 30 % from either end",
        ),
        "clear": layout.button(
            "Clear", icon="eraser", help="Forget the shares that are compared"
        ),
    }  # fmt: skip
    panel = Panel(
        "Crucial samples",
        about="Turn the shares to see what is dropped; Run to see what that is worth.",
        controls=controls,
        groups=[
            ["drop_easy", "drop_hard"],
            ["images_per_class", "seeds"],
            ["run", "stop", "figure5", "clear"],
        ],
        shows={
            "histogram": layout.picture(_WIDTH),
            "classes": layout.text(),
            **{name: layout.picture("auto") for name in _ROWS},
            **{f"{name}_told": layout.text() for name in _ROWS},
            "caption": layout.text(),
            "comparison": layout.picture(),
            "table": layout.text(),
            "compared": layout.text(),
        },
        update=model.update,
        actions={
            "run": model.on_run, "stop": model.stop, "figure5": model.on_figure5,
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
        raise ValueError(
            f"The study must hold the FRePo set of seed {seed}, got none in "
            f"{study.folder}. Give a distilled set, or let run_missing be True."
        )
    return found[variant, seed].distilled


def _arrange(shows: Mapping[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    left = layout.column([shows["histogram"], shows["caption"]])
    left.layout.width = _WIDTH
    right = layout.column([shows["classes"]])
    right.layout.width = "385px"
    upper = layout.side_by_side([left, right])
    strips = layout.side_by_side(
        layout.column([shows[f"{name}_told"], shows[name]]) for name in _ROWS
    )
    lower = layout.side_by_side([shows["comparison"], shows["table"]])
    return layout.column([upper, strips, lower, shows["compared"]])


@final
class _Crucial:
    """Scores, the shares that are compared, and their table."""

    def __init__(self, study: Study, distilled: DistilledSet) -> None:
        self.bench = Bench(study)
        dataset = study.dataset
        self.dataset = dataset
        self.scores = scores(
            study.feature_network(),
            distilled,
            study.real_features(),
            dataset.targets("train"),
        )
        self.easy: set[float] = set()
        self.hard: set[float] = set()
        self._drawn: tuple[Any, bytes] | None = None
        self._ends: dict[str, bytes] = {}

    @property
    def tables(self) -> dict[Any, Any]:
        """Tables made so far."""
        return self.bench.tables

    def stop(self, panel: Panel) -> None:
        """Stop the comparison."""
        self.bench.stop(panel)

    def on_run(self, panel: Panel) -> None:
        """Compare the shares of the sliders, and those compared before."""
        values = panel.values
        easy, hard = round(values["drop_easy"], 2), round(values["drop_hard"], 2)
        if not easy and not hard:
            raise ValueError(
                "drop_easy or drop_hard must be above 0 to compare with plain FRePo, "
                "got 0 for both."
            )
        self.easy |= {easy} - {0.0}
        self.hard |= {hard} - {0.0}
        self._begin(panel)

    def on_figure5(self, panel: Panel) -> None:
        """Compare the shares of Figure 5, and those compared before."""
        self.easy |= set(fig5.RATIOS)
        self.hard |= set(fig5.RATIOS)
        self._begin(panel)

    def on_clear(self, panel: Panel) -> None:
        """Forget the shares that are compared; runs stay in their folder."""
        self.easy, self.hard = set(), set()
        panel.refresh()

    def _key(self, values: Mapping[str, Any]) -> Any:
        shares = (tuple(sorted(self.easy)), tuple(sorted(self.hard)))
        return (*shares, values["images_per_class"], values["seeds"])

    def _begin(self, panel: Panel) -> None:
        key = self._key(panel.values)
        easy, hard, size, seeds = key
        self.bench.begin(
            panel,
            key,
            lambda study: fig5.compute(study, size, easy=easy, hard=hard),
            seeds=seeds,
        )

    def update(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the selection, and the comparison if there is one."""
        easy, hard = values["drop_easy"], values["drop_hard"]
        if easy + hard >= 1:
            raise ValueError(
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
        if not self._ends:  # which do not depend on the shares
            self._ends = {
                "easiest": self._strip(ranking.easiest(self.scores, count)),
                "hardest": self._strip(ranking.hardest(self.scores, count)),
            }
        made: dict[str, Any] = dict.fromkeys(_ROWS, layout.BLANK) | self._ends
        for name, end, share in (
            ("easy_cut", "easy", easy),
            ("hard_cut", "hard", hard),
        ):
            if share:
                places = ranking.borderline(self.scores, count, share=share, end=end)
                made[name] = self._strip(places)
        for name, words in _ROWS.items():
            is_there = made[name] != layout.BLANK
            made[f"{name}_told"] = layout.note(words) if is_there else ""
        return made

    def _strip(self, places: np.ndarray) -> bytes:
        images = self.dataset.train.images[places].astype(np.float32) / 255
        return pictures.images_png([ImageRow(images)], side=40)

    def _classes(self, easy: float, hard: float) -> str:
        """Return the table of what is dropped of each class."""
        tables = {
            end: score_histogram.composition(
                self.scores, self.dataset, share=share, end=end
            )
            for end, share in (("easy", easy), ("hard", hard))
            if share
        }
        if not tables:
            return layout.note("Nothing is dropped.")
        heads, names = ["class"], next(iter(tables.values())).label
        rows: list[list[Any]] = [[name] for name in names]
        for end, table in tables.items():
            heads += [f"{end},\N{NO-BREAK SPACE}%", ""]
            for row, share in zip(rows, table.dropped_percent, strict=True):
                row += [f"{share:.0f}", layout.bar(share / 100)]
        notes = "; ".join(
            f"{table.expected_percent[0]:.0f} % from the {end} end (chi-square p = "
            f"{table.p_value[0]:.2g})"
            for end, table in tables.items()
        )
        told = f"Dropped share of each class. If classes did not matter: {notes}."
        return layout.table(heads, rows[:20]) + layout.caption(told)

    def _comparison(self, values: Mapping[str, Any]) -> dict[str, Any]:
        table = self.tables.get(self._key(values))
        if table is None:
            told = "No comparison for these settings yet: press Run, or Figure 5."
            return {
                "comparison": layout.BLANK,
                "table": "",
                "compared": layout.note(told),
            }
        if not len(table):
            raise ValueError(
                "The study must hold the runs of these shares, got none. Make them with "
                "Study(..., run_missing=True)."
            )
        heads = ["test accuracy, %", "mean", "95 %", "difference", "95 %", "seeds"]
        rows = interval_rows(table[table.predictor == "network"])
        return {
            "comparison": self._picture(table),
            "table": layout.table(heads, rows),
            "compared": layout.caption(fig5.caption(table)),
        }

    def _picture(self, table: Any) -> bytes:
        """Return the comparison as a picture, kept while the sliders move."""
        if self._drawn is None or self._drawn[0] is not table:
            self._drawn = (table, png(fig5.draw(table)))
        return self._drawn[1]
