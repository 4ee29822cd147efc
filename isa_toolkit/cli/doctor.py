"""``isa-toolkit doctor``: is this machine ready for distillation?

Each ``*_advice`` function returns sentences that name a problem and its fix.
"""

from __future__ import annotations

import json as json_format
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from isa_toolkit.cli.output import write_result

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy",
    "scikit-learn", "pyarrow", "pillow", "matplotlib", "safetensors",
    "ipywidgets", "anywidget", "jupyterlab", "ipykernel", "datasets",
)  # fmt: skip
_LEAST_FREE = 0.25  # of a GPU's memory; with less, runs fail to start

# A flag of JAX that type checkers do not know.
_PRECISION = "jax_default_matmul_precision"


def doctor(json: bool = False) -> int:
    """Check versions, devices, precision and memory of this machine.

    Args:
        json: Write JSON to standard output.

    Returns:
        0 if the self-check passed, else 1.
    """
    from isa_toolkit import __version__
    from isa_toolkit.environment import available_bytes

    gpus = nvidia_gpus()  # before JAX takes its memory
    versions = {name: _version(name) for name in PACKAGES}
    result: dict[str, Any] = {
        "isa_toolkit": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "free_memory_gib": round(available_bytes() / 2**30, 1),
        "versions": versions,
    }
    advice = [*notebook_advice(versions), *gpu_advice(gpus)]
    try:
        result |= {**jax_devices(), "self_check": self_check()}
        if gpus and result["backend"] == "cpu":
            advice.append(
                "This machine has an NVIDIA driver, but JAX runs on the CPU. Run: python "
                "-m pip install 'isa-toolkit[cuda13]', and unset JAX_PLATFORMS."
            )
    except RuntimeError as error:  # no backend: the driver or its memory
        result["self_check"] = {"passed": False}
        advice.append(f"JAX does not start: {str(error).splitlines()[0]}")
    result["advice"] = advice
    lines = []
    for name, value in result.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {key:<24}{one}" for key, one in value.items())]
        elif isinstance(value, list):
            lines += [
                f"{name}:",
                *(f"  {one}" for one in value or ["no problems found"]),
            ]
        else:
            lines.append(f"{name:<26}{value}")
    write_result(result, lines, json=json)
    return 0 if result["self_check"]["passed"] else 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def notebook_advice(versions: Mapping[str, str]) -> list[str]:
    """Return what keeps the panels from working in JupyterLab."""
    needed = ("ipywidgets", "anywidget", "jupyterlab", "ipykernel")
    missing = [name for name in needed if versions.get(name) == "not installed"]
    if missing:
        return [
            f"The notebooks need {', '.join(missing)}, not installed in {sys.executable}. "
            "Run: python -m pip install 'isa-toolkit[notebooks]'"
        ]
    try:
        return [*_widget_manager_advice(), *_kernel_advice()]
    except RuntimeError as error:  # no HOME, and no entry for this user
        return [f"JupyterLab does not start: {error} Set HOME to a folder."]


def _widget_manager_advice() -> list[str]:
    from jupyter_core.paths import jupyter_path

    name = "@jupyter-widgets/jupyterlab-manager/package.json"
    files = [Path(folder, name) for folder in jupyter_path("labextensions")]
    # The first one counts. Widgets of ipywidgets 8 need version 5.
    file = next((file for file in files if file.is_file()), None)
    try:
        version = (
            json_format.loads(file.read_text("utf-8"))["version"] if file else "missing"
        )
        if int(version.partition(".")[0]) >= 5:
            return []
    except (OSError, ValueError, KeyError, TypeError):
        version = "damaged" if file else "missing"
    return [
        f"JupyterLab's widget manager is {version} ({file}): panels would show as text. "
        "Run: python -m pip install --upgrade --force-reinstall jupyterlab_widgets, and "
        "restart JupyterLab."
    ]


def _kernel_advice() -> list[str]:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        program = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    except NoSuchKernel:
        program = Path("/missing")
    # A bare name is the Python that starts JupyterLab. Links are not resolved: an
    # environment's Python is a link to the one that it was made with.
    if (
        not program.is_absolute()
        or program.parent == Path(sys.executable).absolute().parent
    ):
        return []
    return [
        f"The kernel 'python3' starts {program}, not {sys.executable}: notebooks would not "
        "find this package. Run: python -m ipykernel install --sys-prefix"
    ]


def nvidia_gpus() -> list[tuple[str, float, float]]:
    """Return name, free MiB and total MiB of each NVIDIA GPU; none without its driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=name,memory.free,memory.total"
    try:
        answer = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        rows = [line.rsplit(",", 2) for line in answer.stdout.splitlines()]
        return [(name, float(free), float(total)) for name, free, total in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def gpu_advice(gpus: list[tuple[str, float, float]]) -> list[str]:
    """Return which GPUs have too little free memory for a run."""
    return [
        f"{name} has {free / 1024:.1f} of {total / 1024:.1f} GiB left: other processes use "
        "the rest. Shut down kernels and runs that are not needed, and set "
        "XLA_PYTHON_CLIENT_PREALLOCATE=false in all of them before jax is imported."
        for name, free, total in gpus
        if free < _LEAST_FREE * total
    ]


def jax_devices() -> dict[str, Any]:
    """Return JAX's backend, its devices with their memory, and its precision."""
    import jax

    devices = {}
    for device in jax.devices():
        memory = device.memory_stats() or {}
        free = "memory shared with the machine"
        if "bytes_limit" in memory:
            left = memory["bytes_limit"] - memory.get("bytes_in_use", 0)
            free = f"{left / 2**30:.1f} of {memory['bytes_limit'] / 2**30:.1f} GiB free"
        devices[str(device)] = f"{device.device_kind}, {free}"
    return {
        "backend": jax.default_backend(),
        "devices": devices,
        "matmul_precision": str(getattr(jax.config, _PRECISION) or "default"),
        "preallocate": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "default"),
    }


def self_check() -> dict[str, Any]:
    """Return whether the central formulas hold on this device.

    Returns:
        ``passed``, and the relative errors of the ridge readout against NumPy in float64
        and of the segment loss against 16-point quadrature of its integral.
    """
    import jax
    import numpy as np

    from isa_toolkit.losses import dual_readout, segment_loss

    draws = np.random.default_rng(0)
    features, labels = draws.normal(size=(40, 120)), draws.normal(size=(40, 10))
    kernel = features @ features.T
    ridge = 1e-3 * np.trace(kernel) / 40 * np.eye(40)
    exact = features.T @ np.linalg.solve(kernel + ridge, labels)
    single = [array.astype(np.float32) for array in (features, labels)]
    weights = jax.jit(dual_readout)(*single, 1e-3).weights
    ridge_error = float(np.abs(weights - exact).max() / np.abs(exact).max())

    residual, difference = draws.normal(size=(2, 40, 10))
    nodes, quadrature = np.polynomial.legendre.leggauss(16)
    virtual = residual + 0.25 * (nodes + 1)[:, None, None] * difference
    integral = (quadrature / 2) @ (0.5 * (virtual**2).sum(-1))
    single = [array.astype(np.float32) for array in (residual, difference)]
    closed = jax.jit(segment_loss)(*single, 0.0, 0.5)
    isa_error = float(np.abs(closed - integral).max() / integral.max())
    return {
        "passed": ridge_error < 1e-3 and isa_error < 1e-4,
        "ridge_relative_error": ridge_error,
        "isa_relative_error": isa_error,
    }
