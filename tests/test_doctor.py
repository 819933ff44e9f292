import json
import re
import shutil
import sys
from types import SimpleNamespace

import onnxruntime
import pytest
import torch
from packaging.requirements import Requirement
from safetensors.torch import save_file
from test_faces import opencv_folder as opencv_folder

from instantid import bundles, doctor
from instantid.doctor import ROOT, Finding
from instantid.errors import BundleError

PIP = f"{sys.executable} -m pip install"
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def pins(name: str) -> dict[str, str]:
    """What a requirements file asks for, read in another way than doctor does."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / name).read_text(), flags=re.MULTILINE))


GPU_INSTALL = pins("requirements.txt") | {"onnxruntime": "1.32.0"}
CPU_INSTALL = pins("requirements-cpu.txt") | {"torch": pins("requirements-cpu.txt")["torch"] + "+cpu"}


@pytest.fixture
def install(monkeypatch):
    """`install({"torch": "2.15.0"}, opencv="5.0")` is all that is installed."""

    def lay(packages: dict[str, str | None]):
        monkeypatch.setattr(doctor, "_installed", packages.get)
        found = [SimpleNamespace(name=name, version=number) for name, number in packages.items()]
        monkeypatch.setattr(
            doctor, "distributions", lambda: [*found, SimpleNamespace(name=None, version=None)]
        )

    return lay


def providers(monkeypatch, *names: str):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(names))


# Packages


@pytest.mark.parametrize(
    ("packages", "name"), [(GPU_INSTALL, "requirements.txt"), (CPU_INSTALL, "requirements-cpu.txt")]
)
def test_either_install_of_the_readme_is_as_wanted(install, packages, name):
    install(packages)
    assert doctor._packages() == Finding("Packages", f"as in {name}")


@pytest.mark.parametrize(
    ("packages", "name", "change", "told"),
    [
        (GPU_INSTALL, "requirements.txt", {"diffusers": "0.30.0"}, "diffusers 0.30.0 (wanted "),
        (GPU_INSTALL, "requirements.txt", {"compel": None}, "compel is missing (wanted "),
        (GPU_INSTALL, "requirements.txt", {"onnxruntime-gpu": None}, "onnxruntime-gpu is missing (wanted "),
        (CPU_INSTALL, "requirements-cpu.txt", {"gradio": "5.0"}, "gradio 5.0 (wanted "),
        (CPU_INSTALL, "requirements-cpu.txt", {"torch": "2.1.0+cpu"}, "torch 2.1.0+cpu (wanted "),
    ],
)
def test_each_difference_is_named_with_the_command_for_that_install(install, packages, name, change, told):
    install(packages | change)
    finding = doctor._packages()
    assert not finding.good
    assert finding.found.startswith(told) and ";" not in finding.found
    assert finding.repair == f"{PIP} -r {ROOT / name}"


@pytest.mark.parametrize("name", doctor.REQUIREMENTS)
def test_each_line_of_the_requirements_pins_one_package(name):
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    packages = [Requirement(line) for line in lines if line]
    assert all(str(package.specifier).startswith("==") for package in packages)
    assert len({package.name for package in packages}) == len(packages)


def test_the_packages_of_this_environment_are_really_read():
    assert doctor._installed("torch").split(".")[0] == torch.__version__.split(".")[0]
    assert doctor._installed("no-such-package") is None


# The face runtime


def test_an_overwritten_gpu_runtime_is_seen_and_the_repair_given(install, monkeypatch):
    install(GPU_INSTALL)
    providers(monkeypatch, "AzureExecutionProvider", CPU)
    finding = doctor._face_runtime()
    gpu = GPU_INSTALL["onnxruntime-gpu"]
    assert not finding.good
    assert f"lies over onnxruntime-gpu {gpu}: faces run on Azure, CPU only" in finding.found
    assert finding.repair == f"{PIP} --force-reinstall --no-deps onnxruntime-gpu=={gpu}"


@pytest.mark.parametrize(
    ("packages", "available", "told"),
    [(GPU_INSTALL, (CUDA, CPU), ": CUDA, CPU"), (CPU_INSTALL, (CPU,), ": CPU")],
)
def test_a_face_runtime_as_installed_is_good(install, monkeypatch, packages, available, told):
    install(packages)
    providers(monkeypatch, *available)
    finding = doctor._face_runtime()
    assert finding.good and finding.repair is None and finding.found.endswith(told)


@pytest.mark.parametrize(
    ("packages", "wanted"),
    [(GPU_INSTALL, "onnxruntime-gpu==" + GPU_INSTALL["onnxruntime-gpu"]),
     (CPU_INSTALL, "onnxruntime==" + CPU_INSTALL["onnxruntime"]),
     ({}, "onnxruntime")],
)  # fmt: skip
@pytest.mark.parametrize("rest", [None, SimpleNamespace()], ids=["gone", "an empty folder is left"])
def test_a_face_runtime_that_cannot_be_imported_is_a_finding(install, monkeypatch, packages, wanted, rest):
    install(packages)
    monkeypatch.setitem(sys.modules, "onnxruntime", rest)
    finding = doctor._face_runtime()
    assert not finding.good and "cannot be imported" in finding.found
    assert finding.repair == f"{PIP} --force-reinstall --no-deps {wanted}"


# OpenCV


def test_several_opencv_packages_of_one_version_are_good(install):
    install({"opencv-python": "5.0.0.93", "opencv-python-headless": "5.0.0.93", "numpy": "2"})
    assert doctor._opencv() == Finding("OpenCV", "opencv-python 5.0.0.93, opencv-python-headless 5.0.0.93")


def test_opencv_packages_that_differ_are_all_brought_to_the_newest(install):
    install({"opencv-python": "5.0.0.93", "opencv-contrib-python": "10.0.0.1"})
    finding = doctor._opencv()
    assert not finding.good and "different versions in one folder" in finding.found
    # One alone would leave the other's number behind, and this finding for ever.
    all_alike = "opencv-contrib-python==10.0.0.1 opencv-python==10.0.0.1"
    assert finding.repair == f"{PIP} --force-reinstall --no-deps {all_alike}"


def test_missing_opencv_is_a_finding_with_a_command_that_works(install):
    install({"numpy": "2"})
    finding = doctor._opencv()
    assert (finding.found, finding.good) == ("missing", False)
    assert finding.repair == f"{PIP} --force-reinstall --no-deps opencv-python"


# The device


def test_a_driver_that_torch_cannot_use_is_a_finding(monkeypatch):
    monkeypatch.setattr(shutil, "which", {"nvidia-smi": "/usr/bin/nvidia-smi"}.get)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    finding = doctor._device()
    assert not finding.good and "built without CUDA" in finding.found
    assert finding.repair == f"{PIP} --force-reinstall -r {ROOT / 'requirements.txt'}"


def test_a_driver_too_old_for_torch_is_a_finding(monkeypatch):
    monkeypatch.setattr(shutil, "which", {"nvidia-smi": "/usr/bin/nvidia-smi"}.get)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    finding = doctor._device()
    assert not finding.good and "sees no GPU" in finding.found
    assert "CUDA older than 13.2, update the driver" in finding.repair


def test_a_machine_without_a_driver_is_good(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    finding = doctor._device()
    assert finding.good and finding.found == f"cpu, float32, torch {torch.__version__}"


def test_a_gpu_is_named_with_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (6 * 2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GeForce")
    assert doctor._device() == Finding("Device", "GeForce, 6.0 of 8.0 GiB free, float16")


# The bundle


def parts(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_a_whole_bundle_has_good_parts_with_size_and_licence(tiny):
    found = parts(doctor.examine(tiny))
    assert {"Python", "Packages", "Device", "Face runtime", "OpenCV", "Disk"} < found.keys()
    for name in ("base", "identitynet", "identity_adapter", "controlnets.canny"):
        assert found[name].good and "MiB; licence: Apache-2.0. Random weights" in found[name].found
    assert "faces" not in found  # it has none, and needs none for ready faces
    assert "tiny is untrained" in found["Weights"].found


def test_weights_of_our_own_come_with_what_to_expect_of_them(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    card = {
        "on": "renders",
        "hours": 9,
        "hardware": "CPU",
        "command": "train",
        "date": "2026-11-24",
        "commit": "0123",
    }
    description = json.loads((copy / "bundle.json").read_text()) | {"untrained": False, "trained": card}
    (copy / "bundle.json").write_text(json.dumps(description))
    assert "trained for 9 hours on renders" in parts(doctor.examine(copy))["Weights"].found


def test_a_missing_part_of_a_folder_is_named_with_its_place(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "ip-adapter.bin").unlink()
    finding = parts(doctor.examine(copy))["identity_adapter"]
    assert not finding.good and f"nothing at {copy / 'ip-adapter.bin'}" in finding.found


def test_published_weights_that_are_not_here_come_with_the_fetch_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = parts(doctor.examine("sdxl"))
    assert not found["base"].good and "has not been fetched yet" in found["base"].found
    assert found["base"].repair == "python -m instantid fetch --bundle sdxl --part base"
    assert found["controlnets.pose"].good and "only some requests need it" in found["controlnets.pose"].found


def test_the_disk_looked_at_is_the_one_that_weights_are_fetched_to(tiny, tmp_path, monkeypatch):
    asked = []

    def disk_usage(place):
        asked.append(place)
        return SimpleNamespace(free=5.4 * 2**30)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    cache = tmp_path / "not" / "made yet"
    bundle = bundles.open_bundle(tiny, hub=bundles.Hub(cache=cache))
    assert doctor._space(bundle).found.startswith(f"5 GiB free at {cache};")
    assert asked == [tmp_path]


def test_an_unknown_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        doctor.examine(tmp_path / "nothing")


def test_an_old_python_is_a_finding(tiny, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert not parts(doctor.examine(tiny))["Python"].good


def test_model_folders_are_counted_by_kind_and_give_the_bundle_its_parts(tiny, tmp_path):
    (tmp_path / "loras").mkdir()
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1, 1)}, tmp_path / "loras" / "film.safetensors")
    found = parts(doctor.examine(tiny, [tmp_path]))["Models"]
    assert found.good and "0 checkpoints, 1 loras, 0 vaes, 0 embeddings" in found.found
    (tmp_path / "empty").mkdir()
    assert not parts(doctor.examine(tiny, [tmp_path / "empty"]))["Models"].good
    with pytest.raises(BundleError, match="no folder"):
        doctor.examine(tiny, [tmp_path / "nowhere"])
