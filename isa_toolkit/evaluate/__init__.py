"""What a distilled set is worth: networks trained on it, and baselines."""

from isa_toolkit.evaluate.baselines import full_data, kmeans_real, random_real
from isa_toolkit.evaluate.evaluation import (
    Evaluation,
    EvaluationSettings,
    Summary,
    evaluate,
    summarise,
)
from isa_toolkit.rooms import make_callable

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "Summary",
    "evaluate",
    "full_data",
    "kmeans_real",
    "random_real",
    "summarise",
]

make_callable(__name__, evaluate)
