"""What a distilled set is worth: networks trained on it, and baselines."""

from isa_toolkit.evaluation.baselines import full_data, kmeans_real, random_real
from isa_toolkit.evaluation.evaluation import (
    Evaluation,
    EvaluationSettings,
    Summary,
    evaluate,
    summarise,
)
from isa_toolkit.evaluation.random_features import (
    KernelEvaluation,
    RandomKernelSettings,
    random_kernel,
)
from isa_toolkit.evaluation.rcig import rcig_protocol, with_mirrored
from isa_toolkit.evaluation.rfad import (
    RFADEvaluation,
    RFADSettings,
    finite_network,
    rfad_settings,
)

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "KernelEvaluation",
    "RFADEvaluation",
    "RFADSettings",
    "RandomKernelSettings",
    "Summary",
    "evaluate",
    "finite_network",
    "full_data",
    "kmeans_real",
    "random_kernel",
    "random_real",
    "rcig_protocol",
    "rfad_settings",
    "summarise",
    "with_mirrored",
]
