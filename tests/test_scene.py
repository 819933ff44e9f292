"""Who is in the picture and where: photos with drawn faces, and a finder that sees what was drawn."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from instantid import faces, scene
from instantid.bundles import Defaults
from instantid.errors import BundleError, InvalidImage, InvalidRequest, NoFaceFound
from instantid.request import Control, Face, Person, Photo, Place, Portrait, Request

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
    assert there.faces[0].embedding.tolist() == [1, 2, 3]  # of the person, not of the pose
    scale = np.divide((there.width, there.height), (150, 300))
    assert there.faces[0].keypoints == pytest.approx(np.add(SPREAD, (50, 100)) * scale, abs=1e-3)


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
    assert there.faces[0].keypoints == pytest.approx(SPREAD * np.array(scale) + nose, abs=1e-3)
    corners = np.add([[-20, -20], [20, 20]], (60, 30)) * scale + offset
    assert there.faces[0].box == pytest.approx(corners.ravel(), abs=1e-3)
    assert there.keypoint_map.tobytes() == faces.draw_keypoints(there.faces[0].keypoints, *size).tobytes()


def test_where_faces_must_be_large_a_photo_that_poses_itself_comes_closer():
    small = photo((200, 100), (40, 50, 0))
    request = Request(people=[Person(references=[small])], width=200, height=104)
    far = scene.read(request, DotFinder(), AREA)
    near = scene.read(request, DotFinder(), AREA, Defaults(least_face=0.75))
    box = near.faces[0].box
    assert box[3] - box[1] == pytest.approx(0.75 * 104, abs=2)
    assert far.faces[0].box[3] - far.faces[0].box[1] < 50
    assert (box[0] + box[2]) / 2 == pytest.approx(100, abs=2) and box[1] > -2
    shape = [points - points.mean(axis=0) for points in (near.faces[0].keypoints, far.faces[0].keypoints)]
    assert np.allclose(shape[0] / np.abs(shape[0]).max(), shape[1] / np.abs(shape[1]).max(), atol=0.05)
    nose = near.faces[0].keypoints[2]
    shown = np.asarray(near.fit.image(near.photo))[:, :, 0]
    y, x = np.unravel_index(shown.argmax(), shown.shape)
    assert np.abs(nose - (x, y)).max() < 4, "what is read off the photo lies where the face does"


def test_nothing_comes_closer_where_something_else_says_where():
    small, pose = photo((200, 100), (40, 50, 0)), photo((200, 100), (150, 50, 0))
    canvas = {"width": 200, "height": 104}
    cases = [
        Request(people=[Person(references=[small])], pose_image=pose, **canvas),
        Request(people=[Person(references=[small]), Person(references=[pose])], **canvas),
        Request(people=[Person(references=[small], place={"x": 0.3, "y": 0.4, "size": 0.2})], **canvas),
        Request(people=[Person(references=[photo((200, 100), (90, 50, 45))])], **canvas),  # large already
    ]
    for request in cases:
        before, after = (
            scene.read(request, DotFinder(), AREA, Defaults(least_face=least)) for least in (0.0, 0.6)
        )
        for one, other in zip(before.faces, after.faces, strict=True):
            assert np.allclose(one.keypoints, other.keypoints, atol=0.5)


def test_references_are_averaged_with_ready_faces_and_the_first_one_poses():
    first, second = (photo((100, 100), (x, 40, 0), colour=(c, 0, 0)) for x, c in ((30, 10), (60, 30)))
    ready = Face(embedding=[20, 0, 60], keypoints=SPREAD + 99, box=[0, 0, 9, 9])
    there = read(first, second, ready, width=104, height=104)
    assert there.faces[0].embedding.tolist() == [20, 0, 20]
    assert there.faces[0].keypoints[2] == pytest.approx(np.multiply((30, 40), 1.04), abs=1e-3)


def test_a_ready_face_is_in_canvas_pixels_already(face):
    there = read(face, width=512, height=64)
    assert there.faces[0].keypoints is not None and np.array_equal(there.faces[0].keypoints, face.keypoints)
    assert np.array_equal(there.faces[0].box, face.box)
    assert (there.width, there.height, there.photo, there.fit) == (512, 64, None, None)
    assert (read(face).width, read(face).height) == AREA


def test_the_number_chooses_a_face_largest_first():
    group = photo((200, 100), (40, 50, 3), (100, 50, 20), (160, 50, 9))
    canvas = {"width": 200, "height": 104}
    noses = [read(Photo(image=group, face=n), **canvas).faces[0].keypoints[2][0] for n in (1, 2, 3)]
    assert noses == pytest.approx([100, 160, 40])
    posed = read(group, pose_image=Photo(image=group, face=3), **canvas)
    assert posed.faces[0].keypoints[2][0] == pytest.approx(40)


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
    assert without_finder(people=[ready]).faces[0].box.tolist() == face.box.tolist()
    for settings in (
        {"people": [Person(references=[face, photo((100, 100))])]},
        {"people": [ready], "pose_image": photo((100, 100))},
    ):
        with pytest.raises(BundleError, match="no face model"):
            without_finder(**settings)


def test_a_control_map_is_read_off_the_photo_and_black_around_it():
    seen = []

    def draw(name: str, placed: Image.Image, control: Control) -> Image.Image:
        seen.append((name, placed.size))
        drawn = Image.new("RGB", placed.size, "white")
        ImageDraw.Draw(drawn).rectangle((0, 0, 19, 9), fill="red")
        return drawn

    there = read(photo((160, 80), (60, 30, 0)), width=160, height=160)
    drawn = np.asarray(there.map("canny", Control(), draw))
    assert seen == [("canny", (160, 80))]
    assert drawn.shape == (160, 160, 3)
    assert not drawn[:40].any() and not drawn[120:].any()
    assert (drawn[40:50, :20] == [255, 0, 0]).all()
    assert (drawn[50:120] == 255).all()


def test_a_control_map_without_a_photo_is_refused(face):
    with pytest.raises(InvalidRequest, match="depth control needs a photo"):
        read(face).map("depth", Control(), lambda name, placed, control: placed)


def test_a_ready_map_is_laid_on_the_canvas_like_a_photo():
    ready = Image.new("RGB", (80, 40), "white")
    there = read(photo((160, 80), (60, 30, 0)), width=160, height=160)
    laid = np.asarray(there.map("pose", Control(map=ready), None))
    assert not laid[:40].any() and not laid[120:].any()
    assert (laid[40:120] == 255).all()


def test_coarse_maps_are_read_small_and_drawn_in_blocks():
    seen = []

    def draw(name: str, placed: Image.Image, control: Control) -> Image.Image:
        seen.append(placed.size)
        return Image.effect_noise(placed.size, 90).convert("RGB")

    request = Request(
        people=[Person(references=[photo((160, 80), (60, 30, 0))])],
        controls={"pose": Control(map=Image.effect_noise((160, 160), 90))},
        width=160,
        height=160,
    )
    there = scene.read(request, DotFinder(), AREA, Defaults(grid=16, map_pixel=2))
    maps = [there.map("canny", Control(), draw), there.map("pose", request.controls["pose"], None)]
    assert seen == [(80, 40)]
    for drawn in (*maps, there.keypoint_map, there.scaled(320, 320).keypoint_map):
        pixels = np.asarray(drawn)
        assert pixels.any() and np.array_equal(pixels, pixels[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    assert not np.asarray(maps[0])[:40].any() and np.asarray(maps[0])[40:120].any()


def test_a_portrait_stands_for_the_photo_its_face_was_found_in():
    whole = photo((160, 80), (60, 30, 8))
    [found] = DotFinder().find(whole)
    there, kept = read(whole), read(Portrait(found, 160, 80))
    assert kept.size == there.size
    assert kept.faces[0].keypoints == pytest.approx(there.faces[0].keypoints)
    assert kept.photo is None


# Several people.

TWO = photo((200, 100), (150, 40, 20), (50, 60, 3))  # the larger one stands on the right


def pair(**settings) -> scene.Scene:
    people = [
        Person(references=[photo((100, 100), (50, 50, 0), colour=(c, c, c))], **changes)
        for c, changes in zip((10, 20), settings.pop("each", ({}, {})))
    ]
    return scene.read(Request(people=people, **settings), DotFinder(), AREA)


def test_people_are_matched_to_the_pose_photos_faces_from_left_to_right():
    there = pair(pose_image=TWO, width=200, height=104)
    assert [face.embedding[0] for face in there.faces] == [10, 20]
    assert [face.keypoints[2][0] for face in there.faces] == pytest.approx([50, 150])


def test_a_crowds_largest_faces_pose():
    crowd = photo((300, 104), (20, 50, 1), (100, 50, 9), (160, 50, 2), (260, 50, 30))
    there = pair(pose_image=crowd, width=304, height=104)
    assert [face.keypoints[2][0] for face in there.faces] == pytest.approx([101.3, 263.5], abs=1)


def test_fewer_faces_than_people_are_refused_and_need_not_be_where_views_are_given():
    one = photo((200, 100), (50, 60, 3))
    with pytest.raises(InvalidRequest, match="2 people, but one face in the pose photo"):
        pair(pose_image=one)
    views = ({"view": "front", "place": Place(x=0.2)}, {"view": "profile left", "place": Place(x=0.8)})
    there = pair(pose_image=photo((200, 100)), each=views, width=200, height=104)
    assert [face.centre[0] for face in there.faces] == pytest.approx([40, 160], abs=1)


def test_without_a_pose_photo_people_stand_apart_and_those_with_a_place_where_it_is():
    there = pair(width=256, height=128)
    left, right = there.faces
    assert left.box[2] < right.box[0] and left.box[0] >= 0 and right.box[2] <= 256
    there = pair(width=256, height=128, each=({}, {"place": Place(x=0.1, y=0.5, size=0.2)}))
    assert there.faces[1].centre == pytest.approx((25.6, 64), abs=1)


def test_everyones_keypoints_are_drawn_and_each_alone_for_their_own():
    there = pair(width=512, height=256)
    both = np.asarray(there.keypoint_map)
    alone = [np.asarray(there.keypoints_of(i)) for i in range(2)]
    assert np.array_equal(both, np.maximum(*alone))
    assert all(drawn.any() for drawn in alone) and not np.array_equal(*alone)


# Where a face goes.


def test_explicit_keypoints_go_before_everything():
    points = [(0.3, 0.3), (0.5, 0.3), (0.4, 0.4), (0.33, 0.5), (0.47, 0.5)]
    person = Person(references=[photo((100, 100), (50, 50, 0))], keypoints=points, view="down")
    request = Request(people=[person], pose_image=photo((100, 100)), width=200, height=104)
    there = scene.read(request, DotFinder(), AREA)
    assert there.faces[0].keypoints == pytest.approx(np.multiply(points, (200, 104)), abs=1e-3)
    x1, y1, x2, y2 = there.faces[0].box
    assert x1 < 60 and x2 > 100 and y1 < 31 and y2 > 52


def test_a_view_turns_the_face_where_it_is():
    person = Person(references=[photo((100, 100), (30, 60, 10))], view="profile left")
    there = scene.read(Request(people=[person], width=104, height=104), DotFinder(), AREA)
    assert there.faces[0].centre == pytest.approx((31.2, 62.4), abs=1)
    nose, eyes = there.faces[0].keypoints[2], there.faces[0].keypoints[:2]
    assert nose[0] < eyes[:, 0].min()


def test_free_pose_asks_no_photo_for_a_pose_and_acts_everywhere():
    there = read(photo((100, 100), (50, 50, 0)), pose_image=photo((300, 100)), free_pose=True)
    assert there.free_pose and there.masks() == [None]
    assert there.width > there.height


# A start picture.


def test_a_start_picture_sets_the_shape_and_poses():
    reference = photo((300, 150), (100, 50, 0), colour=(1, 2, 3))
    there = read(reference, start_image=photo((150, 300), (50, 100, 0)))
    assert there.height > there.width
    assert there.start.size == there.size and there.repaint is None
    scale = np.divide(there.size, (150, 300))
    assert there.faces[0].keypoints == pytest.approx(np.add(SPREAD, (50, 100)) * scale, abs=1e-3)
    assert there.faces[0].embedding.tolist() == [1, 2, 3]


def test_a_start_picture_of_another_shape_is_cut_and_its_face_stays_with_it():
    start = photo((400, 100), (200, 50, 9), colour=(0, 0, 200))
    there = read(photo((100, 100), (50, 50, 0)), start_image=start, width=104, height=104)
    assert there.faces[0].keypoints[2] == pytest.approx((52, 52), abs=1)
    assert (np.asarray(there.start)[[0, -1]] == [0, 0, 200]).all()  # no black margins


def test_the_face_alone_is_repainted_in_an_ellipse_around_it():
    there = read(photo((100, 100), (50, 50, 0)), start_image=photo((104, 104), (30, 60, 10)), repaint="face")
    scale = there.width / 104
    rows, columns = np.nonzero(there.repaint)
    assert (columns.mean(), rows.mean()) == pytest.approx((30 * scale, 60 * scale), abs=1)
    assert 0 < there.repaint.mean() < 0.5


def test_with_a_free_pose_the_start_pictures_face_is_repainted_all_the_same():
    start, own = photo((100, 100), (70, 60, 3)), photo((100, 100), (20, 20, 0))
    swap = {"start_image": start, "repaint": "face", "width": 104, "height": 104}
    free, posed = (read(own, free_pose=free, **swap) for free in (True, False))
    assert np.array_equal(free.repaint, posed.repaint) and free.repaint[62, 72] == 1
    elsewhere = {"pose_image": photo((100, 100), (30, 30, 0)), "free_pose": True}
    assert np.array_equal(read(own, **swap, **elsewhere).repaint, posed.repaint)
    assert free.masks() == [None]


def test_a_face_outside_the_picture_cannot_be_repainted():
    points = [(1.6, 0.3), (1.8, 0.3), (1.7, 0.4), (1.63, 0.5), (1.77, 0.5)]
    person = Person(references=[photo((100, 100), (50, 50, 0))], keypoints=points)
    request = Request(people=[person], start_image=photo((100, 100)), repaint="face", face_region=False)
    with pytest.raises(InvalidRequest, match="outside the picture"):
        scene.read(request, DotFinder(), AREA)


def test_a_mask_marks_what_is_repainted():
    mask = Image.new("L", (104, 104))
    mask.paste(255, (0, 0, 52, 104))
    start = photo((104, 104), (30, 60, 10))
    there = read(photo((100, 100), (50, 50, 0)), start_image=start, repaint="mask", repaint_mask=mask)
    assert (
        there.repaint[:, : there.width // 2 - 2].all() and not there.repaint[:, there.width // 2 + 2 :].any()
    )
    with pytest.raises(InvalidRequest, match="nothing to paint anew"):
        read(
            photo((100, 100), (50, 50, 0)),
            start_image=start,
            repaint="mask",
            repaint_mask=Image.new("L", (64, 64)),
        )


# Other canvases of the same scene.


def test_a_larger_canvas_has_everything_in_proportion():
    mask = Image.new("L", (104, 104))
    mask.paste(255, (0, 0, 52, 104))
    there = read(
        photo((100, 100), (50, 50, 0)),
        start_image=photo((104, 104), (30, 60, 10)),
        repaint="mask",
        repaint_mask=mask,
    )
    larger = there.scaled(there.width * 2, there.height * 2)
    assert larger.faces[0].keypoints == pytest.approx(there.faces[0].keypoints * 2)
    assert larger.faces[0].box == pytest.approx(there.faces[0].box * 2)
    assert larger.repaint.shape == (there.height * 2, there.width * 2)
    assert larger.repaint.mean() == pytest.approx(there.repaint.mean(), abs=0.02)


def test_a_closeup_shows_one_person_through_a_window():
    there = pair(width=256, height=128)
    person = there.faces[1]
    x1, y1 = person.box[:2]
    near = there.closeup(1, person, np.array([x1, y1, x1 + 40, y1 + 40]), 80, 80)
    [face] = near.faces
    assert face.box[:2] == pytest.approx((0, 0), abs=1e-3)
    assert face.keypoints == pytest.approx((person.keypoints - (x1, y1)) * 2, abs=1e-3)
    assert face.embedding.tolist() == person.embedding.tolist()
