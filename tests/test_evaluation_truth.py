"""The measuring itself, on a generator that is known to be perfect, blind, or a swindler: it shows true photos."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from test_faces import opencv_folder as opencv_folder

from instantid.bundles import Bundle, Defaults
from instantid.evaluation import Wanted, evaluate
from instantid.evaluation.protocols import DEFAULT, OFF, OTHER
from instantid.faces import load_finder
from instantid.images import open_image
from instantid.request import Result
from instantid.training.people.shards import photos_only, read_shard

SHARD = Path(__file__).parents[1] / "assets" / "people-sample" / "people-00000.tar"
PHOTOS = 3  # of each person: a reference, another, the one that poses


@pytest.fixture(scope="module")
def photos(opencv_folder, tmp_path_factory) -> Path:
    """Rendered people, seen from the front and alone, a folder each."""
    folder, finder, counts = tmp_path_factory.mktemp("people"), load_finder("opencv", opencv_folder), {}

    def wanted(record: dict) -> bool:
        [first, *others] = record["figures"]
        [right, left] = first["face_keypoints"][:2]
        near = left[0] - right[0] > 12  # pixels: in a full body nobody can be recognised
        return photos_only(record) and not others and near and abs(first["head_angles"][0]) < 25

    for sample in read_shard(SHARD, wanted):
        number, image = sample.record["person"], Image.fromarray(sample.image)
        if counts.get(number, 0) < PHOTOS and finder.find(image):
            place = folder / f"p{number}"
            place.mkdir(exist_ok=True)
            image.save(place / f"{counts.setdefault(number, 0)}.png")
            counts[number] += 1
    return folder


class Photographer:
    """An engine that shows somebody's last photo: the one asked for, or with both strengths 0 anybody's."""

    def __init__(self, finder, people: list[Path], show: int):
        parts = {"base": "base", "identitynet": "net", "identity_adapter": "adapter"}
        self.bundle = Bundle(name="truth", **parts, defaults=Defaults(width=192, height=192))
        self.face_finder, self.people, self.show = finder, people, show
        self.plan = SimpleNamespace(device=SimpleNamespace(type="cpu"), dtype="float32", spare_device=None)

    def stream(self, request):
        place = request.people[0].references[0].image.parent
        if request.identity_strength == 0 and request.adapter_strength == 0:
            place = self.people[request.seed % len(self.people)]
        image = open_image(sorted(place.iterdir())[self.show]).resize((request.width, request.height))
        yield Result(
            images=[image], seed=request.seed, request=request, timings={"total": 0.1}, likeness=[None]
        )


@pytest.fixture(scope="module")
def judged(photos, opencv_folder, tmp_path_factory):
    def run(show: int, protocol: str = "mini"):
        finder, people = load_finder("opencv", opencv_folder), sorted(photos.iterdir())
        wanted = Wanted(set=str(photos), protocol=protocol, people=8, pictures=1, clip="bundle")
        report = evaluate(Photographer(finder, people, show), wanted, tmp_path_factory.mktemp("report"))
        return {(row.section, row.what, row.condition): row for row in report.rows}

    return run


@pytest.fixture(scope="module")
def perfect(judged):
    return judged(show=-1)


def figure(rows, what: str, condition: str, section: str = "Judged by"):
    """The first such row: SFace's, where there are other judges too."""
    found = [row for (s, w, c), row in rows.items() if s == section and w.startswith(what) and c == condition]
    assert found, f"no row of {what}"
    return found[0]


def test_true_photos_are_the_person_whole_way(perfect):
    assert figure(perfect, "AUC, SFace", DEFAULT).value.value > 0.95
    assert figure(perfect, "AUC, SFace", DEFAULT).met
    way = figure(perfect, "way from chance to true photos", DEFAULT)
    assert 0.8 < way.value.value < 1.2 and way.met


def test_anybody_s_photo_is_chance(perfect):
    assert figure(perfect, "AUC, SFace", OFF).met
    assert figure(perfect, "AUC to whose pose it is", OTHER).value.value < 0.7


def test_the_photo_that_poses_has_its_keypoints(perfect):
    error = figure(perfect, "keypoint error", DEFAULT)
    assert error.value.value < 0.005 and error.met
    assert figure(perfect, "yaw error", DEFAULT, "Pose").value.value < 0.5


def test_no_face_has_no_better_strength_than_another(perfect):
    gain = figure(perfect, "gain over strengths 0.5", "strengths 1")
    assert gain.value.value == 0 and gain.met


def test_whoever_shows_the_reference_itself_is_caught_copying(perfect, judged):
    copied = judged(show=0, protocol="default")
    honest = figure(perfect, "copying: excess", DEFAULT, "Likeness").value
    excess = figure(copied, "copying: excess", DEFAULT, "Likeness").value
    assert excess.value > 0.15 > abs(honest.value)
    assert figure(copied, "copying: rate", DEFAULT, "Likeness").value.value == 1
    assert figure(copied, "keypoint error", DEFAULT, "Pose").value.value > 0.03  # and it poses as it did


def test_what_cannot_be_measured_is_said(perfect):
    assert "no image encoder" in figure(perfect, "CLIP-T", DEFAULT, "Prompt following").why
    assert "no style adapter" in figure(perfect, "likeness kept", "style picture").why
