"""Panels of one results table: recall, cross-prediction, predictors and regime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isa_toolkit.annotations import typed
from isa_toolkit.figures import information, recall, regime, table6
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import (
    compute_panel,
    size_dropdown,
    summary_table,
)
from isa_toolkit.widgets.panel import Panel


def _shown(
    figure: Any, table: Any, where: Mapping[str, Any], **how: Any
) -> Mapping[str, Any]:
    """Return a table as the module ``figure`` draws it, and a summary of its rows."""
    return {
        "picture": png(figure.draw(table, **how)),
        "table": summary_table(table, **where),
        "caption": layout.caption(figure.caption(table, **how)),
    }


@typed
def Diversity(study: Study) -> Panel:
    """Return the panel of recall, for any k, in features or network inputs.

    Args:
        study: Study with the data and the runs.

    Returns:
        The panel; *Run* computes the table for k and the size, the space only redraws.
        Recall needs more than k distilled points.

    Source: the paper, equations 8 and 9.
    """
    smallest = study.default_size * study.dataset.num_classes

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        how = {"k": values["k"], "space": values["space"]}
        quantity = f"recall_k{how['k']}{recall.SPACES[how['space']]}"
        return _shown(recall, table, {"quantity": quantity}, **how)

    return compute_panel(
        "Diversity",
        study,
        about="Fraction of the real images inside the manifold of the distilled ones.",
        controls={
            "k": layout.int_slider(
                "Neighbour k", min(recall.K, smallest - 1), min=1, max=min(20, smallest - 1),
                help="Each ball reaches to the k-th nearest distilled neighbour",
            ),
            "space": layout.dropdown(
                "Space", "features", options=list(recall.SPACES),
                help="Features of a network trained on real images, or network inputs",
            ),
            "images_per_class": size_dropdown(study, study.default_size),
        },
        depends_on=("k", "images_per_class"),
        compute=lambda working, values: recall.compute(
            working, values["images_per_class"], k=values["k"]
        ),
        draw=draw,
    )  # fmt: skip


@typed
def Information(study: Study) -> Panel:
    """Return the panel of cross-prediction, for any split.

    Args:
        study: Study with the data and the runs.

    Returns:
        The panel; *Run* computes the table for the split and the size.

    Source: the paper, section B, "Information".
    """

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        shown = [information.EASY, information.RANDOM, information.HARD]
        fraction = round(values["fraction"], 2)
        return _shown(information, table, {"quantity": shown}, fraction=fraction)

    return compute_panel(
        "Information",
        study,
        about="How well do hard samples predict easy ones, and the reverse?",
        controls={
            "fraction": layout.slider(
                "Fraction", information.FRACTION, min=0.05, max=0.5, step=0.05,
                help="Fraction of the images that is predicted from all the others",
                continuous_update=False,
            ),
            "images_per_class": size_dropdown(study, study.default_size),
        },
        depends_on=("fraction", "images_per_class"),
        compute=lambda working, values: information.compute(
            working, values["images_per_class"], fraction=round(values["fraction"], 2)
        ),
        draw=draw,
    )  # fmt: skip


@typed
def Predictors(study: Study) -> Panel:
    """Return the panel of Table 6: network against ridge predictor, at every size.

    Args:
        study: Study with the data and the runs.

    Returns:
        The panel; *Run* computes the table, the controls filter its rows.

    Source: the paper, Table 6.
    """

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        where = {"images_per_class": values["images_per_class"]}
        if values["predictor"] != "both":
            where["predictor"] = values["predictor"]
        return _shown(table6, table, where)

    names = [
        ("both", "both"),
        *((name, key) for key, name in table6.PREDICTORS.items()),
    ]
    return compute_panel(
        "Network and ridge predictor",
        study,
        about="Test accuracy of a new network, and of ridge regression, on a distilled set.",
        controls={
            "predictor": layout.dropdown(
                "Predictor", "both", options=names, help="Predictor of the listed rows"
            ),
            "images_per_class": layout.dropdown(
                "Images per class",
                options=study.sizes,
                help="Size of the distilled sets in the listed rows",
            ),
        },
        depends_on=(),
        compute=lambda working, values: table6.compute(working),
        draw=draw,
    )


@typed
def Regime(study: Study) -> Panel:
    """Return the panel of what dropping and segments gain at each accuracy reached.

    Args:
        study: Study with the data and the runs.

    Returns:
        The panel; *Run* computes the table for the size, the predictor only redraws.

    Source: ours; docs/algorithms.md, section 6.4.
    """

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        predictor = values["predictor"]
        where = {"predictor": predictor, "quantity": "accuracy_percent"}
        return _shown(regime, table, where, predictor=predictor)

    return compute_panel(
        "Regime",
        study,
        about="When does it help to drop samples? A plain run, branched at several steps.",
        controls={
            "predictor": layout.dropdown(
                "Accuracy of", "network", options=list(regime.PREDICTORS),
                help="A new network, ridge regression on the distilled set, or the run's "
                "own predictor on its real batches",
            ),
            "images_per_class": size_dropdown(study, study.sizes[0]),
        },
        depends_on=("images_per_class",),
        compute=lambda working, values: regime.compute(
            working, values["images_per_class"]
        ),
        draw=draw,
    )  # fmt: skip
