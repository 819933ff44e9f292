"""A tiny bundle that reads photos: seeded weights for the 128-d faces of OpenCV's models. Import the fixtures."""

import dataclasses
from pathlib import Path

import pytest
from test_faces import opencv_folder as opencv_folder

from instantid import mini
from instantid.engine import Engine


@pytest.fixture(scope="session")
def portrait_bundle(opencv_folder, tmp_path_factory) -> Path:
    # 80 pixels: a wide picture of that area is still no narrower than the 64 that a request may ask for
    sizes = dataclasses.replace(mini.TINY, name="portraits", embedding=128, side=80)
    faces = {"kind": "opencv", "path": str(opencv_folder.resolve())}
    return mini.build(tmp_path_factory.mktemp("bundles") / "portraits", sizes, faces=faces)


@pytest.fixture(scope="module")
def portrait_engine(portrait_bundle) -> Engine:
    return Engine.load(portrait_bundle, device="cpu")
