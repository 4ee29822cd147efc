"""``isa-toolkit doctor``: is this machine fit to distil on?"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

from isa_toolkit.cli import advice
from isa_toolkit.cli.common import parse, write_result

__all__ = ["DoctorOptions", "run"]

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy",
    "scikit-learn", "pyarrow", "pillow", "matplotlib", "safetensors",
    "ipywidgets", "anywidget", "jupyterlab", "ipykernel", "datasets",
)  # fmt: skip


@dataclasses.dataclass
class DoctorOptions:
    """Options of the command.

    Attributes:
        json: write JSON to standard output.
    """

    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        0 if the self-check passed, else 1.
    """
    options = parse(DoctorOptions, "doctor", words, "Check this machine.")
    machine, gpus = _machine(), _gpus()  # before JAX takes its share
    found, result = _notebook_advice(machine["versions"]), dict(machine)
    grabs = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true").lower() != "false"
    found += [advice.memory_advice(*gpu, grabs=grabs) for gpu in gpus]
    try:
        result |= {**_device(), "self_check": self_check()}
        found += [advice.gpu_advice(result["backend"], bool(gpus))]
    except RuntimeError as error:  # no backend: the driver or its memory
        result |= {"self_check": {"passed": False}}
        found += [f"JAX does not start: {str(error).splitlines()[0]}"]
    result["advice"] = [sentence for sentence in found if sentence is not None]
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"  {name:<24}{inner}" for name, inner in value.items()]
        elif isinstance(value, list):
            lines += [f"{key}:", *(f"  {one}" for one in value or ["nothing to mend"])]
        else:
            lines.append(f"{key:<26}{value}")
    write_result(result, lines, as_json=options.json)
    return 0 if result["self_check"]["passed"] else 1


def _machine() -> dict[str, Any]:
    import importlib.metadata

    from isa_toolkit import __version__
    from isa_toolkit.datasets.memory_map import available_bytes

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "isa_toolkit": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "free_memory_gib": round(available_bytes() / 2**30, 1),
        "versions": versions,
    }


def _device() -> dict[str, Any]:
    import jax

    devices = {}
    for device in jax.devices():
        memory = device.memory_stats() or {}
        limit, used = memory.get("bytes_limit"), memory.get("bytes_in_use")
        free = (
            "shared with the machine"
            if limit is None or used is None
            else f"{(limit - used) / 2**30:.1f} GiB free of {limit / 2**30:.1f}"
        )
        devices[str(device)] = f"{device.device_kind}, {free}"
    return {
        "backend": jax.default_backend(),
        "devices": devices,
        "matmul_precision": str(
            getattr(jax.config, "jax_default_matmul_precision", None) or "default"
        ),
        "preallocate": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "default"),
    }


def _gpus() -> list[tuple[str, float, float]]:
    """Return name, free and total MiB of each NVIDIA GPU; none without its driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [
        "--query-gpu=name,memory.free,memory.total",
        "--format=csv,noheader,nounits",
    ]
    try:
        asked = subprocess.run(
            [program, *query], capture_output=True, text=True, timeout=20, check=True
        )
        rows = [line.rsplit(",", 2) for line in asked.stdout.splitlines()]
        return [(name, float(free), float(total)) for name, free, total in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _notebook_advice(versions: dict[str, str]) -> list[str | None]:
    """Return what keeps the panels from working in JupyterLab."""
    missing = advice.package_advice(versions)
    if missing is not None:
        return [missing]
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from jupyter_core.paths import jupyter_path

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv
    except NoSuchKernel:
        command = None
    return [
        advice.manager_advice(jupyter_path("labextensions")),
        advice.kernel_advice(command, sys.executable),
    ]


def self_check() -> dict[str, Any]:
    """Return whether the central formulas hold on this device.

    Returns:
        ``passed``, and the relative errors of the ridge readout against NumPy in float64
        and of the segment loss against 16-point quadrature of its integral.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from isa_toolkit.losses import dual_readout, segment_loss

    draws = np.random.default_rng(0)
    features = draws.normal(size=(40, 120))
    labels = draws.normal(size=(40, 10))
    kernel = features @ features.T
    lam = 1e-3 * np.trace(kernel) / 40
    exact = features.T @ np.linalg.solve(kernel + lam * np.eye(40), labels)
    readout = jax.jit(dual_readout)(
        jnp.asarray(features, jnp.float32), jnp.asarray(labels, jnp.float32), 1e-3
    )
    ridge_error = float(np.abs(readout.weights - exact).max() / np.abs(exact).max())

    residual, difference = draws.normal(size=(2, 40, 10))
    nodes, weights = np.polynomial.legendre.leggauss(16)
    positions = 0.25 * (nodes + 1)
    virtual = residual + positions[:, None, None] * difference
    integral = (weights / 2) @ (0.5 * (virtual**2).sum(-1))
    closed = jax.jit(segment_loss)(
        jnp.asarray(residual, jnp.float32),
        jnp.asarray(difference, jnp.float32),
        0.0,
        0.5,
    )
    isa_error = float(np.abs(closed - integral).max() / integral.max())
    return {
        "passed": ridge_error < 1e-3 and isa_error < 1e-4,
        "ridge_relative_error": ridge_error,
        "isa_relative_error": isa_error,
    }
