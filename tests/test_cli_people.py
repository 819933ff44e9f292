import json
import stat
from pathlib import Path

import pytest
from photos import ASTRONAUT, GRACE_HOPPER, NO_PEOPLE
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from test_cli import fake as fake
from test_cli import generate as generate
from test_cli import nothing_loads as nothing_loads
from test_cli import pixels, refusal, run

from instantid import cli, metadata
from instantid.people import Portrait
from instantid.saved_people import PeopleInFolder


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "people"


@pytest.fixture
def people(folder, portrait_bundle):
    """`people("save", "Ada", "--face", photo)` with the folder, and the tiny bundle where one is wanted."""

    def call(*words: object, answer: str | None = None):
        bundle = ("--bundle", portrait_bundle) if words[0] == "save" else ()
        return run("people", *words, "--people-folder", folder, *bundle, answer=answer)

    return call


def test_a_person_is_saved_listed_used_and_deleted(people, folder, generate, tmp_path):
    saved = people("save", "Eileen [C]", "--face", ASTRONAUT)
    assert saved.exit_code == 0 and "biometric data" in saved.stderr
    assert people("save", "Grace", "--face", GRACE_HOPPER).exit_code == 0
    assert people("list").stdout == "Eileen [C]\nGrace\n"
    out, again = tmp_path / "1.png", tmp_path / "2.png"
    words = ("--person", "eileen [c]", "--face2", GRACE_HOPPER, "--people-folder", folder)
    made = generate_without_face(generate, *words, "--seed", 1, "--steps", 2, "--out", out)
    assert made.exit_code == 0, made.output
    assert "face" in metadata.read(out).pictures["people.0.references.0"]
    repeated = generate_without_face(generate, *words, "--from", out, "--out", again)
    assert repeated.exit_code == 0 and "differ" not in repeated.stderr, repeated.output
    assert pixels(again) == pixels(out)
    assert people("delete", "grace", answer="n\n").exit_code == 1
    assert people("delete", "grace", answer="y\n").exit_code == 0
    assert people("delete", "Eileen [C]", "--yes").exit_code == 0
    assert people("list").stdout == "" and not list(folder.glob("*.json"))


def generate_without_face(generate, *words):
    """The fixture gives a face unless there is one already."""
    return run("generate", "--device", "cpu", "--bundle", generate.bundle, *words)


def test_a_saved_person_stands_beside_photos(people, folder, generate, fake):
    people("save", "Eileen", "--face", ASTRONAUT)
    assert generate("--person", "Eileen", "--people-folder", folder).exit_code == 0
    one, two = fake.requests[0].people[0].references
    assert isinstance(one, Portrait) and two.image == ASTRONAUT


def test_the_folder_may_be_named_in_the_environment(people, folder, generate, fake, monkeypatch):
    people("save", "Eileen", "--face", ASTRONAUT)
    monkeypatch.setenv("INSTANTID_PEOPLE", str(folder))
    assert run("people", "list").stdout == "Eileen\n"
    assert generate("--person", "Eileen").exit_code == 0


def test_several_photos_are_averaged(people, folder):
    people("save", "Both", "--face", ASTRONAUT, "--face", GRACE_HOPPER)
    people("save", "One", "--face", ASTRONAUT)
    both, one = (PeopleInFolder(folder).get(name).portrait.face for name in ("Both", "One"))
    assert (both.embedding != one.embedding).any()
    assert (both.keypoints == one.keypoints).all()  # at the place in the first photo


def test_an_export_is_imported_elsewhere(people, tmp_path, portrait_bundle):
    people("save", "Ada", "--face", ASTRONAUT)
    file, elsewhere = tmp_path / "ada.json", tmp_path / "elsewhere"
    assert people("export", "Ada", "--out", file).exit_code == 0
    assert json.loads(file.read_text())["name"] == "Ada"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600  # biometric data
    assert "ada.json exists" in refusal(people("export", "Ada", "--out", file))
    assert people("export", "Ada", "--out", file, "--overwrite").exit_code == 0
    assert run("people", "import", file, "--people-folder", elsewhere).exit_code == 0
    assert run("people", "import", file, "--name", "Bea", "--people-folder", elsewhere).exit_code == 0
    assert run("people", "list", "--people-folder", elsewhere).stdout == "Ada\nBea\n"
    assert "saved as “Ada” already" in refusal(run("people", "import", file, "--people-folder", elsewhere))
    assert run("people", "import", file, "--replace", "--people-folder", elsewhere).exit_code == 0


def test_a_taken_name_is_refused_unless_it_is_to_be_replaced(people):
    people("save", "Ada", "--face", ASTRONAUT)
    assert "saved as “ADA” already" in refusal(people("save", "ADA", "--face", GRACE_HOPPER))
    assert people("save", "ADA", "--face", GRACE_HOPPER, "--replace").exit_code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("save", "Ada", "--face", NO_PEOPLE[0]), "What works"),
        (("save", "Ada", "--face", "nobody.jpg"), "There is no file nobody.jpg"),
        (("save", "x" * 61, "--face", ASTRONAUT), "cannot be a person's name"),
        (("export", "Ada", "--out", "x.json"), "Nobody is saved as “Ada”"),
        (("delete", "Ada"), "Nobody is saved as “Ada”"),
        (("import", "nothing.json"), "nothing.json cannot be read: No such file"),
        (("import", ASTRONAUT), "a saved person has at most"),
    ],
    ids=lambda value: " ".join(map(str, value))[:25] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_in_one_line(people, folder, words, told):
    assert told in refusal(people(*words))
    assert not folder.exists()


@pytest.mark.parametrize("words", [("list",), ("delete", "Ada"), ("save", "Ada", "--face", ASTRONAUT)])
def test_nobody_is_saved_where_no_folder_was_named(words):
    assert "Name the folder as --people-folder, or set INSTANTID_PEOPLE" in refusal(run("people", *words))


def test_an_unknown_person_is_refused_before_a_model_is_loaded(people, folder, generate, nothing_loads):
    people("save", "Eileen", "--face", ASTRONAUT)
    told = refusal(generate("--person", "Elaine", "--people-folder", folder))
    assert "Nobody is saved as “Elaine”. There are “Eileen”" in told


def test_a_person_of_other_face_models_is_refused_before_a_model_is_loaded(
    people, folder, generate, nothing_loads, monkeypatch
):
    people("save", "Eileen", "--face", ASTRONAUT)
    real = cli.saved.load_finder

    def other(bundle):
        finder = real(bundle)
        finder.model = "glintr100, 512"
        return finder

    monkeypatch.setattr(cli.saved, "load_finder", other)
    told = refusal(generate("--person", "Eileen", "--people-folder", folder))
    assert "the one in use is glintr100, 512" in told


def test_a_bundle_without_face_models_saves_nobody(tiny, folder):
    words = ("people", "save", "Ada", "--face", ASTRONAUT, "--people-folder", folder, "--bundle", tiny)
    assert "has no face model" in refusal(run(*words))
