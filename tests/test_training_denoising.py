"""How the loss draws and weights noise."""

import dataclasses

import pytest
import torch

from instantid import mini
from instantid.errors import InvalidRequest
from instantid.training.denoising import Denoiser, Noise


@pytest.fixture(scope="module")
def denoiser(tiny) -> Denoiser:
    return Denoiser(tiny)


def drawn(denoiser: Denoiser, options: Noise, monkeypatch) -> torch.Tensor:
    """The timesteps of a loss over 64 latents, without the model."""
    seen = []
    monkeypatch.setattr(
        denoiser, "predict", lambda noisy, at, told, by=None: seen.append(at) or torch.zeros_like(noisy)
    )
    denoiser.loss(torch.zeros(64, 4, 2, 2), None, options)
    return seen[0]


def test_timesteps_cover_the_schedule_and_can_be_drawn_towards_strong_noise(denoiser, monkeypatch):
    even, strong = (drawn(denoiser, Noise(draw=draw), monkeypatch) for draw in (1.0, 0.5))
    assert even.sort().values.diff().max() < 33, "each 64th of 1000 steps has its own"
    assert abs(even.float().mean() - 500) < 10 and abs(strong.float().mean() - 667) < 10
    assert int(strong.min()) >= 0 and int(strong.max()) < 1000


def test_min_snr_lowers_the_weight_of_weak_noise_alone(denoiser, monkeypatch):
    monkeypatch.setattr(denoiser, "predict", lambda noisy, at, told, by=None: torch.zeros_like(noisy))
    weights = []
    for at in (1, 999):
        monkeypatch.setattr(torch, "rand", lambda *_, at=at: torch.tensor(at / 1000))
        losses = []
        for gamma in (0.0, 5.0):
            torch.manual_seed(0)
            losses.append(float(denoiser.loss(torch.zeros(1, 4, 2, 2), None, Noise(min_snr=gamma))))
        weights.append(losses[1] / losses[0])
    assert weights[0] < 0.01 and weights[1] == pytest.approx(1)


def test_min_snr_is_refused_where_v_is_predicted(tmp_path):
    sizes = dataclasses.replace(mini.TINY, prediction="v_prediction", controlnets=())
    denoiser = Denoiser(mini.build(tmp_path / "v", sizes))
    told = denoiser.read(["a person"])
    assert torch.isfinite(denoiser.loss(torch.randn(1, 4, 8, 8), told, Noise()))
    with pytest.raises(InvalidRequest, match="predicts v"):
        denoiser.loss(torch.randn(1, 4, 8, 8), told, Noise(min_snr=5))


def test_a_place_that_does_not_count_teaches_nothing(denoiser, monkeypatch):
    made = torch.zeros(2, 4, 4, 4, requires_grad=True)
    monkeypatch.setattr(denoiser, "predict", lambda noisy, at, told, by=None: made)
    where = torch.zeros(2, 1, 4, 4)
    where[:, :, :2] = 3
    denoiser.loss(torch.randn(2, 4, 4, 4), None, Noise(), where).backward()
    assert made.grad[:, :, :2].abs().min() > 0 and not made.grad[:, :, 2:].any()


def test_an_encoder_that_does_not_learn_reads_each_text_once(tiny, monkeypatch):
    denoiser = Denoiser(tiny)
    first = denoiser.read(["a person", "a hat"])
    reads = []
    for name in ("text_encoder", "text_encoder_2"):
        getattr(denoiser, name).register_forward_pre_hook(
            lambda module, given, name=name: reads.append((name, len(given[0])))
        )
    again = denoiser.read(["a hat", "a person", "a hat"])
    assert not reads
    assert torch.equal(again.hidden, first.hidden[[1, 0, 1]])
    assert torch.equal(again.pooled, first.pooled[[1, 0, 1]])
    denoiser.read(["a hat", "a dog", "a dog"])
    assert reads == [("text_encoder", 1), ("text_encoder_2", 1)], "the new one"
    reads.clear()
    denoiser.text_encoder.requires_grad_(True)
    learning = denoiser.read(["a hat", "a hat"])
    assert reads == [("text_encoder", 2)] and learning.hidden.requires_grad
    assert torch.allclose(learning.hidden[0], first.hidden[1], atol=1e-5)
    reads.clear()
    denoiser.text_encoder.requires_grad_(False)
    monkeypatch.setattr("instantid.training.text_reading.MEMORY", 0)
    denoiser.read(["a hat"])
    assert len(reads) == 2, "what does not fit is forgotten"
