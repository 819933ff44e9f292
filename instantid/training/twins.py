"""The `twins` stage: a small UNet learns what words change, from pictures that differ in nothing else.

From pictures alone it hardly learns words: in each of them most is by chance. Of twins (`people/twins.py`: one scene
with other hair, clothes and surroundings) two are made out of the same noise, in which nothing is decided yet; how
they differ should be how the pictures do. All else is to stay as it was: what both have in common, other captions,
styles, and later steps, for which the UNet as it began is the teacher.
"""

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import nn

from .. import branches
from ..errors import InvalidRequest
from ..people import Frozen
from ..styles import NO_STYLE, load_styles
from .adapters import fitting_adapter, is_adapters, plain_unet
from .adversarial import GUIDANCE, STEPS
from .base import drawn_caption
from .conditions import Conditions
from .denoising import LEAST_APART, Denoiser
from .face_conditions import led, with_faces
from .loop import Figures
from .people.looks import PHOTO
from .prepared import Prepared, some_of
from .settings import Share
from .sheets import lay_out
from .shown_faces import ShownFaces
from .starts import write_base

STRENGTHS = {(1.0, 1.0): 0.7, (1.0, 0.0): 0.1, (0.0, 1.0): 0.1, (0.0, 0.0): 0.1}  # of adapter and IdentityNet
MEASURED = 1000  # twins that tell how far such differ


class Options(Frozen):
    """Of the twins stage."""

    kept: Share = Field(
        0.4,
        lt=1,
        description="Share of batches in which what is made of other captions, and in later steps, stays as it was.",
    )
    keeping: float = Field(4.0, gt=0, description="Weight of what stays as it was, beside what words change.")
    other_view: Share = Field(0.5, description="How often the embedding is of other pictures of the person.")
    styled: Share = Field(0.5, description="Of captions that change nothing: how many ask for a preset.")
    full: Share = Field(0.8, description="How often the longest caption is read, and else any.")


class TwinsTask(nn.Module):
    """Learns to change what words change.

    Args:
        bundle: whose UNet learns; IdentityNet and adapter stay, and are heard as they were.
        chosen: which pictures of `prepared` to learn from: the twins among them whose face was found.
        shown: whose captions the sample sheet paints.

    Raises:
        InvalidRequest: there are no twins, or the base predicts the noise.
    """

    name = "twins"
    stays = ("before.",)

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        denoiser = self.denoiser = Denoiser(bundle, faces=True)
        denoiser.require_velocity()
        branches.attach(denoiser.pipeline, [fitting_adapter(bundle, denoiser.unet, prepared)])
        denoiser.requires_grad_(False)
        self.before = copy.deepcopy(denoiser.unet)
        for name, parameter in denoiser.unet.named_parameters():
            parameter.requires_grad_(not is_adapters(name))
        self._prepared, self._options = prepared, options
        self._faces = ShownFaces(prepared, options.other_view, references=4)
        self._twins, self._shown = twins_of(prepared, chosen), twins_of(prepared, shown)[:8]
        if not len(self._twins):
            raise InvalidRequest(
                f"{prepared.folder} holds no twins, of which this stage learns words. Make some: "
                "python -m instantid data make FOLDER --twins, then prepare them."
            )
        self._presets = [style for name, style in load_styles().items() if name != NO_STYLE]
        one, other = (prepared.latents(some).astype(np.float32) for some in some_of(self._twins, MEASURED).T)
        spread = torch.from_numpy(np.square(one - other).mean(axis=(0, 2, 3)) + LEAST_APART)
        self.register_buffer("_spread", spread[:, None, None], persistent=False)

    def __len__(self) -> int:
        return len(self._twins)

    def forward(self, indices: Sequence[int]) -> Figures:
        """How far two of a kind differ otherwise than they should, or how far from before it makes something else, as
        shares of how far twins differ."""
        [strengths] = random.choices(list(STRENGTHS), list(STRENGTHS.values()))
        pairs = self._twins[list(indices)]
        if random.random() < self._options.kept:
            kept = self._kept(pairs, strengths)
            return {"loss": self._options.keeping * kept, "kept": kept}
        apart, common = self._apart(pairs, strengths)
        return {"loss": apart + self._options.keeping * common, "words": apart, "common": common}

    def _apart(self, pairs: np.ndarray, strengths: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
        """How far those made differ otherwise than these twins, and how far what they have in common moved."""
        denoiser, both, n = self.denoiser, pairs.T.ravel(), len(pairs)
        wanted = torch.from_numpy(self._prepared.latents(both)).float().to(denoiser.unet.device)
        noise = torch.randn_like(wanted[:n]).repeat(2, 1, 1, 1)
        given = self._given([self._caption(i) for i in both], np.tile(pairs[:, 0], 2), strengths)
        made, was = self._made(torch.zeros_like(wanted), noise, STEPS[0], given)
        wrong = (made[:n] - made[n:]) - (wanted[:n] - wanted[n:])
        moved = (made[:n] + made[n:] - was[:n] - was[n:]) / 2
        return (wrong.square() / self._spread).mean(), (moved.square() / self._spread).mean()

    def _kept(self, pairs: np.ndarray, strengths: tuple[float, float]) -> torch.Tensor:
        """How far from before it makes something in one of the steps to a picture, by what it made until then."""
        denoiser = self.denoiser
        chosen, step = pairs[:, random.randrange(2)], random.randrange(len(STEPS))
        texts = [self._other_caption(i, later=step > 0) for i in chosen]
        given = self._given(texts, pairs[:, 0], strengths)
        side, channels = denoiser.side, denoiser.unet.config.in_channels
        latents = torch.zeros(len(pairs), channels, side, side, device=denoiser.unet.device)
        for at in STEPS[:step]:
            with torch.no_grad():
                timesteps = torch.full((len(latents),), at, device=latents.device)
                latents = denoiser.made(latents, torch.randn_like(latents), timesteps, given)
        made, was = self._made(latents, torch.randn_like(latents), STEPS[step], given)
        strength = denoiser.strength(torch.tensor([STEPS[step]])).to(latents.device)
        return ((made - was).square() / (strength.square() * self._spread)).mean()

    def _made(
        self, latents: torch.Tensor, noise: torch.Tensor, at: int, given: Conditions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is made of noisy latents now, and what was before. IdentityNet, which stays, speaks once for both."""
        denoiser = self.denoiser
        timesteps = torch.full((len(latents),), at, device=latents.device)
        with torch.no_grad():
            if given.residuals is not None:
                noisy = denoiser.noised(latents, noise, timesteps)
                said = given.residuals(noisy, timesteps, denoiser.beside(noisy, given))
                given = replace(given, residuals=lambda *_: said)
            was = denoiser.made(latents, noise, timesteps, given, by=self.before)
        return denoiser.made(latents, noise, timesteps, given), was

    def _given(self, texts: Sequence[str], whose: np.ndarray, strengths: tuple[float, float]) -> Conditions:
        adapter, net = strengths
        for unet in (self.denoiser.unet, self.before):
            for processor in unet.attn_processors.values():
                if hasattr(processor, "scale"):
                    processor.scale = [adapter]
        faces = self._faces.embeddings(whose).to(self.denoiser.unet.device)
        told = self.denoiser.read(texts)
        return with_faces(self.denoiser, self._prepared, told, faces, whose, net=net > 0)

    def _caption(self, index: int) -> str:
        record = self._prepared.records[index]
        if float(torch.rand(())) < self._options.full:
            return record["captions"]["full"]
        return drawn_caption(record)

    def _other_caption(self, index: int, *, later: bool) -> str:
        """One that changes nothing: of a preset, or hardly any; in later steps, when all is decided, its own."""
        record = self._prepared.records[index]
        subject = record["captions"]["terse"]
        drawn = float(torch.rand(()))
        if drawn < self._options.styled:
            preset = self._presets[int(torch.randint(len(self._presets), ()))]
            return preset.apply(subject, "")[0]
        if later:
            return self._caption(index)
        return subject if drawn < (1 + self._options.styled) / 2 else ""

    def sheet(self) -> Image.Image | None:
        """The first of some twins, the second, and what both captions make of the same noise, before and now."""
        if not len(self._shown):
            return None
        first, second = self._shown.T
        rows = [*self._prepared.images(first), *self._prepared.images(second)]
        for chosen in (first, second):
            texts = [self._prepared.records[i]["captions"]["full"] for i in chosen]
            self._given(texts, first, (1.0, 1.0))
            faces = torch.from_numpy(self._prepared.embeddings[first]).to(self.denoiser.unet.device)
            given, against = led(self.denoiser, self._prepared, self.denoiser.read(texts), faces, first)
            rows += [*self.denoiser.paint(given, against, steps=len(STEPS), guidance=GUIDANCE)]
        return lay_out(rows, columns=len(first))

    def save(self, bundle: Path) -> None:
        """Write base/unet."""
        write_base(bundle, {"unet": plain_unet(self.denoiser.unet)})


def twins_of(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """(n, 2) pictures, of which each two are twins; without those in whose first no face was found."""
    firsts: dict[str, int] = {}
    seconds: dict[str, int] = {}
    for i in chosen.tolist():
        record = prepared.records[i]
        if "twin" in record and record["look"] == PHOTO:
            place = firsts if record["twin"] == record["scene"] else seconds
            place[record["twin"]] = i
    pairs = [(i, seconds[scene]) for scene, i in firsts.items() if scene in seconds and prepared.found[i]]
    return np.array(pairs, np.int64).reshape(-1, 2)
