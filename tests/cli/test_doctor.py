"""The doctor says what is wrong with a machine, and nothing where nothing is."""

from __future__ import annotations

import json
import sys

import pytest

from isa_toolkit.cli import advice, doctor

GPU = "NVIDIA H100"


def _manager(folder, text):
    path = folder / advice.MANAGER / "package.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder


def test_a_widget_manager_of_today_needs_no_advice(tmp_path):
    _manager(tmp_path, json.dumps({"version": "5.0.15"}))
    assert advice.manager_advice([tmp_path / "nowhere", tmp_path]) is None


def test_a_missing_widget_manager_is_explained(tmp_path):
    said = advice.manager_advice([tmp_path])
    assert said is not None
    assert "no widget manager" in said
    assert "pip install jupyterlab_widgets" in said


@pytest.mark.parametrize("text", ["{}", "not json", '{"version": "new"}', "[]"])
def test_a_damaged_widget_manager_is_explained(tmp_path, text):
    said = advice.manager_advice([_manager(tmp_path, text)])
    assert said is not None
    assert "damaged" in said
    assert str(tmp_path) in said


def test_the_first_widget_manager_counts_and_an_old_one_is_named(tmp_path):
    old = _manager(tmp_path / "user", json.dumps({"version": "3.1.1"}))
    new = _manager(tmp_path / "system", json.dumps({"version": "5.0.0"}))
    said = advice.manager_advice([old, new])
    assert said is not None
    assert "3.1.1" in said
    assert advice.manager_advice([new, old]) is None


@pytest.mark.parametrize(
    "command", [["python", "-m", "ipykernel"], ["/env/bin/python3", "-m", "ipykernel"]]
)
def test_a_kernel_of_this_python_needs_no_advice(command):
    assert advice.kernel_advice(command, "/env/bin/python") is None


def test_a_kernel_of_another_python_is_named():
    said = advice.kernel_advice(
        ["/usr/bin/python3", "-m", "ipykernel"], "/env/bin/python"
    )
    assert said is not None
    assert "/usr/bin/python3, not /env/bin/python" in said
    assert "ipykernel install --sys-prefix" in said


def test_a_missing_kernel_is_explained():
    said = advice.kernel_advice(None, "/env/bin/python")
    assert said is not None
    assert "no kernel" in said


def test_packages_of_the_notebooks_that_are_missing_are_named():
    versions = {"ipywidgets": "not installed", "jupyterlab": "4.6", "ipykernel": "7"}
    said = advice.package_advice(versions)
    assert said is not None
    assert said.startswith("The notebooks need ipywidgets, not installed in")
    assert advice.package_advice({"ipywidgets": "8.1.9"}) is None


def test_a_gpu_that_others_hold_is_named_with_what_frees_it():
    said = advice.memory_advice(GPU, 8 * 1024, 80 * 1024, grabs=True)
    assert said is not None
    assert "NVIDIA H100 has 8.0 of 80.0 GiB left" in said
    assert "XLA_PYTHON_CLIENT_PREALLOCATE=false" in said
    unsaid = advice.memory_advice(GPU, 8 * 1024, 80 * 1024, grabs=False)
    assert unsaid is not None
    assert "PREALLOCATE" not in unsaid
    assert advice.memory_advice(GPU, 60 * 1024, 80 * 1024, grabs=True) is None


def test_a_gpu_that_jax_does_not_use_is_named():
    said = advice.gpu_advice("cpu", has_nvidia=True)
    assert said is not None
    assert "isa-toolkit[cuda13]" in said
    assert advice.gpu_advice("gpu", has_nvidia=True) is None
    assert advice.gpu_advice("cpu", has_nvidia=False) is None


def test_this_environment_is_fit(capsys):
    assert doctor.run(["--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["self_check"]["passed"]
    assert result["advice"] == []
    assert result["executable"] == sys.executable


def test_the_doctor_prints_its_advice(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_gpus", lambda: [(GPU, 100.0, 81920.0)])
    assert doctor.run([]) == 0
    text = capsys.readouterr().out
    assert "NVIDIA H100 has 0.1 of 80.0 GiB left" in text
    assert "JAX runs on the CPU" in text


def test_a_backend_that_does_not_start_is_one_sentence(capsys, monkeypatch):
    def broken():
        raise RuntimeError("Unable to initialize backend 'cuda'\nwith a long trace")

    monkeypatch.setattr(doctor, "_device", broken)
    assert doctor.run([]) == 1
    text = capsys.readouterr().out
    assert "JAX does not start: Unable to initialize backend 'cuda'\n" in text


def test_the_driver_is_asked_through_its_own_program(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A100, SXM, 1024, 40960'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert doctor._gpus() == [("NVIDIA A100, SXM", 1024.0, 40960.0)]
    program.write_text("#!/bin/sh\necho 'no driver' ; exit 9\n")
    assert doctor._gpus() == []
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert doctor._gpus() == []
