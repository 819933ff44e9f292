"""Writes a small bundle's folder, whole or not at all."""

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import adapters, models
from .sizes import MINI, Sizes

LICENCE = "Apache-2.0. Random weights, made on this machine from a seed."


def build(
    folder: Path,
    sizes: Sizes = MINI,
    *,
    faces: dict | None = None,
    faceid_faces: dict | None = None,
    seed: int = 0,
) -> Path:
    """Write the bundle into `folder` (whole, or not at all) and return it.

    Args:
        faces: bundle.json's "faces" entry, or None where only ready Faces are to work.
        faceid_faces: bundle.json's "faceid_faces" entry, which brings a FaceID adapter; None: there is none.
        seed: of the weights; the same seed gives the same files.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as workplace:
        unfinished = Path(workplace) / "new"
        _write(unfinished, sizes, faces, faceid_faces, seed)
        if folder.exists():
            os.replace(folder, Path(workplace) / "old")
        os.replace(unfinished, folder)
    return folder


def _write(folder: Path, sizes: Sizes, faces: dict | None, faceid_faces: dict | None, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = models.unet(sizes)
        models.base(sizes, unet).save_pretrained(folder / "base")
        first, *others = ("ControlNetModel", *(f"controlnets/{name}" for name in sizes.controlnets))
        models.controlnet(unet, sizes).save_pretrained(folder / first)
        for name in others[:1]:
            models.controlnet(unet, sizes).save_pretrained(folder / name)
        torch.save(
            {"image_proj": adapters.resampler(sizes), "ip_adapter": adapters.image_attention(sizes, unet)},
            folder / "ip-adapter.bin",
        )
        # What came later is drawn later: earlier parts keep their weights.
        style = adapters.joined(
            image_proj=adapters.projector(sizes), ip_adapter=adapters.image_attention(sizes, unet)
        )
        save_file(style, folder / "ip-adapter-style.safetensors")
        models.image_encoder(sizes.text_width).save_pretrained(folder / "image_encoder")
        for name in others[1:]:
            models.controlnet(unet, sizes).save_pretrained(folder / name)
        if faceid_faces is not None:
            attention = adapters.image_attention(sizes, unet) | adapters.faceid_lora(unet)
            faceid = {"image_proj": adapters.faceid_projector(sizes), "ip_adapter": attention}
            torch.save(faceid, folder / "ip-adapter-faceid.bin")
    parts = {
        "base": "base",
        "identitynet": "ControlNetModel",
        "identity_adapter": "ip-adapter.bin",
        "style_adapter": "ip-adapter-style.safetensors",
        "image_encoder": "image_encoder",
    }
    if faceid_faces is not None:
        parts["faceid_adapter"] = "ip-adapter-faceid.bin"
    controlnets = {name: f"controlnets/{name}" for name in sizes.controlnets}
    made_here = [*parts, *(f"controlnets.{name}" for name in controlnets)]
    description = {
        "name": sizes.name,
        "untrained": True,
        **parts,
        "faces": faces,
        **({} if faceid_faces is None else {"faceid_faces": faceid_faces}),
        "controlnets": controlnets,
        "licences": dict.fromkeys(made_here, LICENCE),
        "defaults": {
            "width": sizes.side,
            "height": sizes.side,
            "steps": sizes.steps,
            "guidance_scale": 5.0,
            "scheduler": "Euler",
        },
    }
    (folder / "bundle.json").write_text(json.dumps(description, indent=2))
