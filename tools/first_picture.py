"""The first picture of the README: ten real, ten chosen and ten distilled digits.

``.venv/bin/python tools/first_picture.py`` writes ``docs/digits.png`` in a few minutes.
"""

from __future__ import annotations

from pathlib import Path

import isa_toolkit as isa
from isa_toolkit.figures import first

TARGET = Path(__file__).resolve().parents[1] / "docs" / "digits.png"

if __name__ == "__main__":
    table = first.compute(isa.Study("digits", scale="quick"))
    first.draw(table, size="page").savefig(TARGET, dpi=150)
    print(first.caption(table))
