"""A bundle's face models as layers that gradients go back through, by onnx2torch: they say the same numbers."""

from pathlib import Path

import torch
from torch import nn

from ..errors import BundleError, InvalidRequest


class OnnxLayers(nn.Module):
    """The layers of an ONNX model. They do not learn.

    Raises:
        InvalidRequest: onnx2torch is not installed.
        BundleError: the file is no model that can be converted.
    """

    def __init__(self, file: Path):
        super().__init__()
        try:
            import onnx
            from onnx2torch import convert
        except ImportError as error:
            raise InvalidRequest(
                "Learning by what face models see takes gradients through them, by onnx2torch, which is not "
                "installed here. Run: pip install --no-deps onnx2torch==1.5.15"
            ) from error
        try:
            model = onnx.load(str(file))
            self.layers = convert(model)
        except Exception as error:  # whatever protobuf, onnx and onnx2torch raise
            raise BundleError(f"The face model {file} cannot be converted to PyTorch: {error}") from error
        self._names = [node.name for node in model.graph.node]
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # on CPUs twice as fast

    def train(self, mode: bool = True) -> "OnnxLayers":
        """They stay as they are: their normalisation is of the pictures that they were trained on."""
        return super().train(False)
