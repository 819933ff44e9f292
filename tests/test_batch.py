import csv
import json
from collections.abc import Callable

import pytest
from photos import ASTRONAUT, GRACE_HOPPER, NO_PEOPLE
from PIL import Image
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from portraits import portrait_engine as portrait_engine

from instantid import batch, metadata, repeating
from instantid.errors import Cancelled, InvalidRequest, NoFaceFound
from instantid.people import Photo
from instantid.request import Request, Result, Step

BUNDLE = {"name": "tiny", "untrained": True, "device": "cpu", "dtype": "float32"}


class Painter:
    """Stands for an engine: paints each request in one colour, notes it, and fails where it is told to."""

    def __init__(self, fails: Callable[[Request], Exception | None] = lambda request: None):
        self.requests: list[Request] = []
        self.closed = 0
        self.fails = fails

    def __call__(self, request: Request):
        self.requests.append(request)
        try:
            yield Step(0, 2, None)
            if problem := self.fails(request):
                raise problem
            yield Step(1, 2, None)
            filled = request.replace(width=64, height=64, steps=2, guidance_scale=5.0, scheduler="Euler")
            picture = Image.new("RGB", (64, 64), (len(request.prompt), 0, request.seed % 256))
            yield Result(
                images=[picture], seed=request.seed, request=filled, timings={}, bundle=BUNDLE, likeness=[0.5]
            )
        finally:
            self.closed += 1


@pytest.fixture
def faces(tmp_path):
    """Ada and Bob with a photo each, Cleo with two; beside them what is no photo."""
    folder = tmp_path / "faces"
    (folder / "Cleo").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for i, name in enumerate(("Ada.png", "bob smith.jpg", "Cleo/1.png", "Cleo/2.png", ".trash.png")):
        Image.new("RGB", (64, 64), (i, i, i)).save(folder / name)
    (folder / "notes.txt").write_text("who is who")
    return folder


def names(jobs) -> list[str]:
    return [job.file for job in jobs]


def finished(events) -> dict[str, str]:
    return {event.outcome.file: event.outcome.status for event in events if event.outcome}


# What it is made of


def test_a_file_is_a_person_and_a_folder_is_one_with_several_photos(faces):
    subjects = batch.find_subjects(faces)
    assert [subject.name for subject in subjects] == ["Ada", "Cleo", "bob smith"]
    assert subjects[1].references == tuple(Photo(image=faces / "Cleo" / name) for name in ("1.png", "2.png"))


@pytest.mark.parametrize("ending", [".jpg", ".JPEG", ".heic", ".webp", ".tif"])
def test_photos_are_known_by_their_ending(tmp_path, ending):
    (tmp_path / f"Ada{ending}").touch()
    assert [subject.name for subject in batch.find_subjects(tmp_path)] == ["Ada"]


def test_folders_that_hold_nobody_are_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="There is no folder"):
        batch.find_subjects(tmp_path / "nowhere")
    with pytest.raises(InvalidRequest, match="There are no photos in"):
        batch.find_subjects(tmp_path)
    (tmp_path / "Ada").mkdir()
    with pytest.raises(InvalidRequest, match=r"The folder .*Ada holds no photos"):
        batch.find_subjects(tmp_path)


def test_prompts_are_lines_without_comments(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeff# people\n a “king” \r\n\n#\n{name}, #1 of all\n".encode())
    assert batch.read_prompts(file) == ["a “king”", "{name}, #1 of all"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"# nothing\n\n", "There are no prompts"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (None, "No such file"),
    ],
)
def test_prompts_that_cannot_be_used_are_told(tmp_path, content, told):
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidRequest, match=told):
        batch.read_prompts(file)


# Plans


def test_everybody_gets_every_prompt_style_and_seed(faces):
    jobs = batch.plan(faces, ["a king", "{name} as {x}"], ["Film Noir", None], seeds=(7, 8))
    assert len(jobs) == 3 * 2 * 2 * 2
    assert names(jobs)[:5] == [
        *(
            "Ada_01_Film-Noir_7.png",
            "Ada_01_Film-Noir_8.png",
            "Ada_01_no-style_7.png",
            "Ada_01_no-style_8.png",
        ),
        "Ada_02_Film-Noir_7.png",
    ]
    assert names(jobs)[-1] == "bob-smith_02_no-style_8.png"
    last = jobs[-1].request
    assert (last.prompt, last.style, last.seed, last.images) == ("bob smith as {x}", None, 8, 1)
    assert last.people[0].references == (Photo(image=faces / "bob smith.jpg"),)
    assert (jobs[-1].person, jobs[-1].prompt, jobs[-1].seed) == ("bob smith", "bob smith as {x}", 8)


def test_the_same_plan_is_made_again(faces):
    one, two = (batch.plan(faces, ["a king"], ["Film Noir"], seeds=(1, 2)) for _ in range(2))
    assert one == two


def test_settings_are_everybody_s(faces):
    jobs = batch.plan(
        faces, ["x"], settings={"steps": 3, "pose_image": faces / "Ada.png"}, person={"view": "profile left"}
    )
    assert {(job.request.steps, job.request.people[0].view) for job in jobs} == {(3, "profile left")}
    assert all(job.request.pose_image == Photo(image=faces / "Ada.png") for job in jobs)


def test_settings_that_cannot_be_are_refused_before_anything_is_made(faces):
    with pytest.raises(InvalidRequest, match="steps"):
        batch.plan(faces, ["x"], settings={"steps": 0})


@pytest.mark.parametrize("other", ["Ada.jpg", "ada.png", "Ada!.png"])
def test_two_pictures_of_one_name_are_refused(faces, other):
    Image.new("RGB", (64, 64)).save(faces / other)
    if len(list(faces.iterdir())) < 7:
        pytest.skip("this disk does not tell A from a")
    with pytest.raises(InvalidRequest, match="Two pictures would both be called"):
        batch.plan(faces, ["x"])


def test_names_stay_inside_the_folder():
    photo = Photo(image=Image.new("RGB", (64, 64)))
    [job] = batch.plan([batch.Subject("../../etc/passwd\n", (photo,))], ["x"], ["../a"])
    assert job.file == "etc-passwd_01_a_42.png"
    [job] = batch.plan([batch.Subject("東京 Zoë", (photo,))], ["x"])
    assert job.file == "東京-Zoë_01_no-style_42.png"
    [job] = batch.plan([batch.Subject("…" + "x" * 300, (photo,))], ["x"])
    assert len(job.file) < 100


# Runs


def test_pictures_are_written_with_their_requests_and_listed(faces, tmp_path):
    jobs = batch.plan(faces, ["a king", "{name}"], seeds=(3,))
    painter, out = Painter(), tmp_path / "deep" / "out"
    events = list(batch.run(jobs, painter, out))
    assert finished(events) == dict.fromkeys(names(jobs), "made")
    assert painter.requests == [job.request for job in jobs]
    for job in jobs:
        assert repeating.made_from(metadata.read(out / job.file), job.request)
    rows = json.loads((out / "batch.json").read_text())
    assert [row["file"] for row in rows] == names(jobs)
    assert rows[-1] | {"seconds": None} == {
        **{"file": names(jobs)[-1], "person": "bob smith", "prompt": "bob smith", "style": None, "seed": 3},
        **{"status": "made", "likeness": 0.5, "seconds": None, "error": ""},
    }
    with (out / "batch.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["prompt"] for row in table] == [row["prompt"] for row in rows]
    assert {path.suffix for path in out.iterdir()} == {".png", ".json", ".csv"}


def test_progress_counts_steps_and_pictures_and_judges_the_time_left(faces, tmp_path):
    jobs = batch.plan(faces, ["x"])
    events = list(batch.run(jobs, Painter(), tmp_path / "out"))
    assert [(event.done, event.step and event.step.step) for event in events] == [
        *((0, 0), (0, 1), (1, None), (1, 0), (1, 1), (2, None), (2, 0), (2, 1), (3, None)),
    ]
    assert all(event.total == 3 for event in events)
    assert [event.seconds_left is None for event in events] == [True] * 2 + [False] * 7
    assert events[2].seconds_left > 0 and events[-1].seconds_left == 0


def test_what_is_there_is_kept_with_what_was_known_of_it(faces, tmp_path):
    jobs, out = batch.plan(faces, ["x"]), tmp_path / "out"
    list(batch.run(jobs, Painter(), out))
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    painter = Painter()
    assert finished(batch.run(jobs, painter, out)) == dict.fromkeys(names(jobs), "kept")
    assert painter.requests == []
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")} == before
    assert {row["likeness"] for row in json.loads((out / "batch.json").read_text())} == {0.5}


def test_what_differs_is_left_alone_until_told(faces, tmp_path):
    out = tmp_path / "out"
    list(batch.run(batch.plan(faces, ["x"]), Painter(), out))
    (out / "Ada_01_no-style_42.png").write_bytes(b"no picture of ours")
    changed = batch.plan(faces, ["y"])
    painter = Painter()
    assert finished(batch.run(changed, painter, out)) == dict.fromkeys(names(changed), "differs")
    assert painter.requests == []
    assert (out / "Ada_01_no-style_42.png").read_bytes() == b"no picture of ours"
    told = json.loads((out / "batch.json").read_text())[0]
    assert (told["status"], "left alone" in told["error"]) == ("differs", True)
    assert finished(batch.run(changed, painter, out, again=True)) == dict.fromkeys(names(changed), "made")
    assert metadata.read(out / "Ada_01_no-style_42.png").settings["prompt"] == "y"


def test_a_photo_that_was_replaced_is_noticed(faces, tmp_path):
    jobs, out = batch.plan(faces, ["x"]), tmp_path / "out"
    list(batch.run(jobs, Painter(), out))
    Image.new("RGB", (64, 64), "red").save(faces / "Cleo" / "2.png")
    assert finished(batch.run(jobs, Painter(), out))["Cleo_01_no-style_42.png"] == "differs"


def test_each_photo_is_looked_at_once_for_all_its_pictures(faces, tmp_path, monkeypatch):
    from instantid import prints

    jobs, out = batch.plan(faces, ["x", "y", "z"], seeds=(1, 2)), tmp_path / "out"
    list(batch.run(jobs, Painter(), out))
    opened = []
    real = prints.images.open_image
    monkeypatch.setattr(prints.images, "open_image", lambda source: opened.append(source) or real(source))
    assert set(finished(batch.run(jobs, Painter(), out)).values()) == {"kept"}
    assert len(opened) == 4


@pytest.mark.parametrize("problem", [NoFaceFound("Nobody is to be seen."), KeyError("a bug")], ids=str)
def test_a_job_that_fails_is_told_and_the_others_go_on(faces, tmp_path, problem):
    jobs, out = batch.plan(faces, ["{name}"]), tmp_path / "out"
    failing = Painter(lambda request: problem if request.prompt == "Cleo" else None)
    assert list(finished(batch.run(jobs, failing, out)).values()) == ["made", "failed", "made"]
    assert not (out / jobs[1].file).exists()
    told = json.loads((out / "batch.json").read_text())[1]
    assert told["error"] == (str(problem) if isinstance(problem, NoFaceFound) else repr(problem))
    assert list(finished(batch.run(jobs, Painter(), out)).values()) == ["kept", "kept", "made"]


def test_closing_cancels_and_the_same_jobs_go_on(faces, tmp_path):
    jobs, out, painter = batch.plan(faces, ["x"], seeds=(1, 2)), tmp_path / "out", Painter()
    events = batch.run(jobs, painter, out)
    for event in events:
        if event.done == 2 and event.step is not None:
            break
    events.close()
    assert len(painter.requests) == painter.closed == 3
    assert len(list(out.glob("*.png"))) == 2 and not list(out.glob(".*"))
    assert len(json.loads((out / "batch.json").read_text())) == 2
    second = Painter()
    done = finished(batch.run(jobs, second, out))
    assert list(done) == names(jobs) and len(second.requests) == 4
    assert len(json.loads((out / "batch.json").read_text())) == 6


def test_cancelling_from_elsewhere_ends_it(faces, tmp_path):
    painter = Painter(lambda request: Cancelled("Cancelled at step 1 of 2."))
    with pytest.raises(Cancelled):
        list(batch.run(batch.plan(faces, ["x"]), painter, tmp_path / "out"))
    assert len(painter.requests) == 1


def test_a_disk_that_is_full_ends_it(faces, tmp_path, monkeypatch):
    def full(result, paths):
        raise InvalidRequest("No space left.")

    monkeypatch.setattr(metadata, "save", full)
    painter = Painter()
    with pytest.raises(InvalidRequest, match="No space left"):
        list(batch.run(batch.plan(faces, ["x"]), painter, tmp_path / "out"))
    assert len(painter.requests) == 1


def test_a_folder_that_cannot_be_made_is_told(faces, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="cannot be made"):
        list(batch.run(batch.plan(faces, ["x"]), Painter(), tmp_path / "file" / "out"))


def test_another_batch_in_the_same_folder_stays_listed(faces, tmp_path):
    out = tmp_path / "out"
    list(batch.run(batch.plan(faces, ["x"], seeds=(1,)), Painter(), out))
    (out / "Ada_01_no-style_1.png").unlink()
    list(batch.run(batch.plan(faces, ["x"], seeds=(2,)), Painter(), out))
    listed = [row["file"] for row in json.loads((out / "batch.json").read_text())]
    assert listed == [
        *("Cleo_01_no-style_1.png", "bob-smith_01_no-style_1.png"),
        *("Ada_01_no-style_2.png", "Cleo_01_no-style_2.png", "bob-smith_01_no-style_2.png"),
    ]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"file": "x"}]', '{"a": 1}'])
def test_a_list_that_was_edited_beyond_reading_is_written_anew(faces, tmp_path, text):
    out = tmp_path / "out"
    out.mkdir()
    (out / "batch.json").write_text(text)
    list(batch.run(batch.plan(faces, ["x"]), Painter(), out))
    assert len(json.loads((out / "batch.json").read_text())) == 3


def test_a_real_engine_makes_a_batch_that_is_known_again(portrait_engine, tmp_path):
    """What the engine fills into a request (sizes, steps…) does not make a file look like another's."""
    folder, out = tmp_path / "faces", tmp_path / "out"
    folder.mkdir()
    for name, path in (("eileen", ASTRONAUT), ("grace", GRACE_HOPPER), ("nobody", NO_PEOPLE[0])):
        Image.open(path).save(folder / f"{name}.png")
    settings = {"steps": 2, "start_image": GRACE_HOPPER, "upscale": 1.5, "upscale_strength": 0.5}
    jobs = batch.plan(folder, ["a king"], [None, "Film Noir"], settings=settings)
    first = finished(batch.run(jobs, portrait_engine.stream, out))
    assert list(first.values()) == ["made"] * 4 + ["failed"] * 2
    again = finished(batch.run(jobs, portrait_engine.stream, out))
    assert [again[name] for name in names(jobs)] == ["kept"] * 4 + ["failed"] * 2
