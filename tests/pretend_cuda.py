"""A GPU that is not there: tensors made for “cuda” stay on the processor, but carry a mark, and an operation on
marked and unmarked ones together fails, as it would on a GPU."""

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode, resolve_name

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
# What CUDA allows: indices from the processor for a tensor on the GPU, and copies.
COPIES = ("to", "cpu", "copy_")
INDEXED = ("__getitem__", "__setitem__")


class PretendCuda(TorchFunctionMode):
    """`with PretendCuda() as gpu:`; `gpu.calls` counts what would be launched, `gpu.waits` what waits for the GPU."""

    def __init__(self):
        super().__init__()
        self.calls, self.waits = Counter(), Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = (resolve_name(function) or getattr(function, "__name__", "")).rpartition("torch.")[2]
        last = name.removesuffix(".__get__").rpartition(".")[2]
        tensors = _tensors((args, {key: value for key, value in kwargs.items() if key != "device"}))
        marked = [tensor for tensor in tensors if _is_marked(tensor)]
        if name.endswith("device.__get__"):
            return CUDA if marked else CPU
        wanted, args, kwargs = _asked(last, args, kwargs)
        if marked and last == "numpy":
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if last not in COPIES:
            self._refuse_mixtures(name, last, tensors, marked, args)
        result = function(*args, **kwargs)
        if last == "cpu":
            result = result.clone()  # a tensor of its own, so that the mark of the other stays
        if marked and last in ("item", "tolist", "cpu", "nonzero", "__bool__", "__float__", "__int__"):
            self.waits[last] += 1
        on_gpu = wanted == "cuda" if wanted else bool(marked) and last != "cpu"
        if on_gpu:
            self.calls[last] += 1
        for tensor in _tensors(result):
            tensor.marked = on_gpu
        return result

    def _refuse_mixtures(self, name, last, tensors, marked, args):
        indexed = last in INDEXED
        if indexed and not _is_marked(args[0]) and marked:
            raise RuntimeError(f"{name}: indices should be on the CPU or on the device of what is indexed")
        plain = [tensor for tensor in tensors if not _is_marked(tensor) and tensor.dim() > 0]
        if marked and plain and not (indexed and _is_marked(args[0])):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found cuda and cpu")


def _is_marked(tensor):
    return tensor.__dict__.get("marked", False)


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, list | tuple) or type(value).__name__ == "dict_values":
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def _asked(last, args, kwargs):
    """The device a call asks for, and the call without it."""
    wanted = kwargs.get("device")
    if wanted is not None:
        kwargs["device"] = CPU
    elif last == "to":
        devices = [arg for arg in args[1:] if isinstance(arg, torch.device | str)]
        if devices:
            wanted = devices[0]
            args = tuple(CPU if arg is wanted else arg for arg in args)
            if torch.device(wanted) != CPU or _is_marked(args[0]):
                kwargs["copy"] = True  # a new tensor, so that the mark is its own
    return (torch.device(wanted).type if wanted is not None else None), args, kwargs
