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

from instantid import metadata
from instantid.engine import Engine
from instantid.errors import InvalidMetadata, InvalidRequest
from instantid.request import Face, Person, Photo, Request, Result, SchedulerName

BUNDLE = {"name": "tiny", "untrained": True, "device": "cpu", "dtype": "float32"}
PROMPT = 'A “quoted” "word", back\\slash, Zürich 東京 🙂\nnext line\ttab \u0000 end'


def noise(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def files(tmp_path):
    """Photos as files: a and b of the face, pose, style."""
    paths = {name: tmp_path / f"{name}.png" for name in ("a", "b", "pose", "style")}
    for seed, path in enumerate(paths.values()):
        noise(seed).save(path)
    return paths


def result_of(request: Request, images: int = 1, **bundle) -> Result:
    pictures = [noise(100 + i, (64, 64)) for i in range(images)]
    return Result(images=pictures, seed=request.seed, request=request, timings={}, bundle=BUNDLE | bundle)


def saved(request: Request, path, **bundle):
    metadata.save(result_of(request, **bundle), [path])
    return path


def full_request(files, **changes) -> Request:
    """Every field away from its default."""
    person = Person(
        references=[files["a"], Photo(image=files["b"], face=2)], identity_strength=0.3, adapter_strength=1.1
    )
    request = Request(
        people=[person],
        prompt=PROMPT,
        negative_prompt="blurry [low]",
        style="Watercolor",
        seed=2_147_483_647,
        steps=7,
        guidance_scale=0.0,
        scheduler="Heun",
        identity_strength=1.5,
        adapter_strength=0.0,
        face_region=False,
        pose_image=Photo(image=files["pose"], face=3),
        controls={"canny": 0.4, "depth": 0.0},
        style_image=files["style"],
        style_strength=0.25,
        width=72,
        height=128,
    )
    return request.replace(**changes)


def restored(path, request: Request, **changes):
    return metadata.restore(
        metadata.read(path),
        request.people[0].references,
        pose_image=request.pose_image,
        style_image=request.style_image,
        **changes,
    )


def test_every_field_comes_back(files, tmp_path):
    request = full_request(files)
    untouched = {
        name
        for name, field in Request.model_fields.items()
        if name not in {"people", "images"} and getattr(request, name) == field.default
    }
    assert not untouched, "give them a value of their own, or this test says nothing about them"
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


def test_changes_win_over_the_record_and_over_the_person_s_own_strength(files, tmp_path):
    request = full_request(files)
    changed, differences = restored(
        saved(request, tmp_path / "out.png"), request, prompt="a king", identity_strength=0.5
    )
    assert (changed.prompt, changed.identity_strength, differences) == ("a king", 0.5, [])
    assert changed.people[0].identity_strength is None
    assert changed.people[0].adapter_strength == 1.1


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
        again, differences = metadata.restore(
            metadata.read(paths[i]),
            [Photo(image=ASTRONAUT), Photo(image=photos)],
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
    again, differences = metadata.restore(metadata.read(path), [face])
    assert differences == []
    assert engine.generate(again).images[0].tobytes() == result.images[0].tobytes()
    other = Face(face.embedding + 1e-3, face.keypoints, face.box)
    assert metadata.restore(metadata.read(path), [other])[1] == [
        "The face photo is not the one that the picture was made from."
    ]


def test_another_photo_is_told(files, tmp_path):
    request = Request(people=[Person(references=[files["a"], files["b"]])], pose_image=files["pose"])
    path = saved(request, tmp_path / "out.png")
    swapped = [Photo(image=files["b"]), Photo(image=files["a"])]
    pose = Photo(image=files["style"])
    assert metadata.restore(metadata.read(path), swapped, pose_image=pose)[1] == [
        "The face photo 1 is not the one that the picture was made from.",
        "The face photo 2 is not the one that the picture was made from.",
        "The pose photo is not the one that the picture was made from.",
    ]


def test_another_face_of_the_same_photo_is_told_apart_from_another_photo(files, tmp_path):
    request = Request(people=[Person(references=[Photo(image=files["a"], face=2)])])
    path = saved(request, tmp_path / "out.png")
    assert metadata.restore(metadata.read(path), [Photo(image=files["a"])])[1] == [
        "The face photo is the same, but the picture was made from its face 2."
    ]


def test_a_photo_too_many_is_told_and_one_too_few_refused(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])])
    alone, posed = saved(request, tmp_path / "1.png"), tmp_path / "2.png"
    saved(request.replace(pose_image=files["pose"]), posed)
    photo = Photo(image=files["a"])
    restored, told = metadata.restore(metadata.read(alone), [photo], pose_image=Photo(image=files["pose"]))
    assert told == ["The picture was made without a pose photo."]
    assert restored.pose_image == Photo(image=files["pose"])
    with pytest.raises(InvalidRequest, match="made with a pose photo: give it as well"):
        metadata.restore(metadata.read(posed), [photo])
    with pytest.raises(InvalidRequest, match="made from 1 face photo; 2 given"):
        metadata.restore(metadata.read(alone), [photo, photo])


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP"])
def test_a_photo_saved_anew_without_loss_is_the_same_photo(files, tmp_path, kind):
    request = Request(people=[Person(references=[files["a"]])])
    path, copy = saved(request, tmp_path / "out.png"), tmp_path / "copy"
    Image.open(files["a"]).save(copy, format=kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert metadata.restore(metadata.read(path), [Photo(image=copy)])[1] == []


def test_one_changed_value_of_one_pixel_makes_it_another_photo(files, tmp_path):
    request = Request(people=[Person(references=[files["a"]])])
    path = saved(request, tmp_path / "out.png")
    picture = Image.open(files["a"])
    red, green, blue = picture.getpixel((47, 39))
    picture.putpixel((47, 39), (red, green, blue ^ 1))
    assert len(metadata.restore(metadata.read(path), [Photo(image=picture)])[1]) == 1


def test_the_file_holds_neither_photos_nor_embeddings_nor_where_they_lay(face, files, tmp_path):
    # flat: compression cannot hide a photo of one colour that the picture does not have
    photo = Image.new("RGB", (64, 64), (1, 2, 3))
    photo.save(files["a"], exif=Image.Exif(), pnginfo=None)
    path = tmp_path / "out.png"
    for reference in (face, files["a"]):
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
        for print_ in (*json.loads(text)["people"][0]["references"], json.loads(text)["pose_image"]):
            assert len(json.dumps(print_)) < 120


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
    assert metadata.made_otherwise(record, BUNDLE) == []
    assert metadata.made_otherwise(record, BUNDLE | {"device": "cuda", "dtype": "float16"}) == [
        "The picture was made with tiny cpu float32; this one with tiny cuda float16."
    ]
    older = record.model_copy(update={"versions": record.versions | {"torch": "2.0"}})
    assert metadata.made_otherwise(older, BUNDLE) == [
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
        {"people": []},
        {"people": [{}]},
        {"people": [{"references": [], "identity_strength": None, "adapter_strength": None}]},
        {"people": [{"references": ["x"], "identity_strength": None, "adapter_strength": None}]},
        {"pose_image": "pose.png"},
        {"bundle": "tiny"},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_description_of_another_shape_is_said_to_be_damaged(files, tmp_path, changes):
    with_text(tmp_path / "x.png", json.dumps(description(files, **changes)))
    with pytest.raises(InvalidMetadata, match="damaged or edited"):
        metadata.read(tmp_path / "x.png")


@pytest.mark.parametrize("settings", [{"steps": -1}, {"people": []}, {"colour": "red"}], ids=str)
def test_edited_settings_are_refused_like_any_others(files, tmp_path, settings):
    changed = description(files)
    changed["settings"] |= settings
    with_text(tmp_path / "x.png", json.dumps(changed))
    record = metadata.read(tmp_path / "x.png")
    if "people" in settings:  # the photos given are the people
        assert metadata.restore(record, [Photo(image=files["a"])])[1] == []
        return
    with pytest.raises(InvalidRequest, match=next(iter(settings))):
        metadata.restore(record, [Photo(image=files["a"])])


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
