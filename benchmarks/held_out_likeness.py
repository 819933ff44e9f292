"""How well a bundle in training paints people whom it has not met, in a minute or two: the face of one photo, placed
as in another, recognised among all of them by SFace and, where it is installed, dlib.

python -m benchmarks.held_out_likeness PREPARED BUNDLE [GUIDANCE …]     # rendered people, as the run was trained on

Steps, and guidance where none is given, are the bundle's own; both strengths are 1.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.embedding_faces import HELD_OUT, judges
from instantid import branches, face_measures, loading
from instantid.adapter_file import read_adapter
from instantid.training import runs
from instantid.training.denoising import Denoiser
from instantid.training.face_conditions import led
from instantid.training.face_regression import photos, unit
from instantid.training.prepared import Prepared

AT_ONCE = 32


@torch.no_grad()
def main(folder: Path, name: str, guidances: list[float]) -> None:
    bundle = loading.open_bundle(name)
    defaults = bundle.defaults
    prepared = Prepared(folder)
    _, held = runs.split(prepared, HELD_OUT)
    held = photos(prepared, held)
    by_person = [held[prepared.persons[held] == person] for person in np.unique(prepared.persons[held])]
    seen = [photos_of[:2] for photos_of in by_person if len(photos_of) > 1]
    shown, posing = np.array(seen).T

    denoiser = Denoiser(bundle.folder, faces=True)
    branches.attach(denoiser.pipeline, [read_adapter(bundle.require("identity_adapter"))])
    pictures = {"photos": prepared.images(posing)}
    latents = torch.from_numpy(prepared.latents(posing)).float()
    decoded = [denoiser.decode(some) for some in latents.split(AT_ONCE)]
    pictures["photos through the autoencoder"] = np.concatenate(decoded)
    for guidance in guidances or [defaults.guidance_scale]:
        told = f"painted in {defaults.steps} steps, guidance {guidance:g}"
        pictures[told] = paint(denoiser, prepared, shown, posing, guidance, defaults.steps)

    for name, embed in judges():
        known = embedded(embed, prepared, prepared.images(shown), shown)
        for what, made in pictures.items():
            cosines = embedded(embed, prepared, made, posing) @ known.T
            wins = cosines.diagonal()[:, None] > cosines[~np.eye(len(shown), dtype=bool)]
            print(f"{name}, {len(shown)} people, {what}: AUC {wins.mean():.2f}", flush=True)


def paint(
    denoiser: Denoiser,
    prepared: Prepared,
    shown: np.ndarray,
    posing: np.ndarray,
    guidance: float,
    steps: int,
) -> np.ndarray:
    made = []
    for at in range(0, len(shown), AT_ONCE):
        whose, where = shown[at : at + AT_ONCE], posing[at : at + AT_ONCE]
        texts = [prepared.records[i]["captions"]["terse"] for i in where]
        faces = torch.from_numpy(prepared.embeddings[whose])
        given, against = led(denoiser, prepared, denoiser.read(texts), faces, where)
        made.append(denoiser.paint(given, against, guidance=guidance, steps=steps))
    return np.concatenate(made)


def embedded(embed, prepared: Prepared, pictures: np.ndarray, placed_as: np.ndarray) -> np.ndarray:
    """(n, d) of length one, of faces where they were asked for: nothing is looked for."""
    aligned = [
        face_measures.align(Image.fromarray(picture), prepared.keypoints[i])
        for picture, i in zip(pictures, placed_as, strict=True)
    ]
    return unit(np.stack([embed(face) for face in aligned]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [float(each) for each in sys.argv[3:]])
