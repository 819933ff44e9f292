"""The `placing` stage: IdentityNet learns, without the UNet, what each face looks like wherever the keypoints are.

Of an embedding and five keypoints it is known what is to be painted (`foretelling`), and of all networks only
IdentityNet's first layers are needed to say it: no noise by chance stands between them and what they learn, and a
picture takes a fifth of the work.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel
from PIL import Image
from pydantic import Field
from torch import nn

from .. import branches
from ..identity import IdentityNet
from ..people import Frozen
from .adapters import fitting_adapter
from .base import drawn_caption
from .beginnings import attend_finest, begin_controlnet, upper_part
from .bundle_file import name_part
from .conditions import Conditions, twice, without_text
from .denoising import STRONGEST, Denoiser
from .face_code import FaceCode, finest_attended
from .face_conditions import keypoint_maps
from .face_regression import photos
from .foretelling import Foretelling
from .identity import NET
from .loop import Figures
from .prepared import Prepared
from .settings import Share
from .sheets import lay_out

WORDLESS = 0.3  # share of pictures without a caption
OUT_OF_NOISE = 0.6  # share of batches in the strongest noise, where UNets decide whom they paint


class Options(Frozen):
    """Of the placing stage."""

    fresh: bool = Field(True, description="Begin with an IdentityNet copied from the UNet.")
    finest: bool = Field(
        True, description="It attends at the finest level too, where the UNet has no attention."
    )
    drop_face: Share = Field(0.08, description="How often the face is left out, and the mean one placed.")


class PlacingTask(nn.Module):
    """Learns to write the code of a face where its keypoints are.

    Args:
        bundle: whose projector makes the tokens; it stays.
        chosen: which pictures of `prepared` to learn from; looks other than photos, and those without a face, only
            lend their embeddings.
        shown: whose faces the sample sheet places.
    """

    name = "placing"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        denoiser = self.denoiser = Denoiser(bundle, faces=not options.fresh)
        net = denoiser.identitynet or begin_controlnet(denoiser.unet, denoiser.vae, IdentityNet)
        if options.finest and not hasattr(net.down_blocks[0], "attentions"):
            net = attend_finest(net)
        denoiser.identitynet = net
        branches.attach(denoiser.pipeline, [fitting_adapter(bundle, denoiser.unet, prepared)])
        self._prepared, self._options = prepared, options
        self._faces = chosen[prepared.found[chosen]]
        self._chosen, self._shown = photos(prepared, chosen), photos(prepared, shown)
        self._foretelling = Foretelling(prepared, chosen, denoiser.encode)
        self.code = FaceCode(net, self._foretelling, prepared.embeddings, self._chosen)
        written = net.controlnet_down_blocks[self.code.at]
        if not written.weight.any():  # silent so as not to disturb a UNet; none listens here
            nn.init.dirac_(written.weight)
        self._upper = [net_of_read_maps(net)]  # in a list: its weights are IdentityNet's
        denoiser.requires_grad_(False)
        self._upper[0].requires_grad_(True)
        net.controlnet_cond_embedding.requires_grad_(True)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The error of what is said of two faces in each place, and of their difference, as a share of both."""
        prepared, denoiser = self._prepared, self.denoiser
        once = self._chosen[list(indices)][: -(-len(indices) // 2)]
        n, device = len(once), denoiser.unet.device
        drawn = self._faces[torch.randint(len(self._faces), (2 * n,)).numpy()]
        faces = torch.from_numpy(prepared.embeddings[drawn])
        faces = (faces * (torch.rand(2 * n, 1) >= self._options.drop_face)).to(device)
        strongest = STRONGEST if random.random() < OUT_OF_NOISE else 1.0
        at = denoiser.timesteps(n, strongest).to(device)
        noisy = denoiser.disturbed(torch.from_numpy(prepared.latents(once)).float().to(device), at)
        records = [prepared.records[i] for i in once]
        conditions = denoiser.read([drawn_caption(record) for record in records], records)
        conditions = without_text(conditions, denoiser.read([""]), torch.rand(n, device=device) < WORDLESS)
        wanted = self.code.of(*self._told(np.concatenate([once, once]), faces))
        said = self._say(once, faces, noisy.repeat(2, 1, 1, 1), at.repeat(2), twice(conditions))
        error = (said - wanted).square().sum() / wanted.square().sum()
        found, differ = (self.code.latents_of(each[:n] - each[n:]) for each in (said, wanted))
        missed = (found - differ).square().sum(dim=(0, 2, 3)) / differ.square().sum(dim=(0, 2, 3)).clamp(
            min=1e-6
        )
        apart = missed.mean()
        return {"loss": error + apart, "apart": apart}

    def _say(
        self,
        chosen: np.ndarray,
        faces: torch.Tensor,
        noisy: torch.Tensor,
        at: torch.Tensor,
        conditions: Conditions,
    ) -> torch.Tensor:
        """The code that IdentityNet writes of (b, d) faces, placed as in the pictures; b: a multiple of theirs."""
        denoiser, [upper] = self.denoiser, self._upper
        maps = keypoint_maps(self._prepared, chosen, denoiser.map_pixel).to(noisy.device)
        placed = denoiser.identitynet.controlnet_cond_embedding(maps)
        projector = denoiser.unet.encoder_hid_proj.image_projection_layers[0]
        down, _ = ControlNetModel.forward(
            upper,
            noisy,
            at,
            projector(faces[:, None]),
            placed.repeat(len(faces) // len(chosen), 1, 1, 1),
            added_cond_kwargs=denoiser.beside(noisy, conditions),
            return_dict=False,
        )
        return self.code.read(down[self.code.at].float())

    def sheet(self) -> Image.Image:
        """Pictures; below, what is foretold of each with another one's face, and what IdentityNet says of it."""
        prepared, denoiser, shown = self._prepared, self.denoiser, self._shown
        device = denoiser.unet.device
        faces = torch.from_numpy(np.roll(prepared.embeddings[shown], 1, axis=0)).to(device)
        told, inside = self._told(shown, faces)
        at = denoiser.timesteps(len(shown), 0.0).to(device)
        noise = torch.randn(told.shape, generator=torch.Generator().manual_seed(0)).to(device)
        said = self._say(shown, faces, noise, at, denoiser.read([""] * len(shown)))
        placed = self.code.placed(said, told, inside)
        rows = [*prepared.images(shown), *denoiser.decode(told), *denoiser.decode(placed)]
        return lay_out(rows, columns=len(shown))

    def save(self, bundle: Path) -> None:
        """Write ControlNetModel."""
        self.denoiser.identitynet.save_pretrained(bundle / NET)
        name_part(bundle, "identitynet", NET, began_as="base" if self._options.fresh else "identitynet")

    def _told(self, chosen: np.ndarray, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        told, inside = self._foretelling.latents(chosen, faces.cpu().numpy())
        return told.to(faces.device), inside.to(faces.device)


def net_of_read_maps(net: ControlNetModel) -> ControlNetModel:
    """A ControlNet's layers up to the first attention, sharing its weights; it takes maps that were read."""
    last, halvings = finest_attended(net)
    upper = upper_part(net, last, halvings + 1)
    upper.controlnet_cond_embedding = nn.Identity()
    return upper
