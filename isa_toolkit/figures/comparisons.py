"""Settings that are compared seed by seed: ``compare`` for runs, and items of a study.

The items are figure 3(c), tables 4 and 8, dropping from half of the steps, and the demo's
table.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Run
from isa_toolkit.distillation.run_names import differing_settings, settings_text
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, Size, drawing, plot_strips, strip_rows
from isa_toolkit.figures.variants import Variant

_EXPLANATION = (
    "(a) Each seed (dots) and the mean with its 95 % interval over distilled sets; "
    "random real: the images that a seed starts from. (b) The difference, seed by seed, "
    "with its 95 % interval."
)


def _draw_strips(
    table: pd.DataFrame,
    keys: Sequence[str],
    against: str | Mapping[str, str],
    *,
    caption: Callable[[pd.DataFrame], str],
    **where: Any,
) -> Any:
    """Return a figure of the network's accuracies; ``where`` is ``ax`` or ``size``."""

    def plot(panels: Panels, drawn: pd.DataFrame) -> None:
        # Long names of the user are shorter in the table that is drawn.
        names = dict(zip(table.setting, drawn.setting, strict=True))
        if isinstance(against, str):
            bases = names.get(against, against)
        else:
            bases = {
                names.get(k, k): names.get(base, base) for k, base in against.items()
            }
        shown = [names.get(key, key) for key in keys]
        plot_strips(panels, drawn[drawn.predictor == "network"], shown, bases)

    def rows(table: pd.DataFrame) -> dict[str, float]:
        return strip_rows(table.setting.nunique())

    columns = results_table.COLUMNS
    return drawing(rows, caption=caption, columns=columns)(plot)(table, **where)


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
        [base, *others] = set(bases.values())
        against = bases if others else base
        keys = ["random", "kmeans", *self.keys, "full"]
        return _draw_strips(
            smallest,
            keys,
            against,
            caption=lambda _: self.caption(table),
            ax=ax,
            size=size,
        )

    def caption(self, table: pd.DataFrame) -> str:
        """Return the caption of a table from ``compute``."""
        return f"{results_table.describe(table)}. {self.about} {_EXPLANATION}"


def _variant(one: str | Variant) -> Variant:
    return Variant(one) if isinstance(one, str) else one


class RunComparison(NamedTuple):
    """Test accuracies of settings, by seed, and their paired differences to one setting.

    table: Rows of ``results_table``, in percent: each seed, the means over seeds and the
        differences, with 95 % intervals.
    against: Setting that is subtracted.
    """

    table: pd.DataFrame
    against: str

    @property
    def settings(self) -> list[str]:
        """Names of the settings, in the order of the runs."""
        return list(self.table.setting.unique())

    def summary(self) -> pd.DataFrame:
        """Return the means and differences as text, a row for each."""
        return results_table.summary(self.table)

    def plot(self, *, ax: Any = None, size: Size = "page") -> Any:
        """Return a figure of each seed, means with intervals, and paired differences.

        ``ax`` are two axes to draw into; then nothing is returned. ``size`` is a width,
        "column", "text" or "page", or (width, height) in inches.
        """
        return _draw_strips(
            self.table,
            self.settings,
            self.against,
            caption=lambda _: self.caption,
            ax=ax,
            size=size,
        )

    @property
    def caption(self) -> str:
        """Caption of the plot."""
        data = ", ".join(dict.fromkeys(self.table.dataset))
        return (
            f"{data}, {self.table.seed.nunique()} seeds. (a) Test accuracy of new "
            "networks: each seed, and the mean with its 95 % interval over distilled sets. "
            f"(b) The difference to {self.against}, seed by seed, with its 95 % interval."
        )

    def __repr__(self) -> str:
        seeds = self.table.seed.nunique()
        text = f"RunComparison({len(self.settings)} settings, {seeds} seeds"
        return f"{text}, against {self.against[:200]!r})"

    def _repr_html_(self) -> str:
        return self.summary().to_html(escape=True)


@typed
def compare(
    runs: Sequence[Run],
    others: Sequence[Run] = (),
    *,
    against: Mapping[str, Any] | None = None,
    dataset: Dataset | None = None,
    **settings: Any,
) -> RunComparison:
    """Evaluate runs, and compare their settings seed by seed.

    Runs with equal settings except for the seed, and the run that they start from, belong
    to one setting. Runs of one seed start from the same images and networks, so what the
    seed alone does cancels in a paired difference.

    Args:
        runs: Finished runs, such as those of ``distill_grid``; the settings should have
            the same seeds.
        others: Finished runs to subtract, of one setting, such as those of another
            method. The runs may also be all in ``runs``.
        against: Values that select the setting to subtract, such as ``{"drop_easy": 0}``;
            None for the setting of ``others``, or of the first run.
        dataset: Data set whose test images to classify; None for that of each run.
        settings: Settings of the evaluation by name, such as ``networks=2``.

    Returns:
        The comparison; a notebook shows its means and differences.

    Raises:
        InvalidValueError: There is no run, two runs are equal, ``against`` does not
            select exactly one setting, or is given together with ``others``.
        FileNotFoundError: A run is not finished.

    Example:
        >>> import tempfile
        >>> import isa_toolkit as isa
        >>> base = isa.Experiment(
        ...     "digits",
        ...     method=isa.FRePo(pool_size=1),
        ...     network=isa.NetworkSettings(width=4, depth=1),
        ...     steps=2,
        ...     batch_size=32,
        ...     selection="last",
        ... )
        >>> grid = {"drop_easy": [0, 0.2], "seed": range(2)}
        >>> runs = isa.distill_grid(base, grid, out=tempfile.mkdtemp(), progress=False)
        >>> fit = isa.networks.FitSettings(steps=20, learning_rate=1e-2)
        >>> short = {"networks": 1, "fit": fit, "ops": ()}
        >>> isa.compare(runs, against={"drop_easy": 0}, **short)
        RunComparison(2 settings, 2 seeds, against 'drop_easy=0')
        >>> isa.compare(runs[2:], runs[:2], **short)
        RunComparison(2 settings, 2 seeds, against 'drop_easy=0')
    """
    if others and against is not None:
        raise checks.fail("against", "be left out with other runs", against)
    runs = [*others, *runs]
    experiments = [run.experiment for run in runs]
    if not experiments:
        raise checks.fail("runs", "hold a run", checks.as_text("none"))
    varying = differing_settings(experiments, hidden=("seed", "start_from"))
    names = [settings_text(one) or "all runs" for one in varying]
    chosen = names[: len(others)] or names[:1]
    if against is not None:
        wanted = json.loads(json.dumps(against)).items()  # as a run stores them
        pairs = zip(names, varying, strict=True)
        chosen = [name for name, one in pairs if wanted <= one.items()]
        if len(set(chosen)) != 1:
            listed = f"They are: {'; '.join(dict.fromkeys(names))}."
            raise checks.fail("against", "select one of the settings", against, listed)
    if len(set(chosen)) > 1:
        listed = "; ".join(dict.fromkeys(chosen))
        raise checks.fail("others", "be runs of one setting", checks.as_text(listed))
    seeds = [(name, one["seed"]) for name, one in zip(names, experiments, strict=True)]
    twice = [one for one in seeds if seeds.count(one) > 1]
    if twice:
        text = checks.as_text(f"two of {twice[0][0]} with seed {twice[0][1]}")
        raise checks.fail("runs", "differ in a setting or in the seed", text)
    evaluated = [
        (
            {
                "dataset": run.experiment["dataset"]["name"],
                "setting": name,
                "seed": seed,
            },
            run.evaluate(dataset, **settings),
        )
        for (name, seed), run in zip(seeds, runs, strict=True)
    ]
    table = results_table.with_means(results_table.accuracies(evaluated), chosen[0])
    return RunComparison(table, chosen[0])


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
