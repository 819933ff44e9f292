"""The untrained models of a small bundle: base, ControlNets, image encoder, annotators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import AutoencoderKL, ControlNetModel, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers import StableDiffusionXLPipeline as SDXL
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
)

from ..mini_tokenizer import build_tokenizer
from .sizes import Sizes

ENCODER_SIDE, ENCODER_PATCH = 64, 8  # of the pictures that the image encoder sees, in pixels
ANNOTATOR_PATCH, ANNOTATOR_WIDTH = 8, 96


def base(sizes: Sizes, unet: UNet2DConditionModel) -> SDXL:
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
        latent_channels=sizes.latents,
        sample_size=sizes.side,
        scaling_factor=0.13025,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        # What predicts v begins in pure noise (2305.08891, 3.3): its first step says whose face it is.
        timestep_spacing="trailing" if sizes.prediction == "v_prediction" else "leading",
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


def unet(sizes: Sizes) -> UNet2DConditionModel:
    time_width = 32
    attends = [layers > 0 for layers in sizes.transformer_layers]
    return UNet2DConditionModel(
        in_channels=sizes.latents,
        out_channels=sizes.latents,
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


def map_channels(vae_levels: int, width: int) -> tuple[int, ...]:
    """A ControlNet's way in for maps, which halves them as often as the VAE halves pictures.

    Args:
        width: of the UNet's first level. Beside a narrow one the published way in would cost more than all the rest.
    """
    channels = (16, 32, 96, 256) if width >= 320 else (8, 16, 32, 64)
    finer = (channels[0],) * max(0, vae_levels - len(channels))
    return (*finer, *channels)[:vae_levels]


def controlnet(unet: UNet2DConditionModel, sizes: Sizes) -> ControlNetModel:
    """A ControlNet whose zero convolutions are not zero: untrained, yet it acts."""
    channels = map_channels(len(sizes.vae_channels), sizes.channels[0])
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
    for outlet in [*net.controlnet_down_blocks, net.controlnet_mid_block]:
        torch.nn.init.normal_(outlet.weight, std=outlet.weight[0].numel() ** -0.5)
    # torch's own start would dim the map a thousandfold on its way in; He's keeps it.
    for layer in net.controlnet_cond_embedding.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5)
    return net


def image_encoder(width: int) -> CLIPVisionModelWithProjection:
    """Into the space, `width` wide, of the second text encoder, as SDXL's style adapter wants it."""
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=ENCODER_SIDE,
        patch_size=ENCODER_PATCH,
    )
    config.initializer_factor = 3.0  # as for the text encoders: pictures are to tell
    return CLIPVisionModelWithProjection(config)


def pose_annotator(side: int, keypoints: int) -> VitPoseForPoseEstimation:
    """A small ViTPose; the same each time."""
    backbone = VitPoseBackboneConfig(
        image_size=(side, side),
        patch_size=(ANNOTATOR_PATCH, ANNOTATOR_PATCH),
        hidden_size=ANNOTATOR_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        mlp_ratio=3,
        out_indices=[4],
    )
    config = VitPoseConfig(backbone_config=backbone, num_labels=keypoints, scale_factor=2)
    with _seeded():
        return VitPoseForPoseEstimation(config)


def depth_annotator(side: int) -> DepthAnythingForDepthEstimation:
    """A small Depth Anything; the same each time. Half as fine as its publisher's: twice as fast."""
    backbone = Dinov2Config(
        image_size=side,
        patch_size=ANNOTATOR_PATCH,
        hidden_size=ANNOTATOR_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        mlp_ratio=3,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=ANNOTATOR_PATCH,
        reassemble_hidden_size=ANNOTATOR_WIDTH,
        reassemble_factors=[2, 1, 0.5, 0.25],
        neck_hidden_sizes=[24, 32, 48, 64],
        fusion_hidden_size=24,
        head_hidden_size=12,
    )
    with _seeded():
        net = DepthAnythingForDepthEstimation(config)
    nn.init.constant_(net.head.conv3.bias, 0.5)  # behind it nothing below zero comes out, and might never
    return net


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
