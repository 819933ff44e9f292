"""A folder of face models → the finder that uses them."""

from pathlib import Path
from typing import Literal

from ..errors import BundleError
from .finder import FaceFinder
from .insight import InsightFaceFinder
from .opencv import OpenCVFaceFinder


def load_finder(kind: Literal["insightface", "opencv"], path: Path, *, gpu: bool = False) -> FaceFinder:
    """Load the face models in the folder `path`.

    Args:
        gpu: use CUDA where onnxruntime has it. OpenCV's models always run on the CPU.

    Raises:
        BundleError: a file is missing or damaged, or there is no such kind.
    """
    if kind not in ("insightface", "opencv"):
        raise BundleError(f"There are no face models of kind {kind!r}. Use “insightface” or “opencv”.")
    if not path.is_dir():
        raise BundleError(f"The folder of the face models is missing: {path}. Fetch the bundle again.")
    return InsightFaceFinder(path, gpu=gpu) if kind == "insightface" else OpenCVFaceFinder(path)
