"""The control stage: its maps against the engine's annotators, its net against what the engine runs, and learning."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from PIL import Image

from instantid import bundles, mini
from instantid.controls import Annotators, net_part
from instantid.engine import Engine
from instantid.errors import InvalidRequest
from instantid.guides import UNION_KINDS
from instantid.identity import IdentityNet
from instantid.loading import load_controlnet
from instantid.nets import Guide, Nets
from instantid.request import Control, Request
from instantid.skeletons import SIDE as POSE_SIDE
from instantid.skeletons import draw_skeletons
from instantid.training.bundle_file import set_defaults
from instantid.training.control import ControlTask, Options
from instantid.training.maps import Maps, draw_depth, skeleton_of
from instantid.training.prepared import FAR, Example, Prepared, write_piece

SIDE = 64
FACE = [[20, 20], [40, 20], [30, 28], [24, 36], [36, 36]]
BODY = [[8, 56], [4, 70], [0, 80], [52, 56], [60, 70], [60, 80], *[[30, 90]] * 6]


def figure(**changes) -> dict:
    seen = [True, False, False, True, *[False] * 8]
    told = {"face_keypoints": FACE, "face_visible": [True] * 5, "body_keypoints": BODY, "body_visible": seen}
    return told | changes


def example(number: int, *, depth: bool = True, figures: bool = True) -> Example:
    """A bright square on a dark ground, or the other way round; near where it is."""
    random = np.random.default_rng(number)
    x, y = random.integers(4, 30, 2)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[y : y + 28, x : x + 28] = True
    image = random.integers(0, 20, (SIDE, SIDE, 3)) + np.where(inside, 200, 20)[..., None]
    far = np.where(inside, 40, FAR) if depth else np.zeros((SIDE, SIDE))
    record = {"caption": "a square", "look": "photo"} | ({"figures": [figure()]} if figures else {})
    return Example(
        image=image.astype(np.uint8), face=None, person=number, depth=far.astype(np.uint8), record=record
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    """Sixteen pictures of which all is known, one without depth, one that is a photo like any other."""
    folder = tmp_path_factory.mktemp("prepared")
    several = [*map(example, range(16)), example(16, depth=False), example(17, depth=False, figures=False)]
    write_piece(folder / "squares", several, width=4)
    latents = np.random.default_rng(0).normal(size=(18, 4, 8, 8))
    np.save(folder / "squares" / "latents.npy", latents.astype(np.float16))
    return Prepared(folder)


@pytest.fixture
def bundle(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def task_for(bundle: Path, prepared: Prepared, *kinds: str, **more) -> ControlTask:
    options = Options(kinds=kinds or tuple(UNION_KINDS), **more)
    return ControlTask(bundle, prepared, np.arange(18), np.arange(4), options)


def shake(net: torch.nn.Module) -> None:
    """What begins as zero would hide what comes before it."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            if not weight.any():
                weight.normal_(std=0.05)


def learn(task: ControlTask, steps: int) -> list[float]:
    learned = [weight for weight in task.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=2e-3)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = task(np.random.default_rng(step).permutation(16)[:8].tolist())["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_edges_are_the_engines_own(prepared, tiny):
    control = Control(low=60, high=170)
    drawn = Maps(prepared, tiny).draw("canny", 3, control)
    picture = Image.fromarray(prepared.images([3])[0])
    assert np.array_equal(
        drawn, np.asarray(Annotators(bundles.open_bundle(tiny)).draw("canny", picture, control))
    )
    assert drawn.any()


@pytest.mark.parametrize("kind", ["pose", "canny", "depth"])
def test_maps_are_as_coarse_as_the_bundle_s_nets_know_them(prepared, tiny, tmp_path, kind):
    coarse = shutil.copytree(tiny, tmp_path / "coarse")
    set_defaults(coarse, {"map_pixel": 2})
    fine, drawn = (Maps(prepared, bundle).draw(kind, 0, Control()) for bundle in (tiny, coarse))
    assert drawn.shape == fine.shape and drawn.any()
    assert np.array_equal(drawn, drawn[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))


def test_near_is_bright_and_the_whole_range_is_used():
    depth = np.full((8, 8), FAR, np.uint8)
    depth[2:6, 2:6], depth[4, 4] = 100, 0
    drawn = draw_depth(depth)
    assert drawn.shape == (8, 8, 3) and drawn[4, 4].tolist() == [255] * 3 and not drawn[0].any()
    assert 0 < drawn[3, 3, 0] < 255
    # A face that fills the picture is spread as the annotator spreads it: the farthest is black.
    assert sorted({*draw_depth(np.array([[20, 60], [60, 100]], np.uint8)).ravel().tolist()}) == [0, 128, 255]
    assert not draw_depth(np.full((4, 4), FAR, np.uint8)).any()


@pytest.mark.parametrize(("width", "height"), [(SIDE, SIDE), (140, 100), (75, 130)])
def test_skeletons_are_drawn_as_the_pose_annotator_draws_them(width, height):
    util = pytest.importorskip("controlnet_aux.open_pose.util")
    from controlnet_aux.open_pose.body import Keypoint
    from controlnet_aux.util import resize_image

    random = np.random.default_rng(5)
    skeleton = [tuple(point) for point in random.uniform(4, 60, (18, 2))]
    skeleton[4] = skeleton[16] = None
    theirs = resize_image(np.zeros((height, width, 3), np.uint8), POSE_SIDE)
    points = [point and Keypoint(point[0] / width, point[1] / height) for point in skeleton]
    util.draw_bodypose(theirs, points)
    theirs = Image.fromarray(theirs).resize((width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(draw_skeletons([skeleton], width, height)), np.asarray(theirs))


def test_a_skeleton_has_what_can_be_seen_and_a_neck_between_the_shoulders():
    skeleton = skeleton_of(figure(face_visible=[True, False, True, True, True]), SIDE)
    seen = {point: place for point, place in enumerate(skeleton) if place}
    # OpenPose's right eye is 14, the person's right, which is the first in insightface's order.
    assert seen == {0: (30, 28), 14: (20, 20), 2: (8, 56), 5: (52, 56), 1: (30, 56)}
    assert skeleton_of(figure(body_visible=[False] * 12), SIDE)[1] is None
    cut = skeleton_of(figure(body_keypoints=[[8, 70], *BODY[1:]]), SIDE)
    assert cut[1] is None and cut[2] is None, "what a face was cut out without is not seen"
    assert cut[5] == (52, 56)


def test_a_picture_has_the_maps_of_what_is_known_of_it(prepared, tiny):
    maps = Maps(prepared, tiny)
    assert [maps.kinds_of(i) for i in (0, 16, 17)] == [
        ("pose", "canny", "depth"),
        ("pose", "canny"),
        ("canny",),
    ]
    assert maps.draw("pose", 0, Control()).any()


@pytest.mark.parametrize("kinds", [("canny",), ("depth", "pose"), ("pose", "canny", "depth")])
def test_what_is_trained_is_what_the_engine_runs(bundle, prepared, kinds):
    """Each picture of a mixed batch gets what the engine's `Nets` would give it, alone, with and without a prompt."""
    task = task_for(bundle, prepared, *(kinds if len(kinds) == 1 else ()))
    shake(task.guide.net)
    chosen, told = [0, 1, 2, 3], [kinds, tuple(task._options.kinds), kinds, kinds]
    conditions = task.guide.guided(task.denoiser.read(["a square"] * 4), chosen, told)
    noisy, timesteps = torch.randn(4, 4, 8, 8), torch.tensor([10, 400, 700, 990])
    added = {"text_embeds": conditions.pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 4)}
    with torch.no_grad():
        down, middle = conditions.residuals(noisy, timesteps, added)
    task.save(bundle)
    union = len(task._options.kinds) > 1
    kind = ControlNetUnionModel if union else ControlNetModel
    net = kind.from_pretrained(bundle / bundles.open_bundle(bundle).sources[task.guide.part])
    for row in range(4):
        guides = [
            Guide(name=name, net=net, map=None, strength=1.0, kind=UNION_KINDS[name] if union else None)
            for name in told[row]
        ]
        maps = [
            torch.from_numpy(task.guide.maps.draw(name, chosen[row], Control()) / 255).float()
            for name in told[row]
        ]
        maps = [map_.permute(2, 0, 1).expand(2, -1, -1, -1) for map_ in maps]
        identitynet = load_controlnet(
            bundles.open_bundle(bundle), "identitynet", task.denoiser.unet, IdentityNet
        )
        with torch.no_grad():
            wanted, wanted_middle = Nets(identitynet, guides)(
                noisy[[row, row]],
                timesteps[row],
                conditions.hidden[[row, row]],
                [maps[0], *maps],
                [0.0] + [1.0] * len(maps),
                added_cond_kwargs={name: value[[row, row]] for name, value in added.items()},
                return_dict=False,
            )
        for mine, theirs in zip([*down, middle], [*wanted, wanted_middle], strict=True):
            assert torch.allclose(mine[row], theirs[0], atol=1e-5)
        assert theirs.abs().max() > 1e-3


def test_what_controlnets_say_already_stays_said(bundle, prepared):
    task = task_for(bundle, prepared)
    shake(task.guide.net)
    conditions = task.denoiser.read(["a square"] * 2)
    noisy, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([10, 700])
    added = task.denoiser.beside(noisy, conditions)
    kinds = [("canny",), ("pose", "depth")]
    with torch.no_grad():
        alone, middle = task.guide.guided(conditions, [0, 1], kinds).residuals(noisy, timesteps, added)
        before = replace(conditions, residuals=lambda *_: ([level + 1 for level in alone], middle + 2))
        down, both = task.guide.guided(before, [0, 1], kinds).residuals(noisy, timesteps, added)
    assert all(torch.allclose(said, 2 * own + 1, atol=1e-5) for said, own in zip(down, alone, strict=True))
    assert torch.allclose(both, 2 * middle + 2, atol=1e-5)


@pytest.mark.parametrize("kinds", [("canny",), ()])
def test_a_fresh_net_adds_nothing_and_is_the_same_each_time(bundle, prepared, kinds):
    task = task_for(bundle, prepared, *kinds)
    conditions = task.guide.guided(task.denoiser.read(["", ""]), [0, 1], [task._options.kinds] * 2)
    noisy, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([10, 400])
    with torch.no_grad():
        guided = task.denoiser.predict(noisy, timesteps, conditions)
        assert torch.equal(guided, task.denoiser.predict(noisy, timesteps, task.denoiser.read(["", ""])))
    torch.manual_seed(99)
    again = task_for(bundle, prepared, *kinds).guide.net.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in task.guide.net.state_dict().items())
    # It begins as the UNet, in what it makes of latents and of the picture's size.
    unet = task.denoiser.unet.state_dict()
    for name in ("conv_in.weight", "add_embedding.linear_1.weight", "mid_block.resnets.0.conv1.weight"):
        assert torch.equal(again[name], unet[name])


def test_it_learns_with_the_unet_as_it_was_and_goes_on_with_what_it_wrote(bundle, prepared):
    task = task_for(bundle, prepared, "depth")
    # Something to learn: pictures are their own depth, whatever the words.
    depth = prepared.depth(range(16)).reshape(16, 8, 8, 8, 8).mean(axis=(2, 4)) / 127.5 - 1
    task._prepared = _with_latents(prepared, np.repeat(depth[:, None], 4, axis=1))
    before = {name: weight.clone() for name, weight in task.denoiser.unet.state_dict().items()}
    losses = learn(task, 40)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert all(torch.equal(weight, before[name]) for name, weight in task.denoiser.unet.state_dict().items())
    task.save(bundle)
    again = task_for(bundle, prepared, "depth", fresh=False)
    written, learned = again.guide.net.state_dict(), task.guide.net.state_dict()
    assert all(torch.equal(written[name], learned[name]) for name in learned)
    torch.manual_seed(0)
    loss = task([0, 1])["loss"]
    torch.manual_seed(0)
    again._prepared = task._prepared
    assert torch.allclose(again([0, 1])["loss"], loss)


def test_all_of_a_union_model_learns(bundle, prepared):
    task = task_for(bundle, prepared)
    shake(task.guide.net)
    torch.manual_seed(0)
    task(range(8))["loss"].backward()
    # Keys and queries alone have nothing to do: each token looks at itself.
    idle = {
        name
        for name, weight in task.guide.net.named_parameters()
        if weight.grad is None or not weight.grad.any()
    }
    assert not idle
    before = {name: weight.clone() for name, weight in task.guide.net.named_parameters()}
    learn(task, 1)
    assert all(not torch.equal(weight, before[name]) for name, weight in task.guide.net.named_parameters())


def test_the_union_model_takes_the_place_of_single_nets_and_the_engine_follows_it(bundle, prepared, face):
    described = json.loads((bundle / "bundle.json").read_text())
    assert set(described["controlnets"]) == {"canny", "pose", "depth"}
    task = task_for(bundle, prepared)
    shake(task.guide.net)
    task.save(bundle)
    opened = bundles.open_bundle(bundle)
    assert opened.controlnets == {"union": "controlnets/union"}
    assert {net_part(opened, kind) for kind in UNION_KINDS} == {"controlnets.union"}
    assert opened.licences["controlnets.union"] == mini.LICENCE and "controlnets.pose" not in opened.licences
    engine = Engine.load(bundle)
    map_ = {"image": Image.fromarray(task.guide.maps.draw("depth", 0, Control()))}
    asked = Request(people=[{"references": [face]}], seed=1, steps=2, width=64, height=64)
    plain = engine.generate(asked).images[0]
    guided = engine.generate(
        asked.model_copy(update={"controls": {"depth": Control(strength=1.0, map=map_)}})
    )
    assert np.abs(np.asarray(plain, int) - np.asarray(guided.images[0], int)).max() > 0


def test_one_kind_is_a_controlnet_of_its_own(bundle, prepared):
    task = task_for(bundle, prepared, "depth")
    assert len(task) == 16  # two have no depth
    task.save(bundle)
    opened = bundles.open_bundle(bundle)
    assert set(opened.controlnets) == {"canny", "pose", "depth"}
    assert isinstance(ControlNetModel.from_pretrained(bundle / opened.controlnets["depth"]), ControlNetModel)


def test_the_sheet_shows_maps_and_what_they_give(bundle, prepared):
    task = task_for(bundle, prepared)
    with torch.no_grad():
        sheet = task.sheet()
    rows = 1 + 2 * 3 + 2
    assert sheet.size == (4 * SIDE + 3 * 2, rows * SIDE + (rows - 1) * 2)
    task._shown = []
    assert task.sheet() is None


def test_what_cannot_be_trained_is_said(bundle, prepared):
    with pytest.raises(InvalidRequest, match="one kind of map, or pose, depth, canny together"):
        task_for(bundle, prepared, "canny", "pose")
    with pytest.raises(InvalidRequest, match="has a map of depth"):
        ControlTask(bundle, prepared, np.array([17]), np.arange(2), Options(kinds=("depth",)))


class _with_latents:
    """Prepared data whose latents are others."""

    def __init__(self, prepared: Prepared, latents: np.ndarray):
        self._prepared, self._latents = prepared, latents

    def latents(self, indices) -> np.ndarray:
        return self._latents[list(indices)].astype(np.float16)

    def __getattr__(self, name: str):
        return getattr(self._prepared, name)


def test_its_attention_may_be_tempered_and_the_bases_stays(bundle, prepared):
    nets = {}
    for tempered in (0.0, 0.01):
        task = task_for(bundle, prepared, tempered=tempered)
        nets[tempered] = {name: weight.clone() for name, weight in task.named_parameters()}
    changed = {name for name, weight in nets[0.0].items() if not torch.equal(weight, nets[0.01][name])}
    assert changed and all(name.startswith("guide.net.") for name in changed)
    assert all(name.endswith(("to_q.weight", "to_k.weight")) for name in changed)
