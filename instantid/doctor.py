"""Looks at the machine and a bundle: what is there, what is wrong, and the command that repairs it."""

import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from . import bundles, loading
from .bundles import Bundle
from .library import WANTED, Library

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ("requirements.txt", "requirements-cpu.txt")  # README's two ways to install
CUDA_PROVIDER = "CUDAExecutionProvider"
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `repair` is a command or a sentence, None where nothing is to be done."""

    subject: str
    found: str
    good: bool = True
    repair: str | None = None


def examine(bundle: str | Path, models: Sequence[Path] = ()) -> list[Finding]:
    """Look at Python, packages, device, face runtime, OpenCV, the bundle, its parts and folders of models."""
    library = Library(models)
    opened = library.complete(loading.open_bundle(bundle))
    return [
        Finding(
            "Python", f"{platform.python_version()} on {platform.platform()}", sys.version_info >= (3, 11)
        ),
        _packages(),
        _device(),
        _face_runtime(),
        _opencv(),
        *_weights(opened),
        _space(opened),
        *_parts(opened),
        *_models(library),
    ]


def _packages() -> Finding:
    """Compare what is installed with the requirements that come nearest: those it was installed from."""
    wrong = {name: _differences(ROOT / name) for name in REQUIREMENTS}
    nearest = min(wrong, key=lambda name: len(wrong[name]))
    if not wrong[nearest]:
        return Finding("Packages", f"as in {nearest}")
    repair = f"{sys.executable} -m pip install -r {ROOT / nearest}"
    return Finding("Packages", "; ".join(wrong[nearest]), False, repair)


def _differences(requirements: Path) -> list[str]:
    told = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        name, _, wanted = line.split("#")[0].strip().partition("==")
        installed = _installed(name) if wanted else ""
        # “2.13.0+cpu” is a build of 2.13.0
        if wanted and (installed is None or installed.partition("+")[0] != wanted):
            told.append(f"{name} {installed or 'is missing'} (wanted {wanted})")
    return told


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
            f"{sys.executable} -m pip install --force-reinstall -r {ROOT / REQUIREMENTS[0]}",
        )
    if shutil.which("nvidia-smi"):
        return Finding(
            "Device",
            f"{device.type}: there is an NVIDIA driver, but torch {torch.__version__} sees no GPU",
            False,
            f"Where nvidia-smi names a CUDA older than {torch.version.cuda}, update the driver; else see whether "
            "CUDA_VISIBLE_DEVICES hides the GPU.",
        )
    return Finding("Device", f"{device.type}, {precision}, torch {torch.__version__}")


def _face_runtime() -> Finding:
    """insightface brings `onnxruntime`, which overwrites `onnxruntime-gpu`: CUDA is then silently gone."""
    gpu = _installed("onnxruntime-gpu")
    cpu = _installed("onnxruntime")
    wanted = f"onnxruntime-gpu=={gpu}" if gpu else f"onnxruntime=={cpu}" if cpu else "onnxruntime"
    repair = f"{sys.executable} -m pip install --force-reinstall --no-deps {wanted}"
    try:
        import onnxruntime

        available, number = onnxruntime.get_available_providers(), onnxruntime.__version__
    except (ImportError, AttributeError) as error:  # uninstalling one of the two takes files of the other
        return Finding("Face runtime", f"onnxruntime cannot be imported ({error})", False, repair)
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
    if gpu and CUDA_PROVIDER not in available:
        return Finding(
            "Face runtime",
            f"onnxruntime {number} lies over onnxruntime-gpu {gpu}: faces run on {providers} only",
            False,
            repair,
        )
    return Finding("Face runtime", f"onnxruntime {number}: {providers}")


def _opencv() -> Finding:
    """Several OpenCV packages share one folder; they do no harm as long as they are of one version."""
    # A half removed package has no name.
    kinds = sorted({(d.name, d.version) for d in distributions() if (d.name or "").startswith("opencv")})
    install = f"{sys.executable} -m pip install --force-reinstall --no-deps"
    if not kinds:
        return Finding("OpenCV", "missing", False, f"{install} opencv-python")
    told = ", ".join(f"{name} {number}" for name, number in kinds)
    if len({number for _, number in kinds}) == 1:
        return Finding("OpenCV", told)
    newest = max(
        (number for _, number in kinds), key=lambda number: [int(n) for n in re.findall(r"\d+", number)]
    )
    all_alike = " ".join(f"{name}=={newest}" for name, _ in kinds)
    return Finding("OpenCV", f"{told}: different versions in one folder", False, f"{install} {all_alike}")


def _weights(bundle: Bundle) -> Iterator[Finding]:
    """What to expect of a bundle of this project's own."""
    if bundle.untrained:
        yield Finding("Weights", f"{bundle.name} is untrained: its pictures are abstract")
    elif bundle.about:
        yield Finding("Weights", bundle.about)


def _space(bundle: Bundle) -> Finding:
    folder = bundle.hub.folder.absolute()  # where weights are fetched to
    disk = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(disk).free / GIB
    return Finding("Disk", f"{free:.0f} GiB free at {folder}; the sdxl bundle takes about 13")


def _parts(bundle: Bundle) -> Iterator[Finding]:
    needed = bundles.essential_parts(bundle)
    for part in bundle.parts():
        where = f"{part.source}, {part.size / 2**20:.0f} MiB" if part.size else part.source
        if part.present:
            yield Finding(part.name, f"{where}; licence: {part.licence}")
        elif part.name in needed:
            yield Finding(part.name, f"{where}: {part.problem}", False, bundle.fetch_command(part.name))
        else:
            yield Finding(
                part.name, f"{where}: not here; only some requests need it; licence: {part.licence}"
            )


def _models(library: Library) -> Iterator[Finding]:
    if library.folders:
        counts = {kind: len(library.names(kind)) for kind in WANTED}
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        folders = " and ".join(map(str, library.folders))
        repair = (
            None
            if any(counts.values())
            else "Give the folder of ComfyUI or A1111 itself, or its models folder."
        )
        yield Finding("Models", f"{told} in {folders}", repair is None, repair)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
