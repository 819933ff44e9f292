"""The looks of style_presets/design.json, by the presets' names: data."""

from collections.abc import Mapping

from .brushes import lines
from .grounds import backdrop, facet_wall, flat, lights, rays, shapes, waves
from .handmade import cut_out, facets, rough_paper, smooth
from .light import curve, grade, grain, levels, rim, scan_lines, tones, two_lights
from .outdoors import grid_horizon, mountains, wood
from .places import in_front_of
from .prints import halftone, inks, misprint, pixelate, poster, threshold
from .sheet import Step, do

# DawnBringer's 16 colours, made for pixel art
DAWNBRINGER = (
    "140c1c", "442434", "30346d", "4e4a4e", "854c30", "346524", "d04648", "757161",
    "597dce", "d27d2c", "8595a1", "6daa2c", "d2aa99", "6dc2ca", "dad45e", "deeed6",
)  # fmt: skip

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Flat Vector": (
        in_front_of(flat, ("f4d8b8", "b8dcd8", "f0b8a0", "c8c8e8")),
        do(curve, 1.1, 0.06, 1.25),
        do(poster, 4, 0.02),
    ),
    "Bauhaus": (
        in_front_of(shapes, "f0e6d0", ("d8302a", "181818", "f0b820", "2050a0")),
        do(levels),
        do(inks, ("181818", "d8302a", "f0b820", "f0e6d0", "2050a0")),
    ),
    "Art Deco": (
        in_front_of(rays, ("14120e", "c8a048"), 22),
        do(levels),
        do(smooth, 0.9),
        do(tones, ("0c0a08", "5a4420", "d8b058", "f8ecc8"), 0.85),
    ),
    "Swiss Poster": (
        in_front_of(flat, ("ffffff",)),
        do(levels),
        do(tones, ("101010", "101010", "e8402a", "fbf4ec", "fbf4ec")),
        do(halftone, 0.016, 0.25),
    ),
    "Travel Poster": (
        in_front_of(mountains, ("f8c860", "f49a58", "e86a4a"), ("b85a5a", "7a4a6a", "3a4a6a", "2a5a58")),
        do(poster, 4, 0.02),
        do(grade, "3a3a6a", "ffd890", 0.35),
        do(grain, 0.04),
    ),
    "Constructivist Poster": (
        in_front_of(rays, ("c8281e", "efe3c8"), 10),
        do(levels),
        do(inks, ("141210", "c8281e", "efe3c8"), 0.1),
        do(rough_paper, 0.12),
    ),
    "Psychedelic": (
        in_front_of(waves, ("ff3fa0", "ffd020", "40d860", "6a30e0", "ff7a20")),
        do(levels),
        do(tones, ("3a0a6a", "e0206a", "ff8a10", "f8f040"), 0.85),
        do(poster, 5),
    ),
    "Risograph": (
        do(levels),
        do(tones, ("10606a", "2aa8a0", "ff5f9a", "f8f0e4")),
        do(halftone, 0.022, 0.5, ink="147a7a"),
        do(misprint),
        do(rough_paper, 0.1),
        do(grain, 0.03),
    ),
    "Linocut": (do(levels), do(threshold), do(rough_paper, 0.05)),
    "Low Poly": (
        in_front_of(backdrop, ("a8c0d8", "6a7aa8")),
        do(facets, 0.065, fold=0.12),
        do(curve, 1.15, 0.03, 1.25),
    ),
    "Isometric": (
        in_front_of(facet_wall, ("f4dcd8", "d8e8ec", "f4ecd0", "e0d8f0")),
        do(smooth, 0.9, shine=0.3),
        do(curve, 0.8, 0.14, 1.1),
    ),
    "3D Animation": (
        in_front_of(lights, ("8ac0e8", "f8d8a8"), ("fff0c8", "ffd890"), 14),
        do(smooth, 1.0, shine=0.6),
        do(rim, "ffd8a8", 0.4),
        do(curve, 1.05, 0.07, 1.4),
    ),
    "Pixel Art": (
        do(curve, 1.1, 0.03, 1.2),
        do(pixelate, 64),
        do(
            inks,
            DAWNBRINGER,
        ),
    ),
    "Vaporwave": (
        in_front_of(grid_horizon),
        do(two_lights, "ff6ad5", "5fe0ff", 0.55),
        do(scan_lines, 0.06, 0.012),
        do(curve, 1.0, 0.05, 1.2),
    ),
    "Sticker": (do(curve, 1.15, 0.08, 1.5), do(poster, 6), do(lines, 0.005, 0.8), do(cut_out)),
    "Double Exposure": (
        in_front_of(flat, ("fafafa",)),
        do(curve, 0.9, 0.04, 0.35),
        lambda sheet: sheet.with_image(
            sheet.image
            + 0.55
            * sheet.person[..., None]
            * (wood(*sheet.size, sheet.random, ("9fb08a", "5f7a58", "2f4434")) - sheet.image)
            * (1 - sheet.grey[..., None])
        ),
        do(grade, "203848", "f8f0e0", 0.3),
    ),
}
