"""What every stage after the autoencoder learns by: taking noise out of latents, under whatever conditions.

Parts are those of a bundle in the published layout; how they meet here is how the pipeline lets them meet.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import DDPMScheduler
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from .. import bundles, loading, schedulers
from ..errors import InvalidRequest
from ..identity import IdentityNet
from ..people import Frozen
from .autoencoder import as_pictures
from .conditions import Conditions
from .text_reading import TextReader

STRONGEST = 0.1  # of the noise schedule: there hardly anything is left of a picture to go by
Sampler = Literal["Euler", "LCM"]
LEAST_APART = 0.003  # of a latent's variance: pictures that differ less are taken for alike


class Noise(Frozen):
    """How every stage that takes noise out draws and weights it. The papers behind InstantID do neither."""

    min_snr: float = Field(
        0.0,
        ge=0,
        description="Min-SNR weighting's γ, 5 in its paper (2303.09556); 0: none. Not with v-prediction.",
    )
    draw: float = Field(
        1.0,
        gt=0,
        description="Exponent of the draw of timesteps: below 1, strong noise, where it is decided what is painted, "
        "comes more often.",
    )


class Denoiser(nn.Module):
    """UNet, text encoders, VAE and noise schedule of a bundle.

    Nothing in it learns until a task says so by `requires_grad_`.

    Args:
        faces: also load IdentityNet.
    """

    def __init__(self, bundle: Path, *, faces: bool = False):
        super().__init__()
        opened = bundles.open_bundle(bundle)
        self.pipeline = loading.load_base(opened, torch.float32)
        self.map_pixel = opened.defaults.map_pixel
        self._sampler: Sampler = "LCM" if opened.defaults.scheduler == "LCM" else "Euler"
        self.unet, self.vae = self.pipeline.unet, self.pipeline.vae
        self.text_encoder, self.text_encoder_2 = self.pipeline.text_encoder, self.pipeline.text_encoder_2
        self.identitynet: IdentityNet | None = None
        if faces:
            self.identitynet = loading.load_controlnet(opened, "identitynet", self.unet, IdentityNet)
        self._readers = (
            TextReader(self.pipeline.tokenizer, self.text_encoder),
            TextReader(self.pipeline.tokenizer_2, self.text_encoder_2),
        )
        self.requires_grad_(False)
        self._schedule = DDPMScheduler.from_config(self.pipeline.scheduler.config)
        signal = self._schedule.alphas_cumprod
        self.register_buffer("_snr", signal / (1 - signal), persistent=False)

    @property
    def side(self) -> int:
        """Of latents."""
        return self.unet.config.sample_size

    @property
    def by_velocity(self) -> bool:
        """Whether v is predicted (Salimans & Ho 2022); else the noise."""
        return self._schedule.config.prediction_type == "v_prediction"

    def require_velocity(self, option: str | None = None) -> None:
        """Refuse to look at what is made of noise alone, which tells a base that predicts noise nothing.

        Args:
            option: that asks for it; None: the whole stage does.

        Raises:
            InvalidRequest: this one predicts the noise.
        """
        if not self.by_velocity:
            instead = f"Leave {option} at 0, or begin" if option else "Begin"
            raise InvalidRequest(
                "What is made of noise alone is looked at here, which tells a base that predicts noise nothing. "
                f"{instead} with a base that predicts v."
            )

    def read(self, texts: Sequence[str], records: Sequence[dict] | None = None) -> Conditions:
        """What the text encoders make of texts, as `StableDiffusionXLPipeline.encode_prompt` has it.

        Args:
            records: of the pictures that the texts tell of: they may know what was cut out of what.
        """
        (first, _), (second, pooled) = (reader.read(texts) for reader in self._readers)
        sizes = None if records is None else self._sizes(records).to(self.unet.device)
        return Conditions(hidden=torch.cat([first, second], dim=-1), pooled=pooled, sizes=sizes)

    @torch.no_grad()
    def pooled(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, p): what the second text encoder says of texts in all."""
        return self._readers[1].read(texts)[1]

    def _sizes(self, records: Sequence[dict]) -> torch.Tensor:
        """(b, 4), of `Conditions`."""
        side = self.side * self.pipeline.vae_scale_factor
        whole = {"original": (side, side), "crop": (0, 0)}
        known = [whole | record for record in records]
        return torch.tensor([[*each["original"], *each["crop"]] for each in known], dtype=torch.float32)

    @torch.no_grad()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) pixels, -1 to 1, → latents as the UNet wants them. In float32, as `latents.encode`."""
        device = self.unet.device
        with torch.autocast(device.type, enabled=False):
            said = self.vae.encode(pictures.float().to(device)).latent_dist
        return said.mode() * self.vae.config.scaling_factor

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Latents (b, c, h, w) → pictures (b, s, s, 3) uint8."""
        return as_pictures(self.pixels(latents))

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (b, c, h, w) → (b, 3, s, s), about -1 to 1."""
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample

    def timesteps(self, count: int, strongest: float) -> torch.Tensor:
        """Drawn from the strongest share of the noise schedule; of 0, the strongest one."""
        steps = self._schedule.config.num_train_timesteps
        return steps - 1 - torch.randint(max(1, int(strongest * steps)), (count,))

    def disturbed(self, latents: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Latents with new noise."""
        return self.noised(latents, torch.randn_like(latents), timesteps)

    def strength(self, timesteps: torch.Tensor) -> torch.Tensor:
        """(b, 1, 1, 1), 0 to 1: of the noise at (b,) timesteps."""
        return (1 - self._schedule.alphas_cumprod.to(timesteps.device)[timesteps]).sqrt()[:, None, None, None]

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Latents with this noise."""
        return self._schedule.add_noise(latents, noise, timesteps)

    def predict(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        conditions: Conditions,
        by: nn.Module | None = None,
    ) -> torch.Tensor:
        """What the UNet, or another one, makes of noisy latents (b, c, h, w) at (b,) timesteps."""
        added = self.beside(noisy, conditions)
        down, middle = (None, None)
        if conditions.residuals is not None:
            down, middle = conditions.residuals(noisy, timesteps, added)
        if conditions.adapters:
            added = added | {"image_embeds": list(conditions.adapters)}
        return (self.unet if by is None else by)(
            noisy,
            timesteps,
            conditions.hidden,
            added_cond_kwargs=added,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample

    def beside(self, noisy: torch.Tensor, conditions: Conditions) -> dict[str, torch.Tensor]:
        """What UNet and ControlNets are told beside latents (b, c, h, w), time and text."""
        height, width = (float(side * self.pipeline.vae_scale_factor) for side in noisy.shape[-2:])
        before = conditions.sizes
        if before is None:
            before = noisy.new_tensor([height, width, 0, 0]).expand(len(noisy), -1)
        sizes = torch.cat([before, noisy.new_tensor([height, width]).expand(len(noisy), -1)], dim=1)
        return {"text_embeds": conditions.pooled, "time_ids": sizes}

    def loss(
        self,
        latents: torch.Tensor,
        conditions: Conditions,
        options: Noise,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The error of one prediction for each of b latents, at timesteps spread over the schedule.

        Args:
            where: (b, 1, h, w) how much each place counts; None: all alike.
        """
        b, steps = len(latents), self._schedule.config.num_train_timesteps
        spread = (torch.randperm(b) + torch.rand(b)) / b  # each part of the schedule gets its share
        timesteps = (spread**options.draw * steps).long().clamp(max=steps - 1).to(latents.device)
        noise = torch.randn_like(latents)
        noisy = self._schedule.add_noise(latents, noise, timesteps)
        predicted = self.predict(noisy, timesteps, conditions)
        wanted = self._schedule.get_velocity(latents, noise, timesteps) if self.by_velocity else noise
        errors = F.mse_loss(predicted.float(), wanted, reduction="none")
        if where is not None:
            errors = errors * where / where.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        errors = errors.mean(dim=(1, 2, 3))
        if options.min_snr:
            if self.by_velocity:
                # Where noise is strong hardly anything would be learned, and there it is decided what is painted.
                raise InvalidRequest(
                    "min_snr weights what predicts the noise; this base predicts v, whose plain error is weighted "
                    "already. Leave min_snr at 0."
                )
            snr = self._snr[timesteps]
            errors = errors * snr.clamp(max=options.min_snr) / snr
        return errors.mean()

    def foretell(
        self, latents: torch.Tensor, noise: torch.Tensor, conditions: Conditions, strongest: float = STRONGEST
    ) -> torch.Tensor:
        """What a base that predicts v makes of (b, c, h, w) latents in strong noise, in one step.

        Timesteps are drawn from the strongest share of the noise schedule, alike for both halves of the batch.
        """
        timesteps = self.timesteps(len(latents) // 2, strongest).repeat(2).to(latents.device)
        return self.made(latents, noise, timesteps, conditions)

    def made(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        conditions: Conditions,
        by: nn.Module | None = None,
    ) -> torch.Tensor:
        """What the UNet, or another one, makes of (b, c, h, w) latents with this noise at (b,) timesteps at once."""
        noisy = self._schedule.add_noise(latents, noise, timesteps)
        predicted = self.predict(noisy, timesteps, conditions, by).float()
        signal = self._schedule.alphas_cumprod.to(latents.device)[timesteps][:, None, None, None]
        if self.by_velocity:
            return signal.sqrt() * noisy - (1 - signal).sqrt() * predicted
        return (noisy - (1 - signal).sqrt() * predicted) / signal.sqrt()

    def compared(
        self,
        latents: torch.Tensor,
        where: torch.Tensor,
        conditions: Conditions,
        strongest: float = STRONGEST,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The error of what is made of strong noise; and how far its two halves, out of the same noise, differ
        otherwise than they should, as a share of how far they should. What all pictures have in common, most of the
        error, is no part of that.

        Args:
            latents: (2n, c, h, w) what should be made.
            where: (2n, 1, h, w) how much each place counts.
        """
        n = len(latents) // 2
        noise = torch.randn_like(latents[:n]).repeat(2, 1, 1, 1)
        made = self.foretell(latents, noise, conditions, strongest)
        everywhere = where.sum().clamp(min=1e-6)
        error = (where * (made - latents).square()).sum() / (everywhere * latents.shape[1])
        both = where[:n]
        wanted, found = latents[:n] - latents[n:], made[:n] - made[n:]
        spread = (both * wanted.square()).sum(dim=(0, 2, 3)) + LEAST_APART * both.sum().clamp(min=1)
        return error, ((both * (found - wanted).square()).sum(dim=(0, 2, 3)) / spread).mean()

    @torch.no_grad()
    def paint(
        self,
        conditions: Conditions,
        against: Conditions,
        *,
        steps: int = 15,
        guidance: float = 4.0,
        sampler: Sampler | None = None,
    ) -> np.ndarray:
        """Make pictures from fixed noise, (b, s, s, 3) uint8, led towards `conditions` and away from `against`.

        Args:
            sampler: None: what the bundle's own pictures are made by, or Euler.
        """
        generator = torch.Generator().manual_seed(0)
        made = self.lead(conditions, against, steps, guidance, steps, generator=generator, sampler=sampler)
        return self.decode(made)

    def lead(
        self,
        conditions: Conditions,
        against: Conditions,
        steps: int,
        guidance: float,
        until: int,
        *,
        generator: torch.Generator | None = None,
        sampler: Sampler | None = None,
    ) -> torch.Tensor:
        """What a picture of `steps` steps is on its way to after `until` of them: (b, c, h, w) latents without noise.

        Gradients go back through the last of these steps alone, and there through `conditions`.
        """
        scheduler = schedulers.build(sampler or self._sampler, self.pipeline.scheduler.config, steps)
        scheduler.set_timesteps(steps)
        b, device = len(conditions.hidden), self.unet.device
        shape = (b, self.unet.config.in_channels, self.side, self.side)
        latents = torch.randn(shape, generator=generator).to(device) * scheduler.init_noise_sigma
        learning = torch.is_grad_enabled()
        for i, step in enumerate(scheduler.timesteps[:until]):
            scaled, at = scheduler.scale_model_input(latents, step), step.to(device).expand(b)
            with torch.set_grad_enabled(learning and i == until - 1):
                predicted = self.predict(scaled, at, conditions).float()
                if guidance != 1:
                    with torch.no_grad():
                        away = self.predict(scaled, at, against).float()
                    predicted = away + guidance * (predicted - away)
                latents, picture = scheduler.step(
                    predicted, step, latents, generator=generator, return_dict=False
                )
        return picture
