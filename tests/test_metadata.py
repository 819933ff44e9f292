import errno
import json
import zlib
from importlib.metadata import version
from typing import get_args

import numpy as np
import pytest
from photos import ASTRONAUT, GRACE_HOPPER
from PIL import Image, PngImagePlugin
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from portraits import portrait_engine as portrait_engine

from instantid import dotted, metadata, repeating
from instantid.engine import Engine
from instantid.errors import InvalidMetadata, InvalidRequest
from instantid.request import (
    Control,
    Face,
    Lora,
    Person,
    Photo,
    Place,
    Portrait,
    RecipeName,
    Request,
    Result,
    SchedulerName,
)

BUNDLE = {"name": "tiny", "untrained": True, "device": "cpu", "dtype": "float32"}
PROMPT = 'A “quoted” "word", back\\slash, Zürich 東京 🙂\nnext line\ttab \u0000 end'


def noise(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


FILES = ("a", "b", "c", "region", "pose", "style", "layout", "start", "mask", "skeleton")


@pytest.fixture
def files(tmp_path):
    """Photos as files, no two alike: a and b of one face, c of another."""
    paths = {name: tmp_path / f"{name}.png" for name in FILES}
    for seed, path in enumerate(paths.values()):
        noise(seed).save(path)
    return paths


def result_of(request: Request, images: int = 1, **bundle) -> Result:
    pictures = [noise(100 + i, (64, 64)) for i in range(images)]
    return Result(images=pictures, seed=request.seed, request=request, timings={}, bundle=BUNDLE | bundle)


def saved(request: Request, path, **bundle):
    metadata.save(result_of(request, **bundle), [path])
    return path


def full_request(files, face, **changes) -> Request:
    """Every field away from its default."""
    first = Person(
        references=[files["a"], Photo(image=files["b"], face=2)],
        identity_strength=0.3,
        adapter_strength=1.1,
        region=files["region"],
        view="profile left",
        place=Place(x=0.25, y=0.5, size=0.125),
        keypoints=[(0.1, 0.2), (0.3, 0.2), (0.2, 0.3), (0.125, 0.4), (1 / 3, 0.4)],
    )
    request = Request(
        people=[first, Person(references=[Portrait(face, 64, 48), files["c"]])],
        prompt=PROMPT,
        negative_prompt="blurry [low]",
        style="Watercolor",
        seed=2_147_483_647,
        steps=7,
        guidance_scale=0.0,
        scheduler="Heun",
        recipe="Lightning, 4 steps",
        identity_strength=1.5,
        adapter_strength=0.0,
        face_region=False,
        pose_image=Photo(image=files["pose"], face=3),
        controls={
            "canny": Control(strength=0.7, low=7, high=9),
            "pose": Control(map=files["skeleton"], end=0.5),
        },
        style_image=files["style"],
        style_strength=0.25,
        style_mode="layout",
        layout_image=files["layout"],
        style_content="a “cat”",
        style_content_strength=0.75,
        start_image=files["start"],
        start_strength=0.1,
        repaint="mask",
        repaint_mask=files["mask"],
        upscale=1.5,
        upscale_strength=0.2,
        upscale_by="latents",
        face_detail=True,
        face_detail_strength=0.3,
        loras=[Lora(source="film", strength=-0.5), "who/what/lora.safetensors@main"],
        textual_inversions=["bad-hands"],
        base="realvis",
        vae="who/vae",
        cfg_rescale=0.7,
        negative_noise=0.35,
        perturbed_negative=0.125,
        off_size=True,
        width=72,
        height=128,
    )
    return request.replace(**changes)


def pictures(request: Request) -> dict:
    return dotted.take_apart(request)[1]


def restored(path, request: Request, **changes):
    return repeating.restore(metadata.read(path), pictures(request), **changes)


def test_every_field_comes_back(files, face, tmp_path):
    request = full_request(files, face)
    assert restored(saved(request, tmp_path / "out.png"), request) == (request, [])


def test_the_test_of_every_field_leaves_none_at_its_default(files, face):
    request = full_request(files, face)
    records = [
        request,
        request.people[0],
        request.people[0].place,
        *request.controls.values(),
        *request.loras,
    ]
    changed = {
        (type(record), name)
        for record in records
        for name, field in type(record).model_fields.items()
        if getattr(record, name) != field.default
    }
    left = {
        (model, name) for model in {type(record) for record in records} for name in model.model_fields
    } - changed
    # two fields are for one person alone, a run of one picture is what a file tells of
    alone = {(Request, "free_pose"), (Request, "faceid_strength")}
    assert left == {*alone, (Request, "images"), (Control, "start")}


@pytest.mark.parametrize(
    "changes",
    [{"free_pose": True}, {"faceid_strength": 0.6}, {"controls": {"depth": Control(start=0.5)}}],
    ids=str,
)
def test_the_rest_comes_back_too(files, tmp_path, changes):
    request = Request(people=[Person(references=[files["a"]])], **changes)
    assert restored(saved(request, tmp_path / "out.png"), request) == (request, [])


@pytest.mark.parametrize("recipe", get_args(RecipeName))
def test_every_recipe_comes_back(files, tmp_path, recipe):
    request = Request(people=[Person(references=[files["a"]])], recipe=recipe)
    assert restored(saved(request, tmp_path / "out.png"), request) == (request, [])


@pytest.mark.parametrize("scheduler", get_args(SchedulerName))
def test_every_scheduler_comes_back(files, tmp_path, scheduler):
    request = Request(people=[Person(references=[files["a"]])], scheduler=scheduler)
    assert restored(saved(request, tmp_path / "out.png"), request) == (request, [])


def test_each_picture_of_a_run_carries_its_own_seed(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])], seed=5, images=3)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    metadata.save(result_of(request, images=3), paths)
    for i, path in enumerate(paths):
        assert restored(path, request)[0] == request.replace(seed=5 + i, images=1)


def test_changes_win_over_the_record_and_over_the_person_s_own_strength(files, face, tmp_path):
    request = full_request(files, face)
    changed, differences = restored(
        saved(request, tmp_path / "out.png"), request, prompt="a king", identity_strength=0.5
    )
    assert (changed.prompt, changed.identity_strength, differences) == ("a king", 0.5, [])
    assert changed.people[0].identity_strength is None
    assert changed.people[0].adapter_strength == 1.1


def test_changes_by_dotted_name_reach_inside(files, face, tmp_path):
    request = full_request(files, face)
    values = {"people.1.view": "up", "controls.pose.strength": 0.9, "controls.depth.strength": 0.1}
    changed, differences = repeating.restore(
        metadata.read(saved(request, tmp_path / "out.png")), pictures(request) | values, identity_strength=0.5
    )
    assert differences == []
    assert (changed.people[1].view, changed.people[0].view) == ("up", "profile left")
    assert changed.controls["pose"] == request.controls["pose"].replace(strength=0.9)
    assert changed.controls["canny"] == request.controls["canny"]
    assert changed.controls["depth"] == Control(strength=0.1)


def test_the_pixels_are_saved_as_they_are(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])])
    result = result_of(request)
    metadata.save(result, [tmp_path / "out.png"])
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.tobytes() == result.images[0].tobytes()


def test_any_picture_of_a_run_is_repeated_to_the_pixel_from_its_file(portrait_engine, tmp_path):
    request = Request(
        people=[Person(references=[ASTRONAUT, GRACE_HOPPER])],
        prompt=PROMPT.replace("\u0000", ""),
        negative_prompt="blurry",
        style="Film Noir",
        pose_image=GRACE_HOPPER,
        controls={"canny": 0.4},
        scheduler="DPM++ 2M SDE Karras",
        seed=11,
        images=3,
    )
    result = portrait_engine.generate(request)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    metadata.save(result, paths)
    photos = tmp_path / "elsewhere.png"
    Image.open(GRACE_HOPPER).save(photos)  # another file of the same pixels
    for i in (0, 2):
        again, differences = repeating.restore(
            metadata.read(paths[i]),
            references=[Photo(image=ASTRONAUT), Photo(image=photos)],
            pose_image=Photo(image=photos),
        )
        assert differences == []
        assert portrait_engine.generate(again).images[0].tobytes() == result.images[i].tobytes()
    assert result.images[0].tobytes() != result.images[2].tobytes()


def test_ready_faces_are_repeated_too(tiny, face, tmp_path):
    engine = Engine.load(tiny, device="cpu")
    result = engine.generate(Request(people=[Person(references=[face])], seed=3))
    path = tmp_path / "out.png"
    metadata.save(result, [path])
    again, differences = repeating.restore(metadata.read(path), references=[face])
    assert differences == []
    assert engine.generate(again).images[0].tobytes() == result.images[0].tobytes()
    other = Face(face.embedding + 1e-3, face.keypoints, face.box)
    assert repeating.restore(metadata.read(path), references=[other])[1] == [
        "The face photo is not the one that the picture was made from."
    ]


def test_another_photo_is_told(files, tmp_path):
    request = Request(people=[Person(references=[files["a"], files["b"]])], pose_image=files["pose"])
    path = saved(request, tmp_path / "out.png")
    swapped = [Photo(image=files["b"]), Photo(image=files["a"])]
    pose = Photo(image=files["style"])
    assert repeating.restore(metadata.read(path), references=swapped, pose_image=pose)[1] == [
        "The face photo 1 is not the one that the picture was made from.",
        "The face photo 2 is not the one that the picture was made from.",
        "The pose photo is not the one that the picture was made from.",
    ]


def test_another_face_of_the_same_photo_is_told_apart_from_another_photo(files, tmp_path):
    request = Request(people=[Person(references=[Photo(image=files["a"], face=2)])])
    path = saved(request, tmp_path / "out.png")
    assert repeating.restore(metadata.read(path), references=[Photo(image=files["a"])])[1] == [
        "The face photo is the same, but the picture was made from its face 2."
    ]


def test_a_photo_too_many_is_told_and_one_too_few_refused(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])])
    alone, posed = saved(request, tmp_path / "1.png"), tmp_path / "2.png"
    saved(request.replace(pose_image=files["pose"]), posed)
    photo = Photo(image=files["a"])
    restored, told = repeating.restore(
        metadata.read(alone), references=[photo], pose_image=Photo(image=files["pose"])
    )
    assert told == ["The picture was made without a pose photo."]
    assert restored.pose_image == Photo(image=files["pose"])
    with pytest.raises(InvalidRequest, match=r"more than was given: pose photo\. Give it as well"):
        repeating.restore(metadata.read(posed), references=[photo])
    with pytest.raises(InvalidRequest, match="made from 1 face photo; more were given"):
        repeating.restore(metadata.read(alone), references=[photo, photo])


def test_what_is_missing_is_named_all_at_once(files, face, tmp_path):
    request = full_request(files, face)
    record = metadata.read(saved(request, tmp_path / "out.png"))
    with pytest.raises(InvalidRequest) as told:
        repeating.restore(record, references=[files["a"]])
    for name in (
        *("face photo 2 of person 1", "face photo 1 of person 2", "face photo 2 of person 2", "pose photo"),
        *(
            "region of person 1",
            "style picture",
            "layout picture",
            "start picture",
            "repaint mask",
            "ready pose map",
        ),
    ):
        assert name in str(told.value)
    assert "face photo 1 of person 1" not in str(told.value)


def test_a_control_that_is_left_out_needs_no_map(files, face, tmp_path):
    request = full_request(files, face)
    given = pictures(request)
    del given["controls.pose.map"]
    record = metadata.read(saved(request, tmp_path / "out.png"))
    changed, told = repeating.restore(record, given, controls={})
    assert (changed.controls, told) == ({}, ["The picture was made with a ready pose map."])


def test_somebody_too_many_is_refused(files, tmp_path):
    alone = Request(people=[Person(references=[files["a"]])])
    record = metadata.read(saved(alone, tmp_path / "out.png"))
    with pytest.raises(InvalidRequest, match="shows 1 person: there is no person 2"):
        repeating.restore(record, {"people.0.references.0": files["a"], "people.1.references.0": files["b"]})


def test_people_that_changed_places_are_told(files, tmp_path):
    request = Request(people=[Person(references=[files[name]]) for name in "ab"])
    record = metadata.read(saved(request, tmp_path / "out.png"))
    swapped = {"people.0.references.0": files["b"], "people.1.references.0": files["a"]}
    assert repeating.restore(record, swapped)[1] == [
        "The face photo of person 1 is not the one that the picture was made from.",
        "The face photo of person 2 is not the one that the picture was made from.",
    ]


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP"])
def test_a_photo_saved_anew_without_loss_is_the_same_photo(files, tmp_path, kind):
    request = Request(people=[Person(references=[files["a"]])])
    path, copy = saved(request, tmp_path / "out.png"), tmp_path / "copy"
    Image.open(files["a"]).save(copy, format=kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert repeating.restore(metadata.read(path), references=[Photo(image=copy)])[1] == []


def test_one_changed_value_of_one_pixel_makes_it_another_photo(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])])
    path = saved(request, tmp_path / "out.png")
    picture = Image.open(files["a"])
    red, green, blue = picture.getpixel((47, 39))
    picture.putpixel((47, 39), (red, green, blue ^ 1))
    assert len(repeating.restore(metadata.read(path), references=[Photo(image=picture)])[1]) == 1


def test_the_file_holds_neither_photos_nor_embeddings_nor_where_they_lay(face, files, tmp_path):
    # flat: compression cannot hide a photo of one colour that the picture does not have
    photo = Image.new("RGB", (64, 64), (1, 2, 3))
    photo.save(files["a"], exif=Image.Exif(), pnginfo=None)
    path = tmp_path / "out.png"
    for reference in (face, Portrait(face, 64, 48), files["a"]):
        saved(Request(people=[Person(references=[reference])], pose_image=files["a"]), path)
        data = path.read_bytes()
        text = Image.open(path).info[metadata.CHUNK]
        assert str(files["a"].parent) not in data.decode("latin-1") and "a.png" not in text
        assert bytes((1, 2, 3)) * 4 not in data and files["a"].read_bytes()[-60:] not in data
        for array in (face.embedding, face.keypoints):
            for number in array.ravel()[:20]:
                assert number.tobytes() not in data or number == round(float(number))
                assert f"{float(number):.3f}" not in text
        # nothing but short hashes and numbers: no room for a picture or 512 numbers
        assert json.loads(text)["pictures"].keys() == {"people.0.references.0", "pose_image"}
        for print_ in json.loads(text)["pictures"].values():
            assert len(json.dumps(print_)) < 120


# Weights


@pytest.fixture
def lora(tmp_path):
    (tmp_path / "loras").mkdir()
    file = tmp_path / "loras" / "film.safetensors"
    file.write_bytes(bytes(range(256)) * 20_000)
    return file


def test_of_weights_the_name_is_kept_and_the_folder_is_not(files, lora, tmp_path):
    request = Request(
        people=[Person(references=[files["a"]])],
        loras=[Lora(source=str(lora), strength=0.5), "grain", "who/what/x.safetensors"],
        textual_inversions=["~/bad/hands.pt"],
        base=str(lora.parent) + "/.",
        vae="C:\\Users\\me\\sharp.safetensors",
    )
    path = saved(request, tmp_path / "out.png")
    assert str(tmp_path) not in Image.open(path).info[metadata.CHUNK]
    settings = metadata.read(path).settings
    assert [each["source"] for each in settings["loras"]] == [
        *("film.safetensors", "grain", "who/what/x.safetensors"),
    ]
    assert (settings["base"], settings["vae"]) == ("loras", "sharp.safetensors")
    assert settings["textual_inversions"] == ["hands.pt"]


@pytest.mark.parametrize("at", [0, 2_500_000, -1])
def test_another_weights_file_of_the_same_name_is_told(files, lora, tmp_path, at):
    request = Request(people=[Person(references=[files["a"]])], loras=[str(lora)])
    record = metadata.read(saved(request, tmp_path / "out.png"))
    again, told = repeating.restore(record, references=[files["a"]], loras=[str(lora)])
    assert (again, told) == (request, [])
    changed = bytearray(lora.read_bytes())
    changed[at] ^= 1
    if (
        at == 2_500_000
    ):  # a change in the middle alone is not seen; weights that differ there differ elsewhere
        changed += b"x"
    lora.write_bytes(changed)
    assert repeating.restore(record, references=[files["a"]], loras=[str(lora)])[1] == [
        "The LoRA 1 is another file than the one that the picture was made with."
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"base": "/etc/passwd"},
        {"vae": "../../vae"},
        {"loras": [{"source": "~/x", "strength": 1.0}]},
        {"loras": [{"source": "C:\\x", "strength": 1.0}]},
        {"textual_inversions": ["a/../../b"]},
    ],
    ids=str,
)
def test_a_stranger_s_file_names_no_weights_by_their_path(files, tmp_path, changes):
    edited = description(files)
    edited["settings"] |= changes
    with_text(tmp_path / "x.png", json.dumps(edited))
    with pytest.raises(InvalidMetadata, match="damaged or edited"):
        metadata.read(tmp_path / "x.png")


# Files of the first version

VERSION_1 = {
    "schema": 1,
    "settings": {
        **{"prompt": "a “king”", "negative_prompt": "", "style": "Watercolor", "seed": 7, "steps": 2},
        **{"guidance_scale": 3.0, "scheduler": "UniPC", "identity_strength": 0.8, "adapter_strength": 0.8},
        **{"face_region": True, "controls": {"canny": 0.4}, "style_strength": 1.0, "width": 72, "height": 88},
        "images": 1,
    },
    "people": [
        {
            "references": [
                {
                    "photo": "sha256:69375a50f0b031c88321897a762d4747695e9122db6e6abd4c94a6f2aa6414d8",
                    "number": 1,
                },
                {
                    "photo": "sha256:fdb21366c5518348b2aab0eadb5f9d2e3e1aab3eecaf01aad1131589d15c2920",
                    "number": 1,
                },
            ],
            "identity_strength": None,
            "adapter_strength": 0.6,
        }
    ],
    "pose_image": {
        "photo": "sha256:fdb21366c5518348b2aab0eadb5f9d2e3e1aab3eecaf01aad1131589d15c2920",
        "number": 1,
    },
    "style_image": None,
    "bundle": {"name": "portraits", "untrained": True, "device": "cpu", "dtype": "float32"},
    "versions": {"torch": "2.15.0", "diffusers": "0.42.1", "transformers": "5.23.0"},
}  # written by commit b21561d


def test_a_file_of_the_first_version_is_read(tmp_path):
    with_text(tmp_path / "old.png", json.dumps(VERSION_1))
    photos = [Photo(image=ASTRONAUT), Photo(image=GRACE_HOPPER)]
    record = metadata.read(tmp_path / "old.png")
    request, told = repeating.restore(record, references=photos, pose_image=photos[1])
    assert told == []
    assert request == Request(
        people=[Person(references=photos, adapter_strength=0.6)],
        pose_image=photos[1],
        prompt="a “king”",
        style="Watercolor",
        seed=7,
        steps=2,
        guidance_scale=3.0,
        scheduler="UniPC",
        identity_strength=0.8,
        adapter_strength=0.8,
        controls={"canny": 0.4},
        width=72,
        height=88,
    )
    assert repeating.made_otherwise(record, record.bundle | {"placement": "resident"}) == [
        f"The picture was made with {name} {was} (here: {version(name)})."
        for name, was in record.versions.items()
        if was != version(name)
    ]
    with pytest.raises(InvalidRequest, match="more than was given: pose photo"):
        repeating.restore(record, references=photos)


@pytest.mark.parametrize(
    "changes",
    [{"people": []}, {"people": [{}]}, {"settings": []}, {"pose_image": "pose.png"}, {"extra": 1}],
    ids=str,
)
def test_a_damaged_file_of_the_first_version_is_said_to_be_damaged(tmp_path, changes):
    with_text(tmp_path / "old.png", json.dumps(VERSION_1 | changes))
    with pytest.raises(InvalidMetadata, match="damaged or edited"):
        metadata.read(tmp_path / "old.png")


# Whether a file is what a request asks for


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"steps": None, "width": None, "height": None, "scheduler": None, "guidance_scale": None}, True),
        ({"identity_strength": None, "adapter_strength": None}, True),
        ({"identity_strength": 0.1}, False),
        ({"steps": 8}, False),
        ({"style": None}, False),
        ({"seed": 1}, False),
        ({"pose_image": None}, False),
        ({"loras": []}, False),
        ({"controls": {}}, False),
    ],
    ids=str,
)
def test_a_file_is_known_to_be_made_from_a_request(files, face, tmp_path, changes, same):
    request = full_request(files, face)
    record = metadata.read(saved(request, tmp_path / "out.png"))
    assert repeating.made_from(record, request.replace(**changes)) is same


def test_a_file_made_from_other_pixels_is_not_made_from_the_request(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])])
    record = metadata.read(saved(request, tmp_path / "out.png"))
    known = {}
    assert repeating.made_from(record, request, known) and len(known) == 1
    noise(99).save(files["a"])
    assert repeating.made_from(record, request, known)  # as it was when it was first looked at
    assert not repeating.made_from(record, request)


def test_untrained_is_said_in_the_file_and_where_it_is_not_so_not(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])], width=64, height=64)
    path = saved(request, tmp_path / "out.png")
    assert metadata.read(path).bundle["untrained"] is True
    assert "untrained weights" in Image.open(path).info["Description"]
    saved(request, path, untrained=False)
    assert metadata.read(path).bundle["untrained"] is False
    assert "untrained" not in Image.open(path).info["Description"]


def test_what_else_makes_a_repetition_differ_is_told(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])])
    record = metadata.read(saved(request, tmp_path / "out.png"))
    assert repeating.made_otherwise(record, BUNDLE) == []
    assert repeating.made_otherwise(record, BUNDLE | {"device": "cuda", "dtype": "float16"}) == [
        "The picture was made with tiny cpu float32; this one with tiny cuda float16."
    ]
    older = record.model_copy(update={"versions": record.versions | {"torch": "2.0"}})
    assert repeating.made_otherwise(older, BUNDLE) == [
        f"The picture was made with torch 2.0 (here: {version('torch')})."
    ]


# Files that are not ours


def with_text(path, text: str):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(metadata.CHUNK, text)
    noise(1).save(path, format="PNG", pnginfo=chunks)


def description(files, **changes) -> dict:
    request = Request(people=[Person(references=[files["a"]])])
    return metadata.describe(result_of(request), 0) | changes


def test_a_description_written_by_hand_is_read(files, tmp_path):
    with_text(tmp_path / "x.png", json.dumps(description(files)))
    assert metadata.read(tmp_path / "x.png").settings["seed"] == 42


@pytest.mark.parametrize("name", ["foreign.png", "picture.jpg"])
def test_a_foreign_picture_is_said_to_carry_no_request(tmp_path, name):
    noise(1).save(tmp_path / name)
    with pytest.raises(InvalidMetadata, match=f"{name} carries no request.*use the original file"):
        metadata.read(tmp_path / name)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{}", "[" * 200_000, '{"schema": "1"}'])
def test_damaged_json_is_said(tmp_path, text):
    with_text(tmp_path / "x.png", text)
    with pytest.raises(
        InvalidMetadata, match=r"x\.png carries a request that cannot be read: it was damaged"
    ):
        metadata.read(tmp_path / "x.png")


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": None},
        {"settings": None},
        {"settings": []},
        {"settings": {}},
        {"settings": {"people": [], "controls": {}}},
        {"settings": {"people": [{}], "controls": {}}},
        {"settings": {"people": [{"references": []}], "controls": {}}},
        {"settings": {"people": [{"references": 3}], "controls": {}}},
        {"settings": {"people": [{"references": [None, None]}], "controls": {}}},
        {"settings": {"people": [{"references": ["/etc/passwd"]}], "controls": {}}},
        {"settings": {"people": [{"references": [None]}], "controls": {"pose": "x"}}},
        {"pictures": {}},
        {"pictures": {"people.0.references.0": "pose.png"}},
        {"pictures": {"people.0.references.0": {}, "people.0.references.999999999": {}}},
        {"pictures": {"people.0.references.0": {}, "prompt.x": {}}},
        {"weights": {"base": 3}},
        {"bundle": "tiny"},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_description_of_another_shape_is_said_to_be_damaged(files, tmp_path, changes):
    with_text(tmp_path / "x.png", json.dumps(description(files, **changes)))
    with pytest.raises(InvalidMetadata, match="damaged or edited"):
        metadata.read(tmp_path / "x.png")


@pytest.mark.parametrize("settings", [{"steps": -1}, {"colour": "red"}, {"base": 3}], ids=str)
def test_edited_settings_are_refused_like_any_others(files, tmp_path, settings):
    changed = description(files)
    changed["settings"] |= settings
    with_text(tmp_path / "x.png", json.dumps(changed))
    record = metadata.read(tmp_path / "x.png")
    with pytest.raises(InvalidRequest, match=next(iter(settings))):
        repeating.restore(record, references=[Photo(image=files["a"])])


def test_a_newer_schema_asks_for_an_update(files, tmp_path):
    with_text(tmp_path / "x.png", json.dumps(description(files, schema=metadata.SCHEMA_VERSION + 1, new=1)))
    with pytest.raises(InvalidMetadata, match=r"newer version .* Update"):
        metadata.read(tmp_path / "x.png")


def bomb(path):
    """A PNG of 100 bytes that claims 900 megapixels."""
    noise(1).save(path, format="PNG")
    data = bytearray(path.read_bytes())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


def cut(path):
    noise(1).save(path, format="PNG")
    path.write_bytes(path.read_bytes()[:1000])


NO_PICTURES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "bomb": bomb,
    "cut": cut,
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("make", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_is_said(tmp_path, make):
    make(tmp_path / "x.png")
    with pytest.raises(InvalidMetadata, match=r"x\.png is not a picture that can be read"):
        metadata.read(tmp_path / "x.png")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InvalidMetadata, match=r"There is no file .*x\.png"):
        metadata.read(tmp_path / "x.png")


def test_a_full_disk_is_said(files, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InvalidRequest, match=r"cannot be written to .*out\.png: No space left"):
        saved(Request(people=[Person(references=[files["a"]])]), tmp_path / "out.png")


def test_a_folder_that_has_gone_is_said(files, tmp_path):
    with pytest.raises(InvalidRequest, match=r"cannot be written to .*No such file"):
        saved(Request(people=[Person(references=[files["a"]])]), tmp_path / "gone" / "out.png")


def test_writing_that_is_interrupted_leaves_what_was_there(files, tmp_path, monkeypatch):
    path = saved(Request(people=[Person(references=[files["a"]])]), tmp_path / "out.png")
    before = path.read_bytes()

    def half(picture, to, **kwargs):
        to.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(InvalidRequest):
        saved(Request(people=[Person(references=[files["a"]])]), path)
    assert path.read_bytes() == before
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
