"""A LoRA's file: read safely, brought into one naming, and compared with the models before anything is loaded.

diffusers checks little: weights without a place are dropped with a line in the log, others fail half loaded.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from safetensors import safe_open
from torch import nn

from .bundles.weight_files import find_damage
from .errors import InvalidRequest

PICKLES = {".bin", ".ckpt", ".pt", ".pth"}
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
ODD_ONES_OUT = 0.1  # the part of a LoRA that may have no place here; more is another kind of model [judged]

# Old and new diffusers, and what its conversion of kohya's names leaves, all to peft's.
_RENAMED = (
    (re.compile(r"\.processor(?=\.)"), ""),
    (re.compile(r"\.to_out_lora\."), ".to_out.0.lora."),
    (re.compile(r"\.to_([qkv])_lora\."), r".to_\1.lora."),
    (re.compile(r"\.lora(_linear_layer)?\.down\."), ".lora_A."),
    (re.compile(r"\.lora(_linear_layer)?\.up\."), ".lora_B."),
)
_IN_TEXT_ENCODERS = (
    (re.compile(r"\.to_out\.0\."), ".out_proj."),
    (re.compile(r"\.to_([qkv])\."), r".\1_proj."),
)
_OTHER_METHODS = {
    "DoRA": (".dora_scale", ".lora_magnitude_vector"),
    "LoHa": (".hada_w",),
    "LoKr": (".lokr_w",),
    "OFT": (".oft_",),
    "IA3": (".on_input",),
    "LyCORIS with a mid layer": (".lora_mid.",),
}
_OTHER_MODELS = {
    "Flux": ("double_blocks", "single_blocks", "single_transformer_blocks"),
    "Stable Diffusion 3": ("joint_blocks", "joint_transformer", "add_q_proj"),
    "Stable Diffusion 1 or 2": ("lora_te_",),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraWeights:
    """What one file lays over a pipeline.

    Args:
        parts: per component ("unet", "text_encoder", "text_encoder_2"), `<module>.lora_A.weight` (r, in…) and
            `<module>.lora_B.weight` (out, r…), scaled so that their product is the change at strength 1.
        note: a sentence about weights that have no place in this base model; mostly empty.
    """

    parts: dict[str, dict[str, torch.Tensor]]
    note: str


def read_lora(path: Path, models: Mapping[str, nn.Module]) -> LoraWeights:
    """Read a LoRA in the naming of kohya, diffusers or peft.

    Args:
        models: the components it may reach, by their names in the pipeline; "unet" is one of them.

    Raises:
        InvalidRequest: no such file, no safetensors, damaged, no LoRA, or made for another kind of model.
    """
    tensors, header = _read(path)
    _refuse_other_methods(path, tensors)
    if "lora_adapter_metadata" in header:
        try:
            tensors = _with_alphas(tensors, json.loads(header["lora_adapter_metadata"]))
        except UNREADABLE as error:
            raise InvalidRequest(
                f"The LoRA “{path.name}” cannot be used: what it says about its alphas cannot be read ({error}). "
                "Save it again with its trainer, or take its publisher's file for kohya or A1111."
            ) from error
    try:
        converted, _ = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
            _fold_alphas(tensors), unet_config=models["unet"].config
        )
    except (*UNREADABLE, RuntimeError, ArithmeticError) as error:  # diffusers reads names it did not expect
        raise _misfit(path, tensors, header, len(tensors)) from error

    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in converted.items():
        component, _, inside = name.partition(".")
        if component in models:
            parts.setdefault(component, {})[_as_peft(component, inside, models[component])] = tensor
    fitting = {component: _fitting(part, models[component]) for component, part in parts.items()}
    homeless = len(converted) - sum(map(len, fitting.values()))
    if homeless > ODD_ONES_OUT * len(converted):
        raise _misfit(path, tensors, header, homeless)
    note = (
        f"{homeless} of the {len(converted)} weights in the LoRA “{path.stem}” have no place in this base model and "
        "are left out."
        if homeless
        else ""
    )
    return LoraWeights(parts={component: part for component, part in fitting.items() if part}, note=note)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors on the CPU by the file's own names, and the header's texts."""
    if path.suffix.lower() in PICKLES:
        raise InvalidRequest(
            f"The LoRA “{path.name}” was not opened: loading a {path.suffix} file can run code that hides in it. "
            "Take its .safetensors form; most publishers offer one, and a trainer can save it."
        )
    if not path.is_file():
        raise InvalidRequest(f"There is no LoRA at {path}. Check the name, or put the file there.")
    if path.suffix.lower() != ".safetensors":
        raise InvalidRequest(f"“{path.name}” is no LoRA: a file that ends in .safetensors is wanted.")
    if (damage := find_damage(path)) is not None:
        raise InvalidRequest(f"The LoRA cannot be read: {damage} Download it again.")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # Some of peft's own files name the UNet's modules behind this prefix, and no component.
        return {
            re.sub(r"^base_model\.model\.", "unet.", name): t for name, t in tensors.items()
        }, file.metadata() or {}


def _refuse_other_methods(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    for method, marks in _OTHER_METHODS.items():
        if any(mark in name for name in names for mark in marks):
            raise InvalidRequest(
                f"“{path.name}” is of a kind that cannot be laid over SDXL here: {method}. A plain LoRA or LoCon "
                "works; many trainers can convert to one."
            )
    if not any("lora" in name for name in names):
        raise InvalidRequest(
            f"“{path.name}” is no LoRA: none of its {len(names)} weights is named as one. A whole checkpoint goes in "
            "“base”, an embedding among the textual inversions."
        )


def _with_alphas(tensors: dict[str, torch.Tensor], metadata: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Beside the weights, as in kohya's files, the alphas that diffusers writes into the header in peft's words."""
    found = dict(tensors)
    for name, down in tensors.items():
        module = name.removesuffix(".lora_A.weight")
        component, _, inside = module.partition(".")
        if module == name or f"{component}.lora_alpha" not in metadata:
            continue
        patterns = metadata.get(f"{component}.alpha_pattern") or {}
        # peft would take them for regular expressions, which a stranger's file could make run for ever; diffusers
        # writes plain names.
        matching = (alpha for name, alpha in patterns.items() if f".{inside}".endswith(f".{_plain(name)}"))
        alpha = next(matching, metadata[f"{component}.lora_alpha"])
        if metadata.get(f"{component}.use_rslora"):
            alpha *= len(down) ** 0.5
        found[f"{module}.alpha"] = torch.tensor(float(alpha))
    return found


def _plain(name: str) -> str:
    """A module's name, also where it is written as a regular expression that stands for it alone."""
    plain = name.removeprefix("^").removesuffix("$").replace("\\.", ".")
    if not re.fullmatch(r"[\w.]+", plain):
        raise ValueError(f"{name[:80]!r} is no module's name")
    return plain


def _fold_alphas(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Scale by alpha / rank once, here: diffusers' own bookkeeping loses the alphas of CLIP's flattened names."""
    folded = {name: tensor for name, tensor in tensors.items() if not name.endswith(".alpha")}
    for name in tensors.keys() - folded.keys():
        module = name.removesuffix(".alpha")
        for down, up in (("lora_down", "lora_up"), ("lora_A", "lora_B"), ("lora.down", "lora.up")):
            if (
                first := folded.get(f"{module}.{down}.weight")
            ) is not None and f"{module}.{up}.weight" in folded:
                folded[f"{module}.{up}.weight"] = folded[f"{module}.{up}.weight"].float() * (
                    tensors[name].item() / len(first)
                )
    return folded


def _as_peft(component: str, name: str, model: nn.Module) -> str:
    for pattern, new in _RENAMED + (() if component == "unet" else _IN_TEXT_ENCODERS):
        name = pattern.sub(new, name)
    # transformers 5 has no such level in CLIP-L any more.
    return name if component == "unet" or hasattr(model, "text_model") else name.removeprefix("text_model.")


def _fitting(part: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """The pairs that match a layer of the model in name and shape."""
    modules = dict(model.named_modules())
    fitting = {}
    for name, down in part.items():
        module = name.removesuffix(".lora_A.weight")
        up = part.get(f"{module}.lora_B.weight")
        layer = getattr(
            modules.get(module), "base_layer", modules.get(module)
        )  # with another LoRA laid over it
        if module == name or up is None or not isinstance(layer, (nn.Linear, nn.Conv2d)):
            continue
        wanted = layer.weight.shape
        if down.shape[1:] == wanted[1:] and up.shape[:2] == (wanted[0], len(down)):
            fitting |= {name: down, f"{module}.lora_B.weight": up}
    return fitting


def _misfit(path: Path, names: Iterable[str], header: Mapping[str, str], strangers: int) -> InvalidRequest:
    stated = header.get("modelspec.architecture") or header.get("ss_base_model_version")
    guesses = (
        model for model, marks in _OTHER_MODELS.items() if any(m in name for name in names for m in marks)
    )
    made_for = f"“{stated}”, its file says" if stated else next(guesses, "another kind of model")
    return InvalidRequest(
        f"The LoRA “{path.name}” does not fit this base model: {strangers} of its weights have no place in it. It "
        f"was made for {made_for}; one made for SDXL is wanted."
    )
