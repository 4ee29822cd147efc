"""Evaluation of distilled sets: fresh networks trained on them, and baselines."""

from isa_toolkit.evaluation.baselines import full_data, kmeans_real, random_real
from isa_toolkit.evaluation.dd_scores import DDRanking, dd_ranking
from isa_toolkit.evaluation.evaluation import (
    Comparison,
    Evaluation,
    EvaluationSettings,
    evaluate,
)
from isa_toolkit.evaluation.protocols import PROTOCOLS, Protocol
from isa_toolkit.evaluation.rfad import RFADSettings

__all__ = [
    "PROTOCOLS",
    "Comparison",
    "DDRanking",
    "Evaluation",
    "EvaluationSettings",
    "Protocol",
    "RFADSettings",
    "dd_ranking",
    "evaluate",
    "full_data",
    "kmeans_real",
    "random_real",
]
