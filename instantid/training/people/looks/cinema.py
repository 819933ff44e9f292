"""The looks of style_presets/cinema.json, by the presets' names: data."""

from collections.abc import Mapping

from .grounds import lights, rays, room, waves
from .light import (
    blur_behind,
    curve,
    glow,
    grade,
    grain,
    levels,
    rim,
    scan_lines,
    scratches,
    side_light,
    soften,
    tones,
    two_lights,
    vignette,
)
from .outdoors import city, desert, mountains, space, wood
from .places import falling, in_front_of, mist
from .sheet import Step, do

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Cinematic": (
        do(blur_behind, 0.02),
        do(grade, "1f5a68", "f0a050", 0.5),
        do(curve, 1.15, -0.04),
        do(grain, 0.02),
    ),
    "Neo-Noir": (
        in_front_of(city, ("0a1020", "1a2438"), ("141a28", "0a0e18"), ("ff4a5a", "3fe8ff"), lit=0.25),
        do(two_lights, "ff3048", "28e0ff", 0.65),
        do(falling, ("a8c8e0",), 70, slant=0.2, streak=0.08),
        do(curve, 1.25, -0.05),
    ),
    "Western": (
        in_front_of(desert, ("e8d8b0", "f4e4c0"), ("b89060", "a87a48", "8a6038")),
        do(grade, "6a4a28", "ffd898", 0.5),
        do(curve, 0.95, 0.0, 0.8),
        do(falling, ("e8d0a0",), 50, (0.002, 0.006)),
        do(grain, 0.04),
    ),
    "Space Opera": (
        in_front_of(space, near=True),
        do(rim, "6ab8ff", 0.8),
        do(grade, "203060", "c8d8ff", 0.3),
    ),
    "Period Drama": (
        in_front_of(room, "4a3424", "ffcf80", window=False),
        do(grade, "3a2414", "ffc880", 0.5),
        do(curve, 0.95, -0.06, 0.9),
        do(glow, 0.35),
    ),
    "Silent Film": (
        do(levels, 5, 95),
        do(soften, 0.004),
        do(tones, ("0a0806", "807868", "f4ecd8")),
        do(scratches, 8),
        do(grain, 0.04, 1.5),
        do(vignette, 1.0),
    ),
    "Technicolor Musical": (
        in_front_of(waves, ("e8303a", "f8c020", "2f7ae0"), size=0.9, bands=4),
        do(curve, 1.2, 0.08, 1.8),
    ),
    "Horror": (
        in_front_of(room, "1f2a2a", "7f9a98", floor="0a0e0e"),
        do(levels),
        do(side_light, 0.85, "a8d0d0"),
        do(curve, 1.0, -0.05, 0.4),
        do(mist, "3a4a4a", 0.6),
        do(grain, 0.035),
    ),
    "Spy Thriller": (
        in_front_of(lights, ("3a2418", "5a3020", "2a1810"), ("ffc860", "ff8a3a", "e8403a")),
        do(grade, "38281c", "ffc078", 0.4),
        do(curve, 1.05, 0.0, 1.05),
        do(soften, 0.003),
    ),
    "Martial Arts Epic": (
        in_front_of(wood, ("c8dca8", "6f9a5a", "2f5a38"), "4a7a3a", 22),
        do(falling, ("8ac04a", "d8b83a"), 26, (0.012, 0.022)),
        do(grade, "104a38", "e8c860", 0.4),
    ),
    "Symmetrical Pastel": (
        in_front_of(rays, ("f8c8d0", "c8ecd8", "f8c8d0", "fbe0d4"), 16),
        do(curve, 0.8, 0.06, 0.85),
        do(grade, "b08a9a", "fff0e8", 0.2),
    ),
    "Disaster Movie": (
        in_front_of(city, ("c85a20", "f09040"), ("5a3828", "3a2820", "241a18"), ("ff8a30",), lit=0.06),
        do(rim, "ff8a30", 0.8),
        do(grade, "3a2820", "ff9a48", 0.5),
        do(falling, ("ff8a3a", "5a5450"), 80, (0.003, 0.009)),
    ),
    "Samurai": (
        in_front_of(mountains, ("c8ccc8", "dcd8cc"), ("a0a49c", "7a7c70", "545648")),
        do(mist, "d8d8d0", 0.8),
        do(curve, 1.05, -0.02, 0.55),
    ),
    "VHS": (do(soften, 0.005), do(curve, 0.85, 0.08, 1.2), do(scan_lines), do(grain, 0.05, 2.0)),
}
