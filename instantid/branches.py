"""The attention branches beside the text: IP-Adapters in a pipeline, and what each of them adds in one call.

An adapter may carry several embeddings in a call: people in their regions, a picture for style and one for layout.
Each has a strength, a region of the picture and the layers it acts in (IP-Adapter, section 3.2.2; InstantStyle,
section 3.3).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from torch.nn import functional as F

from .adapter_file import StateDict


@dataclass(frozen=True, eq=False)
class Source:
    """One embedding that steers through an adapter.

    Args:
        embedding: (d,) float32 on the CPU, as the adapter's projector takes it.
        strength: 0 is exactly off.
        mask: (height, width) of the canvas, 0 to 1: it acts inside only. None: everywhere.
        layers: whether it acts in the attention of that name, such as
            "up_blocks.0.attentions.1.transformer_blocks.0.attn2". None: in all of them.
    """

    embedding: torch.Tensor
    strength: float
    mask: np.ndarray | None = None
    layers: Callable[[str], bool] | None = None

    def strength_in(self, name: str) -> float:
        """Its strength in the attention called `name`."""
        return self.strength if self.layers is None or self.layers(name) else 0.0


@dataclass(frozen=True, eq=False)
class Branch:
    """What one adapter of a pipeline adds in a call.

    Args:
        sources: none: it is off.
        width: of its embeddings.
        negative: (width,) what guidance leads away from; None: zeros, as the adapters were trained with.
    """

    sources: Sequence[Source]
    width: int
    negative: torch.Tensor | None = None


def attach(pipeline: DiffusionPipeline, adapters: Sequence[StateDict]) -> None:
    """Load adapters into `pipeline`, natively and all at once. `detach` undoes it exactly."""
    if pipeline.unet.encoder_hid_proj is not None:
        raise RuntimeError("This pipeline already has an adapter: detach it first.")
    none = [None] * len(adapters)
    pipeline.load_ip_adapter(list(adapters), subfolder=none, weight_name=none, image_encoder_folder=None)


def add(pipeline: DiffusionPipeline, adapter: StateDict) -> None:
    """Put one more adapter behind those of `attach`, which stay as they are. `remove` undoes it exactly.

    diffusers takes adapters all at once, and would want the others' files again. New weights lie on the CPU, so
    placing (`acceleration.place`) comes after this.
    """
    unet = pipeline.unet
    numbers = {name: number for number, name in enumerate(unet.attn_processors)}
    projector = unet._convert_ip_adapter_image_proj_to_diffusers(adapter["image_proj"]).cpu()
    made = []
    for name, attention in _image_attentions(unet):
        number = numbers[f"{name}.processor"]
        weights = (adapter["ip_adapter"][f"{number}.{key}.weight"] for key in ("to_k_ip", "to_v_ip"))
        made.append((attention.processor, *(_linear(weight, unet.dtype) for weight in weights)))
    unet.encoder_hid_proj.image_projection_layers.append(projector)
    for processor, keys, values in made:
        processor.to_k_ip.append(keys)
        processor.to_v_ip.append(values)
        processor.num_tokens = [*processor.num_tokens, projector.num_tokens]
        processor.scale = [*processor.scale, 0.0]
    _maybe_remove_and_reapply_group_offloading(unet)  # its hooks hold on to the layers they were made for


def remove(pipeline: DiffusionPipeline) -> None:
    """Take the last adapter out again: the pipeline is as it was before `add`."""
    unet = pipeline.unet
    del unet.encoder_hid_proj.image_projection_layers[-1]
    for _, attention in _image_attentions(unet):
        processor = attention.processor
        del processor.to_k_ip[-1], processor.to_v_ip[-1]
        processor.num_tokens, processor.scale = processor.num_tokens[:-1], processor.scale[:-1]
    _maybe_remove_and_reapply_group_offloading(unet)


def _linear(weight: torch.Tensor, dtype: torch.dtype) -> torch.nn.Linear:
    """Without a bias, on the CPU."""
    out, into = weight.shape
    layer = torch.nn.Linear(into, out, bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight.to(dtype))
    return layer


def detach(pipeline: DiffusionPipeline) -> None:
    """Take the adapters out again: the pipeline is as it was before `attach`."""
    pipeline.unload_ip_adapter()
    # diffusers leaves a submodule named "encoder_hid_proj" that holds None; a fresh UNet has a plain None.
    del pipeline.unet.encoder_hid_proj
    pipeline.unet.encoder_hid_proj = None


def embeddings(branch: Branch, *, guided: bool) -> torch.Tensor:
    """Lay out one adapter's sources as `ip_adapter_image_embeds` wants them.

    Without sources an embedding of zeros stands in, and is not attended to.

    Args:
        guided: by CFG; then the unconditional half comes first.

    Returns:
        (2, n, 1, width), or (1, n, 1, width) where the call is not guided; float32 on the CPU.
    """
    rows = [source.embedding for source in branch.sources] or [torch.zeros(branch.width)]
    positive = torch.stack(rows)[None, :, None].float()  # (1, n, 1, width)
    if not guided:
        return positive
    away = torch.zeros(branch.width) if branch.negative is None else branch.negative
    return torch.cat([away.expand_as(positive), positive])


@contextmanager
def lend(
    pipeline: DiffusionPipeline, adapters: Sequence[Sequence[Source]], canvas: tuple[int, int]
) -> Iterator[None]:
    """Set what each adapter of a pipeline adds during one call; as before after it.

    Args:
        adapters: each one's sources, in the order of `attach`; none: it is off.
        canvas: (width, height) in pixels.
    """
    masks = [_columns(pipeline, sources, canvas) for sources in adapters]
    with ExitStack() as lent:
        for name, attention in _image_attentions(pipeline.unet):
            processor = attention.processor
            lent.callback(setattr, processor, "scale", processor.scale)
            processor.scale = [
                _scale([source.strength_in(name) for source in sources], masked=mask is not None)
                for sources, mask in zip(adapters, masks, strict=True)
            ]
            if any(mask is not None for mask in masks):
                hook = attention.register_forward_pre_hook(_hand_over(masks), with_kwargs=True)
                lent.callback(hook.remove)
        yield


def _scale(strengths: list[float], *, masked: bool) -> float | list[float]:
    if masked:
        return strengths
    return strengths[0] if strengths else 0.0


def _image_attentions(unet: UNet2DConditionModel) -> list[tuple[str, torch.nn.Module]]:
    kinds = (IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0)
    names = [name for name, processor in unet.attn_processors.items() if isinstance(processor, kinds)]
    names = [name.removesuffix(".processor") for name in names]
    return [(name, unet.get_submodule(name)) for name in names]


def _columns(
    pipeline: DiffusionPipeline, sources: Sequence[Source], canvas: tuple[int, int]
) -> dict[int, torch.Tensor] | None:
    """The sources' masks at each level of the UNet, by number of queries; (1, n, queries, 1), 0 to 1.

    diffusers guesses a mask's grid from an area and an aspect, and misses at some sizes (520×512). A column
    as long as the queries leaves it nothing to guess. None where one source acts everywhere.
    """
    if len(sources) < 2 and all(source.mask is None for source in sources):
        return None
    width, height = canvas
    everywhere = np.ones((height, width), dtype=np.float32)
    stack = np.stack([everywhere if source.mask is None else source.mask for source in sources])
    masks = torch.from_numpy(stack).float()[None]  # (1, n, height, width)
    height, width = (side // pipeline.vae_scale_factor for side in (height, width))
    columns = {}
    for _ in pipeline.unet.config.block_out_channels:
        level = F.interpolate(masks, size=(height, width), mode="nearest")
        columns[height * width] = level.reshape(1, len(sources), -1, 1)
        height, width = -(-height // 2), -(-width // 2)  # the UNet rounds up
    return columns


def _hand_over(masks: list[dict[int, torch.Tensor] | None]) -> Callable:
    def hand_over(attention, inputs, options):
        queries = inputs[0].shape[1]
        for columns in masks:
            if columns is not None:
                # diffusers widens a mask to every channel where it lies: on the CPU, that would cross over
                # 70 times a step.
                columns[queries] = columns[queries].to(inputs[0])
        chosen = [None if columns is None else columns[queries] for columns in masks]
        return inputs, options | {"ip_adapter_masks": chosen}

    return hand_over
