"""How somebody looks: expressions put together from Apple's ARKit units, drawn weaker or stronger."""

import numpy as np

from .draws import between, weighted

# What goes together and how far it may go before it looks put on.
EXPRESSIONS: dict[str, dict[str, float]] = {
    # The mesh at rest looks stern: its brows are low and its mouth's corners hang.
    "neutral": {
        "mouthSmileLeft": 0.22, "mouthSmileRight": 0.22, "browInnerUp": 0.2,
        "browOuterUpLeft": 0.15, "browOuterUpRight": 0.15,
    },
    "slight smile": {
        "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "cheekSquintLeft": 0.2, "cheekSquintRight": 0.2,
        "browInnerUp": 0.2, "browOuterUpLeft": 0.15, "browOuterUpRight": 0.15,
    },
    "smile": {
        "mouthSmileLeft": 0.95, "mouthSmileRight": 0.95, "cheekSquintLeft": 0.45, "cheekSquintRight": 0.45,
        "mouthDimpleLeft": 0.3, "mouthDimpleRight": 0.3,
    },
    "laugh": {
        "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.3,
        "cheekSquintLeft": 0.6, "cheekSquintRight": 0.6, "eyeSquintLeft": 0.3, "eyeSquintRight": 0.3,
        "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3,
    },
    "frown": {"browDownLeft": 0.6, "browDownRight": 0.6, "mouthFrownLeft": 0.4, "mouthFrownRight": 0.4},
    "sad": {"browInnerUp": 0.7, "mouthFrownLeft": 0.5, "mouthFrownRight": 0.5, "mouthShrugLower": 0.2},
    "surprise": {
        "browInnerUp": 0.6, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6, "eyeWideLeft": 0.5, "eyeWideRight": 0.5,
        "jawOpen": 0.3,
    },
    "speaking": {"jawOpen": 0.22, "mouthFunnel": 0.2},
    "smirk": {"mouthSmileLeft": 0.65, "mouthSmileRight": 0.1, "browOuterUpRight": 0.3},
    "squint": {"eyeSquintLeft": 0.5, "eyeSquintRight": 0.5, "browDownLeft": 0.25, "browDownRight": 0.25},
    "pout": {"mouthPucker": 0.5, "browInnerUp": 0.2},
}  # fmt: skip
LIKELY = {
    "neutral": 3.5, "slight smile": 3, "smile": 3, "laugh": 1.2, "frown": 0.4, "sad": 0.3, "surprise": 0.7,
    "speaking": 1, "smirk": 0.7, "squint": 0.6, "pout": 0.4,
}  # fmt: skip


def sample_expression(random: np.random.Generator) -> dict[str, float]:
    """Draw an expression, stronger or weaker."""
    name = weighted(random, LIKELY)
    strength = random.uniform(0.65, 1)
    weights = {unit: strength * weight * random.uniform(0.8, 1) for unit, weight in EXPRESSIONS[name].items()}
    if "eyeWideLeft" not in weights:
        # the mesh at rest shows white above the iris, which looks startled
        weights |= dict.fromkeys(("eyeBlinkLeft", "eyeBlinkRight"), between(random, 0.08, 0.26))
    return {unit: round(float(weight), 3) for unit, weight in weights.items()}
