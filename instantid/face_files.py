"""Brings the two face models of the mini bundle here: YuNet (keypoints) and SFace (embedding), checked by sha256."""

from pathlib import Path

from . import downloads

LICENCE = "YuNet: MIT (Shiqi Yu, ShiqiYu/libfacedetection). SFace: Apache-2.0 (zhongyy/SFace). Both from opencv_zoo."


def fetch_face_files(folder: Path, *, hub: downloads.Hub | None = None) -> None:
    raise NotImplementedError
