"""How much of a face a few principal components of 8 × 8 pixels keep, put together again linearly.

python -m benchmarks.patch_components FOLDER     # rendered people, by `python -m instantid data make`
"""

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from instantid import bundles, faces
from instantid.training.autoencoder import as_pictures, as_tensor
from instantid.training.people.shards import read_shard
from instantid.training.rendered import ATTEMPTS

SHARDS, EVERY, PATCH = 14, 12, 8


def main(folder: Path) -> None:
    shards = islice(sorted(folder.glob("people-*.tar")), SHARDS)
    pictures = np.stack([sample.image for shard in shards for sample in read_shard(shard)])
    patches = F.pixel_unshuffle(as_tensor(pictures), PATCH)  # (n, 192, h, w)
    rows = patches.permute(0, 2, 3, 1).flatten(0, 2)
    middle = rows.mean(dim=0)
    vectors = (
        torch.linalg.eigh(torch.cov(rows[::5].T.double())).eigenvectors.flip(1).float()
    )  # strongest first

    finder = faces.load_finder("opencv", bundles.face_files_folder())
    known = {i: embedding(finder, pictures[i]) for i in range(0, len(pictures), EVERY)}
    known = {i: found for i, found in known.items() if found is not None}
    for count in (8, 12, 16, 24, 32):
        basis = vectors[:, :count]
        chosen = patches[list(known)].permute(0, 2, 3, 1) - middle
        again = as_pictures(F.pixel_shuffle((chosen @ basis @ basis.T + middle).permute(0, 3, 1, 2), PATCH))
        seen = [embedding(finder, picture) for picture in again]
        pairs = [(new, old) for new, old in zip(seen, known.values(), strict=True) if new is not None]
        cosines = np.stack([new for new, _ in pairs]) @ np.stack([old for _, old in pairs]).T
        others = (cosines.sum() - np.trace(cosines)) / (cosines.size - len(cosines))
        print(
            f"{count} components: faces found {len(pairs)}/{len(known)}, cosine with the picture's own "
            f"{np.diag(cosines).mean():.2f}, with others' {others:.2f}"
        )


def embedding(finder: faces.FaceFinder, picture: np.ndarray) -> np.ndarray | None:
    """(d,) of length 1; None unless one face is found."""
    found = finder.find(Image.fromarray(picture), attempts=ATTEMPTS)
    return found[0].embedding / np.linalg.norm(found[0].embedding) if len(found) == 1 else None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
