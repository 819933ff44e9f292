"""The history as a folder: what is kept, found, compared, deleted, taken along."""

import json
import shutil
import time
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from instantid import history, metadata
from instantid.errors import InvalidMetadata, InvalidRequest
from instantid.history import History
from instantid.request import Control, Lora, Person, Photo, Request, Result


@pytest.fixture
def make(tmp_path):
    """Save a PNG of ours, made with these settings."""
    Image.new("RGB", (64, 64), "tan").save(tmp_path / "face.png")
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "pose.png")

    def save(prompt="a king", seed=42, size=(64, 80), bundle="mini", **settings):
        settings = {
            "steps": 4,
            "guidance_scale": 5.0,
            "scheduler": "Euler",
            "width": 64,
            "height": 80,
        } | settings
        people = settings.pop("people", [Person(references=[tmp_path / "face.png"])])
        request = Request(people=people, prompt=prompt, seed=seed, **settings)
        result = Result(
            images=[Image.new("RGB", size, (seed % 256, 90, 120))],
            seed=seed,
            request=request,
            timings={},
            bundle={"name": bundle, "device": "cpu"},
        )
        path = tmp_path / f"made-{seed}.png"
        metadata.save(result, [path])
        return path

    return save


@pytest.fixture
def kept(tmp_path):
    return History(tmp_path / "history")


def test_a_picture_is_kept_as_it_is_with_all_that_is_known_of_it(kept, make):
    picture = make("a queen", seed=7)
    before = datetime.now(UTC)
    entry = kept.keep(picture, 0.71)
    picture.unlink()
    [found] = History(kept.folder).entries()  # as after a restart
    assert found == entry
    assert (found.seed, found.likeness, found.record.settings["prompt"]) == (7, 0.71, "a queen")
    assert before <= found.made <= datetime.now(UTC)
    assert metadata.read(kept.picture(entry.name)) == entry.record
    with Image.open(kept.small_picture(entry)) as small:
        assert small.format == "WEBP"


def test_nothing_is_on_disk_before_the_first_picture_and_then_for_its_owner_alone(kept, make):
    assert kept.entries() == [] and not kept.folder.exists()
    kept.keep(make())
    assert kept.folder.stat().st_mode & 0o777 == 0o700


def test_no_photo_and_no_face_gets_into_the_history(kept, make, tmp_path):
    entry = kept.keep(make())
    told = (kept.folder / f"{entry.name}.json").read_text()
    assert str(tmp_path) not in told and "face.png" not in told
    assert len(list(kept.folder.iterdir())) == 3


def test_the_newest_comes_first(kept, make):
    names = [kept.keep(make(seed=seed)).name for seed in (9, 3, 5)]
    assert [entry.name for entry in kept.entries()] == names[::-1]


def test_pictures_that_come_in_the_same_moment_have_names_of_their_own(kept, make, monkeypatch):
    moments = iter([1, 1, 1, 2, 3])

    class Clock(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime(2026, 1, 1, tzinfo=zone) + timedelta(seconds=next(moments))

    monkeypatch.setattr(history.store, "datetime", Clock)
    assert kept.keep(make()).name != kept.keep(make()).name
    assert len(kept.entries()) == 2


def test_a_picture_that_is_not_ours_is_refused_and_leaves_nothing(kept, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "other.png")
    with pytest.raises(InvalidMetadata, match="carries no request"):
        kept.keep(tmp_path / "other.png")
    assert not kept.folder.exists()


def test_a_disk_without_room_is_told_and_leaves_nothing_half(kept, make, monkeypatch):
    picture = make()
    kept.keep(picture)
    there = set(kept.folder.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InvalidRequest, match="No space left on device"):
        kept.keep(picture)
    assert set(kept.folder.iterdir()) == there


def test_the_oldest_give_way(make, tmp_path):
    kept = History(tmp_path / "history", most=2)
    for seed in (1, 2, 3):
        kept.keep(make(seed=seed))
    assert [entry.seed for entry in kept.entries()] == [3, 2]
    assert len(list(kept.folder.iterdir())) == 6


def test_what_is_deleted_is_gone_for_good(kept, make):
    entry = kept.keep(make())
    kept.delete(entry.name)
    assert list(kept.folder.iterdir()) == [] and kept.entries() == []
    for use in (kept.delete, kept.get, kept.picture):
        with pytest.raises(InvalidRequest, match="no longer in the history"):
            use(entry.name)


def test_a_file_that_somebody_took_away_is_missing_and_no_more(kept, make):
    gone, stays = kept.keep(make(seed=1)), kept.keep(make(seed=2))
    (kept.folder / f"{gone.name}.png").unlink()
    (kept.folder / f"{stays.name}.webp").unlink()
    assert kept.entries() == [stays]
    assert kept.small_picture(stays).suffix == ".png"
    with pytest.raises(InvalidRequest, match="Choose another one"):
        kept.picture(gone.name)


@pytest.mark.parametrize(
    "damage",
    [
        lambda said: "{",
        lambda said: json.dumps(said | {"likeness": "high"}),
        lambda said: json.dumps(said | {"made": "2026-01-01"}),
        lambda said: json.dumps(said | {"settings": said["settings"] | {"steps": "many"}}),
        lambda said: json.dumps({"made": said["made"]}),
        lambda said: "[]",
    ],
)
def test_a_damaged_entry_is_left_out_with_a_line_in_the_log(kept, make, damage, caplog):
    entry, other = kept.keep(make(seed=1)), kept.keep(make(seed=2))
    path = kept.folder / f"{entry.name}.json"
    path.write_text(damage(json.loads(path.read_text())))
    assert History(kept.folder).entries() == [other]
    assert str(path) in caplog.text


def test_an_entry_of_an_earlier_version_is_read_from_its_picture(kept, make):
    entry = kept.keep(make(), 0.5)
    path = kept.folder / f"{entry.name}.json"
    path.write_text(json.dumps({"schema": 1, "made": entry.made.isoformat(), "likeness": 0.5, "old": True}))
    assert History(kept.folder).entries() == [entry]


def test_names_reach_nothing_outside_the_folder(kept, make, tmp_path):
    kept.keep(make())
    for name in ("../face", "", f"{tmp_path}/face", "20260101-000000-000000-1/../../face"):
        for use in (kept.picture, kept.delete):
            with pytest.raises(InvalidRequest):
                use(name)
    assert (tmp_path / "face.png").exists()


def test_a_folder_that_is_none_is_told(tmp_path, make):
    (tmp_path / "file").write_text("")
    kept = History(tmp_path / "file")
    for use in (kept.entries, lambda: kept.keep(make())):
        with pytest.raises(InvalidRequest, match="name a folder that this program may read and write"):
            use()


def test_a_visit_that_is_over_leaves_nothing(kept, make):
    kept.keep(make())
    shutil.rmtree(kept.folder)
    assert not kept.folder.exists() and kept.entries() == []


def test_pictures_are_found_by_words_in_any_order_and_by_likeness(kept, make):
    noir = kept.keep(make("A King in the rain", seed=1, style="Film Noir"), 0.8)
    plain = kept.keep(make("a queen", seed=123), 0.4)
    faceless = kept.keep(make("a garden", seed=5, bundle="sdxl", base="realvis"), None)
    everything = kept.entries()

    def found(*asked):
        return {entry.name for entry in history.matching(everything, *asked)}

    assert found() == {noir.name, plain.name, faceless.name}
    assert found("rain king") == {noir.name} == found("noir")
    assert found("123") == {plain.name}
    assert found("sdxl") == {faceless.name} == found("RealVis")
    assert found("king sdxl") == set() == found("ing")
    assert found("", 0.4) == {noir.name, plain.name} and found("", 0.5) == {noir.name}


def test_two_pictures_differ_in_what_was_set_otherwise(make, tmp_path):
    one = metadata.read(make(seed=1, controls={"pose": 0.4}))
    pose = Photo(image=tmp_path / "pose.png")
    other = metadata.read(
        make(
            seed=2,
            controls={"pose": Control(strength=0.4, end=0.5)},
            pose_image=pose,
            loras=[Lora(source="film")],
        )
    )
    told = {name: (was, now) for name, was, now in history.differences(one, other)}
    assert told.pop("pose_image")[0] is None
    assert told == {
        "seed": (1, 2),
        "controls.pose.end": (1.0, 0.5),
        "loras.0.source": (None, "film"),
        "loras.0.strength": (None, 1.0),
    }
    assert history.differences(one, one) == []


def test_the_zip_holds_the_pictures_with_their_records_and_a_list(kept, make, tmp_path):
    entries = [kept.keep(make(seed=seed), seed / 10) for seed in (1, 2, 3)]
    (kept.folder / f"{entries[1].name}.png").unlink()
    assert history.pack(kept, entries, tmp_path / "all.zip") == 2
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        archive.extractall(tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "history.json").read_text())
    assert [(row["settings"]["seed"], row["likeness"]) for row in rows] == [(1, 0.1), (3, 0.3)]
    assert [metadata.read(tmp_path / "out" / row["file"]).settings["seed"] for row in rows] == [1, 3]


def test_an_empty_zip_is_not_written_about(kept, tmp_path):
    with pytest.raises(InvalidRequest, match="nothing to export"):
        history.pack(kept, [], tmp_path / "all.zip")


def test_a_long_history_is_listed_quickly_the_second_time(kept, make):
    entry = kept.keep(make())
    files = {ending: kept.folder / f"{entry.name}.{ending}" for ending in ("png", "json", "webp")}
    for i in range(500):
        for ending, file in files.items():
            (kept.folder / f"20260101-000000-{i:06}-1.{ending}").hardlink_to(file)
    assert len(kept.entries()) == 501
    start = time.process_time()
    assert len(kept.entries()) == 501
    assert time.process_time() - start < 0.2
