"""Pictures that differ in their seeds alone, painted at once: each as if it were painted alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_engine import OneFace

from instantid import acceleration
from instantid.engine import Engine
from instantid.errors import Cancelled, InvalidRequest, NoFaceFound, OutOfMemory
from instantid.request import Control, Face, Person, Place, Request, Result, Step
from instantid.schedulers import SCHEDULERS

ROUNDING = 2  # of 255; what is seen here is 1


@pytest.fixture(scope="module")
def alone(tiny) -> Engine:
    return Engine.load(tiny, device="cpu")


@pytest.fixture(scope="module")
def together(tiny) -> Engine:
    return Engine.load(tiny, device="cpu", at_once=4)


@pytest.fixture
def request_(face) -> Request:
    return Request(people=[Person(references=[face])], prompt="a man", negative_prompt="blurry", steps=3, images=3)


@pytest.fixture
def noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def pixels(result: Result) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in result.images]).astype(int)


class batches:
    """How many latents the UNet is given at each call."""

    def __init__(self, engine: Engine):
        self.unet, self.seen = engine._models.pipeline.unet, []

    def __enter__(self) -> list[int]:
        note = lambda unet, inputs: self.seen.append(len(inputs[0]))  # noqa: E731
        self.hook = self.unet.register_forward_pre_hook(note)
        return self.seen

    def __exit__(self, *_):
        self.hook.remove()


def same(alone: Engine, together: Engine, request: Request) -> Result:
    with batches(alone) as few:
        expected = alone.generate(request)
    with batches(together) as many:
        made = together.generate(request)
    assert max(many) == request.images * max(few)
    assert len(many) < len(few)
    assert abs(pixels(made) - pixels(expected)).max() <= ROUNDING
    assert pixels(made).std(axis=0).max() > 10, "the pictures of a run are not one"
    assert made.likeness == expected.likeness and made.notes == expected.notes
    return made


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_each_picture_is_the_one_painted_alone_by_every_scheduler(alone, together, request_, scheduler):
    same(alone, together, request_.replace(scheduler=scheduler))
