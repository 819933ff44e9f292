import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instantid import compare, effort, metadata, repeating
from instantid.compare import Axis, Grid, Look, read_axis
from instantid.errors import InvalidMetadata, InvalidRequest
from instantid.people import Photo, Portrait
from instantid.request import Lora, Person, Request, Result, Step

BUNDLE = {"name": "tiny", "untrained": True, "device": "cpu", "dtype": "float32"}


@pytest.fixture
def base(tmp_path) -> Request:
    for name in ("ada", "bob"):
        Image.new("RGB", (64, 64), (len(name), ord(name[0]), 0)).save(tmp_path / f"{name}.png")
    return Request(
        people=[Person(references=[tmp_path / "ada.png"])], prompt="a man, studio photo", seed=7, steps=2
    )


class Painter:
    """Stands for an engine: the red of a picture is its identity strength, the green its seed."""

    def __init__(self, fails=lambda request: None, size=(64, 80)):
        self.requests: list[Request] = []
        self.fails, self.size = fails, size

    def __call__(self, request: Request):
        self.requests.append(request)
        yield Step(0, 2, None)
        if problem := self.fails(request):
            raise problem
        colour = (round((request.identity_strength or 0) * 100), request.seed % 256, 0)
        width, height = self.size
        own = {"width": width, "height": height, "guidance_scale": 5.0, "scheduler": "Euler"}
        filled = request.replace(**own, steps=request.steps or 2)
        yield Result(
            images=[Image.new("RGB", self.size, colour)],
            seed=request.seed,
            request=filled,
            timings={"pictures": 3.0},
            bundle=BUNDLE,
            likeness=[0.5],
        )


def made(grid: Grid, stream, folder: Path) -> list[compare.Outcome]:
    return [each for event in compare.run(compare.plan(grid), stream, folder) for each in event.outcomes]


# Axes, as people write them


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("identity_strength: 0.2..1.2 step 0.2", "identity_strength", (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)),
        ("Identity strength: 1.2..0.2 (3)", "identity_strength", (1.2, 0.7, 0.2)),
        ("cfg: 1-7 (+3)", "guidance_scale", (1.0, 4.0, 7.0)),
        ("CFG Scale: 1-2 [3]", "guidance_scale", (1.0, 1.5, 2.0)),
        ("seed: 1-3, 8", "seed", (1, 2, 3, 8)),
        ("steps: 4 | 8, 2 | none", None, "Steps: “8, 2” cannot be taken"),
        ("steps: 4 | 8 | default", "steps", (4, 8, None)),
        ("style: Watercolor | Neon | none", "style", ("Watercolor", "Neon", None)),
        ('style: "Film, old", Neon', "style", ("Film, old", "Neon")),
        ("prompt: a king, oil painting", "prompt", ("a king, oil painting",)),
        ('prompt: "a king, sad", "a queen"', "prompt", ("a king, sad", "a queen")),
        ("prompt: a king, sad\na queen", "prompt", ("a king, sad", "a queen")),
        ("Prompt S/R: man, woman, child", "prompt S/R", ("man", "woman", "child")),
        ("face region: on, off", "face_region", (True, False)),
        ("sampler: dpm++ 2m, euler a", "scheduler", ("DPM++ 2M", "Euler a")),
        ("recipe: lcm-4 | Hyper-SD, 8 steps", "recipe", ("LCM, 4 steps", "Hyper-SD, 8 steps")),
        ("style mode: whole image, layout", "style_mode", ("whole image", "layout")),
        ("controls.pose: 0..1 (3)", "controls.pose.strength", (0.0, 0.5, 1.0)),
        ("people.0.view: front | up", "people.0.view", ("front", "up")),
        ("people.0.place.x: 0.2, 0.8", "people.0.place.x", (0.2, 0.8)),
        ("loras.0.weight: -1..1 step 1", "loras.0.strength", (-1.0, 0.0, 1.0)),
        (
            "lora: none | film=0.5 + ink",
            "loras",
            ((), (Lora(source="film", strength=0.5), Lora(source="ink"))),
        ),
        (
            "face: a.png | b.png#2",
            "people.0.references",
            (Photo(image=Path("a.png")), Photo(image=Path("b.png"), face=2)),
        ),
        ("method: instantid | text only", "method", ("InstantID", "text only")),
        ("identity_strength: 0..2 step 1", None, "“2.*Allowed: numbers from 0 to 1.5"),
        ("identity_strength: 0..1", None, "does not say how many"),
        ("identity_strength: 0..1 step 0", None, "step of .* is 0"),
        ("identity_strength: 0..1 step 0.001", None, "asks for 1001 values"),
        ("width: 100", None, "multiples of 8"),
        ("steps: 4, soon", None, "Steps: “soon” cannot be taken. Allowed: whole numbers from 1 to 150"),
        ("scheduler: Eulr", None, "Allowed: Euler; Euler a"),
        ("scheduler: dpm", None, "“dpm” cannot be taken"),
        ("identity_strenth: 1", None, "Did you mean “identity_strength”"),
        ("controls.pse: 1", None, "nothing called “controls.pse”"),
        ("people.0.place: 1", None, "people.0.place.x, people.0.place.y"),
        ("images: 1, 2", None, "vary the seed"),
        ("steps", None, "a field and its values"),
        ("seed: ", None, "Seed"),
    ],
)
def test_an_axis_is_read_as_it_is_written(text, field, values):
    if field is None:
        with pytest.raises(InvalidRequest, match=values):
            read_axis(text)
    else:
        axis = read_axis(text)
        assert (axis.field, axis.values) == (field, values)


def test_ranges_hold_the_numbers_that_one_means():
    assert read_axis("identity_strength: 0..0.9 step 0.1").labels == (
        *("0", "0.1", "0.2", "0.3", "0.4"),
        *("0.5", "0.6", "0.7", "0.8", "0.9"),
    )


def test_values_from_python_are_checked_like_typed_ones():
    assert Axis(field="steps", values=(4, 8)).values == (4, 8)
    with pytest.raises(InvalidRequest, match="Steps: “0” cannot be taken"):
        Axis(field="steps", values=(0,))
    with pytest.raises(InvalidRequest, match="is there twice"):
        Axis(field="steps", values=(4, 4))
    with pytest.raises(InvalidRequest, match="cannot be taken"):
        Axis(field="identity_strength", values=(float("nan"),))


def test_everything_that_is_offered_can_be_an_axis(base):
    two = base.replace(
        people=[*base.people, *base.people], controls={"canny": 0.4}, loras=("film",), free_pose=False
    )
    offered = compare.offered(two)
    names = [variable.name for variable in offered]
    assert {"people.1.references", "people.1.identity_strength", "controls.canny.start", "method"} <= set(
        names
    )
    assert "loras.0.strength" in names and len(names) == len(set(names))
    assert all(compare.find(name) == variable for name, variable in zip(names, offered))


# Cells


def test_cells_differ_in_the_axes_alone_and_share_the_seed(base):
    grid = Grid(base=base, x=read_axis("identity_strength: 0, 1"), y=read_axis("style: Watercolor | none"))
    assert (grid.shape, grid.count) == ((2, 2, 1), 4)
    for cell in grid.cells:
        changes = {"identity_strength": grid.x.values[cell.x], "style": grid.y.values[cell.y]}
        assert cell.request == base.replace(**changes)
    assert grid.cells[-1].name == "Identity strength 1 · Style none"


def test_what_is_dear_changes_rarely(base):
    axes = {
        "x": read_axis("base: a | b"),
        "y": read_axis("identity_strength: 0, 1"),
        "z": read_axis("prompt: p | q"),
    }
    order = [(cell.x, cell.z, cell.y) for cell in Grid(base=base, **axes).cells]
    assert order == sorted(order)


def test_rows_fill_one_after_the_other_where_nothing_is_dear(base):
    grid = Grid(base=base, x=read_axis("seed: 1..3"), y=read_axis("identity_strength: 0, 1"))
    assert [(cell.y, cell.x) for cell in grid.cells] == [(y, x) for y in range(2) for x in range(3)]


def test_a_seed_that_was_left_open_is_drawn_once_for_all(base):
    grid = Grid(base=base.replace(seed=None), x=read_axis("steps: 1..4"))
    with pytest.raises(InvalidRequest, match="no seed yet"):
        compare.plan(grid)
    settled = grid.settled()
    assert {cell.request.seed for cell in settled.cells} == {settled.base.seed} != {None}
    assert settled.settled() is settled


def test_a_strength_replaces_the_people_s_own(base):
    own = base.replace(people=[base.people[0].replace(identity_strength=0.3)])
    for text in ("identity_strength: 1", "adapters: none"):
        [cell] = Grid(base=own, x=read_axis(text)).cells
        assert cell.request.people[0].identity_strength is None
    [cell] = Grid(base=own, x=read_axis("people.0.identity_strength: 0.5")).cells
    assert cell.request.people[0].identity_strength == 0.5


def test_other_photos_take_the_place_of_all(base, tmp_path):
    several = base.replace(people=[Person(references=[tmp_path / "ada.png"] * 3)])
    [cell] = Grid(base=several, x=read_axis(f"face: {tmp_path / 'bob.png'}")).cells
    assert cell.request.people[0].references == (Photo(image=tmp_path / "bob.png"),)


def test_search_and_replace_is_of_both_prompts_and_of_prompts_that_vary(base):
    base = base.replace(negative_prompt="no man.*")
    grid = Grid(
        base=base, x=read_axis("prompt S/R: man, woman"), y=read_axis("prompt: a man | old (man:1.2)")
    )
    texts = [(cell.request.prompt, cell.request.negative_prompt) for cell in grid.cells]
    assert sorted(texts) == [
        ("a man", "no man.*"),
        ("a woman", "no woman.*"),
        ("old (man:1.2)", "no man.*"),
        ("old (woman:1.2)", "no woman.*"),
    ]
    with pytest.raises(InvalidRequest, match="“queen” is in neither prompt"):
        Grid(base=base, x=read_axis("prompt S/R: queen, king"))


@pytest.mark.parametrize(
    ("value", "off"),
    [
        ("all", set()),
        ("no IdentityNet", {"identity_strength"}),
        ("no image adapter", {"adapter_strength"}),
        ("no face", {"identity_strength", "adapter_strength", "faceid_strength"}),
        ("no style picture", {"style_strength"}),
        ("none", {"identity_strength", "adapter_strength", "faceid_strength", "style_strength"}),
    ],
)
def test_adapters_are_off_at_strength_0(base, value, off):
    [cell] = Grid(base=base, x=Axis(field="adapters", values=(value,))).cells
    assert cell.request == base.replace(**dict.fromkeys(off, 0.0))


def test_methods_take_the_same_inputs(base, face):
    grid = Grid(
        base=base.replace(adapter_strength=0.6, faceid_strength=0.2),
        x=read_axis("method: InstantID | IP-Adapter FaceID | IP-Adapter | text only"),
    )
    ours, faceid, plain, words = (cell.request for cell in grid.cells)
    assert ours == grid.base.replace(faceid_strength=0)
    off = {"identity_strength": 0.0, "adapter_strength": 0.0, "faceid_strength": 0.0}
    assert words == grid.base.replace(**off)
    assert faceid == words.replace(faceid_strength=0.6)
    photo = base.people[0].references[0]
    assert plain == grid.base.replace(**off, style_image=photo, style_mode="whole image", style_strength=0.6)
    for unusable in (
        base.replace(people=[*base.people, *base.people]),
        base.replace(people=[Person(references=[face])]),
        base.replace(style_image=photo),
    ):
        with pytest.raises(InvalidRequest, match=r"Method IP-Adapter: .*one person"):
            Grid(base=unusable, x=read_axis("method: IP-Adapter | text only"))
    for unusable in (
        base.replace(people=[*base.people, *base.people]),
        base.replace(people=[Person(references=[Portrait(face, 64, 64)])]),
    ):
        with pytest.raises(InvalidRequest, match=r"Method IP-Adapter FaceID: .*give one person, as photos"):
            Grid(base=unusable, x=read_axis("method: IP-Adapter FaceID | text only"))
    own = base.replace(people=[base.people[0].replace(adapter_strength=0.3)], style_image=photo)
    [cell] = Grid(base=own, x=read_axis("method: IP-Adapter FaceID")).cells
    assert (cell.request.faceid_strength, cell.request.style_image) == (0.3, photo)
    [cell] = Grid(base=base, x=read_axis("method: IP-Adapter")).cells
    assert (base.adapter_strength, cell.request.style_strength) == (None, 0.8), (
        "as the reference's image adapter"
    )


def test_methods_are_those_that_have_their_weights():
    assert compare.usable_methods(style_reference=False, faceid=False) == ("InstantID", "text only")
    assert "IP-Adapter" not in compare.usable_methods(style_reference=False, faceid=True)
    assert "IP-Adapter FaceID" not in compare.usable_methods(style_reference=True, faceid=False)
    assert compare.usable_methods(style_reference=True, faceid=True) == compare.METHODS


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        (("steps: 1", "steps: 2"), "Two axes vary the same: Steps"),
        (("people.1.view: front",), "there is no person 2"),
        (("loras.0.strength: 1",), "there is no LoRA 1"),
        (
            ("controls.pose.start: 0.2, 0.9", "controls.pose.end: 0.5"),
            "At Pose control start 0.9.*must come before",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_made(base, axes, told):
    with pytest.raises(InvalidRequest, match=told):
        Grid(base=base, **dict(zip("xy", map(read_axis, axes))))


def test_samples_show_every_value_and_are_few(base):
    grid = Grid(base=base, x=read_axis("seed: 1..10"), y=read_axis("steps: 1..10"))
    samples = list(grid.samples())
    assert {each.seed for each in samples} == {each.steps for each in samples} == set(range(1, 11))
    assert len(samples) < 25


# Making


def test_cells_are_made_and_told_with_likeness_and_time(base, tmp_path):
    grid = Grid(base=base, x=read_axis("identity_strength: 0, 1"))
    painter, folder = Painter(), tmp_path / "cells"
    outcomes = made(grid, painter, folder)
    assert [(each.status, each.likeness) for each in outcomes] == [("made", 0.5)] * 2
    assert all(each.seconds is not None and each.there for each in outcomes)
    for outcome in outcomes:
        assert repeating.made_from(metadata.read(outcome.path), outcome.cell.request)
    again = made(grid, painter, folder)
    assert len(painter.requests) == 2
    assert [(each.status, each.likeness, each.seconds) for each in again] == [
        ("kept", each.likeness, each.seconds) for each in outcomes
    ]


def test_a_comparison_goes_on_where_it_was_stopped_and_makes_only_what_is_new(base, tmp_path):
    painter, folder = Painter(), tmp_path / "cells"
    grid = Grid(base=base, x=read_axis("identity_strength: 0, 0.5, 1"))
    events = compare.run(compare.plan(grid), painter, folder)
    next(event for event in events if event.outcomes)
    events.close()
    assert len(compare.there(compare.plan(grid), folder)) == 1
    wider = Grid(base=base, x=read_axis("identity_strength: 0.7, 0, 1, 0.5"))
    statuses = {each.cell.x: each.status for each in made(wider, painter, folder)}
    assert statuses == {0: "made", 1: "kept", 2: "made", 3: "made"}
    assert [request.identity_strength for request in painter.requests] == [0.0, 0.7, 1.0, 0.5]


def test_other_photos_seeds_and_bundles_are_other_pictures(base, tmp_path):
    grid = Grid(base=base, x=read_axis("steps: 1, 2"))
    files = [job.file for job in compare.plan(grid)]
    assert [job.file for job in compare.plan(grid)] == files
    assert not set(files) & {job.file for job in compare.plan(grid, "another bundle")}
    Image.new("RGB", (64, 64), "red").save(tmp_path / "ada.png")
    assert not set(files) & {job.file for job in compare.plan(grid)}


def test_cells_that_ask_for_the_same_share_a_picture(base, tmp_path):
    grid = Grid(
        base=base, x=read_axis("identity_strength: 0.2, 0.4, 0.6"), y=read_axis("adapters: all | no face")
    )
    painter = Painter()
    outcomes = made(grid, painter, tmp_path / "cells")
    assert len(outcomes) == grid.count == 6
    assert len(painter.requests) == 4 == len(compare.plan(grid))


def test_a_cell_that_fails_is_told_and_the_others_go_on(base, tmp_path):
    fails = Painter(lambda request: InvalidRequest("No such thing.") if request.steps == 2 else None)
    grid = Grid(base=base, x=read_axis("steps: 1, 2, 3"))
    outcomes = made(grid, fails, tmp_path / "cells")
    assert [each.status for each in outcomes] == ["made", "failed", "made"]
    assert outcomes[1].error == "No such thing." and not outcomes[1].there
    assert [each.status for each in made(grid, Painter(), tmp_path / "cells")] == ["kept", "kept", "made"]


def test_time_is_told_by_the_work_of_what_is_left(base, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("instantid.making.time.monotonic", lambda: now[0])

    def stream(request):
        for event in Painter()(request):
            now[0] += request.steps / 2  # two events
            yield event

    grid = Grid(base=base, x=read_axis("steps: 10, 40, 50"))
    events = compare.run(compare.plan(grid), stream, tmp_path / "cells")
    left = [event.seconds_left for event in events if event.outcomes]
    assert left == pytest.approx([90, 50, 0])


def test_an_estimate_follows_steps_and_recipes(base):
    jobs = compare.plan(Grid(base=base, x=read_axis("steps: 10, 30")))
    assert compare.seconds(jobs, 0.0) is None
    assert compare.seconds(jobs, 0.5) == pytest.approx(0.5 * 40)
    few = base.replace(steps=None, recipe="LCM, 4 steps")
    recipes = {"LCM, 4 steps": {"steps": 4, "guidance_scale": 1.0}}
    small = {"width": 512, "height": 1024}
    assert effort.of(few, small, recipes) == pytest.approx(0.5 * 0.5 * 4)


class Together(Painter):
    """Makes several: two at once, and the results of both come after their steps. `at` fails in one of them."""

    def __init__(self, at=lambda request: None, **options):
        super().__init__(**options)
        self.groups: list[list[int]] = []
        self.at = at

    def several(self, requests):
        self.groups.append([request.seed for request in requests])
        total = 2 * len(requests)
        for i in range(0, len(requests), 2):
            pair = requests[i : i + 2]
            yield Step(2 * i + len(pair), total, None)
            yield Step(2 * i + 2 * len(pair), total, None)
            for request in pair:
                if problem := self.at(request):
                    raise problem
                *_, result = self(request)
                yield replace(result, timings={"pictures": 3.0, "total": 4.0}, notes=["Two at once."])


def by_seed(outcomes) -> dict[int, str]:
    return {each.cell.request.seed: each.status for each in outcomes}


def test_cells_that_differ_in_their_seeds_alone_are_made_together(base, tmp_path):
    grid = Grid(base=base, x=read_axis("identity_strength: 0, 1"), y=read_axis("seed: 5, 900, 7"))
    painter, folder = Together(), tmp_path / "cells"
    events = list(compare.run(compare.plan(grid), painter, folder, several=painter.several))
    assert painter.groups == [[5, 900, 7], [5, 900, 7]]
    outcomes = [each for event in events for each in event.outcomes]
    assert len(outcomes) == 6 and {each.status for each in outcomes} == {"made"}
    assert [each.seconds for each in outcomes] == [4.0] * 6, "of what was made together, its share"
    for outcome in outcomes:
        assert repeating.made_from(metadata.read(outcome.path), outcome.cell.request)
    assert {note for event in events for note in event.notes} == {"Two at once."}
    far = [event.done + event.part for event in events]
    assert far == sorted(far) == pytest.approx([1, 2, 2, 2, 2.5, 3, 3, 4, 5, 5, 5, 5.5, 6, 6])
    assert [event.seconds_left for event in events if event.outcomes] == pytest.approx([20, 16, 12, 8, 4, 0])
    again = Together()
    kept = [
        each
        for e in compare.run(compare.plan(grid), again, folder, several=again.several)
        for each in e.outcomes
    ]
    assert {each.status for each in kept} == {"kept"} and not again.requests
    assert {each.seconds for each in kept} == {4.0}


def test_what_is_there_is_kept_when_cells_made_together_are_stopped(base, tmp_path):
    grid = Grid(base=base, x=read_axis("seed: 1..5"))
    painter, folder = Together(), tmp_path / "cells"
    events = compare.run(compare.plan(grid), painter, folder, several=painter.several)
    for event in events:
        if event.done == 2:
            break
    events.close()
    assert by_seed(compare.there(compare.plan(grid), folder)) == {1: "kept", 2: "kept"}
    rest = Together()
    told = [
        each
        for e in compare.run(compare.plan(grid), rest, folder, several=rest.several)
        for each in e.outcomes
    ]
    assert rest.groups == [[3, 4, 5]]
    assert by_seed(told) == {1: "kept", 2: "kept", 3: "made", 4: "made", 5: "made"}


def test_one_cell_that_fails_takes_none_of_those_beside_it_with_it(base, tmp_path):
    def breaks(request):
        return RuntimeError("bug") if request.seed == 4 else None

    grid = Grid(base=base, x=read_axis("seed: 1..5"))
    painter = Together(at=breaks, fails=breaks)
    events = compare.run(compare.plan(grid), painter, tmp_path / "cells", several=painter.several)
    outcomes = [each for event in events for each in event.outcomes]
    assert by_seed(outcomes) == {1: "made", 2: "made", 3: "made", 4: "failed", 5: "made"}
    assert [request.seed for request in painter.requests] == [1, 2, 3, 4, 5], "none is made twice"
    assert next(each for each in outcomes if each.status == "failed").error == "RuntimeError('bug')"


def test_no_room_on_the_disk_ends_what_is_made_together_too(base, tmp_path, monkeypatch):
    def full(*_):
        raise InvalidRequest("No space left.")

    monkeypatch.setattr(metadata, "save", full)
    painter = Together()
    grid = Grid(base=base, x=read_axis("seed: 1..4"))
    with pytest.raises(InvalidRequest, match="No space left"):
        list(compare.run(compare.plan(grid), painter, tmp_path / "cells", several=painter.several))
    assert len(painter.requests) == 1


# The file


def test_a_file_gives_the_same_comparison_wherever_its_folder_goes(base, tmp_path):
    grid = Grid(
        base=base.replace(pose_image=tmp_path / "bob.png", loras=("film",)),
        x=Axis(field="face", values=(tmp_path / "ada.png", tmp_path / "bob.png")),
        y=read_axis("loras: none | film=0.5"),
        z=read_axis("style: Neon | none"),
        bundle="mini",
    )
    compare.write(grid, tmp_path / "grid.json")
    text = (tmp_path / "grid.json").read_text()
    assert str(tmp_path) not in text and '"file": "bob.png"' in text
    assert compare.read(tmp_path / "grid.json") == grid
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in ("grid.json", "ada.png", "bob.png"):
        (tmp_path / file).rename(moved / file)
    assert [job.file for job in compare.plan(compare.read(moved / "grid.json"))]


def test_pictures_in_memory_are_put_beside_the_file(tmp_path):
    photo = Image.new("RGB", (64, 64), "blue")
    grid = Grid(base=Request(people=[Person(references=[photo])]), x=read_axis("steps: 1, 2"))
    compare.write(grid, tmp_path / "grid.json")
    read = compare.read(tmp_path / "grid.json")
    assert [job.file for job in compare.plan(read)] == [job.file for job in compare.plan(grid)]


def test_a_file_by_hand_may_be_short(base, tmp_path):
    told = {
        "settings": {"prompt": "a king"},
        "pictures": {"people.0.references.0": "ada.png"},
        "x": "steps: 4, 8",
    }
    (tmp_path / "grid.json").write_text(json.dumps(told))
    grid = compare.read(tmp_path / "grid.json", {"prompt": "a queen"})
    assert grid.base == Request(people=base.people, prompt="a queen")
    assert grid.x.values == (4, 8)


def test_saved_people_stay_out_of_the_file_and_are_given_again(face, tmp_path):
    portrait = Portrait(face, 64, 64)
    grid = Grid(base=Request(people=[Person(references=[portrait])]), x=read_axis("steps: 1, 2"))
    compare.write(grid, tmp_path / "grid.json")
    with pytest.raises(InvalidRequest, match="do not come with it: face photo"):
        compare.read(tmp_path / "grid.json")
    assert compare.read(tmp_path / "grid.json", {"people.0.references.0": portrait}) == grid


def test_a_stranger_s_file_reaches_nothing_on_this_machine(base, tmp_path):
    grid = Grid(base=base, x=Axis(field="face", values=(tmp_path / "ada.png", tmp_path / "bob.png")))
    compare.write(grid, tmp_path / "grid.json")
    with pytest.raises(InvalidRequest, match="face photo, value 1 of x, value 2 of x"):
        compare.read(tmp_path / "grid.json", open_files=False)
    given = {
        "people.0.references.0": base.people[0].references[0],
        "x.values.0": grid.x.values[0],
        "x.values.1": grid.x.values[1],
    }
    assert compare.read(tmp_path / "grid.json", given, open_files=False) == grid
    inside = {"settings": {"people": [{"references": ["/etc/hostname"]}]}, "x": "steps: 1"}
    (tmp_path / "grid.json").write_text(json.dumps(inside))
    with pytest.raises(InvalidRequest, match="named in the wrong place"):
        compare.read(tmp_path / "grid.json", open_files=False)
    weights = {"settings": {}, "x": "base: ../secret.safetensors"}
    (tmp_path / "grid.json").write_text(json.dumps(weights))
    with pytest.raises(InvalidRequest, match="weights by their path"):
        photo = {"people.0.references.0": base.people[0].references[0]}
        compare.read(tmp_path / "grid.json", photo, open_files=False)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"x": 3}', '{"x": {"field": "steps"}}', '{"x": "steps: 1", "settings": 4}']
)
def test_what_is_no_comparison_is_refused(tmp_path, text):
    (tmp_path / "grid.json").write_text(text)
    with pytest.raises(InvalidMetadata, match=r"grid\.json"):
        compare.read(tmp_path / "grid.json", {"people.0.references.0": Photo(image=tmp_path / "a.png")})
    (tmp_path / "grid.json").write_text('{"schema": 2, "x": "steps: 1"}')
    with pytest.raises(InvalidMetadata, match="newer version"):
        compare.read(tmp_path / "grid.json")


def test_a_drawn_seed_is_found_again(base, tmp_path):
    grid = Grid(base=base.replace(seed=None), x=read_axis("steps: 1, 2"))
    first = compare.go_on(grid, tmp_path / "cells")
    assert compare.go_on(grid, tmp_path / "cells") == first
    other = compare.go_on(grid.replace(x=read_axis("steps: 1, 3")), tmp_path / "cells")
    assert other.base.seed != first.base.seed


# The labelled picture


def test_the_picture_shows_every_cell_in_its_place(base, tmp_path):
    grid = Grid(base=base, x=read_axis("identity_strength: 0, 0.5, 1"), y=read_axis("seed: 50, 250"))
    outcomes = made(grid, Painter(), tmp_path / "cells")
    page = np.asarray(compare.draw(grid, outcomes[::-1])).astype(int)
    for cell in grid.cells:
        colour = (round(cell.request.identity_strength * 100), cell.request.seed, 0)
        rows, columns = np.nonzero((page == colour).all(axis=2))
        assert len(rows) == 64 * 80
        at = page.shape[1] * (cell.x + 0.5) / 3, page.shape[0] * (cell.y + 0.5) / 2
        assert (
            abs(columns.mean() - at[0]) < page.shape[1] / 4 and abs(rows.mean() - at[1]) < page.shape[0] / 4
        )


def test_ten_by_ten_stays_readable(base, tmp_path):
    grid = Grid(
        base=base,
        x=read_axis("identity_strength: 0..0.9 step 0.1"),
        y=Axis(field="prompt", values=tuple(f"{i} {'a very long prompt, ' * 9}" for i in range(10))),
    )
    outcomes = made(grid, Painter(size=(96, 96)), tmp_path / "cells")
    page = compare.draw(grid, outcomes, look=Look(side=64))
    dark = np.asarray(page.convert("L"))[: page.height // 12] < 90
    heights = np.flatnonzero(dark.any(axis=1))
    assert heights.max() - heights.min() >= 7, "digits of seven pixels at least"
    assert page.width < 64 * 16 and page.height < 64 * 16
    large = compare.draw(grid, outcomes[:1], look=Look(side=96))
    assert large.width > page.width


def test_details_take_room_of_their_own(base, tmp_path):
    grid = Grid(base=base, x=read_axis("steps: 1, 2"))
    outcomes = made(grid, Painter(), tmp_path / "cells")
    with_, without = (compare.draw(grid, outcomes, look=Look(details=each)) for each in (True, False))
    assert with_.height > without.height and with_.width == without.width


def test_empty_and_failed_cells_are_drawn_too(base, tmp_path):
    grid = Grid(base=base, x=read_axis("steps: 1, 2, 3"))
    fails = Painter(lambda request: InvalidRequest("No such thing here.") if request.steps == 2 else None)
    outcomes = made(grid, fails, tmp_path / "cells")
    page = np.asarray(compare.draw(grid, outcomes[:2]))
    assert (page == (0xEC, 0xEC, 0xEE)).all(axis=2).sum() > 64 * 80
    assert (page == (0xB3, 0x26, 0x1E)).all(axis=2).any(), "the error in red"
    assert compare.draw(grid, []).width > 300


def test_pages_carry_the_comparison_and_no_photo(base, tmp_path):
    grid = Grid(
        base=base.replace(base=str(tmp_path / "model.safetensors")),
        x=read_axis("steps: 1, 2"),
        z=read_axis("seed: 1, 2, 3"),
    )
    outcomes = made(grid, Painter(), tmp_path / "cells")
    pages = compare.save(grid, outcomes, tmp_path / "grid.png")
    assert [page.name for page in pages] == ["grid-1.png", "grid-2.png", "grid-3.png"]
    with Image.open(pages[1]) as page:
        page.load()
        assert str(tmp_path) not in page.info["instantid-grid"]
    with pytest.raises(InvalidRequest, match="do not come with it: face photo"):
        compare.read(pages[1])
    given = {"people.0.references.0": base.people[0].references[0]}
    assert compare.read(pages[1], given) == grid.replace(base=grid.base.replace(base="model.safetensors"))
    with pytest.raises(InvalidMetadata, match="carries no comparison"):
        compare.read(tmp_path / "ada.png")


def test_the_zip_holds_cells_by_their_place_and_what_they_are(base, tmp_path):
    grid = Grid(base=base, x=read_axis("steps: 1, 2"), y=read_axis("style: Neon | none"))
    fails = Painter(
        lambda request: InvalidRequest("No.") if (request.steps, request.style) == (2, None) else None
    )
    outcomes = made(grid, fails, tmp_path / "cells")
    pages = compare.save(grid, outcomes, tmp_path / "grid.png")
    with zipfile.ZipFile(compare.pack(grid, outcomes, pages, tmp_path / "grid.zip")) as packed:
        names = set(packed.namelist())
        cells = {f"cells/x{x}-y{y}.png" for x, y in ((1, 1), (2, 1), (1, 2))}
        assert names == cells | {"cells.csv", "grid.json", "grid.png"}
        rows = list(csv.DictReader(io.StringIO(packed.read("cells.csv").decode())))
        assert [(row["file"], row["Steps"], row["Style"]) for row in rows][1:3] == [
            ("cells/x2-y1.png", "2", "Neon"),
            ("cells/x1-y2.png", "1", "none"),
        ]
        assert rows[3]["error"] == "No."
        assert str(tmp_path) not in packed.read("grid.json").decode()
