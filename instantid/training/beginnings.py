"""ControlNets as training begins with them: the UNet's first half, silent, and a way in that lets maps through."""

import copy
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from torch import nn

from ..mini import map_channels

FINEST_LAYERS, FINEST_HEADS = 3, 4
Net = TypeVar("Net", bound=ControlNetModel)
AnyNet = TypeVar("AnyNet", ControlNetModel, ControlNetUnionModel)


def begin_controlnet(
    unet: UNet2DConditionModel, vae: AutoencoderKL, kind: type[Net] = ControlNetModel
) -> Net:
    """A ControlNet that copies the UNet and adds nothing yet (Zhang et al. 2023, section 3.1); the same each time.

    Its maps are as large as pictures, and are halved as often as this VAE halves those.
    """
    channels = map_channels(len(vae.config.block_out_channels), unet.config.block_out_channels[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = kind.from_unet(unet, conditioning_embedding_out_channels=channels)
        # torch's own start would dim the map a thousandfold on its way in; He's keeps it. The last layer stays zero.
        way_in = net.controlnet_cond_embedding
        for layer in (way_in.conv_in, *way_in.blocks):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


def attend_finest(net: Net) -> Net:
    """The ControlNet with attention at its finest level too, where small UNets (and SDXL's) have none. It is silent.

    What is decided at a coarser level reaches the picture through cells of two by two latents and more, whose inside
    the UNet fills in: no place for the line of an eye. Here each latent has tokens of its own, and its residual goes
    to the UNet's last layers. There, all layers attend to the tokens alone: 256 places to each other would double
    the cost, and where things are the keypoints tell.
    """
    kinds, settings = list(net.config.down_block_types), {}
    for name in ("transformer_layers_per_block", "attention_head_dim", "only_cross_attention"):
        value = net.config[name]
        settings[name] = [value] * len(kinds) if isinstance(value, int) else list(value)
    kinds[0] = "CrossAttnDownBlock2D"
    settings["transformer_layers_per_block"][0] = FINEST_LAYERS
    settings["attention_head_dim"][0] = FINEST_HEADS
    settings["only_cross_attention"][0] = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        finer = type(net).from_config({**net.config, "down_block_types": kinds, **settings})
    finer.load_state_dict(net.state_dict(), strict=False)
    for layer in (*finer.controlnet_down_blocks, finer.controlnet_mid_block):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return finer


def upper_part(net: AnyNet, last: int, levels: int) -> AnyNet:
    """A ControlNet's layers up to a residual, the only one that counts of what they return; it shares its weights.

    Args:
        last: the residual's place among all.
        levels: how many of its blocks that takes.
    """
    silent = [nn.Identity() for _ in range(last)]
    upper = copy.copy(net)
    upper._modules = dict(net._modules) | {
        "down_blocks": net.down_blocks[:levels],
        "mid_block": None,
        "controlnet_down_blocks": nn.ModuleList([*silent, net.controlnet_down_blocks[last]]),
        "controlnet_mid_block": nn.Identity(),
    }
    return upper
