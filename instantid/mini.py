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
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from .adapter_file import RESAMPLER_DEPTH

HEAD_WIDTH = 64  # of the Resampler's attention; diffusers derives the number of heads from it


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the parts are. `side` is the default picture's, in pixels; `embedding` the face model's width."""

    name: str
    side: int
    channels: tuple[int, ...]
    transformer_layers: tuple[int, ...]
    heads: tuple[int, ...]
    text_width: int
    vae_channels: tuple[int, ...]
    embedding: int
    face_tokens: int
    steps: int

    @property
    def cross_attention(self) -> int:
        """Both text encoders side by side."""
        return 2 * self.text_width


MINI = Sizes(
    name="mini",
    side=256,
    channels=(64, 128, 192),
    transformer_layers=(1, 1, 2),
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
    transformer_layers=(1, 1),
    heads=(2, 4),
    text_width=32,
    vae_channels=(8, 8, 16, 16),
    embedding=512,
    face_tokens=16,
    steps=3,
)


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
        _controlnet(unet).save_pretrained(folder / "ControlNetModel")
        _controlnet(unet).save_pretrained(folder / "controlnets" / "canny")
        torch.save(_adapter(sizes, unet), folder / "ip-adapter.bin")
    description = {
        "name": sizes.name,
        "untrained": True,
        "base": "base",
        "identitynet": "ControlNetModel",
        "identity_adapter": "ip-adapter.bin",
        "faces": faces,
        "controlnets": {"canny": "controlnets/canny"},
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
    tokenizer, tokenizer_2 = _tokenizer(pad="<|endoftext|>"), _tokenizer(pad="!")
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
    levels = len(sizes.channels)
    time_width = 32
    return UNet2DConditionModel(
        block_out_channels=sizes.channels,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * (levels - 1),
        up_block_types=("CrossAttnUpBlock2D",) * (levels - 1) + ("UpBlock2D",),
        layers_per_block=1,
        transformer_layers_per_block=sizes.transformer_layers,
        attention_head_dim=sizes.heads,  # SDXL's configs call the number of heads so
        cross_attention_dim=sizes.cross_attention,
        sample_size=sizes.side // 2 ** (len(sizes.vae_channels) - 1),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=sizes.text_width + 6 * time_width,
    )


def _controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet whose zero convolutions are not zero: untrained, yet it acts."""
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96, 256))
    for outlet in [*net.controlnet_down_blocks, net.controlnet_mid_block]:
        torch.nn.init.normal_(outlet.weight, std=outlet.weight[0].numel() ** -0.5)
    # torch's own start would dim the map a thousandfold on its way in; He's keeps it.
    for layer in net.controlnet_cond_embedding.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5)
    return net


def _adapter(sizes: Sizes, unet: UNet2DConditionModel) -> dict[str, dict[str, torch.Tensor]]:
    """An `ip-adapter.bin` in InstantID's layout: `image_proj` is the Resampler, `ip_adapter` keys and values."""
    width = 2 * HEAD_WIDTH

    def linear(out: int, into: int) -> torch.Tensor:
        return torch.randn(out, into) * into**-0.5

    def norm(name: str, size: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": 1 + 0.1 * torch.randn(size), f"{name}.bias": 0.1 * torch.randn(size)}

    resampler = {
        "latents": torch.randn(1, sizes.face_tokens, width) * width**-0.5,
        "proj_in.weight": linear(width, sizes.embedding),
        "proj_in.bias": 0.5 * torch.randn(width),
        "proj_out.weight": linear(sizes.cross_attention, width),
        "proj_out.bias": 0.1 * torch.randn(sizes.cross_attention),
        **norm("norm_out", sizes.cross_attention),
    }
    for i in range(RESAMPLER_DEPTH):
        resampler |= norm(f"layers.{i}.0.norm1", width) | norm(f"layers.{i}.0.norm2", width)
        resampler[f"layers.{i}.0.to_q.weight"] = linear(width, width)
        resampler[f"layers.{i}.0.to_kv.weight"] = linear(2 * width, width)
        resampler[f"layers.{i}.0.to_out.weight"] = linear(width, width)
        resampler |= norm(f"layers.{i}.1.0", width)
        resampler[f"layers.{i}.1.1.weight"] = linear(4 * width, width)
        resampler[f"layers.{i}.1.3.weight"] = linear(width, 4 * width)

    image_attention = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            text_keys = unet.get_submodule(name.removesuffix(".processor")).to_k
            for key in ("to_k_ip", "to_v_ip"):
                image_attention[f"{number}.{key}.weight"] = linear(
                    text_keys.out_features, sizes.cross_attention
                )
    return {"image_proj": resampler, "ip_adapter": image_attention}


def _tokenizer(pad: str) -> CLIPTokenizer:
    """A byte-pair tokenizer like CLIP's, its merges learned from a few sentences about pictures of people."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        min_frequency=1,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator([CORPUS], trainer)
    learned = json.loads(bpe.to_str())["model"]
    # Every byte must also exist as the end of a word, or unseen text would have no tokens.
    words = alphabet + [byte + "</w>" for byte in alphabet]
    words += sorted(set(learned["vocab"]) - set(words), key=learned["vocab"].get)
    words += ["<|startoftext|>", "<|endoftext|>"]  # the end has the highest id: CLIP pools at the largest
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=[tuple(merge) for merge in learned["merges"]],
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token=pad,
        model_max_length=77,
    )


CORPUS = """a photo portrait of a man a woman a person a child an old man a young woman smiling face looking at the
camera studio light soft light sunset city street forest jungle snow mountain beach desert mars space astronaut
watercolor painting oil painting pencil drawing line art ink illustration anime comic poster film noir black and
white neon cyberpunk cinematic vibrant color colorful highly detailed sharp focus masterpiece best quality low
quality worst quality blurry deformed ugly text watermark frame cropped out of focus disfigured monochrome shirt
dress suit hat glasses beard hair long short curly blond brown black red green blue yellow white background bokeh
35mm 50mm 85mm lens depth of field golden hour dramatic lighting rim light high contrast fashion editorial
renaissance baroque impressionist art deco art nouveau ukiyo-e pop art surreal fantasy knight wizard elf king queen
in the style of with and the on at by from for close-up wide shot full body upper body head and shoulders"""
