"""Who is in the picture and where: photos with drawn faces, and a finder that sees what was drawn."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from instantid import faces, scene
from instantid.errors import BundleError, InvalidImage, InvalidRequest, NoFaceFound
from instantid.request import Face, Person, Photo, Request

AREA = (256, 256)
SPREAD = np.array([[-6, -6], [6, -6], [0, 0], [-5, 6], [5, 6]])  # keypoints around a nose, in pixels


class DotFinder(faces.FaceFinder):
    """Every red dot is the nose of a face; its embedding is the colour beside, its size the green in the dot."""

    dimension = 3

    def _detect(self, bgr, size):
        rows, columns = np.nonzero((bgr[..., 2] > 200) & (bgr[..., 0] < 40))
        seen = [(x, y, 12 + bgr[y, x, 1]) for y, x in zip(rows, columns)]
        boxes = [(x - half, y - half, x + half, y + half) for x, y, half in seen]
        keypoints = [np.add(SPREAD, (x, y)) for x, y, _ in seen]
        return np.reshape(boxes, (-1, 4)).astype(np.float32), np.reshape(keypoints, (-1, 5, 2))

    def _embed(self, bgr, box, keypoints):
        x, y = keypoints[2].astype(int)
        return bgr[y, x + 3, ::-1].astype(np.float32)


def photo(size: tuple[int, int], *noses: tuple[int, int, int], colour=(10, 20, 30)) -> Image.Image:
    """RGB of `colour`; a nose is (x, y, extra half width of its face's box)."""
    picture = Image.new("RGB", size, colour)
    for x, y, extra in noses:
        picture.putpixel((x, y), (255, extra, 0))
    return picture


def read(*references, **settings) -> scene.Scene:
    request = Request(people=[Person(references=references)], **settings)
    return scene.read(request, DotFinder(), AREA)


def test_the_canvas_takes_the_shape_of_the_first_reference():
    there = read(photo((300, 150), (100, 50, 0)), photo((100, 400), (50, 50, 0)))
    assert there.width / there.height == pytest.approx(2, rel=0.05)
    assert there.width * there.height <= AREA[0] * AREA[1]
    assert there.photo.size == (300, 150)


def test_a_pose_photo_leads_instead(face):
    reference, pose = photo((300, 150), (100, 50, 0), colour=(1, 2, 3)), photo((150, 300), (50, 100, 0))
    there = read(reference, pose_image=pose)
    assert there.height / there.width == pytest.approx(2, rel=0.05)
    assert there.photo.size == (150, 300)
    assert there.face.embedding.tolist() == [1, 2, 3]  # of the person, not of the pose
    scale = np.divide((there.width, there.height), (150, 300))
    assert there.face.keypoints == pytest.approx(np.add(SPREAD, (50, 100)) * scale, abs=1e-3)


@pytest.mark.parametrize(
    ("size", "scale", "offset"),
    [
        ((320, 160), (2, 2), (0, 0)),
        ((160, 160), (1, 1), (0, 40)),  # margins above and below
        ((480, 160), (2, 2), (80, 0)),  # and at the sides
        ((328, 160), (2.05, 2), (0, 0)),  # stretched: no thin margins
    ],
    ids=str,
)
def test_keypoints_and_box_land_where_the_face_lies_on_the_canvas(size, scale, offset):
    there = read(photo((160, 80), (60, 30, 8)), width=size[0], height=size[1])
    nose = np.multiply((60, 30), scale) + offset
    assert there.face.keypoints == pytest.approx(SPREAD * np.array(scale) + nose, abs=1e-3)
    corners = np.add([[-20, -20], [20, 20]], (60, 30)) * scale + offset
    assert there.face.box == pytest.approx(corners.ravel(), abs=1e-3)
    assert there.keypoint_map.tobytes() == faces.draw_keypoints(there.face.keypoints, *size).tobytes()


def test_references_are_averaged_with_ready_faces_and_the_first_one_poses():
    first, second = (photo((100, 100), (x, 40, 0), colour=(c, 0, 0)) for x, c in ((30, 10), (60, 30)))
    ready = Face(embedding=[20, 0, 60], keypoints=SPREAD + 99, box=[0, 0, 9, 9])
    there = read(first, second, ready, width=104, height=104)
    assert there.face.embedding.tolist() == [20, 0, 20]
    assert there.face.keypoints[2] == pytest.approx(np.multiply((30, 40), 1.04), abs=1e-3)


def test_a_ready_face_is_in_canvas_pixels_already(face):
    there = read(face, width=512, height=64)
    assert there.face.keypoints is not None and np.array_equal(there.face.keypoints, face.keypoints)
    assert np.array_equal(there.face.box, face.box)
    assert (there.width, there.height, there.photo, there.fit) == (512, 64, None, None)
    assert (read(face).width, read(face).height) == AREA


def test_the_number_chooses_a_face_largest_first():
    group = photo((200, 100), (40, 50, 3), (100, 50, 20), (160, 50, 9))
    canvas = {"width": 200, "height": 104}
    noses = [read(Photo(image=group, face=n), **canvas).face.keypoints[2][0] for n in (1, 2, 3)]
    assert noses == pytest.approx([100, 160, 40])
    posed = read(group, pose_image=Photo(image=group, face=3), **canvas)
    assert posed.face.keypoints[2][0] == pytest.approx(40)


def test_a_face_that_is_not_there_is_refused_by_the_files_name(tmp_path):
    photo((200, 100), (40, 50, 3)).save(tmp_path / "aunt.png")
    with pytest.raises(InvalidRequest, match=r"Face 2 .*“aunt\.png” has 1 face"):
        read(Photo(image=tmp_path / "aunt.png", face=2))


def test_no_face_is_told_by_the_photos_name_with_what_was_tried(tmp_path):
    photo((200, 100)).save(tmp_path / "wall.png")
    whole = photo((200, 100), (40, 50, 3))
    with pytest.raises(NoFaceFound, match=r"“wall\.png”") as caught:
        read(tmp_path / "wall.png")
    assert len(caught.value.tried) == len(faces.ATTEMPTS)
    with pytest.raises(NoFaceFound, match=r"“wall\.png”"):
        read(whole, tmp_path / "wall.png")
    with pytest.raises(NoFaceFound, match="in the face photo"):
        read(photo((200, 100)))
    with pytest.raises(NoFaceFound, match="in the pose photo"):
        read(whole, pose_image=tmp_path / "wall.png")


@pytest.mark.parametrize("place", ["references", "pose_image"])
def test_a_picture_that_cannot_be_read_is_told_by_its_name(tmp_path, place):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    whole = photo((200, 100), (40, 50, 3))
    with pytest.raises(InvalidImage, match=r"broken\.png"):
        if place == "references":
            read(whole, tmp_path / "broken.png")
        else:
            read(whole, pose_image=tmp_path / "broken.png")


def test_photos_need_a_face_model_and_ready_faces_do_not(face):
    def without_finder(**settings):
        return scene.read(Request(**settings), None, AREA)

    ready = Person(references=[face])
    assert without_finder(people=[ready]).face.box.tolist() == face.box.tolist()
    for settings in (
        {"people": [Person(references=[face, photo((100, 100))])]},
        {"people": [ready], "pose_image": photo((100, 100))},
    ):
        with pytest.raises(BundleError, match="no face model"):
            without_finder(**settings)


def test_a_control_map_is_read_off_the_photo_and_black_around_it():
    seen = []

    def draw(name: str, placed: Image.Image) -> Image.Image:
        seen.append((name, placed.size))
        drawn = Image.new("RGB", placed.size, "white")
        ImageDraw.Draw(drawn).rectangle((0, 0, 19, 9), fill="red")
        return drawn

    there = read(photo((160, 80), (60, 30, 0)), width=160, height=160)
    drawn = np.asarray(there.map("canny", draw))
    assert seen == [("canny", (160, 80))]
    assert drawn.shape == (160, 160, 3)
    assert not drawn[:40].any() and not drawn[120:].any()
    assert (drawn[40:50, :20] == [255, 0, 0]).all()
    assert (drawn[50:120] == 255).all()


def test_a_control_map_without_a_photo_is_refused(face):
    with pytest.raises(InvalidRequest, match="depth control needs a photo"):
        read(face).map("depth", lambda name, placed: placed)
