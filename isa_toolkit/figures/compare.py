"""``compare``: evaluate runs of several settings, and compare the settings seed by seed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from isa_toolkit import checks
from isa_toolkit.distillation import Run
from isa_toolkit.distillation.run_names import differing_settings, settings_text
from isa_toolkit.figures import results_table
from isa_toolkit.figures.strip_plot import draw_strips
from isa_toolkit.figures.variants import SETTINGS, Setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from isa_toolkit.datasets import Dataset


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

    def plot(self) -> Figure:
        """Return a figure: each seed, means with intervals, and paired differences."""
        colours = itertools.cycle(one.colour for one in SETTINGS.values() if one.build)
        looks = {
            name: Setting(name, colour)
            for name, colour in zip(self.settings, colours, strict=False)
        }
        return draw_strips(self.table, self.settings, self.against, looks=looks)

    def __repr__(self) -> str:
        seeds = self.table.seed.nunique()
        text = f"RunComparison({len(self.settings)} settings, {seeds} seeds"
        return f"{text}, against {self.against[:200]!r})"

    def _repr_html_(self) -> str:
        return self.summary().to_html(escape=True)


def compare(
    runs: Sequence[Run],
    against: Mapping[str, Any] | None = None,
    *,
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
        against: Values that select the setting to subtract, such as ``{"drop_easy": 0}``;
            None for the setting of the first run.
        dataset: Data set whose test images to classify; None for that of each run.
        settings: Settings of the evaluation by name, such as ``networks=2``.

    Returns:
        The comparison; a notebook shows its means and differences.

    Raises:
        InvalidValueError: There is no run, two runs are equal, or ``against`` does not
            select exactly one setting.
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
        >>> isa.compare(runs, {"drop_easy": 0}, networks=1, fit=fit, ops=())
        RunComparison(2 settings, 2 seeds, against 'drop_easy=0')
    """
    experiments = [run.experiment for run in runs]
    if not experiments:
        raise checks.fail("runs", "hold a run", checks.as_text("none"))
    varying = differing_settings(experiments, hidden=("seed", "start_from"))
    names = [settings_text(one) or "all runs" for one in varying]
    chosen = [
        name
        for name, one in zip(names, varying, strict=True)
        if against is not None and _plain(against).items() <= one.items()
    ]
    if against is not None and len(set(chosen)) != 1:
        raise checks.fail(
            "against",
            "select one of the settings",
            against,
            f"They are: {'; '.join(dict.fromkeys(names))}.",
        )
    seeds = [(name, one["seed"]) for name, one in zip(names, experiments, strict=True)]
    for one in seeds:
        if seeds.count(one) > 1:
            twice = checks.as_text(f"two of {one[0]} with seed {one[1]}")
            raise checks.fail("runs", "differ in a setting or in the seed", twice)
    cells = []
    for (name, seed), run in zip(seeds, runs, strict=True):
        evaluation = run.evaluate(dataset, **settings)
        for predictor in ("network", "ridge"):
            accuracy = 100 * evaluation.interval(predictor).mean
            columns = {
                "dataset": run.experiment["dataset"]["name"],
                "setting": name,
                "seed": seed,
                "predictor": predictor,
            }
            cells.append((columns, {"accuracy_percent": accuracy}))
    subtracted = chosen[0] if chosen else names[0]
    table = results_table.with_means(results_table.measured(cells), subtracted)
    return RunComparison(table, subtracted)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as a run stores them."""
    return json.loads(json.dumps(values))
