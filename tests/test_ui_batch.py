"""Batches of the page without a browser: what is planned of the form, and what can be taken along."""

import zipfile

import pytest

from instantid.errors import InvalidRequest
from instantid.request import Control
from instantid.styles import NO_STYLE
from instantid.ui.batch_run import make, pack, plan
from tests.fake_engine import FakeEngine, draw_photo, fake_studio
from tests.test_ui import box, values_of


@pytest.fixture
def faces(tmp_path):
    for name in ("ada", "grace"):
        draw_photo().save(tmp_path / f"{name}.png")
    return box(tmp_path / "ada.png") + box(tmp_path / "grace.png")


def planned(studio, faces, prompts="", styles=None, **entered):
    values = values_of(studio, None, people=None, seed=7, **entered)
    return plan(values, studio, faces, prompts, styles)


def test_a_batch_is_every_person_prompt_style_and_seed_with_the_forms_other_settings(faces):
    places = [{"view": "profile left", "place": {"x": 0.3, "y": 0.4, "size": 0.3}}]
    jobs = planned(
        fake_studio(FakeEngine()),
        faces,
        "{name} in the rain\n \nat sea",
        [NO_STYLE, "Film Noir"],
        images=2,
        upscale=1.5,
        places=places,
    )
    assert len(jobs) == 2 * 2 * 2 * 2
    assert [job.prompt for job in jobs[:5:4]] == ["ada in the rain", "at sea"]
    assert [(job.style, job.seed) for job in jobs[:4]] == [
        (None, 7),
        (None, 8),
        ("Film Noir", 7),
        ("Film Noir", 8),
    ]
    assert {job.request.upscale for job in jobs} == {1.5}
    assert {job.request.images for job in jobs} == {1}
    assert {job.request.people[0].view for job in jobs} == {"profile left"}
    assert jobs[0].request.controls == {"pose": Control(strength=0.4)}


def test_without_prompts_and_styles_the_forms_own_are_taken(faces):
    jobs = planned(fake_studio(FakeEngine()), faces, prompt="a person")
    assert {(job.prompt, job.style) for job in jobs} == {("a person", "Watercolor")}


def test_too_much_at_once_is_refused_before_anything_is_planned(faces):
    with pytest.raises(InvalidRequest, match="up to 1000"):
        planned(fake_studio(FakeEngine()), faces, "\n".join("abcdefgh" * 10), images=16)


def test_what_was_made_with_other_settings_is_replaced_and_the_zip_holds_all(faces, tmp_path):
    engine = FakeEngine()
    studio = fake_studio(engine)
    folder = tmp_path / "made"
    list(make(studio, planned(studio, faces, "one"), folder, lambda: True))
    list(make(studio, planned(studio, faces, "one"), folder, lambda: True))
    assert len(engine.requests) == 2  # the second time, all was there
    status, pictures = list(make(studio, planned(studio, faces, "one", steps=9), folder, lambda: True))[-1]
    assert len(engine.requests) == 4 and "2 made" in status and len(pictures) == 2
    names = zipfile.ZipFile(pack(folder)).namelist()
    assert len([name for name in names if name.endswith(".png")]) == 2
    assert "batch.csv" in names


def test_seeds_are_made_together_where_that_can_be_done(faces, tmp_path):
    engine, together = FakeEngine(), []

    def several(requests):
        together.append([request.seed for request in requests])
        for request in requests:
            yield from engine.generate(request)

    studio = fake_studio(engine, generate_several=several)
    *_, (status, pictures) = make(
        studio, planned(studio, faces, "one", images=2), tmp_path / "made", lambda: True
    )
    assert together == [[7, 8]] * 2 and "4 made" in status and len(pictures) == 4


def test_a_batch_without_pictures_has_no_zip(tmp_path):
    assert pack(tmp_path) is None


def test_a_batch_that_is_no_longer_wanted_closes_its_run(faces, tmp_path):
    engine = FakeEngine(held=True)
    studio = fake_studio(engine)
    asked = iter([True, False])
    list(make(studio, planned(studio, faces, "one"), tmp_path / "made", lambda: next(asked)))
    assert engine.closed.is_set()
