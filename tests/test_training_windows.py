"""Windows around faces: where they lie, what they cut, and that the identity stage learns from them."""

import random

import numpy as np
import torch
from small_family import make_bundle, make_prepared

from instantid.face_drawing import draw_keypoints
from instantid.training.identity import IdentityTask, Options
from instantid.training.windows import Windows, around

BOXES = np.array([[0.0, 0, 4, 4], [6, 7, 10, 11], [13, 12, 16, 16]])


def test_windows_lie_around_the_middle_of_boxes_and_inside_the_picture():
    windows = around(BOXES, width=16, jitter=0)
    assert windows.side == 8
    assert windows.left.tolist() == [0, 4, 8]
    assert windows.top.tolist() == [0, 5, 8]


def test_jitter_moves_them_no_further_than_said():
    torch.manual_seed(0)
    drawn = [around(BOXES[1:2], width=16, jitter=1) for _ in range(60)]
    assert {int(windows.left[0]) for windows in drawn} == {3, 4, 5}
    assert {int(windows.top[0]) for windows in drawn} == {4, 5, 6}


def test_a_cut_takes_the_same_place_at_every_scale():
    windows = Windows(left=np.array([1, 3]), top=np.array([2, 0]), side=4)
    latents = torch.arange(2 * 8 * 8).reshape(2, 1, 8, 8)
    pixels = latents.repeat_interleave(8, 2).repeat_interleave(8, 3)
    cut = windows.cut(latents)
    assert torch.equal(cut[0, 0], latents[0, 0, 2:6, 1:5])
    assert torch.equal(cut[1, 0], latents[1, 0, 0:4, 3:7])
    assert torch.equal(windows.cut(pixels, 8)[:, :, ::8, ::8], cut)
    assert windows.corners(8).tolist() == [[16, 8], [0, 24]]


def test_the_identity_stage_sees_windows_and_is_told_what_was_cut_off(tmp_path, monkeypatch):
    prepared = make_prepared(tmp_path / "prepared")
    bundle = make_bundle(tmp_path / "bundle", prepared)
    options = Options(close=1, drop_text=0, drop_face=0, face_weight=3)
    task = IdentityTask(bundle, prepared, np.arange(9), np.arange(9, 12), options)
    denoiser, seen, maps = task.denoiser, [], []
    predict, net = denoiser.predict, denoiser.identitynet
    monkeypatch.setattr(
        denoiser, "predict", lambda noisy, at, told: (seen.append((noisy, told)), predict(noisy, at, told))[1]
    )
    net.controlnet_cond_embedding.register_forward_pre_hook(lambda module, given: maps.append(given[0]))
    random.seed(3)  # adapter and IdentityNet both
    torch.manual_seed(0)
    loss = task([0, 1, 2])["loss"]
    loss.backward()
    [(noisy, told)] = seen
    side, scale = denoiser.side, denoiser.pipeline.vae_scale_factor
    assert noisy.shape[-2:] == (side // 2, side // 2)
    assert told.sizes[:, :2].eq(side * scale).all()
    for place, drawn, index in zip(told.sizes[:, 2:].int().tolist(), maps[0], task._chosen[:3], strict=True):
        top, left = place
        whole = np.asarray(draw_keypoints(prepared.keypoints[index], prepared.size, prepared.size))
        half = prepared.size // 2
        assert np.array_equal((drawn * 255).permute(1, 2, 0), whole[top : top + half, left : left + half])
    assert any(parameter.grad.abs().sum() > 0 for parameter in net.controlnet_down_blocks.parameters())


def test_without_the_option_whole_pictures_are_seen(tmp_path, monkeypatch):
    prepared = make_prepared(tmp_path / "prepared")
    task = IdentityTask(
        make_bundle(tmp_path / "bundle", prepared), prepared, np.arange(9), np.arange(9, 12), Options()
    )
    seen, predict = [], task.denoiser.predict
    monkeypatch.setattr(
        task.denoiser, "predict", lambda noisy, at, told: (seen.append(noisy), predict(noisy, at, told))[1]
    )
    task([0, 1])
    assert seen[0].shape[-1] == task.denoiser.side
