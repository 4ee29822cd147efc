"""Settings that are compared seed by seed: figure 3(c), tables 4 and 8, the demo."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Size, draw_strips
from isa_toolkit.figures.variants import Variant

_EXPLANATION = (
    "(a) Each seed (dots) and the mean with its 95 % interval over distilled sets; "
    "random real: the images that a seed starts from. (b) The difference, seed by seed, "
    "with its 95 % interval."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A figure that compares settings, each with a baseline seed by seed.

    Attributes:
        pairs: Pairs (baseline, setting): keys, or variants of the user.
        about: What the caption says about the settings.
        with_random: Whether the random real images that each seed starts from are shown
            and subtracted, too.
        with_baselines: Whether k-means real images and the whole training set are shown.
        all_sizes: Whether all sizes of the study are compared; the smallest is drawn.
        published_sizes: Whether they are at scale ``"paper"``.
    """

    pairs: tuple[tuple[str | Variant, str | Variant], ...]
    about: str
    with_random: bool = False
    with_baselines: bool = False
    all_sizes: bool = False
    published_sizes: bool = False

    @property
    def variants(self) -> list[Variant]:
        """Distilled settings, from top to bottom."""
        listed = (_variant(one) for pair in self.pairs for one in pair)
        return list(dict.fromkeys(listed))

    @property
    def keys(self) -> list[str]:
        """Keys of the distilled settings, from top to bottom."""
        return [one.key for one in self.variants]

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        return [(_variant(base).key, _variant(one).key) for base, one in self.pairs]

    def compute(
        self, study: Study, images_per_class: int | None = None
    ) -> pd.DataFrame:
        """Return the accuracy of each setting, by seed, with means and differences.

        Rows of ``results_table``, in percent, at 1 image per class or at ``images_per_class``
        or, where all are compared, at all sizes of the study.
        """
        is_paper = check_study(study).budget.scale == "paper"
        sizes = [1] if images_per_class is None else [images_per_class]
        if images_per_class is None and (
            self.all_sizes or (self.published_sizes and is_paper)
        ):
            sizes = study.sizes
        return results_table.concatenate(
            part for size in sizes for part in self._parts(study, size)
        )

    def _parts(self, study: Study, size: int) -> list[pd.DataFrame]:
        by_seed = study.accuracies(self.variants, size)
        random = results_table.as_table([])
        if self.with_random:
            random = study.initial_accuracies(self.variants[0], size)
        everything = results_table.concatenate([by_seed, random])
        parts = [everything, results_table.means(everything)]
        if self.with_baselines and len(by_seed):
            parts.append(study.baseline_accuracies(size))
        for base, key in self._pairs:
            both = by_seed[by_seed.setting.isin((base, key))]
            parts.append(results_table.differences(both, base))
        # Random images are evaluated as the first setting is, at scale "paper" not as all.
        settings = {
            one.key: study.evaluation_settings(one.method(1.0).name)
            for one in self.variants
        }
        first = settings[self.keys[0]]
        alike = ["random", *(key for key, one in settings.items() if one == first)]
        kept = everything.setting.isin(alike)
        parts.append(results_table.differences(everything[kept], "random"))
        return parts

    def draw(self, table: pd.DataFrame, *, ax: Any = None, size: Size = "page") -> Any:
        """Return a figure of accuracies by seed, and of the paired differences.

        ``ax`` are two axes to draw into; then nothing is returned. ``size`` is a width,
        "column", "text" or "page", or (width, height) in inches.
        """
        smallest = table[table.images_per_class == table.images_per_class.min()]
        bases = {key: base for base, key in self._pairs}
        bases = bases if len(set(bases.values())) > 1 else self._pairs[0][0]
        keys = ["random", "kmeans", *self.keys, "full"]
        return draw_strips(
            smallest,
            keys,
            bases,
            caption=lambda _: self.caption(table),
            ax=ax,
            size=size,
        )

    def caption(self, table: pd.DataFrame) -> str:
        """Return the caption of a table from ``compute``."""
        return f"{results_table.describe(table)}. {self.about} {_EXPLANATION}"


def _variant(one: str | Variant) -> Variant:
    return Variant(one) if isinstance(one, str) else one


# Source: the paper, section D; what its single step and MixUp are in detail is unknown,
# our reading is docs/algorithms.md, section 6.3.
FIG3C = Comparison(
    pairs=tuple(
        ("frepo+drop_easy", key) for key in ("mixup", "single_step", "isa")
    ),
    about="Every setting drops the easiest 20 %; differences are to crucial samples "
    "without augmentation. MixUp mixes images; a single step draws one virtual sample "
    "per pair and step; ISA integrates over the segment.",
)  # fmt: skip
"""Figure 3(c): how crucial samples are augmented."""

# Source: ours; docs/algorithms.md, section 6.5.
LATE = Comparison(
    pairs=(("frepo", "frepo+drop_easy"), ("frepo", "frepo+drop_late")),
    about="Dropping the easiest 20 % from the first step or from half of the steps; "
    "differences are to plain FRePo.",
)

_READING = (
    "All sets are evaluated by the same networks and training, at scale paper by the "
    "protocol that their method is published with. How crucial samples and ISA enter is "
    "our reading where the paper gives no formula."
)
# Source: the paper, table 4, whose numbers are not in the appendix; our reading is
# docs/algorithms.md, section 10.
TABLE4 = Comparison(
    pairs=(("frepo", "isa"), ("rfad", "rfad+ours"), ("rcig", "rcig+ours")),
    about=f"{_READING} RFAD and RCIG, which minimise a cross-entropy, drop easy samples "
    "only.",
    with_random=True,
)
"""Table 4: meta-learning methods with and without the two ideas."""
# Source: the paper, table 8; our reading is docs/algorithms.md, section 10.
TABLE8 = Comparison(
    pairs=(("dm", "dm+ours"), ("mtt", "mtt+ours")),
    about=_READING,
    with_random=True,
    published_sizes=True,
)
"""Table 8: matching methods with and without the two ideas."""
DEMO_TABLE = Comparison(
    pairs=(("frepo", "isa"),),
    about="The difference is to plain FRePo.",
    with_random=True,
    with_baselines=True,
    all_sizes=True,
)
