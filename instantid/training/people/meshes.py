"""Meshes that are fitted onto the body: hair, brows, lashes, eyes, teeth and clothes, as MakeHuman's web package
keeps them; and which faces meet at a vertex. Decimetres become metres here.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

KINDS = {
    "hair": "hair",
    "eyebrows": "brows",
    "eyelashes": "lashes",
    "eyes": "eyes",
    "teeth": "teeth",
    "clothes": "garments",
}
BEARDS = ("Full_beard", "Moustache")


def read_fitted(files: dict[str, bytes], weights: np.ndarray) -> Iterator[tuple[str, dict]]:
    """Yield (“hair/short01”, arrays) for every mesh that is fitted onto the body."""
    for name, data in sorted(files.items()):
        _, kind, item, *rest = [*name.split("/"), ""]
        if not name.startswith("proxies/") or not rest[0].endswith(".json"):
            continue
        mesh = json.loads(data)
        flat, at, faces, corners = mesh["faces"], 0, [], []
        while at < len(flat):  # three.js: 11 is a quad with a material and corner uvs, 10 a triangle
            if flat[at] not in (10, 11):
                raise ValueError(f"{name}: a face of kind {flat[at]}, only 10 and 11 are known")
            n = 3 + (flat[at] & 1)
            points, uvs = flat[at + 1 : at + 1 + n], flat[at + 2 + n : at + 2 + 2 * n]
            for second in range(1, n - 1):
                faces.append([points[0], points[second], points[second + 1]])
                corners.append([uvs[0], uvs[second], uvs[second + 1]])
            at += 2 + 2 * n
        ref, mix = np.array(mesh["ref_vIdxs"], np.int32), np.array(mesh["weights"], np.float32)
        skin = (weights[ref] * mix[..., None]).sum(1).clip(0)
        hidden = np.zeros(len(weights), bool)
        deleted = np.array(mesh["metadata"].get("deleteVerts") or [], bool)
        hidden[: len(deleted)] = deleted
        title = f"{'beards' if item in BEARDS else KINDS[kind]}/{item}"
        here = f"proxies/{kind}/{item}/"
        drawn = [m["mapDiffuse"] for m in mesh["materials"] if here + str(m.get("mapDiffuse")) in files]
        if not drawn:
            drawn = sorted(f.removeprefix(here) for f in files if f.startswith(here + "textures/"))[:1]
        pictures = {title: io.BytesIO(files[here + drawn[0]])}
        if kind == "eyes":
            pictures = {
                f"eyes/{Path(f).stem.removesuffix('_eye')}": io.BytesIO(files[here + f]) for f in drawn
            }
        faces = np.array(faces, np.int32)
        yield (
            title,
            {
                "ref": ref,
                "mix": mix,
                "offset": np.array(mesh["offsets"], np.float32) / 10,
                "faces": faces,
                "uv": np.array(mesh["uvs"][0], np.float32).reshape(-1, 2)[np.array(corners)],
                "weights": (skin / skin.sum(1, keepdims=True).clip(1e-6)).astype(np.float32),
                "neighbours": incident_faces(faces, len(ref)),
                "hides": hidden,
                "pictures": pictures,
            },
        )


def incident_faces(faces: np.ndarray, count: int) -> np.ndarray:
    """For each vertex the faces it is a corner of, (count, most) int32, padded with len(faces)."""
    corner = faces.reshape(-1)
    order = np.argsort(corner, kind="stable")
    owner = corner[order]
    start = np.searchsorted(owner, np.arange(count))
    place = np.arange(len(owner)) - start[owner]
    table = np.full((count, int(place.max()) + 1), len(faces), np.int32)
    table[owner, place] = order // 3
    return table


def around(ref: np.ndarray, neighbours: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """1 on the body's vertices a fitted mesh hangs on, fading over three rings."""
    mask = np.zeros(len(neighbours), np.float32)
    mask[np.unique(ref)] = 1
    for _ in range(3):
        face = np.append(mask[faces].mean(1), 0)
        count = (neighbours < len(faces)).sum(1).clip(1)
        mask = face[neighbours].sum(1) / count
    return mask.astype(np.float32)
