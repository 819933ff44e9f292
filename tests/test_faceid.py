"""IP-Adapter FaceID: what it adds is what diffusers adds, it leaves no trace, and says when it cannot be had."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny_loras
import torch
from photos import ASTRONAUT, GRACE_HOPPER, NO_PEOPLE
from PIL import Image
from portraits import opencv_folder as opencv_folder
from portraits import portrait_sizes
from test_tuning import hooked, state

from instantid import acceleration, branches, bundles, compare, faceid, loading, metadata, mini
from instantid.acceleration import Plan
from instantid.adapter_file import faceid_lora, read_adapter, read_faceid_adapter, read_style_adapter
from instantid.engine import Engine
from instantid.errors import BundleError, InvalidRequest, NoFaceFound
from instantid.faces import find_face, load_finder
from instantid.images import open_image
from instantid.people import Photo
from instantid.request import Person, Request
from instantid.tuning import Tuning

CPU = torch.device("cpu")
OFF = {"identity_strength": 0, "adapter_strength": 0}


@pytest.fixture(scope="module")
def folder(opencv_folder, tmp_path_factory):
    faces = {"kind": "opencv", "path": str(opencv_folder.resolve())}
    target = tmp_path_factory.mktemp("bundles") / "faceid"
    return mini.build(target, portrait_sizes("faceid"), faces=faces, faceid_faces=faces)


@pytest.fixture(scope="module")
def bundle(folder):
    return bundles.open_bundle(folder)


@pytest.fixture(scope="module")
def engine(folder):
    return Engine.load(folder, device="cpu")


@pytest.fixture(scope="module")
def finder(opencv_folder):
    return load_finder("opencv", opencv_folder)


@pytest.fixture
def asked():
    return Request(
        people=[Person(references=[ASTRONAUT])], prompt="a man", seed=3, steps=2, faceid_strength=0.8
    )


def load(bundle):
    """With InstantID's adapter and the style's, as an engine has them."""
    pipeline = loading.load_pipeline(bundle, torch.float32)
    others = [
        read_adapter(bundle.require("identity_adapter")),
        read_style_adapter(bundle.require("style_adapter")),
    ]
    branches.attach(pipeline, others)
    return pipeline


def predict(pipeline, *embeddings) -> torch.Tensor:
    """The UNet's answer with one embedding for each adapter."""
    random = torch.Generator().manual_seed(0)
    sample, text = torch.randn(1, 4, 8, 8, generator=random), torch.randn(1, 77, 64, generator=random)
    added = {
        "text_embeds": torch.randn(1, 32, generator=random),
        "time_ids": torch.ones(1, 6),
        "image_embeds": [embedding[None, None, None] for embedding in embeddings],
    }
    with torch.inference_mode():
        return pipeline.unet(sample, 500, text, added_cond_kwargs=added).sample


def pixels(engine, request) -> np.ndarray:
    return np.asarray(engine.generate(request).images[0], dtype=np.int16)


def test_it_adds_what_diffusers_own_loader_adds(bundle):
    path = bundle.require("faceid_adapter")
    face = torch.nn.functional.normalize(torch.linspace(-1, 2, 128), dim=0)

    ours = load(bundle)
    faceid.use(ours, path)
    Tuning(ours).use(adapter=path)
    with branches.lend(ours, [[], [], [branches.Source(face, 0.7)]], (64, 64)):
        made = predict(ours, torch.zeros(128), torch.zeros(32), face)

    native = loading.load_pipeline(bundle, torch.float32)
    weights = read_faceid_adapter(path)
    native.load_ip_adapter([weights], subfolder=[None], weight_name=[None], image_encoder_folder=None)
    native.set_ip_adapter_scale(0.7)
    assert torch.allclose(made, predict(native, face), atol=1e-5)

    native.delete_adapters("faceid_0")
    assert (made - predict(native, face)).abs().max() > 1e-2, "the LoRA tells"


def test_it_comes_off_exactly_and_moves_nothing_of_the_others(bundle):
    pipeline = load(bundle)
    tuning, path = Tuning(pipeline), bundle.require("faceid_adapter")
    processors = [each for each in pipeline.unet.attn_processors.values() if hasattr(each, "scale")]
    before = [state(pipeline), [(list(each.scale), list(each.num_tokens)) for each in processors]]
    for _ in range(2):
        faceid.use(pipeline, path)
        tuning.use(adapter=path)
        faceid.use(pipeline, path)  # it is there: nothing to do
        assert {len(each.to_k_ip) for each in processors} == {len(each.scale) for each in processors} == {3}
        faceid.use(pipeline, None)
        tuning.use()
        assert before == [
            state(pipeline),
            [(list(each.scale), list(each.num_tokens)) for each in processors],
        ]


def test_a_lora_of_ones_own_goes_beside_and_stays(bundle, tmp_path):
    pipeline, path = load(bundle), bundle.require("faceid_adapter")
    drawn = tiny_loras.draw(pipeline, pattern=r"attn2\.to_(q|out)")
    own = tiny_loras.save_kohya(drawn, tmp_path / "own.safetensors")
    tuning = Tuning(pipeline)
    tuning.use([(own, 0.5)])
    nothing = torch.zeros(128), torch.zeros(32)
    alone = predict(pipeline, *nothing)
    tuning.use([(own, 0.5)], adapter=path)
    assert len(pipeline.unet.peft_config) == 2
    assert (predict(pipeline, *nothing) - alone).abs().max() > 1e-2
    tuning.use([(own, 0.5)])
    assert torch.equal(predict(pipeline, *nothing), alone)


def test_strength_0_is_exactly_off_and_nothing_stays_behind(engine, asked):
    plain = asked.replace(faceid_strength=0)
    unet = engine._models.pipeline.unet
    first = pixels(engine, plain)
    names = [name for name, _ in unet.named_modules()]
    made = pixels(engine, asked)
    assert np.abs(made - first).max() > 8
    assert np.array_equal(pixels(engine, plain), first)
    assert [name for name, _ in unet.named_modules()] == names
    assert np.array_equal(pixels(engine, asked), made)
    words = plain.replace(**OFF)
    alone = pixels(engine, words.replace(faceid_strength=0.8))
    assert np.abs(alone - pixels(engine, words)).max() > 8
    assert np.abs(alone - pixels(engine, words.replace(faceid_strength=0.2))).max() > 2
    other = words.replace(faceid_strength=0.8, people=[Person(references=[GRACE_HOPPER])])
    other = other.replace(width=alone.shape[1], height=alone.shape[0])
    assert np.abs(alone - pixels(engine, other)).max() > 2


def test_nothing_of_it_is_read_before_it_is_asked_for(folder, asked, monkeypatch):
    read = []
    monkeypatch.setattr(
        faceid, "load_finder", lambda *args, **more: read.append("faces") or load_finder(*args)
    )
    monkeypatch.setattr(faceid, "read_faceid_adapter", lambda path: read.append("adapter") or 1 / 0)
    fresh = Engine.load(folder, device="cpu")
    fresh.generate(asked.replace(faceid_strength=0))
    assert read == []
    with pytest.raises(ZeroDivisionError):
        fresh.generate(asked)
    assert read == ["adapter"]


@pytest.mark.parametrize("placement", ["model offload", "group offload"])
def test_every_placement_gives_the_same_pictures_however_it_comes_and_goes(folder, engine, asked, placement):
    plain = asked.replace(faceid_strength=0)
    placed = Engine.load(folder, device="cpu", placement=placement)
    for request in (plain, asked, plain, asked, plain):
        assert np.array_equal(pixels(placed, request), pixels(engine, request))
    if placement == "group offload":
        bare = load(placed.bundle)
        acceleration.place(Plan(CPU, torch.float32, placement), bare)
        assert hooked(placed._models.pipeline) == hooked(bare)


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_scale": 1.0},
        {"style_image": NO_PEOPLE[0], "style_mode": "whole image"},
        {"controls": {"canny": 0.5}, "pose_image": GRACE_HOPPER},
        {"free_pose": True, "images": 2},
        {"start_image": GRACE_HOPPER, "repaint": "face", "start_strength": 0.9},
        {"upscale": 1.5, "upscale_strength": 0.7},
    ],
)
def test_it_goes_with_everything_else(engine, asked, changes):
    request = asked.replace(**changes)
    assert np.abs(pixels(engine, request) - pixels(engine, request.replace(faceid_strength=0))).max() > 2


# What it reads


def test_a_face_is_read_at_length_1_and_several_photos_are_averaged(engine, finder, asked):
    both = asked.replace(people=[Person(references=[ASTRONAUT, GRACE_HOPPER])])
    engine.generate(both)
    engine.generate(asked)  # the adapter lies in the pipeline, and the models are loaded
    units = []
    for photo in (ASTRONAUT, GRACE_HOPPER):
        raw = find_face(finder, open_image(photo)).embedding
        units.append(raw / np.linalg.norm(raw))
    one, mean = (engine._models._faceid.branch(each, engine.plan, finder) for each in (asked, both))
    assert one.width == 128 and one.sources[0].strength == 0.8 and one.sources[0].mask is None
    assert np.allclose(one.sources[0].embedding, units[0], atol=1e-6)
    expected = np.mean(units, axis=0)
    assert np.allclose(mean.sources[0].embedding, expected / np.linalg.norm(expected), atol=1e-6)


def test_the_face_meant_is_told_by_its_place_not_by_its_number(engine, asked, face, monkeypatch):
    """The two models list the faces of a photo in orders of their own."""
    engine.generate(asked)
    reader, photo = engine._models._faceid, open_image(ASTRONAUT)
    rng = np.random.default_rng(0)
    left, right = (
        dataclasses.replace(face, box=face.box + shift, embedding=rng.normal(size=128))
        for shift in (0, np.array([100, 0, 100, 0]))
    )

    class Sees:
        dimension = 128

        def __init__(self, *faces):
            self.faces = faces

        def recall(self, image):
            return list(self.faces)

    second = asked.replace(people=[Person(references=[Photo(image=photo, face=2)])])
    monkeypatch.setattr(reader, "_finder", Sees(right, left))
    read = reader.branch(second, engine.plan, Sees(left, right)).sources[0].embedding
    assert np.allclose(read, right.embedding / np.linalg.norm(right.embedding), atol=1e-6)
    monkeypatch.setattr(reader, "_finder", Sees(left))
    with pytest.raises(NoFaceFound, match="FaceID's own face models do not see the face in the face photo"):
        reader.branch(second, engine.plan, Sees(left, right))


# What cannot be had


def test_one_person_as_photos_is_wanted(asked, face):
    person = asked.people[0]
    for people in ([person, person], [Person(references=[face])], [Person(references=[ASTRONAUT, face])]):
        with pytest.raises(InvalidRequest, match="faceid_strength takes one person, as photos"):
            asked.replace(people=people)
        asked.replace(people=people, faceid_strength=0)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def describe(folder, **changes):
    path = folder / "bundle.json"
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    return folder


@pytest.mark.parametrize("part", ["faceid_adapter", "faceid_faces"])
def test_a_bundle_without_the_parts_says_so_and_makes_the_others(copy, engine, asked, part):
    bare = Engine.load(describe(copy, **{part: None}), device="cpu")
    with pytest.raises(
        BundleError, match=rf"has no IP-Adapter FaceID: its bundle\.json names no {part}\. Add"
    ):
        bare.generate(asked)
    plain = asked.replace(faceid_strength=0)
    assert np.array_equal(pixels(bare, plain), pixels(engine, plain))


def test_parts_that_are_not_here_are_named(copy, asked):
    (copy / "ip-adapter-faceid.bin").unlink()
    with pytest.raises(BundleError, match=r"as its faceid_adapter, but there is nothing at"):
        Engine.load(copy, device="cpu").generate(asked)


def test_another_adapter_in_its_place_is_called_by_its_name_and_leaves_nothing(copy, asked, engine):
    wrong = Engine.load(describe(copy, faceid_adapter="ip-adapter.bin"), device="cpu")
    with pytest.raises(BundleError, match=r"is an InstantID adapter or an IP-Adapter Plus\. FaceID takes an"):
        wrong.generate(asked)
    plain = asked.replace(faceid_strength=0)
    assert np.array_equal(pixels(wrong, plain), pixels(engine, plain))


def test_face_models_that_do_not_go_with_the_adapter_are_refused(copy, asked, engine):
    path = copy / "ip-adapter-faceid.bin"
    weights = torch.load(path)
    wide = {"proj.0.weight": torch.zeros(512, 256), "proj.0.bias": torch.zeros(512)}
    wide["proj.2.weight"] = torch.zeros(4 * 64, 512)
    torch.save(weights | {"image_proj": weights["image_proj"] | wide}, path)
    other = Engine.load(copy, device="cpu")
    with pytest.raises(BundleError, match=r"FaceID face models give 128 numbers for a face, .* reads 256"):
        other.generate(asked)
    plain = asked.replace(faceid_strength=0)
    assert np.array_equal(pixels(other, plain), pixels(engine, plain))


def test_an_adapter_without_a_lora_works(copy, asked, engine):
    path = copy / "ip-adapter-faceid.bin"
    weights = torch.load(path)
    bare = {key: tensor for key, tensor in weights["ip_adapter"].items() if "_lora" not in key}
    torch.save(weights | {"ip_adapter": bare}, path)
    other = Engine.load(copy, device="cpu")
    assert faceid_lora(read_faceid_adapter(path), other._models.pipeline.unet) == {}
    assert np.abs(pixels(other, asked) - pixels(engine, asked)).max() > 2


def test_methods_side_by_side_are_four_pictures_of_the_same_inputs(engine, asked, tmp_path):
    base = asked.replace(faceid_strength=0, steps=1)
    grid = compare.Grid(base=base, x=compare.Axis(field="method", values=compare.METHODS))
    events = compare.run(compare.plan(grid), engine.stream, tmp_path)
    made = [outcome for event in events for outcome in event.outcomes]
    assert [outcome.status for outcome in made] == ["made"] * 4
    assert len({outcome.path.read_bytes() for outcome in made}) == 4
    [faceid_cell] = [outcome.path for outcome in made if "FaceID" in outcome.cell.name]
    assert metadata.read(faceid_cell).settings["faceid_strength"] == 0.8
    assert np.array_equal(np.asarray(Image.open(made[0].path)), pixels(engine, base))
