"""Photos made ready for training: whatever lies there, cut square around faces, and nothing fatal but nonsense."""

import io
import json
import shutil
import tarfile

import numpy as np
import photos as real
import pytest
from PIL import Image

from instantid import bundles, faces
from instantid.errors import InvalidRequest
from instantid.people import Face
from instantid.training import photos, preparing
from instantid.training.photo_sources import person_number
from instantid.training.photos import Wishes
from instantid.training.prepared import Prepared

SIZE = 128
WISHES = Wishes(size=SIZE, min_side=SIZE)


@pytest.fixture(scope="module")
def models():
    folder = bundles.face_files_folder()
    bundles.fetch_face_files(folder)
    return "opencv", folder


@pytest.fixture
def folder(tmp_path):
    """Two people in sub-folders, one unknown, a landscape, a crowd, and two files that are no pictures."""
    source = tmp_path / "photos"
    for name, file in {
        "eileen/1.png": real.ASTRONAUT,
        "grace/portrait.jpg": real.GRACE_HOPPER,
        "crowd.jpg": real.SIX_PEOPLE,
        "rocket.jpg": real.NO_PEOPLE[0],
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, source / name)
    (source / "eileen" / "1.txt").write_text("an astronaut\n")
    (source / "grace" / "portrait.json").write_text(
        json.dumps({"caption": "an officer", "captions": {"terse": "a woman"}})
    )
    (source / "empty.jpg").write_bytes(b"")
    (source / "cut.png").write_bytes(real.ASTRONAUT.read_bytes()[:20_000])
    return source


def prepare(source, out, models, wishes=WISHES, **options):
    return preparing.prepare(preparing.recognise(source), out, wishes, models, **options)


def by_name(prepared):
    return {record["key"]: number for number, record in enumerate(prepared.records)}


def test_a_folder_becomes_prepared_data(folder, tmp_path, models):
    report = prepare(folder, tmp_path / "out", models)
    assert (report.read, report.kept, report.left_out) == (6, 3, {"no face": 1})
    assert sorted(line.split(":")[0] for line in report.damaged) == ["cut.png", "empty.jpg"]
    told = preparing.summary(report)
    assert "Kept 3 of 6" in told and "1 with no face" in told and "cut.png" in told

    prepared = Prepared(tmp_path / "out")
    places = by_name(prepared)
    eileen, grace, crowd = places["eileen/1.png"], places["grace/portrait.jpg"], places["crowd.jpg"]
    assert prepared.records[eileen]["caption"] == "an astronaut"
    assert prepared.records[grace]["caption"] == "an officer"
    assert prepared.records[grace]["captions"] == {"terse": "a woman"}
    assert prepared.persons[eileen] == person_number("eileen") != prepared.persons[grace]
    assert prepared.persons[crowd] == -1
    assert prepared.found.all() and prepared.embeddings.any(axis=1).all()


def test_the_face_is_where_its_keypoints_are_and_the_cut_is_told(folder, tmp_path, models):
    prepare(folder, tmp_path / "out", models)
    prepared = Prepared(tmp_path / "out")
    finder = faces.load_finder(*models)
    for name, number in by_name(prepared).items():
        keypoints = prepared.keypoints[number]
        assert ((keypoints > 0) & (keypoints < SIZE)).all(), name
        record = prepared.records[number]
        with Image.open(folder / name) as picture:
            assert record["original"] == [picture.height, picture.width]
            scale = SIZE / min(picture.size)
            top, left = record["crop"]
            box = [left / scale, top / scale, (left + SIZE) / scale, (top + SIZE) / scale]
            same = np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.LANCZOS, box), np.float32)
        assert np.abs(same - prepared.images([number])[0]).mean() < 4, name
    again = finder.find(Image.fromarray(prepared.images([by_name(prepared)["eileen/1.png"]])[0]))[0]
    assert np.abs(again.keypoints - prepared.keypoints[by_name(prepared)["eileen/1.png"]]).max() < 4


def test_the_same_call_goes_on_and_another_way_wants_another_folder(folder, tmp_path, models, monkeypatch):
    first = prepare(folder, tmp_path / "out", models)
    monkeypatch.setattr(photos, "open_image", lambda *_: pytest.fail("nothing is opened twice"))
    assert prepare(folder, tmp_path / "out", models) == first
    with pytest.raises(InvalidRequest, match="min_face changed"):
        prepare(folder, tmp_path / "out", models, Wishes(size=SIZE, min_side=SIZE, min_face=10))
    (folder / "new.jpg").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="photos changed"):
        prepare(folder, tmp_path / "out", models)


@pytest.mark.parametrize(
    ("wishes", "kept", "left_out"),
    [
        ({"faceless": True}, 4, {}),
        ({"min_face": 120}, 1, {"no face": 1, "faces smaller than 120 pixels": 2}),
        ({"alone": True}, 2, {"no face": 1, "several faces": 1}),
        ({"min_side": 600}, 1, {"smaller than 600 pixels": 3}),
    ],
)
def test_wishes_choose_what_is_kept(folder, tmp_path, models, wishes, kept, left_out):
    report = prepare(folder, tmp_path / "out", models, Wishes(**{"size": SIZE, "min_side": SIZE} | wishes))
    assert (report.kept, dict(report.left_out)) == (kept, left_out)
    prepared = Prepared(tmp_path / "out")
    assert not prepared.depth(range(len(prepared))).any()
    if wishes.get("faceless"):
        assert not prepared.found[by_name(prepared)["rocket.jpg"]]


def shard(file, samples, *, cut=None):
    with tarfile.open(file, "w") as tar:
        for name, content in samples.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    if cut:
        file.write_bytes(file.read_bytes()[:cut])


def test_shards_in_processes_of_their_own(tmp_path, models):
    source = tmp_path / "laion"
    source.mkdir()
    astronaut, officer = real.ASTRONAUT.read_bytes(), real.GRACE_HOPPER.read_bytes()
    shard(
        source / "00000.tar",
        {
            "000000000.jpg": officer,
            "000000000.txt": b"an officer",
            "000000000.json": json.dumps({"caption": "not this", "person": "grace"}).encode(),
            "000000001.png": astronaut,
            "000000001.json": json.dumps({"TEXT": "an astronaut", "person": "eileen"}).encode(),
            "000000002.txt": b"words without a picture",
            "000000003.jpg": officer,
            "000000003.json": b"{",
        },
    )
    samples = {"a.jpg": officer, "b.png": astronaut}
    shard(source / "00001.tar", samples, cut=len(officer) + 20_000)
    seen = []
    report = prepare(source, tmp_path / "out", models, workers=2, on_report=seen.append)
    assert (report.read, report.kept, report.known, report.silent) == (5, 3, 2, 1)
    assert len(seen) == 2 and any("000000003" in line for line in report.damaged)
    assert any("00001.tar" in line and "cut short after" in line for line in report.damaged)
    prepared = Prepared(tmp_path / "out")
    places = by_name(prepared)
    assert prepared.records[places["000000000"]]["caption"] == "an officer"
    assert prepared.records[places["000000001"]]["caption"] == "an astronaut"
    assert prepared.persons[places["000000000"]] == person_number("grace")


def test_captions_may_be_listed_in_one_file(tmp_path, models):
    source = tmp_path / "photos"
    source.mkdir()
    shutil.copyfile(real.ASTRONAUT, source / "a.png")
    (source / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": "an astronaut"}) + "\n")
    prepare(source, tmp_path / "out", models)
    assert Prepared(tmp_path / "out").records[0]["caption"] == "an astronaut"
    (source / "metadata.jsonl").write_text("a.png, an astronaut\n")
    with pytest.raises(InvalidRequest, match="Line 1 of"):
        preparing.recognise(source)


def test_a_source_is_recognised_or_said_to_be_none(folder, tmp_path):
    assert str(preparing.recognise(folder)).endswith("is a folder of photos: 6 pictures")
    shard(tmp_path / "one.tar", {})
    assert preparing.recognise(tmp_path / "one.tar").kind == "WebDataset shards"
    shard(tmp_path / "people-00000.tar", {})
    assert preparing.recognise(tmp_path).kind == "rendered people"
    shutil.copyfile(tmp_path / "one.tar", folder / "one.tar")
    with pytest.raises(InvalidRequest, match=r"both 1 \.tar files and 6 pictures"):
        preparing.recognise(folder)
    with pytest.raises(InvalidRequest, match="neither a folder nor"):
        preparing.recognise(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(InvalidRequest, match="nothing to prepare"):
        preparing.recognise(tmp_path / "void")


def test_where_nothing_is_kept_the_reasons_are_told(tmp_path, models):
    source = tmp_path / "photos"
    source.mkdir()
    shutil.copyfile(real.NO_PEOPLE[0], source / "rocket.jpg")
    with pytest.raises(InvalidRequest, match=r"1 with no face.*--faceless"):
        prepare(source, tmp_path / "out", models)


@pytest.mark.parametrize(
    ("photo", "centre", "offset"),
    [
        ((400, 200), None, (-50, 0)),
        ((400, 200), (320, 100), (-100, 0)),
        ((200, 400), (100, 20), (0, 0)),
        ((400, 200), (180, 100), (-40, 0)),
        ((50, 50), (20, 20), (0, 0)),
    ],
)
def test_the_cut_keeps_to_the_photo_and_the_face_near_the_middle(photo, centre, offset):
    face = None
    if centre:
        x, y = centre
        face = Face(np.zeros(4), np.zeros((5, 2)), np.array([x - 10, y - 10, x + 10, y + 10]))
    square = photos.cut(photo, 100, face)
    assert (square.offset, square.canvas, min(square.placed)) == (offset, (100, 100), 100)
