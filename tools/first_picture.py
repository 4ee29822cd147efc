"""The first picture of the README: ten real, ten chosen and ten learned digits.

    .venv/bin/python tools/first_picture.py     # writes docs/digits.png, minutes

Accuracies are means over seeds, of five networks trained on each set; k-means makes one set
only. The images are those of seed 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import isa_toolkit as isa
from isa_toolkit.evaluation import kmeans_real, random_real
from isa_toolkit.figures.images import ImageRow, draw_grid

TARGET = Path(__file__).resolve().parents[1] / "docs" / "digits.png"
SEEDS = range(3)


def main() -> None:
    """Distil, evaluate and draw."""
    digits = isa.load_dataset("digits")
    experiment = isa.Experiment(
        digits,
        method=isa.FRePo(learning_rate=3e-3),
        network=isa.NetworkSettings(width=16),
        steps=1000,
        batch_size=256,
        selection="last",
    )
    runs = isa.distill_grid(experiment, grid={"seed": SEEDS})
    sets = {
        "random": [random_real(digits, 1, seed=seed) for seed in SEEDS],
        "k-means": [kmeans_real(digits, 1)],
        "distilled": [run.distilled for run in runs],
    }
    rows = []
    for name, members in sets.items():
        results = [
            isa.evaluate(
                one, digits, network=isa.NetworkSettings(width=16, norm="none")
            )
            for one in members
        ]
        accuracy = np.mean([result.mean for result in results])
        label = f"{name}\n{100 * accuracy:.0f} % correct"
        rows.append(ImageRow(members[0].to_pixels(), label))
        print(name, [round(100 * result.mean, 1) for result in results])
    figure = draw_grid(rows, titles=digits.class_names, image_in=0.5)
    figure.savefig(TARGET, dpi=150)


if __name__ == "__main__":
    main()
