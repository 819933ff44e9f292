"""What several test modules share: a tiny bundle in the published layout, and a face for it."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging

from instantid import mini
from instantid.request import Face

torch.set_num_threads(1)  # tiny models only lose by sharing work
diffusers_logging.set_verbosity_error()
logging.getLogger("httpx").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A bundle folder of a megaparameter: two levels, 64-wide cross-attention, 512-d faces, no face model."""
    return mini.build(tmp_path_factory.mktemp("bundles") / "tiny", mini.TINY)


@pytest.fixture(scope="session")
def face() -> Face:
    """A ready face, somewhat left of the middle of a 64×64 canvas; embedding as long as antelopev2's."""
    embedding = np.random.default_rng(7).normal(size=512).astype(np.float32)
    keypoints = [[20, 24], [36, 22], [28, 32], [22, 42], [34, 41]]
    return Face(embedding=embedding, keypoints=np.array(keypoints), box=np.array([12.7, 10.2, 44.9, 54.1]))


@pytest.fixture(scope="session")
def sdxl_unet() -> UNet2DConditionModel:
    """SDXL's, by its published config and without values: names and shapes only."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
