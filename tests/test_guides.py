"""A request's controls → guides, with real ControlNets and a real Union model made tiny."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from PIL import Image
from unions import save_union

from instantid import acceleration, bundles, loading
from instantid.errors import BundleError, InvalidRequest
from instantid.guides import ControlNets
from instantid.request import Control

MAPS = {name: Image.new("RGB", (64, 64)) for name in ("pose", "canny", "depth")}


@pytest.fixture(scope="module")
def unet(tiny) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny / "base" / "unet")


@pytest.fixture(scope="module")
def union(tmp_path_factory, unet) -> Path:
    return save_union(tmp_path_factory.mktemp("nets") / "union", unet)


@pytest.fixture
def bundle(tiny):
    """Opens the tiny bundle with the ControlNets that are named."""

    def open_with(**controlnets: Path | str) -> bundles.Bundle:
        named = {name: str(place) for name, place in controlnets.items()}
        return bundles.open_bundle(tiny).model_copy(update={"controlnets": named})

    return open_with


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """The parts that are loaded, in order."""
    loaded, real = [], loading.load_controlnet
    monkeypatch.setattr(
        "instantid.guides.load_controlnet",
        lambda bundle, part, *a: loaded.append(part) or real(bundle, part, *a),
    )
    return loaded


def test_a_guide_is_what_was_asked(tiny, bundle, unet):
    nets = ControlNets(bundle(canny=tiny / "controlnets" / "canny"))
    asked = Control(strength=0.7, start=0.1, end=0.6)
    (guide,) = nets.guides({"canny": asked}, MAPS, unet)
    assert (guide.name, guide.strength, guide.start, guide.end) == ("canny", 0.7, 0.1, 0.6)
    assert guide.map is MAPS["canny"] and guide.kind is None
    assert isinstance(guide.net, ControlNetModel) and guide.net.dtype == unet.dtype


def test_strength_0_is_left_out_and_not_even_loaded(bundle, unet, loads):
    nets = ControlNets(bundle(canny="owner/never-fetched"))
    assert nets.guides({"canny": Control(strength=0)}, {}, unet) == []
    assert loads == []


def test_each_net_is_loaded_once_and_the_union_model_once_for_all(tiny, bundle, unet, union, loads):
    nets = ControlNets(bundle(union=union, depth=tiny / "controlnets" / "depth"))
    controls = dict.fromkeys(("pose", "canny", "depth"), Control())
    for _ in range(2):
        pose, canny, depth = nets.guides(controls, MAPS, unet)
        assert (pose.kind, canny.kind, depth.kind) == (0, 3, None)  # xinsir's numbers
        assert pose.net is canny.net and isinstance(pose.net, ControlNetUnionModel)
        assert isinstance(depth.net, ControlNetModel)
    assert loads == ["controlnets.union", "controlnets.depth"]


def test_the_union_model_knows_depth_as_its_second_kind(bundle, unet, union):
    (depth,) = ControlNets(bundle(union=union)).guides({"depth": Control()}, MAPS, unet)
    assert depth.kind == 1


def test_more_kinds_than_ours_are_welcome_and_fewer_are_refused(bundle, unet, tmp_path):
    """xinsir's promax variant has 8, in the same order."""
    save_union(tmp_path / "promax", unet, kinds=8)
    (canny,) = ControlNets(bundle(union=tmp_path / "promax")).guides({"canny": Control()}, MAPS, unet)
    assert canny.net.config.num_control_type == 8
    save_union(tmp_path / "three", unet, kinds=3)
    with pytest.raises(BundleError, match=r"controlnets.union .* knows 3 kinds of maps; 4 at least"):
        ControlNets(bundle(union=tmp_path / "three")).guides({"pose": Control()}, MAPS, unet)


def test_the_class_name_in_the_description_does_not_matter(bundle, unet, union, tmp_path):
    """xinsir's was written by a fork of diffusers."""
    folder = shutil.copytree(union, tmp_path / "named")
    for name in ("ControlNetModel_Union", "ControlNetModel"):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"_class_name": name}))
        (guide,) = ControlNets(bundle(union=folder)).guides({"canny": Control()}, MAPS, unet)
        assert isinstance(guide.net, ControlNetUnionModel)


def test_a_control_without_a_net_is_refused_in_words(bundle, unet, tiny):
    nets = ControlNets(bundle(canny=tiny / "controlnets" / "canny"))
    with pytest.raises(InvalidRequest, match="“tiny” has no pose ControlNet: set pose to 0"):
        nets.guides({"pose": Control()}, MAPS, unet)


def test_a_union_model_and_a_single_net_are_not_taken_for_each_other(bundle, unet, tiny, union):
    with pytest.raises(BundleError, match=r"is a Union model.* name it “union”"):
        ControlNets(bundle(canny=union)).guides({"canny": Control()}, MAPS, unet)
    single = tiny / "controlnets" / "canny"
    with pytest.raises(BundleError, match=r"is no Union model.* name it “pose”, “canny” or “depth”"):
        ControlNets(bundle(union=single)).guides({"canny": Control()}, MAPS, unet)


def test_a_union_model_for_another_base_is_refused(bundle, tiny, union):
    other = UNet2DConditionModel.from_pretrained(tiny / "base" / "unet")
    other.register_to_config(cross_attention_dim=48)
    with pytest.raises(BundleError, match=r"controlnets.union .*another kind of base"):
        ControlNets(bundle(union=union)).guides({"canny": Control()}, MAPS, other)


def test_nets_are_weighed_without_being_loaded(bundle, unet, tiny, union, loads):
    single = tiny / "controlnets" / "canny"
    found = bundle(union=union, depth=single, pose="owner/never-fetched")
    nets = ControlNets(found)
    for dtype in (torch.float32, torch.float16):
        loaded = [
            loading.load_controlnet(found, "controlnets.depth", unet),
            loading.load_controlnet(found, "controlnets.union", unet, ControlNetUnionModel),
        ]
        assert nets.weight_bytes(dtype) == acceleration.weight_bytes(*(net.to(dtype) for net in loaded))
    assert loads == [] and ControlNets(bundle()).weight_bytes(torch.float32) == 0


def test_a_damaged_description_is_told_when_nets_are_weighed(bundle, union, tmp_path):
    folder = shutil.copytree(union, tmp_path / "bad")
    (folder / "config.json").write_text("{")
    with pytest.raises(BundleError, match=r"controlnets.union at .*cannot be loaded"):
        ControlNets(bundle(union=folder)).weight_bytes(torch.float32)
