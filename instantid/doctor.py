"""Looks at the machine and a bundle: what is there, what is wrong, and the command that repairs it."""

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from . import bundles, loading
from .bundles import Bundle

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
CUDA_PROVIDER = "CUDAExecutionProvider"
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `repair` is a command or a sentence, None where nothing is to be done."""

    subject: str
    found: str
    good: bool = True
    repair: str | None = None


def examine(bundle: str | Path) -> list[Finding]:
    """Look at Python, packages, device, face runtime, OpenCV and each part of the bundle."""
    opened = loading.open_bundle(bundle)
    return [
        Finding(
            "Python", f"{platform.python_version()} on {platform.platform()}", sys.version_info >= (3, 11)
        ),
        _packages(),
        _device(),
        *_face_runtime(),
        _opencv(),
        _space(),
        *_parts(opened),
    ]


def _packages() -> Finding:
    """Compare what is installed with requirements.txt."""
    wrong = []
    for line in REQUIREMENTS.read_text().splitlines():
        name, _, wanted = line.split("#")[0].strip().partition("==")
        if not wanted:
            continue
        installed = _installed(name)
        if installed != wanted:
            wrong.append(f"{name} {installed or 'is missing'} (wanted {wanted})")
    if not wrong:
        return Finding("Packages", "as in requirements.txt")
    return Finding(
        "Packages", "; ".join(wrong), False, f"{sys.executable} -m pip install -r requirements.txt"
    )


def _device() -> Finding:
    import torch

    from .acceleration import choose_device, choose_dtype

    device = choose_device()
    precision = str(choose_dtype(device)).removeprefix("torch.")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return Finding("Device", f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, {precision}")
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        return Finding(
            "Device",
            f"{device.type}: there is an NVIDIA driver, but this torch was built without CUDA",
            False,
            f"{sys.executable} -m pip install --force-reinstall -r requirements.txt",
        )
    return Finding("Device", f"{device.type}, {precision}, torch {torch.__version__}")


def _face_runtime() -> Iterator[Finding]:
    """insightface brings `onnxruntime`, which overwrites `onnxruntime-gpu`: CUDA is then silently gone."""
    gpu = _installed("onnxruntime-gpu")
    if gpu is None and _installed("onnxruntime") is None:
        yield Finding("Face runtime", "no onnxruntime: antelopev2 cannot run", False, "make setup")
        return
    import onnxruntime

    providers = ", ".join(
        name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()
    )
    if gpu and CUDA_PROVIDER not in onnxruntime.get_available_providers():
        yield Finding(
            "Face runtime",
            f"onnxruntime {onnxruntime.__version__} lies over onnxruntime-gpu {gpu}: faces run on {providers} only",
            False,
            f"{sys.executable} -m pip install --force-reinstall --no-deps onnxruntime-gpu=={gpu}",
        )
    else:
        yield Finding("Face runtime", f"onnxruntime {onnxruntime.__version__}: {providers}")


def _opencv() -> Finding:
    """Several OpenCV packages share one folder; they do no harm as long as they are of one version."""
    kinds = sorted(
        {(d.metadata["Name"], d.version) for d in distributions() if d.metadata["Name"].startswith("opencv")}
    )
    told = ", ".join(f"{name} {number}" for name, number in kinds) or "missing"
    if len({number for _, number in kinds}) == 1:
        return Finding("OpenCV", told)
    newest = max(number for _, number in kinds) if kinds else ""
    repair = f"{sys.executable} -m pip install --force-reinstall --no-deps opencv-python-headless=={newest}"
    return Finding("OpenCV", f"{told}: different versions in one folder", False, repair)


def _space() -> Finding:
    free = shutil.disk_usage(Path.home()).free / GIB
    return Finding("Disk", f"{free:.0f} GiB free at {Path.home()}; the sdxl bundle takes about 12")


def _parts(bundle: Bundle) -> Iterator[Finding]:
    needed = bundles.essential_parts(bundle)
    for part in bundle.parts():
        where = f"{part.source}, {part.size / 2**20:.0f} MiB" if part.size else part.source
        if part.present:
            yield Finding(part.name, f"{where}; licence: {part.licence}")
        elif part.name in needed:
            yield Finding(part.name, f"{where}: {part.problem}", False, bundle.fetch_command(part.name))
        else:
            yield Finding(part.name, f"{where}: not here; only some requests need it")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
