"""The looks of style_presets/instantid.json, by the presets' names: data."""

from collections.abc import Mapping

from .brushes import line_art, lines, paint, watercolour
from .light import blinds, curve, darken_behind, glow, grade, levels, rim, side_light, tones, two_lights
from .outdoors import city, desert, jungle, mountains
from .places import falling, in_front_of, mist
from .prints import poster
from .sheet import Step, do

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Watercolor": (do(curve, 1.05, 0.05, 1.5), do(watercolour)),
    "Film Noir": (
        do(levels, 2, 97),
        do(darken_behind, 0.6),
        do(blinds),
        do(side_light, 0.5),
        do(tones, ("000000", "ffffff")),
        do(curve, 1.3, 0.04),
    ),
    "Neon": (
        in_front_of(
            city,
            ("3a1a6a", "7a2a8a", "ff7a5a"),
            ("2a1a5a", "1a1040"),
            ("ff4fd8", "3fe8ff", "ff9a3f"),
            lit=0.5,
        ),
        do(two_lights, "b48aff", "ff8a3a", 0.6),
        do(grade, "20c0d0", "ff70c8", 0.35),
        do(paint, 0.012),
        do(lines, 0.004, 0.6, colour="1a0a38"),
        do(glow, 0.5),
    ),
    "Jungle": (
        in_front_of(jungle, tint=0.35),
        do(rim, "ff9a3c", 0.6),
        do(grade, "1a4030", "f0a860", 0.35),
        do(mist, "a8c0a0", 0.4),
    ),
    "Mars": (
        in_front_of(desert, ("e8a880", "f0c8a0"), ("c8704a", "b0502c", "8a3a20"), domes=True, tint=0.35),
        do(grade, "7a3820", "ffb888", 0.4),
        do(falling, ("e8a880",), 50, (0.002, 0.005)),
    ),
    "Vibrant Color": (
        in_front_of(mountains, ("1a1a6a", "c02a8a", "ff9a3a"), ("6a1a8a", "2a1a6a", "101848")),
        do(curve, 1.25, 0.05, 2.0),
        do(poster, 5),
        do(lines, 0.005),
    ),
    "Snow": (
        in_front_of(mountains, ("a8c8e0", "e8f2fa"), ("c8d8e8", "dce8f4", "f4f8fc"), snow=True, tint=0.3),
        do(rim, "e0f4ff", 0.7),
        do(grade, "4a70a0", "eaf4ff", 0.35),
        do(falling, ("ffffff", "eaf6ff"), 130, (0.003, 0.011)),
    ),
    "Line art": (do(levels), do(line_art, 0.005)),
}
