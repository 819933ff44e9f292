"""A small bundle that makes pictures of twice the side, out of the same latents, and knows what it knew.

Its VAE gets a finer level, which is no better at first than enlarging: the decoder's stage teaches it. Its
ControlNets halve maps once more on their way in. All that was told of a picture's size, always the same, is told no
more. Maps are drawn as coarsely as they were learned (`Defaults.map_pixel`). UNet and latents stay as they are, and
so does what a picture costs but for the finest level: small UNets need days to learn what this is given.
"""

import shutil
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from torch import nn

from .. import loading
from ..bundles import Bundle
from ..errors import InvalidRequest
from ..identity import IdentityNet
from ..loading import ControlNet
from .bundle_file import name_part, set_defaults
from .starts import lay_out, write_base

STRAIGHT = 64.0  # silu of so many times a map's pixels is nearly that, and of nothing, nothing
Net = TypeVar("Net", ControlNetModel, ControlNetUnionModel, UNet2DConditionModel)


def double(bundle: Bundle, folder: Path) -> Path:
    """Lay a bundle out in a new folder, whole or not at all, so that it makes pictures of twice the side.

    Args:
        bundle: of square pictures; its networks were always told of that one size.

    Raises:
        InvalidRequest: its VAE's finest level is too narrow.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    lay_out(bundle, unfinished)
    base, usual = loading.load_base(bundle, torch.float32), bundle.defaults
    nets = {
        part: loading.load_controlnet(bundle, part, base.unet, _kind(part))
        for part in bundle.sources
        if part == "identitynet" or part.startswith("controlnets.")
    }
    unet = told_nothing_of_sizes(base.unet, usual.width)
    write_base(unfinished, {"vae": deepened(base.vae), "unet": unet})
    for part, net in nets.items():
        source = part.replace(".", "/")
        net = reading_twice_as_large(told_nothing_of_sizes(net, usual.width))
        net.save_pretrained(unfinished / source)
        name_part(unfinished, part, source, began_as=part)
    twice = {name: 2 * getattr(usual, name) for name in ("width", "height", "grid", "map_pixel")}
    set_defaults(unfinished, twice)
    return unfinished.rename(folder)


def _kind(part: str) -> type[ControlNet]:
    return {"identitynet": IdentityNet, "controlnets.union": ControlNetUnionModel}.get(part, ControlNetModel)


@torch.no_grad()
def deepened(vae: AutoencoderKL) -> AutoencoderKL:
    """One with a finer level, as wide as the finest was: of a picture twice as large it says what `vae` says of the
    picture made small, and of latents it shows what `vae` shows, enlarged.

    Raises:
        InvalidRequest: the finest level is too narrow.
    """
    config, finest = vae.config, vae.config.block_out_channels[0]
    if finest < (least := 4 * config.in_channels):
        raise InvalidRequest(
            f"The VAE's finest level has {finest} channels; a finer one takes {least} to say what that says."
        )
    deep = AutoencoderKL.from_config(
        {
            **config,
            "block_out_channels": (finest, *config.block_out_channels),
            "down_block_types": (config.down_block_types[0], *config.down_block_types),
            "up_block_types": (*config.up_block_types, config.up_block_types[-1]),
            "sample_size": 2 * config.sample_size,
        }
    )
    # The encoder's levels are one further on; the decoder's are counted from the other end.
    known = {
        _further_on(name) if name.startswith("encoder.down_blocks.") else name: weight
        for name, weight in vae.state_dict().items()
    }
    known.pop("encoder.conv_in.weight")
    known.pop("encoder.conv_in.bias")
    deep.load_state_dict(known, strict=False)
    for level in (deep.encoder.down_blocks[0], deep.decoder.up_blocks[-1]):
        for resnet in level.resnets:
            nn.init.zeros_(resnet.conv2.weight)
            nn.init.zeros_(resnet.conv2.bias)
    _halve(deep, vae.encoder.conv_in)
    _enlarge(deep.decoder.up_blocks[-2].upsamplers[0].conv)
    return deep.train(vae.training)


def _further_on(name: str) -> str:
    encoder, blocks, level, rest = name.split(".", 3)
    return f"{encoder}.{blocks}.{int(level) + 1}.{rest}"


def _halve(deep: AutoencoderKL, was: nn.Conv2d) -> None:
    """Let the finest level of the encoder give what `was` made of means over two by two pixels.

    Of the means before and above only the nearer pixels are reached.
    """
    first, second = deep.encoder.conv_in, deep.encoder.down_blocks[0].downsamplers[0].conv
    mean = torch.tensor([0, 0.5, 0.5])  # of this pixel and the next
    nearer = torch.tensor([1.0, 0, 0])  # the one before
    for weight in (first.weight, first.bias, second.weight):
        nn.init.zeros_(weight)
    second.bias.copy_(was.bias)
    colours = was.in_channels
    for kind, (down, across) in enumerate((a, b) for a in (mean, nearer) for b in (mean, nearer)):
        for colour in range(colours):
            first.weight[kind * colours + colour, colour] = torch.outer(down, across)
    for y in range(3):
        for x in range(3):
            kind = 2 * (y == 0) + (x == 0)  # of the four above
            place = slice(kind * colours, (kind + 1) * colours)
            # Behind each pixel's two the next ones begin; padding lies behind the last.
            second.weight[:, place, 2 * (y == 2), 2 * (x == 2)] = was.weight[:, :, y, x]


def _enlarge(conv: nn.Conv2d) -> None:
    """Behind doubled pixels: between each two, part of both."""
    nn.init.zeros_(conv.bias)
    nn.init.zeros_(conv.weight)
    between = torch.tensor([0.25, 0.5, 0.25])
    for channel in range(conv.in_channels):
        conv.weight[channel, channel] = torch.outer(between, between)


@torch.no_grad()
def told_nothing_of_sizes(net: Net, side: int) -> Net:
    """The same network, which takes every picture for one of `side` pixels, whole, as all were that it learned from.

    Numbers that it never met would be noise to it (2307.01952, section 2.2).
    """
    layer = net.add_embedding.linear_1
    sizes = net.add_time_proj(torch.tensor([side, side, 0, 0, side, side])).flatten().to(layer.weight)
    told = layer.weight[:, -len(sizes) :]
    layer.bias.add_(told @ sizes)
    nn.init.zeros_(told)
    return net


@torch.no_grad()
def reading_twice_as_large(net: ControlNet) -> ControlNet:
    """A ControlNet that reads maps of twice the side as it read them, where each two by two pixels are alike."""
    settings = dict(net.config)
    colours, was = settings["conditioning_channels"], settings["conditioning_embedding_out_channels"]
    settings["conditioning_embedding_out_channels"] = (4 * colours, *was)
    larger = type(net).from_config(settings)
    old, new = net.controlnet_cond_embedding, larger.controlnet_cond_embedding
    known = {
        name: weight for name, weight in net.state_dict().items() if "controlnet_cond_embedding" not in name
    }
    larger.load_state_dict(known, strict=False)
    new.conv_out.load_state_dict(old.conv_out.state_dict())
    for before, after in zip(old.blocks, new.blocks[2:], strict=True):
        after.load_state_dict(before.state_dict())
    _reach(new.conv_in, new.blocks[0], new.blocks[1], old.conv_in)
    return larger.train(net.training)


def _reach(first: nn.Conv2d, second: nn.Conv2d, third: nn.Conv2d, was: nn.Conv2d) -> None:
    """Let three layers with a silu behind each do on doubled pixels what `was` did on single ones."""
    for layer in (first, second, third):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    third.bias.copy_(was.bias)
    colours = was.in_channels
    for channel in range(second.in_channels):
        second.weight[channel, channel, 1, 1] = 1
    for kind in range(4):
        below, right = divmod(kind, 2)  # the pixel itself, or the next one
        for colour in range(colours):
            first.weight[kind * colours + colour, colour, 1 + below, 1 + right] = STRAIGHT
    for y in range(3):
        for x in range(3):
            kind = 2 * (y == 2) + (x == 2)
            place = slice(kind * colours, (kind + 1) * colours)
            third.weight[:, place, y, x] = was.weight[:, :, y, x] / STRAIGHT
