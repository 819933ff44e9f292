"""A tiny bundle that reads photos: seeded weights for the 128-d faces of OpenCV's models. Import the fixtures."""

import dataclasses
from pathlib import Path

import pytest
from test_faces import opencv_folder as opencv_folder

from instantid import mini
from instantid.engine import Engine


def portrait_sizes(name: str) -> mini.Sizes:
    # 80 pixels: a wide picture of that area is still no narrower than the 64 that a request may ask for
    return dataclasses.replace(mini.TINY, name=name, embedding=128, side=80)


@pytest.fixture(scope="session")
def portrait_bundle(opencv_folder, tmp_path_factory) -> Path:
    faces = {"kind": "opencv", "path": str(opencv_folder.resolve())}
    return mini.build(
        tmp_path_factory.mktemp("bundles") / "portraits", portrait_sizes("portraits"), faces=faces
    )


@pytest.fixture(scope="module")
def portrait_engine(portrait_bundle) -> Engine:
    return Engine.load(portrait_bundle, device="cpu")
