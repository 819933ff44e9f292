"""Whom face models see in pictures in the making, as something to learn by: the identity loss of PuLID (2404.16022).

Judge what is learned so by another face recognition model than the one that is asked.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from .. import bundles
from ..errors import BundleError
from ..faces import load_finder
from .autoencoder import as_pictures
from .loop import Figures
from .prepared import Prepared
from .recogniser import Recogniser
from .telling_apart import told_apart

RIVALS = 256  # other faces, among which a painted one is to be told
WARMTH = 0.1  # of the cosines, where they are told apart
TOLD_APART = 0.2  # weight of that, beside the cosine


class Recognition(nn.Module):
    """A bundle's face models, and the people that may be recognised.

    Args:
        chosen: pictures of `prepared` with faces.

    Raises:
        BundleError: the models make embeddings of another length than the data's, or cannot be converted.
        InvalidRequest: onnx2torch is not installed.
    """

    def __init__(self, bundle: Path, prepared: Prepared, chosen: np.ndarray):
        super().__init__()
        opened = bundles.open_bundle(bundle)
        path = opened.require("faces")
        finder = load_finder(opened.faces.kind, path)
        if finder.dimension != (length := prepared.embeddings.shape[1]):
            raise BundleError(
                f"The face models of {bundle} say {finder.dimension} numbers of a face; those in {prepared.folder} "
                f"have {length}: nobody would be recognised. Prepare the data with the face models of this bundle."
            )
        self.finder, self.recogniser = finder, Recogniser(finder.recognition_file)
        self.known = F.normalize(torch.from_numpy(prepared.embeddings[chosen]), dim=1)
        self.usual = prepared.keypoints[chosen].mean(axis=0)
        self._prepared, self._chosen = prepared, chosen

    def forward(
        self, made: torch.Tensor, faces: torch.Tensor, chosen: np.ndarray, places: np.ndarray | None
    ) -> tuple[torch.Tensor, Figures]:
        """How little (b, 3, s, s) pictures are of (b, d) faces, in all and among others; and figures of both.

        Args:
            chosen: (b,) the pictures of the data that they were made after.
            places: (b, 5, 2) keypoints of the faces, in pixels; None: nobody said where, they are looked for.
        """
        placed = places is not None
        places = places if placed else self._places(made)
        seen = F.normalize(self.recogniser(made, places), dim=1)
        others, persons = torch.randint(len(self.known), (RIVALS,)), self._prepared.persons
        whose = persons[chosen][:, None]
        own = torch.from_numpy((whose == persons[self._chosen[others.numpy()]]) & (whose >= 0))
        rivals = self.known[others].to(seen.device)
        like, missed, above = told_apart(seen, F.normalize(faces, dim=1), rivals, own, WARMTH)
        loss, alike = (1 - like).mean() + TOLD_APART * missed, like.detach().mean()
        return loss, {"like": alike, "above": above} if placed else {"alone": alike}

    def _places(self, made: torch.Tensor) -> np.ndarray:
        """(b, 5, 2): where faces have come to be in pictures in the making, for without IdentityNet nobody said.
        Where there is none yet, one is asked for where most are."""
        found = [self.finder.find(Image.fromarray(picture)) for picture in as_pictures(made.detach())]
        return np.stack([faces[0].keypoints if faces else self.usual for faces in found])
