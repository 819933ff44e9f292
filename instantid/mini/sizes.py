"""How large the parts of a small bundle are."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the parts are. `side` is the default picture's, in pixels; `embedding` the face model's width."""

    name: str
    side: int
    channels: tuple[int, ...]
    transformer_layers: tuple[int, ...]
    """Of each level; 0: it attends to nothing."""
    heads: tuple[int, ...]
    text_width: int
    vae_channels: tuple[int, ...]
    embedding: int
    face_tokens: int
    steps: int
    controlnets: tuple[str, ...] = ("canny",)
    latents: int = 4
    """Channels of the VAE's latents."""
    groups: int = 32
    """Of the UNet's group norms."""
    prediction: str = "epsilon"
    """What the UNet is asked for: "epsilon" or "v_prediction" (Salimans & Ho 2022, 2202.00512)."""

    @property
    def cross_attention(self) -> int:
        """Both text encoders side by side."""
        return 2 * self.text_width


MINI = Sizes(
    name="mini",
    side=256,
    channels=(64, 128, 192),
    transformer_layers=(0, 1, 2),
    heads=(1, 2, 3),
    text_width=96,
    vae_channels=(32, 64, 64, 64),
    embedding=128,
    face_tokens=16,
    steps=15,
)
TINY = Sizes(
    name="tiny",
    side=64,
    channels=(32, 64),
    transformer_layers=(0, 1),
    heads=(2, 4),
    text_width=32,
    vae_channels=(8, 8, 16, 16),
    embedding=512,
    face_tokens=16,
    steps=3,
    controlnets=("canny", "pose", "depth"),
)
SMALL = Sizes(
    name="mini",
    side=128,
    channels=(64, 128, 192),
    transformer_layers=(0, 1, 1),
    heads=(1, 2, 3),
    text_width=96,
    vae_channels=(16, 32, 64, 64),
    latents=12,
    embedding=128,
    face_tokens=16,
    steps=15,
    controlnets=(),
    groups=8,
    prediction="v_prediction",
)
"""What two CPU cores can train: 128 pixels, latents an eighth of that: components of patches, see
training/components.py."""
LARGE = Sizes(
    name="mini",
    side=256,
    channels=(64, 128, 192),
    transformer_layers=(0, 1, 2),
    heads=(1, 2, 3),
    text_width=128,
    vae_channels=(32, 64, 96, 128),
    embedding=128,
    face_tokens=16,
    steps=15,
    controlnets=(),
    prediction="v_prediction",
)
"""What a GPU trains in half an hour and two CPU cores run: 256 pixels, latents an eighth of that."""
