"""A bundle's face models as layers that gradients go back through, by onnx2torch: they say the same numbers."""

from pathlib import Path

from torch import nn

from ..errors import BundleError, InvalidRequest


def read_layers(file: Path) -> tuple[nn.Module, list[str]]:
    """The layers of an ONNX model, and what its nodes are called.

    Raises:
        InvalidRequest: onnx2torch is not installed.
        BundleError: the file is no model that can be converted.
    """
    try:
        import onnx
        from onnx2torch import convert
    except ImportError as error:
        raise InvalidRequest(
            "Learning by what face models see takes gradients through them, by onnx2torch, which is not installed "
            "here. Run: pip install --no-deps onnx2torch==1.5.15"
        ) from error
    try:
        model = onnx.load(str(file))
        return convert(model), [node.name for node in model.graph.node]
    except Exception as error:  # whatever protobuf, onnx and onnx2torch raise
        raise BundleError(f"The face model {file} cannot be converted to PyTorch: {error}") from error
