"""A bundle's base as one file in the layout of the first SDXL release, which A1111 and ComfyUI read.

Derived from stability-ai/generative-models' names, the other way round from diffusers' own reader: what was written
by the one and read by the other must be the same model.
"""

import re
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

Weights = dict[str, torch.Tensor]
UNET = "model.diffusion_model."
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE = {
    r"(encoder|decoder)\.mid_block\.attentions\.0\.group_norm": r"\1.mid.attn_1.norm",
    r"(encoder|decoder)\.mid_block\.attentions\.0\.to_([qkv])": r"\1.mid.attn_1.\2",
    r"(encoder|decoder)\.mid_block\.attentions\.0\.to_out\.0": r"\1.mid.attn_1.proj_out",
    r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)": r"encoder.down.\1.block.\2",
    r"encoder\.down_blocks\.(\d+)\.downsamplers\.0": r"encoder.down.\1.downsample",
    "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out",
}
_OPENCLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".self_attn.out_proj.": ".attn.out_proj.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}


def original(base: Path) -> Weights:
    """The base, a folder in the diffusers layout, as the tensors of one checkpoint."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(base, local_files_only=True)
    first = {
        f"text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in pipeline.text_encoder.state_dict().items()
    }
    # Files of 2023 carry these two, which nobody reads.
    first["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    extra = {"denoiser.sigmas": torch.linspace(0, 14, 1000)}
    return (
        {f"{UNET}{name}": tensor for name, tensor in unet(pipeline.unet).items()}
        | {f"first_stage_model.{name}": tensor for name, tensor in vae(pipeline.vae).items()}
        | {f"conditioner.embedders.0.transformer.{name}": tensor for name, tensor in first.items()}
        | {
            f"conditioner.embedders.1.model.{name}": tensor
            for name, tensor in openclip(pipeline.text_encoder_2).items()
        }
        | extra
    )


def write(file: Path, weights: Weights, **notes: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file, metadata=notes)
    return file


def unet(model) -> Weights:
    layers = model.config.layers_per_block
    return {_unet_name(name, layers, model): tensor for name, tensor in model.state_dict().items()}


def _unet_name(name: str, layers: int, model) -> str:
    for ours, theirs in _UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs)
    side, block, part, index, rest = re.fullmatch(
        r"(down|up|mid)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name
    ).groups()
    if part == "resnets":
        layer, _, end = rest.partition(".")
        rest = f"{_RESNET[layer]}.{end}"
    if side == "mid":
        return f"middle_block.{2 * int(index) if part == 'resnets' else 1}.{rest}"
    if part == "downsamplers":
        return f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        after = 2 if hasattr(model.up_blocks[int(block)], "attentions") else 1
        return f"output_blocks.{int(block) * (layers + 1) + layers}.{after}.{rest}"
    number = int(block) * (layers + 1) + int(index) + (side == "down")
    return f"{'input' if side == 'down' else 'output'}_blocks.{number}.{int(part == 'attentions')}.{rest}"


def vae(model) -> Weights:
    levels = len(model.config.block_out_channels)

    def rename(name: str) -> str:
        name = re.sub(
            r"decoder\.up_blocks\.(\d+)\.(resnets\.(\d+)|upsamplers\.0)",
            lambda at: f"decoder.up.{levels - 1 - int(at[1])}." + (f"block.{at[3]}" if at[3] else "upsample"),
            name,
        )
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda at: f"mid.block_{int(at[1]) + 1}", name)
        for ours, theirs in _VAE.items():
            name = re.sub(ours, theirs, name)
        return name

    weights = {rename(name): tensor for name, tensor in model.state_dict().items()}
    square = re.compile(r".*mid\.attn_1\.(q|k|v|proj_out)\.weight")  # 1×1 convolutions there
    return {
        name: each[:, :, None, None] if square.fullmatch(name) else each for name, each in weights.items()
    }


def openclip(encoder) -> Weights:
    weights, state = {}, encoder.state_dict()
    for name, tensor in state.items():
        if (at := re.fullmatch(r"(.*)\.self_attn\.q_proj\.(weight|bias)", name)) is not None:
            stacked = [state[f"{at[1]}.self_attn.{part}_proj.{at[2]}"] for part in "qkv"]
            weights[_openclip_name(f"{at[1]}.attn.in_proj_{at[2]}")] = torch.cat(stacked)
        elif name == "text_projection.weight":
            weights["text_projection"] = tensor.T
        elif re.search(r"\.[kv]_proj\.", name) is None:
            weights[_openclip_name(name)] = tensor
    return weights | {"logit_scale": torch.tensor(4.6)}


def _openclip_name(name: str) -> str:
    for ours, theirs in _OPENCLIP.items():
        name = name.replace(ours, theirs)
    return name
