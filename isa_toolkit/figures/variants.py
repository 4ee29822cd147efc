"""What the figures compare: the label, colour and method of each setting.

Keys are those of ``paper_targets.csv``. A key has the same colour in every figure.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from isa_toolkit import checks
from isa_toolkit.methods import DM, MTT, RCIG, RFAD, FRePo

_Build = Callable[[float], Any]


class Setting(NamedTuple):
    """One setting that figures compare.

    label: Text of legends and tables.
    colour: Hexadecimal colour.
    build: Function from a learning rate to the method's settings; None for baselines
        that no method distils.
    """

    label: str
    colour: str
    build: _Build | None = None


class Variant(NamedTuple):
    """A setting to distil: one of ``SETTINGS``, or any settings of a method under a label.

    key: Key in ``SETTINGS``, or with ``own`` any label of figures and tables.
    changes: Pairs (name, value) that replace settings of the method.
    own: Settings of a method, which keep their own learning rate.

    Example:
        >>> import isa_toolkit as isa
        >>> Variant("half dropped", own=isa.FRePo(drop_easy=0.5)).method(1.0).drop_easy
        0.5
    """

    key: str
    changes: tuple[tuple[str, Any], ...] = ()
    own: Any = None

    def method(self, learning_rate: float) -> Any:
        """Return the settings of the method, a built-in FRePo's at this learning rate."""
        if self.own is not None:
            return dataclasses.replace(self.own, **dict(self.changes))
        build = setting(self.key).build
        if build is None:
            distilled = [key for key, one in SETTINGS.items() if one.build]
            raise checks.fail("variant", f"be one of {', '.join(distilled)}", self.key)
        return dataclasses.replace(build(learning_rate), **dict(self.changes))


def setting(key: str) -> Setting:
    """Return a setting by its key, or say which ones are known."""
    return SETTINGS[checks.check_one_of("setting", key, SETTINGS)]


def looks_of(keys: Iterable[str]) -> dict[str, Setting]:
    """Return label and colour of each key; labels of the user take colours in order."""
    keys = list(dict.fromkeys(keys))
    spare = itertools.cycle(
        one.colour for key, one in SETTINGS.items() if one.build and key not in keys
    )
    return {key: SETTINGS.get(key) or Setting(key, next(spare)) for key in keys}


def label_of(key: Any) -> str:
    """Return the label of a setting; an unknown key becomes readable text."""
    known = SETTINGS.get(key)
    return known.label if known else str(key).replace("_", " ")


def _frepo(**changes: Any) -> _Build:
    plain = {"drop_easy": 0.0, "drop_hard": 0.0, "segment": (0.0, 0.0)}
    return lambda rate: FRePo(learning_rate=rate, **{**plain, **changes})


# After the palette of Okabe and Ito and Paul Tol's muted set, which differ with the
# common kinds of colour blindness, too; pale ones are darker, for a contrast of 3 on white.
SETTINGS: dict[str, Setting] = {
    # The real images that a run starts from.
    "random": Setting("Random real", "#808080"),
    "kmeans": Setting("k-means real", "#7B5B3A"),
    "full": Setting("Whole training set", "#000000"),
    "frepo": Setting("FRePo", "#0072B2", _frepo()),
    "frepo+drop_easy": Setting("FRePo, easy dropped", "#B08000", _frepo(drop_easy=0.2)),
    "frepo+drop_late": Setting(
        "FRePo, easy dropped, second half",
        "#A65628",
        _frepo(drop_easy=0.2, select_from=0.5),
    ),
    "frepo+drop_hard": Setting("FRePo, hard dropped", "#009E73", _frepo(drop_hard=0.2)),
    "frepo+isa": Setting("FRePo + ISA", "#6A51C8", _frepo(segment=(0.0, 0.5))),
    "frepo+toward": Setting(
        "FRePo + ISA, segment (-1, 0)", "#AA3377", _frepo(segment=(-1.0, 0.0))
    ),
    "isa": Setting(
        "FRePo + crucial + ISA",
        "#D55E00",
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
    # Each at its published learning rate; "ours" is the toolkit's reading.
    "dm": Setting("DM", "#3B8EC2", lambda _: DM(drop_easy=0.0, segment=(0.0, 0.0))),
    "dm+ours": Setting("DM + crucial + ISA", "#332288", lambda _: DM()),
    "mtt": Setting(
        "MTT",
        "#A88B1F",
        lambda _: MTT(candidates=1, drop_easy=0.0, segment=(0.0, 0.0)),
    ),
    "mtt+ours": Setting("MTT + crucial + ISA", "#5F6B1A", lambda _: MTT(candidates=2)),
    "rfad": Setting(
        "RFAD", "#CC6677", lambda _: RFAD(drop_easy=0.0, segment=(0.0, 0.0))
    ),
    "rfad+ours": Setting("RFAD + crucial", "#AA4499", lambda _: RFAD()),
    "rcig": Setting(
        "RCIG", "#329987", lambda _: RCIG(drop_easy=0.0, segment=(0.0, 0.0))
    ),
    "rcig+ours": Setting("RCIG + crucial", "#117733", lambda _: RCIG()),
}
