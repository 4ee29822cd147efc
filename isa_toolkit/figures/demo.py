# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportReturnType=false
# (pandas types its columns and groups too loosely to check.)
"""The demo: FRePo with and without crucial samples and ISA on the embedded digits.

``study`` runs what is missing and gives tidy accuracies, ``compute`` the table with its
intervals; the pictures are ``demo_pictures``'s and the page around them ``demo_page``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from isa_toolkit import checks, presets
from isa_toolkit.analysis.intervals import nested_interval, paired_interval
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.distillation import Experiment, Run, distill
from isa_toolkit.evaluation import EvaluationSettings, evaluate
from isa_toolkit.evaluation.baselines import full_data, kmeans_real
from isa_toolkit.figures.demo_pictures import draw_curve, draw_images
from isa_toolkit.figures.study import evaluated
from isa_toolkit.figures.style import COLOURS, save
from isa_toolkit.files import write_atomically
from isa_toolkit.methods import FRePo
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Study", "as_text", "compute", "draw_curve", "draw_images", "study", "write"]

RANDOM, KMEANS, FREPO, ISA, FULL = COLOURS

_NUMBERS = presets.table("demo")
WIDTH = _NUMBERS.pop("width")
LEARNING_RATE = _NUMBERS.pop("learning_rate")
NETWORKS = _NUMBERS.pop("networks")
METHODS = {
    FREPO: FRePo(drop_easy=0.0, segment=(0.0, 0.0), learning_rate=LEARNING_RATE),
    ISA: FRePo(drop_easy=0.2, segment=(0.0, 0.5), learning_rate=LEARNING_RATE),
}


class Plan(NamedTuple):
    """How much of the demo is spent on one number of images per class.

    steps: outer steps.
    snapshots: steps between stored images.
    curve: evaluate every snapshot, not only the first and the last.
    evaluation_steps: training steps of each evaluation network.
    """

    steps: int
    snapshots: int
    curve: bool
    evaluation_steps: int


PLANS = {int(count): Plan(**plan) for count, plan in _NUMBERS.items()}
# Real images are plenty and need neither soft steps nor many looks at each.
WHOLE = FitSettings(steps=1200, batch_size=64, learning_rate=3e-3, warmup_steps=50)


class Study(NamedTuple):
    """What the demo measured.

    accuracies: one row per images_per_class, setting, seed, step, network and predictor
        with its accuracy, a fraction of the 359 test images.
    runs: (images_per_class, setting, seed) -> run.
    dataset: the digits.
    """

    accuracies: pd.DataFrame
    runs: dict[tuple[int, str, int], Run]
    dataset: Dataset


def study(
    *,
    runs: str | Path,
    seeds: int = 3,
    tell: Callable[[str], None] = lambda _: None,
    plans: dict[int, Plan] | None = None,
) -> Study:
    """Run what is missing and return every accuracy.

    Both settings start a seed from the same images and networks and see the same
    batches, so their difference is a paired one; step 0 is the random-real baseline.

    Args:
        runs: folder for the runs; those that are done are reused.
        seeds: distilled sets per setting.
        tell: called with a line after each part.
        plans: images per class -> how much to spend; None for the measured choice.

    Returns:
        The study.

    Raises:
        ValueError: ``seeds`` below 1.
        OSError: a folder cannot be written.
    """
    import pandas as pd

    checks.check_integer("seeds", seeds)
    plans = PLANS if plans is None else plans
    dataset = load_dataset("digits")
    done: dict[tuple[int, str, int], Run] = {}

    def part(count: int) -> list[dict[str, Any]]:
        return list(_rows(dataset, count, plans[count], Path(runs), seeds, tell, done))

    # Two at a time: compiling keeps one core busy, and little else does.
    with ThreadPoolExecutor(2) as workers:
        parts = list(workers.map(part, sorted(plans, reverse=True)))
    rows = [row for part_rows in parts for row in part_rows]
    whole = full_data(dataset, _judge(1), fit=WHOLE)
    for count in plans:
        rows += _tidy(whole, count, FULL, 0, 0)
    tell(f"whole training set: {100 * whole.network.mean():.1f} %")
    return Study(pd.DataFrame(rows), done, dataset)


def _judge(steps: int) -> EvaluationSettings:
    """Return the demo's evaluation: shorter and faster than the published one."""
    return EvaluationSettings(
        network=NetworkSettings(width=WIDTH, norm="none"),
        networks=NETWORKS,
        fit=FitSettings(steps=steps, learning_rate=1e-3, warmup_steps=50),
    )


def _rows(
    dataset: Dataset,
    count: int,
    plan: Plan,
    folder: Path,
    seeds: int,
    tell: Callable[[str], None],
    done: dict[tuple[int, str, int], Run],
) -> Iterator[dict[str, Any]]:
    judge = _judge(plan.evaluation_steps)
    for seed in range(seeds):
        for setting, method in METHODS.items():
            run = distill(
                Experiment(
                    dataset=dataset,
                    method=method,
                    images_per_class=count,
                    network=NetworkSettings(width=WIDTH),
                    steps=plan.steps,
                    batch_size=256,
                    seed=seed,
                    selection="last",
                    validation_every=plan.snapshots,
                ),
                out=folder,
                progress=False,
            )
            done[count, setting, seed] = run
            steps = list(run.snapshots) if plan.curve else [0, plan.steps]
            for step in steps:
                if step == 0 and setting != FREPO:
                    continue  # the same images: see below
                result = evaluated(run, dataset, judge, step=step)
                yield from _tidy(result, count, setting, seed, step)
                if step == 0:
                    yield from _tidy(result, count, ISA, seed, 0)
                    yield from _tidy(result, count, RANDOM, seed, 0)
                if step == plan.steps:
                    final = 100 * result.network.mean()
                    tell(f"{count:>2} per class, seed {seed}: {setting} {final:.1f} %")
    chosen = kmeans_real(dataset, count)
    yield from _tidy(evaluate(chosen, dataset, judge), count, KMEANS, 0, 0)


def _tidy(
    result: Any, count: int, setting: str, seed: int, step: int
) -> list[dict[str, Any]]:
    return [
        {
            "images_per_class": count,
            "setting": setting,
            "seed": seed,
            "step": step,
            "predictor": predictor,
            "network": place,
            "accuracy": float(value),
        }
        for predictor in ("network", "ridge")
        for place, value in enumerate(getattr(result, predictor))
    ]


def compute(study: Study) -> pd.DataFrame:
    """Return the table: one row per images per class, setting and predictor.

    Args:
        study: what was measured.

    Returns:
        Columns ``accuracy`` (mean, fraction), ``sets`` and ``networks`` (how many),
        ``half_width_sets`` (95 % interval over distilled sets), ``half_width_networks``
        (over networks, these sets), and the mean paired difference per seed with its
        95 % half width: ``over_random``, ``over_random_half_width`` (to random real
        images of the same seed) and ``over_frepo``, ``over_frepo_half_width``. NaN where
        one set tells no interval or there is nothing to compare.
    """
    import pandas as pd

    final = _final(study.accuracies)
    rows = []
    for count, predictor in _cells(final):
        cell = final[(final.images_per_class == count) & (final.predictor == predictor)]
        sets = {
            name: part.pivot_table(index="seed", columns="network", values="accuracy")
            for name, part in cell.groupby("setting")
        }
        for name in [setting for setting in COLOURS if setting in sets]:
            values = sets[name].to_numpy()
            nested = nested_interval(values)
            row = {
                "images_per_class": count,
                "setting": name,
                "predictor": predictor,
                "accuracy": nested.over_sets.mean,
                "sets": values.shape[0],
                "networks": values.shape[1],
                "half_width_sets": nested.over_sets.half_width,
                "half_width_networks": nested.over_networks.half_width,
            }
            for column, other in (("over_random", RANDOM), ("over_frepo", FREPO)):
                paired = None
                if name in METHODS and name != other:
                    paired = paired_interval(
                        values.mean(1), sets[other].to_numpy().mean(1)
                    )
                row[column] = paired.mean if paired else float("nan")
                row[f"{column}_half_width"] = (
                    paired.half_width if paired else float("nan")
                )
            rows.append(row)
    return pd.DataFrame(rows)


def _final(accuracies: pd.DataFrame) -> pd.DataFrame:
    last = accuracies.groupby(["images_per_class", "setting"])["step"].transform("max")
    return accuracies[accuracies["step"] == last]


def _cells(frame: pd.DataFrame) -> list[tuple[int, str]]:
    return [
        (int(count), predictor)
        for count in sorted(frame.images_per_class.unique())
        for predictor in ("network", "ridge")
    ]


def as_text(table: pd.DataFrame) -> list[str]:
    """Return the table as lines of text, in percent.

    Args:
        table: from ``compute``.

    Returns:
        Lines.
    """
    lines = []
    for count, predictor in _cells(table):
        part = table[(table.images_per_class == count) & (table.predictor == predictor)]
        lines += ["", f"{count} per class, {predictor} accuracy, %"]
        for row in part.itertuples():
            line = (
                f"  {row.setting:<23}{100 * row.accuracy:5.1f}"
                f"{_plus_minus(row.half_width_sets):<8} {row.sets} set{'s' * (row.sets > 1)}"
            )
            if row.over_random == row.over_random:
                line += (
                    f"   over random real {100 * row.over_random:+.1f}"
                    f"{_plus_minus(row.over_random_half_width)}"
                )
            if row.over_frepo == row.over_frepo:
                line += (
                    f"   over FRePo {100 * row.over_frepo:+.1f}"
                    f"{_plus_minus(row.over_frepo_half_width)}"
                )
            lines.append(line)
    return lines


def _plus_minus(half_width: float) -> str:
    return "" if half_width != half_width else f" ± {100 * half_width:.1f}"


def write(study: Study, out: str | Path) -> Path:
    """Write table, pictures and page.

    Args:
        study: what was measured.
        out: folder.

    Returns:
        Path of the page.

    Raises:
        OSError: the folder cannot be written.
    """
    from isa_toolkit.figures.demo_page import page

    out = Path(out)
    table = compute(study)
    for name, frame in (("table", table), ("accuracies", study.accuracies)):
        write_atomically(out / f"{name}.csv", frame.to_csv(index=False).encode())
    save(draw_images(study), out / "images")
    save(draw_curve(study.accuracies), out / "curve")
    text = page(table, study, out / "images.png", out / "curve.png")
    write_atomically(out / "index.html", text.encode())
    return out / "index.html"
