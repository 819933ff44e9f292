"""The looks of style_presets/illustration.json, by the presets' names: data."""

from collections.abc import Mapping

from .brushes import hatch, lines, on_white, paint, pencil, watercolour
from .grounds import arches, facet_wall, flat, rays
from .handmade import tiles
from .light import curve, glow, grade, levels, rim, side_light, tones
from .outdoors import city, meadow, mountains, wood
from .places import falling, in_front_of, mist
from .prints import halftone, poster
from .sheet import Step, do

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Anime": (
        in_front_of(meadow, ("2f8af0", "a8dcff"), ("6fc04a", "4a9a3a")),
        do(curve, 1.1, 0.1, 1.4),
        do(poster, 5, 0.016),
        do(lines, 0.005, 0.85, colour="2a1a28"),
        do(rim, "fff0d8", 0.3),
    ),
    "Manga": (
        do(levels),
        in_front_of(rays, ("ffffff", "ffffff", "ffffff", "202020"), 60),
        do(tones, ("101010", "808080", "ffffff", "ffffff")),
        do(poster, 3),
        do(halftone, 0.02, 0.7, 45, "101010"),
        do(lines, 0.006),
    ),
    "Storybook": (
        in_front_of(wood, ("f4e0a8", "c8d098", "8aa878"), "8a6a4a", 8),
        do(grade, "785848", "ffe8b8", 0.4),
        do(lines, 0.004, 0.5, colour="5a3a28"),
        do(watercolour),
    ),
    "Comic Book": (
        do(levels),
        do(curve, 1.2, 0.05, 1.7),
        do(poster, 4),
        do(halftone, 0.022, 0.35),
        do(lines, 0.008, fill=True),
    ),
    "European Comic": (
        in_front_of(city, ("a8d0e0", "d8e8e8"), ("e0c8a0", "d0b088", "b89070"), ("6a7a80",), lit=0.7),
        do(curve, 0.9, 0.1, 1.1),
        do(poster, 4, 0.02),
        do(lines, 0.006),
    ),
    "Pencil Sketch": (do(levels), do(pencil)),
    "Charcoal": (
        do(levels),
        do(side_light, 0.4),
        do(pencil, 1.0, 0.12, "e8e2d6", "0e0d0c"),
        do(curve, 1.3, -0.06),
    ),
    "Ink Illustration": (do(levels), do(hatch)),
    "Red Chalk": (do(levels), do(pencil, 0.85, 0.05, "f0e2c4", "8a3018")),
    "Fantasy Art": (
        in_front_of(arches, "5a5a6a", "ffd08a"),
        do(rim, "ffc870", 0.9),
        do(falling, ("8ae8ff", "d8f8ff"), 26, (0.004, 0.01)),
        do(paint, 0.014),
        do(grade, "2a3060", "ffd090", 0.4),
        do(glow, 0.4),
    ),
    "Concept Art": (
        in_front_of(mountains, ("8a9aa8", "e8c898"), ("7a808a", "545a68", "2f3440")),
        do(paint, 0.025, 0.04),
        do(grade, "2a4458", "f0b878", 0.4),
        do(mist, "c8b8a0", 0.4),
    ),
    "Caricature": (
        in_front_of(flat, ("f8f4ea",)),
        do(curve, 1.1, 0.08, 1.4),
        do(lines, 0.006, 0.8, colour="3a2a24"),
        do(watercolour),
    ),
    "Fashion Sketch": (
        do(on_white, 0.75),
        do(curve, 1.1, 0.05, 1.4),
        do(lines, 0.005, 0.9, colour="181418"),
        do(watercolour, pale=0.2),
    ),
    "Tarot Card": (
        in_front_of(rays, ("141c48", "c8a048", "141c48", "1c2858"), 28),
        do(levels),
        do(tones, ("0c1030", "5a4a58", "d0a850", "f8e8b8"), 0.75),
        do(lines, 0.005, colour="0c0c24"),
        do(falling, ("f8e8a0",), 20, (0.004, 0.009)),
    ),
    "Stained Glass": (
        in_front_of(facet_wall, ("d02838", "2048b8", "e8b020", "208a58", "7a2a9a")),
        do(curve, 1.2, 0.05, 1.9),
        do(tiles, 0.075, "0a0a0c", 2.2, 0.5),
        do(glow, 0.4),
    ),
}
