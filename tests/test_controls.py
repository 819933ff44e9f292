"""Control maps, by the real annotators with weights that were never trained."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import transformers
from controlnet_aux.open_pose import Body
from controlnet_aux.open_pose.model import bodypose_model
from PIL import Image

from instantid import bundles, mini
from instantid.bundles import open_bundle
from instantid.controls import Annotators, net_part, readable, usable
from instantid.errors import BundleError, DownloadError
from instantid.request import Control
from instantid.skeletons import draw_skeletons


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """140×100, RGB: something with edges, warmer to the right."""
    pixels = np.random.default_rng(0).integers(0, 60, (100, 140, 3), dtype=np.uint8)
    pixels[20:70, 50:110] += np.array([180, 90, 20], np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A bundle of annotators alone, in their publishers' layouts."""
    folder = tmp_path_factory.mktemp("annotators")
    parts = {"base": "b", "identitynet": "n", "identity_adapter": "a"}
    annotators = {"pose": "Annotators", "depth": "depth"}
    (folder / "bundle.json").write_text(json.dumps({"name": "maps", "annotators": annotators} | parts))
    (folder / "Annotators").mkdir()
    save_pose(folder / "Annotators" / "body_pose_model.pth")
    save_depth(folder / "depth")
    return folder


def save_pose(file: Path) -> None:
    """All of a 209 MB network's weights are views of one small pool, which is what the file then holds."""
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in bodypose_model().state_dict().items()}
    pool = torch.randn(max(shape.numel() for shape in shapes.values())) * 0.02
    weights = {name.partition(".")[2]: pool[: shape.numel()].view(shape) for name, shape in shapes.items()}
    torch.save(weights, file)


def save_depth(folder: Path) -> None:
    backbone = transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def annotators(folder) -> Annotators:
    return Annotators(bundles.open_bundle(folder))


@pytest.fixture(scope="module")
def vitpose_folder(tmp_path_factory) -> Path:
    """A ViTPose as transformers keeps it, that sees every keypoint at places that follow from its weights."""
    folder = tmp_path_factory.mktemp("vitpose")
    mini.pose_annotator(64, 17).save_pretrained(folder)
    transformers.VitPoseImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def vitpose(tiny, folder) -> Annotators:
    return Annotators(with_parts(tiny, annotators={"pose": str(folder)}))


def test_vitposes_keypoints_are_drawn_as_openposes(tiny, vitpose_folder, photo, monkeypatch):
    # COCO's order: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; left ones first.
    places = torch.tensor(
        [[70.0, 20], [80, 15], [60, 15], [0, 0], [0, 0], [100, 60], [40, 60]] + [[5.0, 5]] * 10
    )
    scores = torch.tensor([0.9, 0.9, 0.9, 0.1, 0.1, 0.8, 0.8] + [0.29] * 10)
    asked = []

    def keypoints(self, seen, boxes):
        asked.append((seen.heatmaps.shape, boxes))
        return [[{"keypoints": places, "scores": scores[:, None]}]]

    monkeypatch.setattr(transformers.VitPoseImageProcessor, "post_process_pose_estimation", keypoints)
    drawn = vitpose(tiny, vitpose_folder).draw("pose", photo, Control())
    points: list = [None] * 18
    points[0], points[1], points[2], points[5] = (70, 20), (70, 60), (40, 60), (100, 60)
    points[14], points[15] = (60, 15), (80, 15)
    assert drawn.tobytes() == draw_skeletons([points], 140, 100).tobytes()
    assert asked == [((1, 17, 16, 16), [[[0.0, 0.0, 140.0, 100.0]]])], "the whole photo is one person's"


def test_vitpose_follows_the_photo_and_is_loaded_once(tiny, vitpose_folder, photo, monkeypatch):
    monkeypatch.setattr("instantid.controls.SEEN", -1e9)
    loads, load = [], transformers.VitPoseForPoseEstimation.from_pretrained
    monkeypatch.setattr(
        transformers.VitPoseForPoseEstimation, "from_pretrained", lambda *a: loads.append(a) or load(*a)
    )
    annotators = vitpose(tiny, vitpose_folder)
    drawn = annotators.draw("pose", photo, Control())
    assert drawn.size == photo.size and drawn.mode == "RGB" and np.asarray(drawn).any()
    assert drawn.tobytes() != annotators.draw("pose", photo.rotate(180), Control()).tobytes()
    assert len(loads) == 1


@pytest.mark.parametrize(
    "harm",
    [
        lambda at: (at / "config.json").write_text("{}"),
        lambda at: (at / "model.safetensors").unlink(),
        lambda at: (at / "model.safetensors").write_bytes(b"\x01"),
        lambda at: (at / "preprocessor_config.json").unlink(),
    ],
)
def test_a_damaged_vitpose_names_the_part(tiny, vitpose_folder, tmp_path, photo, harm):
    copy = shutil.copytree(vitpose_folder, tmp_path / "copy")
    harm(copy)
    with pytest.raises(BundleError, match=r"annotators\.pose"):
        vitpose(tiny, copy).draw("pose", photo, Control())


def test_canny_is_opencvs_at_the_references_thresholds(annotators, photo):
    edges = cv2.Canny(np.asarray(photo), 100, 200)
    drawn = annotators.draw("canny", photo, Control())
    assert drawn.mode == "RGB"
    assert np.array_equal(np.asarray(drawn), np.stack([edges] * 3, axis=-1))
    assert 0 < np.mean(edges > 0) < 0.5


def test_canny_takes_the_controls_thresholds(annotators, photo):
    drawn = annotators.draw("canny", photo, Control(low=10, high=450))
    assert np.array_equal(np.asarray(drawn)[..., 0], cv2.Canny(np.asarray(photo), 10, 450))
    assert drawn.tobytes() != annotators.draw("canny", photo, Control()).tobytes()


@pytest.mark.parametrize("name", ["pose", "depth"])
def test_a_map_is_rgb_of_the_photos_size(annotators, photo, name):
    drawn = annotators.draw(name, photo, Control())
    assert (drawn.mode, drawn.size) == ("RGB", photo.size)


def test_depth_fills_the_range_in_grey_and_follows_the_photo(annotators, photo):
    drawn = np.asarray(annotators.draw("depth", photo, Control()))
    assert (drawn[..., :1] == drawn).all()
    assert drawn.min() <= 10 and drawn.max() >= 245
    assert not np.array_equal(np.asarray(annotators.draw("depth", photo.rotate(180), Control())), drawn)


def test_a_photo_without_depth_gives_a_flat_map(folder, monkeypatch, photo):
    monkeypatch.setattr(
        transformers, "pipeline", lambda *_, **__: lambda photo: {"predicted_depth": torch.full((8, 8), 3.0)}
    )
    assert (
        Annotators(bundles.open_bundle(folder)).draw("depth", photo, Control()).getextrema() == ((0, 0),) * 3
    )


@pytest.mark.parametrize(
    ("said", "near"),
    [
        ({}, 0),
        ({"depth_estimation_type": "metric"}, -1),
        ({"model_type": "glpn"}, -1),
        ({"model_type": "depth_pro"}, -1),
    ],
)
def test_near_is_bright_whether_a_network_tells_nearness_or_metres(
    folder, tmp_path, monkeypatch, photo, said, near
):
    copied = Path(shutil.copytree(folder, tmp_path / "bundle"))
    own = {} if "model_type" in said else json.loads((copied / "depth" / "config.json").read_text())
    (copied / "depth" / "config.json").write_text(json.dumps(own | said))
    ramp = {"predicted_depth": torch.tensor([[8.0, 4.0, 2.0, 1.0]]).repeat(4, 1)}
    monkeypatch.setattr(transformers, "pipeline", lambda *_, **__: lambda photo: ramp)
    drawn = np.asarray(Annotators(bundles.open_bundle(copied)).draw("depth", photo, Control()))[0, :, 0]
    assert drawn[near] > 250 and drawn[-1 - near] < 5


def test_a_body_is_drawn_as_wide_as_the_reference_draws_it(annotators, photo, monkeypatch):
    """A skeleton's line is drawn at 512 pixels and shrinks or grows with the map."""

    def one_upright_body(self, bgr):
        height, width = bgr.shape[:2]
        points = [[width / 2, height * y, 1.0, i] for i, y in enumerate((0.1, 0.9))]
        return np.array(points), np.array([[-1, 0, -1, -1, -1, -1, -1, -1, 1] + [-1] * 9 + [1.0, 2]])

    monkeypatch.setattr(Body, "__call__", one_upright_body)
    for side in (512, 1024):
        drawn = np.asarray(annotators.draw("pose", photo.resize((side, side)), Control()))
        across = np.count_nonzero(drawn[side // 2].max(axis=-1) > 60)
        assert across == pytest.approx(8 * side / 512, abs=3)


@pytest.mark.parametrize(("name", "loader"), [("pose", "torch.load"), ("depth", "transformers.pipeline")])
def test_an_annotator_is_loaded_once_and_only_when_asked_for(folder, photo, monkeypatch, name, loader):
    module, function = (
        {"torch": torch, "transformers": transformers}[loader.split(".")[0]],
        loader.split(".")[1],
    )
    monkeypatch.setattr(Body, "__call__", lambda self, bgr: (np.zeros((0, 4)), np.zeros((0, 20))))  # nobody
    loads, load = [], getattr(module, function)
    monkeypatch.setattr(module, function, lambda *a, **k: loads.append(a) or load(*a, **k))
    fresh = Annotators(bundles.open_bundle(folder))
    fresh.draw("canny", photo, Control())
    assert loads == []
    fresh.draw(name, photo, Control())
    fresh.draw(name, photo, Control())
    assert len(loads) == 1


@pytest.mark.parametrize("name", ["pose", "depth"])
def test_a_bundle_without_the_annotator_says_so_and_what_to_do(tiny, photo, name):
    with pytest.raises(BundleError, match=f"no annotators.{name}.*give a ready map, set {name} to 0"):
        Annotators(bundles.open_bundle(tiny)).draw(name, photo, Control())


def test_annotators_run_on_the_cpu_unless_told(folder, photo, monkeypatch):
    """What they are loaded onto is watched: the test machine has a CPU alone."""
    asked, real = [], transformers.pipeline
    monkeypatch.setattr(Body, "to", lambda self, device: asked.append(device) or self)

    def pipeline(*args, device, **options):
        asked.append(device)
        return real(*args, device="cpu", **options)

    monkeypatch.setattr(transformers, "pipeline", pipeline)
    for device in (None, torch.device("cuda", 1)):
        annotators = Annotators(bundles.open_bundle(folder), device)
        for name in ("pose", "depth"):
            annotators._load(name)
    assert asked == ["cpu", "cpu", torch.device("cuda", 1), torch.device("cuda", 1)]


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        (
            "pose",
            lambda at: (at / "Annotators" / "body_pose_model.pth").rename(at / "Annotators" / "other.pth"),
        ),
        (
            "pose",
            lambda at: torch.save({"conv1_1.weight": torch.zeros(3)}, at / "Annotators/body_pose_model.pth"),
        ),
        ("pose", lambda at: (at / "Annotators/body_pose_model.pth").write_bytes(b"")),
        ("pose", lambda at: (at / "Annotators/body_pose_model.pth").write_bytes(b"not weights at all" * 9)),
        ("pose", lambda at: shutil.rmtree(at / "Annotators")),
        ("depth", lambda at: (at / "depth" / "config.json").unlink()),
        ("depth", lambda at: (at / "depth" / "config.json").write_text("{}")),
        ("depth", lambda at: (at / "depth" / "model.safetensors").unlink()),
        ("depth", lambda at: (at / "depth" / "model.safetensors").write_bytes(b"\x01")),
        ("depth", lambda at: (at / "depth" / "preprocessor_config.json").unlink()),
        ("depth", lambda at: shutil.rmtree(at / "depth")),
    ],
)
def test_missing_or_damaged_weights_name_the_part(folder, tmp_path, photo, name, harm):
    copy = shutil.copytree(folder, tmp_path / "copy")
    harm(copy)
    with pytest.raises((BundleError, DownloadError), match=f"annotators.{name}"):
        Annotators(bundles.open_bundle(copy)).draw(name, photo, Control())


def with_parts(bundle_folder: Path, **parts: dict[str, str]) -> bundles.Bundle:
    return open_bundle(bundle_folder).model_copy(update={"controlnets": {}, "annotators": {}} | parts)


def test_a_control_is_usable_where_its_net_is_here_with_or_without_an_annotator(tiny):
    here = str(tiny / "controlnets" / "canny")
    named = with_parts(tiny, controlnets={"canny": "owner/canny", "depth": here})
    assert usable(named) == ("depth",)  # canny is not fetched
    assert usable(with_parts(tiny)) == ()


def test_one_union_model_serves_every_control_that_has_no_net_of_its_own(tiny):
    here = str(tiny / "controlnets" / "canny")
    union = with_parts(tiny, controlnets={"union": here})
    assert usable(union) == ("pose", "canny", "depth")
    assert {net_part(union, name) for name in usable(union)} == {"controlnets.union"}
    mixed = with_parts(tiny, controlnets={"union": here, "pose": "owner/pose", "depth": here})
    assert net_part(mixed, "pose") == "controlnets.pose"
    assert net_part(mixed, "canny") == "controlnets.union"
    assert usable(mixed) == ("canny", "depth")  # pose has its own, which is not fetched
    assert net_part(with_parts(tiny), "pose") is None


def test_maps_are_readable_where_their_annotator_is_here_and_canny_always(tiny):
    assert readable(with_parts(tiny)) == ("canny",)
    here = str(tiny / "base" / "vae")
    assert readable(with_parts(tiny, annotators={"depth": here})) == ("canny", "depth")
    assert readable(with_parts(tiny, annotators={"depth": here, "pose": "owner/x"})) == ("canny", "depth")


def test_a_pose_is_not_readable_where_its_library_is_not_installed(tiny, folder, vitpose_folder, monkeypatch):
    here, openpose = str(tiny / "controlnets" / "canny"), str(folder / "Annotators")
    bundle = with_parts(tiny, controlnets={"pose": here}, annotators={"pose": openpose})
    assert readable(bundle) == ("pose", "canny")
    monkeypatch.setattr("instantid.controls.find_spec", lambda name: None)
    assert readable(bundle) == ("canny",)
    assert usable(bundle) == ("pose",)  # by a ready map
    vitpose = with_parts(tiny, controlnets={"pose": here}, annotators={"pose": str(vitpose_folder)})
    assert readable(vitpose) == ("pose", "canny"), "transformers reads it"
