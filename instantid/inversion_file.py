"""A textual inversion's file: read safely, and compared with the text encoders.

Knows SDXL's layout (`clip_l` and `clip_g`), and those of one encoder: A1111's, kohya's, OneTrainer's, diffusers'.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from .bundles.weight_files import find_damage
from .errors import InvalidRequest

ENCODERS = ("text_encoder", "text_encoder_2")
_OF_BOTH = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
_OF_ONE = ("emb_params", "emp_params")  # kohya's, and OneTrainer's
_PICKLES = {".bin", ".pt"}


def read_inversion(path: Path, widths: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Read a textual inversion: for each encoder that it speaks to, (vectors, width).

    Args:
        widths: of each text encoder's word embeddings, by its name in the pipeline.

    Raises:
        InvalidRequest: no such file, unsafe, damaged, no textual inversion, or made for other text encoders.
    """
    tensors = {
        name: _vectors(path, tensor) for name, tensor in _by_encoder(path, _read(path), widths).items()
    }
    if wrong := [name for name, tensor in tensors.items() if tensor.shape[1] != widths[name]]:
        raise InvalidRequest(
            f"The embedding “{path.name}” was made for another kind of model: its vectors are "
            f"{tensors[wrong[0]].shape[1]} wide, this base model's text encoders take "
            f"{' and '.join(map(str, widths.values()))}. One made for SDXL is wanted."
        )
    return tensors


def _read(path: Path) -> object:
    if not path.is_file():
        raise InvalidRequest(f"There is no embedding at {path}. Check the name, or put the file there.")
    if path.suffix.lower() not in {".safetensors", *_PICKLES}:
        raise InvalidRequest(f"“{path.name}” is no embedding: a .safetensors, .pt or .bin file is wanted.")
    if (damage := find_damage(path)) is not None:
        raise InvalidRequest(f"The embedding cannot be read: {damage} Download it again.")
    if path.suffix.lower() == ".safetensors":
        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InvalidRequest(
            f"The embedding “{path.name}” was refused: it holds more than tensors, and loading it could run code. "
            "Take its .safetensors form."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InvalidRequest(f"The embedding “{path.name}” cannot be read; it looks damaged.") from error


def _by_encoder(path: Path, content: object, widths: Mapping[str, int]) -> dict[str, object]:
    if isinstance(content, dict):
        for names in _OF_BOTH:
            if found := {encoder: content[name] for encoder, name in zip(ENCODERS, names) if name in content}:
                return found
        single = next((content[name] for name in _OF_ONE if name in content), None)
        if single is None and isinstance(content.get("string_to_param"), dict):
            single = content["string_to_param"].get("*")
        if single is None and len(content) == 1:
            single = next(iter(content.values()))
        if isinstance(single, torch.Tensor) and single.ndim:
            # It speaks to the encoder of its width; CLIP-L's, where that is no answer.
            fits = [name for name in ENCODERS if widths[name] == single.shape[-1]]
            return {fits[0] if fits else ENCODERS[0]: single}
    raise InvalidRequest(
        f"“{path.name}” is no textual inversion: neither “clip_l” and “clip_g” nor one embedding are in it. A LoRA "
        "goes among the LoRAs."
    )


def _vectors(path: Path, tensor: object) -> torch.Tensor:
    """(vectors, width) float32."""
    if (
        isinstance(tensor, torch.Tensor)
        and tensor.is_floating_point()
        and tensor.ndim in (1, 2)
        and tensor.numel()
    ):
        vectors = tensor.detach().float().reshape(-1, tensor.shape[-1])
        if vectors.isfinite().all():
            return vectors
    raise InvalidRequest(f"The embedding “{path.name}” holds no vectors of numbers; it looks damaged.")
