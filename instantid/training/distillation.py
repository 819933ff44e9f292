"""The `distillation` stage: pictures in four steps (LCM, Luo et al. 2023, 2310.04378), as a LoRA (2311.05556).

The base, guided, takes one DDIM step along the path from noise to picture; the LoRA over it learns that both ends of
the step lead to the same picture. With the guidance learned in, nothing need be guided any more.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge
from diffusers import LCMScheduler
from PIL import Image
from pydantic import Field
from torch import nn

from .. import branches, bundles, schedulers
from ..adapter_file import read_adapter
from ..people import Frozen
from .base import drawn_caption
from .bundle_file import name_part
from .conditions import Conditions, without_text
from .denoising import Denoiser
from .face_conditions import with_faces
from .loop import Figures
from .lora import ATTENTION, lay_lora, without_lora, write_lora
from .prepared import Prepared
from .settings import Count, Share
from .sheets import lay_out

# What the published LCM-LoRAs lie over: beside attention, all that is wide.
LAYERS = (
    *ATTENTION,
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "time_emb_proj"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
)
STEPS = 4  # of the sample sheet; the recipes' own
FILE = "loras/lcm.safetensors"
Guidance = Annotated[float, Ge(1)]


class Options(Frozen):
    """Of the distillation stage."""

    rank: Count = Field(64, description="Of the LoRA, at each of its layers.")
    guidance: tuple[Guidance, Guidance] = Field(
        (3.0, 7.0), description="Least and most guidance scale that is learned in; the paper's ω is one less."
    )
    faces: Share = Field(
        0.5, description="Share of batches that are given faces; 0: the identity adapter is not looked at."
    )
    drop_text: Share = Field(
        0.1, description="How often the text is left out, for the little guidance that eight steps are given."
    )
    loss: Literal["huber", "l2"] = "huber"
    huber: float = Field(
        1e-3, gt=0, description="Errors far below it count squared, those far above plainly."
    )


class DistillationTask(nn.Module):
    """Learns to reach in a few steps where its own base arrives in many.

    Args:
        bundle: whose base is teacher and, below the LoRA, student.
        chosen: which pictures of `prepared` to learn from; where faces are given, those without one are left out.
        shown: whose captions and faces the sample sheet paints.
    """

    name = "distillation"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        self.denoiser = Denoiser(bundle, faces=options.faces > 0)
        if options.faces:
            adapter = bundles.open_bundle(bundle).require("identity_adapter")
            branches.attach(self.denoiser.pipeline, [read_adapter(adapter)])
            self.denoiser.requires_grad_(False)
            chosen = chosen[prepared.found[chosen]]
        lay_lora(self.denoiser.unet, LAYERS, options.rank)
        # The very sampler that the recipes use: what is learned is learned at its timesteps.
        self._schedule: LCMScheduler = schedulers.build("LCM", self.denoiser.pipeline.scheduler.config, STEPS)
        self._skipped = (
            self._schedule.config.num_train_timesteps // self._schedule.config.original_inference_steps
        )
        self.register_buffer("_signal", self._schedule.alphas_cumprod, persistent=False)
        self._prepared, self._chosen, self._shown, self._options = prepared, chosen, shown, options

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """How far apart the student ends from a noisy latent and from where the teacher's step leads."""
        chosen, options = self._chosen[list(indices)], self._options
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(self.denoiser.unet.device)
        towards, away = self._conditions(chosen)
        b = len(latents)
        number = torch.randint(1, self._schedule.config.original_inference_steps + 1, (b,))
        timesteps = (number * self._skipped - 1).to(latents.device)
        earlier = (timesteps - self._skipped).clamp(min=0)
        noisy = self._schedule.add_noise(latents, torch.randn_like(latents), timesteps)
        low, high = options.guidance
        guidance = low + (high - low) * torch.rand(b, 1, 1, 1, device=latents.device)
        # The target is the student itself without gradients, as for the published LoRAs: no second set of weights.
        stepped = self.step_back(noisy, timesteps, earlier, towards, away, guidance)
        with torch.no_grad():
            target = self.arrive(stepped, earlier, towards)
        difference = self.arrive(noisy, timesteps, towards) - target
        if options.loss == "l2":
            return {"loss": difference.square().mean()}
        loss = (difference.square() + options.huber**2).sqrt().mean() - options.huber
        return {"loss": loss, "l2": difference.detach().square().mean()}

    def step_back(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        earlier: torch.Tensor,
        towards: Conditions,
        away: Conditions,
        guidance: torch.Tensor,
    ) -> torch.Tensor:
        """The teacher's guided DDIM step of (b, c, h, w) latents between (b,) timesteps (equations 13 and 14)."""
        with without_lora(self.denoiser.unet):
            plain = self.denoiser.predict(noisy, timesteps, away).float()
            guided = plain + guidance * (self.denoiser.predict(noisy, timesteps, towards).float() - plain)
        picture, noise = self._parts(noisy, timesteps, guided)
        signal = _wide(self._signal[earlier])
        return signal.sqrt() * picture + (1 - signal).sqrt() * noise

    def arrive(self, noisy: torch.Tensor, timesteps: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """Where the student says that the path through (b, c, h, w) latents ends; at timestep 0, right there."""
        predicted = self.denoiser.predict(noisy, timesteps, conditions).float()
        picture, _ = self._parts(noisy, timesteps, predicted)
        skip, out = self._schedule.get_scalings_for_boundary_condition_discrete(timesteps)
        return _wide(skip) * noisy + _wide(out) * picture

    def sheet(self) -> Image.Image:
        """Pictures; below, their captions by the teacher in 15 steps and the student in 4; then with their faces."""
        texts = [self._prepared.records[i]["caption"] for i in self._shown]
        rows = [*self._prepared.images(self._shown)]
        for faces in (False, True) if self._options.faces else (False,):
            towards, away = self._told(texts, self._shown, faces=faces)
            with without_lora(self.denoiser.unet):
                rows += [*self.denoiser.paint(towards, away)]
            rows += [*self.denoiser.paint(towards, away, steps=STEPS, guidance=1, sampler="LCM")]
        return lay_out(rows, columns=len(texts))

    def save(self, bundle: Path) -> None:
        """Write loras/lcm.safetensors, and name it in bundle.json: then the recipes “LCM” are there."""
        write_lora(bundle / FILE, {"unet": self.denoiser.unet})
        name_part(bundle, "loras.lcm", FILE)

    def _conditions(self, chosen: np.ndarray) -> tuple[Conditions, Conditions]:
        faces = random.random() < self._options.faces
        towards, away = self._told(
            [drawn_caption(self._prepared.records[i]) for i in chosen], chosen, faces=faces
        )
        dropped = torch.rand(len(chosen)).to(towards.hidden.device) < self._options.drop_text
        return without_text(towards, away, dropped), away

    @torch.no_grad()
    def _told(
        self, texts: Sequence[str], chosen: np.ndarray, *, faces: bool
    ) -> tuple[Conditions, Conditions]:
        """What is led towards and what away from, as at the page: no text and the face that is all zeros."""
        records = [self._prepared.records[i] for i in chosen]
        towards, away = (self.denoiser.read(told, records) for told in (texts, [""] * len(texts)))
        if not self._options.faces:
            return towards, away
        self.denoiser.pipeline.set_ip_adapter_scale(float(faces))
        embeddings = torch.from_numpy(self._prepared.embeddings[chosen]).to(towards.hidden.device)
        return (
            with_faces(self.denoiser, self._prepared, towards, embeddings, chosen, net=faces),
            with_faces(self.denoiser, self._prepared, away, 0 * embeddings, chosen, net=faces),
        )

    def _parts(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, predicted: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture and the noise that noisy latents are made of, by a prediction."""
        signal = _wide(self._signal[timesteps])
        a, s = signal.sqrt(), (1 - signal).sqrt()
        if self._schedule.config.prediction_type == "v_prediction":
            return a * noisy - s * predicted, s * noisy + a * predicted
        return (noisy - s * predicted) / a, predicted


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]
