"""Builds a small bundle of seeded, untrained weights in the layout of the published ones.

It stands in for `mini` until trained weights exist, and is what tests run: the same classes and files as SDXL
with InstantID, a few megabytes instead of twelve gigabytes. Pictures made with it show nothing, and say so.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers import StableDiffusionXLPipeline as SDXL
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from .adapter_file import RESAMPLER_DEPTH, STYLE_TOKENS
from .mini_tokenizer import build_tokenizer

HEAD_WIDTH = 64  # of the Resampler's attention; diffusers derives the number of heads from it
ENCODER_SIDE, ENCODER_PATCH = 64, 8  # of the pictures that the image encoder sees, in pixels
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the parts are. `side` is the default picture's, in pixels; `embedding` the face model's width."""

    name: str
    side: int
    channels: tuple[int, ...]
    transformer_layers: tuple[int, ...]
    """Of each level; 0: it attends to nothing."""
    heads: tuple[int, ...]
    text_width: int
    vae_channels: tuple[int, ...]
    embedding: int
    face_tokens: int
    steps: int
    controlnets: tuple[str, ...] = ("canny",)
    groups: int = 32
    """Of the UNet's group norms."""
    prediction: str = "epsilon"
    """What the UNet is asked for: "epsilon" or "v_prediction" (Salimans & Ho 2022, 2202.00512)."""

    @property
    def cross_attention(self) -> int:
        """Both text encoders side by side."""
        return 2 * self.text_width


MINI = Sizes(
    name="mini",
    side=256,
    channels=(64, 128, 192),
    transformer_layers=(0, 1, 2),
    heads=(1, 2, 3),
    text_width=96,
    vae_channels=(32, 64, 64, 64),
    embedding=128,
    face_tokens=16,
    steps=15,
)
TINY = Sizes(
    name="tiny",
    side=64,
    channels=(32, 64),
    transformer_layers=(0, 1),
    heads=(2, 4),
    text_width=32,
    vae_channels=(8, 8, 16, 16),
    embedding=512,
    face_tokens=16,
    steps=3,
    controlnets=("canny", "pose", "depth"),
)
SMALL = Sizes(
    name="mini",
    side=128,
    channels=(32, 64, 128, 192),
    transformer_layers=(0, 1, 1, 1),
    heads=(1, 2, 4, 6),
    text_width=96,
    vae_channels=(16, 32, 64),
    embedding=128,
    face_tokens=16,
    steps=15,
    controlnets=(),
    groups=8,
    prediction="v_prediction",
)
"""What two CPU cores can train: 128 pixels, latents a fourth of that."""
LARGE = Sizes(
    name="mini",
    side=256,
    channels=(64, 128, 192),
    transformer_layers=(0, 1, 2),
    heads=(1, 2, 3),
    text_width=128,
    vae_channels=(32, 64, 96, 128),
    embedding=128,
    face_tokens=16,
    steps=15,
    controlnets=(),
    prediction="v_prediction",
)
"""What a GPU trains in half an hour and two CPU cores run: 256 pixels, latents an eighth of that."""

LICENCE = "Apache-2.0. Random weights, made on this machine from a seed."


def build(folder: Path, sizes: Sizes = MINI, *, faces: dict | None = None, seed: int = 0) -> Path:
    """Write the bundle into `folder` (whole, or not at all) and return it.

    Args:
        faces: bundle.json's "faces" entry, or None where only ready Faces are to work.
        seed: of the weights; the same seed gives the same files.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as workplace:
        unfinished = Path(workplace) / "new"
        _write(unfinished, sizes, faces, seed)
        if folder.exists():
            os.replace(folder, Path(workplace) / "old")
        os.replace(unfinished, folder)
    return folder


def _write(folder: Path, sizes: Sizes, faces: dict | None, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = _unet(sizes)
        _base(sizes, unet).save_pretrained(folder / "base")
        first, *others = ("ControlNetModel", *(f"controlnets/{name}" for name in sizes.controlnets))
        _controlnet(unet, sizes).save_pretrained(folder / first)
        for name in others[:1]:
            _controlnet(unet, sizes).save_pretrained(folder / name)
        torch.save(
            {"image_proj": _resampler(sizes), "ip_adapter": _image_attention(sizes, unet)},
            folder / "ip-adapter.bin",
        )
        # What came later is drawn later: earlier parts keep their weights.
        style = _joined(image_proj=_projector(sizes), ip_adapter=_image_attention(sizes, unet))
        save_file(style, folder / "ip-adapter-style.safetensors")
        _image_encoder(sizes).save_pretrained(folder / "image_encoder")
        for name in others[1:]:
            _controlnet(unet, sizes).save_pretrained(folder / name)
    parts = {
        "base": "base",
        "identitynet": "ControlNetModel",
        "identity_adapter": "ip-adapter.bin",
        "style_adapter": "ip-adapter-style.safetensors",
        "image_encoder": "image_encoder",
    }
    controlnets = {name: f"controlnets/{name}" for name in sizes.controlnets}
    made_here = [*parts, *(f"controlnets.{name}" for name in controlnets)]
    description = {
        "name": sizes.name,
        "untrained": True,
        **parts,
        "faces": faces,
        "controlnets": controlnets,
        "licences": dict.fromkeys(made_here, LICENCE),
        "defaults": {
            "width": sizes.side,
            "height": sizes.side,
            "steps": sizes.steps,
            "guidance_scale": 5.0,
            "scheduler": "Euler",
        },
    }
    (folder / "bundle.json").write_text(json.dumps(description, indent=2))


def _base(sizes: Sizes, unet: UNet2DConditionModel) -> SDXL:
    tokenizer, tokenizer_2 = build_tokenizer(pad="<|endoftext|>"), build_tokenizer(pad="!")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.text_width,
        intermediate_size=4 * sizes.text_width,
        projection_dim=sizes.text_width,
        num_hidden_layers=4,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # CLIP starts its weights so small that every prompt looks alike; drawn wider, the words tell.
    text.initializer_factor = 3.0
    vae = AutoencoderKL(
        block_out_channels=sizes.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * len(sizes.vae_channels),
        up_block_types=("UpDecoderBlock2D",) * len(sizes.vae_channels),
        norm_num_groups=8,
        sample_size=sizes.side,
        scaling_factor=0.13025,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        prediction_type=sizes.prediction,
    )
    return SDXL(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )


def _unet(sizes: Sizes) -> UNet2DConditionModel:
    time_width = 32
    attends = [layers > 0 for layers in sizes.transformer_layers]
    return UNet2DConditionModel(
        block_out_channels=sizes.channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if does else "DownBlock2D" for does in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if does else "UpBlock2D" for does in reversed(attends)),
        layers_per_block=1,
        norm_num_groups=sizes.groups,
        transformer_layers_per_block=tuple(max(layers, 1) for layers in sizes.transformer_layers),
        attention_head_dim=sizes.heads,  # SDXL's configs call the number of heads so
        cross_attention_dim=sizes.cross_attention,
        sample_size=sizes.side // 2 ** (len(sizes.vae_channels) - 1),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=sizes.text_width + 6 * time_width,
    )


def map_channels(vae_levels: int) -> tuple[int, ...]:
    """A ControlNet's way in for maps, which halves them as often as the VAE halves pictures."""
    return (16, 32, 96, 256)[:vae_levels]


def _controlnet(unet: UNet2DConditionModel, sizes: Sizes) -> ControlNetModel:
    """A ControlNet whose zero convolutions are not zero: untrained, yet it acts."""
    channels = map_channels(len(sizes.vae_channels))
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
    for outlet in [*net.controlnet_down_blocks, net.controlnet_mid_block]:
        torch.nn.init.normal_(outlet.weight, std=outlet.weight[0].numel() ** -0.5)
    # torch's own start would dim the map a thousandfold on its way in; He's keeps it.
    for layer in net.controlnet_cond_embedding.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5)
    return net


def _resampler(sizes: Sizes) -> Weights:
    """InstantID's projector: a face embedding to face tokens."""
    width = 2 * HEAD_WIDTH
    resampler = {
        "latents": torch.randn(1, sizes.face_tokens, width) * width**-0.5,
        "proj_in.weight": _linear(width, sizes.embedding),
        "proj_in.bias": 0.5 * torch.randn(width),
        "proj_out.weight": _linear(sizes.cross_attention, width),
        "proj_out.bias": 0.1 * torch.randn(sizes.cross_attention),
        **_norm("norm_out", sizes.cross_attention),
    }
    for i in range(RESAMPLER_DEPTH):
        resampler |= _norm(f"layers.{i}.0.norm1", width) | _norm(f"layers.{i}.0.norm2", width)
        resampler[f"layers.{i}.0.to_q.weight"] = _linear(width, width)
        resampler[f"layers.{i}.0.to_kv.weight"] = _linear(2 * width, width)
        resampler[f"layers.{i}.0.to_out.weight"] = _linear(width, width)
        resampler |= _norm(f"layers.{i}.1.0", width)
        resampler[f"layers.{i}.1.1.weight"] = _linear(4 * width, width)
        resampler[f"layers.{i}.1.3.weight"] = _linear(width, 4 * width)
    return resampler


def _projector(sizes: Sizes) -> Weights:
    """IP-Adapter's projector: a picture's embedding to style tokens."""
    out = STYLE_TOKENS * sizes.cross_attention
    return {
        "proj.weight": _linear(out, sizes.text_width),
        "proj.bias": 0.1 * torch.randn(out),
        **_norm("norm", sizes.cross_attention),
    }


def _image_attention(sizes: Sizes, unet: UNet2DConditionModel) -> Weights:
    """Keys and values for an adapter's tokens, numbered as in published files."""
    weights = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            text_keys = unet.get_submodule(name.removesuffix(".processor")).to_k
            for key in ("to_k_ip", "to_v_ip"):
                weights[f"{number}.{key}.weight"] = _linear(text_keys.out_features, sizes.cross_attention)
    return weights


def _image_encoder(sizes: Sizes) -> CLIPVisionModelWithProjection:
    """Into the space of the second text encoder, as SDXL's style adapter wants it."""
    config = CLIPVisionConfig(
        hidden_size=sizes.text_width,
        intermediate_size=4 * sizes.text_width,
        projection_dim=sizes.text_width,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=ENCODER_SIDE,
        patch_size=ENCODER_PATCH,
    )
    config.initializer_factor = 3.0  # as for the text encoders: pictures are to tell
    return CLIPVisionModelWithProjection(config)


def _joined(**parts: Weights) -> Weights:
    """As safetensors has it: flat, the part in front of the name."""
    return {f"{part}.{name}": tensor for part, weights in parts.items() for name, tensor in weights.items()}


def _linear(out: int, into: int) -> torch.Tensor:
    return torch.randn(out, into) * into**-0.5


def _norm(name: str, size: int) -> Weights:
    return {f"{name}.weight": 1 + 0.1 * torch.randn(size), f"{name}.bias": 0.1 * torch.randn(size)}
