"""LoRA files for a tiny pipeline in the namings that trainers use, and what each of them must do to its weights."""

import json
import random
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
# Where kohya's own UNet has what diffusers calls otherwise; of a UNet with one layer to a block, like the tiny one.
SGM = {
    "down_blocks_1_attentions_0": "input_blocks_3_1",
    "down_blocks_1_resnets_0_conv1": "input_blocks_3_0_in_layers_2",
    "down_blocks_1_resnets_0_conv_shortcut": "input_blocks_3_0_skip_connection",
    "down_blocks_0_downsamplers_0_conv": "input_blocks_2_0_op",
    "mid_block_attentions_0": "middle_block_1",
    "mid_block_resnets_1_conv2": "middle_block_2_out_layers_3",
    "up_blocks_0_attentions_0": "output_blocks_0_1",
    "up_blocks_0_attentions_1": "output_blocks_1_1",
    "up_blocks_0_resnets_1_time_emb_proj": "output_blocks_1_0_emb_layers_1",
    "up_blocks_0_upsamplers_0_conv": "output_blocks_1_2_conv",
}

Pairs = dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor, float]]
"""By component and module: down (r, in…), up (out, r…) and alpha."""


def draw(pipeline, *, seed: int = 0, pattern: str = "", components=COMPONENTS) -> Pairs:
    """Random weights for every layer that LoRAs are trained on; ranks and alphas differ from layer to layer."""
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    pairs = {}
    for component in components:
        for name, layer in getattr(pipeline, component).named_modules():
            odd = name == "text_projection" or "add_embedding" in name
            if odd or not isinstance(layer, (nn.Linear, nn.Conv2d)) or not re.search(pattern, name):
                continue
            shape, rank = layer.weight.shape, chance.choice([2, 3, 4])
            down = 0.2 * torch.randn(rank, *shape[1:], generator=generator)
            up = 0.2 * torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=generator)
            pairs[component, name] = down, up, chance.choice([1.0, 2.0])
    return pairs


def changes(pairs: Pairs, strength: float = 1.0) -> dict[tuple[str, str], torch.Tensor]:
    """What must be added to each layer's weight."""
    return {
        place: strength
        * alpha
        / len(down)
        * (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])
        for place, (down, up, alpha) in pairs.items()
    }


def save_kohya(pairs: Pairs, path: Path, *, sgm: bool = False, **header: str) -> Path:
    tensors = {}
    for (component, name), (down, up, alpha) in pairs.items():
        inside = name if component == "unet" else f"text_model.{name.removeprefix('text_model.')}"
        flat = inside.replace(".", "_")
        if sgm and component == "unet":
            flat = next(new + flat.removeprefix(old) for old, new in SGM.items() if flat.startswith(old))
        module = KOHYA[component] + flat
        tensors |= {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}
        tensors[f"{module}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path, header or None)
    return path


def save_peft(pairs: Pairs, path: Path, *, prefix: str | None = None) -> Path:
    """As diffusers saves one today: alphas stand in the header."""
    tensors, header = {}, {}
    for (component, name), (down, up, alpha) in pairs.items():
        module = f"{prefix or component}.{name}"
        tensors |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
        header[f"{component}.lora_alpha"] = 99  # of no layer: the pattern has them all
        header.setdefault(f"{component}.alpha_pattern", {})[name] = alpha
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps(header)})
    return path


def save_old(pairs: Pairs, path: Path) -> Path:
    """As diffusers saved one in 2023: attention in processors, no alphas (so the rank stands for it)."""
    tensors = {}
    for (component, name), (down, up, _) in pairs.items():
        module = re.sub(r"\.to_out\.0$|\.out_proj$", ".to_out", f"{component}.{name}")
        module = re.sub(r"\.([qkv])_proj$", r".to_\1", module)
        if component == "unet":
            module = re.sub(r"\.(to_\w+)$", r".processor.\1", module)
        tensors |= {f"{module}_lora.down.weight": down, f"{module}_lora.up.weight": up}
    save_file(tensors, path)
    return path
