"""An encoder that nobody trains: principal components of square patches, written into AutoencoderKL's layers.

Learning what few numbers tell of a patch takes an autoencoder hours on a CPU, and a face is gone until it is done.
The components that vary most are known at once, and a few of the 192 numbers of 8 × 8 pixels keep a face: put
together again linearly, 12, 16, 24 and 32 of them give pictures whose SFace embeddings have cosines of 0.75, 0.80,
0.89 and 0.93 with the pictures' own, 0.24 to 0.28 with others' (112 rendered faces at 128 px). What is left to
learn is the decoder, and the UNet need not wait for it.

Each strided convolution takes 2 × 2 places together and keeps their strongest components; everything between lets
through what it is given. The last layers would bend it: GroupNorm is given constants so large that its divisor is
one, and pairs (x, -x) whose mean is zero; of those, SiLU(x) - SiLU(-x) = x.
"""

import torch
from diffusers import AutoencoderKL
from torch import nn

from ..errors import InvalidRequest

CONSTANT = 1000.0  # far above any component, and within half precision
CERTAIN = -12.0  # logarithm of the variance that the encoder states: it is sure


@torch.no_grad()
def write_components(vae: AutoencoderKL, pictures: torch.Tensor, *, evenness: float = 0.5) -> None:
    """Make the encoder give the principal components of the patches of these pictures; the decoder is left alone.

    Args:
        vae: its last two levels equally wide, with room for two constants in each group of channels.
        pictures: (n, 3, h, w), -1 to 1.
        evenness: 0 leaves the components as far apart in size as they are, 1 makes all alike. Noise drowns the small
            ones first, as it does fine detail in a picture.

    Raises:
        InvalidRequest: the encoder is too narrow for its latents.
    """
    encoder, latents = vae.encoder, vae.config.latent_channels
    _refuse_narrow(vae)
    _fill(encoder.conv_in, torch.eye(3))
    downs = [block.downsamplers[0].conv for block in encoder.down_blocks if block.downsamplers]
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            _let_through(resnet)
    for resnet in encoder.mid_block.resnets:
        _let_through(resnet)
    for attention in encoder.mid_block.attentions:
        if attention is not None:
            _silence(attention.to_out[0])
    *earlier, last = downs
    carried, norm = pictures, encoder.conv_norm_out
    for down in earlier:
        basis, _, carried = _components(carried, down.out_channels)
        _take_together(down, basis)
    basis, deviations, carried = _components(carried, latents)
    spread, constants = _pairs(latents, last.out_channels, norm.num_groups)
    _take_together(last, spread @ (basis / deviations[:, None] ** evenness))
    last.bias.copy_(constants)
    deviation = (2 * CONSTANT**2 / (norm.num_channels / norm.num_groups)) ** 0.5
    norm.weight.copy_(torch.where(constants == 0, deviation, 0.0))
    norm.bias.zero_()
    middle = carried.mean(dim=(0, 2, 3)) / deviations**evenness
    _fill(encoder.conv_out, spread.T)
    encoder.conv_out.bias[:latents] = -middle
    encoder.conv_out.bias[latents:] = CERTAIN
    if vae.quant_conv is not None:
        _fill(vae.quant_conv, torch.eye(2 * latents))


def _components(carried: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of (n, c, h, w): at most count orthonormal rows (k, 4 c) over 2 × 2 places, the strongest first; their
    deviations (k,); and what they make of it, (n, k, h / 2, w / 2)."""
    patches = nn.functional.pixel_unshuffle(carried, 2)
    rows = patches.permute(0, 2, 3, 1).flatten(0, 2).double()
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))  # rising
    strongest = values.argsort(descending=True)[:count]
    basis = vectors[:, strongest].T
    # An eigenvector's sign is nobody's choice: made the same on every machine.
    basis = basis * basis.gather(1, basis.abs().argmax(dim=1, keepdim=True)).sign()
    basis = basis.float()
    deviations = values[strongest].clamp(min=1e-12).sqrt().float()
    return basis, deviations, torch.einsum("kc,nchw->nkhw", basis, patches)


def _take_together(down: nn.Conv2d, basis: torch.Tensor) -> None:
    """Let a strided convolution make what these rows say of 2 × 2 places; it is padded right and below."""
    _silence(down)
    down.weight[: len(basis), : basis.shape[1] // 4, :2, :2] = basis.view(len(basis), -1, 2, 2)


def _pairs(count: int, width: int, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where components go among a level's channels: (width, count) of 1 and -1, and (width,) the constants, two in
    each group, elsewhere 0."""
    spread, constants = torch.zeros(width, count), torch.zeros(width)
    size = width // groups
    places = [group * size + at for group in range(groups) for at in range(0, size - 3, 2)]
    for component, place in enumerate(places[:count]):
        spread[place, component], spread[place + 1, component] = 1, -1
    for group in range(groups):
        end = (group + 1) * size
        constants[end - 2], constants[end - 1] = CONSTANT, -CONSTANT
    return spread, constants


def _refuse_narrow(vae: AutoencoderKL) -> None:
    *_, before, last = vae.config.block_out_channels
    room = (last - 2 * vae.config.norm_num_groups) // 2
    if before != last or last % vae.config.norm_num_groups or room < vae.config.latent_channels:
        raise InvalidRequest(
            f"Components do not fit an encoder whose last levels have {before} and {last} channels in "
            f"{vae.config.norm_num_groups} groups and whose latents have {vae.config.latent_channels}: both levels "
            f"must be as wide as twice the latents and twice the groups. Or leave components off."
        )


def _let_through(resnet: nn.Module) -> None:
    _silence(resnet.conv2)
    if resnet.conv_shortcut is not None:
        _fill(resnet.conv_shortcut, torch.eye(resnet.conv_shortcut.in_channels))


def _silence(layer: nn.Conv2d | nn.Linear) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


def _fill(layer: nn.Conv2d, matrix: torch.Tensor) -> None:
    """Let a convolution do to each place what the matrix says, and nothing else."""
    _silence(layer)
    middle = layer.kernel_size[0] // 2
    layer.weight[: matrix.shape[0], : matrix.shape[1], middle, middle] = matrix
