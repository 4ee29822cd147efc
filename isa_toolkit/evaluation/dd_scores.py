"""DD-Ranking's scores: what the images of a distilled set are worth by themselves.

With test accuracies as fractions, of networks trained on distilled images (``distilled``),
on as many random real images (``random``) or on all training images (``full``):

- HLR, hard-label recovery: ``full - hard``, where ``hard`` is of the distilled images with
  class numbers as labels; smaller is better.
- IOR, improvement over random: ``distilled - random``, both by the method's own protocol.
- LRS, label-robust score: ``s(w IOR - (1 - w) HLR)``.
- ARS, augmentation-robust score: ``s(w IOR + (1 - w) plain IOR)``, where plain IOR is
  without augmentation.

``s(t) = (exp(t) - exp(-1)) / (exp(1) - exp(-1))`` takes -1 to 0 and 1 to 1; the published
weights w are .5.

Source: docs/algorithms.md, section 7.7.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from isa_toolkit import checks
from isa_toolkit.analysis.intervals import Interval, mean_interval
from isa_toolkit.annotations import typed
from isa_toolkit.datasets import Dataset, centred_one_hot
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.baselines import full_data, random_real
from isa_toolkit.evaluation.evaluation import EvaluationSettings, evaluate

Score = Literal["hlr", "ior", "lrs", "ars"]
SCORES: tuple[Score, ...] = get_args(Score)


@dataclasses.dataclass(frozen=True, eq=False)
class DDRanking:
    """Test accuracies that DD-Ranking compares, fractions, one for each of k networks.

    Attributes:
        full: On all training images, [k].
        hard: On the distilled images with hard labels, [k].
        distilled: On the distilled set by its protocol, [k].
        random: On random real images by the same protocol, another draw each, [k].
        distilled_plain: On the distilled set without augmentation, [k].
        random_plain: On the random real images without augmentation, [k].
        weight: Weight w of IOR in LRS, and of the augmented difference in ARS.
        settings: Settings of the evaluation, resolved.
    """

    full: Float[np.ndarray, " k"]
    hard: Float[np.ndarray, " k"]
    distilled: Float[np.ndarray, " k"]
    random: Float[np.ndarray, " k"]
    distilled_plain: Float[np.ndarray, " k"]
    random_plain: Float[np.ndarray, " k"]
    weight: float
    settings: EvaluationSettings

    def values(self, score: Score) -> Float[np.ndarray, " k"]:
        """Return a score of each network, a fraction, [k]."""
        checks.check_one_of("score", score, SCORES)
        hlr, ior = self.full - self.hard, self.distilled - self.random
        if score in ("hlr", "ior"):
            return hlr if score == "hlr" else ior
        other = -hlr if score == "lrs" else self.distilled_plain - self.random_plain
        mean = self.weight * ior + (1 - self.weight) * other
        return (np.exp(mean) - math.exp(-1)) / (math.exp(1) - math.exp(-1))

    def interval(self, score: Score, *, level: float = 0.95) -> Interval:
        """Return the mean of a score with its interval over networks, a fraction."""
        interval = mean_interval(self.values(score), level=level)
        return interval._replace(kind="networks, one distilled set")

    def to_dict(self) -> dict[str, Any]:
        """Return intervals of the scores and the accuracies as JSON-able values."""
        accuracies = {
            field.name: value.tolist()
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        scores = {score: self.interval(score)._asdict() for score in SCORES}
        return {**scores, "weight": self.weight, "accuracies": accuracies}

    def __repr__(self) -> str:
        texts = []
        for score in SCORES:
            found = self.interval(score)
            spread = "" if found.n < 2 else f" ± {100 * found.half_width:.1f}"
            texts.append(f"{score.upper()} {100 * found.mean:.1f}{spread}")
        return f"{', '.join(texts)} (%, {len(self.hard)} networks)"


@typed
def dd_ranking(
    distilled: DistilledSet,
    dataset: Dataset,
    settings: EvaluationSettings | None = None,
    *,
    full_accuracy: float | None = None,
    weight: float = 0.5,
    **changes: Any,
) -> DDRanking:
    """Return DD-Ranking's scores of a distilled set, with baselines of our own evaluation.

    Args:
        distilled: Distilled set.
        dataset: Data set whose images to draw, train on and test on.
        settings: Settings of the evaluation to start from; each network meets another
            draw of random images.
        full_accuracy: Test accuracy of networks trained on all training images, a
            fraction; None to train them (``full_data``), which takes longest.
        weight: Weight of IOR in LRS, and of the augmented difference in ARS, in [0, 1].
        **changes: Further settings of ``EvaluationSettings`` by name.

    Returns:
        The scores, and the accuracies that they are made of.

    Raises:
        ValueError: A number is out of its range, or set and data do not fit together.

    Example:
        >>> import isa_toolkit as isa
        >>> digits = isa.load_dataset("digits")
        >>> few = isa.evaluation.kmeans_real(digits, images_per_class=1)
        >>> scores = isa.evaluation.dd_ranking(
        ...     few,
        ...     digits,
        ...     networks=1,
        ...     network=isa.NetworkSettings(width=4, depth=1, norm="none"),
        ...     fit=isa.networks.FitSettings(steps=20, learning_rate=1e-2),
        ...     ops=(),
        ...     full_accuracy=0.98,
        ... )
        >>> bool(0 < scores.values("lrs")[0] < 1)
        True

    Source: docs/algorithms.md, section 7.7.
    **Deviation:** random images keep their hard labels, for which DD-Ranking asks a teacher
    where the method has soft labels, and no learning rate is searched; accuracies are those
    after the last step, not the best of the training.
    """
    checks.check_number("weight", weight, at_least=0, at_most=1)
    if full_accuracy is not None:
        checks.check_number("full_accuracy", full_accuracy, at_least=0, at_most=1)
    settings = dataclasses.replace(settings or EvaluationSettings(), **changes)
    resolved = settings.resolve_for(distilled, dataset)
    plain = dataclasses.replace(resolved, ops=())
    classes = dataset.num_classes
    labels = centred_one_hot(distilled.classes, classes)
    hard = dataclasses.replace(distilled, labels=labels)
    # Of another draw for each network; each of the sets meets the same network.
    seeds = range(settings.seed, settings.seed + settings.networks)
    per_class = max(1, len(distilled) // classes)
    drawn = [random_real(dataset, per_class, seed=seed) for seed in seeds]

    def accuracies(
        sets: list[DistilledSet], used: EvaluationSettings
    ) -> Float[np.ndarray, " k"]:
        found = [
            evaluate(one, dataset, dataclasses.replace(used, networks=1, seed=seed))
            for one, seed in zip(sets, seeds, strict=True)
        ]
        return np.concatenate([one.network for one in found])

    own = [distilled] * len(drawn)
    made = {
        "distilled": accuracies(own, resolved),
        "random": accuracies(drawn, resolved),
    }
    for name, sets in (("distilled", own), ("random", drawn)):
        made[f"{name}_plain"] = accuracies(sets, plain) if resolved.ops else made[name]
    if full_accuracy is None:
        full = full_data(
            dataset,
            network=resolved.network,
            networks=settings.networks,
            seed=settings.seed,
        ).network
    else:
        full = np.full(len(seeds), float(full_accuracy))
    return DDRanking(
        full=full,
        hard=accuracies([hard] * len(drawn), resolved),
        **made,
        weight=float(weight),
        settings=resolved,
    )
