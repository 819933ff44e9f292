import json
import zipfile

import pytest
from photos import ASTRONAUT, GRACE_HOPPER
from PIL import Image, ImageOps
from portraits import opencv_folder as opencv_folder
from portraits import portrait_bundle as portrait_bundle
from portraits import portrait_engine as portrait_engine
from test_cli import loaded as loaded
from test_cli import nothing_loads as nothing_loads
from test_cli import refusal, run

from instantid import metadata, models
from instantid.compare import read

AXES = ("--x", "identity_strength: 0, 0.5, 1", "--y", "style: Watercolor | none")


@pytest.fixture
def compare(portrait_bundle, tmp_path, monkeypatch):
    """`compare("--x", …)` of a face on the tiny bundle; what is remembered of its pace goes into `tmp_path`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*words: object):
        common = ("--out", tmp_path / "grid.png", "--bundle", portrait_bundle, "--device", "cpu")
        return run("compare", *words, *common)

    return call


def test_a_comparison_is_made_counted_drawn_and_goes_on(compare, loaded, tmp_path):
    words = ("--face", ASTRONAUT, "--prompt", "a woman", "--steps", 1, *AXES)
    first = compare(*words, "--zip", tmp_path / "grid.zip")
    assert first.exit_code == 0, first.output
    assert "6 cells, 3 × 2. How long it takes is known after the first." in first.stderr
    cells = sorted((tmp_path / "grid-cells").glob("*.png"))
    assert len(cells) == 6
    assert len({metadata.read(cell).settings["seed"] for cell in cells}) == 1
    with Image.open(tmp_path / "grid.png") as page:
        assert page.width > 3 * 64
    with zipfile.ZipFile(tmp_path / "grid.zip") as packed:
        assert len(packed.namelist()) == 6 + 3
    written = {cell: cell.stat().st_mtime_ns for cell in cells}
    again = compare(*words)
    assert "6 of them there already." in again.stderr
    assert {cell: cell.stat().st_mtime_ns for cell in cells} == written
    more = compare(*words[:-4], "--x", "identity_strength: 0, 0.5, 1, 1.2", *AXES[2:], "--dry-run")
    assert "8 cells, 4 × 2. About 0:0" in more.stderr, "another seed is drawn, and the pace is known by now"
    assert len(list((tmp_path / "grid-cells").glob("*.png"))) == 6


def test_a_file_makes_the_same_again(compare, loaded, tmp_path):
    words = ("--face", ASTRONAUT, "--prompt", "a woman", "--steps", 1, "--x", "face: " + str(GRACE_HOPPER))
    assert compare(*words).exit_code == 0
    [cell] = (tmp_path / "grid-cells").glob("*.png")
    before = cell.read_bytes()
    cell.unlink()
    result = compare(tmp_path / "grid-cells" / "grid.json")
    assert result.exit_code == 0, result.output
    assert cell.read_bytes() == before
    from_picture = compare(tmp_path / "grid.png")
    assert "pictures that do not come with it: face photo, value 1 of x" in refusal(from_picture)
    other = compare(
        tmp_path / "grid-cells" / "grid.json", "--prompt", "a man", "--z", "seed: 1, 2", "--dry-run"
    )
    assert other.exit_code == 0 and "2 cells, 1 × 1 on 2 pages" in other.stderr
    kept = read(tmp_path / "grid-cells" / "grid.json")
    assert (kept.base.prompt, kept.base.people[0].references[0].image.name) == ("a man", ASTRONAUT.name)


def test_the_folder_of_a_stopped_one_is_enough(compare, loaded, tmp_path):
    folder = tmp_path / "work"
    words = ("--face", ASTRONAUT, "--steps", 1, "--x", "identity_strength: 0, 1", "--resume", folder)
    assert compare(*words).exit_code == 0
    sorted(folder.glob("*.png"))[0].unlink()
    result = compare("--resume", folder)
    assert result.exit_code == 0, result.output
    assert "1 of them there already" in result.stderr


def test_photos_and_words_are_read_once_for_all_cells(
    compare, loaded, portrait_engine, tmp_path, monkeypatch
):
    """Faces, control maps, texts and style pictures; generated pictures are looked at once each, for likeness."""
    asked = {"faces": 0, "maps": 0, "texts": 0, "tokens": 0}
    engine = portrait_engine

    def count(name, owner, method):
        inner = getattr(owner, method)

        def counted(*args, **kwargs):
            asked[name] += 1
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, method, counted)

    count("faces", engine._finder, "find")
    count("maps", engine._annotators, "_draw")
    count("texts", models.prompts, "encode")
    count("tokens", engine._models.identity._projector, "forward")
    for name, path in (("face", ASTRONAUT), ("pose", GRACE_HOPPER)):  # flipped: seen by no test before
        ImageOps.mirror(Image.open(path).convert("RGB")).save(tmp_path / f"{name}.png")
    photos = ("--face", tmp_path / "face.png", "--pose", tmp_path / "pose.png")
    words = (*photos, "--control", "canny=0.5", "--steps", 1)
    axes = ("--x", "identity_strength: 0.1, 0.5, 1", "--y", "prompt: one of a kind | another | the third")
    result = compare(*words, *axes)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "grid-cells").glob("*.png"))) == 9
    assert asked == {"faces": 2 + 9, "maps": 1, "texts": 3, "tokens": 1}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "What is to be compared?"),
        (("--face", ASTRONAUT), "What is to be compared?"),
        (("--x", "steps: 1, 2"), "Who is to appear?"),
        (("--face", ASTRONAUT, "--x", "steps: 0"), "Steps: “0” cannot be taken"),
        (("--face", ASTRONAUT, "--x", "style: Watercolor | Watrcolor"), "Did you mean “Watercolor”"),
        (("--face", ASTRONAUT, "--x", "pose: nowhere.jpg"), "There is no file nowhere.jpg"),
        (("--face", ASTRONAUT, "--x", "steps: 1", "--zip", "grid.tar"), "--zip must end in .zip"),
        (("--face", ASTRONAUT, "--x", "steps: 1", "--zip", "nowhere/grid.zip"), "There is no folder nowhere"),
        (("missing.json",), "There is no file missing.json"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_loaded(compare, nothing_loads, words, told):
    assert told in refusal(compare(*words))


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("IP-Adapter", "style_adapter and image_encoder"),
        ("IP-Adapter FaceID", "faceid_adapter and faceid_faces"),
    ],
)
def test_methods_without_weights_are_refused(
    compare, nothing_loads, portrait_bundle, tmp_path, method, parts
):
    told = json.loads((portrait_bundle / "bundle.json").read_text())
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in (*told["controlnets"], *told):
        if isinstance(told.get(name), str) and (portrait_bundle / told[name]).exists():
            told[name] = str(portrait_bundle / told[name])
    told |= {"style_adapter": None, "image_encoder": None, "controlnets": {}}
    (bare / "bundle.json").write_text(json.dumps(told))
    words = (
        "--face",
        ASTRONAUT,
        "--x",
        f"method: InstantID | {method}",
        "--bundle",
        bare,
        "--out",
        tmp_path / "g.png",
    )
    told = refusal(run("compare", *words))
    assert f"no weights for the method “{method}”, which takes its {parts}:" in told
    assert "Methods that it has: InstantID, text only." in told


def test_methods_are_compared(compare, loaded, tmp_path):
    result = compare("--face", ASTRONAUT, "--steps", 1, "--x", "method: InstantID | IP-Adapter | text only")
    assert result.exit_code == 0, result.output
    pictures = [cell.read_bytes() for cell in (tmp_path / "grid-cells").glob("*.png")]
    assert len(set(pictures)) == 3
    grid = read(tmp_path / "grid-cells" / "grid.json")
    assert grid.cells[1].request.style_image.image.samefile(ASTRONAUT)


def test_a_cell_that_cannot_be_made_is_told(compare, loaded, portrait_engine, tmp_path):
    result = compare("--face", ASTRONAUT, "--steps", 1, "--x", "recipe: LCM, 4 steps | none")
    assert result.exit_code == 1
    assert "Recipe LCM, 4 steps: The bundle “portraits” has no weights for the recipe" in result.stderr
    assert (tmp_path / "grid.png").exists()
