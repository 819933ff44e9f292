"""The looks of style_presets/craft.json, by the presets' names: data."""

from collections.abc import Mapping

from .brushes import on_white
from .grounds import backdrop, room
from .handmade import bricks, carve, cloth, facets, layers, rough_paper, smooth, stitches, tiles
from .light import blotches, curve, levels
from .outdoors import city
from .places import in_front_of
from .prints import poster
from .sheet import Step, do

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Marble Bust": (
        in_front_of(backdrop, ("3a3c40", "1c1d20", "0c0c0e")),
        do(carve, ("5a5a5e", "a8a8a8", "e0deda", "f8f6f2"), 0.3, 0.14),
    ),
    "Bronze Statue": (
        in_front_of(city, ("2a1f4a", "7a4a6a", "e8925a"), ("4a4450", "302c38"), ("ffc878",), lit=0.1),
        do(carve, ("140c06", "4a2c14", "8a5a28", "e0b070"), 0.8),
        do(blotches, "4a9a80", 0.8, 0.12),
    ),
    "Claymation": (
        in_front_of(room, "c89a6a", "ffe0a0", window=False, floor="8a5a38"),
        do(smooth, 1.0, dents=0.12, shine=0.3),
        do(poster, 9),
        do(curve, 1.05, 0.05, 1.35),
        do(smooth, 0.4, dents=0.08),
    ),
    "Paper Cut": (
        do(levels),
        do(layers, ("5a4a6a", "a87a9a", "e0a8a8", "f4ccb8", "fbeee0")),
        do(rough_paper, 0.06),
    ),
    "Origami": (
        in_front_of(backdrop, ("e8e4dc", "c8c4bc")),
        do(facets, 0.07, fold=0.25, edges=0.12),
        do(curve, 0.85, 0.1, 1.25),
        do(rough_paper, 0.03),
    ),
    "Embroidery": (
        do(on_white, 1.0, "e4d8c0"),
        do(poster, 6),
        do(curve, 1.1, 0.03, 1.4),
        do(stitches, 0.03, 0.6),
        do(cloth, 0.014, 0.16),
    ),
    "Felt Doll": (
        in_front_of(room, "b89a88", "ffe8c8", window=False, floor="8a6a50"),
        do(poster, 7),
        do(stitches, 0.02, 0.5, fuzzy=True),
        do(curve, 0.95, 0.05, 1.2),
    ),
    "Porcelain Figurine": (
        in_front_of(backdrop, ("d0d2d4", "a8aaae")),
        do(smooth, 0.9),
        do(carve, ("2a4a9a", "a8bce0", "f4f6fa", "ffffff"), 0.9),
    ),
    "Mosaic": (
        in_front_of(backdrop, ("e8c050", "c89a30", "20408a", "182c68"), 0.3),
        do(levels),
        do(curve, 1.05, 0.03, 1.4),
        do(tiles, 0.035, "2a2420", shine=0.35),
    ),
    "Toy Bricks": (do(curve, 1.15, 0.05, 1.6), do(poster, 7), do(bricks)),
}
