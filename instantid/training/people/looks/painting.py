"""The looks of style_presets/painting.json, by the presets' names: data."""

from collections.abc import Mapping

from .brushes import lines, paint, watercolour
from .grounds import backdrop, facet_wall, flat, rays, waves
from .handmade import cloth, cracks, facets, rough_paper, stitches
from .light import blotches, curve, grade, grain, levels, side_light, soften, tones, vignette
from .outdoors import desert, meadow, mountains
from .places import falling, in_front_of
from .prints import halftone, inks, poster
from .sheet import Step, do

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Oil Portrait": (
        in_front_of(backdrop, ("6a5038", "3a2a1c", "1c140e"), 0.4),
        do(grade, "4a3018", "f0d0a0", 0.4),
        do(paint, 0.02, 0.03, 0.4),
        do(cloth, 0.014, 0.05),
    ),
    "Dutch Golden Age": (
        in_front_of(backdrop, ("3a2c1c", "1c140c", "0c0806"), 0.3),
        do(levels),
        do(side_light, 0.8, "fff0d0"),
        do(grade, "30200c", "ffd898", 0.5),
        do(paint, 0.012, 0.02, 0.2),
        do(cracks, 0.1, 0.2),
    ),
    "Renaissance": (
        in_front_of(mountains, ("9ab8c0", "e0d8b0"), ("8aa0a0", "7a8a70", "6a6a48")),
        do(soften, 0.004),
        do(grade, "4a4020", "f0dcb0", 0.4),
        do(paint, 0.01, 0.015, 0.15),
        do(cracks, 0.08, 0.2),
    ),
    "Baroque": (
        in_front_of(waves, ("4a0c10", "2a0608", "8a6a20", "3a080c"), size=0.8, bands=6),
        do(levels),
        do(side_light, 0.72, "ffe8c0"),
        do(grade, "301008", "ffd088", 0.5),
        do(paint, 0.018, 0.03, 0.35),
        do(vignette, 0.7),
    ),
    "Impressionism": (
        in_front_of(
            meadow, ("a8d0f0", "f0ecd0"), ("8ab868", "5a9a58"), ("f0a0c0", "f8e060", "ffffff", "a080e0")
        ),
        do(curve, 0.95, 0.08, 1.4),
        do(paint, 0.04, 0.035, 0.6),
    ),
    "Post-Impressionism": (
        in_front_of(waves, ("2048a0", "f0c030", "3878c8", "e8a020"), bands=12),
        do(grade, "2040a0", "ffd850", 0.45),
        do(curve, 1.1, 0.02, 1.5),
        do(paint, 0.035, 0.07, 0.9),
    ),
    "Expressionism": (
        in_front_of(facet_wall, ("c03020", "e8a020", "205040", "2a3a8a")),
        do(levels),
        do(tones, ("141018", "1a6a5a", "e06a28", "f8e070"), 0.6),
        do(paint, 0.045, 0.05, 0.7),
        do(lines, 0.009, fill=True),
    ),
    "Art Nouveau": (
        in_front_of(rays, ("d8c48a", "c0a868", "a8a878"), 14),
        do(poster, 5, 0.02),
        do(grade, "5a5a38", "f0d8a8", 0.45),
        do(lines, 0.006, colour="3a2818"),
    ),
    "Pop Art": (
        in_front_of(flat, ("ffe020", "ff4a8a", "20c0e8", "50d850")),
        do(levels),
        do(inks, ("181818", "e8283a", "f8a8a0", "ffe020", "20a8e0", "fff4e8")),
        do(halftone, 0.026, 0.3),
        do(lines, 0.008),
    ),
    "Cubism": (
        in_front_of(facet_wall, ("b89868", "8a8a88", "5a6a80", "d0b888")),
        do(levels),
        do(tones, ("20242c", "5a6a78", "b09468", "e8d8b0"), 0.75),
        do(facets, 0.06, fold=0.2, edges=0.12),
        do(grain, 0.02),
    ),
    "Surrealism": (
        in_front_of(desert, ("3a78c0", "f4d8a0"), ("e0b878", "c89858"), tint=0.25),
        do(falling, ("c03838", "e8e0d0", "2a4a8a"), 7, (0.025, 0.05)),
        do(paint, 0.01, 0.015, 0.15),
    ),
    "Gouache": (
        in_front_of(backdrop, ("e8b088", "d08a68"), 0.3),
        do(grade, "6a4038", "ffe0b0", 0.3),
        do(poster, 6, 0.02),
        do(paint, 0.025, 0.015, 0.1),
        do(rough_paper, 0.1),
    ),
    "Pastel Drawing": (
        in_front_of(backdrop, ("a89a90", "887c78"), 0.3),
        do(curve, 0.85, 0.1, 1.15),
        do(stitches, 0.04, 0.35),
        do(rough_paper, 0.16),
    ),
    "Palette Knife": (
        in_front_of(facet_wall, ("e85030", "f0b020", "2080c0", "20a080", "f0e8d8")),
        do(curve, 1.2, 0.03, 1.5),
        do(paint, 0.055, 0.05, 1.1),
    ),
    "Fresco": (
        in_front_of(backdrop, ("a8bcc8", "c89a78"), 0.4),
        do(curve, 0.75, 0.1, 0.75),
        do(grade, "806050", "f0d8b8", 0.3),
        do(paint, 0.018, 0.015, 0.1),
        do(blotches, "e0d4c0", 0.35, 0.2, dark=False),
        do(cracks, 0.12, 0.4),
        do(rough_paper, 0.12),
    ),
    "Ukiyo-e": (
        in_front_of(waves, ("e8dcc0", "3a6a9a", "e8dcc0", "7a9ab8"), size=0.5, bands=5),
        do(levels),
        do(inks, ("20202a", "28486a", "c85038", "d8a070", "e8cfa8", "f0e6d0", "7a8a70")),
        do(lines, 0.006),
        do(rough_paper, 0.07),
    ),
    "Ink Wash": (
        in_front_of(mountains, ("f4f1ea", "eeeae0"), ("dcdad4", "c4c2be", "e8e5de")),
        do(levels),
        do(tones, ("141414", "6a6a68", "d8d5ce", "f6f3ec")),
        do(lines, 0.008, 0.6, fill=True),
        do(watercolour, 0.03),
    ),
    "Persian Miniature": (
        in_front_of(
            meadow, ("d8b050", "e8c870"), ("3a9a8a", "58a868"), ("e84048", "ffffff", "f0c0d0", "3048b0")
        ),
        do(curve, 1.05, 0.08, 1.6),
        do(poster, 5, 0.02),
        do(lines, 0.004, 0.8, colour="4a2418"),
    ),
}
