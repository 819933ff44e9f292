"""The looks of style_presets/worlds.json, by the presets' names: data."""

from collections.abc import Mapping

from .grounds import arches, lights, rays
from .light import blur_behind, curve, glow, grade, grain, rim, soften, two_lights
from .outdoors import beach, city, desert, grid_horizon, mountains, sea, space, wood
from .places import falling, in_front_of, mist
from .sheet import Step, do

LOOKS: Mapping[str, tuple[Step, ...]] = {
    "Cyberpunk": (
        in_front_of(
            city, ("1a0a38", "481a6a"), ("1a1a3a", "0e0e24"), ("ff2fb8", "20f0ff", "a060ff"), lit=0.6
        ),
        do(two_lights, "ff2fb8", "20f0ff", 0.5),
        do(falling, ("b0c8ff",), 60, slant=0.1, streak=0.07),
        do(glow, 0.5),
    ),
    "Steampunk": (
        in_front_of(lights, ("6a4a28", "4a3018", "2a1a0c"), ("ffb850", "e88a30"), 16),
        do(grade, "40280c", "ffc070", 0.6),
        do(mist, "d0b088", 0.6),
    ),
    "Solarpunk": (
        in_front_of(
            city, ("a8e0f8", "f4f8d8"), ("8ac88a", "d8c8a0", "58a868"), ("e8fff0", "48903f"), lit=0.7
        ),
        do(curve, 1.05, 0.08, 1.25),
        do(grade, "487a50", "fff4c0", 0.25),
    ),
    "Post-Apocalyptic": (
        in_front_of(city, ("d0c4a0", "e0d4b0"), ("8a8270", "6a6a50", "4a5038"), ("2a2820",), lit=0.5),
        do(curve, 1.0, -0.02, 0.5),
        do(falling, ("c8b890",), 50, (0.002, 0.007)),
        do(mist, "c8bc98", 0.5),
        do(grain, 0.04),
    ),
    "Underwater": (
        in_front_of(sea, tint=0.5),
        do(grade, "0a5a78", "88e8e8", 0.6),
        do(falling, ("d8ffff",), 40, (0.004, 0.012)),
        do(soften, 0.003),
    ),
    "Enchanted Forest": (
        in_front_of(wood, ("9fb08a", "5f7a58", "2f4434"), tint=0.3),
        do(grade, "18402a", "d8f0a8", 0.45),
        do(mist, "a8d8a0", 0.6),
        do(falling, ("f8ff9a", "c8ff70"), 30, (0.005, 0.011)),
        do(glow, 0.6),
    ),
    "Desert Nomad": (
        in_front_of(desert, ("f0c070", "f8dca0"), ("e0a860", "d09048", "b87838"), tint=0.3),
        do(rim, "ffd080", 0.6),
        do(grade, "7a4a20", "ffd090", 0.4),
    ),
    "Royal Court": (
        in_front_of(arches, "8a3a30", "ffe8b0"),
        do(grade, "4a1a18", "ffd890", 0.4),
        do(curve, 1.1, 0.0, 1.2),
        do(glow, 0.3),
    ),
    "Viking": (
        in_front_of(mountains, ("a8b4bc", "c0c8cc"), ("8a98a0", "64727a", "46545c")),
        do(curve, 1.1, -0.04, 0.6),
        do(mist, "b8c4cc", 0.6),
    ),
    "Astronaut": (in_front_of(space), do(curve, 1.3, 0.02, 0.9), do(rim, "e8f4ff", 0.5)),
    "Gothic": (
        in_front_of(arches, "24242e", "5a6a9a"),
        do(curve, 1.1, -0.07, 0.45),
        do(grade, "28204a", "c8c8e8", 0.4),
        do(mist, "606a88", 0.5),
    ),
    "Roaring Twenties": (
        in_front_of(rays, ("2a1a10", "8a6228", "1c120c", "c89038"), 20, tint=0.3),
        do(blur_behind, 0.012),
        do(grade, "40240c", "ffc868", 0.55),
        do(glow, 0.4),
    ),
    "Synthwave": (
        in_front_of(grid_horizon),
        do(rim, "ff4fd8", 0.9),
        do(grade, "2a0a5a", "ff8ad0", 0.55),
        do(glow, 0.5),
    ),
    "Superhero": (
        in_front_of(city, ("2a3048", "5a5468", "b8745a"), ("2a2c3a", "1a1c28"), ("ffd080",), lit=0.2),
        do(rim, "a8c8ff", 0.9),
        do(curve, 1.35, -0.03, 1.25),
    ),
    "Tropical Beach": (in_front_of(beach), do(curve, 1.08, 0.08, 1.25)),
    "Autumn Park": (
        in_front_of(lights, ("e8b060", "c87830", "8a4a20"), ("f0c040", "e87820", "c03a18"), 34),
        do(falling, ("e8a020", "d05a18", "c83a18"), 24, (0.012, 0.024)),
        do(grade, "6a3a18", "ffd088", 0.35),
    ),
}
