import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from people_standin import draw, open_dying, open_standin
from PIL import Image
from typer.testing import CliRunner

from instantid.cli import app
from instantid.errors import InvalidRequest
from instantid.training.people import card
from instantid.training.people.description import Identity, from_json
from instantid.training.people.looks import LOOKS
from instantid.training.people.making import compose, make
from instantid.training.people.orders import ALL_LOOKS, Order, read_order
from instantid.training.people.shards import identities_file, photos_only, read_records, read_shard
from instantid.training.people.sheet import draw_truth, people_sheet
from instantid.training.processes import ProcessDied

ORDER = Order(people=5, views=2, size=64, looks=1, people_per_shard=2, together=0.3)


def digests(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("people-*"))
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "set"
    make(ORDER, folder, open_renderer=open_standin)
    return folder


@pytest.fixture(scope="module")
def samples(made) -> list:
    return [sample for file in sorted(made.glob("*.tar")) for sample in read_shard(file)]


def test_everything_ordered_is_there(made, samples):
    assert len(samples) == ORDER.pictures == 20
    assert [file.name for file in sorted(made.glob("*.tar"))] == [f"people-{i:05d}.tar" for i in range(3)]
    assert {sample.record["person"] for sample in samples} == set(range(5))
    assert len({sample.key for sample in samples}) == 20


def test_a_scene_is_a_photo_and_its_looks_with_the_same_truth(samples):
    photo, look = samples[:2]
    assert photo.record["look"] == "photo" and look.record["look"] in LOOKS
    assert photo.record["scene"] == look.record["scene"]
    assert photo.record["figures"] == look.record["figures"]
    assert (photo.people == look.people).all() and (photo.depth == look.depth).all()
    assert np.abs(photo.image.astype(int) - look.image).mean() > 4


def test_what_was_rendered_comes_back(samples):
    rendered = draw(compose(ORDER, 0, 0))
    assert np.abs(samples[0].image.astype(int) - rendered.image).mean() < 8  # WebP
    assert (samples[0].people == rendered.truth.people).all()
    assert np.isinf(samples[0].depth[0, 0])
    assert np.allclose(samples[0].depth[samples[0].people > 0], 1.5)
    wanted = rendered.truth.figures[0].face_keypoints
    assert np.allclose(samples[0].record["figures"][0]["face_keypoints"], wanted, atol=0.01)


def test_who_people_are_is_told_once(made):
    first = sorted(made.glob("*.tar"))[0]
    lines = identities_file(first).read_text().splitlines()
    people = [from_json(Identity, json.loads(line)) for line in lines]
    assert [person.number for person in people][:2] == [0, 1]
    assert compose(ORDER, 0, 0).figures[0].identity.age == pytest.approx(people[0].age)


def test_companions_are_others_of_the_data_set():
    order = Order(people=6, together=1.0)
    for person in range(6):
        numbers = [figure.identity.number for figure in compose(order, person, 0).figures]
        assert (
            numbers[0] == person and len(set(numbers)) == len(numbers) >= 2 and set(numbers) <= set(range(6))
        )
    assert len(compose(Order(people=6, together=0.0), 0, 0).figures) == 1


def test_the_same_order_gives_the_same_bytes(made, tmp_path):
    make(ORDER, tmp_path / "again", open_renderer=open_standin)
    assert digests(tmp_path / "again") == digests(made)


def test_another_seed_gives_others(made, tmp_path):
    make(
        Order(people=2, views=1, size=64, people_per_shard=2, seed=1),
        tmp_path / "set",
        open_renderer=open_standin,
    )
    assert not set(digests(tmp_path / "set").values()) & set(digests(made).values())


def test_a_stopped_run_goes_on_and_ends_the_same(made, tmp_path):
    folder, told = tmp_path / "set", []

    def stop(count: int) -> None:
        told.append(count)
        if sum(told) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(ORDER, folder, open_renderer=open_standin, on_pictures=stop)
    assert [file.name for file in folder.glob("*.tar*")] == ["people-00000.tar"]  # none by halves
    before = (folder / "people-00000.tar").stat().st_mtime_ns
    counts = []
    make(ORDER, folder, open_renderer=open_standin, on_pictures=counts.append)
    assert sum(counts) == ORDER.pictures
    assert (folder / "people-00000.tar").stat().st_mtime_ns == before
    assert digests(folder) == digests(made)


def test_several_processes_give_the_same_bytes(made, tmp_path):
    counts = []
    make(ORDER, tmp_path / "set", open_renderer=open_standin, workers=2, on_pictures=counts.append)
    assert digests(tmp_path / "set") == digests(made)
    assert sum(counts) == ORDER.pictures


def test_a_process_that_dies_is_told(tmp_path):
    with pytest.raises(ProcessDied, match=r"ended with 9.*same command goes on"):
        make(ORDER, tmp_path / "set", open_renderer=open_dying, workers=2)


def test_a_folder_with_something_else_is_refused(made, tmp_path):
    with pytest.raises(InvalidRequest, match=r"seed 0 .asked: 4"):
        make(Order(**{**ORDER.__dict__, "seed": 4}), made, open_renderer=open_standin)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InvalidRequest, match="in use for something else"):
        make(ORDER, tmp_path, open_renderer=open_standin)


def test_a_damaged_shard_is_named(tmp_path):
    file = tmp_path / "people-00000.tar"
    file.write_bytes(b"not a tar" * 200)
    with pytest.raises(InvalidRequest, match=r"people-00000\.tar is damaged"):
        list(read_shard(file))


def test_unwanted_pictures_are_left_out(made):
    [first, *_] = sorted(made.glob("*.tar"))
    assert {sample.record["look"] for sample in read_shard(first, photos_only)} == {"photo"}
    assert len(list(read_records([first]))) == 8


def test_the_files_are_webdataset(made):
    with tarfile.open(sorted(made.glob("*.tar"))[0]) as tar:
        names = tar.getnames()
    assert names[:4] == [f"0000000-0000-00.{kind}" for kind in ("webp", "people.png", "depth.png", "json")]
    assert names[4:6] == [f"0000000-0000-01.{kind}" for kind in ("webp", "json")]


def test_looks_are_drawn_evenly_and_never_twice():
    order = Order(people=200, views=1, looks=4)
    drawn = [order.looks_of(person, 0) for person in range(200)]
    assert all(len(set(looks)) == 4 for looks in drawn)
    assert {look for looks in drawn for look in looks} == set(LOOKS)
    assert Order(people=1, looks=ALL_LOOKS).looks_of(0, 0) == list(LOOKS)


@pytest.mark.parametrize("wrong", [{"people": 0}, {"size": 32}, {"looks": 1000}, {"quality": 101}])
def test_impossible_orders_are_refused(wrong):
    with pytest.raises(InvalidRequest, match=f"{next(iter(wrong))} of a data set lies between"):
        Order(**wrong)


@pytest.mark.parametrize("content", ["{", "[]", '{"people": 3}', '{"format": 1, "people": "many"}'])
def test_a_damaged_description_is_told(content, tmp_path):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InvalidRequest, match=r"dataset\.json is damaged"):
        read_order(tmp_path)


def test_the_truth_drawn_lies_on_the_points(samples):
    sample = next(sample for sample in samples if len(sample.record["figures"]) == 1)
    drawn = draw_truth(sample, 640)
    x, y = (round(10 * edge) for edge in sample.record["figures"][0]["face_keypoints"][0])
    assert tuple(drawn[y, x]) == (255, 64, 64)


def test_a_sheet_has_a_row_for_each_person(samples):
    page = people_sheet(
        (sample for sample in samples if photos_only(sample.record)), people=3, views=2, cell=50
    )
    assert page.size == (2 * 54 + 4, 3 * 54 + 4)


def test_the_card_tells_licence_numbers_and_how_to_make_it_again(made):
    text = card.write_card(made).read_text()
    assert "license: cc0-1.0" in text and "AGPL3" in text
    assert "| people | 5 |" in text and "20, 10 of them photos" in text
    assert "data make FOLDER --people 5 --views 2 --size 64" in text
    assert "--together" in text and "--quality" in text
    assert card.write_card(made).read_text() == text


def test_the_card_needs_a_data_set(tmp_path):
    with pytest.raises(InvalidRequest, match="is no data set"):
        card.write_card(tmp_path)


@pytest.mark.parametrize("flags", [[], ["--truth"], ["--looks"]])
def test_sheets_on_the_command_line(made, tmp_path, flags):
    out = tmp_path / "sheet.png"
    run = CliRunner().invoke(
        app, ["data", "sheet", str(made), "--out", str(out), "--people", "2", "--cell", "64", *flags]
    )
    assert run.exit_code == 0, run.output
    assert Image.open(out).width > 64


def test_problems_are_told_on_the_command_line(made, tmp_path):
    for command in (
        ["sheet", str(tmp_path)],
        ["card", str(tmp_path)],
        ["sheet", str(made), "--out", str(tmp_path / "a.what")],
    ):
        run = CliRunner().invoke(app, ["data", *command])
        assert run.exit_code == 1 and run.exception.__class__ is SystemExit


SAMPLE = Path(__file__).parents[1] / "assets" / "people-sample"


def test_the_sample_in_the_repository_is_whole():
    order = read_order(SAMPLE)
    samples = [sample for file in sorted(SAMPLE.glob("*.tar")) for sample in read_shard(file)]
    assert len(samples) == order.pictures
    assert all(sample.image.shape == (order.size, order.size, 3) for sample in samples)
    assert (SAMPLE / "README.md").read_text().startswith("---\nlicense: cc0-1.0")
