"""The likeness stage: face models say the same as layers, gradients go through them, and faces become more like."""

import json
import random
import sys

import numpy as np
import pytest
import torch
from photos import ASTRONAUT
from PIL import Image
from safetensors.torch import load_file
from small_family import make_bundle, make_prepared
from test_faces import antelope, finder, insight, opencv_folder, scene  # noqa: F401  (fixtures)

from instantid import Face, bundles
from instantid.adapter_file import read_adapter
from instantid.errors import BundleError, InvalidRequest
from instantid.face_measures import align
from instantid.faces import find_face
from instantid.images import open_image
from instantid.training.adapters import is_adapters
from instantid.training.clip import ClipTask, fresh_image_encoder
from instantid.training.clip import Options as clip_options
from instantid.training.denoising import Denoiser
from instantid.training.face_places import FacePlaces
from instantid.training.likeness import LikenessTask, Options
from instantid.training.loop import train
from instantid.training.memory import spare
from instantid.training.prepared import Prepared
from instantid.training.recogniser import Recogniser, aligned
from instantid.training.settings import Settings
from instantid.training.wording import Wording

QUICK = Settings(
    steps=40, batch=4, learning_rate=2e-3, warmup=2, average=0, sheet_every=0, device="cpu", log_every=10
)
UNET = "base/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), width=128)


@pytest.fixture
def bundle(prepared, opencv_folder, tmp_path):  # noqa: F811
    return with_faces(make_bundle(tmp_path / "bundle", prepared), opencv_folder)


def with_faces(bundle, folder, kind="opencv"):
    file = bundle / "bundle.json"
    told = json.loads(file.read_text()) | {"faces": {"kind": kind, "path": str(folder)}}
    file.write_text(json.dumps(told))
    return bundle


def make_task(bundle, prepared, **options):
    return LikenessTask(bundle, prepared, np.arange(9), np.arange(9, 12), Options(steps=2, **options))


def as_tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1


def cosine(a, b) -> float:
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_face_is_aligned_as_where_photos_are_read(finder):  # noqa: F811
    photo = open_image(ASTRONAUT).resize((256, 256))
    points = find_face(finder, photo).keypoints
    [got] = aligned(as_tensor(photo), points[None])
    want = align(photo, points)
    assert np.abs((got.permute(1, 2, 0).numpy() + 1) * 127.5 - want).mean() < 0.5


@pytest.mark.parametrize("models", ["finder", "insight"])
def test_as_layers_a_face_model_says_the_same(request, models):
    """SFace normalises for itself; insightface's models are given -1 … 1."""
    models = request.getfixturevalue(models)
    photo = (
        scene((20, 20, 60), size=160) if models.dimension == 512 else open_image(ASTRONAUT).resize((256, 256))
    )
    face = find_face(models, photo)
    [said] = Recogniser(models.recognition_file)(as_tensor(photo), face.keypoints[None]).numpy()
    assert cosine(said, face.embedding) > 0.99
    assert np.linalg.norm(said) == pytest.approx(np.linalg.norm(face.embedding), rel=0.1)


def test_gradients_tell_how_to_become_more_like_somebody(finder):  # noqa: F811
    photo = open_image(ASTRONAUT).resize((256, 256))
    face, recogniser = find_face(finder, photo), Recogniser(finder.recognition_file).train()
    wanted = torch.from_numpy(face.embedding)
    picture = torch.zeros_like(as_tensor(photo)).requires_grad_()
    likes = []
    for _ in range(20):
        like = torch.cosine_similarity(recogniser(picture, face.keypoints[None])[0], wanted, dim=0)
        [slope] = torch.autograd.grad(like, picture)
        picture = (picture + 0.5 * slope / slope.abs().max()).detach().requires_grad_()
        likes.append(like.item())
    assert likes[0] < 0.3 and likes[-1] > 0.6
    assert not any(parameter.requires_grad for parameter in recogniser.parameters())


def test_pictures_become_recognised(antelope, insight, tmp_path):  # noqa: F811
    """Discs, told apart by their colours: insightface's stand-in sees little else."""
    recogniser, discs = Recogniser(insight.recognition_file), make_prepared(tmp_path / "discs", width=512)
    pictures = torch.from_numpy(discs.images(np.arange(12))).permute(0, 3, 1, 2) / 127.5 - 1
    seen = np.zeros((12, 512), np.float32)
    seen[discs.found] = recogniser(pictures[discs.found], discs.keypoints[discs.found]).numpy()
    for piece, embeddings in zip(discs.pieces, np.split(seen, 4), strict=True):
        np.save(piece / "embeddings.npy", embeddings)
    discs = Prepared(discs.folder)
    bundle = with_faces(make_bundle(tmp_path / "bundle", discs), antelope, "insightface")
    settings = QUICK.model_copy(update={"steps": 70})
    task = make_task(bundle, discs, with_base=True, text_encoder=False, painted=1.0)
    told = [progress.figures for progress in train(task, settings, tmp_path / "run", bundle)]
    assert told[-1]["like"] > told[0]["like"] + 0.1
    assert told[-1]["above"] > told[0]["above"] + 0.1


def test_without_the_base_adapter_and_identitynet_learn(bundle, prepared, tmp_path):
    unet, adapter = (bundle / UNET).read_bytes(), read_adapter(bundle / "ip-adapter.bin")
    net = load_file(bundle / "ControlNetModel" / "diffusion_pytorch_model.safetensors")
    settings = QUICK.model_copy(update={"steps": 4})
    list(train(make_task(bundle, prepared), settings, tmp_path / "run", bundle))
    assert (bundle / UNET).read_bytes() == unet
    learned = read_adapter(bundle / "ip-adapter.bin")
    assert not torch.equal(
        learned["ip_adapter"]["1.to_k_ip.weight"], adapter["ip_adapter"]["1.to_k_ip.weight"]
    )
    after = load_file(bundle / "ControlNetModel" / "diffusion_pytorch_model.safetensors")
    assert any(not torch.equal(after[name], net[name]) for name in net)


def test_gradients_reach_the_unet_through_what_is_painted(bundle, prepared):
    task = make_task(bundle, prepared, with_base=True, text_encoder=False)
    made = task._lead(np.arange(2), torch.from_numpy(prepared.embeddings[:2]), ["person", ""])
    assert made.shape == (2, 3, 64, 64)
    made.square().mean().backward()
    learned = [name for name, weight in task.denoiser.unet.named_parameters() if weight.grad is not None]
    assert len(learned) > 50


def painted_with(task, monkeypatch, option, asked, learner):
    """What pictures teach some weights, and their figures, with an option at 0 and at 2."""
    told = []
    for weight in (0.0, 2.0):
        monkeypatch.setattr(task, "_options", task._options.model_copy(update={option: weight}))
        task.zero_grad()
        torch.manual_seed(0)
        random.seed(0)
        lost, figures = task._painted(asked, (1.0, 1.0))
        lost.backward()
        told.append((learner.grad.clone(), figures))
    return told


def test_faces_that_can_be_told_from_true_ones_teach_the_unet(bundle, prepared, monkeypatch):
    task = make_task(bundle, prepared, with_base=True, text_encoder=False, painted=1.0, lifelike=2.0)
    judge, asked = task.face_judge, [0, 1, 2, 3]
    optimizer, right = torch.optim.Adam(judge.heads.parameters(), lr=2e-3), []
    for _ in range(20):
        lost, figures = task._painted(asked, (1.0, 1.0))
        optimizer.zero_grad()
        lost.backward()
        optimizer.step()
        right.append(float(figures["faces_right"]))
    assert np.mean(right[-5:]) > 0.8
    assert not any(weight.grad is not None for weight in judge.mixtures.parameters())
    learner = task.denoiser.unet.conv_in.weight
    (without, _), (with_it, _) = painted_with(task, monkeypatch, "lifelike", asked, learner)
    assert (with_it - without).norm() > 0.5 * without.norm()
    assert "faces_right" not in task._painted(asked, (1.0, 0.0))[1], "nobody said where faces are"


def test_faces_come_to_be_seen_where_they_were_asked_for(bundle, prepared, monkeypatch):
    task = make_task(bundle, prepared, painted=1.0, in_place=2.0)
    asked = []

    def beside(_self, made, places):
        asked.append(places)
        return made.mean(), torch.tensor(0.5)

    monkeypatch.setattr(FacePlaces, "forward", beside)
    learner = task.denoiser.identitynet.conv_in.weight
    (without, _), (with_it, figures) = painted_with(task, monkeypatch, "in_place", [0, 1, 2], learner)
    assert figures["off"] == 0.5 and not torch.equal(without, with_it)
    assert (asked[0] == prepared.keypoints[task._chosen[:3]]).all()
    assert "off" not in task._painted([0, 1, 2], (1.0, 0.0))[1], "nobody said where faces are"


def test_attention_may_be_tempered_before_it_learns(bundle, prepared):
    sure = {}
    for tempered in (0.0, 0.05):
        task = make_task(bundle, prepared, tempered=tempered)
        sure[tempered] = {
            name: weights.clone()
            for name, weights in task.denoiser.named_parameters()
            if weights.requires_grad
        }
    changed = {name for name, weights in sure[0.0].items() if (weights != sure[0.05][name]).any()}
    keys = (".to_q.weight", ".to_k.weight", ".to_k_ip.0.weight")
    assert any(name.startswith("identitynet.") for name in changed)
    assert all(name.endswith(keys) for name in changed)
    assert all(
        is_adapters(name.removeprefix("unet.")) for name in changed if not name.startswith("identitynet.")
    ), "the base does not learn here, and stays"


def test_without_identitynet_faces_are_looked_for_in_what_is_painted(bundle, prepared, monkeypatch):
    """A detector says where; where there is no face yet, one is asked for where most are."""
    task = make_task(bundle, prepared, painted=1.0)
    monkeypatch.setattr(task, "_strengths", lambda: (1.0, 0.0))
    painted, asked = [], []

    def lead(*arguments, net):
        painted.append(net)
        return torch.zeros(3, 3, 64, 64, requires_grad=True)

    def seen(recogniser, made, places):
        asked.append(places)
        return made.sum() + torch.ones(3, 128)

    monkeypatch.setattr(task, "_lead", lead)
    monkeypatch.setattr(Recogniser, "forward", seen)
    shown = iter([[], [Face(prepared.embeddings[0], prepared.keypoints[0], prepared.boxes[0])], []])
    monkeypatch.setattr(task.recognition.finder, "find", lambda picture: next(shown))
    assert set(task([3, 4, 5])) == {"loss", "alone"}
    assert painted == [False]
    usual = prepared.keypoints[task._chosen].mean(axis=0)
    assert np.array_equal(asked[0], [usual, prepared.keypoints[0], usual])


def test_strangers_are_as_long_as_faces_and_farther_from_the_mean(bundle, prepared):
    faces = torch.from_numpy(prepared.embeddings[:9])
    known, task = make_task(bundle, prepared), make_task(bundle, prepared, strangers=1.0)
    assert known._strange(faces).equal(faces)
    torch.manual_seed(0)
    strange = torch.cat([task._strange(faces) for _ in range(20)])
    assert torch.allclose(strange.norm(dim=1), faces.norm(dim=1).repeat(20))
    mean = task.recognition.known.mean(dim=0)
    near, far = (torch.cosine_similarity(each, mean[None]).mean() for each in (faces, strange))
    assert far < near - 0.05
    assert 0.2 < torch.cosine_similarity(strange, faces.repeat(20, 1)).mean() < 0.95


def test_captions_are_found_in_what_they_are_of(bundle, prepared, tmp_path):
    """By an image encoder that learned so, of real pictures; and what is painted learns from it."""
    opened = bundles.open_bundle(bundle)
    clip = ClipTask(
        bundle, prepared, np.arange(12), np.arange(12), clip_options(locked=True, patches=1, light=0)
    )
    list(train(clip, QUICK.model_copy(update={"steps": 80, "batch": 12}), tmp_path / "clip", bundle))
    captions = [record["captions"]["full"] for record in prepared.records]
    wording = Wording(opened, Denoiser(bundle), captions)
    pictures = torch.from_numpy(prepared.images(np.arange(12))).permute(0, 3, 1, 2) / 127.5 - 1
    missed, found = wording(pictures, captions)
    wrong, _ = wording(pictures, captions[3:] + captions[:3])
    assert missed < wrong - 0.5 and found > 0.5
    figures = make_task(bundle, prepared, with_base=True, wording=2.0, drop_text=0.0)([0, 1, 2])
    alone = make_task(bundle, prepared, with_base=True, drop_text=0.0)([0, 1, 2])
    assert "read" in figures and "read" not in alone and torch.isfinite(figures["loss"])


def test_checkpointing_changes_nothing_that_is_learned(bundle, prepared):
    """Attention is worked out anew on the way back, when the adapter's strength may be another one."""
    slopes = []
    for spared in (False, True):
        task = make_task(bundle, prepared, with_base=True, text_encoder=False, plain=0.5)
        if spared:
            spare(task, Settings(checkpointing=True, device="cpu"))
        task.train()
        for seed in range(6):
            torch.manual_seed(seed)
            random.seed(seed)
            task([0, 1, 2, 3])["loss"].backward()
        slopes.append(
            {name: weight.grad for name, weight in task.named_parameters() if weight.grad is not None}
        )
    assert set(slopes[0]) == set(slopes[1]) and len(slopes[0]) > 100
    for name, slope in slopes[0].items():
        assert torch.allclose(slope, slopes[1][name], rtol=1e-3, atol=1e-5), name


def test_an_image_encoder_of_another_space_is_refused(bundle, prepared):
    fresh_image_encoder(48).save_pretrained(bundle / "image_encoder")
    with pytest.raises(BundleError, match="gives 48 numbers"):
        make_task(bundle, prepared, wording=1.0)


def test_other_face_models_than_the_data_s_are_refused(tmp_path, opencv_folder):  # noqa: F811
    others = make_prepared(tmp_path / "others", width=8)
    bundle = with_faces(make_bundle(tmp_path / "bundle", others), opencv_folder)
    with pytest.raises(BundleError, match=r"say 128 numbers of a face.*have 8"):
        make_task(bundle, others)


def test_what_is_missing_is_named(bundle, prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(InvalidRequest, match=r"pip install --no-deps onnx2torch==1\.5"):
        make_task(bundle, prepared)


def test_a_damaged_face_model_is_named(tmp_path):
    (tmp_path / "glintr100.onnx").write_bytes(b"half a file")
    with pytest.raises(BundleError, match="glintr100"):
        Recogniser(tmp_path / "glintr100.onnx")
