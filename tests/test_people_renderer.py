"""Rendered people: what the renderer draws, what it says about it, and that it always draws the same."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from instantid.errors import DownloadError, InvalidRequest
from instantid.training.people import assets, fetching
from instantid.training.people.description import (
    BACKGROUNDS,
    Background,
    Camera,
    Figure,
    Garment,
    Identity,
    Picture,
    from_json,
    to_json,
)
from instantid.training.people.poses import STANCES
from instantid.training.people.renderer import Renderer
from instantid.training.people.unpacking import SKELETON

ANNA = Identity(
    number=7, seed=3, sex=0.0, age=30, ancestry=(0.1, 0.2, 0.7), skin="young_caucasian_female", hair="ponytail01",
    complexion={"moles": 0.6, "lips": 0.4},
)  # fmt: skip
DRESS = (Garment(name="F_Dress_02"), Garment(name="shoes01", colour=(0.5, 0.2, 0.1)))
STANDING = Figure(identity=ANNA, clothes=DRESS)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer("cpu", assets=assets.load(assets.fetch()))


def portrait(figure: Figure = STANDING, **changes: object) -> Picture:
    return Picture(figures=(figure,), camera=Camera(frame="head", fill=0.6), width=96, height=96, **changes)


def whole(figure: Figure, **changes: object) -> Picture:
    picture = Picture(figures=(figure,), camera=Camera(frame="body", fill=0.9), width=96, height=128)
    return dataclasses.replace(picture, **changes)


def test_the_same_picture_gives_the_same_bytes_alone_or_among_others(renderer: Renderer) -> None:
    picture = portrait()
    first = renderer.render([picture])[0]
    again = renderer.render([whole(STANDING), portrait(dataclasses.replace(STANDING, heading=40)), picture])[
        2
    ]
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.truth.depth, again.truth.depth)


def test_a_description_survives_json(renderer: Renderer) -> None:
    picture = whole(
        dataclasses.replace(STANDING, pose={"left_elbow": (70, 0, 0)}, glasses=Garment(name="glasses"))
    )
    again = from_json(Picture, json.loads(json.dumps(to_json(picture))))
    assert np.array_equal(renderer.render([picture])[0].image, renderer.render([again])[0].image)


def test_face_points_lie_in_the_face_in_insightfaces_order(renderer: Renderer) -> None:
    figure = renderer.render([portrait()])[0].truth.figures[0]
    left_eye, right_eye, nose, left_mouth, right_mouth = figure.face_keypoints
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    x0, y0, x1, y1 = figure.face_box
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in figure.face_keypoints)
    assert figure.face_visible.all()
    assert figure.number == 7


def test_a_head_turned_to_the_persons_left_looks_to_the_pictures_right(renderer: Renderer) -> None:
    ahead, turned = renderer.render(
        [portrait(), portrait(dataclasses.replace(STANDING, pose={"head": (0, 0, 35)}))]
    )
    yaw = turned.truth.figures[0].head_angles[0] - ahead.truth.figures[0].head_angles[0]
    assert yaw == pytest.approx(35, abs=1)
    eyes = turned.truth.figures[0].face_keypoints[:2, 0].mean()
    assert turned.truth.figures[0].face_keypoints[2, 0] > eyes + 2


def test_from_behind_no_face_point_is_visible(renderer: Renderer) -> None:
    behind = portrait(dataclasses.replace(STANDING, heading=180))
    assert not renderer.render([behind])[0].truth.figures[0].face_visible.any()


def test_limbs_go_where_the_pose_says(renderer: Renderer) -> None:
    raised = dataclasses.replace(STANDING, pose={"left_shoulder": (0, 90, 0), "right_hip": (80, 0, 0)})
    down, up = (renderer.render([whole(f)])[0].truth.figures[0].body_keypoints for f in (STANDING, raised))
    shoulder, elbow = up[3], up[4]
    assert (
        elbow[0] > shoulder[0] + 5 and abs(elbow[1] - shoulder[1]) < 5
    )  # the left arm, on the picture's right
    assert up[7][1] < down[7][1] - 5  # the right knee


@pytest.mark.parametrize(("hand", "shorter"), [("fist", 0.03), ("relaxed", 0.008)])
def test_bent_fingers_come_nearer_and_the_rest_stays(renderer: Renderer, hand: str, shorter: float) -> None:
    from instantid.training.people.hands import Hands

    hands = Hands(renderer.assets, renderer.device)
    flat = renderer.wardrobe.body.shapes([STANDING])
    bent = hands.bend([dataclasses.replace(STANDING, hands=(hand, "flat"))], flat)
    tips = hands.knuckles[:, 3, 0]  # the thumbs' and fingers' ends, the left hand's first
    wrists = [renderer.wardrobe.body.joints[SKELETON.index(f"{side}_wrist"), 0] for side in ("left", "right")]
    reach = [
        (shape[0, tips] - shape[0, wrists].repeat_interleave(5, 0)).norm(dim=1) for shape in (flat, bent)
    ]
    assert (reach[0] - reach[1])[1:5].min() > shorter and (reach[0] - reach[1])[5:].abs().max() < 1e-5
    moved = (flat - bent).norm(dim=2)[0] > 1e-5
    assert set(moved.nonzero()[:, 0].tolist()) <= set(hands.vertices.tolist())


def test_trousers_of_a_suit_have_a_colour_of_their_own(renderer: Renderer) -> None:
    suit = Garment(name="female_sportsuit01", colour=(0.8, 0.1, 0.1), lower=(0.1, 0.1, 0.8))
    [done] = renderer.render([whole(dataclasses.replace(STANDING, clothes=(suit,)))])
    points = done.truth.figures[0].body_keypoints
    x, y = np.rint((points[7] + points[8]) / 2).astype(int)  # a shin
    chest = np.rint((points[0] + points[3] + points[6] + points[9]) / 4).astype(int)
    shin, breast = done.image[y, x].astype(int), done.image[chest[1] - 12, chest[0]].astype(int)
    assert shin[2] > shin[0] + 20 and breast[0] > breast[2] + 20


def test_who_sits_is_carried_by_a_stool_that_is_nobody(renderer: Renderer) -> None:
    seated = dataclasses.replace(STANDING, pose=dict(STANCES["sitting, hands in the lap"].joints), clothes=())
    on_air, on_stool = (dataclasses.replace(seated, seat=seat) for seat in (None, (0.1, 0.1, 0.9)))
    camera = Camera(frame="body", fill=0.9, yaw=60)
    air, stool = (one.truth for one in renderer.render([whole(f, camera=camera) for f in (on_air, on_stool)]))
    assert (np.isfinite(stool.depth) & (stool.people == 0)).sum() > 300  # seen, and not part of her
    assert (stool.people == 1).sum() > 0.8 * (air.people == 1).sum()
    knee, hip, ankle = (stool.figures[0].body_keypoints[i] for i in (10, 9, 11))
    assert abs(knee[1] - hip[1]) < 0.5 * (ankle[1] - knee[1])  # thighs level, shins upright


def test_the_frame_is_filled_as_asked_and_the_figure_stands_on_the_floor(renderer: Renderer) -> None:
    truth = renderer.render([whole(STANDING)])[0].truth
    rows = np.nonzero(truth.people.any(1))[0]
    assert rows[-1] - rows[0] + 1 == pytest.approx(0.9 * 128, abs=6)
    x, y = truth.figures[0].body_keypoints[8]  # right ankle: back from pixels to the world
    z = truth.depth[int(y), int(x)]
    camera = np.linalg.inv(truth.intrinsics) @ (x, y, 1) * z
    world = np.linalg.inv(truth.extrinsics) @ (*camera, 1)
    assert 0.0 < world[1] < 0.2


def test_depth_and_people_agree_and_the_nearer_figure_hides_the_other(renderer: Renderer) -> None:
    other = dataclasses.replace(STANDING, place=(0.15, -1.0), identity=dataclasses.replace(ANNA, number=8))
    both = whole(STANDING, figures=(other, STANDING))
    truth = renderer.render([both])[0].truth
    assert set(np.unique(truth.people)) == {0, 1, 2}
    assert np.array_equal(np.isfinite(truth.depth), truth.people > 0) or (
        (np.isfinite(truth.depth) != (truth.people > 0)).mean() < 0.02
    )
    assert np.median(truth.depth[truth.people == 2]) + 0.5 < np.median(truth.depth[truth.people == 1])
    alone = renderer.render([dataclasses.replace(both, figures=(other,), camera=both.camera)])[0].truth
    assert truth.figures[0].body_visible.sum() < alone.figures[0].body_visible.sum()


def test_light_from_the_right_lights_the_right(renderer: Renderer) -> None:
    from instantid.training.people.description import Light, Lighting

    def faces(azimuth: float) -> float:
        light = Lighting(lights=(Light(azimuth=azimuth, elevation=10),), sky=(0.1,) * 3, ground=(0.1,) * 3)
        picture = renderer.render([portrait(lighting=light)])[0]
        x0, y0, x1, y1 = (int(edge) for edge in picture.truth.figures[0].face_box)
        face = picture.image[y0:y1, x0:x1].mean(2)
        half = face.shape[1] // 2
        return face[:, half:].mean() - face[:, :half].mean()

    assert faces(75) > 15 and faces(-75) < -15


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_every_background_is_painted_and_its_seed_changes_it(renderer: Renderer, kind: str) -> None:
    colours = ((0.8, 0.7, 0.6), (0.3, 0.4, 0.5), (0.5, 0.4, 0.3), (0.3, 0.5, 0.2), (0.6, 0.6, 0.6))
    pictures = [
        whole(STANDING, background=Background(kind=kind, colours=colours, seed=seed)) for seed in (1, 2)
    ]
    one, two = renderer.render(pictures)
    empty = one.truth.people == 0
    assert np.abs(one.image[empty].astype(int) - two.image[empty]).mean() > 0.5 or kind == "plain"
    assert one.image[empty].mean() > 20


def test_who_it_is_changes_the_face_and_the_weights_go_both_ways(renderer: Renderer) -> None:
    def nose(weight: float) -> np.ndarray:
        who = dataclasses.replace(ANNA, shape={"nose/nose-scale-vert": weight})
        points = renderer.render([portrait(dataclasses.replace(STANDING, identity=who))])[0].truth
        eyes_to_nose = points.figures[0].face_keypoints[2, 1] - points.figures[0].face_keypoints[:2, 1].mean()
        return eyes_to_nose

    assert nose(-0.8) < nose(0) < nose(0.8) or nose(-0.8) > nose(0) > nose(0.8)


@pytest.mark.parametrize(
    ("figure", "named"),
    [
        (dataclasses.replace(STANDING, identity=dataclasses.replace(ANNA, hair="mullet")), "hair/mullet"),
        (
            dataclasses.replace(STANDING, identity=dataclasses.replace(ANNA, shape={"nose/snub": 1.0})),
            "nose/snub",
        ),
        (dataclasses.replace(STANDING, pose={"tail": (1, 2, 3)}), "tail"),
        (dataclasses.replace(STANDING, hands=("claw", "flat")), "claw"),
        (dataclasses.replace(STANDING, expression={"smirk": 1.0}), "smirk"),
        (dataclasses.replace(STANDING, identity=dataclasses.replace(ANNA, complexion={"scar": 1.0})), "scar"),
    ],
)
def test_an_unknown_name_is_refused_by_name(renderer: Renderer, figure: Figure, named: str) -> None:
    with pytest.raises(InvalidRequest, match=f"“{named}”"):
        renderer.render([portrait(figure)])


def test_without_the_assets_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="data fetch"):
        assets.load(tmp_path)


def test_a_file_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    class Answer:
        def __enter__(self) -> "Answer":
            return self

        def __exit__(self, *error: object) -> None: ...

        def raise_for_status(self) -> None: ...

        def json(self) -> dict:
            return {"dist": {"tarball": "https://somewhere"}}

        def iter_content(self, size: int) -> list[bytes]:
            return [b"something else"]

    monkeypatch.setattr(requests, "get", lambda *args, **kwargs: Answer())
    with pytest.raises(DownloadError, match="sha256"):
        fetching.download(fetching.SOURCES[1], tmp_path, lambda what, done: None)
    assert not list(tmp_path.iterdir())


def test_offline_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def fail(*args: object, **kwargs: object) -> None:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", fail)
    with pytest.raises(DownloadError, match="connect to the internet"):
        fetching.download(fetching.SOURCES[0], tmp_path, lambda what, done: None)


def test_looking_down_shows_the_crown_and_the_camera_says_so(renderer: Renderer) -> None:
    level, above = renderer.render(
        [portrait(), dataclasses.replace(portrait(), camera=Camera(frame="head", fill=0.6, pitch=30))]
    )
    assert above.truth.figures[0].head_angles[1] == pytest.approx(
        level.truth.figures[0].head_angles[1] - 30, abs=1
    )
    forward = above.truth.extrinsics[2, :3]
    assert math.degrees(math.asin(-forward[1])) == pytest.approx(30, abs=0.1)
