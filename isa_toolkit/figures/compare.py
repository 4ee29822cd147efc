"""``compare``: evaluate runs of several settings, and compare the settings seed by seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Run
from isa_toolkit.distillation.run_names import differing_settings, settings_text
from isa_toolkit.figures import results_table
from isa_toolkit.figures.style import Size, draw_strips


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
        return draw_strips(
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
