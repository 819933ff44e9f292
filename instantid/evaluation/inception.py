"""FID by the library clean-fid, whose Inception network is what the name stands for. Optional: pip install clean-fid.

Its weights (NVIDIA's copy of the network of 2015, 90 MB) are fetched by that library when first used.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..errors import DownloadError
from .variety import frechet_distance


def fid(made: Sequence[Path], true: Sequence[Path], device: str = "cpu") -> float:
    """FID (clean) of picture files against true ones; with few pictures it is biased upwards.

    Raises:
        DownloadError: the library or its network is not here and cannot be fetched.
    """
    if find_spec("cleanfid") is None:
        raise DownloadError("clean-fid is not installed: pip install clean-fid")
    import torch
    from cleanfid.features import build_feature_extractor
    from cleanfid.fid import get_files_features

    try:
        network = build_feature_extractor("clean", torch.device(device), use_dataparallel=False)
    except (OSError, RuntimeError) as error:
        raise DownloadError(f"clean-fid cannot get its Inception network: {error}") from error

    def features(files: Sequence[Path]) -> np.ndarray:
        paths = [str(file) for file in files]
        return get_files_features(
            paths, network, num_workers=0, device=torch.device(device), mode="clean", verbose=False
        )

    return frechet_distance(features(made), features(true))
