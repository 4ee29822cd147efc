from . import (
    analysis,
    datasets,
    distillation,
    evaluation,
    figures,
    losses,
    methods,
    networks,
    presets,
    sweeps,
    widgets,
)
from .analysis.cross_prediction import cross_prediction
from .analysis.diversity import prdc, recall
from .analysis.manifold import tsne_map
from .datasets import Dataset, load_dataset
from .distillation import Experiment, Run, distill, distill_grid
from .distilled import DistilledSet
from .errors import IsaError
from .evaluation import Evaluation, EvaluationSettings, evaluate
from .figures.comparisons import compare
from .figures.study import Study
from .methods import DM, MTT, RCIG, RFAD, FRePo
from .networks import NetworkSettings
from .released_sets import import_distilled
from .sweeps import Plan, Sweep, plan, sweep

__all__ = [
    "DM",
    "MTT",
    "RCIG",
    "RFAD",
    "Dataset",
    "DistilledSet",
    "Evaluation",
    "EvaluationSettings",
    "Experiment",
    "FRePo",
    "IsaError",
    "NetworkSettings",
    "Plan",
    "Run",
    "Study",
    "Sweep",
    "analysis",
    "compare",
    "cross_prediction",
    "datasets",
    "distill",
    "distill_grid",
    "distillation",
    "evaluate",
    "evaluation",
    "figures",
    "import_distilled",
    "load_dataset",
    "losses",
    "methods",
    "networks",
    "plan",
    "prdc",
    "presets",
    "recall",
    "sweep",
    "sweeps",
    "tsne_map",
    "widgets",
]
__version__: str
