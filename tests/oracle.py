"""The original InstantID pipeline's arithmetic, plain and slow, in float64: what the engine is measured against.

Written from instantX-research/InstantID (pipeline_stable_diffusion_xl_instantid_full.py, ip_adapter/) and shares
nothing with instantid/identity.py or engine.py, so that agreement means something. UNet, ControlNet, VAE and text
encoders are diffusers' and transformers' own, taken as black boxes; attention, Resampler, IdentityNet, mask,
guidance and Euler are spelled out here.

It departs from the original in three places:
- Text is diffusers' `encode_prompt`, as in the original's basic pipeline; the full one cuts prompts otherwise.
- Mask sizes are rounded up, as the UNet rounds. The original rounds down: equal at multiples of 32, else it crashes.
- A face box that reaches past the left or upper edge is cut there. The original's mask is then empty by accident.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.nn import functional

RESAMPLER_HEAD_WIDTH = 64  # the original's `dim_head`; the file does not hold the number of heads


@dataclass(frozen=True, kw_only=True, eq=False)
class TextEmbeddings:
    """Both prompts, encoded. Embeddings (1, length, width), pooled (1, pooled width)."""

    prompt: Tensor
    negative: Tensor
    pooled: Tensor
    negative_pooled: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class OracleInputs:
    """One picture.

    Args:
        embedding: (d,) raw, or (n, d): the Resampler then attends to n vectors, as in the original.
        keypoint_map: RGB, of the picture's size.
        text: from `encode_text`, or anybody's weighted embeddings.
        noise: (1, channels, height / 8, width / 8), of unit variance; from `initial_noise`.
        face_box: x1 y1 x2 y2 in pixels of the picture; None is the original's `control_mask=None`.
        extra_controls: (folder of a ControlNet, RGB map of the picture's size, strength), in order.
    """

    embedding: np.ndarray
    keypoint_map: Image.Image
    text: TextEmbeddings
    noise: Tensor
    width: int
    height: int
    steps: int
    guidance_scale: float
    identity_strength: float
    adapter_strength: float
    face_box: tuple[float, float, float, float] | None = None
    extra_controls: tuple[tuple[Path, Image.Image, float], ...] = ()

    @property
    def guided(self) -> bool:
        return self.guidance_scale > 1


def encode_text(bundle_folder: Path, prompt: str, negative_prompt: str = "") -> TextEmbeddings:
    """Encode in float32, the precision the text encoders are run in, and widen."""
    encoder = StableDiffusionXLPipeline.from_pretrained(_part(bundle_folder, "base"), unet=None, vae=None)
    with torch.no_grad():
        encoded = encoder.encode_prompt(
            prompt, negative_prompt=negative_prompt, device="cpu", do_classifier_free_guidance=True
        )
    names = ("prompt", "negative", "pooled", "negative_pooled")
    return TextEmbeddings(**{name: tensor.double() for name, tensor in zip(names, encoded, strict=True)})


def initial_noise(bundle_folder: Path, seed: int, *, width: int, height: int, images: int = 1) -> Tensor:
    """Draw what diffusers' `prepare_latents` draws, not yet scaled by the scheduler. (images, c, h, w) float32."""
    base = _part(bundle_folder, "base")
    channels = json.loads((base / "unet/config.json").read_text())["in_channels"]
    factor = 2 ** (len(json.loads((base / "vae/config.json").read_text())["block_out_channels"]) - 1)
    shape = (images, channels, height // factor, width // factor)
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)


@torch.no_grad()
def original_latents(bundle_folder: Path, inputs: OracleInputs) -> Tensor:
    """The last latents, (1, c, h, w) float64, as the VAE's encoder scales them."""
    base = _part(bundle_folder, "base")
    weights = torch.load(_part(bundle_folder, "identity_adapter"), weights_only=True)
    unet = UNet2DConditionModel.from_pretrained(base / "unet").double().eval()
    identity = (_part(bundle_folder, "identitynet"), inputs.keypoint_map, inputs.identity_strength)
    nets = [
        (_load_controlnet(folder), _as_condition(image, inputs), strength)
        for folder, image, strength in (identity, *inputs.extra_controls)
    ]

    def doubled(negative: Tensor, positive: Tensor) -> Tensor:
        """Unconditional first; without guidance only the conditional."""
        return torch.cat([negative, positive] if inputs.guided else [positive]).double()

    faces = torch.tensor(np.asarray(inputs.embedding), dtype=torch.float64)
    faces = faces.reshape(1, -1, weights["image_proj"]["proj_in.weight"].shape[1])  # (1, n, d)
    tokens = resample(weights["image_proj"], doubled(torch.zeros_like(faces), faces))  # (batch, queries, c)
    text = doubled(inputs.text.negative, inputs.text.prompt)  # (batch, length, c)
    text_and_face = torch.cat([text, tokens], dim=1)
    batch = len(tokens)
    original_size = target_size = (inputs.height, inputs.width)
    time_ids = torch.tensor([[*original_size, 0, 0, *target_size]], dtype=torch.float64).expand(batch, -1)
    added = {"text_embeds": doubled(inputs.text.negative_pooled, inputs.text.pooled), "time_ids": time_ids}
    mask = face_mask(inputs.face_box, inputs.width, inputs.height)
    masks = masks_by_length(mask, inputs.noise.shape[-2:], len(unet.config.block_out_channels))
    hang_adapter(unet, weights["ip_adapter"], tokens.shape[1], inputs.adapter_strength, masks)

    timesteps, sigmas = euler_schedule(base / "scheduler" / "scheduler_config.json", inputs.steps)
    latents = inputs.noise.double() * (sigmas[0] ** 2 + 1).sqrt()
    for t, sigma, next_sigma in zip(timesteps, sigmas[:-1], sigmas[1:], strict=True):
        sample = (latents / (sigma**2 + 1).sqrt()).expand(batch, -1, -1, -1)
        residuals = []  # of each net: those of the way down, then the middle's
        for index, (net, condition, strength) in enumerate(nets):
            context, residual_mask = (tokens, mask) if index == 0 else (text, torch.ones_like(mask))
            picture = condition.expand(batch, -1, -1, -1)
            down, middle = net(sample, t, context, picture, added_cond_kwargs=added, return_dict=False)
            residuals.append([strength * masked(residual, residual_mask) for residual in (*down, middle)])
        *down, middle = [sum(of_each_net) for of_each_net in zip(*residuals, strict=True)]
        control = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        noise = unet(sample, t, text_and_face, added_cond_kwargs=added, **control).sample
        if inputs.guided:
            without, with_prompt = noise.chunk(2)
            noise = without + inputs.guidance_scale * (with_prompt - without)
        latents = latents + (next_sigma - sigma) * noise  # epsilon prediction: the noise is dx/dsigma
    return latents


@torch.no_grad()
def original_image(bundle_folder: Path, inputs: OracleInputs) -> np.ndarray:
    """The picture, (height, width, 3) RGB float64 in [0, 1], not yet rounded: see `to_picture`."""
    vae = AutoencoderKL.from_pretrained(_part(bundle_folder, "base") / "vae").double().eval()
    pixels = vae.decode(original_latents(bundle_folder, inputs) / vae.config.scaling_factor).sample
    return (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()


def to_picture(pixels: np.ndarray) -> Image.Image:
    """Round [0, 1] to uint8 as diffusers does: times 255, to the nearest, halves to the even."""
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))


def resample(weights: dict[str, Tensor], faces: Tensor) -> Tensor:
    """Face vectors (batch, n, d) to tokens (batch, queries, c): InstantID's Resampler from its raw `image_proj`."""
    w = {name: tensor.double() for name, tensor in weights.items()}

    def normed(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    x = faces @ w["proj_in.weight"].T + w["proj_in.bias"]
    latents = w["latents"].expand(len(faces), -1, -1)
    depth = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("layers."))
    for i in range(depth):
        attention, feed = f"layers.{i}.0", f"layers.{i}.1"
        own = normed(latents, f"{attention}.norm2")
        context = torch.cat([normed(x, f"{attention}.norm1"), own], dim=1)
        query = own @ w[f"{attention}.to_q.weight"].T
        key, value = (context @ w[f"{attention}.to_kv.weight"].T).chunk(2, dim=-1)
        heads = query.shape[-1] // RESAMPLER_HEAD_WIDTH
        latents = latents + softmax_attention(query, key, value, heads) @ w[f"{attention}.to_out.weight"].T
        hidden = functional.gelu(normed(latents, f"{feed}.0") @ w[f"{feed}.1.weight"].T)
        latents = latents + hidden @ w[f"{feed}.3.weight"].T
    return normed(latents @ w["proj_out.weight"].T + w["proj_out.bias"], "norm_out")


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(QKᵀ / √width)V for each head. query (batch, length, heads·width) to the same."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)


@dataclass
class PlainAttention:
    """Attention without the adapter, for self-attention and for ControlNets."""

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        return attn.to_out[0](softmax_attention(*projected, attn.heads))


@dataclass
class AdapterAttention:
    """Attn(q, text) + strength · mask · Attn(q, face), the face being the context's last `face_tokens` tokens.

    Args:
        to_k, to_v: (hidden, c), the adapter's own; no biases.
        masks: pixels of a level → (1, pixels, 1). Both halves of the batch are masked.
    """

    to_k: Tensor
    to_v: Tensor
    face_tokens: int
    strength: float
    masks: dict[int, Tensor]

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ) -> Tensor:
        text = encoder_hidden_states[:, : -self.face_tokens]
        face = encoder_hidden_states[:, -self.face_tokens :]
        query = attn.to_q(hidden_states)
        from_text = softmax_attention(query, attn.to_k(text), attn.to_v(text), attn.heads)
        from_face = softmax_attention(query, face @ self.to_k.T, face @ self.to_v.T, attn.heads)
        return attn.to_out[0](from_text + self.strength * self.masks[query.shape[1]] * from_face)


def hang_adapter(
    unet: UNet2DConditionModel,
    weights: dict[str, Tensor],
    face_tokens: int,
    strength: float,
    masks: dict[int, Tensor],
) -> None:
    """Give every cross-attention the file's tensors of its number: its place in `attn_processors`."""
    processors = {}
    for number, name in enumerate(unet.attn_processors):
        processors[name] = PlainAttention()
        if name.endswith("attn2.processor"):
            to_k, to_v = (weights[f"{number}.{key}.weight"].double() for key in ("to_k_ip", "to_v_ip"))
            processors[name] = AdapterAttention(to_k, to_v, face_tokens, strength, masks)
    unet.set_attn_processor(processors)


def face_mask(box: tuple[float, float, float, float] | None, width: int, height: int) -> Tensor:
    """(1, 1, height, width): one inside the box, its corners cut to whole pixels, zero outside. None: all ones."""
    x1, y1, x2, y2 = (max(0, int(corner)) for corner in box or (0, 0, width, height))
    mask = torch.zeros(1, 1, height, width, dtype=torch.float64)
    mask[:, :, y1:y2, x1:x2] = 1
    return mask


def masked(residual: Tensor, mask: Tensor) -> Tensor:
    """Weigh a residual by the mask, shrunk to its size bilinearly, without antialiasing."""
    return residual * functional.interpolate(mask, residual.shape[-2:], mode="bilinear")


def masks_by_length(mask: Tensor, latent_size: tuple[int, int], levels: int) -> dict[int, Tensor]:
    """The mask at each level of the UNet, nearest pixel, flattened like the queries there: (1, pixels, 1)."""
    height, width = latent_size
    masks = {}
    for _ in range(levels):
        masks[height * width] = functional.interpolate(mask, (height, width), mode="nearest").reshape(
            1, -1, 1
        )
        height, width = -(-height // 2), -(-width // 2)
    return masks


def euler_schedule(config_file: Path, steps: int) -> tuple[Tensor, Tensor]:
    """Timesteps (steps,) and noise levels (steps + 1,), float64, high to low, the last level 0.

    Raises:
        ValueError: the configuration asks for something SDXL's published ones do not.
    """
    config = json.loads(Path(config_file).read_text())
    plain = {
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "leading",
        "prediction_type": "epsilon",
        "interpolation_type": "linear",
        "use_karras_sigmas": False,
    }
    for name, wanted in plain.items():
        if config.get(name, wanted) != wanted:
            raise ValueError(f"The oracle knows {name}={wanted!r}, {config_file} has {config[name]!r}.")
    train_steps = config["num_train_timesteps"]
    betas = np.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, train_steps) ** 2
    kept = np.cumprod(1 - betas)
    timesteps = np.arange(steps)[::-1] * (train_steps // steps) + config["steps_offset"]
    sigmas = np.sqrt((1 - kept[timesteps]) / kept[timesteps])
    return torch.tensor(timesteps, dtype=torch.float64), torch.tensor([*sigmas, 0.0], dtype=torch.float64)


def _part(bundle_folder: Path, name: str) -> Path:
    return Path(bundle_folder) / json.loads((Path(bundle_folder) / "bundle.json").read_text())[name]


def _load_controlnet(folder: Path) -> ControlNetModel:
    net = ControlNetModel.from_pretrained(folder).double().eval()
    net.set_attn_processor(PlainAttention())
    return net


def _as_condition(image: Image.Image, inputs: OracleInputs) -> Tensor:
    """(1, 3, height, width) in [0, 1]."""
    if image.mode != "RGB" or image.size != (inputs.width, inputs.height):
        raise ValueError(f"Maps are RGB of {inputs.width}x{inputs.height}, got {image.mode} of {image.size}.")
    return torch.tensor(np.asarray(image), dtype=torch.float64).permute(2, 0, 1)[None] / 255
