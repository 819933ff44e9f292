"""The renderer on a GPU, as far as that can be seen without one: nothing is mixed between processor and GPU."""

import numpy as np
import pytest
import torch
from pretend_cuda import PretendCuda

from instantid.errors import InvalidRequest
from instantid.training.people import assets
from instantid.training.people.description import BACKGROUNDS, Background
from instantid.training.people.identities import sample_identity
from instantid.training.people.renderer import Renderer
from instantid.training.people.scenes import sample_picture


@pytest.fixture(scope="module")
def pictures():
    from dataclasses import replace

    count = len(BACKGROUNDS)
    people = [sample_identity(number) for number in range(count + 2)]
    drawn = [sample_picture(people[i : i + 1 + i % 3], seed=i, width=64, height=64) for i in range(count)]
    return [
        replace(picture, background=Background(kind=kind, seed=3))
        for picture, kind in zip(drawn, BACKGROUNDS, strict=True)
    ]


@pytest.fixture(scope="module")
def made():
    return assets.load(assets.fetch())


def test_the_pretence_refuses_what_a_gpu_refuses():
    with PretendCuda():
        there, here = torch.ones(3, device="cuda"), torch.arange(3)
        assert (there + there).device.type == "cuda" and there.cpu().device.type == "cpu"
        assert there[here].device.type == "cuda" and (2 * there + torch.tensor(1.0)).device.type == "cuda"
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="same device"):
            there.index_select(0, here)
        with pytest.raises(RuntimeError, match="indices"):
            here[torch.ones(3, dtype=torch.bool, device="cuda")]
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


def test_nothing_is_mixed_between_processor_and_gpu(made, pictures, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with PretendCuda() as gpu:
        renderer = Renderer("cuda", assets=made)
        shown = renderer.render(pictures)
    plain = Renderer("cpu", assets=made).render(pictures)
    for one, other in zip(shown, plain, strict=True):
        assert isinstance(one.truth.depth, np.ndarray)
        assert np.abs(one.image.astype(int) - other.image).max() <= 1
    assert sum(gpu.calls.values()) > 1000


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_cannot_be_had_is_told(made, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidRequest, match=r"rendered on cpu or cuda|no CUDA GPU"):
        Renderer(device, assets=made)
