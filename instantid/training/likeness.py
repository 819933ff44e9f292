"""The `likeness` stage: identity, and what is painted must be recognised, as it is where pictures are made.

Taking noise out teaches the mean of all pictures that fit; it is in the middle of the noise that a face becomes
somebody else's. Here a few steps are painted as the pipeline paints them, and the gradient of a face recognition
model's likeness goes back through the last one: the identity loss of PuLID (2404.16022), over steps drawn as in ReFL
(2304.05977) and ID-Aligner (2404.15449). Judge what it makes by another recognition model than the one it asks.
"""

import random
from collections.abc import Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from .. import bundles
from . import identity
from .autoencoder import as_tensor
from .base import full_caption
from .contest import contest
from .denoising import Sampler
from .face_conditions import led
from .face_judge import FaceJudge
from .face_places import FacePlaces
from .identity import IdentityTask
from .loop import Figures
from .prepared import Prepared
from .recognition import Recognition
from .settings import Count, Share
from .wording import Wording

MIXED = 0.6  # usual share of another person in a stranger
ADAPTER_ALONE = (1.0, 0.0)  # the strengths of a batch without IdentityNet
LEAST_MEAN = 0.2  # least part that a stranger has of what all rendered people have in common


class Options(identity.Options):
    """Of the likeness stage: the identity stage's, and how it paints."""

    fresh: bool = Field(False, description="Begin with nothing that is known; here it cannot help.")
    painted: Share = Field(0.33, gt=0, description="Share of a batch that is painted, too.")
    steps: Count = Field(4, description="In how many steps it is painted: as few as the base can.")
    guidance: float = Field(3.0, ge=1, description="Of the text and face, as where pictures are made.")
    likeness: float = Field(
        1.0, gt=0, description="Weight of not being recognised, beside the loss of the noise."
    )
    strangers: Share = Field(
        0.0,
        description="Share of those painted who are nobody: between two people, and farther from the mean of all. "
        "For a model of rendered people: photos are farther from these than they from each other.",
    )
    lifelike: float = Field(
        0.0,
        ge=0,
        description="How much it counts, by gradient, that painted faces are not taken for true ones by what the "
        "face model sees; beside not being recognised.",
    )
    in_place: float = Field(
        0.0,
        ge=0,
        description="Weight of keypoints being seen elsewhere than where they were asked for, by the bundle's face "
        "detector, which must be OpenCV's.",
    )
    wording: float = Field(
        0.0, ge=0, description="Weight of not showing the caption, as the bundle's image encoder sees it."
    )


class LikenessTask(IdentityTask):
    """Learns to paint whom the face model recognises.

    Args:
        bundle: whose face models judge; the data must have been prepared with them, of which only the length of the
            embeddings is checked.

    Raises:
        BundleError: they make embeddings of another length, or cannot be converted; or wording wants an image encoder
            and there is none that fits.
        InvalidRequest: onnx2torch is not installed.
    """

    name = "likeness"
    paces: ClassVar = {"face_judge.": 1.5}
    sampler: Sampler | None = None
    """What it paints by; None: what the bundle does, or Euler."""

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__(bundle, prepared, chosen, shown, options)
        self.recognition = Recognition(bundle, prepared, self._chosen)
        self._mean = self.recognition.known.mean(dim=0)
        self.face_judge = FaceJudge(self.recognition.recogniser, inner=True) if options.lifelike else None
        self.face_places = None
        if options.in_place:
            self.face_places = FacePlaces(self.recognition.finder.detection_file, prepared.size)
        self._wording = None
        if options.wording:
            captions = [full_caption(prepared.records[i]) for i in self._chosen]
            self._wording = Wording(bundles.open_bundle(bundle), self.denoiser, captions)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The identity stage's loss; and of some of the pictures, how little those in the making are recognised."""
        strengths = self._strengths()
        figures = self._denoised(indices, strengths)
        lost, found = self._painted(indices, strengths)
        return figures | found | {"loss": figures["loss"] + lost}

    def _painted(
        self, indices: Sequence[int], strengths: tuple[float, float]
    ) -> tuple[torch.Tensor, Figures]:
        """How little some of the pictures are recognised in the making, and show what they were told."""
        options, prepared = self._options, self._prepared
        count = max(1, round(options.painted * len(indices)))
        chosen = self._chosen[list(indices[:count])]
        faces = self._strange(self.faces.embeddings(chosen)).to(self.denoiser.unet.device)
        texts = [full_caption(prepared.records[i]) for i in chosen]
        told = torch.rand(count) >= options.drop_text
        heard = [text if is_told else "" for text, is_told in zip(texts, told, strict=True)]
        alone = strengths == ADAPTER_ALONE
        made = self._lead(chosen, faces, heard, net=not alone)
        places = None if alone else prepared.keypoints[chosen]
        unlike, found = self.recognition(made, faces, chosen, places)
        loss = options.likeness * unlike
        if self.face_judge and not alone:
            lost, judged = self._true_to_life(made, loss, chosen, places)
            loss, found = loss + lost, found | judged
        if self.face_places and not alone:
            beside, found["off"] = self.face_places(made, places)
            loss = loss + options.in_place * beside
        if self._wording and told.any():
            missed, read = self._wording(made[told], list(compress(texts, told)))
            loss, found = loss + options.wording * missed, found | {"read": read}
        return loss, found

    def _true_to_life(
        self, made: torch.Tensor, unlike: torch.Tensor, chosen: np.ndarray, places: np.ndarray
    ) -> tuple[torch.Tensor, Figures]:
        """How little painted faces are taken for true ones, and what the discriminator loses."""
        # By gradients, as in VQGAN (2012.09841, eq. 7): a discriminator's grow as it learns.
        [slope] = torch.autograd.grad(unlike, made, retain_graph=True)
        size = self._options.lifelike * slope.flatten(1).norm(dim=1)[:, None, None, None]
        pictures = as_tensor(self._prepared.images(chosen)).to(made.device)
        look = partial(self.face_judge.look, places=places)
        fooling, telling, right = contest(look, self.face_judge, made, pictures, size)
        return fooling + telling, {"faces_telling": telling.detach(), "faces_right": right}

    def _lead(
        self, chosen: np.ndarray, faces: torch.Tensor, texts: Sequence[str], *, net: bool = True
    ) -> torch.Tensor:
        """What pictures of these faces are on their way to after some of their steps, (b, 3, s, s) about -1 to 1.

        The adapter is as strong as in the rest of the batch: checkpointing works both out anew.
        """
        denoiser, options = self.denoiser, self._options
        given, against = led(denoiser, self._prepared, denoiser.read(texts), faces, chosen, net=net)
        until = random.randint(1, options.steps)
        latents = denoiser.lead(given, against, options.steps, options.guidance, until, sampler=self.sampler)
        return denoiser.pixels(latents)

    def _strange(self, faces: torch.Tensor) -> torch.Tensor:
        """(b, d) raw embeddings, some of them mixed with other people's, as long as they were."""
        count, mean = len(faces), self._mean
        lengths = faces.norm(dim=1, keepdim=True)
        known = self.recognition.known
        others = known[torch.randint(len(known), (count,))]
        nearness = LEAST_MEAN + (1 - LEAST_MEAN) * torch.rand(count, 1)
        mixed = (
            nearness * mean
            + (F.normalize(faces, dim=1) - mean)
            + MIXED * torch.randn(count, 1) * (others - mean)
        )
        strange = torch.rand(count, 1) < self._options.strangers
        return torch.where(strange, lengths * F.normalize(mixed, dim=1), faces)
