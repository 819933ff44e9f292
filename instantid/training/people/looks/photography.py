"""The looks of style_presets/photography.json, by the presets' names: data."""

from collections.abc import Mapping

from .grounds import backdrop, flat, lights, room
from .handmade import smooth
from .light import (
    blotches,
    blur_behind,
    curve,
    darken_behind,
    glow,
    grade,
    grain,
    levels,
    rim,
    scratches,
    side_light,
    soften,
    tones,
    vignette,
)
from .outdoors import city, meadow, mountains
from .places import falling, in_front_of
from .sheet import Step, do

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Studio Portrait": (in_front_of(backdrop, ("b4b6b8", "8a8c90", "5e6064")), do(curve, 1.08)),
    "Business Headshot": (
        in_front_of(room, "d4d8dc", "f8fbff", floor="a8a49c"),
        do(curve, 1.05, 0.04, 0.95),
    ),
    "Golden Hour": (
        in_front_of(meadow, ("ffd98a", "ffc070"), ("c89a4a", "8a7a38", "5a5a28"), tint=0.3),
        do(rim, "ffcf7a", 0.9),
        do(grade, "6a4020", "ffb860", 0.45),
        do(glow, 0.5),
    ),
    "Blue Hour": (
        in_front_of(lights, ("2a4a8a", "1a2a58", "10182f"), ("ffb45a", "ffd9a0", "7fb0ff")),
        do(grade, "203a78", "a090a8", 0.4),
        do(curve, 1.05, -0.06),
    ),
    "Window Light": (
        in_front_of(room, "8a847a", "f4f6f4"),
        do(side_light, 0.75),
        do(curve, 1.0, 0.03, 0.7),
    ),
    "Classic Black and White": (
        do(levels),
        do(side_light, 0.4),
        do(tones, ("000000", "ffffff")),
        do(grain, 0.03),
    ),
    "Analog Film": (
        do(curve, 0.92, 0.04, 0.9),
        do(grade, "4a6068", "f4b878", 0.35),
        do(glow, 0.35, 0.015),
        do(grain, 0.035, 1.3),
    ),
    "Instant Photo": (
        do(soften, 0.004),
        do(curve, 0.75, 0.12, 0.65),
        do(grade, "607088", "f8e4c0", 0.3),
        do(vignette, 0.5, "3a2c20"),
    ),
    "Tintype": (
        do(levels),
        do(blur_behind, 0.03),
        do(tones, ("0c0a09", "5a544e", "c8c0b4")),
        do(scratches, 12, 0.5),
        do(blotches, "100c0a", 0.7, 0.25, dark=False),
        do(vignette, 0.9),
    ),
    "Street Photography": (
        in_front_of(
            city, ("c8d0d8", "e8e4dc"), ("9a948c", "7a726a", "5a544e"), ("d8dce0", "48505a"), lit=0.8
        ),
        do(curve, 1.12, 0.0, 0.95),
        do(grain, 0.02),
    ),
    "Fashion Editorial": (
        in_front_of(flat, ("d8402f", "e8b820", "2f7a8a", "c87a9a", "4a7a4a")),
        do(curve, 1.3, 0.03, 1.15),
    ),
    "Beauty Close-Up": (
        in_front_of(backdrop, ("f0e6e0", "d8c8c0")),
        do(smooth, 0.35, shine=0.5),
        do(curve, 0.95, 0.03, 1.05),
        do(glow, 0.15, 0.02),
    ),
    "Low Key": (
        do(levels),
        do(darken_behind, 0.97, "050505"),
        do(side_light, 0.93),
        do(curve, 1.15, -0.03, 0.75),
    ),
    "Travel Magazine": (
        in_front_of(mountains, ("6fa8dc", "dcecf8"), ("a8bccc", "7a94a0", "5a7a5a", "48602f")),
        do(curve, 1.1, 0.02, 1.15),
    ),
    "Sports Action": (
        in_front_of(lights, ("101828", "2f4a38", "3f7a3f"), ("ffffff", "e8f4ff"), 14),
        do(rim, "e8f4ff", 0.8),
        do(falling, ("f4e8d0",), 50, (0.002, 0.005)),
        do(curve, 1.3, 0.0, 1.1),
    ),
}
