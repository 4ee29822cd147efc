"""Pictures of every panel in a real JupyterLab: light and dark, wide and narrow.

    .venv/bin/python tools/screenshots.py                     # all, into results/panels/
    .venv/bin/python tools/screenshots.py isa job-running     # some
    .venv/bin/python tools/screenshots.py --docs              # those of the README

The panels show a tiny study of seconds, whose numbers mean nothing; with ``--docs`` they
show the study ``quick`` of the digits, minutes the first time, whose runs are kept. Needs
the development environment and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]

import lab  # noqa: E402

# Tall enough that nothing scrolls: what scrolls is cut from a picture.
WIDTHS, HEIGHT = (1280, 700, 1900), 3400
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
# Enough colours for a screen of controls and figures, and fewer bytes.
COLOURS = 256

SETUP = """
import dataclasses, time
import isa_toolkit as isa
from isa_toolkit import widgets
from isa_toolkit.figures.study import Study
"""
TINY = """
import pytest
from widget_study import tiny_study
study = tiny_study(pytest.MonkeyPatch(), "runs")
"""
RUNS = """
from isa_toolkit.figures import Variant
study.runs([Variant(key) for key in ("frepo", "isa")], study.sizes[0])
"""
QUICK = """
digits = isa.load_dataset("digits")
study = Study(dataset=digits, scale="quick", seeds=3, folder="runs", progress=False)
"""
RUN = "panel.run.click(); panel.wait(); panel.check()"
EXPERIMENT = """
from isa_toolkit.networks import NetworkSettings
experiment = isa.Experiment(
    dataset="digits", network=NetworkSettings(width=16), batch_size=256, steps=2000,
    validation_every=200, validation_networks=1, validation_steps=300, log_every=10,
    method=isa.FRePo(learning_rate=3e-3, drop_easy=0.2, segment=(0.0, 0.5)),
)
import shutil, uuid
panel = widgets.JobWatcher(experiment, out=f"watched/{uuid.uuid4().hex[:6]}/runs")
def until(state, fraction=0.0):
    while panel.job.status.state != state or panel.job.status.fraction < fraction:
        time.sleep(0.2)
"""
STARTED = "panel.run.click(); panel.check(); until('running', 0.25)"
SWEEP = """
from isa_toolkit.networks import NetworkSettings
experiment = isa.Experiment(
    dataset="digits", network=NetworkSettings(width=16), batch_size=256, steps=3000,
    selection="last", validation_every=0, method=isa.FRePo(segment=(0, 0)),
)
import uuid
out = f"swept/{uuid.uuid4().hex[:6]}/runs"
grid = {"drop_easy": (0, 0.2, 0.4), "seed": (0, 1)}
plan = isa.plan(experiment, grid, out=out, name="fractions")
panel = widgets.SweepPanel(plan, slots=2)
"""
# Panel -> whether it asks for a study, lines that make ``panel``, lines after it is shown.
SCENES = {
    "job-idle": (False, EXPERIMENT, ""),
    "job-running": (False, EXPERIMENT, STARTED + "; time.sleep(1)"),
    "job-stopped": (
        False,
        EXPERIMENT,
        STARTED + "; panel.stop.click(); panel.join()",
    ),
    "job-failed": (
        False,
        EXPERIMENT,
        STARTED + "; panel.job.stop(); panel.join()",
    ),
    "job-done": (
        False,
        EXPERIMENT,
        "panel.steps.value = 400; panel.run.click(); panel.join(); panel.check()",
    ),
    "crucial-before": (True, "panel = widgets.CrucialSamples(study)", ""),
    "crucial-after": (
        True,
        "panel = widgets.CrucialSamples(study)",
        "panel.drop.value = (0.2, 0.1); " + RUN,
    ),
    "crucial-error": (
        True,
        "panel = widgets.CrucialSamples(study)",
        "panel.set(drop=(0.6, 0.5))",
    ),
    "isa": (True, "panel = widgets.ISA(study)", ""),
    "manifold": (
        True,
        "panel = widgets.Manifold(study)",
        RUN + "; panel.select([0, 1, len(panel.points) - 1])",
    ),
    "manifold-hardness": (
        True,
        "panel = widgets.Manifold(study)",
        "panel.classes.value = tuple(range(10)); panel.colour_by.value = 'hardness'; "
        + RUN,
    ),
    "manifold-method": (
        True,
        "panel = widgets.Manifold(study)",
        "panel.colour_by.value = 'method'; " + RUN,
    ),
    "manifold-before": (True, "panel = widgets.Manifold(study)", ""),
    "diversity": (True, "panel = widgets.Diversity(study)", RUN),
    "information": (True, "panel = widgets.Information(study)", RUN),
    "predictors": (True, "panel = widgets.Predictors(study)", RUN),
    "gallery": (
        True,
        RUNS + "panel = widgets.Gallery('runs')",
        "panel.labels.value = True",
    ),
    "sweep-planned": (False, SWEEP, ""),
    "sweep-running": (
        False,
        SWEEP,
        "panel.run.click(); panel.wait(); panel.check()\n"
        "while panel.bar.value < 0.3: time.sleep(0.2)",
    ),
    "sweep-stopped": (
        False,
        SWEEP,
        "panel.run.click(); panel.wait(); panel.check()\n"
        "while panel.bar.value < 0.2: time.sleep(0.2)\n"
        "panel.stop.click(); panel.join()",
    ),
    "compare": (True, RUNS + "panel = widgets.CompareRuns('runs')", ""),
}
# For the README: name of the picture -> (panel, theme, width).
PICTURES = {
    "crucial": ("crucial-after", "light", 1280),
    "manifold": ("manifold", "light", 1280),
    "job": ("job-running", "dark", 1280),
    "isa": ("isa", "dark", 1280),
}


def main() -> None:
    """Take the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("panels", nargs="*", help=f"of {', '.join(SCENES)}")
    parser.add_argument("--docs", action="store_true", help="those of the README")
    parser.add_argument("--out", type=Path, default=ROOT / "results/panels")
    asked = parser.parse_args()
    if why := lab.why_no_browser():
        parser.exit(2, f"{why}\n")
    if unknown := set(asked.panels) - set(SCENES):
        parser.error(f"no such panel: {', '.join(sorted(unknown))}")
    out = asked.out.absolute()
    if asked.docs:
        for name, (panel, theme, width) in PICTURES.items():
            if asked.panels and panel not in asked.panels:
                continue
            take(panel, out / "quick", QUICK, shots=[(theme, width)])
            shot = out / "quick" / f"{panel}-{theme}-{width}.png"
            shrink(shot, ROOT / f"docs/pictures/{name}.png")
        return
    for name in asked.panels or SCENES:
        shots = [(theme, width) for theme in THEMES for width in WIDTHS]
        take(name, out / "tiny", TINY, shots=shots)


def take(name: str, folder: Path, study: str, *, shots: list[tuple[str, int]]) -> None:
    """Run a panel in a notebook of its own and take its pictures.

    Args:
        name: key of ``SCENES``.
        folder: of the notebooks, their runs and the pictures.
        study: lines that make ``study``.
        shots: pairs (theme, width of the window).
    """
    began = time.monotonic()
    asks, made, after = SCENES[name]
    folder.mkdir(parents=True, exist_ok=True)
    notebook = folder / f"{name}.ipynb"
    cells = [SETUP + (study if asks else "") + made, "panel", after or "pass"]
    notebook.write_text(lab.notebook(cells))
    with opened(folder) as (server, page):
        server.open(page, notebook.name)
        server.run_all(page)
        for theme, width in shots:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            page.evaluate(
                "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})",
                THEMES[theme],
            )
            page.wait_for_function(
                "is => document.body.dataset.jpThemeLight === is",
                arg=str(theme == "light").lower(),
            )
            panel = page.locator(".isa-panel").first
            panel.wait_for()
            settle(page)
            path = folder / f"{name}-{theme}-{width}.png"
            panel.screenshot(path=path)
            cut = page.evaluate(_CUT)
            print(f"{path}  {time.monotonic() - began:.0f} s  {cut or ''}")


# What is wider than the panel shows of it.
_CUT = """() => {
    const panel = document.querySelector('.isa-panel');
    const edge = panel.getBoundingClientRect();
    return [...panel.querySelectorAll('*')].filter(part => {
        const box = part.getBoundingClientRect();
        return box.width && (box.right > edge.right + 1 || box.left < edge.left - 1);
    }).map(part => `${part.tagName}.${part.className}`.slice(0, 80)).slice(0, 4);
}"""


def settle(page: Any) -> None:
    """Wait until two frames in a row are laid out alike."""
    page.evaluate(
        """async () => {
            const frame = () => new Promise(requestAnimationFrame);
            const size = () => [...document.querySelectorAll('.isa-panel *')]
                .map(part => part.getBoundingClientRect())
                .map(box => [box.x, box.y, box.width, box.height].join()).join(';');
            let before = '';
            for (let same = 0; same < 10;) {
                const now = size();
                same = now === before ? same + 1 : 0;
                before = now;
                await frame();
            }
        }"""
    )


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[tuple[lab.Lab, Any]]:
    """Give a JupyterLab on a folder and a page, compiled programs kept between them."""
    compiled = folder / "compiled"
    environ = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "ISA_CACHE_DIR": str(folder / "cache"),
    }
    size = {"width": WIDTHS[0], "height": HEIGHT}
    with (
        lab.jupyterlab(folder, folder / ".home", **environ) as server,
        lab.chromium() as browser,
        lab.new_page(browser, viewport=size) as (page, _),
    ):
        yield server, page


def shrink(source: Path, target: Path) -> None:
    """Write a picture with few colours, as small as a README wants it."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    image = (
        Image.open(source).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    )
    image.save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
