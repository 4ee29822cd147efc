"""What the figures compare: each setting's name, colour and method, said once.

Keys are those of ``paper_targets.csv``; the same key has the same colour in every figure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from isa_toolkit import checks
from isa_toolkit.figures.style import COLOURS
from isa_toolkit.methods import DM, MTT, RCIG, RFAD, FRePo, MethodSettings

__all__ = ["SETTINGS", "Setting", "Variant", "setting"]


class Setting(NamedTuple):
    """One thing that is compared.

    label: as legends and tables write it.
    colour: hexadecimal.
    build: learning rate -> settings of the method.
    """

    label: str
    colour: str
    build: Callable[[float], MethodSettings]


class Variant(NamedTuple):
    """A setting, with some of its method's settings changed.

    key: of ``SETTINGS``.
    changes: pairs (name, value).
    """

    key: str
    changes: tuple[tuple[str, Any], ...] = ()

    def method(self, learning_rate: float) -> MethodSettings:
        """Return the settings of the method.

        Args:
            learning_rate: of images and labels.
        """
        made: Any = setting(self.key).build(learning_rate)
        return dataclasses.replace(made, **dict(self.changes))


def _frepo(**changes: Any) -> Callable[[float], MethodSettings]:
    plain = {"drop_easy": 0.0, "drop_hard": 0.0, "segment": (0.0, 0.0)}
    return lambda rate: FRePo(learning_rate=rate, **{**plain, **changes})


# Okabe and Ito's colours; what they lack is from Tol's muted set. All tell apart with
# the common kinds of colour blindness.
SETTINGS: dict[str, Setting] = {
    # The real images that a run starts from; the method takes no step.
    "random": Setting("Random real", COLOURS["Random real"], _frepo()),
    "frepo": Setting("FRePo", COLOURS["FRePo"], _frepo()),
    "frepo+drop_easy": Setting("FRePo, easy dropped", "#E69F00", _frepo(drop_easy=0.2)),
    "frepo+drop_hard": Setting("FRePo, hard dropped", "#009E73", _frepo(drop_hard=0.2)),
    "isa": Setting(
        "FRePo + crucial + ISA",
        COLOURS["FRePo + crucial + ISA"],
        _frepo(drop_easy=0.2, segment=(0.0, 0.5)),
    ),
    "mixup": Setting(
        "crucial + MixUp", "#882255", _frepo(drop_easy=0.2, augmentation="mixup")
    ),
    "single_step": Setting(
        "crucial + single step",
        "#CC79A7",
        _frepo(drop_easy=0.2, segment=(0.0, 0.5), augmentation="single"),
    ),
    # Each at the learning rate of its own row; "ours" is the toolkit's reading.
    "dm": Setting("DM", "#88CCEE", lambda _: DM(drop_easy=0.0, segment=(0.0, 0.0))),
    "dm+ours": Setting("DM + crucial + ISA", "#332288", lambda _: DM()),
    "mtt": Setting(
        "MTT",
        "#DDCC77",
        lambda _: MTT(candidates=1, drop_easy=0.0, segment=(0.0, 0.0)),
    ),
    "mtt+ours": Setting("MTT + crucial + ISA", "#999933", lambda _: MTT(candidates=2)),
    "rfad": Setting(
        "RFAD", "#CC6677", lambda _: RFAD(drop_easy=0.0, segment=(0.0, 0.0))
    ),
    "rfad+ours": Setting("RFAD + crucial + ISA", "#AA4499", lambda _: RFAD()),
    "rcig": Setting(
        "RCIG", "#44AA99", lambda _: RCIG(drop_easy=0.0, segment=(0.0, 0.0))
    ),
    "rcig+ours": Setting("RCIG + crucial + ISA", "#117733", lambda _: RCIG()),
}


def setting(key: str) -> Setting:
    """Return a setting by its key.

    Raises:
        ValueError: an unknown key; the sentence lists the known ones.
    """
    return SETTINGS[checks.check_one_of("setting", key, SETTINGS)]
