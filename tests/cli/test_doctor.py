"""The doctor names what is wrong with a machine, and nothing where nothing is wrong."""

from __future__ import annotations

import json
import sys

import jupyter_core.paths
import pytest
from jupyter_client import kernelspec

import isa_toolkit.losses
from isa_toolkit.cli import doctor, main
from isa_toolkit.cli.doctor import gpu_advice, notebook_advice, nvidia_gpus, self_check

GPU = "NVIDIA H100"


@pytest.fixture
def extensions(tmp_path, monkeypatch):
    """Return a writer of the only widget manager that JupyterLab finds."""
    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", lambda _: [str(tmp_path)])

    def write(text: str) -> None:
        path = tmp_path / "@jupyter-widgets/jupyterlab-manager/package.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)

    return write


def test_a_current_widget_manager_needs_no_advice(extensions):
    extensions('{"version": "5.0.15"}')
    assert notebook_advice({}) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "missing"),
        ("{}", "damaged"),
        ("not json", "damaged"),
        ("[]", "damaged"),
        ('{"version": "3.1.1"}', "3.1.1"),
    ],
)
def test_a_missing_damaged_or_old_widget_manager_is_explained(
    extensions, text, problem
):
    if text is not None:
        extensions(text)
    [advice] = notebook_advice({})
    assert problem in advice
    assert "pip install" in advice
    assert "jupyterlab_widgets" in advice


def test_a_user_without_a_home_is_told_to_set_one(monkeypatch):
    def no_home(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", no_home)
    [advice] = notebook_advice({})
    assert advice.endswith("Could not determine home directory. Set HOME to a folder.")


@pytest.mark.parametrize(
    ("program", "is_fine"),
    [("python", True), (sys.executable, True), ("/elsewhere/bin/python3", False)],
)
def test_a_kernel_of_another_python_is_named(extensions, monkeypatch, program, is_fine):
    extensions('{"version": "5.0.0"}')

    class Manager:
        def get_kernel_spec(self, _):
            return kernelspec.KernelSpec(argv=[program, "-m", "ipykernel"])

    monkeypatch.setattr(kernelspec, "KernelSpecManager", Manager)
    advice = notebook_advice({})
    assert bool(advice) is not is_fine
    assert is_fine or program in advice[0]


def test_a_missing_kernel_is_explained(extensions, monkeypatch):
    extensions('{"version": "5.0.0"}')

    class Manager:
        def get_kernel_spec(self, name):
            raise kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(kernelspec, "KernelSpecManager", Manager)
    [advice] = notebook_advice({})
    assert "ipykernel install --sys-prefix" in advice


def test_missing_packages_of_the_notebooks_are_named():
    [advice] = notebook_advice({"ipywidgets": "not installed", "jupyterlab": "4.6"})
    assert "ipywidgets" in advice
    assert "jupyterlab" not in advice.partition("Run:")[0]


def test_a_gpu_in_use_by_others_is_named_with_what_frees_it():
    [advice] = gpu_advice([(GPU, 8 * 1024, 80 * 1024), (GPU, 60 * 1024, 80 * 1024)])
    assert "NVIDIA H100 has 8.0 of 80.0 GiB left" in advice
    assert "XLA_PYTHON_CLIENT_PREALLOCATE=false" in advice


def test_this_machine_is_ready(capsys):
    assert main(["doctor", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["self_check"]["passed"]
    assert result["advice"] == []
    assert result["executable"] == sys.executable


def test_advice_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "nvidia_gpus", lambda: [(GPU, 100.0, 81920.0)])
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "NVIDIA H100 has 0.1 of 80.0 GiB left" in text
    assert "JAX runs on the CPU" in text


def test_a_backend_that_does_not_start_is_one_sentence(capsys, monkeypatch):
    def broken():
        raise RuntimeError("Unable to initialize backend 'cuda'\nwith a long trace")

    monkeypatch.setattr(doctor, "jax_devices", broken)
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "JAX does not start: Unable to initialize backend 'cuda'\n" in text


def test_the_driver_is_queried_through_its_own_program(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A100, SXM, 1024, 40960'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert nvidia_gpus() == [("NVIDIA A100, SXM", 1024.0, 40960.0)]
    program.write_text("#!/bin/sh\necho 'no driver' ; exit 9\n")
    assert nvidia_gpus() == []
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert nvidia_gpus() == []


def test_the_self_check_can_fail(monkeypatch):
    def wrong(residual, difference, start, stop):
        return 0.5 * (residual**2).sum(-1)

    monkeypatch.setattr(isa_toolkit.losses, "segment_loss", wrong)
    assert self_check()["passed"] is False
