"""What a face embedding tells of a face, and how soon a projector learns to say it: the aligned face of one picture,
drawn from the embedding of another of the same person, and recognised again among people who were not learned from.

python -m benchmarks.embedding_faces PREPARED [STEPS]     # rendered people, by `python -m instantid train prepare`
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from PIL import Image

from instantid import bundles, face_measures
from instantid.training import runs
from instantid.training.people.looks import PHOTO
from instantid.training.prepared import Prepared
from instantid.training.whitening import whiten

SIDE, PATCH, TOKENS, WIDTH, INNER = 56, 14, 16, 192, 128
HELD_OUT, BATCH, RATE = 100, 128, 1e-3


def main(folder: Path, steps: int) -> None:
    torch.set_num_threads(1)
    prepared = Prepared(folder)
    recogniser = cv2.FaceRecognizerSF.create(str(next(bundles.face_files_folder().glob("*sface*"))), "")
    learned, held = (photos(prepared, chosen) for chosen in runs.split(prepared, HELD_OUT))
    targets, truth = faces(prepared, learned), faces(prepared, held)
    told, asked = other_views(prepared, learned), other_views(prepared, held)
    strangers = prepared.persons[held][:, None] != prepared.persons[held][None]

    def report(name: str, drawn: np.ndarray) -> None:
        cosines = recognised(recogniser, drawn) @ unit(asked).T
        own, others = np.diag(cosines), cosines[strangers]
        auc = np.mean([(value > others).mean() for value in own])
        print(f"{name}: cosine {own.mean():.2f}, with others' {others.mean():.2f}, AUC {auc:.2f}", flush=True)

    report("the true faces", truth)
    middle, mean = unit(told).mean(axis=0), targets.mean(axis=0)
    known = unit(told) - middle
    weights = np.linalg.solve(known.T @ known + 3 * np.eye(known.shape[1]), known.T @ (targets - mean))
    report("linear regression", mean + (unit(asked) - middle) @ weights)
    for name, even in (("projector", False), ("projector, embeddings whitened", True)):
        draw = learn(torch.from_numpy(told), torch.from_numpy(targets - mean), even, steps)
        report(f"{name}, {steps} steps", mean + draw(torch.from_numpy(asked)))


def learn(embeddings: torch.Tensor, deviations: torch.Tensor, even: bool, steps: int):
    """Train a projector of InstantID's kind, each token with a square of the face to draw linearly."""
    torch.manual_seed(0)
    projector = IPAdapterPlusImageProjection(
        embed_dims=embeddings.shape[1],
        output_dims=WIDTH,
        hidden_dims=INNER,
        depth=4,
        dim_head=64,
        heads=INNER // 64,
        num_queries=TOKENS,
    )
    if even:
        weights = whiten(
            {"proj_in.weight": projector.proj_in.weight, "proj_in.bias": projector.proj_in.bias}, embeddings
        )
        projector.proj_in.load_state_dict(
            {"weight": weights["proj_in.weight"], "bias": weights["proj_in.bias"]}
        )
    drawing = torch.nn.Parameter(torch.randn(TOKENS, WIDTH, PATCH * PATCH * 3) * WIDTH**-0.5)
    learned = [*projector.parameters(), drawing]
    optimizer = torch.optim.AdamW(learned, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    squares = cut(deviations) / deviations.std()

    def drawn(given: torch.Tensor) -> torch.Tensor:
        return torch.einsum("btw,twp->btp", projector(given[:, None]), drawing)

    for _ in range(steps):
        chosen = torch.randint(len(embeddings), (BATCH,))
        loss = (drawn(embeddings[chosen]) - squares[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
    return lambda given: (joined(drawn(given).detach()) * deviations.std()).numpy()


def photos(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    return np.array([i for i in chosen if prepared.found[i] and prepared.records[i]["look"] == PHOTO])


def other_views(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """(n, d) embeddings, each of the next photo of the same person."""
    persons, embeddings = prepared.persons[chosen], prepared.embeddings[chosen]
    rows = []
    for i, person in enumerate(persons):
        same = np.flatnonzero(persons == person)
        rows.append(embeddings[same[(np.searchsorted(same, i) + 1) % len(same)]])
    return np.stack(rows)


def faces(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """(n, SIDE * SIDE * 3) float32 in -1 … 1."""
    aligned = [
        face_measures.align(Image.fromarray(image), prepared.keypoints[i])
        for image, i in zip(prepared.images(chosen), chosen, strict=True)
    ]
    small = [cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for face in aligned]
    return np.stack(small).reshape(len(small), -1).astype(np.float32) / 127.5 - 1


def recognised(recogniser: cv2.FaceRecognizerSF, drawn: np.ndarray) -> np.ndarray:
    pictures = ((drawn.clip(-1, 1) + 1) * 127.5).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)
    large = [cv2.resize(picture, (112, 112), interpolation=cv2.INTER_CUBIC) for picture in pictures]
    return unit(np.stack([recogniser.feature(np.ascontiguousarray(face[..., ::-1]))[0] for face in large]))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cut(faces: torch.Tensor) -> torch.Tensor:
    """(n, SIDE * SIDE * 3) → (n, TOKENS, PATCH * PATCH * 3)."""
    squares = faces.reshape(-1, SIDE // PATCH, PATCH, SIDE // PATCH, PATCH, 3).transpose(2, 3)
    return squares.reshape(len(faces), TOKENS, -1)


def joined(squares: torch.Tensor) -> torch.Tensor:
    """The way back."""
    rows = squares.reshape(-1, SIDE // PATCH, SIDE // PATCH, PATCH, PATCH, 3).transpose(2, 3)
    return rows.reshape(len(squares), -1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1500)
