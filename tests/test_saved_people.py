import copy
import json
import os
import stat
import threading

import numpy as np
import pytest

from instantid import saved_people
from instantid.errors import InvalidPerson
from instantid.people import Face, Portrait
from instantid.saved_people import MAX_FILE, PeopleInFolder, PeopleInMemory, SavedPeople, SavedPerson
from instantid.saved_person import from_file, to_file

MODEL = "glintr100, 512"


def portrait(seed: int = 0, size: int = 512) -> Portrait:
    random = np.random.default_rng(seed)
    keypoints = random.uniform(10, 90, (5, 2))
    return Portrait(Face(random.normal(size=size) * 3, keypoints, np.array([-3.5, 0, 100.25, 120])), 640, 480)


def person(name: str = "Ann", seed: int = 0) -> SavedPerson:
    return SavedPerson(name, portrait(seed), MODEL)


def assert_same(one: SavedPerson, other: SavedPerson):
    assert (one.name, one.model) == (other.name, other.model)
    assert (one.portrait.width, one.portrait.height) == (other.portrait.width, other.portrait.height)
    for part in ("embedding", "keypoints", "box"):
        np.testing.assert_array_equal(getattr(one.portrait.face, part), getattr(other.portrait.face, part))


@pytest.fixture(params=["memory", "folder"])
def people(request, tmp_path) -> SavedPeople:
    return PeopleInMemory() if request.param == "memory" else PeopleInFolder(tmp_path / "deep" / "people")


# Stores


def test_nobody_is_kept_before_somebody_asks(people):
    assert people.names() == []
    with pytest.raises(InvalidPerson, match=r"Nobody is saved as “Ann”. Nobody is saved yet"):
        people.get("Ann")


def test_who_is_saved_comes_back_to_the_bit(people):
    people.save(person("Zoë"))
    people.save(person("ann", seed=1))
    people.save(person("Мария / ../../x\\y: *?", seed=2))
    assert people.names() == ["ann", "Zoë", "Мария / ../../x\\y: *?"]
    for seed, name in enumerate(("Zoë", "ann", "Мария / ../../x\\y: *?")):
        assert_same(people.get(name), person(name, seed))
    with pytest.raises(InvalidPerson, match=r"Nobody is saved as “Bob”. There are “ann”, “Zoë”"):
        people.get("Bob")


def test_case_and_composition_of_letters_do_not_make_another_person(people):
    people.save(person("Zoë"))
    assert people.get(" zoe\u0308 ").name == "Zoë"
    with pytest.raises(InvalidPerson, match="saved as “ZOË” already"):
        people.save(person("ZOË", seed=1))


def test_nobody_is_overwritten_unless_asked(people):
    people.save(person(seed=0))
    with pytest.raises(InvalidPerson, match="saved as “Ann” already"):
        people.save(person(seed=1))
    assert_same(people.get("Ann"), person(seed=0))
    people.save(person(seed=1), replace=True)
    assert_same(people.get("Ann"), person(seed=1))


def test_deleted_is_gone(people):
    people.save(person())
    people.save(person("Bob"))
    people.delete("ANN")
    assert people.names() == ["Bob"]
    for ask in (people.get, people.delete, people.export):
        with pytest.raises(InvalidPerson, match="Nobody is saved as “Ann”"):
            ask("Ann")
    people.save(person())  # the name is free again


def test_an_export_is_the_person_elsewhere(people, tmp_path):
    people.save(person())
    elsewhere = PeopleInFolder(tmp_path / "elsewhere")
    data = people.export("ann")
    assert elsewhere.import_(data).name == "Ann"
    assert_same(elsewhere.get("Ann"), people.get("Ann"))
    assert elsewhere.import_(data, name="Anna").name == "Anna"
    assert elsewhere.names() == ["Ann", "Anna"]
    with pytest.raises(InvalidPerson, match="already"):
        elsewhere.import_(data)
    elsewhere.import_(data, replace=True)


def test_a_person_without_a_face_is_not_saved_to_disk(tmp_path):
    face = portrait().face
    empty = Portrait(Face(face.embedding, face.keypoints, np.zeros(4)), 10, 10)
    with pytest.raises(InvalidPerson, match="“Ann” cannot be saved: the face's box is empty"):
        PeopleInFolder(tmp_path / "people").save(SavedPerson("Ann", empty, MODEL))
    assert not (tmp_path / "people").exists()


def test_a_session_s_people_can_be_copied(tmp_path):
    people = PeopleInMemory()
    twin = copy.deepcopy(people)
    twin.save(person())
    assert people.names() == [] and twin.names() == ["Ann"]


# The folder


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_folder_and_files_are_their_owner_s_alone(tmp_path):
    before = os.umask(0)
    try:
        people = PeopleInFolder(tmp_path / "people")
        people.save(person())
        people.save(person(seed=1), replace=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(people.folder.stat().st_mode) == 0o700
    [file] = people.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_an_open_folder_is_told_of(tmp_path, caplog):
    tmp_path.chmod(0o755)
    PeopleInFolder(tmp_path).save(person())
    assert f"Others can see who is saved in {tmp_path}" in caplog.text


def test_names_cannot_leave_the_folder_or_fill_a_file_name(tmp_path):
    people = PeopleInFolder(tmp_path / "people")
    for name in (
        "../../etc/passwd",
        "/etc/passwd",
        "CON",
        ".",
        "..",
        "a" * 60,
        "🙂" * 60,
        "a%2e",
        "NUL.json",
    ):
        people.save(person(name))
    assert len(people.names()) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["people"]
    for path in people.folder.iterdir():
        assert path.is_file() and len(path.name.encode()) < 64 and path.name.isascii()


def test_delete_also_removes_what_a_killed_save_left(tmp_path):
    people = PeopleInFolder(tmp_path)
    people.save(person())
    people.save(person("Bob"))
    for path in list(tmp_path.iterdir()):
        path.with_name(f".{path.stem}.x1.unfinished").write_bytes(b"half a face")
    assert people.names() == ["Ann", "Bob"]
    people.delete("Ann")
    people.delete("Bob")
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    people = PeopleInFolder(tmp_path)
    people.save(person(seed=0))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_people.os, "fsync", full)
    for name in ("Ann", "Bob"):
        with pytest.raises(InvalidPerson, match="cannot be used: No space left on device"):
            people.save(person(name, seed=1), replace=True)
    assert len(list(tmp_path.iterdir())) == 1
    assert_same(people.get("Ann"), person(seed=0))


@pytest.mark.parametrize("links", [True, False], ids=["links", "no hard links"])
def test_of_several_who_save_at_once_one_wins(tmp_path, monkeypatch, links):
    def refuse(source, path):
        raise PermissionError(1, "Operation not permitted")

    if not links:  # the race itself is only won with links
        monkeypatch.setattr(saved_people.os, "link", refuse)
    people, refused = PeopleInFolder(tmp_path / "people"), []

    def save(seed: int):
        try:
            people.save(person(seed=seed))
        except InvalidPerson:
            refused.append(seed)

    if links:
        threads = [threading.Thread(target=save, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        for seed in range(8):
            save(seed)
    assert len(refused) == 7
    [winner] = set(range(8)) - set(refused)
    assert_same(people.get("Ann"), person(seed=winner))
    assert len(list(people.folder.iterdir())) == 1


def test_a_damaged_file_is_named_and_does_not_hide_the_others(tmp_path, caplog):
    people = PeopleInFolder(tmp_path)
    people.save(person())
    [path] = tmp_path.iterdir()
    people.save(person("Bob"))
    path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "export.json").write_bytes(to_file(person("Eve")))
    assert people.names() == ["Bob"]
    assert str(path) in caplog.text and "export.json was not put there by this program" in caplog.text
    with pytest.raises(InvalidPerson, match=f"{path.name} cannot be used as a saved person"):
        people.get("Ann")
    people.delete("Ann")  # even then
    assert not path.exists()


def test_a_swapped_file_is_not_taken_for_somebody_else(tmp_path):
    people = PeopleInFolder(tmp_path)
    people.save(person())
    [path] = tmp_path.iterdir()
    path.write_bytes(to_file(person("Bob", seed=1)))
    with pytest.raises(InvalidPerson, match="holds “Bob”, not “Ann”"):
        people.get("Ann")


def test_a_file_in_the_folder_s_place_is_told_of(tmp_path):
    (tmp_path / "people").write_text("")
    people = PeopleInFolder(tmp_path / "people")
    for ask in (people.names, lambda: people.save(person())):
        with pytest.raises(
            InvalidPerson, match=r"folder of saved people, .*people, cannot be used: Not a dir"
        ):
            ask()


# The person, and its file


def test_a_portrait_is_given_to_its_own_model_only():
    ann = person()
    assert ann.portrait_for(MODEL) is ann.portrait
    with pytest.raises(
        InvalidPerson, match=r"“Ann” was saved with the face model glintr100, 512, and .* w600k, 512"
    ):
        ann.portrait_for("w600k, 512")


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb", "a\0b", "\u202eann"])
def test_names_that_cannot_be_shown_are_refused(name):
    with pytest.raises(InvalidPerson, match="cannot be a person's name"):
        person(name)


def test_the_file_is_small_and_holds_no_pixels_and_no_more():
    data = to_file(person())
    assert len(data) < 4000
    assert set(json.loads(data)) == {
        *("kind", "version", "name", "model", "created"),
        *("width", "height", "box", "keypoints", "embedding"),
    }
    assert from_file(data).created == person().created


def changed(**changes) -> bytes:
    return json.dumps(json.loads(to_file(person())) | changes).encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a file that was exported here"),
        (b"\x89PNG\r\n", "not a file that was exported here"),
        (b"[" * 60_000, "not a file that was exported here"),
        (b"[]", "not a file that was exported here"),
        (b'{"version": 1}', "not a file that was exported here"),
        (changed(kind="recipe"), "not a file that was exported here"),
        (changed(version=2), "of another version, and this program reads version 1"),
        (changed(version="1"), "of another version"),
        (changed(pixels="…"), "pixels: Extra inputs are not permitted"),
        (changed(name=""), "name: "),
        (changed(model="\x1b[2J"), "characters that cannot be shown"),
        (changed(created="yesterday"), "created: "),
        (changed(created="2026-11-23T10:00:00"), "created: "),
        (changed(width=0), "width: "),
        (changed(width="640"), "width: "),
        (changed(height=10**9), "height: "),
        (changed(box=[0, 0, 1]), "box.3: "),
        (changed(box=[0, 0, 1, float("nan")]), "box.3: "),
        (changed(box=[5, 0, 5, 9]), "box is empty"),
        (changed(keypoints=[[0, 0]] * 4), "keypoints.4: "),
        (changed(keypoints=[[0, 0]] * 4 + [[0, float("inf")]]), "keypoints.4.1: "),
        (changed(embedding="???"), "embedding: "),
        (changed(embedding=[1.0] * 16), "embedding: "),
        (changed(embedding=None), "embedding: "),
        (changed(embedding=""), "1 to 4096 numbers"),
        (changed(embedding="AAAAAAA="), "1 to 4096 numbers"),
        (changed(embedding="AAAAAAAA" * 2), "nothing but zeros"),
        (changed(embedding="AADAfw=="), "NaN"),
        (changed(embedding="AACAPwAAgD8A" * 2000), "1 to 4096 numbers"),
        (changed(name="x" * MAX_FILE), f"a saved person has at most {MAX_FILE:,}"),
    ],
)
def test_a_file_that_is_no_person_is_refused_in_words(people, data, problem):
    with pytest.raises(InvalidPerson, match=r"This file (cannot be used|is too large)") as told:
        people.import_(data)
    assert problem in str(told.value) and len(str(told.value)) < 400
    assert people.names() == []


def test_no_message_tells_numbers_of_a_face():
    data = changed(embedding="SECRET" * 4, box=[1.25, 0, 0, 0], keypoints="SECRET")
    with pytest.raises(InvalidPerson) as told:
        from_file(data)
    assert "SECRET" not in str(told.value) and "1.25" not in str(told.value)
    assert "embedding" not in repr(person().portrait.face)


def test_a_place_takes_no_more_people_than_fit(people, monkeypatch):
    monkeypatch.setattr(saved_people, "MOST", 2)
    for name in ("Ada", "Grace"):
        people.save(person(name))
    with pytest.raises(InvalidPerson, match="2 people are saved here already"):
        people.save(person("Mary"))
    people.save(person("ada"), replace=True)
    people.delete("Grace")
    people.save(person("Mary"))
    assert sorted(name.casefold() for name in people.names()) == ["ada", "mary"]
