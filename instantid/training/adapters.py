"""Adapters while they are trained: a start for new ones, and back from diffusers' modules to the published layout."""

import re
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection

from .. import bundles
from ..adapter_file import RESAMPLER_DEPTH, StateDict, check_fit, read_adapter
from ..errors import BundleError
from ..mini import HEAD_WIDTH
from .prepared import Prepared


def attention_like_text(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """Keys and values for an adapter's tokens that start as the text's own (IP-Adapter's training code does so)."""
    weights = {}
    for number, name in _attentions(unet):
        attention = unet.get_submodule(name)
        weights[f"{number}.to_k_ip.weight"] = attention.to_k.weight.detach().clone()
        weights[f"{number}.to_v_ip.weight"] = attention.to_v.weight.detach().clone()
    return weights


def fresh_projector(
    embedding: int, width: int, *, inner: int, tokens: int = 16, seed: int = 0
) -> dict[str, torch.Tensor]:
    """InstantID's projector before it has learned anything, as its file has it; the same each time.

    Args:
        embedding: length of a face embedding.
        width: of the tokens, the UNet's cross-attention.
        inner: of its own layers, a multiple of 64; InstantID's has 1280.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        resampler = IPAdapterPlusImageProjection(
            embed_dims=embedding,
            output_dims=width,
            hidden_dims=inner,
            depth=RESAMPLER_DEPTH,
            dim_head=HEAD_WIDTH,
            heads=inner // HEAD_WIDTH,
            num_queries=tokens,
        )
    return {name: tensor.detach() for name, tensor in _resampler(resampler.state_dict()).items()}


def fitting_adapter(
    bundle: Path, unet: UNet2DConditionModel, prepared: Prepared, *, anew: bool = False
) -> StateDict:
    """The bundle's identity adapter, if it fits the UNet and its projector the embeddings that were prepared.

    Args:
        anew: with attention that begins as the text's.
    """
    path, length = bundles.open_bundle(bundle).require("identity_adapter"), prepared.embeddings.shape[1]
    weights = read_adapter(path)
    if anew:
        weights["ip_adapter"] = attention_like_text(unet)
    check_fit(weights, unet, path)
    if (wanted := weights["image_proj"]["proj_in.weight"].shape[1]) != length:
        raise BundleError(
            f"The projector in {path} reads face embeddings of {wanted} numbers; those in {prepared.folder} have "
            f"{length}. Prepare the data with the face models of this bundle, or begin with a projector of your own: "
            "fresh: true and projector: 1280."
        )
    return weights


def learn_adapter(unet: UNet2DConditionModel, index: int = 0) -> None:
    """Let the adapter at `index` of those attached to the UNet be trained: its projector, keys and values."""
    unet.encoder_hid_proj.image_projection_layers[index].requires_grad_(True)
    for _, name in _attentions(unet):
        processor = unet.get_submodule(name).processor
        processor.to_k_ip[index].requires_grad_(True)
        processor.to_v_ip[index].requires_grad_(True)


def published(unet: UNet2DConditionModel, index: int = 0) -> StateDict:
    """The adapter at `index` of those attached to the UNet, as InstantID's and IP-Adapter's files have it."""
    attention = {}
    for number, name in _attentions(unet):
        processor = unet.get_submodule(name).processor
        attention[f"{number}.to_k_ip.weight"] = processor.to_k_ip[index].weight
        attention[f"{number}.to_v_ip.weight"] = processor.to_v_ip[index].weight
    projector = unet.encoder_hid_proj.image_projection_layers[index]
    if isinstance(projector, ImageProjection):
        names = {name: name.replace("image_embeds", "proj") for name in projector.state_dict()}
        projection = {names[name]: tensor for name, tensor in projector.state_dict().items()}
    else:
        projection = _resampler(projector.state_dict())
    return {
        "image_proj": {name: tensor.detach().cpu().contiguous() for name, tensor in projection.items()},
        "ip_adapter": {name: tensor.detach().cpu().contiguous() for name, tensor in attention.items()},
    }


def plain_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of the UNet without its adapters; they stay attached to the one that goes on learning."""
    plain = UNet2DConditionModel.from_config(unet.config | {"encoder_hid_dim_type": None})
    weights = {name: tensor for name, tensor in unet.state_dict().items() if not is_adapters(name)}
    plain.load_state_dict(weights)
    return plain


def is_adapters(name: str) -> bool:
    """Whether a parameter of a UNet that carries adapters, by its name, is theirs."""
    return name.startswith("encoder_hid_proj.") or ".processor." in name


def _attentions(unet: UNet2DConditionModel) -> list[tuple[int, str]]:
    """The text's attentions with their numbers in adapter files."""
    names = enumerate(unet.attn_processors)
    return [
        (number, name.removesuffix(".processor"))
        for number, name in names
        if name.endswith("attn2.processor")
    ]


_RENAMED = (  # what diffusers calls the Resampler's weights, and what they are called where they come from
    (r"layers\.(\d+)\.ln0\.", r"layers.\1.0.norm1."),
    (r"layers\.(\d+)\.ln1\.", r"layers.\1.0.norm2."),
    (r"layers\.(\d+)\.attn\.to_q\.", r"layers.\1.0.to_q."),
    (r"layers\.(\d+)\.attn\.to_out\.0\.", r"layers.\1.0.to_out."),
    (r"layers\.(\d+)\.ff\.0\.", r"layers.\1.1.0."),
    (r"layers\.(\d+)\.ff\.1\.net\.0\.proj\.", r"layers.\1.1.1."),
    (r"layers\.(\d+)\.ff\.1\.net\.2\.", r"layers.\1.1.3."),
)


def _resampler(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in weights.items():
        if ".attn.to_v." in name:
            continue
        if ".attn.to_k." in name:  # keys and values are one matrix there
            layer = name.split(".")[1]
            values = weights[name.replace("to_k", "to_v")]
            renamed[f"layers.{layer}.0.to_kv.weight"] = torch.cat([tensor, values])
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
