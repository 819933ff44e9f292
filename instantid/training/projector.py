"""The `projector` stage: the face tokens learn what faces look like, before a UNet learns to read them.

What tells people apart is a small part of the error of taking noise out, so that way it is learned late. But it
follows nearly linearly from an embedding (`face_regression`). Here each token is taught to tell, in one language for
all tokens, what the regression says of its own part of the aligned face. The UNet is left to learn where to put it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from .. import branches
from ..people import Frozen
from .adapters import attention_like_text, fresh_projector, published
from .bundle_file import name_part
from .denoising import Denoiser
from .face_regression import SIDE, Regression, aligned_faces, other_views, photos, regress
from .identity import ADAPTER
from .loop import Figures
from .prepared import Prepared
from .settings import Share
from .sheets import lay_out
from .whitening import whiten

GRID = 4  # parts down and across, a token each
STRIDE = SIDE // GRID
REACH = 24  # side of a part, pixels: it overlaps its neighbours, so that one token tells all about a place


class Options(Frozen):
    """Of the projector's stage."""

    inner: int = Field(
        192, ge=64, multiple_of=64, description="Width of the projector's own layers (InstantID's: 1280)."
    )
    numbers: int = Field(64, ge=1, description="How many numbers tell of a part of the face.")
    evenness: Share = Field(
        0.7, description="0: they vary as they do; 1: all alike, so that the weakest are learned as well."
    )
    blend: Share = Field(0.5, description="Embeddings are blended with somebody else's, up to this share.")


class ProjectorTask(nn.Module):
    """Learns to tell of a face's parts from its embedding. Begins anew; keys and values begin as the text's.

    Args:
        bundle: whose UNet is to read the tokens.
        chosen: which pictures of `prepared` to learn from; looks other than photos, and those without a face, are
            left out.
        shown: whose faces the sample sheet draws.
    """

    name = "projector"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        self._prepared, self._options = prepared, options
        self._chosen, self._shown = photos(prepared, chosen), photos(prepared, shown)
        embeddings = prepared.embeddings[self._chosen]
        denoiser = self.denoiser = Denoiser(bundle)
        width = denoiser.unet.config.cross_attention_dim
        fresh = fresh_projector(embeddings.shape[1], width, inner=options.inner, tokens=GRID * GRID)
        weights = {
            "image_proj": whiten(fresh, torch.from_numpy(embeddings)),
            "ip_adapter": attention_like_text(denoiser.unet),
        }
        branches.attach(denoiser.pipeline, [weights])
        denoiser.requires_grad_(False)
        self.projector = denoiser.unet.encoder_hid_proj.image_projection_layers[0].requires_grad_(True)
        self._regression = regress(other_views(prepared, self._chosen), aligned_faces(prepared, self._chosen))
        telling, basis, scales = language(self._regression, embeddings, options.numbers, options.evenness)
        self.register_buffer("_telling", telling, persistent=False)
        self.register_buffer("_spelling", scales[:, None] * basis, persistent=False)
        self.reading = nn.Linear(width, len(scales))

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """How far what the tokens tell is from what the regression says, in its variances."""
        faces = torch.from_numpy(self._prepared.embeddings[self._chosen[list(indices)]])
        faces = faces.to(self._telling.device)
        share = self._options.blend * torch.rand(len(faces), 1, device=faces.device)
        faces = (1 - share) * faces + share * faces.roll(1, dims=0)
        wanted = self._say(faces)
        return {"loss": (self._tell(faces) - wanted).square().mean() / wanted.square().mean()}

    def sheet(self) -> Image.Image:
        """Faces of people who were not learned from; what the regression draws of each; what the tokens tell."""
        known = aligned_faces(self._prepared, self._shown)
        faces = torch.from_numpy(self._prepared.embeddings[self._shown]).to(self._telling.device)
        rows = [known]
        for told in (self._say(faces), self._tell(faces)):
            parts = (told.float() @ self._spelling).view(len(faces), GRID, GRID, REACH, REACH, 3)
            edge = (REACH - STRIDE) // 2
            inner = parts[:, :, :, edge:-edge, edge:-edge].transpose(2, 3)
            rows.append(self._regression.mean + inner.reshape(len(faces), -1).cpu().numpy())
        pictures = ((np.concatenate(rows).clip(-1, 1) + 1) * 127.5).astype(np.uint8)
        return lay_out([*pictures.reshape(-1, SIDE, SIDE, 3)], columns=len(faces))

    def save(self, bundle: Path) -> None:
        """Write ip-adapter.bin."""
        torch.save(published(self.denoiser.unet), bundle / ADAPTER)
        name_part(bundle, "identity_adapter", ADAPTER)

    def _say(self, faces: torch.Tensor) -> torch.Tensor:
        """(b, d) raw embeddings → (b, tokens, numbers)."""
        middle = torch.from_numpy(self._regression.middle).to(faces.device)
        return torch.einsum("bd,dtk->btk", F.normalize(faces, dim=1) - middle, self._telling)

    def _tell(self, faces: torch.Tensor) -> torch.Tensor:
        return self.reading(self.projector(faces[:, None]))


def language(
    regression: Regression, embeddings: np.ndarray, numbers: int, evenness: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How the regression's faces are told in parts: one basis for all parts, the strongest directions first.

    Args:
        embeddings: (n, d) raw, of many people: which directions are strong.

    Returns:
        (d, parts, k) from an embedding of length one, less the middle, to what each part's token tells; the basis
        (k, REACH * REACH * 3); and (k,) by which what is told is to be multiplied to be the basis's share.
    """
    parts = cut(torch.from_numpy(regression.weights).float())  # (d, parts, p)
    known = torch.from_numpy(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
    spread = torch.linalg.cholesky(torch.cov(known.T) + 1e-8 * torch.eye(known.shape[1]))
    varied = torch.einsum("de,dtp->etp", spread, parts).flatten(0, 1)
    _, strengths, directions = torch.linalg.svd(varied, full_matrices=False)
    basis = directions[:numbers]
    scales = (strengths[:numbers] / parts.shape[1] ** 0.5).clamp(min=1e-8) ** evenness
    return (parts @ basis.T) / scales, basis, scales


def cut(faces: torch.Tensor) -> torch.Tensor:
    """(n, SIDE * SIDE * 3) → (n, GRID * GRID, REACH * REACH * 3): parts that overlap, edges going on."""
    edge = (REACH - STRIDE) // 2
    pictures = F.pad(faces.view(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2), (edge,) * 4, mode="replicate")
    parts = pictures.unfold(2, REACH, STRIDE).unfold(3, REACH, STRIDE)  # (n, 3, GRID, GRID, REACH, REACH)
    return parts.permute(0, 2, 3, 4, 5, 1).reshape(len(faces), GRID * GRID, -1)
