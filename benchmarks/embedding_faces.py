"""What a face embedding tells of a face: the aligned face of one photo, drawn by linear regression from the embedding
of another of the same person, and recognised again among people who were not learned from.

python -m benchmarks.embedding_faces PREPARED     # rendered people, by `python -m instantid train prepare`
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from instantid import bundles
from instantid.face_measures import PLACES
from instantid.people import Face
from instantid.training import runs
from instantid.training.face_regression import SIDE, aligned_faces, other_views, photos, regress, unit
from instantid.training.people.judges import Dlib, dlib_is_here
from instantid.training.prepared import Prepared

HELD_OUT, LARGE = 100, 112
FACE = Face(np.zeros(128, np.float32), PLACES.astype(np.float32), np.array([0, 0, LARGE, LARGE], np.float32))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    prepared = Prepared(folder)
    learned, held = (photos(prepared, chosen) for chosen in runs.split(prepared, HELD_OUT))
    truth, asked = aligned_faces(prepared, held), other_views(prepared, held)
    drawn = regress(other_views(prepared, learned), aligned_faces(prepared, learned)).draw(asked)
    strangers = prepared.persons[held][:, None] != prepared.persons[held][None]
    following = [int(np.flatnonzero((asked == row).all(axis=1))[0]) for row in prepared.embeddings[held]]

    print(f"{len(learned)} photos learned from, {len(held)} judged")
    for name, embed in judges():
        seen = unit(np.stack([embed(face) for face in pictures(truth)]))
        reference = np.empty_like(seen)
        reference[following] = seen  # the other photo of each
        for what, faces in (("photos", truth), ("drawn by regression", drawn)):
            cosines = unit(np.stack([embed(face) for face in pictures(faces)])) @ reference.T
            own, others = np.diag(cosines), cosines[strangers]
            auc = np.mean([(value > others).mean() + 0.5 * (value == others).mean() for value in own])
            told = f"cosine {own.mean():.2f} with their own other photo, {others.mean():.2f} with others'"
            print(f"{name}, {what}: {told}, AUC {auc:.2f}")


def judges():
    """Name, and what makes an embedding of a picture of LARGE pixels that shows an aligned face."""
    file = next(bundles.face_files_folder().glob("*sface*"))
    recogniser = cv2.FaceRecognizerSF.create(str(file), "")
    yield "SFace", lambda picture: recogniser.feature(np.ascontiguousarray(picture[..., ::-1]))[0]
    if dlib_is_here():
        judge = Dlib()
        yield "dlib", lambda picture: judge.embed(picture, FACE)


def pictures(faces: np.ndarray) -> list[np.ndarray]:
    small = ((faces.clip(-1, 1) + 1) * 127.5).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)
    return [cv2.resize(face, (LARGE, LARGE), interpolation=cv2.INTER_CUBIC) for face in small]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
